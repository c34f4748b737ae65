//! Examples as plain vectors: the sizes of a task, one example, and examples side by side.

use std::ops::Range;

use crate::error::TaskError;

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
        Some(TaskError::Key { key: "", problem })
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

/// One example: inputs, targets, and which positions count and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// `[seq_len, d_in]` or `[seq_len]`
    pub inputs: Inputs,
    /// `[seq_len, d_out]` or `[seq_len]`; unscored positions hold zero.
    pub targets: Targets,
    /// Whether a position counts in the loss. `[seq_len]`
    pub loss_mask: Vec<bool>,
    /// The slice that a position belongs to, an index into [`Task::slices`](crate::Task::slices). `[seq_len]`
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
    /// The slice that a position belongs to, an index into [`Task::slices`](crate::Task::slices). `[batch, seq_len]`
    pub slices: Vec<Option<u32>>,
    /// How much of the data's own unit each number of a target is 1 of: the deviations of [`Task::scale`](crate::Task::scale). Empty where there is none. `[d_out]`
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
