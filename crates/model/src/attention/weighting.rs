//! Tokens of which only a share is known, which count less as keys.

use burn::tensor::Tensor;
use headway_keys::Described;
use serde::{Deserialize, Serialize};

/// Whether keys count by a weight of their token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum TokenWeight {
    /// All count alike.
    #[default]
    None,
    /// By the last number of each input vector, the share of the token that is known, as in `TFill`.
    Tfill,
}

/// The least weight of a token.
const LEAST: f32 = 0.01;
/// Added to a weight that divides a score.
const EPSILON: f32 = 1e-5;

impl TokenWeight {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The weights of tokens in the first layer: their share, at least 0.01; `None` where all count alike.
    ///
    /// # Shapes
    /// x `[batch, seq_len, d_in]` -> `[batch, seq_len]`
    pub(crate) fn of_inputs(self, x: &Tensor<3>) -> Option<Tensor<2>> {
        match self {
            Self::None => None,
            Self::Tfill => {
                let [batch, seq_len, d_in] = x.dims();
                let share = x.clone().narrow(2, d_in - 1, 1).reshape([batch, seq_len]);
                Some(share.clamp(LEAST, 1.0))
            }
        }
    }
}

/// The weights of the next layer, √m: with depth they rise to 1, since what a layer mixes is known everywhere.
pub fn deeper(weights: Tensor<2>) -> Tensor<2> {
    weights.sqrt()
}

/// s ↦ m s if s > 0, else s / (m + 1e-5), with m the weight of the key: a token of small weight is attended to less,
/// whatever the sign of its score. With m = 1 all scores above 0 stay, and those below 0 are smaller by 1e-5 of their size.
///
/// # Shapes
/// scores `[batch, n_heads, q_len, k_len]`, weights `[batch, k_len]`
///
/// # References
/// Zheng et al. 2022, arXiv 2104.00845, and its code.
pub fn weighted(scores: Tensor<4>, weights: Tensor<2>) -> Tensor<4> {
    let ([_, _, _, k_len], [batch, _]) = (scores.dims(), weights.dims());
    let of_key = |weights: Tensor<2>| weights.reshape([batch, 1, 1, k_len]).expand(scores.dims());
    let shrink = of_key(weights.clone().add_scalar(EPSILON).recip());
    // The sign has no gradient, so the scores alone are differentiated.
    let factors = shrink.mask_where(scores.clone().greater_elem(0.0), of_key(weights));
    scores * factors
}

/// The weights of what is not known of tokens with weights m: 1 − m, at least 0.01.
pub(crate) fn holes(weights: Tensor<2>) -> Tensor<2> {
    weights.neg().add_scalar(1.0).clamp_min(LEAST)
}

/// Weights with those of learned rows in front, which are known: 1.
///
/// # Shapes
/// `[batch, rows]` -> `[batch, in_front + rows]`
pub(crate) fn behind(weights: Tensor<2>, in_front: usize) -> Tensor<2> {
    if in_front == 0 {
        return weights;
    }
    let known = Tensor::ones([weights.dims()[0], in_front], &weights.device());
    Tensor::cat(vec![known, weights], 1)
}
