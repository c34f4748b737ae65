//! `headway resume`

use std::process::ExitCode;

use crate::error::Error;
use headway_trainer::resume;

use crate::{args::Resume, output, signals, train};

pub fn run(args: &Resume) -> Result<ExitCode, Error> {
    let summary = resume::resume(&args.run_dir, &train::options(&args.run)?)?.end(headway_report::run::conclude)?;
    output::summary(&summary, args.run.json);
    Ok(signals::exit_code(summary.status))
}
