//! `headway sweep` and its parts

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::error::Error;
use headway_study::{
    dir::StudyDir,
    plan::{self, Plan, RunState},
};
use headway_trainer::{Interrupter, beside, event::Event, session::Options};
use serde_json::json;

use crate::{
    args::{RunArgs, Sweep, SweepAction},
    output, signals, study, tables, train,
};

pub fn run(args: &Sweep) -> Result<ExitCode, Error> {
    match &args.action {
        None => {
            let path = args.study.as_deref().unwrap_or(Path::new(""));
            let (study, dir, _) = study::open(path, &args.changes, args.out.as_ref())?;
            study::lead(&study, &dir, &args.jobs)
        }
        Some(SweepAction::Plan { study, changes, out, write, json }) => {
            let (_, _, plan) = study::open(study, changes, out.as_ref())?;
            list(&plan, write.as_deref(), *json)
        }
        Some(SweepAction::Exec { study, index, run_id, changes, out, retry, run, led }) => {
            let (study, dir, plan) = study::open(study, changes, out.as_ref())?;
            let planned = match (run_id, index) {
                (Some(id), _) => plan.find(id).ok_or_else(|| headway_study::Error::UnknownRun(id.clone()))?,
                (None, index) => plan.get(index.unwrap_or_default())?,
            };
            study.join(&dir)?;
            let options = if *led { led_options(run)? } else { train::options(run)? };
            let summary = plan::exec(&dir, planned, *retry, &options, headway_report::run::conclude)?;
            if !led {
                output::summary(&summary, run.json);
            }
            Ok(signals::exit_code(summary.status))
        }
        Some(SweepAction::Status { study, changes, out, all, failed, json }) => {
            let (_, dir, plan) = study::open(study, changes, out.as_ref())?;
            status(&dir, &plan, [*all, *failed], *json)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Options of a run led by another process, which requests a checkpoint by a line on standard input and a stop by
/// closing it. Standard input is closed even if the leading process is killed.
fn led_options(args: &RunArgs) -> Result<Options, Error> {
    // The leading process has printed any warnings.
    let (device, _) = args.device.open()?;
    let (interrupter, save_now) = (Interrupter::new(), Arc::<AtomicBool>::default());
    // A scheduler that cancels a job sends the signal to all its processes.
    signals::listen(interrupter.clone(), save_now.clone())?;
    let (stop, save) = (interrupter.clone(), save_now.clone());
    let wait = move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            save.store(true, Ordering::SeqCst);
        }
        stop.stop(Some("the process that leads this run"));
    };
    thread::Builder::new().spawn(wait).map_err(headway_trainer::Error::NoThread)?;
    let on_event = Arc::new(|_: &Event| ());
    Ok(Options { device, max_time: args.max_time, interrupter, save_now, on_event })
}

fn list(plan: &Plan, write: Option<&Path>, as_json: bool) -> Result<ExitCode, Error> {
    if as_json {
        let runs = plan.runs().iter().enumerate().map(|(index, run)| {
            json!({ "index": index, "run_id": run.run_id, "label": run.label, "experiment": run.experiment })
        });
        output::json(&runs.collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    }
    let lines = plan.runs().iter().enumerate().map(|(index, run)| format!("{index}\t{}\t{}", run.run_id, run.label));
    let lines = lines.collect::<Vec<_>>();
    match write {
        None => lines.iter().for_each(output::line),
        Some(path) => beside::write(path, (lines.join("\n") + "\n").as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn status(dir: &StudyDir, plan: &Plan, [all, failed]: [bool; 2], as_json: bool) -> Result<(), Error> {
    let states = plan.runs().iter().map(|run| plan::run_state(&dir.run(&run.run_id)));
    let states = states.collect::<Result<Vec<(RunState, u64)>, _>>()?;
    let lines = || plan.runs().iter().zip(&states).enumerate();
    if as_json {
        let runs = lines().map(|(index, (run, (state, step)))| {
            json!({
                "index": index, "run_id": run.run_id, "label": run.label, "standing": state,
                "step": step, "steps": run.experiment.train.steps, "run_dir": dir.run(&run.run_id).to_string_lossy(),
            })
        });
        output::json(&runs.collect::<Vec<_>>());
        return Ok(());
    }
    let is_shown = |state: &RunState| all || *state == RunState::Running;
    let shown = lines().filter(|(_, (_, (state, _)))| is_shown(state));
    let rows = shown.map(|(index, (run, (state, step)))| {
        let step = format!("{step}/{}", run.experiment.train.steps);
        vec![run.label.clone(), index.to_string(), word(state).to_owned(), step, run.run_id.clone()]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        output::line(tables::table(&["run", "index", "standing", "step", "folder"], rows));
    }
    if failed {
        let rows = lines().filter_map(|(_, (run, (state, _)))| match state {
            RunState::Failed(failure) => {
                let why = failure.message.lines().next().unwrap_or_default().to_owned();
                Some(vec![run.label.clone(), failure.exit_code.to_string(), why, run.run_id.clone()])
            }
            _ => None,
        });
        output::line(tables::prose_table(&["failed", "exit code", "why", "folder"], rows));
    }
    let counts = ["complete", "running", "stopped", "waiting", "failed"].map(|name| {
        let count = states.iter().filter(|(state, _)| word(state) == name).count();
        format!("{count} {name}")
    });
    let left = match left(dir, plan, &states)? {
        Some((seconds, 1)) => format!("; {} left", output::duration(seconds)),
        Some((seconds, at_once)) => format!("; {} left, {at_once} at once", output::duration(seconds)),
        None => String::new(),
    };
    output::line(format!("{} in {}{left}", counts.join(", "), dir.root().display()));
    Ok(())
}

/// Seconds of what is left at the speed of the runs that are complete, and how many runs are at work, at least one. `None` if nothing
/// is left, or if no run is complete.
fn left(dir: &StudyDir, plan: &Plan, states: &[(RunState, u64)]) -> Result<Option<(f64, usize)>, Error> {
    let (mut complete, mut left, mut at_work) = (Vec::new(), 0.0, 0);
    for (run, (state, step)) in plan.runs().iter().zip(states) {
        match state {
            RunState::Complete => complete.push(run),
            RunState::Failed(_) => {}
            RunState::Waiting | RunState::Running | RunState::Stopped => {
                left += run.experiment.training_flops() * (1.0 - *step as f64 / run.experiment.train.steps as f64);
                at_work += usize::from(*state == RunState::Running);
            }
        }
    }
    let at_once = at_work.max(1);
    let pace = study::pace(dir, &complete)?.filter(|_| left > 0.0);
    Ok(pace.map(|pace| (left * pace / at_once as f64, at_once)))
}

fn word(state: &RunState) -> &'static str {
    match state {
        RunState::Waiting => "waiting",
        RunState::Running => "running",
        RunState::Stopped => "stopped",
        RunState::Complete => "complete",
        RunState::Failed(_) => "failed",
    }
}
