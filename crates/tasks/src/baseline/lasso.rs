//! Lasso in context.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// y = w . x with w minimising |y - X^T w|^2 / (2 i) + alpha |w|_1 over i examples.
///
/// Coordinate descent, w_j <- S(c_j - sum_(k != j) G_jk w_k, alpha) / G_jj with G = X X^T / i, c = X y / i and the soft
/// threshold S(z, a) = sign(z) max(|z| - a, 0), until a sweep over all coordinates changes nothing of importance.
/// Between sweeps, Newton's steps are taken for the nonzero coordinates, each as far as it changes no sign; with sweeps
/// alone, convergence is very slow if examples are few and alpha is small.
///
/// # References
/// Friedman, Hastie, Höfling, Tibshirani 2007, arXiv 0708.1485. The objective is scaled as in scikit-learn.
#[derive(Clone, Debug)]
pub struct Lasso {
    /// Name in result tables.
    pub name: &'static str,
    /// Weight of the penalty, in units of x y.
    pub alpha: f64,
}

macro_rules! lassos {
    ($($alpha:literal)+) => { &[$(Lasso { name: concat!("lasso_", $alpha), alpha: $alpha }),+] };
}

/// The penalties used by Garg et al. 2022, arXiv 2208.01066.
pub const GRID: &[Lasso] = lassos!(1.0 0.1 0.01 0.001 0.0001);

/// Sweeps end when no coordinate changes any prediction by more than this share of the norm of y.
const TOLERANCE: f64 = 1e-9;

/// Share of the sum of curvatures that is added to each of them, to make the system invertible.
const RIDGE: f64 = 1e-10;

/// Number of sweeps after which the answer is used as it is.
const MOST_SWEEPS: usize = 1000;

impl Lasso {
    /// The minimiser. `[d]`
    ///
    /// # Shapes
    /// x `[d, i]`, an example per column; y `[i]`
    pub fn weights(&self, x: DMatrixView<f64>, y: DVectorView<f64>) -> DVector<f64> {
        let seen = y.len() as f64;
        let (gram, products) = (x * x.transpose() / seen, x * y / seen); // G [d, d], c [d]
        let mut w: DVector<f64> = DVector::zeros(x.nrows());
        let enough = TOLERANCE * y.norm() / seen.sqrt();
        for _ in 0..MOST_SWEEPS {
            if self.sweep(&gram, &products, &mut w) <= enough {
                break;
            }
            while self.leap(&gram, &products, &mut w) {}
        }
        w
    }

    /// Minimises over one coordinate after the other. Returns the largest root mean square change of predictions caused
    /// by one of them.
    fn sweep(&self, gram: &DMatrix<f64>, products: &DVector<f64>, w: &mut DVector<f64>) -> f64 {
        let mut rest = products - gram * &*w; // [d]
        let mut largest = 0.0_f64;
        for j in (0..w.len()).filter(|&j| gram[(j, j)] > 0.0) {
            let curvature = gram[(j, j)];
            let change = soft_threshold(rest[j] + curvature * w[j], self.alpha) / curvature - w[j];
            if change != 0.0 {
                w[j] += change;
                rest.axpy(-change, &gram.column(j), 1.0);
                largest = largest.max(change.abs() * curvature.sqrt());
            }
        }
        largest
    }

    /// Moves the nonzero coordinates by Newton's step for their present signs, up to the point where the first would
    /// change its sign; that coordinate becomes zero. A tiny ridge makes the step well defined if there are fewer
    /// examples than coordinates; the step still lowers the objective. Returns whether a coordinate became zero.
    fn leap(&self, gram: &DMatrix<f64>, products: &DVector<f64>, w: &mut DVector<f64>) -> bool {
        let active: Vec<usize> = (0..w.len()).filter(|&j| w[j] != 0.0).collect();
        let mut curvature = DMatrix::from_fn(active.len(), active.len(), |row, col| gram[(active[row], active[col])]);
        let ridge = RIDGE * curvature.trace();
        curvature.iter_mut().step_by(active.len() + 1).for_each(|entry| *entry += ridge);
        let rest = products - gram * &*w; // [d]
        let pulls = DVector::from_fn(active.len(), |j, _| rest[active[j]] - self.alpha * w[active[j]].signum());
        let Some(factor) = curvature.cholesky() else { return false };
        let step = factor.solve(&pulls);
        // The share of the step after which a coordinate is zero; outside 0 to 1 if it does not become zero on the way.
        let crossings: Vec<f64> = active.iter().zip(&step).map(|(&j, step)| -w[j] / step).collect();
        let part = crossings.iter().copied().filter(|&crossing| crossing > 0.0).fold(1.0, f64::min);
        for ((&j, step), crossing) in active.iter().zip(&step).zip(crossings) {
            w[j] = if crossing > 0.0 && crossing <= part { 0.0 } else { w[j] + part * step };
        }
        part < 1.0
    }
}

fn soft_threshold(value: f64, threshold: f64) -> f64 {
    value.signum() * (value.abs() - threshold).max(0.0)
}

impl InContext for Lasso {
    fn name(&self) -> &'static str {
        self.name
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        self.weights(x, y).dot(&query)
    }
}
