//! How readily residues replace one another in related proteins.

/// The residues of the table, in its own order.
pub const ORDER: &str = "ARNDCQEGHILKMFPSTWYV";

/// BLOSUM62: twice the log2 of how much more often two residues face each other in aligned blocks, of which sequences
/// with 62 % of their residues alike count as one, than they would by their frequencies. Rows and columns as in
/// [`ORDER`].
///
/// # References
/// Henikoff and Henikoff 1992, Proceedings of the National Academy of Sciences 89 (22).
#[rustfmt::skip]
pub const BLOSUM62: [[i8; 20]; 20] = [
    [ 4, -1, -2, -2,  0, -1, -1,  0, -2, -1, -1, -1, -1, -2, -1,  1,  0, -3, -2,  0],
    [-1,  5,  0, -2, -3,  1,  0, -2,  0, -3, -2,  2, -1, -3, -2, -1, -1, -3, -2, -3],
    [-2,  0,  6,  1, -3,  0,  0,  0,  1, -3, -3,  0, -2, -3, -2,  1,  0, -4, -2, -3],
    [-2, -2,  1,  6, -3,  0,  2, -1, -1, -3, -4, -1, -3, -3, -1,  0, -1, -4, -3, -3],
    [ 0, -3, -3, -3,  9, -3, -4, -3, -3, -1, -1, -3, -1, -2, -3, -1, -1, -2, -2, -1],
    [-1,  1,  0,  0, -3,  5,  2, -2,  0, -3, -2,  1,  0, -3, -1,  0, -1, -2, -1, -2],
    [-1,  0,  0,  2, -4,  2,  5, -2,  0, -3, -3,  1, -2, -3, -1,  0, -1, -3, -2, -2],
    [ 0, -2,  0, -1, -3, -2, -2,  6, -2, -4, -4, -2, -3, -3, -2,  0, -2, -2, -3, -3],
    [-2,  0,  1, -1, -3,  0,  0, -2,  8, -3, -3, -1, -2, -1, -2, -1, -2, -2,  2, -3],
    [-1, -3, -3, -3, -1, -3, -3, -4, -3,  4,  2, -3,  1,  0, -3, -2, -1, -3, -1,  3],
    [-1, -2, -3, -4, -1, -2, -3, -4, -3,  2,  4, -2,  2,  0, -3, -2, -1, -2, -1,  1],
    [-1,  2,  0, -1, -3,  1,  1, -2, -1, -3, -2,  5, -1, -3, -1,  0, -1, -3, -2, -2],
    [-1, -1, -2, -3, -1,  0, -2, -3, -2,  1,  2, -1,  5,  0, -2, -1, -1, -1, -1,  1],
    [-2, -3, -3, -3, -2, -3, -3, -3, -1,  0,  0, -3,  0,  6, -4, -2, -2,  1,  3, -1],
    [-1, -2, -2, -1, -3, -1, -1, -2, -2, -3, -3, -1, -2, -4,  7, -1, -1, -4, -3, -2],
    [ 1, -1,  1,  0, -1,  0,  0,  0, -1, -2, -2,  0, -1, -2, -1,  4,  1, -3, -2, -2],
    [ 0, -1,  0, -1, -1, -1, -1, -2, -2, -1, -1, -1, -1, -2, -1,  1,  5, -2, -2,  0],
    [-3, -3, -4, -4, -2, -2, -3, -2, -2, -3, -2, -3, -1,  1, -4, -3, -2, 11,  2, -3],
    [-2, -2, -2, -3, -2, -1, -2, -3,  2, -1, -1, -2, -1,  3, -3, -2, -2,  2,  7, -1],
    [ 0, -3, -3, -3, -1, -2, -2, -3, -3,  3,  1, -2,  1, -1, -2, -2,  0, -3, -1,  4],
];

/// Smallest and largest entry.
const RANGE: [i8; 2] = [-4, 11];

/// What an answer is worth where another was right: 1 for the right one, else its entry, shifted and divided so that
/// the entries of the table lie between 0 and 1. Letters outside the table are worth nothing.
pub(super) fn credit(answer: char, right: char) -> f64 {
    let [low, high] = RANGE.map(f64::from);
    match (answer == right, ORDER.find(answer), ORDER.find(right)) {
        (true, ..) => 1.0,
        (false, Some(answer), Some(right)) => (f64::from(BLOSUM62[answer][right]) - low) / (high - low),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_symmetric_and_its_entries_span_the_range() {
        for (row, a) in BLOSUM62.iter().zip(ORDER.chars()) {
            for (entry, (other, b)) in row.iter().zip(BLOSUM62.iter().zip(ORDER.chars())) {
                assert_eq!(*entry, other[ORDER.find(a).unwrap_or_default()], "{a}{b}");
            }
        }
        let entries = || BLOSUM62.iter().flatten().copied();
        assert_eq!([entries().min(), entries().max()], RANGE.map(Some));
        // Each residue faces itself more often than any other.
        assert!((0..20).all(|at| (0..20).all(|other| at == other || BLOSUM62[at][other] < BLOSUM62[at][at])));
    }

    #[test]
    fn a_wrong_answer_earns_its_normalised_entry() {
        // I for V is 3, so (3 + 4) / 15; W for C is -2, D for L is -4.
        let wanted =
            [('I', 'V', 7.0 / 15.0), ('W', 'C', 2.0 / 15.0), ('D', 'L', 0.0), ('A', 'A', 1.0), ('X', 'A', 0.0)];
        for (answer, right, earned) in wanted {
            assert!((credit(answer, right) - earned).abs() < 1e-15, "{answer} for {right}");
        }
    }
}
