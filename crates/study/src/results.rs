//! Results of finished runs: values by seed, their means with bootstrap intervals, paired differences, power laws.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use headway_plain::{
    convergence::{exponent, exponent_interval},
    statistics::{self, Interval},
};
use headway_tasks::{Seed, Stream};
use rand::RngExt;
use serde::Serialize;

use super::{
    dir::StudyDir,
    plan::{self, PlannedRun, RunState},
};
use crate::error::Error;
use headway_trainer::{
    experiment::Experiment,
    log::{self, Line},
    provenance::{Failure, NETWORK, Record, Row, Status},
    run_dir::{self, RunDir},
};

/// Runs that differ only in the seed: a point of a sweep, or a row of a comparison.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name that distinguishes the group from the others.
    pub name: String,
    /// The settings that distinguish it, by key.
    pub settings: Vec<(String, toml::Value)>,
    /// The experiment with seed 0.
    pub experiment: Experiment,
    /// Runs that took every step, in the order of the seeds. They include diverged runs, for which only the classical
    /// predictors have scores.
    pub runs: Vec<FinishedRun>,
    /// Seeds of runs without a result, with the reason.
    pub missing: Vec<(u64, String)>,
}

/// A run that took every step.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub root: PathBuf,
    /// Its record.
    pub record: Record,
    /// Its metrics.
    pub lines: Vec<Line>,
    /// What is wrong with the file of its metrics; `None` if nothing is.
    pub amiss: Option<String>,
}

/// A mean over seeds with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Number of seeds.
    pub seeds: usize,
    /// The mean.
    pub mean: f64,
    /// 95 % BCa bootstrap interval of the mean; `None` for fewer than two seeds.
    pub interval: Option<[f64; 2]>,
}

/// The paired difference between two groups, over the seeds that both have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Mean of the differences between runs of the same seed.
    pub estimate: Estimate,
    /// Two-sided p-value of the paired permutation test; `None` for fewer than two seeds.
    pub p_value: Option<f64>,
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

/// Largest number of predictors that a report shows; no task has half as many.
pub const MOST_PREDICTORS: usize = 24;
/// Coverage of all intervals.
pub const LEVEL: f64 = 0.95;
/// Number of resamples behind an interval.
const RESAMPLES: usize = 4999;

/// Resamples of `n` observations: the same in every report, and drawn only once.
pub fn resamples(n: usize) -> Arc<Vec<Vec<usize>>> {
    static DRAWN: Mutex<BTreeMap<usize, Arc<Vec<Vec<usize>>>>> = Mutex::new(BTreeMap::new());
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let draw = || {
        let mut rng = Seed(0).rng(Stream::Resample, n as u64);
        Arc::new((0..RESAMPLES).map(|_| (0..n).map(|_| rng.random_range(0..n.max(1))).collect()).collect())
    };
    drawn.entry(n).or_insert_with(draw).clone()
}

/// Sign flips of `n` differences: the same in every report.
fn flips(n: usize) -> Vec<Vec<bool>> {
    let mut rng = Seed(1).rng(Stream::Resample, n as u64);
    (0..RESAMPLES).map(|_| (0..n).map(|_| rng.random()).collect()).collect()
}

impl Estimate {
    /// The mean of one value per seed; `None` if there are no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mean = statistics::mean(values)?;
        let interval = statistics::mean_interval(values, &resamples(values.len()), LEVEL).map(ends);
        Some(Self { seeds: values.len(), mean, interval })
    }
}

impl Difference {
    /// The difference `of` minus `reference`, given values by seed; `None` if they have no seed in common.
    pub fn between(of: &BTreeMap<u64, f64>, reference: &BTreeMap<u64, f64>) -> Option<Self> {
        let differences = paired(of, reference);
        let p_value = statistics::sign_flip_test(&differences, &flips(differences.len()));
        Some(Self { estimate: Estimate::of(&differences)?, p_value })
    }
}

/// The values of `of` minus those of `reference` with the same seeds, in the order of the seeds.
pub fn paired(of: &BTreeMap<u64, f64>, reference: &BTreeMap<u64, f64>) -> Vec<f64> {
    of.iter().filter_map(|(seed, value)| Some(value - reference.get(seed)?)).collect()
}

