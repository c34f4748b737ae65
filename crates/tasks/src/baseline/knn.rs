//! Nearest neighbours in context.

use nalgebra::{DMatrixView, DVectorView};

use super::in_context::InContext;

/// Mean y of the `neighbours` examples nearest to the query in Euclidean distance, or of all examples if there are
/// fewer. Of two at the same distance, the earlier one counts.
pub struct Knn {
    /// Number of neighbours, at least 1.
    pub neighbours: usize,
}

impl InContext for Knn {
    fn name(&self) -> &'static str {
        "nearest_neighbours"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let mut nearest: Vec<(f64, f64)> =
            x.column_iter().zip(y.iter()).map(|(x, &y)| ((x - query).norm_squared(), y)).collect();
        nearest.sort_by(|(a, _), (b, _)| a.total_cmp(b)); // a stable sort, so ties keep the order of the prompt
        nearest.truncate(self.neighbours);
        nearest.iter().map(|(_, y)| y).sum::<f64>() / nearest.len() as f64
    }
}
