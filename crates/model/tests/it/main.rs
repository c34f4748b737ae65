//! Kernels, positions, models and adapters, one module each. `budget` is separate, because it counts the bytes of its
//! process.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod adapters;
mod attention_only;
mod kernel_laws;
mod kernels;
mod layer_parts;
mod models;
mod parts;
mod pool;
mod positions;
mod token_weights;
