//! No positions.

use burn::module::Module;

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::init::Initializer;

/// No position scheme: without a causal mask the network is then equivariant under permutations of the sequence.
#[derive(Module, Debug)]
pub struct NoPositions;

impl Scheme for NoPositions {}

impl PositionSpec for NoPositions {
    fn build(&self, _sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        Position::None(Self)
    }

    fn hands(&self) -> &'static [Hand] {
        &[]
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::None]
    }
}
