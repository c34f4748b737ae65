//! `metrics.jsonl`: one JSON object per logged step. It is a pure function of the run, so a resumed run writes the same
//! bytes.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{bounded_read, checkpoint::checkpoints_in, digest::digest, error::Error, layout::METRICS, notice};

/// One line of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Optimiser steps taken.
    pub step: u64,
    /// Values by name, such as `train/loss`, `learning_rate`, `validation/loss`.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// All complete lines of a metrics text; a line cut off by a crash is left out.
pub fn parse(text: &[u8]) -> Vec<Line> {
    lines(text).filter_map(parse_line).collect()
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn parse_line(line: &[u8]) -> Option<Line> {
    bounded_read::from_json(line).ok()
}

/// All complete lines of a metrics file.
///
/// # Errors
/// [`Error::Io`] if the file exists but cannot be read.
pub fn read(path: &Path) -> Result<Vec<Line>, Error> {
    Ok(parse(&bytes(path)?))
}

/// The bytes of a metrics file; empty if there is no file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(bounded_read::read_if_there(path)?.unwrap_or_default())
}

/// Step and value of the newest entry with a name in a metrics file; `None` if there is none.
///
/// # Errors
/// as [`read`]
pub fn newest(path: &Path, name: &str) -> Result<Option<(u64, f64)>, Error> {
    let text = bytes(path)?;
    Ok(lines(&text).rev().filter_map(parse_line).find_map(|line| Some((line.step, *line.values.get(name)?))))
}

/// Compares a run's metrics file with what its newest checkpoint recorded about it, and returns a sentence about the
/// difference for the page. `None` if they agree, or if the checkpoint recorded nothing.
///
/// # Errors
/// as [`read`]
pub fn verify(root: &Path) -> Result<Option<String>, Error> {
    let Some(newest) = checkpoints_in(root)?.pop() else { return Ok(None) };
    let written = match newest.metrics() {
        Ok(Some(written)) => written,
        Ok(None) => return Ok(None),
        // A damaged checkpoint must not prevent the page.
        Err(error @ Error::Checkpoint { .. }) => return Ok(Some(format!("cannot be verified: {error}"))),
        Err(error) => return Err(error),
    };
    let path = root.join(METRICS);
    let there = bytes(&path)?;
    let is_whole = usize::try_from(written.bytes).ok().and_then(|len| there.get(..len));
    let amiss = if is_whole.is_some_and(|whole| digest(whole) == written.sha256) {
        written.amiss
    } else {
        let step = newest.step.unwrap_or_default();
        Some(format!("lines up to step {step} are missing or changed: it is not the file that this run wrote"))
    };
    if let Some(amiss) = &amiss {
        notice::say(format!("warning: {}: {amiss}", path.display()));
    }
    Ok(amiss)
}

/// The lines of a metrics text up to a step, byte for byte, since parsing and rewriting a number could change its last
/// digit.
pub(crate) fn up_to(text: &[u8], step: u64) -> Vec<u8> {
    let keep = |line: &&[u8]| parse_line(line).is_some_and(|line| line.step <= step);
    let kept: Vec<&[u8]> = lines(text).filter(keep).flat_map(|line| [line, b"\n"]).collect();
    kept.concat()
}

impl Line {
    /// The line as it is written to the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("a map from names to numbers is JSON"))
    }
}
