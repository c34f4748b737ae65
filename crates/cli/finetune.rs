//! `headway finetune`

use std::process::ExitCode;

use crate::error::Error;
use headway_trainer::finetune;

use crate::{args::Finetune, output, signals, train};

pub fn run(args: &Finetune) -> Result<ExitCode, Error> {
    let loaded = args.experiment.load()?;
    let place = train::place(&args.out, &args.experiment.experiment);
    let options = train::options(&args.run)?;
    let (experiment, from) = (&loaded.experiment, args.from.as_path());
    if args.out.dry_run {
        let prepared = finetune::prepare(experiment, from, args.allow_partial, &options.device)?;
        prepared.notes.iter().for_each(output::note);
        return train::dry_run(&loaded, &place, &options, args.run.json);
    }
    let finished = finetune::finetune(experiment, from, args.allow_partial, &place, &options)?;
    let summary = headway_report::run::conclude(finished)?;
    output::summary(&summary, args.run.json);
    Ok(signals::exit_code(summary.status))
}
