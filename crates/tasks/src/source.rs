//! Training batches and evaluation sets from a task and a seed.

use std::sync::{Arc, Mutex, PoisonError};

use headway_keys::Described;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, Example, Targets, TaskDims, TaskInput},
    boxes::{Boxes, FromBoxes},
    error::TaskError,
    seed::{Seed, Stream},
    task::{Split, Task},
};

/// Where training examples come from, and how many are held out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DataConfig {
    /// New examples at every step.
    Fresh {
        /// Number of validation examples; 0 for none. Default 256.
        #[serde(default = "default_evaluation")]
        validation: usize,
        /// Number of test examples. Default 256.
        #[serde(default = "default_evaluation")]
        test: usize,
    },
    /// A fixed training set, used in a new random order in each epoch; the last batch of an epoch may be smaller.
    Fixed {
        /// Number of training examples.
        train: usize,
        /// Number of validation examples; 0 for none. Default 0.
        #[serde(default)]
        validation: usize,
        /// Number of test examples. Default 256.
        #[serde(default = "default_evaluation")]
        test: usize,
    },
    /// New examples at every step, and all validation and test examples that the task holds. For tasks that hold some.
    Whole {},
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
    /// Number of examples in the largest training batch: `batch_size`, or the size of the training set if that is
    /// smaller.
    pub fn largest_batch(&self, batch_size: usize) -> usize {
        match self {
            Self::Fresh { .. } | Self::Whole {} => batch_size,
            Self::Fixed { train, .. } => batch_size.min(*train),
        }
    }

    /// Total number of examples in the first `batches` training batches, repetitions included.
    pub fn examples_of(&self, batches: u64, batch_size: usize) -> f64 {
        let full = |batches: u64| batches as f64 * batch_size as f64;
        match self {
            Self::Fresh { .. } | Self::Whole {} => full(batches),
            Self::Fixed { train, .. } => {
                let per_epoch = train.div_ceil(batch_size.max(1)).max(1) as u64;
                (batches / per_epoch) as f64 * *train as f64 + full(batches % per_epoch)
            }
        }
    }

    /// Number of examples of a part: for training on fresh examples, 0; also for `whole`, where the task decides.
    pub fn size(&self, split: Split) -> usize {
        match (self, split) {
            (Self::Fresh { .. }, Split::Train) | (Self::Whole {}, _) => 0,
            (Self::Fixed { train, .. }, Split::Train) => *train,
            (Self::Fresh { validation, .. } | Self::Fixed { validation, .. }, Split::Validation) => *validation,
            (Self::Fresh { test, .. } | Self::Fixed { test, .. }, Split::Test) => *test,
        }
    }

    /// Problems of the config, each with the key to change.
    pub fn validate(&self) -> Vec<TaskError> {
        let sizes = match *self {
            Self::Fresh { test, .. } => [None, TaskError::below("fresh.test", test, 1)],
            Self::Whole {} => [None, None],
            Self::Fixed { train, test, .. } => {
                [TaskError::below("fixed.train", train, 1), TaskError::below("fixed.test", test, 1)]
            }
        };
        sizes.into_iter().flatten().collect()
    }
}

/// Training batches by index, and evaluation sets; each is a pure function of the seed.
pub struct Source {
    task: Box<dyn Task>,
    seed: Seed,
    data: DataConfig,
    batch_size: usize,
    /// The fixed training set; empty if training examples are fresh.
    fixed: Vec<Example>,
    /// Where some training examples come from instead; `None` for no boxes.
    boxes: Option<FromBoxes>,
    /// The newest epoch of a fixed set, with the order of its examples.
    order: Mutex<Option<(u64, Arc<[u32]>)>>,
}

/// Number of examples that classical predictors are fitted to if training examples are fresh.
const FIT_EXAMPLES: u64 = 1024;

