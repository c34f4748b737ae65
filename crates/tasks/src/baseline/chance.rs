//! Guessing.

use std::ops::Range;

use super::Baseline;
use crate::batch::Batch;

/// Logit of an impossible class: e^-30 vanishes in single precision, but the cross entropy stays finite.
const IMPOSSIBLE: f32 = -30.0;

/// Equal logits for all classes that can be a target, whatever the input.
pub struct Chance {
    /// Classes that can be a target.
    pub possible: Range<usize>,
}

impl Baseline for Chance {
    fn name(&self) -> &'static str {
        "chance"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let position = equal_logits(batch.dims.d_out, |class| self.possible.contains(&class));
        position.repeat(batch.loss_mask.len())
    }
}

/// Equal logits for the classes for which `possible` is true. `[d_out]`
pub(super) fn equal_logits(d_out: usize, possible: impl Fn(usize) -> bool) -> Vec<f32> {
    (0..d_out).map(|class| if possible(class) { 0.0 } else { IMPOSSIBLE }).collect()
}
