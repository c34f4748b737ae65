//! The one-layer model of "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956), as in the
//! authors' code.

mod config;
mod network;

pub use config::{PaperOneLayerConfig, Readout};
pub use network::PaperOneLayer;
