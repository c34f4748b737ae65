//! Linear attention: a feature for each channel.

use burn::{module::Module, tensor::Tensor};
use headway_kernels::FeatureMap;

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, by_features};
use crate::{attention::view::View, init::Initializer};

/// mix(q, k, v)_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j) over the visible keys, φ(x) = elu(x) + 1: x + 1 where x > 0, else e^x.
///
/// Time and memory are linear in the length. Queries and keys are not scaled. The reference adds 1e-6 to each sum of weights; here a sum
/// below 1e-30 gives zeros.
///
/// # References
/// Katharopoulos et al. 2020, arXiv 2006.16236, equations 5, 7 and 9.
#[derive(Module, Debug)]
pub struct LinearAttention;

impl Kernel for LinearAttention {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        by_features::pattern(FeatureMap::Elu, None, q, k, view)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        by_features::mix(FeatureMap::Elu, None, [q, k, v], view)
    }
}

impl KernelSpec for LinearAttention {
    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Linear(Self)
    }

    /// Any pairs can be hidden, with memory quadratic in the length.
    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        by_features::supports(demand)
    }

    /// The slope of elu has a kink at zero.
    fn lacks(&self) -> &'static [Law] {
        &[Law::Smooth]
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        by_features::flops(sizes, 0, sizes.d_key)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        by_features::kept_floats(sizes)
    }

    fn function(&self) -> KernelKind {
        KernelKind::Linear
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::Linear]
    }
}
