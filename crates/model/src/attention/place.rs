//! What can be changed about a layer without knowing it: where adapters put their parts.

use serde::{Deserialize, Serialize};

use super::{precision::Precision, prefix::Prefix};
use crate::linear::ProjectionPlace;

/// A projection of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Makes queries.
    Query,
    /// Makes keys.
    Key,
    /// Makes values.
    Value,
    /// Brings the heads' mixtures together.
    Output,
}

impl Target {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Query, Self::Key, Self::Value, Self::Output];
}

/// What can be changed about one attention layer, or one group of heads where a layer has several, without knowing the layer.
pub struct AttentionPlace<'a> {
    /// Its four projections.
    pub projections: [(Target, ProjectionPlace<'a>); 4],
    /// Its learned keys and values.
    pub prefix: &'a mut Option<Prefix>,
    /// In which queries, keys and values enter its kernel.
    pub precision: &'a mut Precision,
}
