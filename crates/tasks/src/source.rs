//! A task and a seed turned into training batches and evaluation sets.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, Example},
    error::TaskError,
    seed::{Seed, Stream},
    task::{Split, Task},
};

/// Where training examples come from, and how many are set apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DataConfig {
    /// New examples at every step.
    Fresh {
        /// Validation examples; 0 for none. Default 256.
        #[serde(default = "default_evaluation")]
        validation: usize,
        /// Test examples. Default 256.
        #[serde(default = "default_evaluation")]
        test: usize,
    },
    /// A fixed training set, passed over in a new random order each epoch; the last batch of an epoch may be smaller.
    Fixed {
        /// Training examples.
        train: usize,
        /// Validation examples; 0 for none. Default 0.
        #[serde(default)]
        validation: usize,
        /// Test examples. Default 256.
        #[serde(default = "default_evaluation")]
        test: usize,
    },
}

fn default_evaluation() -> usize {
    256
}

impl Default for DataConfig {
    fn default() -> Self {
        Self::Fresh { validation: default_evaluation(), test: default_evaluation() }
    }
}

impl DataConfig {
    /// Examples of the largest training batch, which is asked for with `batch_size`: no more than there are.
    pub fn largest_batch(&self, batch_size: usize) -> usize {
        match self {
            Self::Fresh { .. } => batch_size,
            Self::Fixed { train, .. } => batch_size.min(*train),
        }
    }

    /// Examples of the first so many training batches, an example counting as often as it is seen.
    pub fn examples_of(&self, batches: u64, batch_size: usize) -> f64 {
        let full = |batches: u64| batches as f64 * batch_size as f64;
        match self {
            Self::Fresh { .. } => full(batches),
            Self::Fixed { train, .. } => {
                let per_epoch = train.div_ceil(batch_size.max(1)).max(1) as u64;
                (batches / per_epoch) as f64 * *train as f64 + full(batches % per_epoch)
            }
        }
    }

    /// Number of examples that are set apart: 0 for training on new ones.
    pub fn size(&self, split: Split) -> usize {
        match (self, split) {
            (Self::Fresh { .. }, Split::Train) => 0,
            (Self::Fixed { train, .. }, Split::Train) => *train,
            (Self::Fresh { validation, .. } | Self::Fixed { validation, .. }, Split::Validation) => *validation,
            (Self::Fresh { test, .. } | Self::Fixed { test, .. }, Split::Test) => *test,
        }
    }

    /// Everything that makes no sense, each with the key to change.
    pub fn validate(&self) -> Vec<TaskError> {
        let sizes = match *self {
            Self::Fresh { test, .. } => [None, TaskError::below("fresh.test", test, 1)],
            Self::Fixed { train, test, .. } => {
                [TaskError::below("fixed.train", train, 1), TaskError::below("fixed.test", test, 1)]
            }
        };
        sizes.into_iter().flatten().collect()
    }
}

/// Training batches by number and evaluation sets, each a pure function of the seed.
pub struct Source {
    task: Box<dyn Task>,
    seed: Seed,
    data: DataConfig,
    batch_size: usize,
    /// The fixed training set, drawn once.
    fixed: Vec<Example>,
}

/// Examples that classical predictors are fitted to when training data is drawn fresh.
const FIT_EXAMPLES: u64 = 1024;

/// A training batch number that lies after every curriculum.
const FULL_SIZE: u64 = u64::MAX;

impl Source {
    /// A source of batches of `batch_size` examples.
    ///
    /// # Panics
    /// If `batch_size` or a fixed training set is 0.
    pub fn new(task: Box<dyn Task>, seed: Seed, data: DataConfig, batch_size: usize) -> Self {
        assert!(batch_size > 0, "a batch needs at least one example");
        assert!(!matches!(data, DataConfig::Fixed { train: 0, .. }), "a fixed training set needs at least one example");
        let fixed = match data {
            DataConfig::Fixed { train, .. } => {
                let draw = |i| task.training_example(FULL_SIZE, i, &mut seed.rng(Stream::Train, i));
                (0..train as u64).map(draw).collect()
            }
            DataConfig::Fresh { .. } => Vec::new(),
        };
        Self { task, seed, data, batch_size, fixed }
    }

    /// The task behind the examples.
    pub fn task(&self) -> &dyn Task {
        self.task.as_ref()
    }

    /// Training batch number `number`, counted from 0 and independent of every other batch.
    pub fn train_batch(&self, number: u64) -> Batch {
        match self.data {
            DataConfig::Fresh { .. } => {
                let first = number * self.batch_size as u64;
                let draw = |i| self.task.training_example(number, i, &mut self.seed.rng(Stream::Train, i));
                self.stack((first..first + self.batch_size as u64).map(draw))
            }
            DataConfig::Fixed { train, .. } => {
                let per_epoch = self.batches_per_epoch(train) as u64;
                let (epoch, within) = (number / per_epoch, (number % per_epoch) as usize);
                let mut order: Vec<usize> = (0..train).collect();
                order.shuffle(&mut self.seed.rng(Stream::Order, epoch));
                let first = within * self.batch_size;
                let chosen = &order[first..train.min(first + self.batch_size)];
                self.stack(chosen.iter().map(|&i| self.fixed[i].clone()))
            }
        }
    }

    fn stack(&self, examples: impl IntoIterator<Item = Example>) -> Batch {
        let units = self.task.scale().map(|scale| scale.targets.iter().map(|[_, deviation]| *deviation).collect());
        Batch { units: units.unwrap_or_default(), ..Batch::stack(self.task.dims(), examples) }
    }

    fn batches_per_epoch(&self, train: usize) -> usize {
        train.div_ceil(self.batch_size)
    }

    /// Those examples of a part that are set apart, in batches, the last of which may be smaller.
    pub fn evaluation(&self, split: Split) -> Vec<Batch> {
        let indices: Vec<u64> = (0..self.data.size(split) as u64).collect();
        let draw = |&index: &u64| self.task.example(split, index, &mut self.seed.rng(split.stream(), index));
        indices.chunks(self.batch_size).map(|chunk| self.stack(chunk.iter().map(draw))).collect()
    }

    /// What classical predictors are fitted to: the fixed training set, or 1,024 examples of their own.
    pub fn fit_set(&self) -> Batch {
        if self.fixed.is_empty() {
            let draw = |i| self.task.training_example(FULL_SIZE, i, &mut self.seed.rng(Stream::Fit, i));
            self.stack((0..FIT_EXAMPLES).map(draw))
        } else {
            self.stack(self.fixed.iter().cloned())
        }
    }
}
