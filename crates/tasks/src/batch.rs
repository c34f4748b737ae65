//! Examples as plain vectors: the sizes of a task, one example, and batches of examples.

use std::ops::Range;

use crate::error::TaskError;

/// Kind of data at one input position.
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

/// Sizes of a task's inputs and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDims {
    /// Number of positions of a sequence.
    pub seq_len: usize,
    /// Kind of data at one input position.
    pub input: TaskInput,
    /// Number of values (or logits) predicted at each position.
    pub d_out: usize,
}

/// Largest number of values or tokens of an example, inputs and outputs together: a few megabytes.
pub(crate) const MOST_NUMBERS: usize = 1 << 20;
/// Largest number of tokens of a vocabulary; five of them are a number of 128 bits.
pub(crate) const LARGEST_VOCABULARY: usize = 1 << 24;

impl TaskDims {
    /// A problem with sizes so large that they must be typing errors; `None` for others. The last `asked` positions have
    /// targets.
    pub(crate) fn problem(&self, asked: usize) -> Option<TaskError> {
        let (d_in, d_out, vocab) = match self.input {
            TaskInput::Continuous { d_in } => (d_in, self.d_out, 0),
            // One token in, one class out.
            TaskInput::Tokens { vocab } => (1, 1, vocab),
        };
        let seq_len = self.seq_len;
        let [numbers_in, numbers_out] = [seq_len.saturating_mul(d_in), asked.saturating_mul(d_out)];
        let problem = if numbers_in.saturating_add(numbers_out) > MOST_NUMBERS {
            let width = d_in.saturating_add(d_out);
            if asked == seq_len {
                format!(
                    "{seq_len} positions of {width} numbers, in and out, are too many; give {MOST_NUMBERS} numbers at most"
                )
            } else {
                format!(
                    "{numbers_in} numbers in and {numbers_out} out are too many; give {MOST_NUMBERS} numbers at most"
                )
            }
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
    /// If they are tokens.
    pub fn continuous(&self) -> &[f32] {
        match self {
            Self::Continuous(values) => values,
            Self::Tokens(_) => panic!("the inputs are tokens, not numbers"),
        }
    }

    /// The token ids, `[…, seq_len]`.
    ///
    /// # Panics
    /// If they are numbers.
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
    /// If they are classes.
    pub fn continuous(&self) -> &[f32] {
        match self {
            Self::Continuous(values) => values,
            Self::Classes(_) => panic!("the targets are classes, not numbers"),
        }
    }

    /// The classes, `[…, seq_len]`.
    ///
    /// # Panics
    /// If they are numbers.
    pub fn classes(&self) -> &[u32] {
        match self {
            Self::Classes(classes) => classes,
            Self::Continuous(_) => panic!("the targets are numbers, not classes"),
        }
    }
}

/// One example: inputs, targets, scored positions and their slices. Targets, mask and slices are of its last `asked`
/// positions: of all, or where large targets belong to the end of a sequence alone, of fewer.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// `[seq_len, d_in]` or `[seq_len]`
    pub inputs: Inputs,
    /// `[asked, d_out]` or `[asked]`; zero at positions that are not scored. NaN where one of several numbers of a
    /// scored position is not asked for.
    pub targets: Targets,
    /// Whether a position counts in the loss and the scores. `[asked]`
    pub loss_mask: Vec<bool>,
    /// The slice that a position belongs to, as an index into [`Task::slices`](crate::Task::slices). `[asked]`
    pub slices: Vec<Option<u32>>,
}

/// Several examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of examples.
    pub size: usize,
    /// Sizes of the task, with the length of these examples.
    pub dims: TaskDims,
    /// `[batch, seq_len, d_in]` or `[batch, seq_len]`
    pub inputs: Inputs,
    /// `[batch, asked, d_out]` or `[batch, asked]`
    pub targets: Targets,
    /// Whether a position counts in the loss and the scores. `[batch, asked]`
    pub loss_mask: Vec<bool>,
    /// The slice that a position belongs to, as an index into [`Task::slices`](crate::Task::slices). `[batch, asked]`
    pub slices: Vec<Option<u32>>,
    /// For each target channel, how many of the data's own units a scaled difference of 1 is: the deviations of
    /// [`Task::scale`](crate::Task::scale). Empty if there is no scale. `[d_out]`
    pub units: Vec<f64>,
}

impl Batch {
    /// Stacks examples in order. They may be shorter than `dims.seq_len`; the batch's own `dims` then has their length.
    ///
    /// # Panics
    /// If the examples have different lengths.
    pub fn stack(dims: TaskDims, examples: impl IntoIterator<Item = Example>) -> Self {
        let inputs = match dims.input {
            TaskInput::Continuous { .. } => Inputs::Continuous(Vec::new()),
            TaskInput::Tokens { .. } => Inputs::Tokens(Vec::new()),
        };
        let targets = Targets::Continuous(Vec::new());
        let mut batch =
            Self { size: 0, dims, inputs, targets, loss_mask: Vec::new(), slices: Vec::new(), units: Vec::new() };
        for example in examples {
            let asked = example.loss_mask.len();
            let len = match (&example.inputs, dims.input) {
                (Inputs::Continuous(one), TaskInput::Continuous { d_in }) => one.len() / d_in,
                (Inputs::Continuous(one), TaskInput::Tokens { .. }) => one.len(),
                (Inputs::Tokens(one), _) => one.len(),
            };
            match (&mut batch.inputs, example.inputs) {
                (Inputs::Continuous(all), Inputs::Continuous(one)) => all.extend(one),
                (Inputs::Tokens(all), Inputs::Tokens(one)) => all.extend(one),
                _ => unreachable!("a task gives the kind of input that its dims name"),
            }
            match (&mut batch.targets, example.targets) {
                (Targets::Continuous(all), Targets::Continuous(one)) => all.extend(one),
                (Targets::Classes(all), Targets::Classes(one)) => all.extend(one),
                // The first example determines the kind.
                (none_yet, one) if batch.size == 0 => *none_yet = one,
                _ => unreachable!("all examples of a task have the same kind of target"),
            }
            // The first example determines the length.
            if batch.size == 0 {
                batch.dims.seq_len = len;
            }
            assert_eq!(len, batch.dims.seq_len, "all examples of a batch are equally long");
            assert_eq!(
                asked * batch.size,
                batch.loss_mask.len(),
                "all examples of a batch are asked at as many positions"
            );
            batch.loss_mask.extend(example.loss_mask);
            batch.slices.extend(example.slices);
            batch.size += 1;
        }
        batch
    }
}

impl Batch {
    /// Number of positions of each example, from its last, that have a target.
    pub fn asked(&self) -> usize {
        self.loss_mask.len() / self.size.max(1)
    }

    /// How many numbers of the scored position in a row have no target; none of a class.
    pub fn missing(&self, row: usize) -> usize {
        match &self.targets {
            Targets::Continuous(targets) => {
                let d_out = self.dims.d_out;
                targets[row * d_out..][..d_out].iter().filter(|target| target.is_nan()).count()
            }
            Targets::Classes(_) => 0,
        }
    }

    /// What the scored position in a row counts: the share of its numbers that have a target.
    pub fn share(&self, row: usize) -> f64 {
        1.0 - self.missing(row) as f64 / self.dims.d_out as f64
    }

    /// A range of its examples; indices beyond the end of the batch are ignored.
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
