//! `headway compare`

use std::process::ExitCode;

use headway_study::Study;
use headway_trainer::Error;

use crate::{args::Compare, study};

pub fn run(args: &Compare) -> Result<ExitCode, Error> {
    let (study, dir, _) = study::open(&args.comparison, &args.changes, args.out.as_ref())?;
    if !matches!(study, Study::Comparison(_)) {
        let path = args.comparison.display();
        return Err(Error::Usage(format!("{path} has no rows to compare; `headway sweep` runs a sweep")));
    }
    study::lead(&study, &dir, &args.jobs)
}
