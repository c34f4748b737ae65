//! The mean target.

use super::Baseline;
use crate::batch::Batch;

/// The mean over training examples of each position's target, whatever the input; examples without a target there do
/// not count. Its squared error is the variance of the target.
#[derive(Default)]
pub struct Mean {
    /// `[asked, d_out]`; empty until fitted.
    means: Vec<f64>,
}

impl Baseline for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn fit(&mut self, train: &Batch) {
        let mut sums = vec![(0.0, 0_usize); train.asked() * train.dims.d_out];
        for example in train.targets.continuous().chunks_exact(sums.len()) {
            let places = sums.iter_mut().zip(example).filter(|(_, target)| !target.is_nan());
            places.for_each(|((sum, count), &target)| (*sum, *count) = (*sum + f64::from(target), *count + 1));
        }
        self.means = sums.iter().map(|(sum, count)| sum / (*count).max(1) as f64).collect();
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        assert_eq!(self.means.len(), batch.asked() * batch.dims.d_out, "fit to examples of these sizes first");
        let example: Vec<f32> = self.means.iter().map(|&mean| mean as f32).collect();
        example.repeat(batch.size)
    }
}
