//! Estimates of a point from what agents report about it.

use nalgebra::{DMatrix, DVector};

use super::{Baseline, least_squares::LeastSquares, min_norm::min_norm};
use crate::{batch::Batch, prompt::rows, subsets::subsets};

/// A rule that estimates μ from reports y_i of a_i · μ.
pub trait Estimator: Send {
    /// Name in result tables.
    fn name(&self) -> &'static str;

    /// The estimate of μ.
    ///
    /// # Shapes
    /// a `[d, n_agents]`, an agent per column; y `[n_agents]` -> `[d]`
    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64>;
}

impl Estimator for Box<dyn Estimator> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        (**self).estimate(a, y)
    }
}

/// A rule applied to sequences of agents, (a_1, y_1), …, (a_n, y_n), (0, 0), of which the last position is scored.
/// Predicts 0 at all others.
pub struct Agents<Rule>(pub Rule);

impl<Rule: Estimator> Baseline for Agents<Rule> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let inputs = batch.inputs.continuous();
        let (seq_len, d_out) = (batch.dims.seq_len, batch.dims.d_out);
        let answer = |sequence| {
            let (a, y, _) = rows::read(sequence, seq_len);
            let mut predictions = vec![0.0; (seq_len - 1) * d_out];
            predictions.extend(self.0.estimate(&a, &y).iter().map(|&value| value as f32));
            predictions
        };
        inputs.chunks_exact(inputs.len() / batch.size).flat_map(answer).collect()
    }
}

/// The x of least norm among those that minimise sum_i (y_i - a_i · x)^2.
impl Estimator for LeastSquares {
    fn name(&self) -> &'static str {
        "least_squares"
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        min_norm(a.transpose(), DMatrix::from_column_slice(y.len(), 1, y.as_slice())).column(0).into_owned()
    }
}

/// For every d agents the point x that agrees with all of them, a_i · x = y_i; none for agents whose a_i do not span
/// the space.
///
/// # Shapes
/// a `[d, n_agents]`, y `[n_agents]` -> `[d]` each
pub(super) fn agreed(a: &DMatrix<f64>, y: &DVector<f64>) -> Vec<DVector<f64>> {
    let solve = |agents: Vec<usize>| a.select_columns(&agents).transpose().lu().solve(&y.select_rows(&agents));
    let is_point = |x: &DVector<f64>| x.iter().all(|value| value.is_finite());
    subsets(a.ncols(), a.nrows()).filter_map(solve).filter(is_point).collect()
}

/// A function of every coordinate of some points, whose values it is given in ascending order.
///
/// # Shapes
/// points `[d]` each -> `[d]`
pub(super) fn by_coordinate(points: &[DVector<f64>], of: impl Fn(&[f64]) -> f64) -> DVector<f64> {
    DVector::from_fn(points.first().map_or(0, DVector::len), |coordinate, _| {
        let mut values: Vec<f64> = points.iter().map(|point| point[coordinate]).collect();
        values.sort_by(f64::total_cmp);
        of(&values)
    })
}
