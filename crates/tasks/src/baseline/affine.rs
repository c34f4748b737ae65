//! An affine map fitted by least squares to a block of every example.

use nalgebra::{DMatrix, RowDVector};

use super::min_norm::min_norm;
use crate::batch::Batch;

/// y = mean_y + W^T (x - mean_x). If there are fewer examples than unknowns, W has the least norm; the offset does not
/// count towards the norm.
pub(super) struct Affine {
    mean_x: RowDVector<f64>,
    mean_y: RowDVector<f64>,
    /// `[width of x, width of y]`
    weights: DMatrix<f64>,
}

impl Affine {
    /// The least-squares fit of y to x, with one example per row.
    pub fn fit(mut x: DMatrix<f64>, mut y: DMatrix<f64>) -> Self {
        let (mean_x, mean_y) = (x.row_mean(), y.row_mean());
        x.row_iter_mut().for_each(|mut row| row -= &mean_x);
        y.row_iter_mut().for_each(|mut row| row -= &mean_y);
        Self { mean_x, mean_y, weights: min_norm(x, y) }
    }

    /// Applies the fitted map to each row.
    pub fn apply(&self, mut x: DMatrix<f64>) -> DMatrix<f64> {
        x.row_iter_mut().for_each(|mut row| row -= &self.mean_x);
        let mut y = x * &self.weights;
        y.row_iter_mut().for_each(|mut row| row += &self.mean_y);
        y
    }
}

/// Block number `block` of every example, if an example consists of `n_blocks` blocks of equal width.
///
/// # Shapes
/// values `[batch, n_blocks, width]` -> `[batch, width]`
pub(super) fn block(values: &[f32], batch: &Batch, n_blocks: usize, block: usize) -> DMatrix<f64> {
    let width = values.len() / (batch.size * n_blocks);
    DMatrix::from_fn(batch.size, width, |example, i| f64::from(values[(example * n_blocks + block) * width + i]))
}
