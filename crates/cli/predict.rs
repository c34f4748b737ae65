//! `headway predict`

use std::{
    io::Read,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::error::Error;
use headway_trainer::predict::{LONGEST_TEXT, Predictor};
use serde_json::json;

use crate::{args::Predict, device, output};

/// Where a single example comes from.
const STANDARD_INPUT: &str = "standard input";

pub fn run(args: &Predict) -> Result<ExitCode, Error> {
    let device = device::open(args.device)?;
    let predictor = Predictor::load(&args.checkpoint, args.batch_size.map(|size| size as usize), &device)?;
    let (Some(inputs), Some(out)) = (&args.inputs, &args.out) else {
        let mut text = Vec::new();
        let read = std::io::stdin().take(LONGEST_TEXT + 1).read_to_end(&mut text);
        read.map_err(headway_trainer::Error::io("cannot read", STANDARD_INPUT))?;
        output::json(&predictor.json(&text, STANDARD_INPUT)?);
        return Ok(ExitCode::SUCCESS);
    };
    let examples = predictor.file(inputs, out, &mut progress())?;
    if args.json {
        output::json(&json!({ "examples": examples, "out": out.to_string_lossy() }));
    } else {
        let answers = if examples == 1 { "the answer" } else { "answers" };
        output::line(format!("{}: {answers} to {}", out.display(), headway_inspect::counted(examples, "example")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports progress: on a terminal on one line that is renewed, elsewhere on a new line from time to time.
fn progress() -> impl FnMut(usize, Option<usize>) {
    let renews = output::renews();
    let between = if renews { Duration::from_millis(200) } else { Duration::from_secs(10) };
    let mut said = Instant::now();
    move |done, total| {
        if said.elapsed() >= between {
            said = Instant::now();
            let of = total.map_or_else(String::new, |total| format!("/{total}"));
            output::progress_line(&format!("example {done}{of}"), renews);
        }
    }
}
