//! Runs of a plan side by side, each in a process of its own: what ends one in any way leaves the others alone.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use burn::train::Interrupter;

use super::{
    dir::StudyDir,
    plan::{self, PlannedRun, RunState},
};
use crate::error::Error;
use headway_trainer::{
    VerbError, log, presence,
    provenance::Failure,
    run_dir::{self, RunDir},
};

/// How to run a plan.
pub struct Jobs<'a> {
    /// Runs at once.
    pub at_once: usize,
    /// CPU threads of each.
    pub threads: usize,
    /// The command that does a run. It saves when a line comes on its standard input, and saves and stops when that ends.
    pub command: &'a dyn Fn(&PlannedRun) -> Command,
    /// Stops every run after its current micro-batch.
    pub interrupter: Interrupter,
    /// Set by whoever wants a checkpoint of every run that is under way.
    pub save_now: Arc<AtomicBool>,
    /// Told how far the plan is, now and then and whenever a run ends.
    pub on_progress: &'a dyn Fn(&Progress<'_>),
}

/// How far a plan is.
pub struct Progress<'a> {
    /// Runs that will not be tried any more, failed ones included.
    pub ended: usize,
    /// Runs that failed.
    pub failed: usize,
    /// All runs.
    pub total: usize,
    /// Runs at this moment, each with the steps it has taken and will take.
    pub running: Vec<(&'a str, u64, u64)>,
    /// The run that ended just now, how, and what it said about that.
    pub news: Option<(&'a str, &'a RunState, &'a str)>,
    /// Seconds until the end, once that can be told.
    pub seconds_left: Option<f64>,
}

/// A process and the run it does.
struct Job<'a> {
    run: &'a PlannedRun,
    child: Child,
    /// Reads what the process says on standard error, so that it never waits for a reader.
    listener: Option<JoinHandle<String>>,
}

impl Job<'_> {
    /// What the process said, once it has ended.
    fn said(&mut self) -> String {
        self.listener.take().and_then(|listener| listener.join().ok()).unwrap_or_default()
    }
}

