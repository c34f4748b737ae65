//! What a task is: sizes, one example from one generator, and the predictors it is compared with.

use std::{ops::Range, path::PathBuf};

use thiserror::Error;

use crate::{
    baseline::Baseline,
    distribution::Distribution,
    files::Files,
    icl::{question::Layout, shift::Shift},
    scale::Scale,
    seed::{SampleRng, Stream},
};

/// What one position of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskInput {
    /// A vector of `d_in` numbers.
    Continuous {
        /// Width of the vector.
        d_in: usize,
    },
    /// A token id below `vocab`.
    Tokens {
        /// Vocabulary size.
        vocab: usize,
    },
}

/// Sizes that a task dictates to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDims {
    /// Positions of a sequence.
    pub seq_len: usize,
    /// What a position holds.
    pub input: TaskInput,
    /// Numbers (or logits) predicted per position.
    pub d_out: usize,
}

/// Numbers or tokens of an example at most, those that go in and those that come out counted together: a few megabytes.
pub(crate) const MOST_NUMBERS: usize = 1 << 20;
/// Tokens of a vocabulary at most.
const LARGEST_VOCABULARY: usize = 1 << 24;

impl TaskDims {
    /// What is wrong with sizes that a slip of the keyboard gives; nothing for others.
    pub(crate) fn problem(&self) -> Option<TaskError> {
        let (width, vocab) = match self.input {
            TaskInput::Continuous { d_in } => (d_in.saturating_add(self.d_out), 0),
            // A token in, a class out.
            TaskInput::Tokens { vocab } => (2, vocab),
        };
        let seq_len = self.seq_len;
        let problem = if seq_len.saturating_mul(width) > MOST_NUMBERS {
            format!(
                "{seq_len} positions of {width} numbers, in and out, are too many; give {MOST_NUMBERS} numbers at most"
            )
        } else if vocab > LARGEST_VOCABULARY {
            format!("{vocab} tokens are too many; give {LARGEST_VOCABULARY} or fewer")
        } else {
            return None;
        };
        Some(TaskError { key: "", problem })
    }
}

/// Input values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// `[…, seq_len, d_in]`
    Continuous(Vec<f32>),
    /// `[…, seq_len]`
    Tokens(Vec<u32>),
}

impl Inputs {
    /// The numbers, `[…, seq_len, d_in]`.
    ///
    /// # Panics
    /// On tokens.
    pub fn continuous(&self) -> &[f32] {
        match self {
            Self::Continuous(values) => values,
            Self::Tokens(_) => panic!("the inputs are tokens, not numbers"),
        }
    }

    /// The token ids, `[…, seq_len]`.
    ///
    /// # Panics
    /// On continuous inputs.
    pub fn tokens(&self) -> &[u32] {
        match self {
            Self::Tokens(ids) => ids,
            Self::Continuous(_) => panic!("the inputs are numbers, not tokens"),
        }
    }
}

/// Target values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// `[…, seq_len, d_out]`
    Continuous(Vec<f32>),
    /// Class per position, below `d_out`. `[…, seq_len]`
    Classes(Vec<u32>),
}

impl Targets {
    /// The numbers, `[…, seq_len, d_out]`.
    ///
    /// # Panics
    /// On classes.
    pub fn continuous(&self) -> &[f32] {
        match self {
            Self::Continuous(values) => values,
            Self::Classes(_) => panic!("the targets are classes, not numbers"),
        }
    }

    /// The classes, `[…, seq_len]`.
    ///
    /// # Panics
    /// On continuous targets.
    pub fn classes(&self) -> &[u32] {
        match self {
            Self::Classes(classes) => classes,
            Self::Continuous(_) => panic!("the targets are numbers, not classes"),
        }
    }
}

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

/// One example: inputs, targets, and which positions count and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// `[seq_len, d_in]` or `[seq_len]`
    pub inputs: Inputs,
    /// `[seq_len, d_out]` or `[seq_len]`; unscored positions hold zero.
    pub targets: Targets,
    /// Whether a position counts in the loss. `[seq_len]`
    pub loss_mask: Vec<bool>,
    /// The slice that a position belongs to, an index into [`Task::slices`]. `[seq_len]`
    pub slices: Vec<Option<u32>>,
}

/// Examples side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of examples.
    pub size: usize,
    /// Sizes of the task, with the length of these examples.
    pub dims: TaskDims,
    /// `[batch, seq_len, d_in]` or `[batch, seq_len]`
    pub inputs: Inputs,
    /// `[batch, seq_len, d_out]` or `[batch, seq_len]`
    pub targets: Targets,
    /// Whether a position counts in the loss. `[batch, seq_len]`
    pub loss_mask: Vec<bool>,
    /// The slice that a position belongs to, an index into [`Task::slices`]. `[batch, seq_len]`
    pub slices: Vec<Option<u32>>,
    /// How much of the data's own unit each number of a target is 1 of: the deviations of [`Task::scale`]. Empty where there is none. `[d_out]`
    pub units: Vec<f64>,
}

