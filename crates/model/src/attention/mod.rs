//! Multi-head attention as parts: projections, steps on queries and keys (norm, rotation), an attention kernel, a gate, output.

pub mod aware;
pub mod axis;
pub mod gate;
pub mod kernel;
pub mod place;
pub mod position;
pub mod prefix;
pub mod qk_norm;
pub mod temperature;
pub mod trace;
pub mod value_residual;
pub mod view;
pub mod weighting;

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use headway_kernels::{Options, Precision, counts_launches, joined, packed_attention};

use crate::{
    budget::{Count, size},
    init::Initializer,
    linear::Linear,
    mask::Mask,
    norm::{RMS_EPSILON, RmsNorm},
};
use gate::{Gate, OutputGate};
use kernel::{AttentionKernel, Kernel, KernelKind, KernelSizes};
use place::{AttentionPlace, Target};
use position::Position;
use prefix::Prefix;
use qk_norm::{QkNorm, normed};
use temperature::HeadTemperature;
use trace::Recorder;
use value_residual::{ValueMix, ValueResidual};
use view::{Layout, View};
use weighting::TokenWeight;

/// Sizes of one attention layer.
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of the hidden state.
    pub d_model: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Number of heads of keys and values, each shared by as many query heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// The attention kernel, which mixes values.
    pub kernel: KernelKind,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
    /// Added to the mean square by that norm.
    pub norm_epsilon: f64,
    /// Whether each head has a learned temperature.
    pub head_temperature: bool,
    /// How its values are mixed with those of the first layer; `None` in the first layer itself.
    pub value_residual: ValueResidual,
    /// Gate on the mixture.
    pub gate: Gate,
    /// Whether keys count by a weight of their token.
    pub token_weight: TokenWeight,
}

/// Query, key, value and output projections, with or without a bias, around an attention kernel.
///
/// head_h = mix(R(x `W_q`^h), R(c `W_k`^g), c `W_v`^g), output = concat(head_1 … head_H) `W_o` + `b_o`, with R what is done to queries and
/// keys, first by the norm and then by the position scheme, and g = ⌊h · `n_kv_heads` / H⌋. With a gate the concatenation is multiplied by
/// it first. Heads are contiguous slices of the feature axis, as in PyTorch. Self-attention is the case c = x.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, section 3.2; heads that share keys and values: Ainslie et al. 2023, arXiv 2305.13245.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// Query projection.
    pub query: Linear,
    /// Key projection. Its bias adds the same number to all scores of a row, so its true gradient is zero.
    pub key: Linear,
    /// Value projection.
    pub value: Linear,
    /// Output projection.
    pub output: Linear,
    /// Norm of queries, before positions turn them.
    pub query_norm: Option<RmsNorm>,
    /// Norm of keys, before positions turn them; a learned prefix stays as it is.
    pub key_norm: Option<RmsNorm>,
    /// Factors of the scores of each head, after positions have turned queries and keys.
    pub temperature: Option<HeadTemperature>,
    /// What mixes values with those of the first layer.
    pub value_mix: Option<ValueMix>,
    /// Factors of the mixture.
    pub gate: Option<OutputGate>,
    /// Learned keys and values before those of the context, if any.
    pub prefix: Option<Prefix>,
    /// The attention kernel.
    pub kernel: AttentionKernel,
    #[module(skip)]
    n_heads: usize,
    #[module(skip)]
    n_kv_heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl AttentionConfig {
    /// The config for heads that divide the width among themselves.
    pub fn shared_width(d_model: usize, n_heads: usize, kernel: &KernelKind) -> Self {
        Self {
            d_model,
            n_heads,
            n_kv_heads: n_heads,
            d_head: d_model / n_heads.max(1),
            kernel: kernel.clone(),
            qk_norm: QkNorm::None,
            norm_epsilon: RMS_EPSILON,
            head_temperature: false,
            value_residual: ValueResidual::None,
            gate: Gate::None,
            token_weight: TokenWeight::None,
        }
    }

    /// The layer.
    pub fn init(&self, init: &mut Initializer<'_>) -> MultiHeadAttention {
        let Self { d_model, n_heads, n_kv_heads, d_head, qk_norm, norm_epsilon, gate, .. } = *self;
        MultiHeadAttention {
            query: init.linear(d_model, n_heads * d_head),
            key: init.linear(d_model, n_kv_heads * d_head),
            value: init.linear(d_model, n_kv_heads * d_head),
            output: init.linear_of_residual(n_heads * d_head, d_model),
            query_norm: qk_norm.init(d_head, norm_epsilon, init),
            key_norm: qk_norm.init(d_head, norm_epsilon, init),
            temperature: self.head_temperature.then(|| HeadTemperature::new(n_heads, init)),
            value_mix: self.value_residual.init(init),
            gate: gate.init(d_model, n_heads * d_head, init),
            prefix: None,
            kernel: self.kernel.spec().build(d_head, init),
            n_heads,
            n_kv_heads,
            precision: init.attention,
        }
    }

    /// Adds self-attention over `rows` rows to a budget: it keeps its input, q, k, v and the merged head outputs.
    pub fn count(&self, rows: f64, causal: bool, count: &mut Count) {
        let [d, n_heads, n_kv_heads, d_head] = [self.d_model, self.n_heads, self.n_kv_heads, self.d_head].map(size);
        count.linear(rows, d, n_heads * d_head);
        count.linear(rows, d, n_kv_heads * d_head);
        count.linear(rows, d, n_kv_heads * d_head);
        count.linear(rows, n_heads * d_head, d);
        count.keep(rows * (d + 4.0 * n_heads * d_head));
        self.qk_norm.count(rows, n_heads, self.d_head, count);
        self.qk_norm.count(rows, n_kv_heads, self.d_head, count);
        if self.head_temperature {
            HeadTemperature::count(rows, n_heads, d_head, count);
        }
        self.value_residual.count(rows, n_kv_heads * d_head, count);
        self.gate.count(rows, d, n_heads * d_head, count);
        let sizes = KernelSizes { n_heads, q_len: rows, k_len: rows, d_key: d_head, d_value: d_head, causal };
        match self.token_weight {
            TokenWeight::None => self.kernel.count(&sizes, count),
            TokenWeight::Tfill => {
                // Scores are made one by one, and each keeps its factor.
                KernelKind::Naive.count(&sizes, count);
                count.keep(n_heads * rows * rows);
            }
        }
    }
}

