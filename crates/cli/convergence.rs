//! `headway reproduce theory`: the error of every construction against its size.

use std::{path::PathBuf, process::ExitCode};

use crate::error::Error;
use headway_draw::number;
use headway_report::PageDir;
use headway_theory::convergence::RATES;
use headway_trainer::{device::DeviceSpec, quote};

use crate::{args::Reproduce, device, output, tables};

/// Its name beside the paper's experiments.
pub const ID: &str = "theory";
/// One-line summary.
pub const SUMMARY: &str =
    "constructed weights: error against the number of anchors, heads, positions and cells, beside bounds";

/// Refuses options of training, and more devices than one.
pub fn ensure_unchanged(args: &Reproduce) -> Result<DeviceSpec, Error> {
    let changed = args.quick
        || args.changes.profile.is_some()
        || !args.changes.set.is_empty()
        || !args.changes.seeds.is_empty()
        || args.jobs.jobs.is_some()
        || args.jobs.retry;
    match args.jobs.device[..] {
        [device] if !changed => Ok(device),
        _ => Err(Error::TrainsNothing),
    }
}

pub fn run(args: &Reproduce) -> Result<ExitCode, Error> {
    let device = ensure_unchanged(args)?;
    let dir = PageDir::at(args.out.clone().unwrap_or_else(|| PathBuf::from("runs/reproduce-theory")));
    dir.ensure_free()?;
    let device = device::open(device)?;
    let mut all = Vec::new();
    for rate in RATES {
        let measured = rate.measure(&device.device, &device.name)?;
        let errors = measured.points.iter().map(|point| number(point.certificate.float32.error));
        output::note(format!("{}: errors {}", rate.id, errors.collect::<Vec<_>>().join(", ")));
        all.push(measured);
    }
    let command = format!("headway reproduce {ID} --out {}", quote::shell_path(dir.root()));
    let page = headway_report::convergence::page(&all, &command);
    page.write(&dir)?;
    if args.jobs.json {
        output::json(&page.json);
    } else {
        output::line(tables::cells(&page.table.header, &page.table.rows));
        output::line(format!("report: {}", dir.report().display()));
    }
    Ok(if page.verdict == Some(false) { ExitCode::from(7) } else { ExitCode::SUCCESS })
}
