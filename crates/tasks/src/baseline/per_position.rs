//! Least squares, position by position.

use super::{
    Baseline,
    affine::{Affine, block},
};
use crate::batch::Batch;

/// One affine map per position with targets, y_i = W_i x_i + b_i, fitted by least squares: the best affine predictor that uses no
/// other position.
#[derive(Default)]
pub struct PerPosition {
    /// One per position that has targets; empty until fitted.
    maps: Vec<Affine>,
}

impl Baseline for PerPosition {
    fn name(&self) -> &'static str {
        "per_position_least_squares"
    }

    fn fit(&mut self, train: &Batch) {
        let (seq_len, asked) = (train.dims.seq_len, train.asked());
        let (inputs, targets) = (train.inputs.continuous(), train.targets.continuous());
        let fit = |i| Affine::fit(block(inputs, train, seq_len, seq_len - asked + i), block(targets, train, asked, i));
        self.maps = (0..asked).map(fit).collect();
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let (seq_len, inputs) = (batch.dims.seq_len, batch.inputs.continuous());
        assert_eq!(self.maps.len(), batch.asked(), "fit to examples of these sizes first");
        let predict = |(i, map): (usize, &Affine)| map.apply(block(inputs, batch, seq_len, i));
        let positions: Vec<_> = (seq_len - batch.asked()..).zip(&self.maps).map(predict).collect(); // [asked][batch, d_out]
        let rows = (0..batch.size).flat_map(|example| positions.iter().map(move |position| position.row(example)));
        rows.flat_map(|row| row.iter().map(|&value| value as f32).collect::<Vec<_>>()).collect()
    }
}
