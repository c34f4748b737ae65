//! `headway reproduce sizes`: what every construction takes for a tolerance, beside other networks with the same bound.

use std::{path::PathBuf, process::ExitCode};

use headway_report::{PageDir, sizes::Row};
use headway_theory::sizes::{SUBJECTS, TOLERANCES};
use headway_trainer::{device::DeviceSpec, quote};

use crate::{args::Reproduce, convergence, error::Error, output, tables};

/// Its name beside the paper's experiments.
pub const ID: &str = "sizes";
/// One-line summary.
pub const SUMMARY: &str = "constructed weights: length, width, heads, layers and parameters for tolerances 0.1 to 1e-4, beside ReLU networks and FFN transformers";

pub fn run(args: &Reproduce) -> Result<ExitCode, Error> {
    if !matches!(convergence::ensure_unchanged(args)?, DeviceSpec::Auto | DeviceSpec::Cpu) {
        let problem = "sizes are counted, and no device computes anything; leave it out";
        return Err(headway_trainer::Error::argument("--device", problem).into());
    }
    let dir = PageDir::at(args.out.clone().unwrap_or_else(|| PathBuf::from("runs/reproduce-sizes")));
    dir.ensure_free()?;
    let mut rows = Vec::new();
    for subject in SUBJECTS {
        for tolerance in TOLERANCES {
            rows.push(Row { subject, tolerance, outcome: subject.at(tolerance) });
        }
        output::note(format!("{}: {}", subject.id, subject.target));
    }
    let command = format!("headway reproduce {ID} --out {}", quote::shell_path(dir.root()));
    let page = headway_report::sizes::page(&rows, &command);
    page.write(&dir)?;
    if args.jobs.json {
        output::json(&page.json);
    } else {
        output::line(tables::cells(&page.table.header, &page.table.rows));
        output::line(format!("report: {}", dir.report().display()));
    }
    Ok(ExitCode::SUCCESS)
}
