//! Norms of queries and keys, before positions turn them.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Count, size},
    init::Initializer,
};

/// What becomes of each head's queries and keys before they meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// Nothing.
    #[default]
    None,
    /// Each is divided by its root mean square: scores are then no larger than the gains allow.
    Rms,
}

impl QkNorm {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The norm of heads of a width.
    pub(crate) fn init(self, d_head: usize, init: &mut Initializer<'_>) -> Option<RmsNorm> {
        match self {
            Self::None => None,
            Self::Rms => Some(RmsNorm { weight: init.param([d_head], |_| vec![1.0; d_head]) }),
        }
    }

    /// Adds the norm of `rows` rows of heads to a budget: it keeps its input, the input over its root mean square, and per row and head
    /// the numbers on the way to that.
    pub(crate) fn count(self, rows: f64, n_heads: f64, d_head: usize, count: &mut Count) {
        if self == Self::Rms {
            count.parameters += size(d_head);
            count.keep(rows * n_heads * (2.0 * size(d_head) + 2.0));
        }
    }
}

/// Added to the mean square, as in Qwen3.
const EPSILON: f64 = 1e-6;

/// y = x / sqrt(mean(x²) + 1e-6) ⊙ weight, over the channels of each head; all heads share the gains.
///
/// # References
/// Norms of queries and keys: Henry et al. 2020, arXiv 2010.04245, by lengths, and Dehghani et al. 2023, arXiv 2302.05442, by layer norm; by
/// root mean square, with gains of the width of a head, as in Qwen3 (arXiv 2505.09388). The norm itself: Zhang, Sennrich 2019, arXiv
/// 1910.07467.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Gains, initially one. `[d_head]`
    pub weight: Param<Tensor<1>>,
}

impl RmsNorm {
    /// # Shapes
    /// `[batch, n_heads, rows, d_head]` -> the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let size = x.clone().powi_scalar(2).mean_dim(3).add_scalar(EPSILON).sqrt(); // [batch, n_heads, rows, 1]
        x / size * self.weight.val().unsqueeze()
    }
}

/// A norm where there is one.
pub(crate) fn normed(norm: Option<&RmsNorm>, x: Tensor<4>) -> Tensor<4> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
