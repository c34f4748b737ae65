//! Programs in C-RASP: what a position answers is counted, compared and combined from what stands at others.

mod meaning;
mod reading;
mod scanner;
mod syntax;
mod zoo;

use std::path::{Path, PathBuf};

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use scanner::ProgramError;
pub use syntax::{Automaton, Expression, From, Place, Program, Relation, Window};
pub use zoo::{Shipped, ZOO};

use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// A program and the length of its words.
///
/// ```toml
/// [task.program]
/// source = "dyck"
/// seq_len = 12
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ProgramConfig {
    /// The text of a program, or the name of one that ships, see `headway list programs`. Default `parity`.
    pub source: String,
    /// A file with the text of a program, in place of `source`. A run keeps the text, so the file is read once.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Number of positions. Default 8.
    pub seq_len: usize,
}

/// Longest word.
const MOST_POSITIONS: usize = 1024;

impl Default for ProgramConfig {
    fn default() -> Self {
        Self { source: "parity".to_owned(), path: PathBuf::new(), seq_len: 8 }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl ProgramConfig {
    /// The program.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn program(&self) -> Result<Program, ProgramError> {
        Program::read(Shipped::find(&self.source).map_or(&self.source, |shipped| shipped.text))
    }
}

impl TaskSpec for ProgramConfig {
    fn dims(&self) -> TaskDims {
        let [d_in, d_out] = self.program().map_or([1, 1], |program| [program.alphabet.len(), program.returns.len()]);
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in }, d_out }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problem = match self.program() {
            Ok(_) => None,
            // A single word that is no program was meant as a name.
            Err(_) if self.source.split_whitespace().count() == 1 => {
                let names: Vec<&str> = ZOO.iter().map(|shipped| shipped.name).collect();
                Some(format!(
                    "no program is called {}; those that ship are {}, and the text of another stands here itself; the name of its file is `path`",
                    self.source,
                    names.join(", ")
                ))
            }
            Err(error) => Some(error.to_string()),
        };
        let problem = problem.map(|problem| TaskError::Key { key: "source", problem });
        let long = (self.seq_len > MOST_POSITIONS).then(|| TaskError::Key {
            key: "seq_len",
            problem: format!(
                "{} must be at most {MOST_POSITIONS}: a count looks at every position from every other",
                self.seq_len
            ),
        });
        problem.into_iter().chain(TaskError::below("seq_len", self.seq_len, 1)).chain(long).collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let wrong = |error: ProgramError| TaskError::Key { key: "source", problem: error.to_string() };
        Ok(Box::new(Words { program: self.program().map_err(wrong)?, seq_len: self.seq_len }))
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if is_empty(&self.path) {
            return Ok(());
        }
        let wrong = |problem| TaskError::Key { key: "path", problem };
        if self.source != Self::default().source {
            return Err(wrong("a program is given by its source or by the path of its file, not by both".to_owned()));
        }
        let path = std::mem::take(&mut self.path);
        let told = |problem: &dyn std::fmt::Display| wrong(format!("{}: {problem}", path.display()));
        let content = files.read(&path).map_err(|error| told(&error))?;
        let text = String::from_utf8(content.bytes).map_err(|_| told(&"it is no text in UTF-8"))?;
        Program::read(&text).map_err(|error| told(&error))?;
        self.source = text;
        Ok(())
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        vec![("path", &mut self.path)]
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        let looks_ahead = self.program().is_ok_and(|program| program.looks_ahead(self.seq_len));
        looks_ahead.then_some("the program counts at later positions, or looks at one of them")
    }
}

/// Uniform words, and what a program returns at each of their positions.
///
/// # Shapes
/// inputs `[seq_len, symbols]`, 1 for the symbol of a position and 0 for the others -> targets `[seq_len, returns]`
#[derive(Clone, Debug)]
pub struct Words {
    /// The program.
    pub program: Program,
    /// Number of positions.
    pub seq_len: usize,
}

impl Words {
    /// The example with a given word.
    pub fn sequence(&self, word: &[usize]) -> Example {
        let (n, symbols) = (self.seq_len, self.program.alphabet.len());
        let mut inputs = vec![0.0; n * symbols];
        for (at, symbol) in word.iter().enumerate() {
            inputs[at * symbols + symbol] = 1.0;
        }
        let targets = self.program.run(word).into_iter().map(|value| value as f32).collect();
        Example {
            inputs: Inputs::Continuous(inputs),
            targets: Targets::Continuous(targets),
            loss_mask: vec![true; n],
            slices: vec![None; n],
        }
    }
}

impl Task for Words {
    fn dims(&self) -> TaskDims {
        let (d_in, d_out) = (self.program.alphabet.len(), self.program.returns.len());
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in }, d_out }
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let word: Vec<usize> = (0..self.seq_len).map(|_| rng.random_range(0..self.program.alphabet.len())).collect();
        self.sequence(&word)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Flattened::default()), Box::new(Mean::default())]
    }
}
