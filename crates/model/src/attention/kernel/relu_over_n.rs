//! Attention whose keys do not compete: the positive part of each score.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use super::{
    AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, Naive,
    naive::{hidden_pairs, scores},
};
use crate::{attention::view::View, init::Initializer};

/// mix(q, k, v) = max(q kᵀ / sqrt(`d_key`) + bias, 0) v / n, with n the number of keys that the query sees.
///
/// A key with a negative score has weight zero, and the weights of a query do not add up to one. The reference takes the length of the
/// sequence for n, which is the same without a mask. All scores are kept in memory.
///
/// # References
/// Wortsman et al. 2023, arXiv 2309.08586.
#[derive(Module, Debug)]
pub struct ReluOverN;

impl Kernel for ReluOverN {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let scores = scores(q, k, view);
        let [_, _, q_len, k_len] = scores.dims();
        let hidden = hidden_pairs(&view.mask, &scores);
        let visible = view.mask.visible(q_len, k_len, &scores.device()).reshape([1, 1, q_len, 1]);
        let scores = scores / visible;
        activation::relu(match hidden {
            Some(hidden) => scores.mask_fill(hidden, 0.0),
            None => scores,
        })
    }
}

impl KernelSpec for ReluOverN {
    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::ReluOverN(Self)
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        Naive.supports(demand)
    }

    fn lacks(&self) -> &'static [Law] {
        &[Law::RowsSumToOne, Law::FullSupport, Law::Smooth]
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        Naive.flops(sizes)
    }

    /// The scores and the pattern.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        2.0 * sizes.n_heads * sizes.q_len * sizes.k_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::ReluOverN
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::ReluOverN]
    }
}
