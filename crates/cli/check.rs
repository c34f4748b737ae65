//! `headway check`

use std::process::ExitCode;

use headway_trainer::{Error, Loaded, device::Found};
use serde_json::json;

use crate::{args::Check, output, train};

pub fn run(args: &Check) -> Result<ExitCode, Error> {
    let loaded = train::load(&args.experiment)?;
    let (device, warning) = args.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    report(&loaded, &device, args.json);
    Ok(ExitCode::SUCCESS)
}

/// What a sound experiment would do and cost.
pub fn report(loaded: &Loaded, device: &Found, as_json: bool) {
    let experiment = &loaded.experiment;
    let budget = experiment.model.budget(&experiment.dims());
    let batch = experiment.train.batch_size;
    let (flops, bytes) = (budget.step_flops(batch), budget.step_activation_bytes(batch));
    if as_json {
        output::json(&json!({
            "ok": true,
            "experiment": experiment,
            "device": device.spec.to_string(),
            "parameters": budget.parameters,
            "step_flops": flops,
            "step_activation_bytes": bytes,
        }));
        return;
    }
    output::line(format!("{}: sound", loaded.path.display()));
    output::line(format!("  {} on {}", experiment.model.name(), experiment.task.name()));
    output::line(format!("  {} parameters", budget.parameters));
    output::line(format!(
        "  {:.3} GFLOP a step, about {:.1} MB of activations",
        flops as f64 / 1e9,
        bytes as f64 / 1e6
    ));
    output::line(format!("  {} steps on {} ({})", experiment.train.steps, device.spec, device.name));
}
