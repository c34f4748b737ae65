//! A learned temperature of each head.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use crate::{budget::Count, init::Initializer};

/// Scores of head h become exp(`t_h`) times as large: queries are multiplied by it after norm and rotation, before any bias of a position
/// scheme, so that a softmax has the temperature exp(−`t_h`).
///
/// # References
/// A learned scale of scores of bounded rows: Henry et al. 2020, arXiv 2010.04245; one for each head, by its logarithm: Liu et al. 2022, arXiv
/// 2111.09883 (which also bounds it).
#[derive(Module, Debug)]
pub struct HeadTemperature {
    /// t, initially zero. `[n_heads]`
    pub log_scale: Param<Tensor<1>>,
}

impl HeadTemperature {
    pub(crate) fn new(n_heads: usize, init: &mut Initializer<'_>) -> Self {
        Self { log_scale: init.param([n_heads], |_| vec![0.0; n_heads]) }
    }

    /// # Shapes
    /// q `[batch, n_heads, q_len, d_head]` -> the same
    pub fn forward(&self, q: Tensor<4>) -> Tensor<4> {
        let n_heads = q.dims()[1];
        q * self.log_scale.val().exp().reshape([1, n_heads, 1, 1])
    }

    /// Adds the temperatures of `rows` rows to a budget: they keep the queries before them.
    pub(crate) fn count(rows: f64, n_heads: f64, d_head: f64, count: &mut Count) {
        count.parameters += n_heads;
        count.keep(rows * n_heads * d_head);
    }
}
