//! Counts with their nouns.

/// The count with its noun: `1 seed`, `5 seeds`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The number with all its digits, as far as they are known.
pub(crate) fn whole(number: f64) -> String {
    if number < 1e15 { format!("{number:.0}") } else { format!("{number:.3e}") }
}
