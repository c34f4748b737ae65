//! Runs of a plan side by side, each in its own process: however one ends, the others go on.

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
    ErrorKind, VerbError, log, presence,
    provenance::Failure,
    run_dir::{self, RunDir},
};

/// How to run a plan.
pub struct Jobs<'a> {
    /// Number of runs at a time.
    pub at_once: usize,
    /// Number of devices that the runs are shared out among.
    pub devices: usize,
    /// CPU threads of each run.
    pub threads: usize,
    /// The command that executes a run on the device with this index. It must save a checkpoint when a line arrives on its standard input, and save
    /// and stop when that ends.
    pub command: &'a dyn Fn(&PlannedRun, usize) -> Command,
    /// Stops every run after its current micro-batch.
    pub interrupter: Interrupter,
    /// Set to request a checkpoint of every run that is active.
    pub save_now: Arc<AtomicBool>,
    /// Seconds for a floating-point operation of one run, from runs that ended before; `None` if none did.
    pub pace: Option<f64>,
    /// Called at the start, from time to time, and whenever a run ends, with the progress of the plan.
    pub on_progress: &'a dyn Fn(&Progress<'_>),
}

/// Progress of a plan.
pub struct Progress<'a> {
    /// Number of runs that will not be tried any more, including failed ones.
    pub ended: usize,
    /// Number of failed runs.
    pub failed: usize,
    /// Number of all runs.
    pub total: usize,
    /// The active runs.
    pub running: Vec<Running<'a>>,
    /// The run that has just ended.
    pub news: Option<News<'a>>,
    /// Estimated seconds until the end; `None` while there is no estimate.
    pub seconds_left: Option<f64>,
}

/// An active run.
pub struct Running<'a> {
    /// Its label.
    pub label: &'a str,
    /// Steps that it has logged.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Its newest training loss; `None` before the first.
    pub loss: Option<f64>,
}

/// A run that has just ended.
#[derive(Clone, Copy)]
pub struct News<'a> {
    /// The run.
    pub run: &'a PlannedRun,
    /// How it ended.
    pub state: &'a RunState,
    /// The last message of its process.
    pub said: &'a str,
}

/// A process and the run that it executes.
struct Job<'a> {
    run: &'a PlannedRun,
    /// Index of its device.
    device: usize,
    child: Child,
    /// Reads the process's standard error, so that the process never blocks on a full pipe.
    listener: Option<JoinHandle<String>>,
}

impl Job<'_> {
    /// What the process wrote to standard error; call this after it has ended.
    fn said(&mut self) -> String {
        self.listener.take().and_then(|listener| listener.join().ok()).unwrap_or_default()
    }
}

/// Executes some runs. Returns the labels of those that failed, each with the reason.
///
/// # Errors
/// [`Error::Process`] when a process cannot be started.
pub fn run(dir: &StudyDir, chosen: &[&PlannedRun], jobs: &Jobs<'_>) -> Result<Vec<(String, Failure)>, Error> {
    let mut waiting: Vec<&PlannedRun> = chosen.to_vec();
    // The longest runs start first (they are taken from the end of the list), so that none is left to run alone at the
    // end.
    waiting.reverse();
    waiting.sort_by(|a, b| work(a).total_cmp(&work(b)));
    let mut all: f64 = chosen.iter().map(|run| work(run)).sum();
    let at_first: f64 = chosen.iter().map(|run| work(run) * share(dir, run)).sum();
    let began = Instant::now();
    let mut active: Vec<Job<'_>> = Vec::new();
    let mut failed = Vec::new();
    let mut ended = 0;
    let mut told: Option<Instant> = None;
    let mut work_ended = 0.0;
    while !(waiting.is_empty() && active.is_empty()) {
        if jobs.interrupter.should_stop() {
            waiting.clear();
            // Closing standard input tells the process to save and stop.
            for job in &mut active {
                drop(job.child.stdin.take());
            }
        }
        if jobs.save_now.swap(false, Ordering::SeqCst) {
            for stdin in active.iter_mut().filter_map(|job| job.child.stdin.as_mut()) {
                // Writing fails if the process has just ended; then it has saved.
                let _ = writeln!(stdin);
            }
        }
        while active.len() < jobs.at_once
            && let Some(run) = waiting.pop()
        {
            let device = idlest(active.iter().map(|job| job.device), jobs.devices);
            active.push(start(run, device, (jobs.command)(run, device), jobs.threads)?);
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
                // An error while reading a run's folder ends that run only.
                let unread = |error: Error| {
                    RunState::Failed(Failure { exit_code: error.exit_code(), message: error.to_string() })
                };
                plan::run_state(&root).map_or_else(unread, |(state, _)| state)
            } else {
                RunState::Failed(failure(&root, status.code(), &said)?)
            };
            match &end {
                RunState::Failed(failure) => {
                    failed.push((job.run.label.clone(), failure.clone()));
                    // A run that will not be done is no remaining work, and says nothing about the speed of the others.
                    all -= work(job.run);
                    ended += 1;
                }
                RunState::Complete => {
                    work_ended += work(job.run);
                    ended += 1;
                }
                RunState::Waiting | RunState::Running | RunState::Stopped => {}
            }
            let left = left(jobs, began, work_ended + under_way(dir, &active), at_first, all);
            // A successful run may have written something that is not a reason.
            let said = if status.success() { said.trim() } else { "" };
            tell(
                dir,
                jobs,
                &active,
                (ended, failed.len(), chosen.len()),
                Some(News { run: job.run, state: &end, said }),
                left,
            );
            told = Some(Instant::now());
        }
        if told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            let left = left(jobs, began, work_ended + under_way(dir, &active), at_first, all);
            tell(dir, jobs, &active, (ended, failed.len(), chosen.len()), None, left);
            told = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(failed)
}

