//! `headway analyze`

pub mod args;

use std::process::ExitCode;

use headway_trainer::{
    Error, analyze,
    report::{self, Page},
    study::StudyDir,
};

use crate::output;
use args::{Action, Analyze, Paths, Rank, Subject};

pub fn run(args: &Analyze) -> Result<ExitCode, Error> {
    match &args.action {
        Action::Rank(args) => rank(args),
        Action::Paths(args) => paths(args),
    }
}

fn rank(args: &Rank) -> Result<ExitCode, Error> {
    let subject = open(&args.subject)?;
    let parts = args.subject.parts(args.skip, args.ffn);
    let choices = if args.compare { analyze::combinations(&subject, parts.norm) } else { vec![parts] };
    let rank = analyze::rank(&subject, &choices)?;
    let names: Vec<&str> = rank.curves.iter().map(|curve| curve.name.as_str()).collect();
    let heading = if args.compare { "log10 of the relative residual".to_owned() } else { names.join(", ") };
    show(&args.subject, &report::rank::page(&rank), &[subject.about.sentence(), heading], &[])
}

fn paths(args: &Paths) -> Result<ExitCode, Error> {
    let subject = open(&args.subject)?;
    let parts = args.subject.parts(args.skip, args.ffn);
    let paths = analyze::paths(&subject, parts, args.top)?;
    let largest = report::paths::largest(&paths);
    let heading = [subject.about.sentence(), paths.name.clone()];
    show(&args.subject, &report::paths::page(&paths), &heading, &[output::cells(&largest.header, &largest.rows)])
}

/// The network, once the page has a place.
fn open(args: &Subject) -> Result<analyze::Subject, Error> {
    if let Some(folder) = &args.out {
        StudyDir::at(folder).ensure_page()?;
    }
    let (device, warning) = args.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    analyze::subject(&args.ask(), &device)
}

/// Writes the page where one is wanted, and prints its table between other texts, or all of it as JSON.
fn show(args: &Subject, page: &Page, before: &[String], after: &[String]) -> Result<ExitCode, Error> {
    if let Some(folder) = &args.out {
        page.write(&StudyDir::at(folder))?;
    }
    if args.json {
        output::json(&page.json);
        return Ok(ExitCode::SUCCESS);
    }
    before.iter().for_each(output::line);
    output::line(output::cells(&page.table.header, &page.table.rows));
    after.iter().chain(&page.findings).for_each(output::line);
    if let Some(folder) = &args.out {
        output::line(format!("report: {}", folder.join("report.html").display()));
    }
    Ok(ExitCode::SUCCESS)
}
