//! `headway eval`

use std::process::ExitCode;

use crate::error::Error;
use headway_report::{PageDir, verdict};
use headway_trainer::{
    device::OpenDevice,
    evaluate,
    lengths::{self, AtLength},
    provenance::{Row, Status},
};

use crate::{args::Eval, device, output, tables};

pub fn run(args: &Eval) -> Result<ExitCode, Error> {
    let device = device::open(args.device)?;
    if let Some(folder) = &args.shifts {
        let place = PageDir::at(folder);
        place.ensure_free()?;
        let shifted = evaluate::shifts(&args.checkpoint, &args.overrides(), &device)?;
        let is_finite = shifted.iter().all(|shift| shift.rows.first().is_some_and(Row::is_scored));
        let page = headway_report::shifts::page(&args.checkpoint, shifted);
        page.write(&place)?;
        if args.json {
            output::json(&page.json);
        } else {
            output::line(tables::cells(&page.table.header, &page.table.rows));
            page.findings.iter().for_each(output::line);
            output::line(format!("report: {}", folder.join("report.html").display()));
        }
        return ended(is_finite, args);
    }
    if !args.lengths.is_empty() {
        return at_lengths(args, &device);
    }
    let summary = evaluate::evaluate(&args.checkpoint, &args.overrides(), &device)?;
    if let Some(folder) = &args.save_outputs {
        evaluate::save_outputs(&args.checkpoint, &args.overrides(), &device, folder)?;
    }
    if args.json {
        output::json(&summary);
    } else {
        output::line(tables::results(&summary.rows()));
        tables::slices(&summary.rows()).iter().for_each(output::line);
        verdict::of_rows(&summary.rows()).iter().for_each(output::line);
        summary.remarks.iter().for_each(output::line);
        output::line(format!("step {}, evaluated in {:.1} s", summary.step, summary.seconds));
    }
    ended(summary.status == Status::Complete, args)
}

/// Scores at every length, with a page if one is wanted.
fn at_lengths(args: &Eval, device: &OpenDevice) -> Result<ExitCode, Error> {
    let place = args.out.as_ref().map(PageDir::at);
    place.as_ref().map_or(Ok(()), PageDir::ensure_free)?;
    let done = |at: &AtLength| {
        let of = format!("{} = {} (x{})", at.key, at.length, at.times);
        output::progress_line(&format!("{of}: scored in {}", output::duration(at.seconds)), false);
    };
    let all = lengths::of_checkpoint(&args.checkpoint, &args.overrides(), &args.lengths, device, done)?;
    let is_finite = all.iter().all(|at| at.rows.first().is_some_and(Row::is_scored));
    let page = headway_report::lengths::page(&args.checkpoint, all);
    if let Some(place) = &place {
        page.write(place)?;
    }
    if args.json {
        output::json(&page.json);
    } else {
        output::line(tables::cells(&page.table.header, &page.table.rows));
        page.findings.iter().for_each(output::line);
        if let Some(place) = &place {
            output::line(format!("report: {}", place.report().display()));
        }
    }
    ended(is_finite, args)
}

/// Success if the network's scores are finite. The scores of the classical predictors are printed in any case.
fn ended(is_finite: bool, args: &Eval) -> Result<ExitCode, Error> {
    if is_finite {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(evaluate::not_finite(&args.checkpoint, &args.overrides()).into())
    }
}