/// Does some runs; returns the labels of those that failed, each with the reason.
///
/// # Errors
/// [`Error::Process`] when a process cannot be started.
pub fn run(dir: &StudyDir, chosen: &[&PlannedRun], jobs: &Jobs<'_>) -> Result<Vec<(String, Failure)>, Error> {
    let mut waiting: Vec<&PlannedRun> = chosen.to_vec();
    // The longest first, from the end of the list, so that none is left to run alone at last.
    waiting.reverse();
    waiting.sort_by(|a, b| work(a).total_cmp(&work(b)));
    let mut all: f64 = chosen.iter().map(|run| work(run)).sum();
    let at_first: f64 = chosen.iter().map(|run| work(run) * share(dir, run)).sum();
    let began = Instant::now();
    let mut active: Vec<Job<'_>> = Vec::new();
    let mut failed = Vec::new();
    let mut ended = 0;
    let mut told = Instant::now();
    let mut work_ended = 0.0;
    while !(waiting.is_empty() && active.is_empty()) {
        if jobs.interrupter.should_stop() {
            waiting.clear();
            // Its end tells the process to save and stop.
            for job in &mut active {
                drop(job.child.stdin.take());
            }
        }
        if jobs.save_now.swap(false, Ordering::SeqCst) {
            for stdin in active.iter_mut().filter_map(|job| job.child.stdin.as_mut()) {
                // A process that has just ended has saved.
                let _ = writeln!(stdin);
            }
        }
        while active.len() < jobs.at_once
            && let Some(run) = waiting.pop()
        {
            active.push(start(run, (jobs.command)(run), jobs.threads)?);
        }
        let mut index = 0;
        while index < active.len() {
            let Some(status) =
                active[index].child.try_wait().map_err(|error| Error::Process { action: "wait for", source: error })?
            else {
                index += 1;
                continue;
            };
            let mut job = active.swap_remove(index);
            let root = dir.run(&job.run.run_id);
            let said = job.said();
            let end = if status.success() || jobs.interrupter.should_stop() {
                // What cannot be read ends this run alone.
                let unread = |error: Error| {
                    RunState::Failed(Failure { exit_code: error.exit_code(), message: error.to_string() })
                };
                plan::run_state(&root).map_or_else(unread, |(standing, _)| standing)
            } else {
                RunState::Failed(failure(&root, status.code(), &said)?)
            };
            match &end {
                RunState::Failed(failure) => {
                    failed.push((job.run.label.clone(), failure.clone()));
                    // What will not be done is no work left, nor does it tell how fast the rest goes.
                    all -= work(job.run);
                    ended += 1;
                }
                RunState::Complete => {
                    work_ended += work(job.run);
                    ended += 1;
                }
                RunState::Waiting | RunState::Running | RunState::Stopped => {}
            }
            let left = left(began, work_ended + under_way(dir, &active), at_first, all);
            // A run that did what it should may have had something to say about it.
            let said = if status.success() { said.trim() } else { "" };
            tell(dir, jobs, &active, (ended, failed.len(), chosen.len()), Some((&job.run.label, &end, said)), left);
            told = Instant::now();
        }
        if told.elapsed() > TELL_EVERY {
            let left = left(began, work_ended + under_way(dir, &active), at_first, all);
            tell(dir, jobs, &active, (ended, failed.len(), chosen.len()), None, left);
            told = Instant::now();
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(failed)
}

const TELL_EVERY: Duration = Duration::from_millis(500);

/// Work that the runs of this moment have done.
fn under_way(dir: &StudyDir, active: &[Job<'_>]) -> f64 {
    active.iter().map(|job| work(job.run) * share(dir, job.run)).sum()
}

/// Seconds left when work goes on at its rate so far.
fn left(began: Instant, done: f64, at_first: f64, all: f64) -> Option<f64> {
    let new = done - at_first;
    (new > 0.0).then(|| began.elapsed().as_secs_f64() * (all - done).max(0.0) / new)
}

fn tell<'a>(
    dir: &StudyDir,
    jobs: &Jobs<'_>,
    active: &[Job<'a>],
    (ended, failed, total): (usize, usize, usize),
    news: Option<(&'a str, &RunState, &str)>,
    seconds_left: Option<f64>,
) {
    let step = |job: &Job<'a>| (job.run.label.as_str(), steps(dir, job.run), job.run.experiment.train.steps);
    let running = active.iter().map(step).collect();
    (jobs.on_progress)(&Progress { ended, failed, total, running, news, seconds_left });
}

/// Floating-point operations of a run.
fn work(run: &PlannedRun) -> f64 {
    run.experiment.training_flops()
}

/// Share of a run that is done.
fn share(dir: &StudyDir, run: &PlannedRun) -> f64 {
    steps(dir, run) as f64 / run.experiment.train.steps as f64
}

/// Steps that a run has logged.
fn steps(dir: &StudyDir, run: &PlannedRun) -> u64 {
    // Nothing but progress hangs on it.
    let newest = log::newest(&RunDir::metrics_of(&dir.run(&run.run_id)), "train/loss").ok().flatten();
    newest.map_or(0, |(step, _)| step)
}

fn start(run: &PlannedRun, mut command: Command, threads: usize) -> Result<Job<'_>, Error> {
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A group of its own: Ctrl-C in a terminal reaches the leader alone, which passes it on.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| Error::Process { action: "start", source: error })?;
    let listener = child.stderr.take().map(|mut stderr| {
        thread::Builder::new().spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        })
    });
    Ok(Job { run, child, listener: listener.transpose().map_err(headway_trainer::Error::NoThread)? })
}

/// Why a run ended without success; remembered in its folder when the process could not do that itself.
fn failure(root: &Path, code: Option<i32>, said: &str) -> Result<Failure, Error> {
    if let Ok((RunState::Failed(failure), _)) = plan::run_state(root) {
        return Ok(failure);
    }
    let said = said.trim().trim_start_matches("error: ").to_owned();
    let Some(code) = code else {
        // Killed from outside, for want of memory perhaps: nothing is known against the run, which can go on.
        return Ok(Failure { exit_code: 1, message: "its process was killed".to_owned() });
    };
    let failure = Failure { exit_code: u8::try_from(code).unwrap_or(1), message: said };
    let is_fault = failure.exit_code == 1;
    if is_fault && presence::is_folder(root)? {
        run_dir::write_failure(root, &failure)?;
    }
    Ok(failure)
}
