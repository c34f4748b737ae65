//! What is wrong with an experiment, and where it stands.

use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// The experiment file; lines and columns count from 1, `offset` and `length` are bytes.
    File {
        /// Line of the key.
        line: usize,
        /// Column of the key.
        column: usize,
        /// First byte of the place to point at.
        offset: usize,
        /// Bytes to point at.
        length: usize,
    },
    /// `-s key=value` on the command line.
    Override(String),
    /// Nobody set it.
    Default,
}

/// One thing wrong with an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key that it is about; empty for the text as a whole.
    pub key: String,
    /// What is wrong, beginning with the key.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it stands.
    pub origin: ValueSource,
}

/// Everything wrong with an experiment, with the text to point into.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.one_line())]
pub struct ExperimentError {
    /// The file.
    pub path: PathBuf,
    /// Its text; empty when it could not be read.
    pub text: String,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

impl ExperimentError {
    /// Each problem as `file:line:column: key: message`.
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
