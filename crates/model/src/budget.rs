//! What a model costs: parameters, floating-point operations, activation memory. The basis of fair comparisons.

use serde::Serialize;

use crate::{
    attention::{kernel::KernelKind, position::PositionKind},
    attention_stack::{AttentionStackConfig, StackMap, StackReadout},
    config::{InputDims, IoDims, ModelConfig},
    ffn::{Activation, StateMixer},
    paper::Readout,
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
    /// Bytes that the forward pass of one sequence keeps for the backward pass, f32, where the fused kernels run (burn-flex;
    /// elsewhere more); without the prediction itself, the graph's own nodes and the mask. Kept is what a backward pass reads.
    pub activation_bytes: usize,
}

impl Budget {
    /// Operations of one training step: the backward pass costs twice the forward pass.
    pub fn step_flops(&self, batch: usize) -> usize {
        self.forward_flops.saturating_mul(batch).saturating_mul(3)
    }

    /// Activation bytes of one training step.
    pub fn step_activation_bytes(&self, batch: usize) -> usize {
        self.activation_bytes.saturating_mul(batch)
    }
}

/// Running totals; each method adds one layer. In f64, exact up to 2^53 and without overflow beyond: a config may hold any size.
#[derive(Default)]
struct Count {
    parameters: f64,
    flops: f64,
    floats: f64,
}

impl Count {
    /// Biased linear map over `rows`: keeps its input, yields `rows · d_out`.
    fn linear(&mut self, rows: f64, d_in: f64, d_out: f64) {
        self.parameters += d_in * d_out + d_out;
        self.flops += 2.0 * rows * d_in * d_out;
    }

    /// Linear map without bias.
    fn projection(&mut self, rows: f64, d_in: f64, d_out: f64) {
        self.parameters += d_in * d_out;
        self.flops += 2.0 * rows * d_in * d_out;
    }

    fn keep(&mut self, floats: f64) {
        self.floats += floats;
    }

    /// Self-attention over `rows` tokens of width `d`: keeps its input, q, k, v and the merged mixture.
    fn attention(&mut self, rows: f64, d: f64, n_heads: usize, kernel: KernelKind) {
        for _ in 0..4 {
            self.linear(rows, d, d);
        }
        self.flops += 4.0 * rows * rows * d; // scores and mixing, summed over heads
        self.keep(5.0 * rows * d);
        self.keep(kernel.kernel().kept_floats(size(n_heads) * rows, rows));
    }

    /// Keeps its input; its output is kept by what follows.
    fn norm(&mut self, rows: f64, d: f64) {
        self.parameters += 2.0 * d;
        self.keep(rows * d);
    }

    fn finish(self) -> Budget {
        Budget {
            parameters: self.parameters as usize,
            forward_flops: self.flops as usize,
            activation_bytes: (4.0 * self.floats) as usize,
        }
    }
}

impl ModelConfig {
    /// Parameters, operations and activation memory, from the sizes alone.
    pub fn budget(&self, dims: &IoDims) -> Budget {
        let mut count = Count::default();
        match self {
            Self::PaperOneLayer(config) => {
                let [n, d] = [dims.seq_len, config.d_model].map(size);
                let rows = count.input_map(dims, d, config.n_anchors);
                count.attention(rows, d, config.n_heads, config.kernel);
                if config.readout == Readout::Softmax {
                    count.keep(n * d);
                    // A softmax of plain operations.
                    count.keep(KernelKind::Naive.kernel().kept_floats(n, d));
                }
            }
            Self::PaperTwoLayer(config) => {
                let [n, d, d_out] = [dims.seq_len, config.d_model, dims.d_out].map(size);
                let rows = count.input_map(dims, d, config.n_anchors);
                count.attention(rows, d, config.n_heads, config.kernel);
                count.linear(rows, d, d);
                count.keep(rows * d);
                count.attention(rows, d, config.n_heads, config.kernel);
                count.linear(n, d, d_out);
                count.keep(n * d);
            }
            Self::PaperSetKeys(config) => {
                let d = size(config.d_model);
                let rows = count.input_map(dims, d, config.n_anchors);
                count.attention(rows, d, 1, KernelKind::Naive);
            }
            Self::AttentionStack(config) => count.attention_stack(dims, config),
            Self::Transformer(config) => count.transformer(dims, config),
        }
        count.finish()
    }
}

