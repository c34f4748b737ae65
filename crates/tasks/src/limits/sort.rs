//! Sorting tokens.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance, most_frequent::MostFrequent},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`Sort`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct SortConfig {
    /// Number of tokens. Default 8.
    pub seq_len: usize,
    /// Number of different tokens. Default 10.
    pub vocab: usize,
}

impl Default for SortConfig {
    fn default() -> Self {
        Self { seq_len: 8, vocab: 10 }
    }
}

impl TaskSpec for SortConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Tokens { vocab: self.vocab }, d_out: self.vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [TaskError::below("seq_len", self.seq_len, 2), TaskError::below("vocab", self.vocab, 2)];
        problems.into_iter().flatten().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Sort { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        Some("every token may be the one that belongs at a position")
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// Independent, uniform tokens below `vocab`; position i asks for the i-th smallest.
///
/// # Shapes
/// inputs `[seq_len]`, ids below `vocab` -> targets `[seq_len]`
///
/// # References
/// Dong, Cordonnier, Loukas 2021, arXiv 2103.03404: ten symbols, eight of them in a sequence.
#[derive(Clone, Debug)]
pub struct Sort {
    /// Sizes.
    pub config: SortConfig,
}

impl Sort {
    /// The example with given tokens.
    pub fn sequence(tokens: Vec<u32>) -> Example {
        let mut sorted = tokens.clone();
        sorted.sort_unstable();
        let seq_len = tokens.len();
        Example {
            inputs: Inputs::Tokens(tokens),
            targets: Targets::Classes(sorted),
            loss_mask: vec![true; seq_len],
            slices: vec![None; seq_len],
        }
    }
}

impl Task for Sort {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let SortConfig { seq_len, vocab } = self.config;
        Self::sequence((0..seq_len).map(|_| rng.random_range(0..vocab as u32)).collect())
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(MostFrequent::default()), Box::new(Chance { possible: 0..self.config.vocab })]
    }
}
