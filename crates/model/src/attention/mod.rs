//! Multi-head attention: four projections around an attention kernel.

pub mod kernel;
pub mod position;
pub mod precision;

use burn::{module::Module, tensor::Tensor};

use crate::{init::Initializer, linear::Linear, mask::Mask, trace::Recorder};
use kernel::KernelKind;
use precision::Precision;

/// Sizes of one attention layer.
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of queries, keys, values and output.
    pub d_model: usize,
    /// Number of heads; divides `d_model`.
    pub n_heads: usize,
    /// How scores become a mixture of values.
    pub kernel: KernelKind,
}

/// Biased query, key, value and output projections around an attention kernel.
///
/// head_h = mix(x `W_q`^h, c `W_k`^h, c `W_v`^h), output = concat(head_1 … head_H) `W_o` + `b_o`, with `d_head` = `d_model` / H.
/// Heads are contiguous slices of the feature axis, as in PyTorch. Self-attention is the case c = x.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, section 3.2.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// Query projection.
    pub query: Linear,
    /// Key projection. Its bias shifts every score of a row alike, so its true gradient is zero.
    pub key: Linear,
    /// Value projection.
    pub value: Linear,
    /// Output projection.
    pub output: Linear,
    #[module(skip)]
    n_heads: usize,
    #[module(skip)]
    kernel: KernelKind,
    #[module(skip)]
    pub(crate) precision: Precision,
}

impl AttentionConfig {
    pub(crate) fn init(&self, init: &mut Initializer<'_>) -> MultiHeadAttention {
        let d = self.d_model;
        MultiHeadAttention {
            query: init.linear(d, d),
            key: init.linear(d, d),
            value: init.linear(d, d),
            output: init.linear(d, d),
            n_heads: self.n_heads,
            kernel: self.kernel,
            precision: Precision::F32,
        }
    }
}

impl MultiHeadAttention {
    /// Attends from `query` to `context`.
    ///
    /// # Shapes
    /// query `[batch, q_len, d_model]`, context `[batch, k_len, d_model]` -> `[batch, q_len, d_model]`
    pub fn forward(&self, query: Tensor<3>, context: Tensor<3>, mask: &Mask) -> Tensor<3> {
        self.run(query, context, mask, &mut Recorder::default())
    }

    pub(crate) fn run(&self, query: Tensor<3>, context: Tensor<3>, mask: &Mask, recorder: &mut Recorder) -> Tensor<3> {
        let q = self.split_heads(self.query.forward(query)); // [batch, n_heads, q_len, d_head]
        let k = self.split_heads(self.key.forward(context.clone())); // [batch, n_heads, k_len, d_head]
        let v = self.split_heads(self.value.forward(context)); // [batch, n_heads, k_len, d_head]
        let [q, k, v] = [q, k, v].map(|tensor| self.precision.round(tensor));
        let kernel = self.kernel.kernel();
        let mixed = if recorder.is_on() {
            let pattern = kernel.pattern(q, k, mask); // [batch, n_heads, q_len, k_len]
            recorder.pattern(&pattern);
            pattern.matmul(Precision::F32.round(v))
        } else {
            kernel.mix(q, k, v, mask)
        }; // [batch, n_heads, q_len, d_head]
        // A kernel may return what it was given or f32; either way the mixture is rounded like its inputs.
        let mixed = Precision::F32.round(self.precision.round(mixed));
        self.output.forward(Self::merge_heads(mixed))
    }

    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, rows, d_model] = x.dims();
        x.reshape([batch, rows, self.n_heads, d_model / self.n_heads]).swap_dims(1, 2) // [batch, n_heads, rows, d_head]
    }

    fn merge_heads(x: Tensor<4>) -> Tensor<3> {
        let [batch, n_heads, rows, d_head] = x.dims();
        x.swap_dims(1, 2).reshape([batch, rows, n_heads * d_head]) // [batch, rows, d_model]
    }
}
