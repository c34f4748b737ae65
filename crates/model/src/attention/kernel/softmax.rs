//! Softmax attention without its pattern: the fused operation of `headway-kernels`.

use burn::tensor::Tensor;
use headway_kernels::{Options, fused_attention, is_supported};

use super::{Kernel, naive::Naive};
use crate::mask::Mask;

/// mix(q, k, v) = softmax(q kᵀ / sqrt(`d_head`)) v, the same function as [`Naive`], in memory linear in the length.
pub struct Softmax;

impl Kernel for Softmax {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, mask: &Mask) -> Tensor<4> {
        Naive.pattern(q, k, mask)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask) -> Tensor<4> {
        if !is_supported(&q.device()) {
            return Naive.mix(q, k, v, mask);
        }
        let scale = 1.0 / (q.dims()[3] as f32).sqrt();
        let (causal, hidden) = match mask {
            Mask::Full => (false, None),
            Mask::Causal => (true, None),
            Mask::Hidden(hidden) => (false, Some(hidden.clone())),
        };
        fused_attention(q, k, v, None, hidden, Options { scale, causal })
    }

    /// One logarithm a row.
    fn kept_floats(&self, rows: f64, _width: f64) -> f64 {
        rows
    }
}
