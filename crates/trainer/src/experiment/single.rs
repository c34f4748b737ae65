//! Numbers that single precision, in which networks compute, cannot represent.

use toml::{Table, Value};

use super::{Experiment, leaves};

/// What single precision makes of a number that it cannot represent: beyond its range, or so small that it is 0 or
/// nearly 0. `None` if it can.
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
    /// Numbers of the config that single precision cannot represent, as (key, message).
    pub(super) fn lost_numbers(&self) -> impl Iterator<Item = (String, String)> {
        let numbers = leaves("", &Table::try_from(self).unwrap_or_default()).into_iter();
        numbers.filter_map(|(key, value)| match value {
            Value::Float(number) => Some((key, lost(number)?)),
            _ => None,
        })
    }
}
