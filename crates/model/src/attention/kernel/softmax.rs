//! Softmax attention from plain tensor operations: the readable reference.

use burn::tensor::{Bool, Tensor, activation};

use super::Kernel;

/// mix(q, k, v) = softmax(q kᵀ / sqrt(`d_head`)) v, row-wise over the visible keys.
///
/// The softmax subtracts each row's maximum, so scores of size 1e4 stay finite. A hidden key has score −∞ and weight
/// exactly zero. A row without any visible key has no distribution: [`crate::Mask`] rules it out.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, equation 1.
pub struct Softmax;

impl Kernel for Softmax {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, hidden: Option<&Tensor<2, Bool>>) -> Tensor<4> {
        let d_head = q.dims()[3];
        // Scaling q touches d_head entries a row where scaling the scores would touch k_len.
        let scores = q.mul_scalar(1.0 / (d_head as f64).sqrt()).matmul(k.swap_dims(2, 3)); // [batch, n_heads, q_len, k_len]
        let scores = match hidden {
            Some(hidden) => {
                let [_, _, q_len, k_len] = scores.dims();
                let hidden = hidden.clone().reshape([1, 1, q_len, k_len]).expand(scores.dims());
                scores.mask_fill(hidden, f32::NEG_INFINITY)
            }
            None => scores,
        };
        activation::softmax(scores, 3)
    }
}
