//! The general stack: embed, positions, blocks, head.

mod block;
mod config;
mod network;

pub use block::Block;
pub use config::{Norm, TransformerConfig};
pub use network::Transformer;