/// Index of the first of the devices that have the fewest of these runs.
fn idlest(running: impl Iterator<Item = usize>, devices: usize) -> usize {
    let mut runs = vec![0_usize; devices.max(1)];
    running.for_each(|device| runs[device] += 1);
    (0..runs.len()).min_by_key(|device| runs[*device]).unwrap_or_default()
}

const TELL_EVERY: Duration = Duration::from_millis(500);

/// Work done so far by the active runs.
fn under_way(dir: &StudyDir, active: &[Job<'_>]) -> f64 {
    active.iter().map(|job| work(job.run) * share(dir, job.run)).sum()
}

/// Estimated seconds left if work continues at its rate so far, or at first at that of runs that ended before.
fn left(jobs: &Jobs<'_>, began: Instant, done: f64, at_first: f64, all: f64) -> Option<f64> {
    let (new, open) = (done - at_first, (all - done).max(0.0));
    let before = || jobs.pace.map(|pace| pace * open / jobs.at_once.max(1) as f64);
    if new > 0.0 { Some(began.elapsed().as_secs_f64() * open / new) } else { before() }
}

fn tell<'a>(
    dir: &StudyDir,
    jobs: &Jobs<'_>,
    active: &[Job<'a>],
    (ended, failed, total): (usize, usize, usize),
    news: Option<News<'_>>,
    seconds_left: Option<f64>,
) {
    let of = |job: &Job<'a>| {
        let newest = newest(dir, job.run);
        let (step, steps) = (newest.map_or(0, |(step, _)| step), job.run.experiment.train.steps);
        Running { label: &job.run.label, step, steps, loss: newest.map(|(_, loss)| loss) }
    };
    let running = active.iter().map(of).collect();
    (jobs.on_progress)(&Progress { ended, failed, total, running, news, seconds_left });
}

/// Floating-point operations of a run.
fn work(run: &PlannedRun) -> f64 {
    run.experiment.training_flops()
}

/// Share of a run's steps that is done, from 0 to 1.
fn share(dir: &StudyDir, run: &PlannedRun) -> f64 {
    steps(dir, run) as f64 / run.experiment.train.steps as f64
}

/// Number of steps that a run has logged.
fn steps(dir: &StudyDir, run: &PlannedRun) -> u64 {
    newest(dir, run).map_or(0, |(step, _)| step)
}

/// The newest step that a run has logged, with its training loss.
fn newest(dir: &StudyDir, run: &PlannedRun) -> Option<(u64, f64)> {
    // Errors are ignored, since only the progress display needs this.
    log::newest(&RunDir::metrics_of(&dir.run(&run.run_id)), "train/loss").ok().flatten()
}

fn start(run: &PlannedRun, device: usize, mut command: Command, threads: usize) -> Result<Job<'_>, Error> {
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Runs get a process group of their own: Ctrl-C in a terminal reaches the leader only, which passes it on.
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
    Ok(Job { run, device, child, listener: listener.transpose().map_err(headway_trainer::Error::NoThread)? })
}

/// The reason why a run ended without success; written to its folder if the process could not do so itself.
fn failure(root: &Path, code: Option<i32>, said: &str) -> Result<Failure, Error> {
    if let Ok((RunState::Failed(failure), _)) = plan::run_state(root) {
        return Ok(failure);
    }
    let said = said.trim().trim_start_matches("error: ").to_owned();
    let Some(code) = code else {
        // Killed from outside, for example for lack of memory: this says nothing about the run, which can go on.
        return Ok(Failure { exit_code: ErrorKind::Failed.exit_code(), message: "its process was killed".to_owned() });
    };
    let failure = Failure { exit_code: u8::try_from(code).unwrap_or(ErrorKind::Failed.exit_code()), message: said };
    let is_fault = failure.exit_code == ErrorKind::Failed.exit_code();
    if is_fault && presence::is_folder(root)? {
        run_dir::write_failure(root, &failure)?;
    }
    Ok(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_starts_where_the_fewest_run() {
        assert_eq!(idlest([].into_iter(), 3), 0);
        assert_eq!(idlest([0].into_iter(), 3), 1);
        assert_eq!(idlest([0, 1].into_iter(), 3), 2);
        // The second of three has ended first.
        assert_eq!(idlest([0, 2, 0].into_iter(), 3), 1);
        assert_eq!(idlest([0, 0, 0].into_iter(), 1), 0);
    }
}
