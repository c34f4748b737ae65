//! The interface of tasks: sizes, examples drawn from a generator, and classical predictors.

use std::path::PathBuf;

use crate::{
    baseline::Baseline,
    batch::{Example, TaskDims},
    error::TaskError,
    files::Files,
    known::Known,
    measure::Measure,
    picture::Patches,
    prompt::Layout,
    scale::Scale,
    seed::{SampleRng, Stream},
    shift::Shift,
    vocabulary::Vocabulary,
};

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// For fitting weights and classical predictors.
    Train,
    /// For use during training: choosing a checkpoint and stopping early.
    Validation,
    /// For use once, at the end.
    Test,
}

impl Split {
    /// The stream from which its examples are drawn.
    pub fn stream(self) -> Stream {
        match self {
            Self::Train => Stream::Train,
            Self::Validation => Stream::Validation,
            Self::Test => Stream::Test,
        }
    }
}

/// A task: a distribution of examples. Constants shared by all examples are drawn when the task is opened from its
/// config and a seed.
pub trait Task: Send + Sync {
    /// Sizes of inputs and targets.
    fn dims(&self) -> TaskDims;

    /// Example `index`, from 0, of a part of the data. Generated examples depend only on the generator, which differs
    /// for every part and index; examples from a file depend on part and index.
    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example;

    /// Training example `index`, in training batch number `batch`, for tasks whose training examples differ from their
    /// evaluation examples. All examples of a batch have the same length, at most that of `dims`.
    fn training_example(&self, _batch: u64, index: u64, rng: &mut SampleRng) -> Example {
        self.example(Split::Train, index, rng)
    }

    /// What classical predictors are fitted to, for tasks that draw training examples without end from data that can be
    /// gone through once; `None` for examples drawn like those of training.
    fn fit_examples(&self) -> Option<Vec<Example>> {
        None
    }

    /// Classical predictors for the same inputs.
    fn baselines(&self) -> Vec<Box<dyn Baseline>>;

    /// The best possible predictor: no predictor that uses only what a position may see has a smaller mean error over
    /// evaluation examples. It is the posterior mean for numbers and the posterior for classes, and needs no fit. It
    /// returns NaN at scored positions where it is not known; `None` if it is known nowhere, or would just return the
    /// target.
    fn best_possible(&self) -> Option<Box<dyn Baseline>> {
        None
    }

    /// The function that its targets are of its inputs; `None` if they are no function of them, or none that is known over
    /// boxes.
    fn known(&self) -> Option<Known> {
        None
    }

    /// Names of groups of positions with scores of their own, as in `mse[name]`. A name has the form `key=number`, with
    /// one common key, if it stands for a number, such as `points=3` for three points seen in context. Which positions
    /// belong to a group may differ between examples.
    fn slices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Scale of the data, for tasks whose scores are in the data's own units; empty where the data has no numbers. `None`
    /// for generated data.
    fn scale(&self) -> Option<Scale> {
        None
    }

    /// Scores beside the loss and the squared error or accuracy.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }

    /// Shape of the prediction for a whole sequence, `[d_out]` or `[horizon, width]`, for tasks that require it at the
    /// last position; `None` if each position has its own target.
    fn answer(&self) -> Option<Vec<usize>> {
        None
    }

    /// How its positions make up a picture, for tasks of pictures; `None` for others.
    fn patches(&self) -> Option<Patches> {
        None
    }

    /// Names of the classes, for tasks whose answers are shown class by class; empty for others.
    fn class_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Layout of prompts, for in-context tasks; `None` for others.
    fn prompt_layout(&self) -> Option<Layout> {
        None
    }
}

/// Names of a task's data in its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataNames<'a> {
    /// Columns of the inputs, in order, or the name of one array.
    pub inputs: &'a [String],
    /// Columns of the targets, in order, or the name of one array.
    pub targets: &'a [String],
    /// Whether the names are columns of a table.
    pub are_columns: bool,
}

/// How alike some tokens are known to be, whatever a network learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Alike {
    /// Name of the table.
    pub name: &'static str,
    /// The tokens in the order of rows and columns.
    pub tokens: Vec<u32>,
    /// Larger for tokens that are more alike. `[tokens, tokens]`
    pub entries: Vec<Vec<f64>>,
}

/// How sequences of letters are given to a network that fills their gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// The letters, in the order of their tokens.
    pub letters: &'static str,
    /// How a gap is written.
    pub mark: char,
    /// The token of a gap.
    pub mask: u32,
    /// The token after the end of a sequence.
    pub pad: u32,
    /// The tokens that can stand in a gap.
    pub answers: &'static [u32],
}

impl Gaps {
    /// The first tokens of a sequence, `seq_len` of them.
    pub fn window(self, letters: &[u8], seq_len: usize) -> impl Iterator<Item = u32> {
        let token = move |letter: &u8| {
            let at = self.letters.bytes().position(|known| known == *letter);
            at.map_or(self.mask, |at| at as u32)
        };
        let tokens: Vec<u32> = letters.iter().take(seq_len).map(token).collect();
        let padding = std::iter::repeat_n(self.pad, seq_len - tokens.len());
        tokens.into_iter().chain(padding)
    }
}

