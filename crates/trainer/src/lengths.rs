//! Trained short, tested long: scores of a network on its task at multiples of the length that it was trained at.

use std::{path::Path, time::Instant};

use headway_model::{Model, weights};
use serde::Serialize;

use crate::{build, device::OpenDevice, error::Error, evaluate, experiment::Experiment, provenance::Row};

/// Scores at one length.
#[derive(Clone, Debug, Serialize)]
pub struct AtLength {
    /// How many times as long as in training.
    pub times: usize,
    /// Key of the length in the task's table.
    pub key: &'static str,
    /// The length.
    pub length: usize,
    /// Scores of the network, then of every classical predictor.
    pub rows: Vec<Row>,
    /// Seconds that this took.
    pub seconds: f64,
}

/// Evaluates a checkpoint on the test set of its experiment, which overrides may change, at multiples of the length; each is told as it is
/// done.
///
/// # Errors
/// as [`evaluate::evaluate`], and [`Error::Argument`] for a length that the task or the network does not have
pub fn of_checkpoint(
    path: &Path,
    overrides: &[String],
    multiples: &[usize],
    device: &OpenDevice,
    mut done: impl FnMut(&AtLength),
) -> Result<Vec<AtLength>, Error> {
    let (model, experiment, _) = evaluate::load(path, overrides, device)?;
    // All are checked before the first is scored.
    let there = multiples.iter().map(|times| experiment.at_length(*times)).collect::<Result<Vec<_>, _>>();
    let there = there.map_err(|problem| Error::argument("--lengths", problem))?;
    let mut all = Vec::new();
    for (&times, there) in multiples.iter().zip(&there) {
        let began = Instant::now();
        let rows = scores(&model, there, device)?;
        let (key, length) = there.task.length().unwrap_or_else(|| unreachable!("it was given this length"));
        let at = AtLength { times, key, length, rows, seconds: began.elapsed().as_secs_f64() };
        done(&at);
        all.push(at);
    }
    Ok(all)
}

/// Adds to a run's results those at `train.test_lengths`, except for slices.
///
/// # Errors
/// [`Error::Device`] when there is no room, and as [`build::build_source`]
pub(crate) fn extend(
    results: &mut [Row],
    model: &Model,
    experiment: &Experiment,
    device: &OpenDevice,
) -> Result<(), Error> {
    for &times in &experiment.train.test_lengths {
        let there = experiment.at_length(times).map_err(|problem| Error::argument("train.test_lengths", problem))?;
        for row in scores(model, &there, device)? {
            let Some(own) = results.iter_mut().find(|own| own.name == row.name) else { continue };
            let totals = row.metrics.into_iter().filter(|(name, _)| !name.contains('['));
            own.metrics.extend(totals.map(|(metric, value)| (evaluate::name_at(times, &metric), value)));
        }
    }
    Ok(())
}

fn scores(model: &Model, there: &Experiment, device: &OpenDevice) -> Result<Vec<Row>, Error> {
    let model = build::with_weights(there, weights::arrays(model), device)?;
    let source = build::build_source(there)?;
    evaluate::within(there, device, || Ok(evaluate::results(&model, there, &source, &device.device)))
}
