//! Pooling heads: what the last map reads if one prediction is wanted for a whole sequence.

mod power;
mod tensor;

use burn::{module::Module, tensor::Tensor};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

pub use tensor::{TensorPool, TensorPoolConfig};

use crate::{budget::Count, config::ConfigError, init::Initializer};

/// What the last map reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PoolKind {
    /// The hidden state at each position, for a prediction of its own.
    #[default]
    None,
    /// The mean of the hidden states.
    Mean,
    /// The mean of outer products of features of the hidden states.
    Tensor(TensorPoolConfig),
}

impl PoolKind {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::None
    }

    pub(crate) fn validate(&self, problems: &mut Vec<ConfigError>) {
        if let Self::Tensor(config) = self {
            problems.extend(config.problems());
        }
    }

    pub(crate) fn init(&self, d_model: usize, init: &mut Initializer<'_>) -> Option<Pool> {
        match self {
            Self::None => None,
            Self::Mean => Some(Pool { tensor: None }),
            Self::Tensor(config) => Some(Pool { tensor: Some(TensorPool::new(config, d_model, init)) }),
        }
    }

    /// Number of numbers that the last map reads of a hidden state of this width.
    pub(crate) fn width(&self, d_model: usize) -> usize {
        match self {
            Self::None | Self::Mean => d_model,
            Self::Tensor(config) => config.entries(),
        }
    }

    /// Adds the pooling of one sequence to a budget, and the map behind it.
    pub(crate) fn count(&self, seq_len: f64, d_model: f64, d_out: f64, count: &mut Count) {
        let rows = if self.is_default() { seq_len } else { 1.0 };
        let read = match self {
            // A mean keeps nothing.
            Self::None | Self::Mean => d_model,
            Self::Tensor(config) => config.count(seq_len, d_model, count),
        };
        count.linear(rows, read, d_out);
        count.keep(rows * read);
    }
}

/// From the hidden states of a sequence to the numbers that the last map reads.
#[derive(Module, Debug)]
pub struct Pool {
    /// Mean of outer products; `None` for the mean of the states themselves.
    pub tensor: Option<TensorPool>,
}

impl Pool {
    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, 1, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.tensor {
            Some(tensor) => tensor.forward(x).unsqueeze_dim(1),
            None => x.mean_dim(1),
        }
    }
}
