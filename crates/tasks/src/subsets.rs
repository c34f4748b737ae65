//! All subsets of one size.

/// Largest number of subsets that are gone through for one example.
pub(crate) const MOST_SUBSETS: usize = 10_000;

/// Number of subsets of k of n things; `usize::MAX` if it is larger.
pub(crate) fn count(n: usize, k: usize) -> usize {
    let k = k.min(n.saturating_sub(k));
    // After factor i the product is the number of subsets of i of n - k + i things, which is whole.
    let product = (1..=k).try_fold(1_u128, |product, i| Some(product.checked_mul((n - k + i) as u128)? / i as u128));
    product.and_then(|product| usize::try_from(product).ok()).unwrap_or(usize::MAX)
}

/// The subsets of k of the numbers below n, each in ascending order, in lexicographic order.
pub(crate) fn subsets(n: usize, k: usize) -> impl Iterator<Item = Vec<usize>> {
    let next = move |subset: &Vec<usize>| {
        let mut next = subset.clone();
        let at = (0..k).rev().find(|&at| next[at] + (k - at) < n)?;
        let start = next[at] + 1;
        next[at..].iter_mut().zip(start..).for_each(|(member, value)| *member = value);
        Some(next)
    };
    std::iter::successors((k <= n).then(|| (0..k).collect()), next)
}

#[cfg(test)]
mod tests {
    use super::{count, subsets};

    #[test]
    fn all_subsets_are_listed_and_counted() {
        let found: Vec<Vec<usize>> = subsets(4, 2).collect();
        assert_eq!(found, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        for (n, k, number) in [(4, 2, 6), (16, 2, 120), (5, 0, 1), (5, 5, 1), (7, 6, 7), (16, 3, 560), (2, 3, 0)] {
            assert_eq!(subsets(n, k).count(), number, "{k} of {n}");
            if k <= n {
                assert_eq!(count(n, k), number, "{k} of {n}");
            }
        }
        assert_eq!(count(1 << 20, 300), usize::MAX);
    }
}
