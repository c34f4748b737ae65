//! `headway check`

use std::process::ExitCode;

use crate::error::Error;
use headway_inspect::counted;
use headway_study::{Study, dir::StudyDir, file::Changes};
use headway_tasks::TaskInput;
use headway_trainer::{
    bench,
    device::OpenDevice,
    experiment::{Experiment, Loaded},
    memory, train,
};
use serde_json::json;

use crate::{
    args::{Check, ExperimentArgs},
    device, output,
};

pub fn run(args: &Check) -> Result<ExitCode, Error> {
    if Study::is_file(&args.experiment.experiment) {
        return study(args);
    }
    if let Some(profile) = &args.profile {
        let problem = "an experiment has no profiles; sweeps and comparisons have";
        return Err(headway_trainer::Error::argument(format!("--profile {profile}"), problem).into());
    }
    let loaded = args.experiment.load()?;
    let device = device::open(args.device)?;
    train::check(&loaded.experiment, &device)?.iter().for_each(output::note);
    report(&loaded, &device, args.json);
    if args.time {
        let steps = loaded.experiment.train.steps * loaded.experiment.train.accumulate;
        let seconds = bench::steps_of(&loaded.experiment, &device, REPEATS)?.best() * steps as f64;
        output::line(format!("  about {} of training at the speed of a few steps here", output::duration(seconds)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks every experiment of a sweep or a comparison, and prints how many runs it takes.
fn study(args: &Check) -> Result<ExitCode, Error> {
    let ExperimentArgs { experiment: path, set, unset, seed } = &args.experiment;
    let seeds = seed.map(|seed| vec![seed]);
    let changes = Changes { profile: args.profile.clone(), unset: unset.clone(), set: set.clone(), seeds };
    let study = Study::read(path, &changes)?;
    let cost = study.cost();
    let device = device::open(args.device)?;
    if args.json {
        output::json(&json!({ "ok": true, "runs": cost.runs, "training_flops": cost.flops }));
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!("{}: sound", path.display()));
    let ([least, most], [low, high]) = (cost.runs, cost.flops.map(|flops| flops / 1e9));
    if least == most {
        output::line(format!("  {least} runs, {low:.1} GFLOP of training"));
    } else {
        output::line(format!("  {least} runs at least and {most} at most, {low:.1} to {high:.1} GFLOP of training"));
    }
    let plan = study.plan(&StudyDir::at(Study::place(path, &changes)?))?;
    if let Some(first) = plan.runs().first().filter(|_| args.time) {
        let timing = bench::steps_of(&first.experiment, &device, REPEATS)?;
        let time = |flops: f64| output::duration(flops / timing.flops * timing.best());
        let [least, most] = cost.flops.map(time);
        let time = if least == most { least } else { format!("{least} to {most}") };
        output::line(format!("  about {time} for all of them at the speed of the first run here"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a network reads and what it is asked, in words.
fn examples(experiment: &Experiment) -> String {
    let (dims, asked) = (experiment.task.dims(), experiment.task.asked());
    let input = match dims.input {
        TaskInput::Continuous { d_in } => counted(d_in, "number"),
        TaskInput::Tokens { vocab } => format!("one of {}", counted(vocab, "token")),
    };
    let places = match asked {
        1 => "the last".to_owned(),
        all if all == dims.seq_len => "each".to_owned(),
        some => format!("the last {some}"),
    };
    let sizes = match experiment.task.held_examples() {
        Some([train, validation, test]) => format!("{train} examples to train on, {validation} and {test} to judge by"),
        None => "examples".to_owned(),
    };
    let (positions, outputs) = (counted(dims.seq_len, "position"), counted(dims.d_out, "output"));
    format!("{sizes}: {positions} with {input} each, and {outputs} at {places}")
}

/// Samples of a few steps, of which the fastest counts.
const REPEATS: usize = 3;

/// Prints what a valid experiment would do, and its cost.
pub fn report(loaded: &Loaded, device: &OpenDevice, as_json: bool) {
    let experiment = &loaded.experiment;
    let budget = experiment.budget();
    let (flops, bytes) = (experiment.step_flops(), budget.step_activation_bytes(experiment.micro_batch()));
    if as_json {
        output::json(&json!({
            "ok": true,
            "experiment": experiment,
            "doubts": experiment.doubts(),
            "device": device.spec.to_string(),
            "parameters": budget.parameters,
            "step_flops": flops as usize,
            "step_activation_bytes": bytes,
        }));
        return;
    }
    output::line(format!("{}: sound", loaded.path.display()));
    output::line(format!("  {} on {}", experiment.model.name(), experiment.task.name()));
    output::line(format!("  {}", examples(experiment)));
    output::line(format!("  {} parameters", budget.parameters));
    output::line(format!("  {:.3} GFLOP a step, about {:.1} MB of activations", flops / 1e9, bytes as f64 / 1e6));
    output::line(format!("  {} steps on {} ({})", experiment.train.steps, device.spec, device.name));
    if device.has_own_memory() {
        let needed = experiment.memory().on_gpu() / 1e9;
        output::line(match memory::limits(&device.device).and_then(|limits| limits.total) {
            Some(there) => format!("  {needed:.1} of its {:.1} GB of memory at least", there as f64 / 1e9),
            None => format!("  {needed:.1} GB of its memory at least, which is not known to be there"),
        });
    }
}
