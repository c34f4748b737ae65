//! Every construction through all its stages, one module each.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod activation;
mod attacks;
mod causal;
mod formula;
mod in_context_gd;
mod interpreter;
mod kernel_ridge;
mod max_affine;
mod network_descent;
mod prefix;
mod program;
mod relu_network;
mod seq2seq;
mod stages;
mod statistics;
mod truncated_linear;
