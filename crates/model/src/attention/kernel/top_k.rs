//! Softmax attention to the keys with the largest scores alone.

use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{
    AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, Naive,
    naive::{HIDDEN, hidden_pairs, scores, softmax_of_visible},
};
use crate::{attention::view::View, config::ConfigError, init::Initializer};

/// mix(q, k, v) = softmax over the K visible keys with the largest scores q kᵀ / sqrt(`d_key`) + bias of each query; all other keys have
/// weight zero. Of equal scores those of the first keys count as the larger ones, so that the choice is determined.
///
/// The choice has no gradient. All scores are kept in memory.
///
/// # References
/// Gupta et al. 2021, arXiv 2106.06899, section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct TopKConfig {
    /// K, at least 1. Default 8. With as many as there are keys it is softmax attention.
    pub k: usize,
}

impl Default for TopKConfig {
    fn default() -> Self {
        Self { k: 8 }
    }
}

/// Softmax attention to the largest scores.
#[derive(Module, Debug)]
pub struct TopK {
    #[module(skip)]
    k: usize,
}

/// The scores that are not among the `k` largest of their row.
///
/// # Shapes
/// `[batch, n_heads, q_len, k_len]` -> the same
fn beyond_largest(scores: Tensor<4>, k: usize) -> Tensor<4, Bool> {
    let least = scores.clone().topk(k, 3).narrow(3, k - 1, 1).expand(scores.dims());
    let above = scores.clone().greater(least.clone()).int().sum_dim(3); // [batch, n_heads, q_len, 1]
    let ties = scores.clone().equal(least.clone());
    let left = above.neg().add_scalar(i32::try_from(k).unwrap_or(i32::MAX)); // places for ties
    let last = ties.clone().int().cumsum(3).greater(left.expand(scores.dims()));
    // A score that is not a number is in no order, and stays to be noticed.
    scores.lower(least).bool_or(ties.bool_and(last))
}

impl Kernel for TopK {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let scores = scores(q, k, view);
        let hidden = hidden_pairs(&view.mask, &scores);
        if self.k >= scores.dims()[3] {
            return softmax_of_visible(scores, hidden);
        }
        let seen = scores.clone().detach();
        let beyond = match hidden {
            Some(hidden) => beyond_largest(seen.mask_fill(hidden.clone(), HIDDEN), self.k).bool_or(hidden),
            None => beyond_largest(seen, self.k),
        };
        softmax_of_visible(scores, Some(beyond))
    }
}

impl KernelSpec for TopKConfig {
    fn validate(&self) -> Vec<ConfigError> {
        (self.k == 0).then(|| ConfigError::new("k", "must be at least 1")).into_iter().collect()
    }

    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::TopK(TopK { k: self.k })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        Naive.supports(demand)
    }

    fn lacks(&self) -> &'static [Law] {
        &[Law::FullSupport, Law::Smooth]
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        Naive.flops(sizes)
    }

    /// As `naive`, and a byte per score for the choice.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        Naive.kept_floats(sizes) + 0.25 * sizes.n_heads * sizes.q_len * sizes.k_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::TopK(*self)
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::TopK(Self { k: 3 })]
    }
}