impl MultiHeadAttention {
    /// Attends from `query` to `context`.
    ///
    /// # Shapes
    /// query `[batch, q_len, d_model]`, context `[batch, k_len, d_model]` -> `[batch, q_len, d_model]`
    pub fn forward(&self, query: Tensor<3>, context: Tensor<3>, mask: &Mask) -> Tensor<3> {
        self.run(query, context, mask.into(), &mut Recorder::default())
    }

    /// [`Self::forward`] with what a layout says of the rows, told to the recorder.
    pub fn run(
        &self,
        query: Tensor<3>,
        context: Tensor<3>,
        layout: Layout<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Tensor<3> {
        self.output.forward(self.mix(query, context, layout, recorder))
    }

    /// Attends from every row to the rows of its own sequence, in fewer operations where that is what counts.
    ///
    /// # Shapes
    /// x `[batch, rows, d_model]` -> the same
    pub(crate) fn run_on_itself(&self, x: Tensor<3>, layout: Layout<'_>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        self.output.forward(self.mix_on_itself(x, layout, recorder))
    }

    /// [`Self::run_on_itself`] added to `onto`.
    ///
    /// # Shapes
    /// `[batch, rows, d_model]` each -> the same
    pub(crate) fn run_on_itself_onto(
        &self,
        onto: Tensor<3>,
        x: Tensor<3>,
        layout: Layout<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Tensor<3> {
        self.output.forward_onto(onto, self.mix_on_itself(x, layout, recorder))
    }

    /// What the output's projection is given: the heads' mixtures side by side, times the gate if there is one.
    ///
    /// # Shapes
    /// as [`Self::run`] -> `[batch, q_len, n_heads · d_head]`
    fn mix(&self, query: Tensor<3>, context: Tensor<3>, layout: Layout<'_>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let q_len = query.dims()[1];
        let gate = self.gate.as_ref().map(|gate| gate.forward(query.clone())); // [batch, q_len, n_heads · d_head]
        let q = split_heads(self.query.forward(query), self.n_heads); // [batch, n_heads, q_len, d_head]
        let k = split_heads(self.key.forward(context.clone()), self.n_kv_heads); // [batch, n_kv_heads, k_len, d_head]
        let v = split_heads(self.value.forward(context), self.n_kv_heads); // [batch, n_kv_heads, k_len, d_head]
        let v = self.mixed_with_first(v, layout);
        let [q, k] = [normed(self.query_norm.as_ref(), q), normed(self.key_norm.as_ref(), k)];
        let [k, v] = recorder.so_far(k, v);
        let lengths = [q_len, k.dims()[2]];
        let [q, k] = layout.rotate(q, k);
        let q = match &self.temperature {
            Some(temperature) => temperature.forward(q),
            None => q,
        };
        let [k, v] = with_prefix(self.prefix.as_ref(), k, v);
        let view =
            View { precision: self.precision, ..layout.view(self.n_heads, lengths, k.dims()[2] - lengths[1], &k) };
        let [k, v] = [k, v].map(|shared| share_heads(shared, self.n_heads)); // [batch, n_heads, length + k_len, d_head]
        let mixed = attend([q, k, v], &view, &self.kernel, recorder); // [batch, n_heads, q_len, d_head]
        let merged = merge_heads(mixed); // [batch, q_len, n_heads · d_head]
        match gate {
            Some(gate) => merged * gate,
            None => merged,
        }
    }

    /// Values mixed with those of the first layer; in the first layer the values themselves, put where later ones find them.
    ///
    /// # Shapes
    /// `[batch, n_kv_heads, rows, d_head]` -> the same
    fn mixed_with_first(&self, v: Tensor<4>, layout: Layout<'_>) -> Tensor<4> {
        let Some(first_values) = layout.first_values else { return v };
        let first = first_values.get_or_init(|| v.clone());
        match &self.value_mix {
            Some(mix) => mix.forward(first.clone(), v),
            None => v,
        }
    }

    /// [`Self::mix`] from every row to the rows of its own sequence.
    ///
    /// # Shapes
    /// x `[batch, rows, d_model]` -> `[batch, rows, n_heads · d_head]`
    fn mix_on_itself(&self, x: Tensor<3>, layout: Layout<'_>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        match self.causality_alone(layout, recorder) {
            Some((causal, biases)) if counts_launches(&x.device()) => self.mix_packed(x, biases, causal),
            _ => self.mix(x.clone(), x, layout, recorder),
        }
    }

    /// Whether the mask is causal, where nothing else stands between the three biased projections of a sequence and the output's, and
    /// these biases.
    fn causality_alone(&self, layout: Layout<'_>, recorder: &Recorder<'_>) -> Option<(bool, [Tensor<1>; 3])> {
        let causal = match layout.mask {
            Mask::Full => false,
            Mask::Causal => true,
            Mask::Hidden(_) => return None,
        };
        let adapted = [&self.query, &self.key, &self.value].iter().any(|map| map.low_rank.is_some());
        let plain = matches!(self.kernel, AttentionKernel::Softmax(_)) && self.n_kv_heads == self.n_heads;
        let [queries, keys] = [&self.query_norm, &self.key_norm].map(Option::is_some);
        let changed = queries || keys || self.temperature.is_some() || self.gate.is_some();
        let moved = layout.position.is_some_and(Position::acts_within_layers);
        let learned = adapted || self.prefix.is_some();
        let bare = layout.weights.is_none() && layout.first_values.is_none();
        let alone = plain && !changed && !moved && !learned && bare && recorder.lets_pass();
        let biases = [&self.query, &self.key, &self.value].map(|map| map.bias.as_ref().map(Param::val));
        let [Some(query), Some(key), Some(value)] = biases else { return None };
        alone.then_some((causal, [query, key, value]))
    }

    /// The heads' mixtures side by side, from one product for queries, keys and values.
    ///
    /// # Shapes
    /// x `[batch, rows, d_model]` -> `[batch, rows, n_heads · d_head]`
    fn mix_packed(&self, x: Tensor<3>, biases: [Tensor<1>; 3], causal: bool) -> Tensor<3> {
        let maps = [&self.query, &self.key, &self.value];
        let qkv = joined(x, maps.map(|map| map.weight.val()), biases, self.query.precision);
        let d_head = qkv.dims()[2] / 3 / self.n_heads;
        let options = Options { scale: 1.0 / (d_head as f32).sqrt(), causal, precision: self.precision };
        Precision::F32.cast(packed_attention(self.precision.cast(qkv), self.n_heads, options))
    }

    /// The fields in which adapters put their parameters.
    pub fn place(&mut self) -> AttentionPlace<'_> {
        let projections = [
            (Target::Query, self.query.place()),
            (Target::Key, self.key.place()),
            (Target::Value, self.value.place()),
            (Target::Output, self.output.place()),
        ];
        AttentionPlace { projections, prefix: &mut self.prefix, kernel: &mut self.kernel }
    }
}

