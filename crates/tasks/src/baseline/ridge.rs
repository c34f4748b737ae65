//! Ridge regression in context.

use nalgebra::{DMatrix, DMatrixView, DVectorView};

use super::{in_context::InContext, min_norm::min_norm};

/// y = w . x with w minimising sum_j (w . x_j - y_j)^2 + lambda |w|^2. For w ~ N(0, I) and noise of variance lambda it
/// is the posterior mean, and therefore the best possible predictor.
pub struct Ridge {
    /// Weight of the penalty, in units of x^2; 0 for least squares.
    pub lambda: f64,
}

impl InContext for Ridge {
    fn name(&self) -> &'static str {
        "ridge"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        // The penalty is equivalent to d more examples, sqrt(lambda) e_j -> 0. This avoids X X^T, which would square
        // the condition number.
        let (d, seen) = x.shape();
        let mut design = DMatrix::zeros(seen + d, d);
        design.rows_mut(0, seen).copy_from(&x.transpose());
        design.rows_mut(seen, d).fill_diagonal(self.lambda.sqrt());
        let mut answers = DMatrix::zeros(seen + d, 1);
        answers.rows_mut(0, seen).copy_from(&y);
        min_norm(design, answers).column(0).dot(&query)
    }
}
