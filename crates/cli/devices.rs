//! `headway devices`

use std::process::ExitCode;

use headway_trainer::device::{self, Available};
use serde_json::json;

use crate::{args::Devices, output};

pub fn run(args: &Devices) -> ExitCode {
    let Available { devices, missing } = device::available();
    if args.json {
        let entries = devices.iter().map(|found| {
            json!({
                "device": found.spec.to_string(),
                "name": found.name,
                "software": found.software,
                "compiler": found.compiler,
                "tuned": found.is_tuned(),
                "cache": found.cache,
                "precisions": found.precisions(),
            })
        });
        output::json(&entries.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    for found in &devices {
        let remark = if found.software { "  (software adapter)" } else { "" };
        output::line(format!("{:<8} {}{remark}", found.spec.to_string(), found.name));
        if let Some(compiler) = found.compiler {
            let kernels = if found.is_tuned() { "the fastest of several kernels" } else { "fixed kernels" };
            let kept = found.cache.as_ref().map(|file| format!(", kept in {}", file.display())).unwrap_or_default();
            output::line(format!("{:<8} {compiler}, {kernels}{kept}", ""));
        }
        output::line(format!("{:<8} products in {}", "", found.precisions().join(", ")));
    }
    for (kind, reason) in missing {
        output::line(format!("{kind:<8} {reason}"));
    }
    ExitCode::SUCCESS
}
