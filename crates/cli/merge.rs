//! `headway merge`

use std::process::ExitCode;

use headway_trainer::{Error, finetune, run_dir::NewRun};

use crate::{args::Merge, output};

pub fn run(args: &Merge) -> Result<ExitCode, Error> {
    let place = NewRun::At(args.out.clone());
    let merged = finetune::merge(&args.adapter, args.base.as_deref(), &place)?;
    output::line(format!("merged: {}", merged.path.display()));
    Ok(ExitCode::SUCCESS)
}
