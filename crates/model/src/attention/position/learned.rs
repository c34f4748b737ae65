//! Learned absolute positions.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::{budget::size, init::Initializer};

/// One trainable row per position, drawn from N(0, 0.02²) as in GPT-2. Sequences longer than the table are refused.
pub struct LearnedPositions;

/// The table of a model.
#[derive(Module, Debug)]
pub struct LearnedTable {
    /// `[seq_len, d_model]`
    pub weight: Param<Tensor<2>>,
}

impl Scheme for LearnedTable {
    fn table(&self, _device: &Device) -> Option<Tensor<2>> {
        Some(self.weight.val())
    }
}

impl PositionSpec for LearnedPositions {
    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::Learned(LearnedTable { weight: init.embedding_table([sizes.seq_len, sizes.d_model]) })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Table]
    }

    fn parameters(&self, sizes: &PositionSizes) -> f64 {
        size(sizes.seq_len) * size(sizes.d_model)
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::Learned]
    }
}
