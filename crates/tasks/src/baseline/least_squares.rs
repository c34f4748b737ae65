//! Least squares in context.

use nalgebra::{DMatrix, DMatrixView, DVectorView};

use super::{in_context::InContext, min_norm::min_norm};

/// y = w . x with the w of least norm among those that fit the examples best. With noise-free y, x ~ N(0, I_d) and w ~
/// N(0, I_d), the expected squared error divided by d is 1 - i/d after i <= d examples and 0 after.
pub struct LeastSquares;

impl InContext for LeastSquares {
    fn name(&self) -> &'static str {
        "least_squares"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let w = min_norm(x.transpose(), DMatrix::from_column_slice(y.len(), 1, y.as_slice()));
        w.column(0).dot(&query)
    }
}
