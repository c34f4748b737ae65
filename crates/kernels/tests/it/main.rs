//! Every kernel compared with the same function in f64, one module per kind. `memory` is separate, because it counts
//! the bytes of its process.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod attention;
mod features;
mod product;
mod rows;
