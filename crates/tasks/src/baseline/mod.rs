//! Classical predictors, called like a network. One file each.

mod affine;
pub mod averaging;
pub mod chance;
pub mod flattened;
pub mod gradient_descent;
pub mod in_context;
pub mod knn;
pub mod lasso;
pub mod least_squares;
pub mod logistic_regression;
pub mod lookup;
pub mod mean;
pub mod min_norm;
pub mod nearest_example;
pub mod per_position;
pub mod regression_tree;
pub mod ridge;
pub mod rows;
pub mod seen;
pub mod squares_least_squares;
pub mod trained_network;
pub mod unbeatable;

use crate::batch::Batch;

/// What a predictor that sees a sequence of tokens at a time answers to each, one after the other.
fn by_sequence(batch: &Batch, answers: impl Fn(&[u32]) -> Vec<f32>) -> Vec<f32> {
    batch.inputs.tokens().chunks_exact(batch.dims.seq_len).flat_map(answers).collect()
}

/// A classical predictor with the network's call shape.
pub trait Baseline: Send {
    /// Name in result tables.
    fn name(&self) -> &'static str;

    /// Learns from training examples. In-context predictors learn from each prompt alone and ignore this.
    fn fit(&mut self, train: &Batch);

    /// Predictions, row-major; logits where targets are classes. Unscored positions may hold anything.
    ///
    /// # Shapes
    /// result `[batch, seq_len, d_out]`
    ///
    /// # Panics
    /// A predictor that learns from training examples panics when it was not fitted, or to other sizes.
    fn predict(&self, batch: &Batch) -> Vec<f32>;
}
