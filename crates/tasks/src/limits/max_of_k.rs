//! The largest of some numbers that are tokens.

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

/// Sizes of [`MaxOfK`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct MaxOfKConfig {
    /// Number of numbers, k. Default 4.
    pub k: usize,
    /// Number of different numbers. Default 64.
    pub vocab: usize,
}

impl Default for MaxOfKConfig {
    fn default() -> Self {
        Self { k: 4, vocab: 64 }
    }
}

impl TaskSpec for MaxOfKConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.k, input: TaskInput::Tokens { vocab: self.vocab }, d_out: self.vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        [TaskError::below("k", self.k, 1), TaskError::below("vocab", self.vocab, 2)].into_iter().flatten().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(MaxOfK { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asked(&self) -> usize {
        1
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("k", &mut self.k))
    }
}

/// k independent, uniform numbers below `vocab`, the largest of which is asked for at the last.
///
/// # Shapes
/// inputs `[k]`, ids below `vocab` -> target `[1]`
///
/// # References
/// Gross et al. 2024, arXiv 2406.11779, who prove accuracies of such networks.
#[derive(Clone, Debug)]
pub struct MaxOfK {
    /// Sizes.
    pub config: MaxOfKConfig,
}

impl MaxOfK {
    /// The example with given numbers.
    ///
    /// # Panics
    /// If there are none.
    pub fn sequence(numbers: &[u32]) -> Example {
        let largest = numbers.iter().copied().max().expect("a valid config has a number");
        Example {
            inputs: Inputs::Tokens(numbers.to_vec()),
            targets: Targets::Classes(vec![largest]),
            loss_mask: vec![true],
            slices: vec![None],
        }
    }
}

impl Task for MaxOfK {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let MaxOfKConfig { k, vocab } = self.config;
        let numbers: Vec<u32> = (0..k).map(|_| rng.random_range(0..vocab as u32)).collect();
        Self::sequence(&numbers)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(MostFrequent::default()), Box::new(Chance { possible: 0..self.config.vocab })]
    }
}
