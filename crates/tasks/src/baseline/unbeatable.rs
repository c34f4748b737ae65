//! The best possible predictor in context.

use super::{Baseline, in_context::InContext};
use crate::{
    batch::{Batch, Targets, TaskInput},
    prompt::alternating::{Prompt, x_position},
};

/// The best possible predictor for hidden functions whose distribution does not change when f is replaced by -f.
/// Without examples it predicts 0, or equal logits; with examples it applies the rule, or returns NaN if there is none.
pub struct Unbeatable {
    /// E\[y | examples, x\]; `None` if no formula is known.
    pub posterior_mean: Option<Box<dyn InContext>>,
}

impl Baseline for Unbeatable {
    fn name(&self) -> &'static str {
        "best_possible"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let TaskInput::Continuous { d_in } = batch.dims.input else { panic!("prompts hold numbers, not tokens") };
        let (seq_len, d_out) = (batch.dims.seq_len, batch.dims.d_out);
        let prompts = batch.inputs.continuous().chunks_exact(seq_len * d_in).zip(batch.loss_mask.chunks_exact(seq_len));
        let rule = self.posterior_mean.as_deref().filter(|_| matches!(batch.targets, Targets::Continuous(_)));
        let mut predictions = Vec::new();
        for (tokens, scored) in prompts {
            let Prompt { x, y } = Prompt::read(tokens, d_in);
            let mut of_prompt = vec![f32::NAN; seq_len * d_out];
            for seen in (0..x.ncols()).filter(|&seen| scored[x_position(seen)]) {
                let answer = match rule {
                    _ if seen == 0 => 0.0,
                    Some(rule) => rule.answer(x.columns(0, seen), y.rows(0, seen), x.column(seen)) as f32,
                    None => continue,
                };
                of_prompt[x_position(seen) * d_out..][..d_out].fill(answer);
            }
            predictions.extend(of_prompt);
        }
        predictions
    }
}
