//! The k-th largest of some real numbers.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`KthLargest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct KthLargestConfig {
    /// Number of numbers, T. Default 8.
    pub seq_len: usize,
    /// Which of them is asked for: 1 is the largest, `seq_len` the smallest. Default 2.
    pub k: usize,
}

impl Default for KthLargestConfig {
    fn default() -> Self {
        Self { seq_len: 8, k: 2 }
    }
}

impl KthLargestConfig {
    fn beyond(&self) -> Option<TaskError> {
        let problem = || format!("{} is more than seq_len = {}, the number of numbers", self.k, self.seq_len);
        (self.k > self.seq_len).then(|| TaskError::Key { key: "k", problem: problem() })
    }
}

impl TaskSpec for KthLargestConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [TaskError::below("seq_len", self.seq_len, 1), TaskError::below("k", self.k, 1), self.beyond()];
        problems.into_iter().flatten().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(KthLargest { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asked(&self) -> usize {
        1
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// T independent numbers, uniform on [0, 1), the k-th largest of which is asked for at the last. Its mean is (T + 1 − k) / (T + 1), its
/// variance k (T + 1 − k) / ((T + 1)² (T + 2)).
///
/// # Shapes
/// inputs `[T, 1]` -> target `[1, 1]`
///
/// # References
/// arXiv 2605.17930, by its summary: one layer needs a size exponential in T, two layers of one head do not.
#[derive(Clone, Debug)]
pub struct KthLargest {
    /// Sizes.
    pub config: KthLargestConfig,
}

impl KthLargest {
    /// The example with given numbers.
    ///
    /// # Panics
    /// If there are fewer than k.
    pub fn sequence(&self, numbers: Vec<f32>) -> Example {
        let mut sorted = numbers.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let target = sorted[self.config.k - 1];
        Example {
            inputs: Inputs::Continuous(numbers),
            targets: Targets::Continuous(vec![target]),
            loss_mask: vec![true],
            slices: vec![None],
        }
    }
}

impl Task for KthLargest {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        self.sequence((0..self.config.seq_len).map(|_| rng.random::<f32>()).collect())
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Flattened::default()), Box::new(Mean::default())]
    }

    /// One number for each sequence.
    fn answer(&self) -> Option<Vec<usize>> {
        Some(vec![1])
    }
}
