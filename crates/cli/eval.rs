//! `headway eval`

use std::process::ExitCode;

use headway_trainer::{Error, evaluate, report, study::StudyDir};

use crate::{args::Eval, output};

pub fn run(args: &Eval) -> Result<ExitCode, Error> {
    let (device, warning) = args.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    if let Some(folder) = &args.shifts {
        let place = StudyDir::at(folder);
        place.ensure_page()?;
        let shifted = evaluate::shifts(&args.checkpoint, &args.set, &device)?;
        let page = report::shifts::page(&args.checkpoint, shifted);
        page.write(&place)?;
        if args.json {
            output::json(&page.json);
        } else {
            output::line(output::cells(&page.table.header, &page.table.rows));
            output::line(format!("report: {}", folder.join("report.html").display()));
        }
        return Ok(ExitCode::SUCCESS);
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
