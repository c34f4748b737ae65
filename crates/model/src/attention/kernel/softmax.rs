//! Softmax attention without storing its pattern, by the fused operation of `headway-kernels`.

use burn::{module::Module, tensor::Tensor};
use headway_kernels::{Options, fused_attention, is_supported};

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Naive};
use crate::{attention::view::View, init::Initializer, mask::Mask};

/// mix(q, k, v) = softmax(q kᵀ / sqrt(`d_key`) + bias) v, the same function as [`Naive`], in memory linear in the
/// length.
///
/// If keys have weights, or some rows have no position, so that the bias is not a function of the distance alone, then
/// [`Naive`] computes it.
#[derive(Module, Debug)]
pub struct Softmax;

impl Kernel for Softmax {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        Naive.pattern(q, k, view)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        let by_distance = match &view.bias {
            None => None,
            Some(bias) => match bias.by_distance_alone() {
                Some(bias) => Some(bias),
                None => return Naive.mix(q, k, v, view),
            },
        };
        if view.weights.is_some() || !is_supported(&q.device()) {
            return Naive.mix(q, k, v, view);
        }
        let scale = 1.0 / (q.dims()[3] as f32).sqrt();
        let (causal, hidden) = match &view.mask {
            Mask::Full => (false, None),
            Mask::Causal => (true, None),
            Mask::Hidden(hidden) => (false, Some(hidden.clone())),
        };
        fused_attention(q, k, v, by_distance, hidden, Options { scale, causal, precision: view.precision })
    }
}

impl KernelSpec for Softmax {
    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Softmax(Self)
    }

    fn supports(&self, _demand: Demand) -> Result<(), &'static str> {
        Ok(())
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        Naive.flops(sizes)
    }

    /// One logarithm per row.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        sizes.n_heads * sizes.q_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::Softmax
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::Softmax]
    }
}
