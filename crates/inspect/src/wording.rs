//! Numbers with their nouns.

/// `1 seed`, `5 seeds`
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
