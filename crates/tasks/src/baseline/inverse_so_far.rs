//! The inverse of a permutation, as far as its beginning tells.

use super::{Baseline, by_sequence, chance::equal_logits};
use crate::batch::Batch;

/// At each asked position the place of its element among the tokens up to there, or equal logits for the places after it if it is none of
/// them. No predictor that sees no later token is right more often: of n elements asked for at the permutation itself, a share
/// (1 + (n − 1) (n + 2) / (2 n)) / n. With all tokens before the first question it is exact.
pub struct InverseSoFar;

impl Baseline for InverseSoFar {
    fn name(&self) -> &'static str {
        "seen_so_far"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let (asked, d_out) = (batch.asked(), batch.dims.d_out);
        let before = batch.dims.seq_len - asked;
        by_sequence(batch, |tokens| {
            let answer = |element: usize| {
                let seen = &tokens[..(before + element + 1).min(d_out)];
                match seen.iter().position(|token| *token as usize == element) {
                    Some(place) => equal_logits(d_out, |class| class == place),
                    None => equal_logits(d_out, |class| class >= seen.len()),
                }
            };
            (0..asked).flat_map(answer).collect()
        })
    }
}
