//! Gradient descent in context.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// The w that `steps` steps of gradient descent on |X^T w - y|^2 / (2 n_points) reach from zero:
/// w <- w - rate / n_points * X (X^T w - y).
///
/// # Shapes
/// x `[d, n_points]`, a point per column; y `[n_points]` -> `[d]`
///
/// # Panics
/// If the numbers of y and of points differ.
pub fn gradient_descent(x: DMatrixView<f64>, y: DVectorView<f64>, steps: usize, rate: f64) -> DVector<f64> {
    descend(&(x * x.transpose()), &(x * y), steps, rate / y.len() as f64)
}

/// The result of gradient steps of the given size on |X^T w - y|^2 / 2 from zero.
///
/// # Shapes
/// gram X X^T `[d, d]`; products X y `[d]` -> `[d]`
fn descend(gram: &DMatrix<f64>, products: &DVector<f64>, steps: usize, size: f64) -> DVector<f64> {
    let mut w = DVector::zeros(products.len());
    for _ in 0..steps {
        let gradient = gram * &w - products;
        w -= gradient * size;
    }
    w
}

/// y = w . x with the w that `steps` steps of gradient descent on |X^T w - y|^2 / 2 reach from zero. If the step size
/// is below 2, in units of 1 / (largest eigenvalue of X X^T), it converges to least squares of least norm.
pub struct GradientDescent {
    /// Number of steps.
    pub steps: usize,
    /// Size of a step, in units of 1 / (largest eigenvalue of X X^T).
    pub step_size: f64,
}

impl InContext for GradientDescent {
    fn name(&self) -> &'static str {
        "gradient_descent"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let (gram, products) = (x * x.transpose(), x * y); // [d, d], [d]
        let largest = gram.symmetric_eigenvalues().max();
        if largest > 0.0 { descend(&gram, &products, self.steps, self.step_size / largest).dot(&query) } else { 0.0 }
    }
}

/// y = w . x with the w of [`gradient_descent`], with the same rate for every prompt, as a network's weights would
/// have.
pub struct FixedRateDescent {
    /// Number of steps.
    pub steps: usize,
    /// Learning rate for half the mean of squares.
    pub rate: f64,
}

impl InContext for FixedRateDescent {
    fn name(&self) -> &'static str {
        "gradient_descent"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        gradient_descent(x, y, self.steps, self.rate).dot(&query)
    }
}
