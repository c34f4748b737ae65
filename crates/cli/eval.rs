//! `headway eval`

use std::process::ExitCode;

use headway_trainer::{Error, evaluate};

use crate::{args::Eval, output};

pub fn run(args: &Eval) -> Result<ExitCode, Error> {
    let (device, warning) = args.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    let summary = evaluate::evaluate(&args.checkpoint, &args.set, &device)?;
    if let Some(folder) = &args.save_outputs {
        evaluate::save_outputs(&args.checkpoint, &args.set, &device, folder)?;
    }
    if args.json {
        output::json(&summary);
    } else {
        output::line(output::results(&summary.metrics, &summary.baselines));
        output::line(format!("step {}, evaluated in {:.1} s", summary.step, summary.seconds));
    }
    Ok(ExitCode::SUCCESS)
}
