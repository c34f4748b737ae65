//! Sizes of the one-layer model.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::attention::kernel::KernelKind;

/// How the prediction is computed from the output of attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// From all `d_model` channels, the first `d_out` of which are the prediction.
    #[default]
    Channels,
    /// One layer followed by a softmax: y = Σ_c softmax(z)_c z_c, one number per token.
    Softmax,
}

/// Sizes of the paper's one-layer model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct PaperOneLayerConfig {
    /// Width of the hidden state, the authors' hidden size. Default 32.
    pub d_model: usize,
    /// Number of heads; divides `d_model`. Default 1.
    pub n_heads: usize,
    /// Number of learned interpolation tokens appended to the sequence, the paper's p − n. Default 10.
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
