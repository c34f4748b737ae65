//! `headway card`

use std::process::ExitCode;

use crate::error::Error;
use headway_report::card;
use headway_trainer::beside;

use super::args::Card;
use crate::{device, output};

pub fn run(args: &Card) -> Result<ExitCode, Error> {
    let device = device::open(args.device)?;
    let text = card::card(&args.checkpoints, &device)?;
    match &args.out {
        Some(path) => {
            beside::write_new(path, text.as_bytes())?;
            output::line(format!("card: {}", path.display()));
        }
        None => output::line(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
