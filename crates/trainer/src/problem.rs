//! Problems of an experiment and their positions.

use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// The experiment file. Lines and columns count from 1; `offset` and `length` are in bytes.
    File {
        /// Line of the key.
        line: usize,
        /// Column of the key.
        column: usize,
        /// Start of the text to point at.
        offset: usize,
        /// Length of the text to point at.
        length: usize,
    },
    /// `-s key=value` on the command line.
    Override(String),
    /// No one set it: it has its default.
    Default,
}

/// One problem of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key concerned; empty for the text as a whole.
    pub key: String,
    /// What is wrong, beginning with the key.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where the value came from.
    pub origin: ValueSource,
}

/// All problems of an experiment, and its text to point into.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.one_line())]
pub struct ExperimentError {
    /// Path of the file.
    pub path: PathBuf,
    /// Its text; empty when it could not be read.
    pub text: String,
    /// The problems, in the order of the file.
    pub problems: Vec<Problem>,
}

impl ExperimentError {
    /// One line per problem, as `file:line:column: key: message`.
    pub fn one_line(&self) -> String {
        let lines = self.problems.iter().map(|problem| {
            let place = match &problem.origin {
                ValueSource::File { line, column, .. } => format!("{}:{line}:{column}", self.path.display()),
                ValueSource::Override(text) => format!("-s {text}"),
                ValueSource::Default => self.path.display().to_string(),
            };
            let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{place}: {}{help}", problem.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
