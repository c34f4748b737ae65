//! The cheapest strategy: by the least attention on the largest token.

use rayon::prelude::*;

use super::{Tables, power, tables::Head};

/// Number of words that are proved, and of multiplications.
///
/// With weight at least α on the places of the largest token m, each of which adds at most d to a wrong answer's lead, and other tokens,
/// which add at most x, a head adds at most max(d, α d + (1 − α) x).
pub(super) fn proved(tables: &Tables) -> (f64, f64) {
    let Tables { vocab, k, .. } = *tables;
    let leads: Vec<Vec<f64>> = tables.heads.iter().map(|head| leads(tables, head)).collect();
    let words = (0..vocab).into_par_iter().map(|q| {
        let largest = (q..vocab).filter(|&m| is_right(tables, &leads, q, m));
        // All words whose largest token is m, less those without it.
        let count = |m: usize| power(m + 1, k - 1) - if m == q { 0.0 } else { power(m, k - 1) };
        largest.map(count).sum::<f64>()
    });
    let (pairs, heads) = ((vocab * (vocab + 1) / 2) as f64, tables.heads.len() as f64);
    (words.sum(), heads * (k as f64 * power(vocab, 3) + 4.0 * pairs * vocab as f64))
}

/// The largest lead that a token below m gives a wrong answer over m, at a position before the last. `[position, m, class]`
fn leads(tables: &Tables, head: &Head) -> Vec<f64> {
    let Tables { vocab, k, .. } = *tables;
    let mut leads = vec![f64::NEG_INFINITY; (k - 1) * vocab * vocab];
    for (at, lead) in leads.iter_mut().enumerate() {
        let (position, m, class) = (at / (vocab * vocab), at / vocab % vocab, at % vocab);
        let [wrong, right] = [class, m].map(|class| tables.values(head, position, class));
        *lead = wrong[..m].iter().zip(right).map(|(wrong, right)| wrong - right).fold(*lead, f64::max);
    }
    leads
}

/// Whether all words with this last and this largest token are answered rightly.
fn is_right(tables: &Tables, leads: &[Vec<f64>], q: usize, m: usize) -> bool {
    let Tables { vocab, k, .. } = *tables;
    let last = k - 1;
    let shares: Vec<f64> = tables.heads.iter().map(|head| share(tables, head, q, m)).collect();
    let is_behind = |class: usize| {
        let of = |(head, (leads, share)): (&Head, (&Vec<f64>, &f64))| {
            let lead = |position: usize, token: usize| {
                tables.values(head, position, class)[token] - tables.values(head, position, m)[token]
            };
            let places = if q == m { 0..k } else { 0..last };
            let largest = places.map(|at| lead(at, m)).fold(f64::NEG_INFINITY, f64::max);
            let own = if q == m { f64::NEG_INFINITY } else { lead(last, q) };
            let others = (0..last).map(|at| leads[(at * vocab + m) * vocab + class]).fold(own, f64::max);
            // Without other tokens there is nothing beside the largest.
            if others > largest { share * largest + (1.0 - share) * others } else { largest }
        };
        let all: f64 = tables.heads.iter().zip(leads.iter().zip(&shares)).map(of).sum();
        tables.is_behind(tables.own(q, class, m) + all, tables.constant[class] - tables.constant[m])
    };
    (0..vocab).filter(|class| *class != m).all(is_behind)
}

/// The least share of a head's attention on the places of the largest token: that of a single place, since every other place that holds it
/// too takes from the rest.
fn share(tables: &Tables, head: &Head, q: usize, m: usize) -> f64 {
    let last = tables.k - 1;
    let most = |at: usize| tables.weights(head, q, at)[..m].iter().copied().fold(0.0, f64::max);
    let most: Vec<f64> = (0..last).map(most).collect();
    let (all, own) = (most.iter().sum::<f64>(), tables.weights(head, q, last)[q]);
    if q == m {
        return own / (own + all);
    }
    let at = |(place, most): (usize, &f64)| {
        let largest = tables.weights(head, q, place)[m];
        largest / (largest + own + (all - most))
    };
    most.iter().enumerate().map(at).fold(1.0, f64::min)
}