/// Exponent of the power law through the means at each x, with its interval. Seeds are resampled as whole curves, since
/// runs with the same seed share their data. Seeds without a value at some x are left out.
///
/// `curve` holds, for each x, the values by seed.
pub fn power_law(curve: &[(f64, BTreeMap<u64, f64>)]) -> Option<Estimate> {
    let (_, first) = curve.first()?;
    let seeds: Vec<u64> =
        first.keys().copied().filter(|seed| curve.iter().all(|(_, of)| of.contains_key(seed))).collect();
    let values: Vec<Vec<f64>> = curve.iter().map(|(_, of)| seeds.iter().map(|seed| of[seed]).collect()).collect();
    let x: Vec<f64> = curve.iter().map(|(x, _)| *x).collect();
    let means = values.iter().map(|values| statistics::mean(values)).collect::<Option<Vec<_>>>()?;
    let mean = exponent(&x.iter().copied().zip(means).collect::<Vec<_>>())?;
    let interval = exponent_interval(&x, &values, &resamples(seeds.len()), LEVEL).map(ends);
    Some(Estimate { seeds: seeds.len(), mean, interval })
}

impl Group {
    /// Reads the results of the group's runs.
    ///
    /// # Errors
    /// [`Error::Trainer`] when a record is damaged or cannot be read
    pub fn read(
        dir: &StudyDir,
        name: &str,
        settings: Vec<(String, toml::Value)>,
        runs: &[&PlannedRun],
    ) -> Result<Self, Error> {
        let experiment = runs.first().map(|run| run.experiment.clone());
        let experiment = experiment.unwrap_or_else(|| unreachable!("a study has at least one seed"));
        let mut group = Self { settings, ..Self::empty(name, experiment) };
        for run in runs {
            group.add(&dir.run(&run.run_id), run.experiment.seed)?;
        }
        Ok(group)
    }

    /// A group without runs.
    pub fn empty(name: &str, experiment: Experiment) -> Self {
        let experiment = Experiment { seed: 0, ..experiment };
        Self { name: name.to_owned(), settings: Vec::new(), experiment, runs: Vec::new(), missing: Vec::new() }
    }

    /// Whether the group has a run with this seed, finished or not.
    pub fn has(&self, seed: u64) -> bool {
        self.runs.iter().any(|run| run.seed == seed) || self.missing.iter().any(|(missing, _)| *missing == seed)
    }

    /// Adds the run in a folder.
    ///
    /// # Errors
    /// as [`Group::read`]
    pub fn add(&mut self, root: &Path, seed: u64) -> Result<(), Error> {
        let reason = match plan::run_state(root)?.0 {
            RunState::Complete => {
                let lines = log::read(&RunDir::metrics_of(root))?;
                let record = run_dir::read_record(root)?;
                let amiss = log::verify(root)?;
                self.runs.push(FinishedRun { seed, root: root.to_owned(), record, lines, amiss });
                return Ok(());
            }
            RunState::Failed(Failure { message, .. }) => {
                let record = match run_dir::read_record(root) {
                    Err(error @ headway_trainer::Error::Io { .. }) => return Err(error.into()),
                    record => record.ok(),
                };
                if let Some(record) = record
                    && record.status == Status::Diverged
                    && !record.results.is_empty()
                {
                    self.runs.push(FinishedRun { seed, root: root.to_owned(), record, lines: Vec::new(), amiss: None });
                }
                message
            }
            RunState::Waiting => "not begun".to_owned(),
            RunState::Running | RunState::Stopped => "not finished".to_owned(),
        };
        self.missing.push((seed, reason));
        Ok(())
    }

    /// Runs whose network has scores, which diverged networks have not.
    pub fn finished(&self) -> impl Iterator<Item = &FinishedRun> {
        self.runs.iter().filter(|run| run.record.is_scored())
    }

    /// Seeds with which the network diverged.
    pub fn diverged(&self) -> Vec<u64> {
        self.runs.iter().filter(|run| !run.record.is_scored()).map(|run| run.seed).collect()
    }

    /// Number of seeds that the group is meant to have.
    pub fn asked(&self) -> usize {
        self.finished().count() + self.missing.len()
    }

    /// Number of seeds as text: `5`, or `3 of 5` if some are missing.
    pub fn seeds(&self, count: usize) -> String {
        if count == self.asked() { count.to_string() } else { format!("{count} of {}", self.asked()) }
    }

    /// The group's name, with the number of its seeds if some are missing.
    pub fn label(&self) -> String {
        let finished = self.finished().count();
        let seeds = if finished < self.asked() { format!(" ({} seeds)", self.seeds(finished)) } else { String::new() };
        format!("{}{seeds}", self.name)
    }

