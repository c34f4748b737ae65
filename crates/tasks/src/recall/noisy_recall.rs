//! Noisy recall: in-context recall among meaningless tokens.

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

/// In-context recall in which some pairs are replaced by two noise tokens, in the distribution and layout of
/// [`pairs`](super::pairs). Scored at every key that has occurred before; sliced by the distance to its last
/// occurrence, noise included.
///
/// ```text
/// position   0    1    2    3    4    5    6
/// input     k_1  v_1  n_1  n_2  k_2  v_2  k_1
/// target     .    .    .    .    .    .   v_1
/// ```
///
/// # Shapes
/// inputs `[2 n - 1]`, ids below `vocab`: keys, then values, then noise -> targets `[2 n - 1]`
///
/// # References
/// Poli et al. 2024, arXiv 2403.17844. There training predicts every next token of the sequence, and only the test is
/// scored as here; here training is too. Accuracy is over scored positions; there it is averaged over classes. There
/// the pair that is never noise may be the last one, so that all other pairs may be noise; here it is an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct NoisyRecallConfig {
    /// Total number of tokens: keys, values and noise. Default 32, as in the source.
    pub vocab: usize,
    /// Number of noise tokens among them; of the others half are keys and half values. Default 16, as in the source.
    pub noise_vocab: usize,
    /// Probability that a pair is replaced by noise. Default 0.2, as in the source.
    pub noise: f64,
    /// Number of pairs of a sequence, n, noise included; the value of the last is predicted. Default 32; the source has
    /// 64, which it calls 128 tokens.
    pub n_pairs: usize,
}

impl Default for NoisyRecallConfig {
    fn default() -> Self {
        Self { vocab: 32, noise_vocab: 16, noise: 0.2, n_pairs: 32 }
    }
}

impl NoisyRecallConfig {
    /// The task as [`Pairs`].
    pub fn pairs(&self) -> Pairs {
        let Self { vocab, noise_vocab, noise, n_pairs } = *self;
        Pairs { n_slots: n_pairs, n_paired: vocab.saturating_sub(noise_vocab), n_noise: noise_vocab, noise }
    }

    fn bad_vocab(&self) -> Option<TaskError> {
        let Self { vocab, noise_vocab, .. } = *self;
        // One key and two values: with a single value there is nothing to remember.
        let least = noise_vocab.saturating_add(3);
        let problem = || format!("{vocab} leaves too few keys and values beside noise_vocab = {noise_vocab}");
        (vocab < least)
            .then(|| TaskError::Key { key: "vocab", problem: format!("{}; give {least} or more", problem()) })
    }

    fn bad_noise(&self) -> Option<TaskError> {
        let good = (0.0..1.0).contains(&self.noise);
        (!good).then(|| TaskError::Key {
            key: "noise",
            problem: format!("{} must be in [0, 1); 0 is no noise", self.noise),
        })
    }
}

impl TaskSpec for NoisyRecallConfig {
    fn dims(&self) -> TaskDims {
        self.pairs().dims()
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            self.bad_vocab(),
            TaskError::below("noise_vocab", self.noise_vocab, 1),
            self.bad_noise(),
            TaskError::below("n_pairs", self.n_pairs, 2),
        ];
        problems.into_iter().flatten().collect()
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
