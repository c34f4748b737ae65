//! Softmax attention from plain tensor operations: the readable reference.

use burn::tensor::{FloatDType, Tensor, activation};

use super::Kernel;
use crate::mask::Mask;

/// mix(q, k, v) = softmax(q kᵀ / sqrt(`d_head`)) v, row-wise over the visible keys.
///
/// The softmax subtracts each row's maximum, so scores of size 1e4 stay finite. A hidden key has weight exactly zero, and a
/// row without any visible key is zero throughout. Every array of scores is held, which [`super::softmax::Softmax`] avoids.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, equation 1.
pub struct Naive;

/// Score of a hidden key: next to any other its exponential is zero, and unlike −∞ it leaves a row of its own kind finite.
const HIDDEN: f32 = -1e30;

impl Kernel for Naive {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, mask: &Mask) -> Tensor<4> {
        let [_, _, q_len, d_head] = q.dims();
        let k_len = k.dims()[2];
        let hidden = mask.hidden(q_len, k_len, &q.device());
        let [q, k] = [q, k].map(|tensor| tensor.cast(FloatDType::F32));
        // Scaling q touches d_head entries a row where scaling the scores would touch k_len.
        let scores = q.mul_scalar(1.0 / (d_head as f64).sqrt()).matmul(k.swap_dims(2, 3)); // [batch, n_heads, q_len, k_len]
        match hidden {
            Some(hidden) => {
                let hidden = hidden.reshape([1, 1, q_len, k_len]).expand(scores.dims());
                activation::softmax(scores.mask_fill(hidden.clone(), HIDDEN), 3).mask_fill(hidden, 0.0)
            }
            None => activation::softmax(scores, 3),
        }
    }

    /// Of the softmax the shifted scores, their exponentials, the sums of those and the result: burn's autodiff differentiates
    /// its subtraction, exponential and division one by one.
    fn kept_floats(&self, rows: f64, width: f64) -> f64 {
        3.0 * rows * width + rows
    }
}
