//! Classical predictors with the same interface as networks, one file each.

mod affine;
pub mod agents;
pub mod averaging;
pub mod chance;
pub mod flattened;
pub mod forecast;
pub mod gaussian_process;
pub mod geometric_median;
pub mod gradient_descent;
pub mod in_context;
pub mod inverse_so_far;
pub mod kernel_ridge;
pub mod knn;
pub mod l1;
pub mod lasso;
pub mod least_squares;
pub mod logistic_regression;
pub mod lookup;
pub mod mean;
pub mod mean_picture;
pub mod min_norm;
pub mod most_frequent;
pub mod n_gram;
pub mod nearest_example;
pub mod nearest_picture;
pub mod neighbours;
pub mod network_descent;
pub mod per_position;
pub mod regression_tree;
pub mod ridge;
pub mod ridge_picture;
pub mod rows;
pub mod seen;
pub mod squares_least_squares;
pub mod summary;
pub mod trained_network;
pub mod trimmed_mean;
pub mod two_timescale;
pub mod unbeatable;
pub mod zero;

use crate::batch::Batch;

/// Names of predictors that answer every input alike. A network that is no better than the best of them has learned nothing of its inputs.
pub const BLIND: [&str; 5] = ["zero", "mean", "mean_picture", "chance", "most_frequent"];

/// Applies a predictor to each sequence of tokens by itself, and concatenates the results.
fn by_sequence(batch: &Batch, answers: impl Fn(&[u32]) -> Vec<f32>) -> Vec<f32> {
    batch.inputs.tokens().chunks_exact(batch.dims.seq_len).flat_map(answers).collect()
}

/// A classical predictor, with the same inputs and outputs as a network.
pub trait Baseline: Send {
    /// Name in result tables.
    fn name(&self) -> &'static str;

    /// Fits the predictor to training examples. In-context predictors learn from each prompt alone and ignore this.
    fn fit(&mut self, train: &Batch);

    /// Predictions, row-major; logits if targets are classes. Values at positions that are not scored are arbitrary.
    ///
    /// # Shapes
    /// result `[batch, asked, d_out]`, see [`Batch::asked`]
    ///
    /// # Panics
    /// If a predictor that must be fitted was not, or was fitted to other sizes.
    fn predict(&self, batch: &Batch) -> Vec<f32>;
}
