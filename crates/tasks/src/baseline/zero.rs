//! Zero.

use super::Baseline;
use crate::batch::Batch;

/// Zero at every position, whatever the input: the mean of targets whose distribution does not change with their sign. Its squared error is
/// the mean square of the target.
pub struct Zero;

impl Baseline for Zero {
    fn name(&self) -> &'static str {
        "zero"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        vec![0.0; batch.size * batch.asked() * batch.dims.d_out]
    }
}
