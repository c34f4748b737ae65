//! Attention whose keys do not compete: a sigmoid of each score.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use super::{
    AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, Naive,
    naive::{HIDDEN, hidden_pairs, scores},
};
use crate::{attention::view::View, init::Initializer};

/// mix(q, k, v) = σ(q kᵀ / sqrt(`d_key`) + bias − ln n) v, σ(x) = 1 / (1 + e^(−x)), with n the number of keys that the query sees.
///
/// At scores of zero each key has weight 1/(n + 1). The weights of a query do not add up to one. The reference takes the length of the
/// sequence for n, which is the same without a mask; here an answer does not depend on how many keys come later. All scores are
/// kept in memory.
///
/// # References
/// Ramapuram et al. 2024, arXiv 2409.04431, section 2.
#[derive(Module, Debug)]
pub struct Sigmoid;

impl Kernel for Sigmoid {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let scores = scores(q, k, view);
        let [_, _, q_len, k_len] = scores.dims();
        let hidden = hidden_pairs(&view.mask, &scores);
        let visible = view.mask.visible(q_len, k_len, &scores.device()).reshape([1, 1, q_len, 1]);
        let scores = scores - visible.log();
        activation::sigmoid(match hidden {
            Some(hidden) => scores.mask_fill(hidden, HIDDEN),
            None => scores,
        })
    }
}

impl KernelSpec for Sigmoid {
    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Sigmoid(Self)
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        Naive.supports(demand)
    }

    fn lacks(&self) -> &'static [Law] {
        &[Law::RowsSumToOne]
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        Naive.flops(sizes)
    }

    /// The scores and the pattern.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        2.0 * sizes.n_heads * sizes.q_len * sizes.k_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::Sigmoid
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::Sigmoid]
    }
}
