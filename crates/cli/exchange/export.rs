//! `headway export`

use std::process::ExitCode;

use headway_exchange::{names::transformer_lens, npz, pickle};
use headway_model::weights::arrays_to_bytes;
use headway_trainer::{Checkpoint, Error, finetune, import::refused};

use super::{
    args::{Export, FileFormat, Names},
    write_new,
};
use crate::output;

pub fn run(args: &Export) -> Result<ExitCode, Error> {
    let checkpoint = Checkpoint::find(&args.checkpoint)?;
    let wrong = |error: headway_exchange::Error| refused(&checkpoint.path, error);
    let arrays = finetune::plain_weights(&checkpoint)?;
    let arrays = match args.names {
        Names::Headway => arrays,
        Names::TransformerLens => {
            let n_heads = checkpoint.config()?.model.n_heads().unwrap_or(1);
            transformer_lens::export(&arrays, n_heads).map_err(wrong)?
        }
    };
    let bytes = match args.format {
        FileFormat::Safetensors => arrays_to_bytes(&arrays).map_err(|error| Error::Training(error.to_string()))?,
        FileFormat::PytorchStateDict => pickle::write(&arrays).map_err(wrong)?,
        FileFormat::Npz => npz::write(&arrays).map_err(wrong)?,
    };
    write_new(&args.out, &bytes)?;
    output::line(format!("{}: {} tensors of {}", args.out.display(), arrays.len(), checkpoint.path.display()));
    Ok(ExitCode::SUCCESS)
}
