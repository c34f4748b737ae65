//! Layer normalisation in one pass forward and one backward.
//!
//! In burn's layer norm, autodiff sees a mean, a difference, a square and so on, each of which passes over the hidden
//! state.

#[cfg(feature = "gpu")]
mod gpu;

use burn::{
    backend::{
        Autodiff, Backend, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Shape, Tensor},
};
use burn_flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    flex::{self, densified, numbers},
    is_cube, is_flex,
};

/// y = (x − mean(x)) / sqrt(var(x) + ε) ⊙ γ + β over the last axis, with the variance of the population.
///
/// # Shapes
/// x `[…, d]`, gamma and beta `[d]` -> `[…, d]`
///
/// # Panics
/// If the sizes disagree.
///
/// # References
/// Ba, Kiros, Hinton 2016, arXiv 1607.06450.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let d = x.dims()[D - 1];
    assert_eq!((gamma.dims(), beta.dims()), ([d], [d]), "gamma and beta are as wide as the last axis of x");
    let device = x.device();
    if !(is_flex(&device) || is_cube(&device)) || [x.dtype(), gamma.dtype(), beta.dtype()] != [DType::F32; 3] {
        return burn::tensor::module::layer_norm(x, gamma, Some(beta), epsilon);
    }
    let [x, gamma, beta] = [x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    Tensor::from_dispatch(burn::backend::Dispatch::normalise_rows(x, gamma, beta, epsilon))
}

/// The operation on the backends that have one of their own.
#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub trait NormaliseRows: Backend {
    /// See [`layer_norm`].
    fn normalise_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

/// Largest number of blocks of rows that the work is split into. It is fixed, so that results do not depend on the
/// number of threads.
const MOST_BLOCKS: usize = 16;
/// Least number of entries in a block.
const LEAST_NUMBERS: usize = 1 << 14;

fn rows_per_block(rows: usize, d: usize) -> usize {
    rows.div_ceil(MOST_BLOCKS).max(LEAST_NUMBERS.div_ceil(d))
}

/// Mean and 1 / sqrt(var + ε) of a row.
#[inline(always)]
fn moments<S: Simd>(simd: S, x: &[f32], epsilon: f32) -> [f32; 2] {
    let n = x.len() as f32;
    let (vectors, rest) = S::as_simd_f32s(x);
    let (mut total, mut squares) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for x in vectors {
        total = simd.add_f32s(total, *x);
    }
    let mean = (simd.reduce_sum_f32s(total) + rest.iter().sum::<f32>()) / n;
    let centre = simd.splat_f32s(mean);
    for x in vectors {
        let x = simd.sub_f32s(*x, centre);
        squares = simd.mul_add_e_f32s(x, x, squares);
    }
    let variance = (simd.reduce_sum_f32s(squares) + rest.iter().map(|x| (x - mean).powi(2)).sum::<f32>()) / n;
    [mean, 1.0 / (variance + epsilon).sqrt()]
}

/// A block of rows in the forward pass.
struct Forward<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.gamma.len();
        for (y, x) in self.y.chunks_exact_mut(d).zip(self.x.chunks_exact(d)) {
            let [mean, rate] = moments(simd, x, self.epsilon);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(self.gamma).zip(self.beta) {
                *y = (x - mean) * rate * gamma + beta;
            }
        }
    }
}

/// A block of rows in the backward pass; it adds to the gradients of γ and β.
struct BackwardRows<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    epsilon: f32,
    d_y: &'a [f32],
    d_x: &'a mut [f32],
    d_gamma: &'a mut [f32],
    d_beta: &'a mut [f32],
}

impl WithSimd for BackwardRows<'_> {
    type Output = ();

    /// With x̂ the normalised row and g = dy ⊙ γ: dx = (g − mean(g) − x̂ mean(g ⊙ x̂)) / sqrt(var + ε).
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gamma, d_gamma, d_beta, .. } = self;
        let d = gamma.len();
        let n = d as f32;
        let rows = self.x.chunks_exact(d).zip(self.d_y.chunks_exact(d)).zip(self.d_x.chunks_exact_mut(d));
        for ((x, d_y), d_x) in rows {
            let [mean, rate] = moments(simd, x, self.epsilon);
            // First the whole vectors, then the rest of the row by the same formulas.
            let (x_vectors, x_rest) = S::as_simd_f32s(x);
            let (d_y_vectors, d_y_rest) = S::as_simd_f32s(d_y);
            let (d_x_vectors, d_x_rest) = S::as_mut_simd_f32s(d_x);
            let (gamma_vectors, gamma_rest) = S::as_simd_f32s(gamma);
            let (d_gamma_vectors, d_gamma_rest) = S::as_mut_simd_f32s(d_gamma);
            let (d_beta_vectors, d_beta_rest) = S::as_mut_simd_f32s(d_beta);
            let (centre, scale) = (simd.splat_f32s(mean), simd.splat_f32s(rate));
            let (mut sum, mut product) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            let columns = x_vectors.iter().zip(d_y_vectors).zip(gamma_vectors).zip(d_gamma_vectors).zip(d_beta_vectors);
            for ((((x, d_y), gamma), d_gamma), d_beta) in columns {
                let normal = simd.mul_f32s(simd.sub_f32s(*x, centre), scale);
                let g = simd.mul_f32s(*d_y, *gamma);
                sum = simd.add_f32s(sum, g);
                product = simd.mul_add_e_f32s(g, normal, product);
                *d_gamma = simd.mul_add_e_f32s(*d_y, normal, *d_gamma);
                *d_beta = simd.add_f32s(*d_beta, *d_y);
            }
            let (mut sum, mut product) = (simd.reduce_sum_f32s(sum), simd.reduce_sum_f32s(product));
            let rest = x_rest.iter().zip(d_y_rest).zip(gamma_rest).zip(d_gamma_rest).zip(d_beta_rest);
            for ((((x, d_y), gamma), d_gamma), d_beta) in rest {
                let normal = (x - mean) * rate;
                sum += d_y * gamma;
                product += d_y * gamma * normal;
                *d_gamma += d_y * normal;
                *d_beta += d_y;
            }
            let (sum, product) = (sum / n, product / n);
            let (shift, slope) = (simd.splat_f32s(sum), simd.splat_f32s(product));
            for (((d_x, x), d_y), gamma) in d_x_vectors.iter_mut().zip(x_vectors).zip(d_y_vectors).zip(gamma_vectors) {
                let normal = simd.mul_f32s(simd.sub_f32s(*x, centre), scale);
                let g = simd.mul_f32s(*d_y, *gamma);
                let centred = simd.sub_f32s(simd.sub_f32s(g, shift), simd.mul_f32s(normal, slope));
                *d_x = simd.mul_f32s(centred, scale);
            }
            for (((d_x, x), d_y), gamma) in d_x_rest.iter_mut().zip(x_rest).zip(d_y_rest).zip(gamma_rest) {
                *d_x = (d_y * gamma - sum - (x - mean) * rate * product) * rate;
            }
        }
    }
}

