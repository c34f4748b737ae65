//! The most frequent class.

use super::Baseline;
use crate::batch::Batch;

/// The shares of the classes among the scored positions of the training examples, whatever the input. A class that does
/// not occur there counts as half an occurrence.
#[derive(Default)]
pub struct MostFrequent {
    /// Logits. `[d_out]`; empty until fitted
    logits: Vec<f32>,
}

impl Baseline for MostFrequent {
    fn name(&self) -> &'static str {
        "most_frequent"
    }

    fn fit(&mut self, train: &Batch) {
        let mut counts = vec![0.0_f64; train.dims.d_out];
        for (class, _) in train.targets.classes().iter().zip(&train.loss_mask).filter(|(_, scored)| **scored) {
            counts[*class as usize] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        self.logits = counts.iter().map(|count| (count.max(0.5) / total.max(1.0)).ln() as f32).collect();
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        assert_eq!(self.logits.len(), batch.dims.d_out, "fit to examples of these classes first");
        self.logits.repeat(batch.loss_mask.len())
    }
}
