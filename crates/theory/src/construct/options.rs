//! What the options of all constructions share: the files they name, their validation, and the plan made from them.

use std::{collections::BTreeMap, fmt, path::Path};

use headway_model::weights::Array;
use headway_tasks::{TaskConfig, TaskError, seq2seq::function::Domain};
use serde::{Deserialize, Serialize};

use super::{Construction, Request};
use crate::refusal::Refusal;

/// Options of a construction: a config in which every option except the target has a default.
pub trait Options: fmt::Debug {
    /// Options that set a size, without dashes, and whether each was given.
    fn sizes(&self) -> Vec<(&'static str, bool)>;

    /// The file to be read before the construction can be planned; `None` if no option names one.
    fn file(&self) -> Option<File<'_>> {
        None
    }

    /// The planned construction, and the task with the same target; `given` is the content of [`Options::file`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming an option that is invalid, or whose size alone needs more than `max_parameters`;
    /// [`Refusal::File`] if the file does not hold what it should.
    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal>;
}

/// A file named by an option. The caller reads it, within its own bound on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File<'a> {
    /// A CSV file with lines of x,y.
    Table(&'a Path),
    /// A file of named arrays.
    Arrays(&'a Path),
    /// A text.
    Text(&'a Path),
}

/// Content of a [`File`].
#[derive(Clone, Debug)]
pub enum Given {
    /// The bytes of a [`File::Table`].
    Table(Vec<u8>),
    /// The arrays of a [`File::Arrays`], by name.
    Arrays(BTreeMap<String, Array>),
    /// The bytes of a [`File::Text`].
    Text(Vec<u8>),
}

impl Given {
    /// The bytes of the table that an option names.
    pub(super) fn table(given: Option<Self>) -> Result<Vec<u8>, Refusal> {
        match given {
            Some(Self::Table(bytes)) => Ok(bytes),
            _ => Err(Refusal::invalid("table", "was not read")),
        }
    }

    /// The bytes of the text that an option names.
    pub(super) fn text(given: Option<Self>) -> Result<Vec<u8>, Refusal> {
        match given {
            Some(Self::Text(bytes)) => Ok(bytes),
            _ => Err(Refusal::invalid("program", "was not read")),
        }
    }

    /// The arrays of the file that the option `key` names.
    pub(super) fn arrays(given: Option<Self>, key: &'static str) -> Result<BTreeMap<String, Array>, Refusal> {
        match given {
            Some(Self::Arrays(arrays)) => Ok(arrays),
            _ => Err(Refusal::invalid(key, "was not read")),
        }
    }
}

/// Builds a construction and the task with the same target.
type Build = Box<dyn FnOnce(Request) -> Result<(Construction, TaskConfig), Refusal>>;

/// A construction ready to be built.
pub struct Planned {
    /// Seed of the task.
    pub seed: u64,
    build: Build,
}

impl Planned {
    /// A plan whose task is known in advance.
    pub(super) fn new(
        task: TaskConfig,
        seed: u64,
        build: impl FnOnce(Request) -> Result<Construction, Refusal> + 'static,
    ) -> Self {
        Self::with_task(seed, move |request| Ok((build(request)?, task)))
    }

    /// A plan whose task is known only after building.
    pub(super) fn with_task(
        seed: u64,
        build: impl FnOnce(Request) -> Result<(Construction, TaskConfig), Refusal> + 'static,
    ) -> Self {
        Self { seed, build: Box::new(build) }
    }

    /// Chooses the size, writes the weights, and returns them with the task whose targets they compute.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(self, request: Request) -> Result<(Construction, TaskConfig), Refusal> {
        (self.build)(request)
    }
}

/// Range of every input number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ends {
    /// Smallest value. Default 0.
    pub low: f64,
    /// Largest value. Default 1.
    pub high: f64,
}

impl Default for Ends {
    fn default() -> Self {
        Self { low: 0.0, high: 1.0 }
    }
}

impl Ends {
    /// The box of inputs in this range.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] unless both are finite and in order.
    pub(super) fn cube(self) -> Result<Domain, Refusal> {
        let Self { low, high } = self;
        if low < high && low.is_finite() && high.is_finite() {
            Ok(Domain::Cube { low, high })
        } else {
            let problem = if low < high { "both must be finite" } else { "must be below --high" };
            Err(Refusal::invalid("low", format!("{problem}, not {low} and {high}")))
        }
    }
}

/// Refuses a task with problems, naming the option that sets the first wrong key.
pub(super) fn sound(problems: &[TaskError]) -> Result<(), Refusal> {
    match problems.first().cloned().map(TaskError::into_parts) {
        None => Ok(()),
        Some((key, problem)) => {
            let option = match key {
                "outputs" => "function",
                "d_hidden" => "hidden",
                // A box comes from its ends.
                "domain" => "high",
                key => key.split('.').next().unwrap_or(key),
            };
            Err(Refusal::invalid(option.replace('_', "-"), problem))
        }
    }
}

/// Refuses sizes whose product alone exceeds the allowed number of parameters, before anything of that size is
/// allocated.
pub(super) fn ensure_size(options: &'static str, factors: &[usize], max_parameters: usize) -> Result<(), Refusal> {
    let product = factors.iter().try_fold(1_usize, |product, factor| product.checked_mul(*factor));
    if product.is_some_and(|product| product <= max_parameters) {
        return Ok(());
    }
    let factors: Vec<String> = factors.iter().map(ToString::to_string).collect();
    let problem = format!("{} are more than --max-params allows, {max_parameters}", factors.join(" x "));
    Err(Refusal::invalid(options, problem))
}

/// Refuses an option that has no effect.
pub(super) fn ensure_unused(option: &'static str, is_given: bool, where_read: &str) -> Result<(), Refusal> {
    if is_given { Err(Refusal::invalid(option, format!("is an option of {where_read} alone"))) } else { Ok(()) }
}

/// The array's numbers as f64.
pub(super) fn doubles(array: &Array) -> Vec<f64> {
    array.values.iter().copied().map(f64::from).collect()
}

/// The array's numbers as f64, in rows of `width`.
pub(super) fn rows(array: &Array, width: usize) -> Vec<Vec<f64>> {
    array.values.chunks(width).map(|row| row.iter().copied().map(f64::from).collect()).collect()
}
