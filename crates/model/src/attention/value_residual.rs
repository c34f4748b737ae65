//! Values that remember those of the first layer.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{budget::Count, init::Initializer};

/// Which share the values of the first layer have in those of each later layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum ValueResidual {
    /// None.
    #[default]
    None,
    /// One half.
    Identity,
    /// A learned one, beside a learned share of the layer's own values; both begin at one half.
    Learned,
}

impl ValueResidual {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What mixes the values of a layer after the first.
    pub(crate) fn init(self, init: &mut Initializer<'_>) -> Option<ValueMix> {
        match self {
            Self::None => None,
            Self::Identity => Some(ValueMix { shares: None }),
            Self::Learned => Some(ValueMix { shares: Some(init.param([2], |_| vec![0.5; 2])) }),
        }
    }

    /// Adds the mixture of `rows` rows of `width` numbers to a budget: learned shares keep the layer's own values.
    pub(crate) fn count(self, rows: f64, width: f64, count: &mut Count) {
        if self == Self::Learned {
            count.parameters += 2.0;
            count.keep(rows * width);
        }
    }
}

/// V ↦ λ₁ V₁ + λ₂ V, with V₁ the values of the first layer; without learned shares λ₁ = λ₂ = ½.
///
/// # References
/// Zhou et al. 2024, arXiv 2410.17897: `V'_n` = `λ_(n,1)` V₁ + `λ_(n,2)` `H_(n−1)` `W_V^n`; there the shares are ½ each (identity) or learned from ½ on.
#[derive(Module, Debug)]
pub struct ValueMix {
    /// λ₁ and λ₂; `None` if they are ½. `[2]`
    pub shares: Option<Param<Tensor<1>>>,
}

impl ValueMix {
    /// # Shapes
    /// first and own `[batch, n_kv_heads, rows, d_head]` -> the same
    pub fn forward(&self, first: Tensor<4>, own: Tensor<4>) -> Tensor<4> {
        match &self.shares {
            None => (first + own).mul_scalar(0.5),
            Some(shares) => {
                let share = |at: usize| shares.val().narrow(0, at, 1).reshape([1, 1, 1, 1]);
                first * share(0) + own * share(1)
            }
        }
    }
}
