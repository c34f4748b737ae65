//! One step of gradient descent from zero.

use nalgebra::{DMatrixView, DVectorView};

use super::in_context::InContext;

/// y = w . x with w = (1/i) sum_j x_j y_j. With noise-free y, x ~ N(0, I_d) and w ~ N(0, I_d), the expected squared
/// error divided by d is (d + 1) / i after i examples.
pub struct Averaging;

impl InContext for Averaging {
    fn name(&self) -> &'static str {
        "averaging"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        (x * y).dot(&query) / y.len() as f64
    }
}
