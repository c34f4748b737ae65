//! `headway finetune`

use std::process::ExitCode;

use headway_trainer::{Checkpoint, Error, finetune};

use crate::{args::Finetune, output, signals, train};

pub fn run(args: &Finetune) -> Result<ExitCode, Error> {
    let loaded = train::load(&args.experiment)?;
    let root = train::out_folder(&args.out, &args.experiment.experiment);
    let options = train::options(&args.run)?;
    if args.out.dry_run {
        Checkpoint::find(&args.from)?.weights()?;
        return Ok(train::dry_run(&loaded, &root, &options, args.run.json));
    }
    let summary = finetune::finetune(&loaded.experiment, &args.from, args.allow_partial, &root, &options)?;
    output::summary(&summary, args.run.json);
    Ok(signals::exit_code(summary.status))
}
