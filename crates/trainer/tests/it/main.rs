//! Configs, optimisers and what a caller registers, one module each.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod numbers;
mod optimizers;
mod registered;
