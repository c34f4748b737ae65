//! The attention-aware layer: what is known and what was filled in are read apart.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};
use headway_kernels::Precision;

use super::{
    kernel::{KernelSizes, KernelSpec, Naive},
    merge_heads, split_heads,
    view::View,
    weighting::{holes, weighted},
};
use crate::{
    attention::trace::Recorder,
    budget::{Count, size},
    init::Initializer,
    linear::Linear,
    mask::Mask,
    norm::{NormKind, StateNorm, normalise},
};

/// Two reads of a sequence with the same scores, one for what is known of it and one for what is not:
///
/// ```text
/// u = norm(h),  s = (u W_q)(u W_k)ᵀ / sqrt(d_head)
/// P_known = softmax(weighted(s, m)),  P_hole = softmax(weighted(s, max(1 − m, 0.01)))
/// (a, b) = softmax(W [max_j s_known ; max_j s_hole] + c)      of all heads together, at each query
/// y = concat(a P_known e + b P_hole u) W_o + b_o
/// ```
///
/// with e the state before the first layer, as wide as h, and m the weights of tokens, see [`weighted`]. Values are slices of the states
/// themselves. The two kinds of reading, the shared scores and the softmax of the rows' maxima are those of the source; there
/// the layer stands in a convolutional network, and what it reads are images of features.
///
/// # References
/// Zheng et al. 2022, arXiv 2104.00845, section 3.3, and its code.
#[derive(Module, Debug)]
pub struct AwareAttention {
    /// Norm of what comes from the layer before.
    pub norm: Option<StateNorm>,
    /// Query projection.
    pub query: Linear,
    /// Key projection.
    pub key: Linear,
    /// W and c: from the maxima of both reads' scores to what each read counts. `2 n_heads` -> 2
    pub gate: Linear,
    /// Output projection.
    pub output: Linear,
    #[module(skip)]
    n_heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl AwareAttention {
    /// A layer of heads that divide the width among themselves, with its norm, if there is one.
    pub fn new(d_model: usize, n_heads: usize, norm: Option<StateNorm>, init: &mut Initializer<'_>) -> Self {
        Self {
            norm,
            query: init.linear(d_model, d_model),
            key: init.linear(d_model, d_model),
            gate: init.linear(2 * n_heads, 2),
            output: init.linear(d_model, d_model),
            n_heads,
            precision: init.attention,
        }
    }

    /// y of a state after the last layer, h, and one before the first, e; the recorder is told the mean of both patterns by a and b.
    ///
    /// # Shapes
    /// both states `[batch, rows, d_model]`, weights `[batch, rows]` -> `[batch, rows, d_model]`
    pub fn run(&self, last: Tensor<3>, first: Tensor<3>, weights: Tensor<2>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let view = View { precision: self.precision, ..Mask::Full.into() };
        let rounded = |x: Tensor<4>| Precision::F32.cast(self.precision.cast(x));
        let heads = |x: Tensor<3>| rounded(split_heads(x, self.n_heads)); // [batch, n_heads, rows, d_head]
        let normed = normalise(self.norm.as_ref(), last);
        let [q, k] = [&self.query, &self.key].map(|map| heads(map.forward(normed.clone())));
        let d_head = q.dims()[3];
        let scores = view.product(q.mul_scalar(1.0 / (d_head as f64).sqrt()), k.swap_dims(2, 3));
        let scores = [weights.clone(), holes(weights)].map(|weights| weighted(scores.clone(), weights));
        let [batch, n_heads, rows, _] = scores[0].dims();
        let maxima = Tensor::cat(scores.iter().map(|scores| scores.clone().max_dim(3)).collect(), 1);
        let maxima = maxima.reshape([batch, 2 * n_heads, rows]).swap_dims(1, 2);
        let gate = activation::softmax(self.gate.forward(maxima), 2); // [batch, rows, 2]
        let shares = [0, 1].map(|read| gate.clone().narrow(2, read, 1).reshape([batch, 1, rows, 1]));
        let patterns = scores.map(|scores| activation::softmax(scores, 3));
        if recorder.is_on() {
            let [known, hole] = [0, 1].map(|read| patterns[read].clone() * shares[read].clone());
            recorder.pattern(&(known + hole));
        }
        let ([known, hole], [of_known, of_hole]) = (patterns, shares);
        let mixed = view.product(known, heads(first)) * of_known + view.product(hole, heads(normed)) * of_hole;
        self.output.forward(merge_heads(recorder.mixture(rounded(mixed))))
    }

    /// Adds the layer over `rows` rows to a budget.
    pub(crate) fn count(rows: f64, d_model: usize, heads: usize, norm: Option<NormKind>, count: &mut Count) {
        let [d, n_heads] = [d_model, heads].map(size);
        if let Some(kind) = norm {
            kind.count(rows, d_model, count);
        }
        count.linear(rows, d, d);
        count.linear(rows, d, d);
        count.linear(rows, 2.0 * n_heads, 2.0);
        count.linear(rows, d, d);
        let d_head = d / n_heads;
        let sizes = KernelSizes { n_heads, q_len: rows, k_len: rows, d_key: d_head, d_value: d_head, causal: false };
        // One product for the scores of both reads, and one for each to mix.
        count.flops += Naive.flops(&sizes) + 2.0 * rows * rows * d;
        // What enters the layer, q, k, both mixtures, and their sum.
        count.keep(6.0 * rows * d);
        // For each read the factors of the scores, its softmax, and where each row is largest, in eight bytes.
        count.keep(2.0 * (n_heads * rows * rows + Naive.kept_floats(&sizes) + 2.0 * n_heads * rows));
        // Of the gate what enters, its softmax, and both shares.
        count.keep(rows * 2.0 * n_heads + Naive::kept_by_rows(rows, 2.0) + 2.0 * rows);
    }
}
