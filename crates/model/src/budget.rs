//! What a model costs: parameters, floating-point operations, activation memory. The basis of fair comparisons.

use serde::Serialize;

use crate::{
    attention::position::PositionKind,
    config::{InputDims, IoDims, ModelConfig},
    ffn::StateMixer,
    transformer::{Norm, TransformerConfig},
};

/// Cost of a model on given data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Trainable numbers.
    pub parameters: usize,
    /// Floating-point operations of the forward pass of one sequence, two per multiply–add; matrix products only
    /// (linear maps, scores, mixing), which norms, softmax and additions leave within a few per cent for `d_head` ≥ 8.
    pub forward_flops: usize,
    /// Bytes that the forward pass of one sequence keeps for the backward pass, f32, plain tensor operations.
    pub activation_bytes: usize,
}

impl Budget {
    /// Operations of one training step: the backward pass costs twice the forward pass.
    pub fn step_flops(&self, batch: usize) -> usize {
        3 * batch * self.forward_flops
    }

    /// Activation bytes of one training step.
    pub fn step_activation_bytes(&self, batch: usize) -> usize {
        batch * self.activation_bytes
    }
}

/// Running totals; each method adds one layer.
#[derive(Default)]
struct Count {
    parameters: usize,
    flops: usize,
    floats: usize,
}

impl Count {
    /// Biased linear map over `rows`: keeps its input, yields `rows · d_out`.
    fn linear(&mut self, rows: usize, d_in: usize, d_out: usize) {
        self.parameters += d_in * d_out + d_out;
        self.flops += 2 * rows * d_in * d_out;
    }

    fn keep(&mut self, floats: usize) {
        self.floats += floats;
    }

    /// Self-attention over `rows` tokens of width `d`: keeps its input, q, k, v, one pattern and the merged mixture.
    fn attention(&mut self, rows: usize, d: usize, n_heads: usize) {
        for _ in 0..4 {
            self.linear(rows, d, d);
        }
        self.flops += 2 * 2 * rows * rows * d; // scores and mixing, summed over heads
        self.keep(5 * rows * d + n_heads * rows * rows);
    }

    fn norm(&mut self, rows: usize, d: usize) {
        self.parameters += 2 * d;
        self.keep(rows * d);
    }

    fn finish(self) -> Budget {
        Budget { parameters: self.parameters, forward_flops: self.flops, activation_bytes: 4 * self.floats }
    }
}

impl ModelConfig {
    /// Parameters, operations and activation memory, from the sizes alone.
    pub fn budget(&self, dims: &IoDims) -> Budget {
        let mut count = Count::default();
        match self {
            Self::PaperOneLayer(config) => {
                count.input_map(dims, config.d_model, config.n_anchors);
                count.attention(dims.seq_len + config.n_anchors, config.d_model, config.n_heads);
            }
            Self::PaperTwoLayer(config) => {
                let (rows, d) = (dims.seq_len + config.n_anchors, config.d_model);
                count.input_map(dims, d, config.n_anchors);
                count.attention(rows, d, config.n_heads);
                count.linear(rows, d, d);
                count.keep(rows * d);
                count.attention(rows, d, config.n_heads);
                count.linear(dims.seq_len, d, dims.d_out);
                count.keep(dims.seq_len * d);
            }
            Self::Transformer(config) => count.transformer(dims, config),
        }
        count.finish()
    }
}

impl Count {
    fn input_map(&mut self, dims: &IoDims, d: usize, n_anchors: usize) {
        if let InputDims::Continuous { d_in } = dims.input {
            self.linear(dims.seq_len, d_in, d);
            self.keep(dims.seq_len * (d_in + d));
        }
        self.parameters += (dims.seq_len + n_anchors) * d; // modulation and interpolation tokens
    }

    fn transformer(&mut self, dims: &IoDims, config: &TransformerConfig) {
        let (n, d) = (dims.seq_len, config.d_model);
        match dims.input {
            InputDims::Continuous { d_in } => {
                self.linear(n, d_in, d);
                self.keep(n * d_in);
            }
            InputDims::Tokens { vocab } => {
                self.parameters += vocab * d;
                self.keep(n);
            }
        }
        if config.position == PositionKind::Learned {
            self.parameters += n * d;
        }
        for _ in 0..config.n_layers {
            if config.norm == Norm::Pre {
                self.norm(n, d);
            }
            self.attention(n, d, config.n_heads);
            if let StateMixer::Ffn { d_ffn, .. } = config.state_mixer {
                if config.norm == Norm::Pre {
                    self.norm(n, d);
                }
                self.linear(n, d, d_ffn);
                self.linear(n, d_ffn, d);
                self.keep(n * d + 2 * n * d_ffn);
            }
        }
        if config.norm == Norm::Pre {
            self.norm(n, d);
        }
        self.linear(n, d, dims.d_out);
        self.keep(n * d);
    }
}
