//! Norms of queries and keys, before positions turn them.

use burn::tensor::Tensor;
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{budget::Count, init::Initializer, norm::RmsNorm};

/// What becomes of each head's queries and keys before they meet: an [`RmsNorm`] over the channels of each head, whose gains all heads
/// share.
///
/// # References
/// Henry et al. 2020, arXiv 2010.04245, by lengths, and Dehghani et al. 2023, arXiv 2302.05442, by layer norm; by root mean square, with
/// gains of the width of a head, as in Qwen3 (arXiv 2505.09388).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// Nothing.
    #[default]
    None,
    /// Each is divided by its root mean square: scores are then no larger than the gains allow.
    Rms,
    /// The same with gains of one and more.
    ZeroCentredRms,
}

impl QkNorm {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The norm of heads of a width.
    pub(crate) fn init(self, d_head: usize, epsilon: f64, init: &mut Initializer<'_>) -> Option<RmsNorm> {
        match self {
            Self::None => None,
            Self::Rms => Some(RmsNorm::new(d_head, false, epsilon, init)),
            Self::ZeroCentredRms => Some(RmsNorm::new(d_head, true, epsilon, init)),
        }
    }

    /// Adds the norm of `rows` rows of heads to a budget.
    pub(crate) fn count(self, rows: f64, n_heads: f64, d_head: usize, count: &mut Count) {
        if self != Self::None {
            RmsNorm::count(rows * n_heads, d_head, count);
        }
    }
}

/// A norm where there is one.
pub(crate) fn normed(norm: Option<&RmsNorm>, x: Tensor<4>) -> Tensor<4> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
