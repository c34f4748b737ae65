//! The mean target.

use super::Baseline;
use crate::batch::Batch;

/// The mean over training examples of each position's target, whatever the input. Its squared error is the variance of
/// the target.
#[derive(Default)]
pub struct Mean {
    /// `[seq_len, d_out]`; empty until fitted.
    means: Vec<f64>,
}

impl Baseline for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn fit(&mut self, train: &Batch) {
        let mut sums = vec![0.0; train.dims.seq_len * train.dims.d_out];
        for example in train.targets.continuous().chunks_exact(sums.len()) {
            sums.iter_mut().zip(example).for_each(|(sum, &target)| *sum += f64::from(target));
        }
        self.means = sums.iter().map(|sum| sum / train.size as f64).collect();
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        assert_eq!(self.means.len(), batch.dims.seq_len * batch.dims.d_out, "fit to examples of these sizes first");
        let example: Vec<f32> = self.means.iter().map(|&mean| mean as f32).collect();
        example.repeat(batch.size)
    }
}
