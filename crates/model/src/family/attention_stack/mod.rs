//! Attention layers one after the other, each with its own affine input map: the form in which the theorems are stated.
//!
//! No mask, no skip, no norm, and no width that layers share. Every size is free, so that a construction takes exactly
//! what it needs, and the result can be trained on like any network.

mod config;
mod network;

pub use config::{AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
pub use network::AttentionStack;