/// Runs the kernel between the projections: stores its inputs in the precision's type, records its pattern if requested,
/// rounds its output, and lets the recorder replace it.
///
/// # Shapes
/// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]`, v `[batch, n_heads, k_len, d_value]` ->
/// `[batch, n_heads, q_len, d_value]`
pub(crate) fn attend(
    qkv: [Tensor<4>; 3],
    view: &View,
    kernel: &AttentionKernel,
    recorder: &mut Recorder<'_>,
) -> Tensor<4> {
    let [q, k, v] = qkv.map(|tensor| view.precision.cast(tensor));
    let mixed = if recorder.is_on() {
        let pattern = kernel.pattern(q, k, view); // [batch, n_heads, q_len, k_len]
        recorder.pattern(&pattern);
        view.product(pattern, Precision::F32.cast(v))
    } else if let Some(other) = recorder.kernel_beside() {
        let [pattern, beside] = [kernel, other].map(|kernel| kernel.pattern(q.clone(), k.clone(), view));
        recorder.beside([pattern.clone(), beside]);
        view.product(pattern, Precision::F32.cast(v))
    } else {
        kernel.mix(q, k, v, view)
    };
    // A kernel may return the precision of its inputs or f32; in both cases the output is rounded like the inputs.
    recorder.mixture(Precision::F32.cast(view.precision.cast(mixed)))
}

