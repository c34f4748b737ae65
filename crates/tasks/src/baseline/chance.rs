//! Guessing.

use super::Baseline;
use crate::task::Batch;

/// Logit of a class that never occurs: e^-30 is lost in single precision, yet cross entropy stays finite.
const IMPOSSIBLE: f32 = -30.0;

/// Equal logits for the classes that can be a target, whatever the input.
pub struct Chance {
    /// Number of classes that can be a target, from class 0 on.
    pub possible: usize,
}

impl Baseline for Chance {
    fn name(&self) -> &'static str {
        "chance"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let position: Vec<f32> =
            (0..batch.dims.d_out).map(|class| if class < self.possible { 0.0 } else { IMPOSSIBLE }).collect();
        position.repeat(batch.size * batch.dims.seq_len)
    }
}
