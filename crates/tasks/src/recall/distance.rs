//! Slices by the distance, in tokens, from a query back to the key that it repeats.
//!
//! Keys and queries are at even positions, so distances are even. A slice is named by its largest distance and contains
//! all distances above half of that: `distance=2`, `distance=4`, `distance=8` (6 and 8), `distance=16` (10 to 16), …

/// Names of all slices of sequences of `seq_len` positions.
pub fn slices(seq_len: usize) -> Vec<String> {
    let furthest = seq_len.saturating_sub(1);
    (0..=slice(furthest)).map(|slice| format!("distance={}", 2_u64 << slice)).collect()
}

/// The slice of a distance, as an index into [`slices`].
pub fn slice(distance: usize) -> u32 {
    (distance / 2).next_power_of_two().trailing_zeros()
}
