//! Learned absolute positions.

use super::{Scheme, Table};

/// One trainable row per position, drawn from N(0, 0.02²) as in GPT-2. Sequences longer than the table are refused.
pub struct Learned;

impl Scheme for Learned {
    fn table(&self) -> Table {
        Table::Learned
    }
}
