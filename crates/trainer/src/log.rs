//! `metrics.jsonl`: one JSON object per logged step, a pure function of the run, so that a resumed run writes the same bytes.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{error::Error, run_dir::RunDir};

/// One line of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Optimiser steps taken.
    pub step: u64,
    /// Values by name, such as `train/loss`, `learning_rate`, `validation/loss`.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// Every whole line of a metrics text. A line that a crash cut short is left out.
pub fn parse(text: &str) -> Vec<Line> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Every whole line of a run's metrics.
///
/// # Errors
/// [`Error::Io`] when the file exists and cannot be read.
pub fn read(dir: &RunDir) -> Result<Vec<Line>, Error> {
    read_file(&dir.metrics())
}

/// Every whole line of a metrics file.
///
/// # Errors
/// as [`read`]
pub fn read_file(path: &Path) -> Result<Vec<Line>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("cannot read", path)(error)),
    }
}

/// The newest value of a name in a metrics file, and its step; nothing where there is none.
pub fn newest(path: &Path, name: &str) -> Option<(u64, f64)> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().rev().filter_map(|line| parse(line).pop()).find_map(|line| Some((line.step, *line.values.get(name)?)))
}

/// Drops what was logged after `step`: a resumed run writes it again.
///
/// # Errors
/// [`Error::Io`]
pub fn truncate(dir: &RunDir, step: u64) -> Result<(), Error> {
    let path = dir.metrics();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    // Kept to the letter: a number read and written again could change its last digit.
    let keep = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| line.step <= step);
    let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
    dir.write(&path, kept.as_bytes())
}

impl Line {
    /// The line as written.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("a map from names to numbers is JSON"))
    }
}

/// Appends a line.
///
/// # Errors
/// [`Error::Io`]
pub fn append(dir: &RunDir, line: &Line) -> Result<(), Error> {
    dir.append_metrics(&line.to_json())
}
