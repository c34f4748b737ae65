//! Why a network cannot be looked into.

use headway_model::{Precision, adapter::MergeError, plain::NoPlainForm};
use headway_trainer::{ErrorKind, VerbError, experiment::ExperimentError};
use thiserror::Error;

use crate::wording::{counted, whole};

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub enum Error {
    /// What it needs of one run cannot be had.
    #[error(transparent)]
    Trainer(#[from] headway_trainer::Error),
    /// More layers than there are, or none.
    #[error("--layers {asked}: the network has {there} layers")]
    Layers {
        /// Layers asked for.
        asked: usize,
        /// Layers that there are.
        there: usize,
    },
    /// An example that there is not.
    #[error("--sequence {asked}: the test set has {there} examples, counted from 0; -s data.test=N makes it larger")]
    Sequence {
        /// The example asked for.
        asked: usize,
        /// Examples that there are.
        there: usize,
    },
    /// A piece is to be on that the network does not have.
    #[error("--{piece} on: the model has no {what}; an experiment of a transformer gets them by {cure}")]
    NoPiece {
        /// The piece.
        piece: &'static str,
        /// In words.
        what: &'static str,
        /// A setting that makes it.
        cure: &'static str,
    },
    /// A model without a plain form of its layers.
    #[error("{}", not_plain(.0))]
    NotPlain(NoPlainForm),
    /// A model without a plain form from input to answer.
    #[error("a bound follows {0}")]
    NotBounded(NoPlainForm),
    /// Learned keys or rows beside those of the sequence.
    #[error("a bound follows networks without learned rows before their own; this one was fine-tuned with a {0}")]
    LearnedRows(&'static str),
    /// Data of tokens.
    #[error(
        "a bound holds over boxes of input numbers; this network reads tokens, of which accuracies on max_of_k alone are proved"
    )]
    Tokens,
    /// A learned prefix.
    #[error("rank and paths follow layers whose keys are their own rows; this network has a learned prefix")]
    Prefix,
    /// Feed-forward networks.
    #[error(
        "the model's feed-forward networks mix all heads, so no sum over paths holds them; analyze paths --ffn off leaves them out"
    )]
    FeedForward,
    /// More paths than can be walked.
    #[error(
        "{of} have {product} = {} paths, in {} {} to walk; at most {most} can be. Fewer come by {}",
        whole(*.paths), counted(*.sequences, "sequence"), whole(*.walks), .cures.join(", ")
    )]
    TooManyPaths {
        /// Layers and heads.
        of: String,
        /// Ways through each layer, multiplied.
        product: String,
        /// Paths of one sequence.
        paths: f64,
        /// Sequences.
        sequences: usize,
        /// Paths of all of them.
        walks: f64,
        /// Paths that can be walked.
        most: f64,
        /// Options that make fewer.
        cures: Vec<&'static str>,
    },
    /// An option whose value makes no sense.
    #[error("--{option}: {problem}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A task that has no prompts of examples learned in context.
    #[error("{task} has no prompts of examples that in-context analysis follows; these tasks have: {}", .suited.join(", "))]
    NotInContext {
        /// Its name.
        task: &'static str,
        /// Names of tasks that do.
        suited: Vec<&'static str>,
    },
    /// A network whose kernel is not softmax attention.
    #[error("swap compares with softmax attention; {}", not_softmax(.model, .kernel.as_deref()))]
    NotSoftmax {
        /// Name of the model.
        model: &'static str,
        /// Name of its kernel; `None` if its config chooses none.
        kernel: Option<String>,
    },
    /// A network without a table of tokens.
    #[error("{task} is a task of numbers, and embedding looks at the learned rows of tokens; give a network of tokens")]
    NoTable {
        /// Name of its task.
        task: &'static str,
    },
    /// Low-rank parts that cannot be folded in.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// What no network of ours lacks.
    #[error("{0}")]
    Fault(&'static str),
}

fn not_softmax(model: &str, kernel: Option<&str>) -> String {
    match kernel {
        Some(kernel) => format!("this network attends by {kernel}: train one with kernel = \"softmax\""),
        None => format!("the attention of {model} is fixed, and no kernel can take its place"),
    }
}

fn not_plain(reason: &NoPlainForm) -> String {
    match reason {
        NoPlainForm::Missing(_) => reason.to_string(),
        reason => format!("rank and paths follow {reason}"),
    }
}

impl Error {
    pub(crate) fn not_finite(what: &str, precision: Precision) -> Self {
        headway_trainer::Error::not_finite(what, precision).into()
    }
}

impl VerbError for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Trainer(error) => error.kind(),
            Self::Merge(_)
            | Self::Fault(_)
            | Self::NotPlain(NoPlainForm::Missing(_))
            | Self::NotBounded(NoPlainForm::Missing(_)) => ErrorKind::Failed,
            Self::Layers { .. }
            | Self::Sequence { .. }
            | Self::NoPiece { .. }
            | Self::NotPlain(_)
            | Self::NotBounded(_)
            | Self::LearnedRows(_)
            | Self::Tokens
            | Self::Prefix
            | Self::FeedForward
            | Self::TooManyPaths { .. }
            | Self::Option { .. }
            | Self::NotInContext { .. }
            | Self::NotSoftmax { .. }
            | Self::NoTable { .. } => ErrorKind::Usage,
        }
    }

    fn experiment(&self) -> Option<&ExperimentError> {
        match self {
            Self::Trainer(error) => error.experiment(),
            _ => None,
        }
    }
}
