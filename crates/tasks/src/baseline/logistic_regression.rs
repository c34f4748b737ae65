//! Logistic regression in context.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::{in_context::InContext, min_norm::min_norm};

/// The logit w . x with w minimising sum_j log(1 + exp(-s_j w . x_j)) + lambda |w|^2 / 2, where s_j = 1 if y_j > 0 and
/// -1 otherwise. It is computed by Newton's method with step halving, which always converges because the objective is
/// strictly convex. Without a penalty, w would grow without bound, since a longer w fits two separable classes better.
pub struct LogisticRegression {
    /// Weight of the penalty, above 0, in units of x^2.
    pub lambda: f64,
}

/// Iterations end when a step would lower the objective by less than this.
const TOLERANCE: f64 = 1e-10;

impl LogisticRegression {
    /// The minimiser. `[d]`
    ///
    /// # Shapes
    /// x `[d, i]`, an example per column; y `[i]`
    pub fn weights(&self, x: DMatrixView<f64>, y: DVectorView<f64>) -> DVector<f64> {
        let sign = y.map(|y| if y > 0.0 { 1.0 } else { -1.0 });
        let signed = DMatrix::from_fn(x.nrows(), x.ncols(), |row, j| sign[j] * x[(row, j)]); // [d, i]
        let objective = |w: &DVector<f64>| {
            signed.tr_mul(w).iter().map(|&margin| softplus(-margin)).sum::<f64>() + self.lambda * w.norm_squared() / 2.0
        };
        let mut w = DVector::zeros(x.nrows());
        let mut value = objective(&w);
        loop {
            let wrong = signed.tr_mul(&w).map(|margin| 1.0 / (1.0 + margin.exp())); // [i], sigmoid(-margin)
            let gradient = &w * self.lambda - &signed * &wrong; // [d]
            let curvature = wrong.map(|p| p * (1.0 - p)); // [i]
            let mut hessian = &signed * DMatrix::from_diagonal(&curvature) * signed.transpose(); // [d, d]
            hessian.iter_mut().step_by(x.nrows() + 1).for_each(|entry| *entry += self.lambda);
            let step = match hessian.clone().cholesky() {
                Some(factor) => factor.solve(&gradient),
                // For very large inputs the penalty is lost in rounding, and with it the directions that no example
                // spans.
                None => min_norm(hessian, DMatrix::from_column_slice(x.nrows(), 1, gradient.as_slice()))
                    .column(0)
                    .into_owned(),
            };
            let slope = gradient.dot(&step); // near the minimum, at most twice the remaining decrease
            if slope <= TOLERANCE {
                return w;
            }
            let halved = (0..60).map(|halvings| 0.5_f64.powi(halvings));
            let mut tried = halved.map(|length| (length, &w - &step * length)).map(|(l, w)| (l, objective(&w), w));
            // Short enough steps achieve a quarter of the decrease that the slope predicts, as far as rounding shows
            // it.
            let found = tried.find(|(length, lower, _)| *lower <= value - 0.25 * length * slope);
            let Some((_, lower, better)) = found else { return w };
            (value, w) = (lower, better);
        }
    }
}

/// log(1 + e^t), without overflow.
fn softplus(t: f64) -> f64 {
    t.max(0.0) + (-t.abs()).exp().ln_1p()
}

impl InContext for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic_regression"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        self.weights(x, y).dot(&query)
    }
}
