//! Gradient descent in context.

use nalgebra::{DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// y = w . x with the w that so many steps of gradient descent on |X^T w - y|^2 / 2 reach from zero. With a step size
/// below 2, in units of 1 / (largest eigenvalue of X X^T), it converges to least squares of least norm.
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
        let mut w = DVector::zeros(x.nrows());
        if largest > 0.0 {
            for _ in 0..self.steps {
                let gradient = &gram * &w - &products;
                w -= gradient * (self.step_size / largest);
            }
        }
        w.dot(&query)
    }
}
