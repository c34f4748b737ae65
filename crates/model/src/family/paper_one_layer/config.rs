//! Sizes of the one-layer model.

use serde::{Deserialize, Serialize};

use crate::attention::kernel::KernelKind;

/// What becomes of the attention output of the one-layer model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// All `d_model` channels; the prediction is the first `d_out` of them.
    #[default]
    Channels,
    /// One layer followed by a softmax: y = Σ_c softmax(z)_c z_c, one number per token.
    Softmax,
}

/// Sizes of the paper's one-layer model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperOneLayerConfig {
    /// Width of the hidden state, the authors' hidden size. Default 32.
    pub d_model: usize,
    /// Heads; divides `d_model`. Default 1.
    pub n_heads: usize,
    /// Learned interpolation tokens appended to the sequence, the paper's p − n. Default 10.
    pub n_anchors: usize,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// `channels`, or `softmax` for the variant with one layer followed by a softmax. Default `channels`.
    pub readout: Readout,
}

impl Default for PaperOneLayerConfig {
    fn default() -> Self {
        Self { d_model: 32, n_heads: 1, n_anchors: 10, kernel: KernelKind::default(), readout: Readout::Channels }
    }
}
