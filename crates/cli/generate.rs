//! `headway generate`

use std::{ops::ControlFlow, process::ExitCode};

use crate::error::Error;
use headway_tasks::Seed;
use headway_trainer::generate::{Generator, Sampling};
use serde_json::json;

use crate::{args::Generate, device, output};

pub fn run(args: &Generate) -> Result<ExitCode, Error> {
    let device = device::open(args.device)?;
    let generator = Generator::load(&args.checkpoint, &device)?;
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k.map(|count| count as usize), top_p: args.top_p };
    let (length, seed) = (args.length as usize, Seed(args.seed));
    if args.json {
        let mut text = String::new();
        generator.generate(&args.prompt, length, sampling, seed, &mut |piece| {
            text.push_str(piece);
            ControlFlow::Continue(())
        })?;
        output::json(&json!({ "prompt": args.prompt, "text": text, "length": length, "seed": args.seed }));
        return Ok(ExitCode::SUCCESS);
    }
    // A prompt that is refused is not printed first.
    let mut begun = false;
    generator.generate(&args.prompt, length, sampling, seed, &mut |piece| {
        let prompt = if begun { "" } else { &args.prompt };
        begun = true;
        output::piece(prompt)?;
        output::piece(piece)
    })?;
    let _ = output::piece("\n");
    Ok(ExitCode::SUCCESS)
}
