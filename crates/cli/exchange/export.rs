//! `headway export`

use std::process::ExitCode;

use crate::error::Error;
use headway_exchange::{
    Arrays,
    names::{Elsewhere, gpt2, llama, transformer_bridge, transformer_lens},
    npz, pickle,
};
use headway_model::weights::arrays_to_bytes;
use headway_trainer::{beside, checkpoint::Checkpoint, finetune, json};

use super::args::{Export, FileFormat, Names};
use crate::output;

pub fn run(args: &Export) -> Result<ExitCode, Error> {
    let checkpoint = Checkpoint::find(&args.checkpoint)?;
    let wrong = |error: headway_exchange::Error| headway_trainer::Error::refused(&checkpoint.path, error);
    let arrays = finetune::plain_weights(&checkpoint)?;
    let elsewhere = || {
        let config = checkpoint.config()?;
        Elsewhere::of(arrays.clone(), &config.model, &config.dims).map_err(wrong)
    };
    let safetensors = |arrays: &Arrays| arrays_to_bytes(arrays).map_err(headway_trainer::Error::from);
    let mut said = Vec::new();
    let theirs = match (args.format, args.names) {
        (FileFormat::HuggingFace, Names::Headway) => {
            let ours = checkpoint.config()?;
            let (theirs, config) = if llama::is_alike(&ours.model) {
                llama::export(&arrays, &ours.model, &ours.dims).map_err(wrong)?
            } else {
                gpt2::export(&elsewhere()?).map_err(wrong)?
            };
            let files = [("config.json", json::file(&config)?), ("model.safetensors", safetensors(&theirs)?)];
            beside::write_new_folder(&args.out, &files)?;
            theirs
        }
        (FileFormat::HuggingFace, _) => {
            return Err(Error::NamesOfGpt2);
        }
        (format, names) => {
            let theirs = match names {
                Names::Headway => arrays.clone(),
                Names::TransformerLens | Names::TransformerBridge => {
                    let model = elsewhere()?;
                    let arguments = model.arguments_of_transformer_lens();
                    let (class, theirs) = if matches!(names, Names::TransformerLens) {
                        ("HookedTransformerConfig", transformer_lens::export(&model.arrays, model.n_heads()))
                    } else {
                        ("TransformerBridgeConfig", transformer_bridge::export(&model.arrays))
                    };
                    said.push(format!("cfg = {class}({arguments})"));
                    theirs.map_err(wrong)?
                }
            };
            let bytes = match format {
                FileFormat::Safetensors | FileFormat::HuggingFace => safetensors(&theirs)?,
                FileFormat::PytorchStateDict => pickle::write(&theirs).map_err(wrong)?,
                FileFormat::Npz => npz::write(&theirs).map_err(wrong)?,
            };
            beside::write_new(&args.out, &bytes)?;
            theirs
        }
    };
    output::line(format!("{}: {} tensors of {}", args.out.display(), theirs.len(), checkpoint.path.display()));
    said.into_iter().for_each(output::line);
    Ok(ExitCode::SUCCESS)
}
