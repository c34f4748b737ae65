//! Predictors that learn from each prompt alone.

use nalgebra::{DMatrixView, DVectorView};

use super::Baseline;
use crate::{
    batch::{Batch, Targets, TaskInput},
    prompt::alternating::{Prompt, x_position},
};

/// A rule that predicts the answer of a query from the examples before it. Each rule is a [`Baseline`]: it is applied
/// at every scored point of a prompt, and its answer without any example is 0, the mean of y. If targets are classes,
/// the answer is the logit of class 1 minus that of class 0.
pub trait InContext: Send {
    /// Name in result tables.
    fn name(&self) -> &'static str;

    /// The prediction for a query, from i >= 1 examples.
    ///
    /// # Shapes
    /// x `[d, i]`, an example per column; y `[i]`; query `[d]`
    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64;
}

impl<Rule: InContext> Baseline for Rule {
    fn name(&self) -> &'static str {
        InContext::name(self)
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let TaskInput::Continuous { d_in } = batch.dims.input else { panic!("prompts hold numbers, not tokens") };
        let seq_len = batch.dims.seq_len;
        let prompts = batch.inputs.continuous().chunks_exact(seq_len * d_in).zip(batch.loss_mask.chunks_exact(seq_len));
        let answers = prompts.flat_map(|(tokens, scored)| answers(self, &Prompt::read(tokens, d_in), scored));
        match batch.targets {
            Targets::Continuous(_) => answers.collect(),
            Targets::Classes(_) => answers.flat_map(|answer| [-answer / 2.0, answer / 2.0]).collect(),
        }
    }
}

/// A rule's answers at the scored points of a prompt, each at the position of its x. `[seq_len]`
fn answers(rule: &impl InContext, Prompt { x, y }: &Prompt, scored: &[bool]) -> Vec<f32> {
    let mut predictions = vec![0.0; scored.len()];
    for seen in (1..x.ncols()).filter(|&seen| scored[x_position(seen)]) {
        let answer = rule.answer(x.columns(0, seen), y.rows(0, seen), x.column(seen));
        predictions[x_position(seen)] = answer as f32;
    }
    predictions
}
