//! The model behind the paper's attention maps (Hu et al. 2025, arXiv 2504.15956), as in the authors' code: one channel of the
//! keys and one of the values hold the interpolation points of the proof instead of learned numbers.

mod config;
mod network;

pub use config::PaperSetKeysConfig;
pub use network::PaperSetKeys;
