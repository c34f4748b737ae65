//! Sizes of the data, and problems of a model's sizes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Kind of data at one input position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputDims {
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

/// Sizes that the task gives to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoDims {
    /// Length of the longest sequence.
    pub seq_len: usize,
    /// Kind of data at one input position.
    pub input: InputDims,
    /// Numbers predicted per position; for tokens the logits.
    pub d_out: usize,
}

impl IoDims {
    /// Sizes for sequences of vectors.
    pub fn continuous(seq_len: usize, d_in: usize, d_out: usize) -> Self {
        Self { seq_len, input: InputDims::Continuous { d_in }, d_out }
    }

    /// Sizes for sequences of tokens, with logits over the same vocabulary as outputs.
    pub fn tokens(seq_len: usize, vocab: usize) -> Self {
        Self { seq_len, input: InputDims::Tokens { vocab }, d_out: vocab }
    }

    /// Width of the vectors, for a family that takes only vectors.
    ///
    /// # Panics
    /// If the data is tokens.
    pub fn vector_width(&self) -> usize {
        match self.input {
            InputDims::Continuous { d_in } => d_in,
            InputDims::Tokens { .. } => unreachable!("validate refuses tokens for a model of vectors"),
        }
    }
}

/// A reason why a model cannot be built, with the key to change.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}{}{problem}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct ConfigError {
    /// Key below the model's own table, for example `n_heads`.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl ConfigError {
    /// A problem of a key below the table at hand; empty for the table itself.
    pub fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// Largest width; a larger one is a typing error, since a single weight matrix would need terabytes.
pub(crate) const LARGEST_WIDTH: usize = 1 << 20;
/// Largest number of layers, for the same reason.
pub(crate) const MOST_LAYERS: usize = 2_000;

/// Checks a hidden width that is divided among heads.
pub(crate) fn shared_width(d_model: usize, n_heads: usize, problems: &mut Vec<ConfigError>) {
    for (key, value) in [("d_model", d_model), ("n_heads", n_heads)] {
        if value == 0 {
            problems.push(ConfigError::new(key, "must be at least 1"));
        }
        if value > LARGEST_WIDTH {
            problems.push(ConfigError::new(key, format!("must be at most {LARGEST_WIDTH}")));
        }
    }
    if n_heads > 0 && d_model <= LARGEST_WIDTH && !d_model.is_multiple_of(n_heads) {
        let fits: Vec<_> = (1..=d_model).filter(|h| d_model.is_multiple_of(*h)).map(|h| h.to_string()).collect();
        let problem = format!("{n_heads} heads do not divide d_model = {d_model}; these do: {}", fits.join(", "));
        problems.push(ConfigError::new("n_heads", problem));
    }
}

pub(crate) fn countable_anchors(n_anchors: usize, problems: &mut Vec<ConfigError>) {
    if n_anchors > LARGEST_WIDTH {
        problems.push(ConfigError::new("n_anchors", format!("must be at most {LARGEST_WIDTH}")));
    }
}