/// Config of a task: what is known before its shared constants are drawn.
pub trait TaskSpec {
    /// Sizes of inputs and targets.
    fn dims(&self) -> TaskDims;

    /// Problems of the config, each with the key to change.
    fn validate(&self) -> Vec<TaskError>;

    /// Opens the task: draws its shared constants from the generator and reads its files once. The config must be
    /// valid.
    ///
    /// # Errors
    /// What is wrong with a file, with the key that names it. A task without files causes no error.
    fn open(&self, files: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError>;

    /// Where in the input answers appear after the position that must predict them, in words: a model that sees later
    /// positions would copy them. `None` if there are no such answers, so that every position may see all others. The
    /// config must be valid.
    fn answers_ahead(&self) -> Option<&'static str>;

    /// Where in the input what tells of an answer appears after the position of the answer, in words: a model that sees
    /// earlier positions alone learns the task, but with less to go by. `None` if nothing there does. The config must be
    /// valid.
    fn clues_ahead(&self) -> Option<&'static str> {
        None
    }

    /// Whether the last position alone is scored, with the answer to the whole sequence.
    fn asks_once(&self) -> bool {
        self.asked() == 1
    }

    /// Makes the paths of files absolute, and examines those whose digest and sizes the config does not have yet. Does
    /// nothing for a task without files.
    ///
    /// # Errors
    /// What is wrong with a file, with the key that names it.
    fn settle(&mut self, _files: &Files) -> Result<(), TaskError> {
        Ok(())
    }

    /// Numbers of examples for training, validation and test, for tasks with a fixed number; `None` for others.
    fn held_examples(&self) -> Option<[usize; 3]> {
        None
    }

    /// Numbers of validation and test examples, for tasks whose training examples are drawn without end but whose
    /// evaluation examples are a fixed number; `None` for others.
    fn held_evaluation(&self) -> Option<[usize; 2]> {
        None
    }

    /// The paths of its files, each with the key that names it; they do not count as part of the data.
    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        Vec::new()
    }

    /// The path of its tokenizer, one of [`Self::places_mut`]; `None` for tasks without one. A checkpoint keeps a copy of
    /// the file, so that its network can be let write without the original.
    fn tokenizer_mut(&mut self) -> Option<&mut PathBuf> {
        None
    }

    /// Sha256 of the data; `None` for tasks without files.
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    /// What in its files may be meant otherwise than it was read, and how to say so; `None` where there is no doubt, or where they are
    /// not read yet.
    fn doubt(&self) -> Option<String> {
        None
    }

    /// Names of the data in its files; `None` for tasks without files.
    fn data_names(&self) -> Option<DataNames<'_>> {
        None
    }

    /// The tokens that its inputs and targets are, for settled tasks of text; `None` for others.
    fn vocabulary(&self) -> Option<Vocabulary> {
        None
    }

    /// How sequences with gaps are given to a network that fills them; `None` for tasks that hide nothing.
    fn gaps(&self) -> Option<Gaps> {
        None
    }

    /// How alike its tokens are known to be; `None` where nothing is known.
    fn alike(&self) -> Option<Alike> {
        None
    }

    /// Number of positions of an example, from the last, that have a target. Default: all.
    fn asked(&self) -> usize {
        self.dims().seq_len
    }

    /// Mean number of positions of a training example that are scored, at most [`TaskSpec::asked`], which is the default unless one
    /// alone is. A task whose examples have few must say how many: what a network costs follows from it.
    fn scored(&self) -> f64 {
        if self.asks_once() { 1.0 } else { self.asked() as f64 }
    }

    /// Bytes that its classical predictors need at once beside the examples, where they are many.
    fn baseline_bytes(&self) -> f64 {
        0.0
    }

    /// The newest window of a table with the task's columns, row-major, in the units of the data, for tasks that forecast;
    /// `None` for others.
    fn newest(&self, _table: &[u8]) -> Option<Result<Vec<f32>, String>> {
        None
    }

    /// Whether an answer `[horizon, width]` counts from the last `width` numbers of the input.
    fn answers_count_from_last(&self) -> bool {
        false
    }

    /// Index of the first training batch with full-size examples, if training starts with smaller ones.
    fn curriculum_end(&self) -> Option<u64> {
        None
    }

    /// Whether training starts with shorter sequences.
    fn starts_shorter(&self) -> bool {
        false
    }

    /// The key `shift`, if the task has one.
    fn shift_mut(&mut self) -> Option<&mut Option<Shift>> {
        None
    }

    /// The key of its length, for tasks that ask the same of a network at any length: a number of tokens, examples or symbols. `None` if
    /// another length is another task.
    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        None
    }
}
