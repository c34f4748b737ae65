//! The exact GELU in one pass forward and one backward.

#[cfg(feature = "gpu")]
mod gpu;

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use burn::{
    backend::{
        Autodiff, Backend, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind, unary},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};
use burn_flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    flex::{self, densified, numbers},
    is_cube, is_flex,
    vector::exp2,
};

/// x Φ(x), with Φ the distribution function of the standard normal law.
///
/// # References
/// Hendrycks, Gimpel 2016, arXiv 1606.08415.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let device = x.device();
    if !(is_flex(&device) || is_cube(&device)) || x.dtype() != DType::F32 {
        // Composed by hand, because on most devices burn's own operation has the derivative of the tanh formula, wrong
        // by up to 1e-3.
        let below = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5); // Φ(x)
        return x * below;
    }
    Tensor::from_dispatch(burn::backend::Dispatch::exact_gelu(x.into_dispatch()))
}

/// The operation on the backends that have one of their own.
#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub trait ExactGelu: Backend {
    /// See [`gelu`].
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// A backend that implements the forward and the backward pass.
pub trait ExactGeluPasses: ExactGelu {
    /// dy · (Φ(x) + x φ(x)), with φ the density.
    fn exact_gelu_backward(x: FloatTensor<Self>, d_output: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Least number of entries worth a thread of its own.
const BLOCK: usize = 1 << 14;
/// 1 / sqrt(2 π)
pub(crate) const DENSITY_AT_ZERO: f32 = 0.398_942_3;
/// 1 − erf(z) = (Σ_k c_k tᵏ) exp(−z²) for z ≥ 0, t = 1 / (1 + p z), to 1.5e-7, with p and then c_1 … c_5.
///
/// # References
/// Abramowitz, Stegun 1964, "Handbook of Mathematical Functions", 7.1.26.
pub(crate) const ERFC: (f32, [f32; 5]) =
    (0.327_591_1, [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152_1, 1.061_405_4]);

/// Φ(x) and exp(−x²/2) of four vectors.
#[inline(always)]
fn normal<S: Simd>(simd: S, x: [S::f32s; 4]) -> [[S::f32s; 4]; 2] {
    let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
    let mut bell = x;
    for bell in &mut bell {
        *bell = simd.mul_f32s(simd.mul_f32s(*bell, *bell), simd.splat_f32s(-0.5 * LOG2_E));
    }
    let bell = exp2(simd, bell);
    let mut phi = x;
    for (phi, bell) in phi.iter_mut().zip(bell) {
        let is_negative = simd.less_than_f32s(*phi, zero);
        let slope = simd.splat_f32s(ERFC.0 * FRAC_1_SQRT_2);
        let t = simd.div_f32s(one, simd.mul_add_e_f32s(simd.abs_f32s(*phi), slope, one));
        let mut tail = simd.splat_f32s(ERFC.1[4]);
        for c in ERFC.1[..4].iter().rev() {
            tail = simd.mul_add_e_f32s(tail, t, simd.splat_f32s(*c));
        }
        let tail = simd.mul_f32s(simd.mul_f32s(tail, t), simd.mul_f32s(bell, simd.splat_f32s(0.5)));
        *phi = simd.select_f32s(is_negative, tail, simd.sub_f32s(one, tail));
    }
    [phi, bell]
}

/// A block of entries to be computed: the forward pass, or the backward pass if the gradient of the output is given.
struct Pass<'a> {
    x: &'a [f32],
    d_y: Option<&'a [f32]>,
    to: &'a mut [f32],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let group = 4 * S::F32_LANES;
        let zeros = [0.0; 64];
        for (at, to) in self.to.chunks_mut(group).enumerate() {
            let range = at * group..at * group + to.len();
            // The last entries go through the same vectors, padded with zeros.
            let (mut x, mut d_y, mut result) = (zeros, zeros, zeros);
            x[..to.len()].copy_from_slice(&self.x[range.clone()]);
            if let Some(from) = self.d_y {
                d_y[..to.len()].copy_from_slice(&from[range]);
            }
            let (Some(x), Some(d_y)) = (quad::<S>(&x), quad::<S>(&d_y)) else {
                unreachable!("64 numbers are four vectors")
            };
            let [phi, bell] = normal(simd, x);
            let (results, _) = S::as_mut_simd_f32s(&mut result);
            for n in 0..4 {
                results[n] = if self.d_y.is_none() {
                    simd.mul_f32s(x[n], phi[n])
                } else {
                    let density = simd.mul_f32s(bell[n], simd.splat_f32s(DENSITY_AT_ZERO));
                    simd.mul_f32s(d_y[n], simd.mul_add_e_f32s(x[n], density, phi[n]))
                };
            }
            to.copy_from_slice(&result[..to.len()]);
        }
    }
}

/// The first four vectors of a block.
#[inline(always)]
fn quad<S: Simd>(from: &[f32; 64]) -> Option<[S::f32s; 4]> {
    S::as_simd_f32s(from).0.first_chunk().copied()
}

fn run(x: &FlexTensor, d_y: Option<&FlexTensor>) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let (x, d_y, arch) = (numbers(x), d_y.map(numbers), Arch::new());
    let fill = |to: &mut [f32]| {
        to.par_chunks_mut(BLOCK).enumerate().for_each(|(block, to)| {
            let range = block * BLOCK..block * BLOCK + to.len();
            arch.dispatch(Pass { x: &x[range.clone()], d_y: d_y.map(|d_y| &d_y[range]), to });
        });
    };
    // SAFETY: the blocks cover the result, and each pass writes its own block without reading it.
    flex::dense(unsafe { flex::filled(x.len(), fill) }, shape)
}

impl ExactGelu for Flex {
    fn exact_gelu(x: FlexTensor) -> FlexTensor {
        run(&densified(x), None)
    }
}

impl ExactGeluPasses for Flex {
    fn exact_gelu_backward(x: FlexTensor, d_output: FlexTensor) -> FlexTensor {
        run(&densified(x), Some(&densified(d_output)))
    }
}

#[derive(Debug)]
struct Node;

impl<B: ExactGeluPasses> Backward<B, 1> for Node {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let x = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |d_output| B::exact_gelu_backward(x, d_output));
    }
}

impl<B: ExactGeluPasses, C: CheckpointStrategy> ExactGelu for Autodiff<B, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::exact_gelu(x.clone());
        match Backward::<B, 1>::prepare::<C>(Node, [node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(x, output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
