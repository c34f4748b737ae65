//! Tasks about which a theorem says what attention can and cannot do.

pub mod convex_hull;
pub mod d_retrieval;
pub mod inverse_permutation;
pub mod kth_largest;
pub mod max_of_k;
pub mod parity;
pub mod sort;
