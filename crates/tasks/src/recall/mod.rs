//! Finding what stood next to a token earlier in the sequence. One file per task; [`pairs`] is the layout that
//! in-context and noisy recall share, [`distance`] the slices by how far back the answer lies.

pub mod distance;
pub mod in_context_recall;
pub mod mqar;
pub mod noisy_recall;
pub mod pairs;
pub mod selective_copying;
