//! Muon: a matrix follows the orthogonal factor of its velocity.

use burn::tensor::Tensor;

use crate::{
    Precision, matmul,
    update::{Slot, Updated},
};

/// One update of a matrix by [`muon`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Learning rate η.
    pub rate: f64,
    /// Decay of the velocity μ.
    pub momentum: f64,
    /// Whether g + μ b is made orthogonal, and not b.
    pub nesterov: bool,
    /// Factor s of the update, for the matrix's shape.
    pub scale: f64,
    /// Decoupled weight decay λ.
    pub decay: f64,
}

/// b ← μ b + g, w ← (1 − η λ) w − η s NS(g + μ b), with NS [`orthogonalised`] and `dims` the axes of the matrix.
///
/// # Panics
/// If the slot is not of that many numbers.
///
/// # References
/// Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>.
pub fn muon(slot: Slot, dims: [usize; 2], step: MuonStep) -> Updated {
    let Slot { weight, gradient, mut moments } = slot;
    let MuonStep { rate, momentum, nesterov, scale, decay } = step;
    let velocity = match moments.pop() {
        Some(old) => old.mul_scalar(momentum) + gradient.clone(),
        None => gradient.clone(),
    };
    let direction = if nesterov { gradient + velocity.clone().mul_scalar(momentum) } else { velocity.clone() };
    let length = weight.dims();
    let change = orthogonalised(direction.reshape(dims)).reshape(length).mul_scalar(rate * scale);
    let weight = if decay == 0.0 { weight } else { weight.mul_scalar(1.0 - rate * decay) };
    (weight - change, vec![velocity])
}

/// Steps of the iteration.
const STEPS: usize = 5;
/// a, b, c of its polynomial, which brings small singular values up to about 1 as fast as possible, and leaves them about there.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Added to the norm.
const EPSILON: f64 = 1e-7;

/// U p(p(p(p(p(S / ‖X‖))))) Vᵀ of X = U S Vᵀ, with ‖X‖ the root of the sum of squares and p(s) = a s + b s³ + c s⁵: singular values
/// that are more than a hundredth of ‖X‖ end between 0.68 and 1.14, near those of the orthogonal factor U Vᵀ, which are 1. Computed as
/// X ← a X + (b X Xᵀ + c (X Xᵀ)²) X, five times, on the side of the shorter axis, in f32.
///
/// # Shapes
/// `[m, n]` -> the same
///
/// # References
/// As [`muon`]; the iteration: Björck, Bowie 1971, doi 10.1137/0708036.
pub fn orthogonalised(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    let is_tall = rows > columns;
    let x = if is_tall { x.transpose() } else { x };
    let norm = x.clone().powi_scalar(2).sum().sqrt().add_scalar(EPSILON);
    let product = |a: Tensor<2>, b: Tensor<2>| matmul(a, b, Precision::F32);
    let [a, b, c] = COEFFICIENTS;
    let x = (0..STEPS).fold(x / norm.unsqueeze(), |x, _| {
        let gram = product(x.clone(), x.clone().transpose()); // [m, m]
        let even = gram.clone().mul_scalar(b) + product(gram.clone(), gram).mul_scalar(c);
        x.clone().mul_scalar(a) + product(even, x)
    });
    if is_tall { x.transpose() } else { x }
}
