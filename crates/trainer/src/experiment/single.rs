//! Numbers that single precision, in which networks compute, cannot hold.

use toml::{Table, Value};

use super::{Experiment, leaves};

/// What becomes of a number in single precision, if it is lost there: beyond its range, or so small that it is 0 or as good as 0.
pub fn lost(value: f64) -> Option<String> {
    let single = value as f32;
    if !single.is_finite() {
        Some(format!("{value:e} is no number of single precision, which ends at 3.4e38"))
    } else if value != 0.0 && !single.is_normal() {
        Some(format!("{value:e} is lost in single precision, where numbers other than 0 begin at 1.2e-38"))
    } else {
        None
    }
}

impl Experiment {
    /// Every number of the config that is lost in single precision, as (key, message).
    pub(super) fn lost_numbers(&self) -> impl Iterator<Item = (String, String)> {
        let numbers = leaves("", &Table::try_from(self).unwrap_or_default()).into_iter();
        numbers.filter_map(|(key, value)| match value {
            Value::Float(number) => Some((key, lost(number)?)),
            _ => None,
        })
    }
}
