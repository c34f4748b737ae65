//! `headway reproduce`

use std::{path::PathBuf, process::ExitCode};

use headway_trainer::{
    Error,
    reproduce::Reproduction,
    study::{Study, StudyDir},
};

use crate::{args::Reproduce, study, sweep};

/// The profile for a laptop.
const QUICK: &str = "quick";

pub fn run(args: &Reproduce) -> Result<ExitCode, Error> {
    let mut changes = sweep::changes(&args.changes);
    if args.quick {
        changes.profile = Some(QUICK.to_owned());
    }
    let reproduction = Reproduction::find(&args.id)?;
    let study = Study::Sweep(Box::new(reproduction.sweep(&changes)?));
    let profile = changes.profile.as_ref().map(|profile| format!("-{profile}")).unwrap_or_default();
    let numbered = || PathBuf::from("runs").join(format!("reproduce-{}{profile}", args.id));
    study::lead(&study, &StudyDir::at(args.out.clone().unwrap_or_else(numbered)), &args.jobs)
}
