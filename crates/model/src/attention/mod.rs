//! Multi-head attention: four projections around an attention kernel.

pub mod kernel;
pub mod position;
pub mod precision;

use burn::{module::Module, tensor::Tensor};

use crate::{
    adapter::{AttentionPlace, Prefix, Target},
    init::Initializer,
    linear::Linear,
    mask::Mask,
    trace::Recorder,
};
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
    /// Learned keys and values in front of the context's.
    pub prefix: Option<Prefix>,
    #[module(skip)]
    n_heads: usize,
    #[module(skip)]
    kernel: KernelKind,
    #[module(skip)]
    precision: Precision,
}

impl AttentionConfig {
    pub(crate) fn init(&self, init: &mut Initializer<'_>) -> MultiHeadAttention {
        let d = self.d_model;
        MultiHeadAttention {
            query: init.linear(d, d),
            key: init.linear(d, d),
            value: init.linear(d, d),
            output: init.linear(d, d),
            prefix: None,
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

    pub(crate) fn run(
        &self,
        query: Tensor<3>,
        context: Tensor<3>,
        mask: &Mask,
        recorder: &mut Recorder<'_>,
    ) -> Tensor<3> {
        let q = split_heads(self.query.forward(query), self.n_heads); // [batch, n_heads, q_len, d_head]
        let k = split_heads(self.key.forward(context.clone()), self.n_heads); // [batch, n_heads, k_len, d_head]
        let v = split_heads(self.value.forward(context), self.n_heads); // [batch, n_heads, k_len, d_head]
        let [k, v] = with_prefix(self.prefix.as_ref(), k, v);
        let mixed = attend([q, k, v], mask, self.kernel, self.precision, recorder); // [batch, n_heads, q_len, d_head]
        self.output.forward(merge_heads(mixed))
    }

    pub(crate) fn place(&mut self) -> AttentionPlace<'_> {
        let projections = [
            (Target::Query, self.query.place()),
            (Target::Key, self.key.place()),
            (Target::Value, self.value.place()),
            (Target::Output, self.output.place()),
        ];
        AttentionPlace { projections, prefix: &mut self.prefix, precision: &mut self.precision }
    }
}

/// The kernel between projections: rounds what it is given, shows its pattern to whoever asks, rounds the mixture, which whoever
/// asks may replace.
///
/// # Shapes
/// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]`, v `[batch, n_heads, k_len, d_value]` ->
/// `[batch, n_heads, q_len, d_value]`
pub(crate) fn attend(
    qkv: [Tensor<4>; 3],
    mask: &Mask,
    kernel: KernelKind,
    precision: Precision,
    recorder: &mut Recorder<'_>,
) -> Tensor<4> {
    let [q, k, v] = qkv.map(|tensor| precision.round(tensor));
    let kernel = kernel.kernel();
    let mixed = if recorder.is_on() {
        let pattern = kernel.pattern(q, k, mask); // [batch, n_heads, q_len, k_len]
        recorder.pattern(&pattern);
        pattern.matmul(Precision::F32.round(v))
    } else {
        kernel.mix(q, k, v, mask)
    };
    // A kernel may return what it was given or f32; either way the mixture is rounded like its inputs.
    recorder.mixture(Precision::F32.round(precision.round(mixed)))
}

/// Keys and values with a prefix in front of them, where there is one.
pub(crate) fn with_prefix(prefix: Option<&Prefix>, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 2] {
    match prefix {
        Some(prefix) => prefix.before(k, v),
        None => [k, v],
    }
}

/// # Shapes
/// `[batch, rows, n_heads · d_head]` -> `[batch, n_heads, rows, d_head]`
pub(crate) fn split_heads(x: Tensor<3>, n_heads: usize) -> Tensor<4> {
    let [batch, rows, width] = x.dims();
    x.reshape([batch, rows, n_heads, width / n_heads]).swap_dims(1, 2)
}

/// # Shapes
/// `[batch, n_heads, rows, d_head]` -> `[batch, rows, n_heads · d_head]`
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, n_heads, rows, d_head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, rows, n_heads * d_head])
}