/// Repeats each head as often as query heads share it, the copies side by side.
///
/// # Shapes
/// `[batch, n_kv_heads, rows, d_head]` -> `[batch, n_heads, rows, d_head]`
fn share_heads(x: Tensor<4>, n_heads: usize) -> Tensor<4> {
    let [batch, n_kv_heads, rows, d_head] = x.dims();
    if n_kv_heads == n_heads {
        return x;
    }
    let copies = x.unsqueeze_dim::<5>(2).expand([batch, n_kv_heads, n_heads / n_kv_heads, rows, d_head]);
    copies.reshape([batch, n_heads, rows, d_head])
}

/// Keys and values with the prefix before them, if there is one.
pub(crate) fn with_prefix(prefix: Option<&Prefix>, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 2] {
    match prefix {
        Some(prefix) => prefix.before(k, v),
        None => [k, v],
    }
}

/// Splits the features into heads.
///
/// # Shapes
/// `[batch, rows, n_heads · d_head]` -> `[batch, n_heads, rows, d_head]`
pub(crate) fn split_heads(x: Tensor<3>, n_heads: usize) -> Tensor<4> {
    let [batch, rows, width] = x.dims();
    x.reshape([batch, rows, n_heads, width / n_heads]).swap_dims(1, 2)
}

/// Merges the heads into features.
///
/// # Shapes
/// `[batch, n_heads, rows, d_head]` -> `[batch, rows, n_heads · d_head]`
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, n_heads, rows, d_head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, rows, n_heads * d_head])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// The joined projections and the kernel behind them know no norms and no gate.
    #[test]
    fn only_bare_heads_of_their_own_are_packed() {
        let bare = AttentionConfig::shared_width(6, 2, &KernelKind::Softmax);
        let packs = |config: &AttentionConfig| {
            let layer = config.init(&mut Initializer::uninitialized(&Device::flex()));
            layer.causality_alone((&Mask::Causal).into(), &Recorder::default()).map(|(causal, _)| causal)
        };
        assert_eq!(packs(&bare), Some(true));
        let others = [
            AttentionConfig { qk_norm: QkNorm::Rms, ..bare.clone() },
            AttentionConfig { gate: Gate::Sigmoid, ..bare.clone() },
            AttentionConfig { head_temperature: true, ..bare.clone() },
            AttentionConfig { n_kv_heads: 1, ..bare.clone() },
            AttentionConfig { kernel: KernelKind::Naive, ..bare },
        ];
        for other in others {
            assert_eq!(packs(&other), None, "{other:?}");
        }
    }
}
