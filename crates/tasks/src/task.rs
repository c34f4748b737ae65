//! What a task is: sizes, one example from one generator, and the predictors it is compared with.

use std::path::PathBuf;

use crate::{
    baseline::Baseline,
    batch::{Example, TaskDims},
    error::TaskError,
    files::Files,
    prompt::Layout,
    scale::Scale,
    seed::{SampleRng, Stream},
    shift::Shift,
};

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What weights and classical predictors are fitted to.
    Train,
    /// Looked at during training, to choose a checkpoint and to stop early.
    Validation,
    /// Looked at once, at the end.
    Test,
}

impl Split {
    /// The stream that its examples are drawn from.
    pub fn stream(self) -> Stream {
        match self {
            Self::Train => Stream::Train,
            Self::Validation => Stream::Validation,
            Self::Test => Stream::Test,
        }
    }
}

/// A task: a law of examples. Constants that all examples share are drawn when the task is opened from its config and a
/// seed.
pub trait Task: Send + Sync {
    /// Sizes of inputs and targets.
    fn dims(&self) -> TaskDims;

    /// Example `index` of a part of the data, counted from 0. What is generated depends on the generator alone, which is another one
    /// for every part and index; what comes from a file, on part and index.
    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example;

    /// Training example `index`, which is of training batch number `batch`, for tasks that train on other examples than they are
    /// judged by. All examples of a batch are equally long, and none is longer than `dims` names.
    fn training_example(&self, _batch: u64, index: u64, rng: &mut SampleRng) -> Example {
        self.example(Split::Train, index, rng)
    }

    /// Classical predictors for the same inputs.
    fn baselines(&self) -> Vec<Box<dyn Baseline>>;

    /// The predictor that none can beat in the mean over evaluation examples by what a position may see: the posterior mean
    /// of numbers, the posterior of classes. It needs no fit. NaN at scored positions where nobody knows it; `None` where it is
    /// known nowhere, or is no more than what is asked for.
    fn best_possible(&self) -> Option<Box<dyn Baseline>> {
        None
    }

    /// Names of the groups of positions that are scored apart, as in `mse[name]`; `key=number`, with one key, where a
    /// number is meant, such as `points=3` for three points seen in context. Which positions they are may differ from
    /// example to example.
    fn slices(&self) -> Vec<String> {
        Vec::new()
    }

    /// The scale of the data, for tasks whose scores are in its own units; `None` for generated ones.
    fn scale(&self) -> Option<Scale> {
        None
    }

    /// Shape of what is predicted of a whole sequence, `[d_out]` or `[horizon, width]`, for tasks that ask for it at the last position; `None`
    /// where a position is asked for what belongs to itself.
    fn answer(&self) -> Option<Vec<usize>> {
        None
    }

    /// Where prompts hold their examples and queries, for tasks that are learned in context.
    fn prompt_layout(&self) -> Option<Layout> {
        None
    }
}

/// What files call the data of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataNames<'a> {
    /// Columns of inputs, in order, or one array.
    pub inputs: &'a [String],
    /// As inputs.
    pub targets: &'a [String],
    /// Whether they are columns of a table.
    pub are_columns: bool,
}

/// The config of one task: what is known before its shared constants are drawn.
pub trait TaskSpec {
    /// Sizes of inputs and targets.
    fn dims(&self) -> TaskDims;

    /// Everything that makes no sense, each with the key to change.
    fn validate(&self) -> Vec<TaskError>;

    /// The task, its shared constants drawn from the generator, its files read once. The config must be valid.
    ///
    /// # Errors
    /// What is wrong with a file, under the key that names it. A task without files has none.
    fn open(&self, files: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError>;

    /// Where answers stand in the input further on than they are asked for, in words: a model that sees what comes later
    /// would copy them. Nothing where no answer stands ahead, so that every position may see all others. The config must be
    /// valid.
    fn answers_ahead(&self) -> Option<&'static str>;

    /// Makes the paths of files absolute, and looks into those whose digest and sizes the config does not know yet. A task without files
    /// has nothing to do.
    ///
    /// # Errors
    /// What is wrong with a file, under the key that names it.
    fn settle(&mut self, _files: &Files) -> Result<(), TaskError> {
        Ok(())
    }

    /// Examples for training, validation and test, for tasks that have no more.
    fn held_examples(&self) -> Option<[usize; 3]> {
        None
    }

    /// Where the data is, which is no part of what it is.
    fn place_mut(&mut self) -> Option<&mut PathBuf> {
        None
    }

    /// The sha256 of the data, for tasks that read it from files.
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    /// What files call the data, for tasks that read it from some.
    fn data_names(&self) -> Option<DataNames<'_>> {
        None
    }

    /// The first training batch of full size, where training starts with smaller ones.
    fn curriculum_end(&self) -> Option<u64> {
        None
    }

    /// Whether training starts with shorter sequences.
    fn starts_shorter(&self) -> bool {
        false
    }

    /// The key `shift`, where the task has one.
    fn shift_mut(&mut self) -> Option<&mut Option<Shift>> {
        None
    }
}
