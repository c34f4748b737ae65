//! `headway analyze`

pub mod args;

use std::process::ExitCode;

use crate::error::Error;
use headway_report::Page;
use headway_report::PageDir;
use headway_trainer::{device::OpenDevice, evaluate};

use crate::{device, output, tables};
use args::{
    Ablate, Action, Analyze, InContext, LogitLens, Output, PathScores, Paths, Patterns, Rank, Robust, Subject, Target,
};

pub fn run(args: &Analyze) -> Result<ExitCode, Error> {
    match &args.action {
        Action::Rank(args) => rank(args),
        Action::Paths(args) => paths(args),
        Action::PathScores(args) => path_scores(args),
        Action::Patterns(args) => patterns(args),
        Action::Ablate(args) => ablate(args),
        Action::LogitLens(args) => logit_lens(args),
        Action::InContext(args) => in_context(args),
        Action::Robust(args) => robust(args),
        Action::Embedding(target) => embedding(target),
    }
}

fn rank(args: &Rank) -> Result<ExitCode, Error> {
    let subject = subject(&args.subject)?;
    let parts = args.subject.parts(args.skip, args.ffn);
    let choices = if args.compare { headway_inspect::combinations(&subject, parts) } else { vec![parts] };
    let rank = headway_inspect::rank(&subject, &choices)?;
    let names: Vec<&str> = rank.curves.iter().map(|curve| curve.name.as_str()).collect();
    let heading = if args.compare { "log10 of the relative residual".to_owned() } else { names.join(", ") };
    show(&args.subject.target.output, &headway_report::rank::page(&rank), &[subject.about.sentence(), heading], &[])
}

fn paths(args: &Paths) -> Result<ExitCode, Error> {
    let subject = subject(&args.subject)?;
    let parts = args.subject.parts(args.skip, args.ffn);
    let paths = headway_inspect::paths(&subject, parts, args.top)?;
    let largest = headway_report::paths::largest(&paths);
    let heading = [subject.about.sentence(), paths.name.clone()];
    show(
        &args.subject.target.output,
        &headway_report::paths::page(&paths),
        &heading,
        &[tables::cells(&largest.header, &largest.rows)],
    )
}

fn path_scores(args: &PathScores) -> Result<ExitCode, Error> {
    let (opened, device) = open(&args.target)?;
    let look = || headway_inspect::path_scores(&opened, args.sequences.into(), &device);
    let scores = within(&opened, &device, look)?;
    let heading = [opened.provenance.sentence(), scores.name.clone()];
    show(&args.target.output, &headway_report::path_scores::page(&scores), &heading, &[])
}

fn patterns(args: &Patterns) -> Result<ExitCode, Error> {
    let (opened, device) = open(&args.target)?;
    let which = args.sequence.map_or(headway_inspect::Which::Mean(args.sequences.into()), headway_inspect::Which::One);
    let patterns = within(&opened, &device, || headway_inspect::patterns(&opened, which, &device))?;
    show(&args.target.output, &headway_report::attention::page(&patterns)?, &[opened.provenance.sentence()], &[])
}

fn ablate(args: &Ablate) -> Result<ExitCode, Error> {
    let (opened, device) = open(&args.target)?;
    let withs =
        args.with.map_or(headway_inspect::AblationKind::ALL.map(|(with, _)| with).to_vec(), |with| vec![with.with()]);
    let look = || headway_inspect::ablate(&opened, args.sequences.into(), &withs, &device);
    let ablation = within(&opened, &device, look)?;
    show(&args.target.output, &headway_report::ablation::page(&ablation), &[opened.provenance.sentence()], &[])
}

fn logit_lens(args: &LogitLens) -> Result<ExitCode, Error> {
    let (opened, device) = open(&args.target)?;
    let lens = within(&opened, &device, || headway_inspect::lens(&opened, args.sequences.into(), &device))?;
    show(&args.target.output, &headway_report::lens::page(&lens), &[opened.provenance.sentence()], &[])
}

fn in_context(args: &InContext) -> Result<ExitCode, Error> {
    let (opened, device) = open(&args.target)?;
    let look = || headway_inspect::in_context(&opened, args.sequences.into(), &device, output::number);
    let found = within(&opened, &device, look)?;
    show(&args.target.output, &headway_report::in_context::page(&found), &[opened.provenance.sentence()], &[])
}

fn robust(args: &Robust) -> Result<ExitCode, Error> {
    free(&args.output)?;
    let found = headway_inspect::robust(&args.request())?;
    show(&args.output, &headway_report::robust::page(&found), &[], &[])
}

/// Looks into a network on a device, which may have no room for what is looked at.
fn within<T>(
    opened: &headway_inspect::LoadedModel,
    device: &OpenDevice,
    look: impl FnOnce() -> Result<T, headway_inspect::Error>,
) -> Result<T, Error> {
    Ok(evaluate::within(&opened.experiment, device, look)?)
}

fn embedding(target: &Target) -> Result<ExitCode, Error> {
    let (opened, _) = open(target)?;
    let found = headway_inspect::embedding(&opened)?;
    show(&target.output, &headway_report::embedding::page(&found), &[opened.provenance.sentence()], &[])
}

/// Loads the network as plain matrices, after checking the page's folder.
fn subject(args: &Subject) -> Result<headway_inspect::Subject, Error> {
    Ok(headway_inspect::subject(&args.request(), &device(&args.target)?)?)
}

/// Loads the network, after checking the page's folder.
fn open(args: &Target) -> Result<(headway_inspect::LoadedModel, OpenDevice), Error> {
    let device = device(args)?;
    Ok((headway_inspect::open(&args.source, &args.overrides(), &device)?, device))
}

/// Opens the device, after checking the page's folder.
fn device(args: &Target) -> Result<OpenDevice, Error> {
    free(&args.output)?;
    device::open(args.device)
}

/// Checks the page's folder.
fn free(output: &Output) -> Result<(), Error> {
    Ok(output.out.as_ref().map_or(Ok(()), |folder| PageDir::at(folder).ensure_free())?)
}

/// Writes the page if one is requested, and prints its table between other texts, or all results as JSON.
fn show(args: &Output, page: &Page, before: &[String], after: &[String]) -> Result<ExitCode, Error> {
    if let Some(folder) = &args.out {
        page.write(&PageDir::at(folder))?;
    }
    if args.json {
        output::json(&page.json);
        return Ok(ExitCode::SUCCESS);
    }
    before.iter().for_each(output::line);
    output::line(tables::cells(&page.table.header, &page.table.rows));
    after.iter().chain(&page.findings).for_each(output::line);
    if let Some(folder) = &args.out {
        output::line(format!("report: {}", folder.join("report.html").display()));
    }
    Ok(ExitCode::SUCCESS)
}