    /// Names of all predictors with scores: the network, then the classical ones.
    pub fn predictors(&self) -> Vec<String> {
        let rows = self.runs.first().map(|run| &run.record.results);
        rows.into_iter().flatten().take(MOST_PREDICTORS).map(|row| row.name.clone()).collect()
    }

    /// Names of the scores that are not about a slice.
    pub fn totals(&self) -> Vec<String> {
        self.metrics().into_iter().filter(|name| !name.contains('[')).collect()
    }

    /// Names of all scores.
    pub fn metrics(&self) -> BTreeSet<String> {
        self.rows(None).flat_map(|(_, row)| row.metrics.keys().cloned()).collect()
    }

    /// Result rows with the seeds of their runs, of one predictor or, for `None`, of all.
    pub fn rows<'a>(&'a self, predictor: Option<&'a str>) -> impl Iterator<Item = (u64, &'a Row)> {
        let of_run = |run: &'a FinishedRun| run.record.results.iter().map(|row| (run.seed, row));
        self.runs.iter().flat_map(of_run).filter(move |(_, row)| predictor.is_none_or(|name| row.name == name))
    }

    /// A score by seed.
    pub fn all_values(&self, predictor: &str, metric: &str) -> BTreeMap<u64, f64> {
        self.rows(Some(predictor)).filter_map(|(seed, row)| Some((seed, *row.metrics.get(metric)?))).collect()
    }

    /// A score by seed, for averaging. Empty for a network that diverged with some seed, since a mean over the others
    /// would be biased.
    pub fn values(&self, predictor: &str, metric: &str) -> BTreeMap<u64, f64> {
        if predictor == NETWORK && !self.diverged().is_empty() {
            return BTreeMap::new();
        }
        self.all_values(predictor, metric)
    }

    /// Mean and interval of a score over the seeds.
    pub fn estimate(&self, predictor: &str, metric: &str) -> Option<Estimate> {
        Estimate::of(&self.values(predictor, metric).into_values().collect::<Vec<_>>())
    }

    /// Signs of what is wrong with a score for any seed.
    pub fn signs(&self, predictor: &str, metric: &str) -> BTreeSet<char> {
        self.rows(Some(predictor)).filter_map(|(_, row)| Some(row.doubts.get(metric)?.sign())).collect()
    }

    /// The score that slices have, and the axis of slices named `<axis>=<number>`; `None` if there are no such slices.
    pub fn sliced(&self) -> Option<(String, String)> {
        let name = |name: &String| Some((name.split('[').next()?.to_owned(), slice(name)?.0.to_owned()));
        self.metrics().iter().find_map(name)
    }

    /// The mean and interval for each number of such slices.
    pub fn by_slice(&self, predictor: &str) -> Vec<(f64, Estimate)> {
        let point = |name: &String| Some((slice(name)?.1, self.estimate(predictor, name)?));
        let mut points: Vec<(f64, Estimate)> = self.metrics().iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }

    /// Whether all finished runs logged a value with this name.
    pub fn logs(&self, name: &str) -> bool {
        self.finished().all(|run| run.lines.iter().any(|line| line.values.contains_key(name)))
    }

    /// A logged value's mean over the seeds, at every step that all finished runs logged.
    pub fn curve(&self, name: &str) -> Vec<(f64, Estimate)> {
        let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for line in self.finished().flat_map(|run| &run.lines) {
            if let Some(value) = line.values.get(name) {
                by_step.entry(line.step).or_default().push(*value);
            }
        }
        let runs = self.finished().count();
        let whole = by_step.into_iter().filter(|(_, values)| values.len() == runs);
        whole.filter_map(|(step, values)| Some((step as f64, Estimate::of(&values)?))).collect()
    }

    /// Number of parameters that training changes, including those of adapters.
    pub fn trained_parameters(&self) -> Option<f64> {
        let record = &self.runs.first()?.record;
        Some((record.parameters - record.frozen_parameters.min(record.parameters)) as f64)
    }

    /// Mean training time in seconds.
    pub fn seconds(&self) -> Option<f64> {
        statistics::mean(&self.finished().map(|run| run.record.seconds).collect::<Vec<_>>())
    }
}

/// Seeds as text: `seed 3`, `seeds 1, 3`.
pub fn counted_seeds(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list.join(", "))
}

/// Axis and number of a score such as `test/mse[points=3]`; `None` for other scores.
pub fn slice(metric: &str) -> Option<(&str, f64)> {
    let (_, slice) = metric.split_once('[')?;
    let (axis, number) = slice.trim_end_matches(']').split_once('=')?;
    Some((axis, number.parse().ok()?))
}