/// Index of a training batch after the end of every curriculum.
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
            DataConfig::Fresh { .. } | DataConfig::Whole {} => Vec::new(),
        };
        Self { task, seed, data, batch_size, fixed, boxes: None, order: Mutex::default() }
    }

    /// The source with a share of its fresh training examples drawn from boxes; `None` if the task's targets are no known function of its
    /// inputs. All other examples stay as they are.
    pub fn with_boxes(mut self, boxes: Boxes, share: f64) -> Option<Self> {
        self.boxes = Some(FromBoxes::new(boxes, share, self.task.as_ref())?);
        Some(self)
    }

    /// The task that the examples come from.
    pub fn task(&self) -> &dyn Task {
        self.task.as_ref()
    }

    /// Training batch with this index, from 0; independent of all other batches.
    pub fn train_batch(&self, number: u64) -> Batch {
        match self.data {
            DataConfig::Fresh { .. } | DataConfig::Whole {} => {
                let first = number * self.batch_size as u64;
                let own = |i| self.task.training_example(number, i, &mut self.seed.rng(Stream::Train, i));
                let from_boxes = |i| self.boxes.as_ref().and_then(|boxes| boxes.example(self.seed, i));
                let draw = |i| from_boxes(i).unwrap_or_else(|| own(i));
                self.stack((first..first + self.batch_size as u64).map(draw))
            }
            DataConfig::Fixed { .. } => self.stack(self.chosen(number).iter().map(|&i| self.fixed[i as usize].clone())),
        }
    }

    /// The examples of a fixed set that make up its training batch with this index, in the batch's order; none if examples are fresh.
    pub fn chosen(&self, number: u64) -> Vec<u32> {
        let DataConfig::Fixed { train, .. } = self.data else { return Vec::new() };
        let per_epoch = self.batches_per_epoch(train) as u64;
        let (epoch, within) = (number / per_epoch, (number % per_epoch) as usize);
        let order = self.order_of(epoch, train);
        let first = within * self.batch_size;
        order[first..train.min(first + self.batch_size)].to_vec()
    }

    /// Bytes of the fixed training set as numbers of 32 bits, inputs, targets and a mask; `None` if training examples are fresh.
    pub fn fixed_bytes(&self) -> Option<u64> {
        let DataConfig::Fixed { train, .. } = self.data else { return None };
        let TaskDims { seq_len, input, .. } = self.task.dims();
        let width = match input {
            TaskInput::Continuous { d_in } => d_in,
            TaskInput::Tokens { .. } => 1,
        };
        let targets = match &self.fixed.first()?.targets {
            Targets::Continuous(targets) => targets.len(),
            Targets::Classes(classes) => classes.len(),
        };
        Some(4 * train as u64 * (seq_len * (width + 1) + targets) as u64)
    }

    /// The order of the examples in an epoch.
    fn order_of(&self, epoch: u64, train: usize) -> Arc<[u32]> {
        let mut newest = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((of, order)) if *of == epoch => order.clone(),
            _ => {
                let mut order: Vec<u32> = (0..train as u32).collect();
                order.shuffle(&mut self.seed.rng(Stream::Order, epoch));
                newest.insert((epoch, order.into())).1.clone()
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

    /// The held-out examples of a part, in batches, the last of which may be smaller.
    pub fn evaluation(&self, split: Split) -> Vec<Batch> {
        let indices: Vec<u64> = (0..self.data.size(split) as u64).collect();
        let draw = |&index: &u64| self.task.example(split, index, &mut self.seed.rng(split.stream(), index));
        indices.chunks(self.batch_size).map(|chunk| self.stack(chunk.iter().map(draw))).collect()
    }

    /// Examples that classical predictors are fitted to: the fixed training set, or those that the task gives, or 1,024
    /// examples of their own.
    pub fn fit_set(&self) -> Batch {
        if !self.fixed.is_empty() {
            self.stack(self.fixed.iter().cloned())
        } else if let Some(examples) = self.task.fit_examples() {
            self.stack(examples)
        } else {
            let draw = |i| self.task.training_example(FULL_SIZE, i, &mut self.seed.rng(Stream::Fit, i));
            self.stack((0..FIT_EXAMPLES).map(draw))
        }
    }
}
