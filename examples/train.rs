//! Training in twenty lines: an experiment becomes a run, whose scores stand beside those of classical predictors.
//!
//! ```text
//! cargo run --release --example train
//! ```

use std::path::Path;

use headway_trainer::{
    Error, device::DeviceSpec, experiment::from_text, provenance::Summary, run_dir::NewRun, session::Options,
    train::train,
};

const EXPERIMENT: &str = "
[task.icl_linear]
d = 2
n_points = 5

[model.transformer]
d_model = 16
n_layers = 2
n_heads = 2

[train]
steps = 500
batch_size = 32
";

fn main() -> Result<(), Error> {
    let summary = run(&NewRun::Numbered { parent: "runs".into(), name: "example".into() }, &[])?;
    println!("{}: network {:.4}", summary.run_dir.display(), summary.metrics["test/mse"]);
    for baseline in summary.baselines {
        println!("  {:<20} {:.4}", baseline.name, baseline.metrics["test/mse"]);
    }
    Ok(())
}

/// Trains in a new folder, with some values changed as by `-s key=value` on the command line.
pub fn run(folder: &NewRun, changes: &[String]) -> Result<Summary, Error> {
    let experiment = from_text(Path::new("example.toml"), EXPERIMENT.to_owned(), changes)?.experiment;
    let (device, _) = DeviceSpec::Auto.open()?;
    train(&experiment, folder, &Options::new(device))?.conclude()
}