impl Count {
    /// Adds the paper's map A; returns the rows it yields.
    fn input_map(&mut self, dims: &IoDims, d: f64, n_anchors: usize) -> f64 {
        let n = size(dims.seq_len);
        if let InputDims::Continuous { d_in } = dims.input {
            self.linear(n, size(d_in), d);
            self.keep(n * (size(d_in) + d));
        }
        let rows = n + size(n_anchors);
        self.parameters += rows * d; // modulation and interpolation tokens
        rows
    }

    fn attention_stack(&mut self, dims: &IoDims, config: &AttentionStackConfig) {
        let InputDims::Continuous { d_in } = dims.input else { return };
        let (mut rows_in, mut d_in) = (size(dims.seq_len), size(d_in));
        let flat = size(dims.seq_len) * size(dims.d_out);
        for layer in &config.layers {
            let [rows, width, queries, keys] = [layer.rows, layer.width, layer.n_queries(), layer.n_keys()].map(size);
            match layer.map {
                StackMap::TokenWise => {
                    self.projection(rows_in, d_in, width);
                    self.parameters += rows * width;
                }
                StackMap::SequenceWise => self.linear(1.0, rows_in * d_in, rows * width),
            }
            self.keep(rows_in * d_in + rows * width);
            for heads in &layer.heads {
                let [count, d_key, d_value] = [heads.count, heads.d_key, heads.d_value].map(size);
                self.projection(queries, width, count * d_key);
                self.projection(keys, width, count * d_key);
                self.projection(keys, width, count * d_value);
                self.projection(queries, count * d_value, size(layer.d_out));
                self.flops += 2.0 * queries * keys * count * (d_key + d_value);
                self.keep(count * (queries * (d_key + d_value) + keys * (d_key + d_value)));
                self.keep(config.kernel.kernel().kept_floats(count * queries, keys));
            }
            (rows_in, d_in) = (queries, size(layer.d_out));
        }
        match config.readout {
            StackReadout::Rows => {}
            StackReadout::Affine => {
                self.linear(1.0, rows_in * d_in, flat);
                self.keep(rows_in * d_in);
            }
            StackReadout::Softmax { width, d_value } => {
                let [width, d_value] = [width, d_value].map(size);
                self.linear(rows_in, d_in, width);
                self.keep(rows_in * d_in);
                self.keep(KernelKind::Naive.kernel().kept_floats(rows_in, width));
                self.projection(rows_in, width, d_value);
                self.linear(1.0, rows_in * d_value, flat);
                self.keep(rows_in * d_value);
            }
        }
    }

    fn transformer(&mut self, dims: &IoDims, config: &TransformerConfig) {
        let [n, d] = [dims.seq_len, config.d_model].map(size);
        match dims.input {
            InputDims::Continuous { d_in } => {
                self.linear(n, size(d_in), d);
                self.keep(n * size(d_in));
            }
            InputDims::Tokens { vocab } => {
                self.parameters += size(vocab) * d;
                self.keep(n);
            }
        }
        if config.position == PositionKind::Learned {
            self.parameters += n * d;
        }
        let mut block = Self::default();
        block.block(n, config);
        let n_layers = size(config.n_layers);
        self.parameters += n_layers * block.parameters;
        self.flops += n_layers * block.flops;
        self.floats += n_layers * block.floats;
        if config.norm == Norm::Pre {
            self.norm(n, d);
        }
        self.linear(n, d, size(dims.d_out));
        self.keep(n * d);
    }

    /// One block over `n` tokens.
    fn block(&mut self, n: f64, config: &TransformerConfig) {
        let d = size(config.d_model);
        if config.norm == Norm::Pre {
            self.norm(n, d);
        }
        self.attention(n, d, config.n_heads, config.kernel);
        if let StateMixer::Ffn { d_ffn, activation } = config.state_mixer {
            if config.norm == Norm::Pre {
                self.norm(n, d);
            }
            self.linear(n, d, size(d_ffn));
            self.linear(n, size(d_ffn), d);
            self.keep(n * d + (1.0 + activation.kept()) * n * size(d_ffn));
        }
    }
}

fn size(n: usize) -> f64 {
    n as f64
}

impl Activation {
    /// Numbers kept per entry, apart from the output: the input, and for the tanh formula the argument and the value of its
    /// gate. The exact GELU is one operation on burn-flex; elsewhere it keeps as much as the tanh formula.
    fn kept(self) -> f64 {
        match self {
            Self::GeluErf | Self::Relu => 1.0,
            Self::GeluTanh => 3.0,
        }
    }
}