impl Batch {
    /// Puts examples side by side, in order. They may be shorter than `dims.seq_len`; the batch's own `dims` then name
    /// their length.
    ///
    /// # Panics
    /// If one is longer or shorter than another.
    pub fn stack(dims: TaskDims, examples: impl IntoIterator<Item = Example>) -> Self {
        let inputs = match dims.input {
            TaskInput::Continuous { .. } => Inputs::Continuous(Vec::new()),
            TaskInput::Tokens { .. } => Inputs::Tokens(Vec::new()),
        };
        let targets = Targets::Continuous(Vec::new());
        let mut batch =
            Self { size: 0, dims, inputs, targets, loss_mask: Vec::new(), slices: Vec::new(), units: Vec::new() };
        for example in examples {
            match (&mut batch.inputs, example.inputs) {
                (Inputs::Continuous(all), Inputs::Continuous(one)) => all.extend(one),
                (Inputs::Tokens(all), Inputs::Tokens(one)) => all.extend(one),
                _ => unreachable!("a task gives the kind of input that its dims name"),
            }
            match (&mut batch.targets, example.targets) {
                (Targets::Continuous(all), Targets::Continuous(one)) => all.extend(one),
                (Targets::Classes(all), Targets::Classes(one)) => all.extend(one),
                // The first example decides the kind.
                (none_yet, one) if batch.size == 0 => *none_yet = one,
                _ => unreachable!("all examples of a task have the same kind of target"),
            }
            // The first example decides the length.
            if batch.size == 0 {
                batch.dims.seq_len = example.loss_mask.len();
            }
            assert_eq!(example.loss_mask.len(), batch.dims.seq_len, "all examples of a batch are equally long");
            batch.loss_mask.extend(example.loss_mask);
            batch.slices.extend(example.slices);
            batch.size += 1;
        }
        batch
    }
}

impl Batch {
    /// Some of its examples, in their order; those beyond its size are not there.
    pub fn part(&self, examples: Range<usize>) -> Self {
        let end = examples.end.min(self.size);
        let examples = examples.start.min(end)..end;
        let of = |len: usize| {
            let each = len / self.size.max(1);
            each * examples.start..each * examples.end
        };
        Self {
            size: examples.len(),
            dims: self.dims,
            inputs: match &self.inputs {
                Inputs::Continuous(values) => Inputs::Continuous(values[of(values.len())].to_vec()),
                Inputs::Tokens(ids) => Inputs::Tokens(ids[of(ids.len())].to_vec()),
            },
            targets: match &self.targets {
                Targets::Continuous(values) => Targets::Continuous(values[of(values.len())].to_vec()),
                Targets::Classes(classes) => Targets::Classes(classes[of(classes.len())].to_vec()),
            },
            loss_mask: self.loss_mask[of(self.loss_mask.len())].to_vec(),
            slices: self.slices[of(self.slices.len())].to_vec(),
            units: self.units.clone(),
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

/// A config that makes no sense, with the key to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{problem}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct TaskError {
    /// Key below the config's own table, for example `seq_len`; empty for several together.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl TaskError {
    /// The key of a file whose digest is another than when it was first read.
    pub(crate) const CHANGED: &str = "found.sha256";

    /// Whether a file holds other data than when it was first read.
    pub fn is_changed_file(&self) -> bool {
        self.key == Self::CHANGED
    }

    /// An error if the size is below `least`.
    pub fn below(key: &'static str, size: usize, least: usize) -> Option<Self> {
        (size < least).then(|| Self { key, problem: format!("{size} is too few; give {least} or more") })
    }

    /// An error if the number is not a finite one above zero.
    pub fn not_positive(key: &'static str, value: f64) -> Option<Self> {
        let good = value.is_finite() && value > 0.0;
        (!good).then(|| Self { key, problem: format!("{value} must be finite and above 0") })
    }

    /// An error if the squared error of targets of this mean square overflows single precision, in which losses are computed.
    pub fn squares_overflow(key: &'static str, mean_square: f64) -> Option<Self> {
        // Six deviations are seldom left.
        let fits = ((36.0 * mean_square) as f32).is_finite();
        let problem = || format!("targets of mean square {mean_square:.1e} overflow single precision when squared");
        (!fits).then(|| Self { key, problem: format!("{}; make them smaller", problem()) })
    }

    /// An error if the size is above `most`.
    pub fn above(key: &'static str, size: usize, most: usize) -> Option<Self> {
        (size > most).then(|| Self { key, problem: format!("{size} is too many; give {most} or fewer") })
    }

    /// An error if the law has parameters that make no sense.
    pub fn bad_distribution(key: &'static str, law: &Distribution) -> Option<Self> {
        law.validate().map(|problem| Self { key, problem })
    }
}
