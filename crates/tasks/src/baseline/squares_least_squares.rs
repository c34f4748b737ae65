//! Least squares on squares, in context.

use nalgebra::{DMatrixView, DVectorView};

use super::{in_context::InContext, least_squares::LeastSquares};

/// [`LeastSquares`] with every coordinate of x squared: y = sum_j w_j x_j^2. Exact for such functions after d examples.
pub struct SquaresLeastSquares;

impl InContext for SquaresLeastSquares {
    fn name(&self) -> &'static str {
        "least_squares_on_squares"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let square = |value: f64| value * value;
        LeastSquares.answer(x.map(square).as_view(), y, query.map(square).as_view())
    }
}
