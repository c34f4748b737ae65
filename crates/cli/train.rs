//! `headway train`

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use crate::error::Error;
use headway_trainer::{
    Interrupter,
    event::OnEvent,
    experiment::Loaded,
    run_dir::NewRun,
    session::Options,
    train::{self, train},
};

use crate::{
    args::{OutArgs, RunArgs, Train},
    check, dashboard, device, output, signals,
};

pub fn run(args: &Train) -> Result<ExitCode, Error> {
    let loaded = args.experiment.load_from(args.init_from.as_deref())?;
    let place = place(&args.out, &args.experiment.experiment);
    let options = options(&args.run)?;
    if args.out.dry_run {
        let (_, notes) = train::prepare(&loaded.experiment, &options.device)?;
        notes.iter().for_each(output::note);
        return dry_run(&loaded, &place, &options, args.run.json);
    }
    let summary = headway_report::run::conclude(train(&loaded.experiment, &place, &options)?)?;
    output::summary(&summary, args.run.json);
    Ok(signals::exit_code(summary.status))
}

/// The requested folder, or one named after the experiment with a number.
pub fn place(args: &OutArgs, experiment: &Path) -> NewRun {
    let name = experiment.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let numbered = || NewRun::Numbered { parent: PathBuf::from("runs"), name };
    args.out.clone().map_or_else(numbered, NewRun::At)
}

/// Opens the device, listens to signals, and sets up progress messages or the dashboard.
pub fn options(args: &RunArgs) -> Result<Options, Error> {
    let device = device::open(args.device)?;
    let (interrupter, save_now) = (Interrupter::new(), Arc::default());
    signals::listen(interrupter.clone(), Arc::clone(&save_now))?;
    Ok(Options { device, max_time: args.max_time, interrupter, save_now, on_event: progress(args) })
}

/// The dashboard where it was asked for and can be shown, else plain progress.
fn progress(args: &RunArgs) -> OnEvent {
    if !args.tui {
        return output::progress();
    }
    let opened = if std::io::stdout().is_terminal() && !args.json { dashboard::open().ok() } else { None };
    opened.unwrap_or_else(|| {
        output::note("warning: --tui needs a terminal and no --json; showing plain progress");
        output::progress()
    })
}

/// Prints what would be done, after checking that it can be done.
pub fn dry_run(loaded: &Loaded, place: &NewRun, options: &Options, as_json: bool) -> Result<ExitCode, Error> {
    let root = place.run_path()?;
    check::report(loaded, &options.device, as_json);
    if !as_json {
        output::line(format!("would write to {}", root.display()));
    }
    Ok(ExitCode::SUCCESS)
}
