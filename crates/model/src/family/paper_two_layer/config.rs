//! Sizes of the two-layer model.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::attention::kernel::KernelKind;

/// Sizes of the paper's two-layer model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct PaperTwoLayerConfig {
    /// Width of the hidden state, the authors' hidden size. Default 32.
    pub d_model: usize,
    /// Number of heads per layer; divides `d_model`. Default 8.
    pub n_heads: usize,
    /// Number of learned interpolation tokens appended to the sequence, the paper's p − n. Default 0.
    pub n_anchors: usize,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
}

impl Default for PaperTwoLayerConfig {
    fn default() -> Self {
        Self { d_model: 32, n_heads: 8, n_anchors: 0, kernel: KernelKind::default() }
    }
}
