//! The parts of a layer that can be changed without knowing its type, as adapters do.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{kernel::AttentionKernel, prefix::Prefix};
use crate::linear::ProjectionPlace;

/// A projection of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Computes queries.
    Query,
    /// Computes keys.
    Key,
    /// Computes values.
    Value,
    /// Combines the outputs of heads.
    Output,
}

impl Target {
    /// All four projections.
    pub const ALL: [Self; 4] = [Self::Query, Self::Key, Self::Value, Self::Output];
}

/// The changeable parts of one attention layer, or of one group of heads if a layer has several.
pub struct AttentionPlace<'a> {
    /// Its four projections.
    pub projections: [(Target, ProjectionPlace<'a>); 4],
    /// Its learned keys and values.
    pub prefix: &'a mut Option<Prefix>,
    /// Its kernel.
    pub kernel: &'a mut AttentionKernel,
}
