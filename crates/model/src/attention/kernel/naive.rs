//! Softmax attention from plain tensor operations, as a readable reference.

use burn::{
    module::Module,
    tensor::{Bool, FloatDType, Tensor, activation},
};

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec};
use crate::{
    attention::{view::View, weighting::weighted},
    init::Initializer,
    mask::Mask,
};

/// mix(q, k, v) = softmax(q kᵀ / sqrt(`d_key`) + bias) v, row-wise over the visible keys; where keys have weights, with
/// [`weighted`] products before the bias is added.
///
/// The softmax subtracts each row's maximum, so scores of size 1e4 stay finite. A hidden key has weight exactly zero,
/// and a row without visible keys is zero. All scores are kept in memory, which `softmax` avoids.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, equation 1.
#[derive(Module, Debug)]
pub struct Naive;

/// Score of a hidden key: its exponential is zero beside any visible key, and unlike −∞ it keeps a row of hidden keys
/// finite.
pub(super) const HIDDEN: f32 = -1e30;

/// q kᵀ / sqrt(`d_key`), [`weighted`] where keys have weights, and the bias; in f32, of hidden pairs too.
///
/// # Shapes
/// as [`Kernel::pattern`]
pub(super) fn scores(q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
    let ([_, _, q_len, d_key], k_len) = (q.dims(), k.dims()[2]);
    let [q, k] = [q, k].map(|tensor| tensor.cast(FloatDType::F32));
    // Scaling q touches d_key entries per row, scaling the scores would touch k_len.
    let scores = view.product(q.mul_scalar(1.0 / (d_key as f64).sqrt()), k.swap_dims(2, 3)); // [batch, n_heads, q_len, k_len]
    let scores = match &view.weights {
        Some(weights) => weighted(scores, weights.clone()),
        None => scores,
    };
    match &view.bias {
        Some(bias) => scores + bias.pairs(q_len, k_len).unsqueeze(),
        None => scores,
    }
}

/// The pairs that a mask hides, for scores `[batch, n_heads, q_len, k_len]`; `None` if it hides none.
pub(super) fn hidden_pairs(mask: &Mask, scores: &Tensor<4>) -> Option<Tensor<4, Bool>> {
    let [_, _, q_len, k_len] = scores.dims();
    let hidden = mask.hidden(q_len, k_len, &scores.device())?;
    Some(hidden.reshape([1, 1, q_len, k_len]).expand(scores.dims()))
}

/// Softmax along the last axis over the scores that are not hidden; zero in a row in which all are.
pub(super) fn softmax_of_visible<const D: usize>(scores: Tensor<D>, hidden: Option<Tensor<D, Bool>>) -> Tensor<D> {
    match hidden {
        Some(hidden) => activation::softmax(scores.mask_fill(hidden.clone(), HIDDEN), D - 1).mask_fill(hidden, 0.0),
        None => activation::softmax(scores, D - 1),
    }
}

impl Kernel for Naive {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let scores = scores(q, k, view);
        let hidden = hidden_pairs(&view.mask, &scores);
        softmax_of_visible(scores, hidden)
    }
}

impl Naive {
    /// Number of floats that a softmax of plain operations keeps for the backward pass, for `rows` rows of `width`
    /// scores: the shifted scores, their exponentials, the sums, and the result, since burn's autodiff differentiates
    /// subtraction, exponential and division one by one.
    pub(crate) fn kept_by_rows(rows: f64, width: f64) -> f64 {
        3.0 * rows * width + rows
    }
}

impl KernelSpec for Naive {
    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Naive(Self)
    }

    fn supports(&self, _demand: Demand) -> Result<(), &'static str> {
        Ok(())
    }

    /// Scores and mixing.
    fn flops(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, q_len, k_len, d_key, d_value, .. } = *sizes;
        2.0 * q_len * k_len * n_heads * (d_key + d_value)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        Self::kept_by_rows(sizes.n_heads * sizes.q_len, sizes.k_len)
    }

    fn function(&self) -> KernelKind {
        KernelKind::Softmax
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::Naive]
    }
}
