//! In-context recall: keys are repeated, each with the value that it had before.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::pairs::Pairs;
use crate::{
    batch::TaskDims,
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Task, TaskSpec},
};

/// Pairs of a key and its value, in the distribution and layout of [`pairs`](super::pairs) without noise. Scored at
/// every key that has occurred before; sliced by the distance to its last occurrence.
///
/// ```text
/// position   0    1    2    3    4    5    6
/// input     k_1  v_1  k_2  v_2  k_1  v_1  k_2
/// target     .    .    .    .   v_1   .   v_2
/// ```
///
/// # Shapes
/// inputs `[2 n - 1]`, ids below `vocab`: keys, then values -> targets `[2 n - 1]`
///
/// # References
/// Poli et al. 2024, arXiv 2403.17844. There training predicts every next token of the sequence, and only the test is
/// scored as here; here training is too. Accuracy is over scored positions; there it is averaged over classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct InContextRecallConfig {
    /// Number of tokens, half of them keys and half values. Default 16, as in the source.
    pub vocab: usize,
    /// Number of pairs of a sequence, n; the value of the last is predicted. Default 32; the source has 64, which it
    /// calls 128 tokens.
    pub n_pairs: usize,
}

impl Default for InContextRecallConfig {
    fn default() -> Self {
        Self { vocab: 16, n_pairs: 32 }
    }
}

impl InContextRecallConfig {
    /// The task as [`Pairs`].
    pub fn pairs(&self) -> Pairs {
        Pairs { n_slots: self.n_pairs, n_paired: self.vocab, n_noise: 0, noise: 0.0 }
    }
}

impl TaskSpec for InContextRecallConfig {
    fn dims(&self) -> TaskDims {
        self.pairs().dims()
    }

    fn validate(&self) -> Vec<TaskError> {
        // One key and two values: with a single value there is nothing to remember. The second pair is the first one
        // scored.
        [TaskError::below("vocab", self.vocab, 3), TaskError::below("n_pairs", self.n_pairs, 2)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(self.pairs()))
    }

    fn scored(&self) -> f64 {
        self.pairs().scored()
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        self.pairs().answers_ahead()
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n_pairs", &mut self.n_pairs))
    }
}
