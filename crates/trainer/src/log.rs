//! `metrics.jsonl`: one JSON object per logged step, a pure function of the run, so that a resumed run writes the same bytes.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{error::Error, input, run_dir::RunDir};

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
pub fn parse(text: &[u8]) -> Vec<Line> {
    lines(text).filter_map(parse_line).collect()
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn parse_line(line: &[u8]) -> Option<Line> {
    input::from_json(line).ok()
}

/// Every whole line of a run's metrics.
///
/// # Errors
/// [`Error::Usage`] when the file exists and cannot be read.
pub fn read(dir: &RunDir) -> Result<Vec<Line>, Error> {
    read_file(&dir.metrics())
}

/// Every whole line of a metrics file.
///
/// # Errors
/// as [`read`]
pub fn read_file(path: &Path) -> Result<Vec<Line>, Error> {
    Ok(parse(&bytes(path)?))
}

/// The bytes of a metrics file; none where there is no file.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    match input::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::Usage(format!("cannot read {}: {error}", path.display()))),
    }
}

/// The newest value of a name in a metrics file, and its step; nothing where there is none.
pub fn newest(path: &Path, name: &str) -> Option<(u64, f64)> {
    let text = input::read(path).ok()?;
    lines(&text).rev().filter_map(parse_line).find_map(|line| Some((line.step, *line.values.get(name)?)))
}

/// Drops what was logged after `step`: a resumed run writes it again.
///
/// # Errors
/// as [`read`], and [`Error::Io`]
pub fn truncate(dir: &RunDir, step: u64) -> Result<(), Error> {
    let path = dir.metrics();
    if !path.exists() {
        return Ok(());
    }
    let text = bytes(&path)?;
    // Kept to the letter: a number read and written again could change its last digit.
    let keep = |line: &&[u8]| parse_line(line).is_some_and(|line| line.step <= step);
    let kept: Vec<&[u8]> = lines(&text).filter(keep).flat_map(|line| [line, b"\n"]).collect();
    dir.write(&path, &kept.concat())
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
