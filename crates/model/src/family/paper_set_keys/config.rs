//! Sizes and constants of the model with set keys.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

/// Sizes of [`PaperSetKeys`](super::PaperSetKeys).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct PaperSetKeysConfig {
    /// Width of the hidden state, the authors' hidden size; at least 2. Default 11.
    pub d_model: usize,
    /// Number of learned interpolation tokens appended to the sequence, the paper's p − n. Default 0.
    pub n_anchors: usize,
    /// First interpolation point, the task's lower end a. Default -0.5.
    pub low: f64,
    /// Last interpolation point, the task's upper end b. Default 0.5.
    pub high: f64,
    /// Factor β on the scores. Default 25.
    pub inverse_temperature: f64,
    /// Shift t of the set keys. Default 1.
    pub shift: f64,
}

impl Default for PaperSetKeysConfig {
    fn default() -> Self {
        Self { d_model: 11, n_anchors: 0, low: -0.5, high: 0.5, inverse_temperature: 25.0, shift: 1.0 }
    }
}

impl PaperSetKeysConfig {
    /// Settings that are not sizes, by key.
    pub(super) fn numbers(&self) -> [(&'static str, f64); 4] {
        let Self { low, high, inverse_temperature, shift, .. } = *self;
        [("low", low), ("high", high), ("inverse_temperature", inverse_temperature), ("shift", shift)]
    }
}
