//! `headway compare`

use std::process::ExitCode;

use crate::error::Error;
use headway_study::Study;

use crate::{args::Compare, study};

pub fn run(args: &Compare) -> Result<ExitCode, Error> {
    let (study, dir, _) = study::open(&args.comparison, &args.changes, args.out.as_ref())?;
    if !matches!(study, Study::Comparison(_)) {
        let (is, way_out) = ("has no rows to compare", "`headway sweep` runs a sweep");
        return Err(headway_trainer::Error::other_file(&args.comparison, is, way_out).into());
    }
    study::lead(&study, &dir, &args.jobs)
}
