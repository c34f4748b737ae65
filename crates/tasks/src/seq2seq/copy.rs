//! Copying: the smallest task that attention solves by looking back at a single position.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`CopyTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct CopyConfig {
    /// Number of data symbols; the model's vocabulary has one more, the separator. Default 16.
    pub vocab: usize,
    /// Number of symbols to copy, m. Default 16.
    pub n_data: usize,
}

impl Default for CopyConfig {
    fn default() -> Self {
        Self { vocab: 16, n_data: 16 }
    }
}

impl TaskSpec for CopyConfig {
    fn dims(&self) -> TaskDims {
        let vocab = self.vocab.saturating_add(1);
        TaskDims { seq_len: self.n_data.saturating_mul(2), input: TaskInput::Tokens { vocab }, d_out: vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        // With a single symbol there is nothing to remember.
        [TaskError::below("vocab", self.vocab, 2), TaskError::below("n_data", self.n_data, 1)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(CopyTask { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        (self.n_data > 1).then_some("every symbol of the copy stands right after the place where it is asked for")
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n_data", &mut self.n_data))
    }
}

/// Data symbols d_1 … d_m, a separator, then d_1 … d_(m-1) again, so that each symbol of the copy is predicted at the
/// position of the one before it. Symbols are uniform and independent. Only the copy is scored.
///
/// ```text
/// position   0    1   …  m-1    m    m+1  …  2m-1
/// input     d_1  d_2  …  d_m   SEP   d_1  …  d_(m-1)
/// target     .    .   …   .    d_1   d_2  …  d_m
/// ```
///
/// # Shapes
/// inputs `[2 m]`, ids below `vocab + 1` with SEP = `vocab` -> targets `[2 m]`
#[derive(Clone, Debug)]
pub struct CopyTask {
    /// Sizes.
    pub config: CopyConfig,
}

impl CopyTask {
    /// The example with given data symbols.
    pub fn sequence(&self, data: &[u32]) -> Example {
        let (m, separator) = (data.len(), self.config.vocab as u32);
        let inputs = [data, &[separator], &data[..m - 1]].concat();
        let targets = [&vec![0; m], data].concat();
        let loss_mask = (0..2 * m).map(|position| position >= m).collect();
        let slices = vec![None; 2 * m];
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }
}

impl Task for CopyTask {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let CopyConfig { vocab, n_data } = self.config;
        let data: Vec<u32> = (0..n_data).map(|_| rng.random_range(0..vocab as u32)).collect();
        self.sequence(&data)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Chance { possible: 0..self.config.vocab })]
    }
}
