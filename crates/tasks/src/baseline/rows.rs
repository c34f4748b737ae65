//! Predictors that learn from the rows (x_i, y_i) of a prompt.

use super::{Baseline, in_context::InContext};
use crate::{batch::Batch, prompt::rows};

/// A rule that answers a query from examples, applied to prompts laid out as rows: see [`rows`]. Predicts 0
/// everywhere but at the query.
pub struct Rows<Rule>(pub Rule);

impl<Rule: InContext> Baseline for Rows<Rule> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let inputs = batch.inputs.continuous();
        let prompts = inputs.chunks_exact(inputs.len() / batch.size);
        let answer = |prompt| {
            let (x, y, query) = rows::read(prompt, batch.dims.seq_len);
            let mut predictions = vec![0.0; batch.dims.seq_len];
            predictions[y.len()] = self.0.answer(x.as_view(), y.as_view(), query.as_view()) as f32;
            predictions
        };
        prompts.flat_map(answer).collect()
    }
}
