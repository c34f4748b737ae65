//! `headway train`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use headway_trainer::{Error, Interrupter, Loaded, Options, experiment, run_dir, train};

use crate::{
    args::{ExperimentArgs, OutArgs, RunArgs, Train},
    check, output, signals,
};

pub fn run(args: &Train) -> Result<ExitCode, Error> {
    let loaded = load(&args.experiment)?;
    let root = out_folder(&args.out, &args.experiment.experiment);
    let options = options(&args.run)?;
    if args.out.dry_run {
        return Ok(dry_run(&loaded, &root, &options, args.run.json));
    }
    let summary = train::train(&loaded.experiment, &root, &options)?;
    output::summary(&summary, args.run.json);
    Ok(signals::exit_code(summary.status))
}

pub fn load(args: &ExperimentArgs) -> Result<Loaded, Error> {
    experiment::load(&args.experiment, &args.overrides())
}

/// The folder asked for, or the first free `runs/NAME-K`.
pub fn out_folder(args: &OutArgs, experiment: &Path) -> PathBuf {
    let name = experiment.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy());
    args.out.clone().unwrap_or_else(|| run_dir::fresh_path(Path::new("runs"), &name))
}

/// Opens the device, listens to signals, and shows progress.
pub fn options(args: &RunArgs) -> Result<Options, Error> {
    let (device, warning) = args.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    let interrupter = Interrupter::new();
    signals::stop_on_signals(interrupter.clone());
    Ok(Options {
        device,
        dashboard: args.tui,
        max_time: args.max_time,
        interrupter,
        on_event: if args.tui { std::sync::Arc::new(|_| ()) } else { output::progress() },
    })
}

pub fn dry_run(loaded: &Loaded, root: &Path, options: &Options, as_json: bool) -> ExitCode {
    check::report(loaded, &options.device, as_json);
    if !as_json {
        output::line(format!("would write to {}", root.display()));
    }
    ExitCode::SUCCESS
}
