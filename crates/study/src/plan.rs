//! A plan: the runs of a sweep or a comparison, and what becomes of each.
//!
//! A run is identified by its resolved config without the seed, and the seed. Doing it again is skipping it when it is
//! complete, and going on with it when it was stopped.

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
    /// [`Experiment::run_id`], which names its folder too.
    pub run_id: String,
    /// What tells it from the others, for people.
    pub label: String,
    /// The resolved experiment.
    pub experiment: Experiment,
}

/// Runs in a fixed order, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    runs: Vec<PlannedRun>,
    places: BTreeMap<String, usize>,
}

impl Plan {
    /// The runs; a run's index is its place here.
    pub fn runs(&self) -> &[PlannedRun] {
        &self.runs
    }

    /// Adds a run unless it is there; gives its index.
    pub fn add(&mut self, label: impl Into<String>, experiment: Experiment) -> usize {
        let run_id = experiment.run_id();
        *self.places.entry(run_id.clone()).or_insert_with(|| {
            self.runs.push(PlannedRun { run_id, label: label.into(), experiment });
            self.runs.len() - 1
        })
    }

    /// The run of an identity, if it can be named now.
    pub fn find(&self, run_id: &str) -> Option<&PlannedRun> {
        self.places.get(run_id).map(|index| &self.runs[*index])
    }

    /// The run of an index.
    ///
    /// # Errors
    /// [`Error::NoRun`].
    pub fn get(&self, index: usize) -> Result<&PlannedRun, Error> {
        self.runs.get(index).ok_or(Error::NoRun { index, there: self.runs.len() })
    }
}

/// How a run of a plan stands, as its folder tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Not begun.
    Waiting,
    /// A process is at work on it.
    Running,
    /// Stopped before its end; it goes on from its newest checkpoint.
    Stopped,
    /// Took every step that it was to take.
    Complete,
    /// Ended in an error; it stays so until it is tried again.
    Failed(Failure),
}

/// How a run stands, and the steps it has taken. Reads its folder and nothing else.
///
/// # Errors
/// [`Error::Trainer`] when that cannot be told.
pub fn run_state(root: &Path) -> Result<(RunState, u64), Error> {
    let (standing, step) = left(root)?;
    // A complete run stays so whoever looks at it.
    let is_held = standing != RunState::Complete && RunDir::is_held(root)?;
    Ok((if is_held { RunState::Running } else { standing }, step))
}

/// How a run stands when nobody is at work on it.
fn left(root: &Path) -> Result<(RunState, u64), Error> {
    let failure = run_dir::read_failure(root)?;
    let record = match run_dir::read_record(root) {
        Ok(record) => record,
        // Without a record that can be read it goes on from a whole checkpoint, as long as its config is there.
        Err(error) if error.kind() == ErrorKind::Usage => {
            let newest = if RunDir::is_run(root)? { checkpoint::checkpoints_in(root)?.pop() } else { None };
            let standing = match (failure, newest.is_some()) {
                (Some(failure), _) => RunState::Failed(failure),
                (None, true) => RunState::Stopped,
                (None, false) if run_dir::has_record(root)? => {
                    RunState::Failed(Failure { exit_code: error.exit_code(), message: error.to_string() })
                }
                (None, false) => RunState::Waiting,
            };
            return Ok((standing, newest.and_then(|newest| newest.step).unwrap_or_default()));
        }
        Err(error) => return Err(error.into()),
    };
    let step = record.step;
    let standing = match (failure, record.status) {
        // Whatever failed later, its results are there.
        (_, status) if status.is_final() => RunState::Complete,
        (Some(failure), _) => RunState::Failed(failure),
        (None, Status::Diverged) => {
            RunState::Failed(Failure { exit_code: 5, message: format!("diverged at step {step}") })
        }
        (None, _) => RunState::Stopped,
    };
    Ok((standing, step))
}

/// Time that a process which was told to stop gets to save.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does one run, or what is left of it. Doing a complete one again changes nothing.
///
/// With `retry`, a run that failed is tried again: from its newest checkpoint, or from the start when it diverged or has none. What
/// an earlier try left is then moved aside.
///
/// `conclude` makes the page of a run that was trained and writes its record.
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
    // Killed before its config was written, it has nothing to go on from.
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
    // What could not be read may be readable the next time: that is nothing to remember.
    if let Err(error) = &result
        && error.kind() != ErrorKind::Unread
    {
        // Where even that cannot be written, on a full disk perhaps, the run counts as stopped and the error as it was.
        let _ = run_dir::write_failure(&root, &Failure { exit_code: error.exit_code(), message: error.to_string() });
    }
    result
}