impl NormaliseRows for Flex {
    fn normalise_rows(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        let shape = x.layout().shape().clone();
        let [x, gamma, beta] = [x, gamma, beta].map(densified);
        let (x, gamma, beta) = (numbers(&x), numbers(&gamma), numbers(&beta));
        let d = gamma.len();
        let (arch, block) = (Arch::new(), d * rows_per_block(x.len() / d, d));
        let fill = |y: &mut [f32]| {
            y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
                arch.dispatch(Forward { x, gamma, beta, epsilon: epsilon as f32, y });
            });
        };
        // SAFETY: the blocks cover y, and each writes its own rows without reading them.
        flex::dense(unsafe { flex::filled(x.len(), fill) }, shape)
    }
}

/// A backend that implements the forward and the backward pass.
pub trait NormaliseRowsPasses: NormaliseRows {
    /// Gradients of x, gamma and beta, given that of the output.
    fn normalise_rows_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3];
}

impl NormaliseRowsPasses for Flex {
    fn normalise_rows_backward(x: FlexTensor, gamma: FlexTensor, d_y: FlexTensor, epsilon: f64) -> [FlexTensor; 3] {
        let shape = x.layout().shape().clone();
        let [x, gamma, d_y] = [x, gamma, d_y].map(densified);
        let (x, gamma, d_y) = (numbers(&x), numbers(&gamma), numbers(&d_y));
        let d = gamma.len();
        let (arch, block) = (Arch::new(), d * rows_per_block(x.len() / d, d));
        let mut parts: Vec<[Vec<f32>; 2]> = Vec::new();
        let part = |x, d_y, d_x: &mut [f32]| {
            let [mut d_gamma, mut d_beta] = [vec![0.0; d], vec![0.0; d]];
            let (d_gamma_to, d_beta_to) = (&mut d_gamma, &mut d_beta);
            let epsilon = epsilon as f32;
            arch.dispatch(BackwardRows { x, gamma, epsilon, d_y, d_x, d_gamma: d_gamma_to, d_beta: d_beta_to });
            [d_gamma, d_beta]
        };
        let fill = |d_x: &mut [f32]| {
            let blocks = d_x.par_chunks_mut(block).zip(x.par_chunks(block)).zip(d_y.par_chunks(block));
            parts = blocks.map(|((d_x, x), d_y)| part(x, d_y, d_x)).collect();
        };
        // SAFETY: the blocks cover the gradient, and each writes its own rows without reading them.
        let d_x = unsafe { flex::filled(x.len(), fill) };
        let total = |which: usize| {
            let mut total = vec![0.0; d];
            for part in &parts {
                total.iter_mut().zip(&part[which]).for_each(|(sum, d)| *sum += d);
            }
            flex::dense(total, Shape::new([d]))
        };
        let (d_gamma, d_beta) = (total(0), total(1));
        [flex::dense(d_x, shape), d_gamma, d_beta]
    }
}

#[derive(Debug)]
struct Node;

impl<B: NormaliseRowsPasses> Backward<B, 3> for Node {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let (x, gamma, epsilon) = ops.state;
        let all = B::normalise_rows_backward(x, gamma, d_output, epsilon);
        for (parent, gradient) in ops.parents.into_iter().zip(all) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: NormaliseRowsPasses, C: CheckpointStrategy> NormaliseRows for Autodiff<B, C> {
    fn normalise_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let [(x, x_node), (gamma, gamma_node), (beta, beta_node)] =
            [x, gamma, beta].map(FloatTensor::<Self>::into_parts);
        let output = B::normalise_rows(x.clone(), gamma.clone(), beta, epsilon);
        match Backward::<B, 3>::prepare::<C>(Node, [x_node, gamma_node, beta_node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((x, gamma, epsilon), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
