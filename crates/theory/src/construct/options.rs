//! What the options of all constructions have in common: the files they name, what makes them sound, and what is planned from them.

use std::{collections::BTreeMap, fmt, path::Path};

use headway_model::weights::Array;
use headway_tasks::{Domain, TaskConfig, TaskError};
use serde::{Deserialize, Serialize};

use super::{Construction, Request};
use crate::refusal::Refusal;

/// Options of a construction: a config with a default for every option but the target.
pub trait Options: fmt::Debug {
    /// Options that give a size, without dashes, and whether each was given.
    fn sizes(&self) -> Vec<(&'static str, bool)>;

    /// The file that is to be read before the construction can be planned; None if no option names one.
    fn file(&self) -> Option<File<'_>> {
        None
    }

    /// The construction, and the task of the same target; `given` is what [`Options::file`] holds.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with the option that makes no sense, or whose size alone is more than `max_parameters`;
    /// [`Refusal::File`]
    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal>;
}

/// A file that an option names. Reading it, within a bound on memory, is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File<'a> {
    /// Lines of x,y.
    Table(&'a Path),
    /// Named arrays.
    Arrays(&'a Path),
}

/// What a [`File`] holds.
#[derive(Clone, Debug)]
pub enum Given {
    /// The bytes of a [`File::Table`].
    Table(Vec<u8>),
    /// Of [`File::Arrays`].
    Arrays(BTreeMap<String, Array>),
}

impl Given {
    /// The bytes of a table that an option names.
    pub(super) fn table(given: Option<Self>) -> Result<Vec<u8>, Refusal> {
        match given {
            Some(Self::Table(bytes)) => Ok(bytes),
            _ => Err(Refusal::invalid("table", "was not read")),
        }
    }

    /// The arrays of an option that names some.
    pub(super) fn arrays(given: Option<Self>, key: &'static str) -> Result<BTreeMap<String, Array>, Refusal> {
        match given {
            Some(Self::Arrays(arrays)) => Ok(arrays),
            _ => Err(Refusal::invalid(key, "was not read")),
        }
    }
}

/// What builds a construction, and the task of the same target.
type Build = Box<dyn FnOnce(Request) -> Result<(Construction, TaskConfig), Refusal>>;

/// A construction ready to be built.
pub struct Planned {
    /// Seed of the task.
    pub seed: u64,
    build: Build,
}

impl Planned {
    /// One whose task is known beforehand.
    pub(super) fn new(
        task: TaskConfig,
        seed: u64,
        build: impl FnOnce(Request) -> Result<Construction, Refusal> + 'static,
    ) -> Self {
        Self::with_task(seed, move |request| Ok((build(request)?, task)))
    }

    /// One whose task is known only when it is built.
    pub(super) fn with_task(
        seed: u64,
        build: impl FnOnce(Request) -> Result<(Construction, TaskConfig), Refusal> + 'static,
    ) -> Self {
        Self { seed, build: Box::new(build) }
    }

    /// Plans the size, writes the weights, and names the task that asks for what they compute.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(self, request: Request) -> Result<(Construction, TaskConfig), Refusal> {
        (self.build)(request)
    }
}

/// The ends of every input number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ends {
    /// Least value. Default 0.
    pub low: f64,
    /// Greatest value. Default 1.
    pub high: f64,
}

impl Default for Ends {
    fn default() -> Self {
        Self { low: 0.0, high: 1.0 }
    }
}

impl Ends {
    /// Inputs between them.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] unless both are finite and in order.
    pub(super) fn cube(self) -> Result<Domain, Refusal> {
        let Self { low, high } = self;
        if low < high && low.is_finite() && high.is_finite() {
            Ok(Domain::Cube { low, high })
        } else {
            Err(Refusal::invalid("low", format!("must be below --high, but {low} is not below {high}")))
        }
    }
}

/// The first thing wrong with a task, as the option that sets it.
pub(super) fn sound(problems: &[TaskError]) -> Result<(), Refusal> {
    match problems.first().cloned().map(TaskError::into_parts) {
        None => Ok(()),
        Some((key, problem)) => {
            let option = match key {
                "outputs" => "function",
                "d_hidden" => "hidden",
                key => key.split('.').next().unwrap_or(key),
            };
            Err(Refusal::invalid(option.replace('_', "-"), problem))
        }
    }
}

/// Refuses sizes whose product alone is more than the weights may hold, before anything of that size is made.
pub(super) fn ensure_size(options: &'static str, factors: &[usize], max_parameters: usize) -> Result<(), Refusal> {
    let product = factors.iter().try_fold(1_usize, |product, factor| product.checked_mul(*factor));
    if product.is_some_and(|product| product <= max_parameters) {
        return Ok(());
    }
    let factors: Vec<String> = factors.iter().map(ToString::to_string).collect();
    let problem = format!("{} are more than --max-params allows, {max_parameters}", factors.join(" x "));
    Err(Refusal::invalid(options, problem))
}

/// Refuses an option that nothing would read.
pub(super) fn ensure_unused(option: &'static str, is_given: bool, where_read: &str) -> Result<(), Refusal> {
    if is_given { Err(Refusal::invalid(option, format!("is an option of {where_read} alone"))) } else { Ok(()) }
}

/// An array's numbers in double precision.
pub(super) fn doubles(array: &Array) -> Vec<f64> {
    array.values.iter().copied().map(f64::from).collect()
}

/// The same in rows of `width`.
pub(super) fn rows(array: &Array, width: usize) -> Vec<Vec<f64>> {
    array.values.chunks(width).map(|row| row.iter().copied().map(f64::from).collect()).collect()
}
