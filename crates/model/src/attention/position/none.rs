//! No positions.

use super::{Scheme, Table};

/// Adds nothing: without a causal mask the network is then equivariant under permutations of the sequence.
pub struct None;

impl Scheme for None {
    fn table(&self) -> Table {
        Table::Nothing
    }
}
