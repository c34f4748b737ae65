//! `headway devices`

use std::process::ExitCode;

use headway_trainer::device;
use serde_json::json;

use crate::{args::Devices, output};

pub fn run(args: &Devices) -> ExitCode {
    let found = device::available();
    if args.json {
        let entries = found
            .iter()
            .map(|found| json!({ "device": found.spec.to_string(), "name": found.name, "software": found.software }));
        output::json(&entries.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    for found in &found {
        let remark = if found.software { "  (software adapter)" } else { "" };
        output::line(format!("{:<8} {}{remark}", found.spec.to_string(), found.name));
    }
    for feature in device::features_left_out() {
        output::line(format!("{feature:<8} not in this build; add it with `--features {feature}`"));
    }
    ExitCode::SUCCESS
}
