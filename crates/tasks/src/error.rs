//! Why a task cannot be opened: its config is invalid, or one of its files changed.

use std::path::PathBuf;

use thiserror::Error;

use crate::distribution::Distribution;

/// Why a task cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TaskError {
    /// A value of its config, or a file named there, is invalid.
    #[error("{}{}{problem}", .key, if .key.is_empty() { "" } else { ": " })]
    Key {
        /// Key below the config's own table, for example `seq_len`; empty if it concerns several keys.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A file has changed since it was first read.
    #[error("{} holds other data than when it was first read: sha256 {now}, and it was {then}", .path.display())]
    Changed {
        /// Key that names the file.
        key: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Its digest when it was first read.
        then: String,
        /// Its digest now.
        now: String,
    },
}

impl TaskError {
    /// The key to change, and what is wrong.
    pub fn into_parts(self) -> (&'static str, String) {
        match self {
            Self::Key { key, problem } => (key, problem),
            changed @ Self::Changed { key, .. } => (key, changed.to_string()),
        }
    }

    /// An error if the size is below `least`; `None` if it is not.
    pub fn below(key: &'static str, size: usize, least: usize) -> Option<Self> {
        (size < least).then(|| Self::Key { key, problem: format!("{size} is too few; give {least} or more") })
    }

    /// An error if the number is not finite and above zero.
    pub fn not_positive(key: &'static str, value: f64) -> Option<Self> {
        let good = value.is_finite() && value > 0.0;
        (!good).then(|| Self::Key { key, problem: format!("{value} must be finite and above 0") })
    }

    /// An error if the number is negative, or not finite in single precision; `nothing` is what 0 means.
    pub fn negative(key: &'static str, value: f64, nothing: &str) -> Option<Self> {
        let good = (value as f32).is_finite() && value >= 0.0;
        let problem = || format!("{value} must be finite and not negative; 0 is {nothing}");
        (!good).then(|| Self::Key { key, problem: problem() })
    }

    /// An error if the squared error of targets with this mean square would overflow single precision, in which losses
    /// are computed.
    pub fn squares_overflow(key: &'static str, mean_square: f64) -> Option<Self> {
        // Larger values than six deviations are rare.
        let fits = ((36.0 * mean_square) as f32).is_finite();
        let problem = || format!("targets of mean square {mean_square:.1e} overflow single precision when squared");
        (!fits).then(|| Self::Key { key, problem: format!("{}; make them smaller", problem()) })
    }

    /// An error if the size is above `most`; `None` if it is not.
    pub fn above(key: &'static str, size: usize, most: usize) -> Option<Self> {
        (size > most).then(|| Self::Key { key, problem: format!("{size} is too many; give {most} or fewer") })
    }

    /// An error if the distribution has invalid parameters.
    pub fn bad_distribution(key: &'static str, distribution: &Distribution) -> Option<Self> {
        distribution.validate().map(|problem| Self::Key { key, problem })
    }
}
