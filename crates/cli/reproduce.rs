//! `headway reproduce`

use std::{path::PathBuf, process::ExitCode};

use crate::error::Error;
use headway_study::{
    dir::StudyDir,
    reproduce::{REPRODUCTIONS, Reproduction},
};

use crate::{args::Reproduce, convergence, sizes, study};

/// Name of the profile for a laptop.
const QUICK: &str = "quick";

pub fn run(args: &Reproduce) -> Result<ExitCode, Error> {
    if args.id == convergence::ID {
        return convergence::run(args);
    }
    if args.id == sizes::ID {
        return sizes::run(args);
    }
    let mut changes = study::changes(&args.changes);
    if args.quick {
        changes.profile = Some(QUICK.to_owned());
    }
    let Some(reproduction) = Reproduction::find(&args.id) else {
        let known =
            REPRODUCTIONS.iter().map(|reproduction| reproduction.id).chain([convergence::ID, sizes::ID]).collect();
        return Err(Error::NoReproduction { id: args.id.clone(), known });
    };
    let study = reproduction.study(&changes)?;
    let profile = changes.profile.as_ref().map(|profile| format!("-{profile}")).unwrap_or_default();
    let numbered = || PathBuf::from("runs").join(format!("reproduce-{}{profile}", args.id));
    study::lead(&study, &StudyDir::at(args.out.clone().unwrap_or_else(numbered)), &args.jobs)
}
