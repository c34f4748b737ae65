//! The runs that a comparison asks for, in stages: a stage is added when all runs of those before have ended, and what it
//! adds depends on their results alone. So indices of runs never change, and a comparison that was killed asks for the
//! same runs again.

use std::collections::BTreeMap;

use crate::{
    dir::StudyDir,
    error::Error,
    plan::{self, Plan, RunState},
};
use headway_trainer::{
    experiment::Experiment,
    log,
    provenance::NETWORK,
    run_dir::{self, RunDir},
};

/// What is known of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tried {
    /// Some are not done.
    Open,
    /// One failed.
    Failed,
    /// The mean of their scores.
    Scored(f64),
}

/// A plan that grows.
pub(super) struct Asked<'a> {
    dir: &'a StudyDir,
    pub(super) plan: Plan,
    /// Number of runs of stages that are complete, whose results may be used.
    known: usize,
    /// Scores read so far, by run and name.
    read: BTreeMap<(usize, String), Option<f64>>,
}

/// The score that choices are made by.
const VALIDATION: &str = "validation/loss";

impl<'a> Asked<'a> {
    pub(super) fn new(dir: &'a StudyDir) -> Self {
        Self { dir, plan: Plan::default(), known: 0, read: BTreeMap::new() }
    }

    /// Adds a run of the present stage unless it is there, and returns its index.
    pub(super) fn ask(&mut self, label: impl Into<String>, experiment: Experiment) -> usize {
        self.plan.add(label, experiment)
    }

    /// Ends the present stage if all its runs have ended; otherwise returns `false`.
    ///
    /// # Errors
    /// [`Error::Trainer`] when how a run stands cannot be told.
    pub(super) fn end_stage(&mut self) -> Result<bool, Error> {
        while let Some(run) = self.plan.runs().get(self.known) {
            match plan::run_state(&self.dir.run(&run.run_id))?.0 {
                RunState::Complete | RunState::Failed(_) => self.known += 1,
                RunState::Waiting | RunState::Running | RunState::Stopped => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Mean of the last validation losses of some runs.
    ///
    /// # Errors
    /// [`Error::Trainer`] when a run cannot be read.
    pub(super) fn loss(&mut self, runs: &[usize]) -> Result<Tried, Error> {
        self.mean(runs, VALIDATION)
    }

    /// The same whether or not their stage is complete, to be shown and not to be used.
    ///
    /// # Errors
    /// as [`Asked::loss`]
    pub(super) fn loss_so_far(&self, runs: &[usize]) -> Result<Tried, Error> {
        let mut total = 0.0;
        for &run in runs {
            match plan::run_state(&self.dir.run(&self.plan.runs()[run].run_id))?.0 {
                RunState::Complete | RunState::Failed(_) => match self.result(run, VALIDATION)? {
                    Some(loss) => total += loss,
                    None => return Ok(Tried::Failed),
                },
                RunState::Waiting | RunState::Running | RunState::Stopped => return Ok(Tried::Open),
            }
        }
        Ok(Tried::Scored(total / runs.len() as f64))
    }

    /// The network's score in each of some runs, by seed; `None` if a run of a complete stage has none.
    ///
    /// # Errors
    /// as [`Asked::loss`]
    pub(super) fn scores(&mut self, runs: &[usize], metric: &str) -> Result<Option<BTreeMap<u64, f64>>, Error> {
        let mut scores = BTreeMap::new();
        for &run in runs {
            let Tried::Scored(score) = self.mean(&[run], metric)? else { return Ok(None) };
            scores.insert(self.plan.runs()[run].experiment.seed, score);
        }
        Ok((!scores.is_empty()).then_some(scores))
    }

    fn mean(&mut self, runs: &[usize], name: &str) -> Result<Tried, Error> {
        if runs.iter().any(|run| *run >= self.known) {
            return Ok(Tried::Open);
        }
        let mut total = 0.0;
        for &run in runs {
            let key = (run, name.to_owned());
            let score = match self.read.get(&key) {
                Some(score) => *score,
                None => self.result(run, name)?,
            };
            self.read.insert(key, score);
            match score {
                Some(score) => total += score,
                None => return Ok(Tried::Failed),
            }
        }
        Ok(Tried::Scored(total / runs.len() as f64))
    }

    /// A score of a run that has ended; `None` if it failed.
    fn result(&self, run: usize, name: &str) -> Result<Option<f64>, Error> {
        let root = self.dir.run(&self.plan.runs()[run].run_id);
        if plan::run_state(&root)?.0 != RunState::Complete {
            return Ok(None);
        }
        if name == VALIDATION {
            return Ok(log::newest(&RunDir::metrics_of(&root), name)?.map(|(_, loss)| loss));
        }
        let record = run_dir::read_record(&root)?;
        let network = record.results.iter().find(|row| row.name == NETWORK);
        Ok(network.and_then(|row| row.metrics.get(name).copied()))
    }
}
