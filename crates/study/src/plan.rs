//! A plan: the runs of a sweep or a comparison, and the state of each.
//!
//! A run is identified by its seed and its resolved config without the seed. Executing it again skips it if it is
//! complete, and continues it if it was stopped.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;

use crate::dir::StudyDir;
use crate::error::Error;
use headway_trainer::{
    ErrorKind, VerbError, checkpoint,
    experiment::Experiment,
    provenance::{Failure, Status, Summary},
    resume,
    run_dir::{self, RunDir},
    session::{Finished, Options},
    train,
};

/// One run of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// [`Experiment::run_id`], which is also the name of its folder.
    pub run_id: String,
    /// Label that distinguishes the run from the others, for people.
    pub label: String,
    /// The resolved experiment.
    pub experiment: Experiment,
}

/// Runs in a fixed order, without duplicates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    runs: Vec<PlannedRun>,
    places: BTreeMap<String, usize>,
}

impl Plan {
    /// The runs; the index of a run is its position here.
    pub fn runs(&self) -> &[PlannedRun] {
        &self.runs
    }

    /// Adds a run unless it is already there, and returns its index.
    pub fn add(&mut self, label: impl Into<String>, experiment: Experiment) -> usize {
        let run_id = experiment.run_id();
        *self.places.entry(run_id.clone()).or_insert_with(|| {
            self.runs.push(PlannedRun { run_id, label: label.into(), experiment });
            self.runs.len() - 1
        })
    }

    /// The run with this id; `None` if it is not (yet) known.
    pub fn find(&self, run_id: &str) -> Option<&PlannedRun> {
        self.places.get(run_id).map(|index| &self.runs[*index])
    }

    /// The run with this index.
    ///
    /// # Errors
    /// [`Error::NoRun`].
    pub fn get(&self, index: usize) -> Result<&PlannedRun, Error> {
        self.runs.get(index).ok_or(Error::NoRun { index, there: self.runs.len() })
    }
}

/// What a study costs, at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Number of runs.
    pub runs: [usize; 2],
    /// Floating-point operations of training.
    pub flops: [f64; 2],
}

impl Cost {
    /// Adds runs that are made in any case.
    pub(super) fn add_least(&mut self, runs: usize, flops: f64) {
        self.runs[0] += runs;
        self.flops[0] += flops * runs as f64;
    }

    /// Adds runs that are made at most.
    pub(super) fn add_most(&mut self, runs: usize, flops: f64) {
        self.runs[1] += runs;
        self.flops[1] += flops * runs as f64;
    }
}

/// State of a run of a plan, as seen in its folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Not started.
    Waiting,
    /// A process is executing it.
    Running,
    /// Stopped before its end; it can go on from its newest checkpoint.
    Stopped,
    /// It took all its steps.
    Complete,
    /// It ended with an error, and stays failed until it is tried again.
    Failed(Failure),
}

/// State of a run and the number of steps it has taken, read from its folder only.
///
/// # Errors
/// [`Error::Trainer`] when that cannot be told.
pub fn run_state(root: &Path) -> Result<(RunState, u64), Error> {
    let (state, step) = left(root)?;
    // A complete run stays complete even while a process holds its folder.
    let is_held = state != RunState::Complete && RunDir::is_held(root)?;
    Ok((if is_held { RunState::Running } else { state }, step))
}

/// State of a run that no process is executing.
fn left(root: &Path) -> Result<(RunState, u64), Error> {
    let failure = run_dir::read_failure(root)?;
    let record = match run_dir::read_record(root) {
        Ok(record) => record,
        // Without a readable record, the run can go on from a whole checkpoint if its config exists.
        Err(error) if error.kind() == ErrorKind::Usage => {
            let newest = if RunDir::is_run(root)? { checkpoint::checkpoints_in(root)?.pop() } else { None };
            let state = match (failure, newest.is_some()) {
                (Some(failure), _) => RunState::Failed(failure),
                (None, true) => RunState::Stopped,
                (None, false) if run_dir::has_record(root)? => {
                    RunState::Failed(Failure { exit_code: error.exit_code(), message: error.to_string() })
                }
                (None, false) => RunState::Waiting,
            };
            return Ok((state, newest.and_then(|newest| newest.step).unwrap_or_default()));
        }
        Err(error) => return Err(error.into()),
    };
    let step = record.step;
    let state = match (failure, record.status) {
        // Whatever failed later, its results exist.
        (_, status) if status.is_final() => RunState::Complete,
        (Some(failure), _) => RunState::Failed(failure),
        (None, Status::Diverged) => RunState::Failed(Failure {
            exit_code: ErrorKind::Diverged.exit_code(),
            message: format!("diverged at step {step}"),
        }),
        (None, _) => RunState::Stopped,
    };
    Ok((state, step))
}

/// Time that a process gets to save after it was told to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Executes one run, or the rest of it. Executing a complete run again changes nothing.
///
/// With `retry`, a failed run is tried again: from its newest checkpoint, or from the start if it diverged or has no
/// checkpoint; the results of the earlier try are then moved aside.
///
/// `conclude` makes the page of a trained run and writes its record.
///
/// # Errors
/// [`Error::FailedBefore`] for a failed run without `retry`; [`Error::Trainer`] when another process is at work on it; what
/// [`train::train`] and [`resume::resume`] return, which the folder remembers.
pub fn exec<E: VerbError + From<Error> + From<headway_trainer::Error>>(
    dir: &StudyDir,
    run: &PlannedRun,
    retry: bool,
    options: &Options,
    conclude: impl FnOnce(Finished) -> Result<Summary, E>,
) -> Result<Summary, E> {
    let root = dir.run(&run.run_id);
    let held = RunDir::claim(&root, PATIENCE)?;
    let goes_on = match left(&root)?.0 {
        RunState::Failed(Failure { exit_code, message }) if !retry => {
            return Err(Error::FailedBefore { exit_code, message }.into());
        }
        RunState::Failed(_) => {
            let diverged = match run_dir::read_record(&root) {
                Ok(record) => record.status == Status::Diverged,
                Err(error) if error.kind() == ErrorKind::Usage => false,
                Err(error) => return Err(error.into()),
            };
            !diverged && !held.checkpoints()?.is_empty()
        }
        RunState::Running | RunState::Stopped | RunState::Complete => true,
        RunState::Waiting => false,
    };
    // A run that was killed before its config was written has nothing to continue from.
    let goes_on = goes_on && RunDir::is_run(&root)?;
    if goes_on {
        held.forget_failure()?;
    } else {
        held.set_aside()?;
    }
    let result = if goes_on {
        resume::resume_in(held, options).map_err(E::from).and_then(|resumed| resumed.end(conclude))
    } else {
        train::train_in(&run.experiment, held, options).map_err(E::from).and_then(conclude)
    };
    // A file that could not be read may be readable the next time, so this error is not remembered.
    if let Err(error) = &result
        && error.kind() != ErrorKind::Unread
    {
        // If this cannot be written, for example on a full disk, the run counts as stopped and the original error is
        // returned.
        let _ = run_dir::write_failure(&root, &Failure { exit_code: error.exit_code(), message: error.to_string() });
    }
    result
}
