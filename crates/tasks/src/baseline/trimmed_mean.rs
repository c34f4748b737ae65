//! The trimmed mean of the points on which d agents agree.

use nalgebra::{DMatrix, DVector};

use super::agents::{Estimator, agreed, by_coordinate};

/// The mean, coordinate by coordinate, of the points p that any d agents agree on (the solution of their d equations
/// a_i · p = y_i), without the largest and the smallest quarter of the values. In one dimension, with all a_i = 1, it is
/// the trimmed mean of the reports. It withstands less than a quarter of these points on each side.
pub struct TrimmedMean;

impl Estimator for TrimmedMean {
    fn name(&self) -> &'static str {
        "trimmed_mean"
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        let inner_half = |sorted: &[f64]| {
            let quarter = sorted.len() / 4;
            let kept = &sorted[quarter..sorted.len() - quarter];
            kept.iter().sum::<f64>() / kept.len() as f64
        };
        by_coordinate(&agreed(a, y), inner_half)
    }
}
