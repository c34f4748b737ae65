//! Gaussian processes in context.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// E[f(x) f(x')] over hidden functions.
type Covariance = Box<dyn Fn(DVectorView<f64>, DVectorView<f64>) -> f64 + Send + Sync>;

/// y = k(x)^T K^-1 y_seen, with K the covariance of the examples and k(x) theirs with the query: of all predictors that are linear in the
/// answers seen the one with the least mean squared error, and the posterior mean if answers were jointly Gaussian. The covariance must be that of
/// the family, whose mean is 0.
///
/// # References
/// Rasmussen and Williams 2006, equation 2.25.
pub struct GaussianProcess {
    /// The covariance of two answers. A billionth of its largest value joins the diagonal of K, so that two examples at one place can be told from a
    /// fault of rounding.
    pub covariance: Covariance,
}

impl InContext for GaussianProcess {
    fn name(&self) -> &'static str {
        "gaussian_process"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let seen = x.ncols();
        let mut examples = DMatrix::from_fn(seen, seen, |i, j| (self.covariance)(x.column(i), x.column(j)));
        let jitter = 1e-9 * examples.diagonal().max();
        (0..seen).for_each(|i| examples[(i, i)] += jitter);
        let beside = DVector::from_iterator(seen, x.column_iter().map(|x| (self.covariance)(x, query)));
        // Positive definite by the jitter, but for rounding: then the example that adds nothing is as good as none.
        examples.cholesky().map_or(0.0, |factor| factor.solve(&beside).dot(&y))
    }
}
