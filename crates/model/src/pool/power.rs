//! Powers of spectra.
//!
//! Matrices are decomposed on the host in f64, on every device alike. What is differentiated is composed of burn's own
//! operations: a function f of V is its value at V, a constant, plus its derivative applied to V − V, which is zero and has
//! the gradient of f.

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::{Precision, matmul};
use headway_plain::network::Matrix;
use rayon::prelude::*;

use crate::weights::to_host;

/// Added to a square, so that the slope of a power at 0 is finite: ε², with ε far below the entries of V, whose last is 1.
const EPSILON_SQUARED: f64 = 1e-8;

/// c (c² + ε²)^((p−1)/2), entry by entry.
pub(super) fn signed_power<const D: usize>(c: Tensor<D>, p: f64) -> Tensor<D> {
    let squares = c.clone() * c.clone();
    c * squares.add_scalar(EPSILON_SQUARED).powf_scalar((p - 1.0) / 2.0)
}

/// The same of one number, and its slope.
fn power(c: f64, p: f64) -> [f64; 2] {
    let square = c * c + EPSILON_SQUARED;
    let factor = square.powf((p - 1.0) / 2.0);
    [c * factor, factor * (1.0 + (p - 1.0) * c * c / square)]
}

/// Arrays of a batch, `[batch, width, width]`, from those of each matrix.
fn stacked<const N: usize>(of_each: &[[Matrix; N]], width: usize, device: &Device) -> [Tensor<3>; N] {
    std::array::from_fn(|which| {
        // Columns are contiguous in these matrices, rows in tensors.
        let rows = of_each.iter().flat_map(|all| all[which].transpose().iter().map(|x| *x as f32).collect::<Vec<_>>());
        Tensor::from_data(TensorData::new(rows.collect::<Vec<f32>>(), [of_each.len(), width, width]), device)
    })
}

/// V^γ of symmetric matrices without negative eigenvalues: U f(Λ) Uᵀ with f the power of [`signed_power`].
///
/// The derivative is that of Daleckii and Krein: H ↦ U (S ⊙ Uᵀ H U) Uᵀ, with S the slopes between two eigenvalues, and f′
/// between two that are equal.
///
/// # Shapes
/// `[batch, width, width]` -> the same
pub(super) fn matrix_power(v: Tensor<3>, gamma: f64) -> Tensor<3> {
    if gamma >= 1.0 {
        return v;
    }
    let ([_, width, _], device) = (v.dims(), v.device());
    let numbers = to_host(v.clone().detach());
    let of_each: Vec<[Matrix; 3]> =
        numbers.par_chunks_exact(width * width).map(|v| spectral(v, width, gamma)).collect();
    let [value, u, slopes] = stacked(&of_each, width, &device);
    if !device.is_autodiff() {
        return value;
    }
    let product = |a: Tensor<3>, b: Tensor<3>| matmul(a, b, Precision::F32);
    let zero = v.clone() - v.detach();
    let turned = product(product(u.clone().transpose(), zero), u.clone()); // [batch, width, width]
    value + product(product(u.clone(), turned * slopes), u.transpose())
}

/// The power of one matrix, its eigenvectors in columns, and the slopes of the power between its eigenvalues.
fn spectral(v: &[f32], width: usize, gamma: f64) -> [Matrix; 3] {
    let Some((eigenvalues, u)) = eigen(Matrix::from_iterator(width, width, v.iter().copied().map(f64::from))) else {
        return std::array::from_fn(|_| Matrix::from_element(width, width, f64::NAN));
    };
    let powers: Vec<f64> = eigenvalues.iter().map(|value| power(*value, gamma)[0]).collect();
    let mut scaled = u.clone();
    scaled.column_iter_mut().zip(&powers).for_each(|(mut column, power)| column *= *power);
    let slopes = Matrix::from_fn(width, width, |i, j| {
        let (a, b) = (eigenvalues[i], eigenvalues[j]);
        // Of close eigenvalues the quotient would be rounding; the slope halfway is off by the square of the gap.
        let is_close = (a - b).abs() <= 1e-5 * (a.abs() + b.abs() + EPSILON_SQUARED.sqrt());
        if is_close { power(f64::midpoint(a, b), gamma)[1] } else { (powers[i] - powers[j]) / (a - b) }
    });
    [&scaled * u.transpose(), u, slopes]
}

/// Eigenvalues and eigenvectors, in columns, of a symmetric matrix; `None` if it is not finite.
fn eigen(matrix: Matrix) -> Option<(Vec<f64>, Matrix)> {
    if !matrix.iter().all(|entry| entry.is_finite()) {
        return None;
    }
    let eigen = matrix.symmetric_eigen();
    Some((eigen.eigenvalues.iter().copied().collect(), eigen.eigenvectors))
}

/// The power γ of the core of symmetric tensors of order 3: core = V ×₁ Uᵀ ×₂ Uᵀ ×₃ Uᵀ, its power, and back. Gradients take
/// U as constant.
///
/// # Shapes
/// V with its last two axes joined, `[batch, width, width²]` -> the same
pub(super) fn core_power(v: Tensor<3>, gamma: f64) -> Tensor<3> {
    if gamma >= 1.0 {
        return v;
    }
    let ([batch, width, rest], device) = (v.dims(), v.device());
    let numbers = to_host(v.clone().detach());
    let vectors = |v: &[f32]| {
        let unfolded = Matrix::from_iterator(rest, width, v.iter().copied().map(f64::from));
        let gram = unfolded.transpose() * unfolded;
        [eigen(gram).map_or_else(|| Matrix::from_element(width, width, f64::NAN), |(_, vectors)| vectors)]
    };
    let of_each: Vec<[Matrix; 1]> = numbers.par_chunks_exact(width * rest).map(vectors).collect();
    let [u] = stacked(&of_each, width, &device);
    // Turns the first axis, which becomes the last; after three times the axes are in their order again.
    let turn =
        |v: Tensor<3>, u: &Tensor<3>| matmul(v.transpose(), u.clone(), Precision::F32).reshape([batch, width, rest]);
    let all = |v: Tensor<3>, u: &Tensor<3>| (0..3).fold(v, |v, _| turn(v, u));
    let core = all(v, &u);
    all(signed_power(core, gamma), &u.transpose())
}
