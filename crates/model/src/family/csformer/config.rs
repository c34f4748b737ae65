//! Sizes of a CSformer.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{
    attention::{
        AttentionConfig,
        kernel::KernelKind,
        position::{PositionKind, PositionSizes},
    },
    budget::{Count, size},
    config::{InputDims, IoDims},
    ffn::Activation,
};

/// A network that forecasts several series at once: attention over channels, then over time, with the same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct CsformerConfig {
    /// Width of the hidden state of one number. Default 32.
    pub d_model: usize,
    /// Number of blocks, each with both stages. Default 2.
    pub n_layers: usize,
    /// Number of heads; divides `d_model`. Default 4.
    pub n_heads: usize,
    /// Hidden width of an adapter. Default 32.
    pub d_adapter: usize,
    /// Number of successive numbers of a channel that are lifted together; divides the length of the sequence. Default 1.
    pub patch: usize,
    /// Whether channels attend to each other; without it every channel is forecast from itself alone. Default true.
    pub mix_channels: bool,
    /// Whether the numbers of a channel are counted from its last one, so that its level does not matter. Default false.
    pub from_last: bool,
    /// Position scheme of time, see `headway list positions`; channels have no order. Default `learned`.
    pub position: PositionKind,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
}

impl Default for CsformerConfig {
    fn default() -> Self {
        Self {
            d_model: 32,
            n_layers: 2,
            n_heads: 4,
            d_adapter: 32,
            patch: 1,
            mix_channels: true,
            from_last: false,
            position: PositionKind::default(),
            kernel: KernelKind::default(),
        }
    }
}

/// Nonlinearity of the adapters.
pub(super) const ACTIVATION: Activation = Activation::GeluErf;

/// Numbers of rows in a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Rows over time, each of `patch` steps.
    pub times: usize,
    pub channels: usize,
    /// Number of steps that are forecast.
    pub horizon: usize,
}

impl CsformerConfig {
    pub(super) fn rows(&self, dims: &IoDims) -> Rows {
        let channels = match dims.input {
            InputDims::Continuous { d_in } => d_in.max(1),
            InputDims::Tokens { .. } => 1,
        };
        Rows { times: dims.seq_len / self.patch.max(1), channels, horizon: dims.d_out / channels }
    }

    pub(super) fn attention(&self) -> AttentionConfig {
        AttentionConfig::shared_width(self.d_model, self.n_heads, &self.kernel)
    }

    pub(super) fn position_sizes(&self, times: usize) -> PositionSizes {
        let AttentionConfig { d_model, n_heads, d_head, .. } = self.attention();
        PositionSizes { seq_len: times, d_model, d_head, n_heads, causal: false }
    }

    /// Adds one block to a budget.
    pub(super) fn count_block(&self, Rows { times, channels, .. }: Rows, count: &mut Count) {
        let [d, d_adapter, n] = [self.d_model, self.d_adapter, times * channels].map(size);
        let stages = [(channels, times), (times, channels)];
        for (rows, lines) in stages.into_iter().skip(usize::from(!self.mix_channels)) {
            let mut line = Count::default();
            self.attention().count(size(rows), false, &mut line);
            count.flops += size(lines) * line.flops;
            count.floats += size(lines) * line.floats;
            count.norm(n, d);
            count.linear(n, d, d_adapter);
            count.linear(n, d_adapter, d);
            count.keep(n * d + (1.0 + ACTIVATION.kept()) * n * d_adapter);
        }
        // Both stages have the same attention.
        let mut shared = Count::default();
        self.attention().count(1.0, false, &mut shared);
        count.parameters += shared.parameters;
    }
}
