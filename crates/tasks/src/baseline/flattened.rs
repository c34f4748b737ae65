//! Least squares on the whole sequence at once.

use super::{
    Baseline,
    affine::{Affine, block},
};
use crate::batch::Batch;

/// One affine map of the whole sequence, vec(y) = W vec(x) + b, fitted by least squares; of least norm if there are
/// fewer examples than inputs.
#[derive(Default)]
pub struct Flattened {
    /// `None` until fitted.
    map: Option<Affine>,
}

impl Baseline for Flattened {
    fn name(&self) -> &'static str {
        "flattened_least_squares"
    }

    fn fit(&mut self, train: &Batch) {
        let (inputs, targets) = (train.inputs.continuous(), train.targets.continuous());
        self.map = Some(Affine::fit(block(inputs, train, 1, 0), block(targets, train, 1, 0)));
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let map = self.map.as_ref().expect("fit first");
        let predictions = map.apply(block(batch.inputs.continuous(), batch, 1, 0)); // [batch, seq_len * d_out]
        predictions.transpose().iter().map(|&value| value as f32).collect()
    }
}
