//! Recall tasks: finding the token next to an earlier occurrence. One file per task; [`pairs`] is the layout that
//! in-context and noisy recall share, [`distance`] the slices by distance to the answer.

pub mod distance;
pub mod in_context_recall;
pub mod mqar;
pub mod noisy_recall;
pub mod pairs;
pub mod selective_copying;
