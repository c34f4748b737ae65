//! `headway merge`

use std::process::ExitCode;

use crate::error::Error;
use headway_trainer::{finetune, run_dir::NewRun};

use crate::{args::Merge, output};

pub fn run(args: &Merge) -> Result<ExitCode, Error> {
    let place = NewRun::At(args.out.clone());
    let merged = finetune::merge(&args.adapter, args.base.as_deref(), &place)?;
    if let Some(note) = &merged.note {
        output::note(note);
    }
    output::line(format!("merged: {}", merged.checkpoint.path.display()));
    let lineage = &merged.lineage;
    output::line(format!("  weights: {} (sha256 {})", lineage.from, lineage.weights_sha256));
    if let Some(folded) = &lineage.folded {
        output::line(format!("  adapter: {} (sha256 {})", folded.from, folded.sha256));
    }
    Ok(ExitCode::SUCCESS)
}
