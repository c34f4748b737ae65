//! Leading the runs of a sweep or a comparison, and showing their progress.

use std::{
    cell::Cell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use crate::error::Error;
use headway_inspect::counted;
use headway_report::PageDir;
use headway_study::{
    Study,
    compare::Next,
    dir::StudyDir,
    file::Changes,
    jobs::{self, Jobs, News, Progress, Running},
    plan::{self, Plan, PlannedRun, RunState},
};
use headway_trainer::{ErrorKind, Interrupter, provenance::Failure, quote, run_dir};

use crate::{
    args::{ChangeArgs, JobArgs},
    device, output, signals, stop, tables,
};

/// A study, its folder, and every run known so far.
pub fn open(path: &Path, args: &ChangeArgs, out: Option<&PathBuf>) -> Result<(Study, StudyDir, Plan), Error> {
    let changes: Changes = changes(args);
    let dir = place(path, &changes, out)?;
    let study = Study::read(path, &changes)?;
    let plan = study.plan(&dir)?;
    Ok((study, dir, plan))
}

/// The changes to a study that the options request.
pub fn changes(args: &ChangeArgs) -> Changes {
    let seeds = (!args.seeds.is_empty()).then(|| args.seeds.clone());
    Changes { profile: args.profile.clone(), unset: args.unset.clone(), set: args.set.clone(), seeds }
}

/// The folder of a study.
///
/// # Errors
/// as [`Study::place`]
pub fn place(path: &Path, changes: &Changes, out: Option<&PathBuf>) -> Result<StudyDir, Error> {
    Ok(StudyDir::at(out.cloned().map_or_else(|| Study::place(path, changes), Ok)?))
}

/// Executes every run that is not done, writes the report, and prints which runs failed.
pub fn lead(study: &Study, dir: &StudyDir, args: &JobArgs) -> Result<ExitCode, Error> {
    let devices = args.device.iter().map(|spec| device::open(*spec)).collect::<Result<Vec<_>, _>>()?;
    if study.differs(dir)? {
        let root = dir.root().display();
        let old = "runs of the old one alone stay, off the page";
        output::note(format!("{root} held another definition, which this one replaces; {old}"));
    }
    let _led = study.lead(dir)?;
    let (interrupter, save_now) = (Interrupter::new(), Arc::<AtomicBool>::default());
    signals::listen(interrupter.clone(), save_now.clone())?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let by_default = if devices.iter().any(|device| device.spec.is_gpu()) { devices.len() } else { cores };
    let at_once = args.jobs.map_or(by_default, usize::from);
    let program = std::env::current_exe().map_err(Error::NoProgram)?;
    let command = |run: &PlannedRun, device: usize| {
        let mut command = Command::new(&program);
        command.args(["sweep", "exec"]).arg(dir.root()).args(["--led", "--run", &run.run_id]);
        command.args(["--device", &devices[device].spec.to_string()]).args(args.retry.then_some("--retry"));
        command
    };
    let metrics = study.metrics();
    let view = view(dir, &metrics);
    let mut failures: Vec<(String, Failure)> = Vec::new();
    let mut seen = BTreeSet::new();
    // What a comparison chooses or decides by results adds runs when the first ones are done.
    let plan = loop {
        let plan = study.plan(dir)?;
        let new: Vec<&PlannedRun> = plan.runs().iter().filter(|run| seen.insert(run.run_id.clone())).collect();
        if new.is_empty() {
            break plan;
        }
        let (count, mut open, mut complete) = (new.len(), Vec::new(), Vec::new());
        for run in new {
            match plan::run_state(&dir.run(&run.run_id))?.0 {
                RunState::Complete => complete.push(run),
                RunState::Failed(failure) if !args.retry => failures.push((run.label.clone(), failure)),
                _ => open.push(run),
            }
        }
        let at_once = at_once.min(open.len().max(1));
        let next = next(study.next(dir)?);
        output::note(format!(
            "{}{next}, {} of them done; {at_once} at once",
            counted(count, "run"),
            count - open.len()
        ));
        let jobs = Jobs {
            at_once,
            devices: devices.len(),
            threads: (cores / at_once).max(1),
            command: &command,
            interrupter: interrupter.clone(),
            save_now: save_now.clone(),
            pace: pace(dir, &complete)?,
            on_progress: &view,
        };
        failures.extend(jobs::run(dir, &open, &jobs)?);
        if interrupter.should_stop() {
            let root = quote::shell_path(dir.root());
            output::note(format!("stopped; the same command goes on, or: headway sweep {root}"));
            return Ok(stop::code().into());
        }
    };
    let diverged = ErrorKind::Diverged.exit_code();
    let is_harmless = |label: &String| plan.runs().iter().any(|run| run.label == *label && study.may_diverge(run));
    failures.retain(|(label, failure)| failure.exit_code != diverged || !is_harmless(label));
    let agrees = finish(study, dir, args.json)?;
    if failures.is_empty() {
        return Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::from(OUTSIDE) });
    }
    let rows = failures.iter().map(|(label, failure)| {
        vec![
            label.clone(),
            failure.exit_code.to_string(),
            failure.message.lines().next().unwrap_or_default().to_owned(),
        ]
    });
    output::note(tables::prose_table(&["failed", "exit code", "why"], rows));
    output::note(format!("{} of {} runs failed; --retry tries them again", failures.len(), plan.runs().len()));
    Ok(ExitCode::from(PART_FAILED))
}

