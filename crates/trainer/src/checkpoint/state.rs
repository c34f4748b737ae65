//! What a checkpoint records about training: its state, what resuming needs, and what was logged.

use std::collections::BTreeMap;

use headway_model::weights::Array;
use serde::{Deserialize, Serialize};

/// `state.json`: the state of training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimiser steps taken.
    pub step: u64,
    /// Best validation loss so far and its step.
    pub best: Option<Best>,
    /// Number of evaluations since the last improvement that counts. Unless `min_delta` is above 0, that is the best
    /// evaluation.
    pub evaluations_since_best: u32,
    /// Validation loss of that improvement; `None` if it is the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<f32>,
    /// Digest of the resolved experiment; resuming requires the same.
    pub experiment: String,
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Step of the evaluation.
    pub step: u64,
    /// Validation loss, as f32, which JSON preserves to the last bit.
    pub loss: f32,
}

impl TrainState {
    /// Records the validation loss of this step and returns whether it is the lowest so far. Patience restarts if the
    /// loss is more than `min_delta` below the one at which it last restarted.
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

/// `metrics.json` of a checkpoint: what the metrics file contained when the checkpoint was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Length of the file.
    pub bytes: u64,
    /// Sha256 of its first `bytes` bytes.
    pub sha256: String,
    /// What was found wrong with the file earlier; `None` if nothing was. The digest is of what was left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amiss: Option<String>,
}

/// What resuming needs besides the weights.
#[derive(Clone, Debug)]
pub struct Resumable {
    /// State of training when the checkpoint was saved.
    pub state: TrainState,
    /// Optimiser moments by name.
    pub moments: BTreeMap<String, Array>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Best step and number of evaluations without improvement after each of some losses, and the final state.
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
        // Losses of 3 and of 1.5 would count.
        let demanding =
            [(1, 0), (2, 1), (3, 2), (3, 3), (5, 0), (5, 1), (7, 2)].map(|(best, count)| (Some(best), count));
        let (after, state) = evaluate(&losses, 1.0);
        assert_eq!(after, demanding);
        // The loss that patience counts from survives a checkpoint; it is written only if it is not the best.
        let text = serde_json::to_string(&state).unwrap_or_default();
        assert!(text.contains("\"counted_from\":2.5"), "{text}");
        assert_eq!(serde_json::from_str::<TrainState>(&text).ok().as_ref(), Some(&state));
        let text = serde_json::to_string(&evaluate(&losses, 0.0).1).unwrap_or_default();
        assert!(!text.contains("counted_from"), "{text}");
    }
}
