//! What is wrong with the config of a task, with the key to change.

use thiserror::Error;

use crate::distribution::Distribution;

/// A config that makes no sense, with the key to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{problem}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct TaskError {
    /// Key below the config's own table, for example `seq_len`; empty for several together.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl TaskError {
    /// The key of a file whose digest is another than when it was first read.
    pub(crate) const CHANGED: &str = "found.sha256";

    /// Whether a file holds other data than when it was first read.
    pub fn is_changed_file(&self) -> bool {
        self.key == Self::CHANGED
    }

    /// An error if the size is below `least`.
    pub fn below(key: &'static str, size: usize, least: usize) -> Option<Self> {
        (size < least).then(|| Self { key, problem: format!("{size} is too few; give {least} or more") })
    }

    /// An error if the number is not a finite one above zero.
    pub fn not_positive(key: &'static str, value: f64) -> Option<Self> {
        let good = value.is_finite() && value > 0.0;
        (!good).then(|| Self { key, problem: format!("{value} must be finite and above 0") })
    }

    /// An error if the squared error of targets of this mean square overflows single precision, in which losses are computed.
    pub fn squares_overflow(key: &'static str, mean_square: f64) -> Option<Self> {
        // Six deviations are seldom left.
        let fits = ((36.0 * mean_square) as f32).is_finite();
        let problem = || format!("targets of mean square {mean_square:.1e} overflow single precision when squared");
        (!fits).then(|| Self { key, problem: format!("{}; make them smaller", problem()) })
    }

    /// An error if the size is above `most`.
    pub fn above(key: &'static str, size: usize, most: usize) -> Option<Self> {
        (size > most).then(|| Self { key, problem: format!("{size} is too many; give {most} or fewer") })
    }

    /// An error if the law has parameters that make no sense.
    pub fn bad_distribution(key: &'static str, law: &Distribution) -> Option<Self> {
        law.validate().map(|problem| Self { key, problem })
    }
}
