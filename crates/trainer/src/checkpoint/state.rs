//! What a checkpoint says of training: where it stands, what it takes to go on, and what was logged.

use std::collections::BTreeMap;

use headway_model::weights::Array;
use serde::{Deserialize, Serialize};

/// `state.json`: where training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimiser steps taken.
    pub step: u64,
    /// Best validation loss so far and its step.
    pub best: Option<Best>,
    /// Evaluations since the last improvement that counts, which is that of the best one unless `min_delta` is above 0.
    pub evaluations_since_best: u32,
    /// Validation loss of that improvement, where it is not the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<f32>,
    /// Digest of the resolved experiment; resuming demands the same.
    pub experiment: String,
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Step of the evaluation.
    pub step: u64,
    /// Validation loss; f32, which JSON gives back to the last bit.
    pub loss: f32,
}

impl TrainState {
    /// Takes in the validation loss of this step; whether it is the lowest so far. Patience begins anew where it is more than
    /// `min_delta` below the loss at which it last began.
    pub(crate) fn evaluated(&mut self, loss: f32, min_delta: f32) -> bool {
        let lowest = self.best.map(|best| best.loss);
        let counted_from = self.counted_from.or(lowest);
        let is_lowest = lowest.is_none_or(|lowest| loss < lowest);
        if counted_from.is_none_or(|from| loss < from - min_delta) {
            (self.evaluations_since_best, self.counted_from) = (0, None);
        } else {
            self.evaluations_since_best = self.evaluations_since_best.saturating_add(1);
            self.counted_from = counted_from.filter(|_| is_lowest || self.counted_from.is_some());
        }
        if is_lowest {
            self.best = Some(Best { step: self.step, loss });
        }
        is_lowest
    }
}

/// `metrics.json` of a checkpoint: what the metrics file held when it was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Its length.
    pub bytes: u64,
    /// Sha256 of so many bytes.
    pub sha256: String,
    /// What had been found amiss before; the digest is of what was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amiss: Option<String>,
}

/// What resuming needs beyond the weights.
#[derive(Clone, Debug)]
pub struct Resumable {
    /// Where training stood.
    pub state: TrainState,
    /// Optimiser moments by name.
    pub moments: BTreeMap<String, Array>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Best step and evaluations without improvement after each of some losses, and the state at the end.
    fn evaluate(losses: &[f32], min_delta: f32) -> (Vec<(Option<u64>, u32)>, TrainState) {
        let mut state = TrainState::default();
        let after = losses.iter().map(|&loss| {
            state.step += 1;
            state.evaluated(loss, min_delta);
            (state.best.map(|best| best.step), state.evaluations_since_best)
        });
        (after.collect(), state)
    }

    #[test]
    fn the_best_is_the_lowest_and_patience_alone_asks_for_more() {
        let losses = [4.0, 3.5, 3.25, 3.5, 2.5, 2.75, 2.0];
        let plain = [(1, 0), (2, 0), (3, 0), (3, 1), (5, 0), (5, 1), (7, 0)].map(|(best, count)| (Some(best), count));
        assert_eq!(evaluate(&losses, 0.0).0, plain);
        // 3 and 1.5 would count.
        let demanding =
            [(1, 0), (2, 1), (3, 2), (3, 3), (5, 0), (5, 1), (7, 2)].map(|(best, count)| (Some(best), count));
        let (after, state) = evaluate(&losses, 1.0);
        assert_eq!(after, demanding);
        // What patience counts from outlives a checkpoint, and is written only where it is not the best.
        let text = serde_json::to_string(&state).unwrap_or_default();
        assert!(text.contains("\"counted_from\":2.5"), "{text}");
        assert_eq!(serde_json::from_str::<TrainState>(&text).ok().as_ref(), Some(&state));
        let text = serde_json::to_string(&evaluate(&losses, 0.0).1).unwrap_or_default();
        assert!(!text.contains("counted_from"), "{text}");
    }
}
