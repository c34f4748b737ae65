//! Why a construction is refused, and what can be reached instead.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why there is no construction.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refusal {
    /// An option or a target is invalid.
    #[error("{key}: {problem}")]
    Invalid {
        /// Name of the option, without dashes.
        key: Cow<'static, str>,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A formula that is to be compiled is none, or has a part that cannot be.
    #[error("the formula: {problem}")]
    Formula {
        /// The part, and what is wrong with it.
        problem: String,
    },
    /// A file named by an option does not hold what it should.
    #[error("{}: {problem}", .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What it should hold.
        problem: String,
    },
    /// No size meets the tolerance.
    #[error("tolerance {wanted:e} is out of reach{why}; {}{hint}", best(*.reachable, *.with_more, *.allowed))]
    Unreachable {
        /// The requested tolerance.
        wanted: f64,
        /// The smallest error within the allowed number of parameters; infinite if no size fits.
        reachable: f64,
        /// The smallest error with any number of parameters.
        with_more: f64,
        /// The allowed number of parameters.
        allowed: usize,
        /// Why a larger size does not help.
        why: Limit,
        /// What else would help; may be empty.
        hint: String,
    },
    /// The tolerance needs more parameters than are allowed.
    #[error(
        "tolerance {wanted:e} takes {needed} parameters, and --max-params allows {allowed}; within that {}",
        if reachable.is_finite() { format!("the smallest reachable is {}", upward(*.reachable)) } else { "no size fits".to_owned() }
    )]
    TooLarge {
        /// The requested tolerance.
        wanted: f64,
        /// The number of parameters it needs.
        needed: f64,
        /// The allowed number of parameters.
        allowed: usize,
        /// The smallest error within the allowed number; infinite if no size fits.
        reachable: f64,
    },
    /// A fit to a function or to samples is not accurate enough.
    #[error(
        "tolerance {wanted:e} is below what a fit reaches: {} in all with {units} hidden units; \
         more units, more samples or a smoother function would help",
        upward(*.reached)
    )]
    Unfit {
        /// The requested tolerance.
        wanted: f64,
        /// The smallest error reached, fit and compilation together.
        reached: f64,
        /// Number of hidden units with which it was reached.
        units: usize,
    },
}

/// Why no size meets a tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is only one size: it was given, or follows from the target.
    Given,
    /// The largest size that was tried is the best one.
    Largest,
    /// A smaller size is the best one: beyond it, rounding to float32 costs more than is gained.
    Rounding,
    /// A smaller size is the best one, even in exact arithmetic.
    Target,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => " with this size",
            Self::Largest => " even at the largest size that is tried",
            Self::Rounding => " in float32: beyond a certain size rounding costs more than size gains",
            Self::Target => " at any size: the bound does not fall with it, as where a function jumps",
        })
    }
}

/// The sentence part that says what can be reached within the allowed parameters, and with more.
fn best(reachable: f64, with_more: f64, allowed: usize) -> String {
    let (within, more) = (upward(reachable), upward(with_more));
    match (reachable.is_finite(), with_more.is_finite()) {
        (_, false) => "no size has a finite bound".to_owned(),
        (false, true) => {
            format!("no size fits the {allowed} parameters of --max-params; with more {more} is reachable")
        }
        (true, true) if with_more < reachable => {
            format!(
                "the smallest reachable is {within} within the {allowed} parameters of --max-params, and {more} with more"
            )
        }
        (true, true) => format!("the smallest reachable is {within}"),
    }
}

/// The number with three digits, rounded up, so that what is printed as reachable can be reached.
fn upward(value: f64) -> String {
    let text = format!("{value:.2e}");
    match (text.parse::<f64>(), text.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok())) {
        (Ok(read), Some(exponent)) if read < value => format!("{:.2e}", read + 10.0_f64.powi(exponent - 2)),
        _ => text,
    }
}

impl Refusal {
    /// The refusal of an invalid option.
    pub fn invalid(key: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: problem.into() }
    }

    /// The refusal of a file that does not hold what it should.
    pub fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    /// The same refusal, unless no size at all has a finite bound: then the function is refused, for this problem.
    pub(crate) fn or_blame_function(self, problem: &str) -> Self {
        match self {
            Self::Unreachable { with_more, .. } if with_more.is_infinite() => Self::invalid("function", problem),
            other => other,
        }
    }

    /// The same refusal, of a formula that is no option but what the command is about.
    pub(crate) fn of_formula(self) -> Self {
        match self {
            Self::Invalid { key, problem } if key == "function" => Self::Formula { problem },
            other => other,
        }
    }

    /// The same refusal when the candidates differ in something other than size.
    pub(crate) fn at_given_size(self) -> Self {
        match self {
            Self::Unreachable { wanted, reachable, with_more, allowed, hint, .. } => {
                Self::Unreachable { wanted, reachable, with_more, allowed, why: Limit::Given, hint }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::upward;

    #[test]
    fn what_is_read_is_never_less() {
        for (value, wanted) in [
            (1.0, "1.00e0"),
            (1.231e-3, "1.24e-3"),
            (1.238e-3, "1.24e-3"),
            (9.991e-7, "1.00e-6"),
            (123_456.0, "1.24e5"),
            (f64::INFINITY, "inf"),
            (0.0, "0.00e0"),
        ] {
            assert_eq!(upward(value), wanted);
            assert!(wanted.parse::<f64>().is_ok_and(|read| read >= value), "{wanted}");
        }
        for i in 0..10_000 {
            let value = (f64::from(i) * 0.01 - 50.0).exp();
            let read: f64 = upward(value).parse().unwrap_or_else(|problem| panic!("{value}: {problem}"));
            assert!(read >= value && read <= 1.0101 * value, "{value}: {read}");
        }
    }
}