/// What runs are for, if more follow them.
fn next(next: Next) -> String {
    match next {
        Next::End => String::new(),
        Next::Choice => ", to choose by; the final ones follow".to_owned(),
        Next::Decision { still_expected: None } => {
            ", to decide by; more seeds follow where they are not enough".to_owned()
        }
        Next::Decision { still_expected: Some(more) } => {
            format!(", to decide by; {} are still expected", counted(more, "seed"))
        }
    }
}

/// Writes the report and prints its main table. Returns whether every expectation is met.
fn finish(study: &Study, dir: &StudyDir, as_json: bool) -> Result<bool, Error> {
    let page = headway_report::of_study(study, dir, &study.command(dir))?;
    let dir = PageDir::at(dir.root());
    page.write(&dir)?;
    if as_json {
        output::json(&page.json);
    } else {
        output::line(tables::cells(&page.table.header, &page.table.rows));
        page.findings.iter().for_each(output::line);
        output::line(format!("report: {}", dir.report().display()));
    }
    Ok(page.verdict.unwrap_or(true))
}

/// Whether a run of a study diverged that should not.
///
/// # Errors
/// [`Error`] when that cannot be told.
pub fn has_diverged(study: &Study, dir: &StudyDir) -> Result<bool, Error> {
    let diverged = ErrorKind::Diverged.exit_code();
    for run in study.plan(dir)?.runs().iter().filter(|run| !study.may_diverge(run)) {
        if matches!(plan::run_state(&dir.run(&run.run_id))?.0, RunState::Failed(failure) if failure.exit_code == diverged)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Exit code of a command that shows runs executed by other commands.
pub fn ended(has_diverged: bool) -> ExitCode {
    if has_diverged { ExitCode::from(PART_FAILED) } else { ExitCode::SUCCESS }
}

/// Exit code if some runs of a sweep failed.
const PART_FAILED: u8 = 6;
/// Exit code if a reproduction is outside its tolerance.
const OUTSIDE: u8 = 7;

/// Seconds for a floating-point operation of one run, at the speed of the runs that are complete; `None` if none is.
///
/// # Errors
/// as [`run_dir::read_record`]
pub fn pace(dir: &StudyDir, complete: &[&PlannedRun]) -> Result<Option<f64>, Error> {
    let (mut seconds, mut done) = (0.0, 0.0);
    for run in complete {
        seconds += run_dir::read_record(&dir.run(&run.run_id))?.seconds;
        done += run.experiment.training_flops();
    }
    Ok((done > 0.0).then(|| seconds / done))
}

/// Time between two lines of progress where a line cannot be renewed and no run ends.
const STILL_HERE: Duration = Duration::from_mins(1);

/// Progress on standard error: one line that renews itself in a terminal; elsewhere a line per run that ends, and one from time to time.
fn view<'a>(dir: &'a StudyDir, metrics: &'a [&'a str]) -> impl Fn(&Progress<'_>) + 'a {
    let renews = output::renews();
    let told = Cell::new(None::<Instant>);
    move |progress| {
        let left = progress.seconds_left.map_or_else(
            || "  time left not known yet".to_owned(),
            |left| format!("  {} left", output::duration(left)),
        );
        let left = if progress.ended == progress.total { String::new() } else { left };
        let count = format!("{}/{}", progress.ended, progress.total);
        if let Some(News { run, state, said }) = progress.news {
            let end = match state {
                RunState::Complete => format!("done{}", score(dir, run, metrics)),
                RunState::Failed(failure) => format!("failed: {}", failure.message.lines().next().unwrap_or_default()),
                RunState::Waiting | RunState::Running | RunState::Stopped => "stopped, and saved".to_owned(),
            };
            output::progress_line(&format!("{count:>9}  {}  {end}{left}", run.label), false);
            if !said.is_empty() {
                output::note(said);
            }
        } else if renews || told.get().is_none_or(|told| told.elapsed() > STILL_HERE) {
            let loss = |loss: f64| format!(" loss {}", output::number(loss));
            let running = progress.running.iter().map(|Running { label, step, steps, loss: newest }| {
                format!("{label} {step}/{steps}{}", newest.map(loss).unwrap_or_default())
            });
            let running: Vec<String> = running.collect();
            let failed = if progress.failed > 0 { format!("  {} failed", progress.failed) } else { String::new() };
            output::progress_line(&format!("{count:>9}{failed}{left}  {}", running.join("  ")), renews);
        } else {
            return;
        }
        told.set(Some(Instant::now()));
    }
}

/// The first of some scores that the network of a run has; empty where it has none.
fn score(dir: &StudyDir, run: &PlannedRun, metrics: &[&str]) -> String {
    // Only the display of progress needs it.
    let record = run_dir::read_record(&dir.run(&run.run_id)).ok();
    let network = record.as_ref().and_then(|record| record.results.first());
    let found = network.and_then(|row| metrics.iter().find_map(|name| Some((name, row.metrics.get(*name)?))));
    found.map(|(name, value)| format!("  {name} {}", output::number(*value))).unwrap_or_default()
}
