//! Reads a run: what it scored, its curve, and what each head of its network attends to.
//!
//! ```text
//! headway train experiments/quickstart.toml
//! cargo run --release --example read -- runs/quickstart-1
//! ```

use std::{env, path::PathBuf};

use headway_inspect::{Error, Which, open, patterns};
use headway_trainer::{
    device::DeviceSpec,
    log,
    run_dir::{RunDir, read_record},
};

fn main() -> Result<(), Error> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "runs/quickstart-1".to_owned()));
    let record = read_record(&folder)?;
    println!("{}: {} parameters, {} steps on {}", record.run_id, record.parameters, record.step, record.device);
    for row in &record.results {
        println!("  {:<28} {:?}", row.name, row.metrics.get("test/loss"));
    }

    for line in log::read(&RunDir::metrics_of(&folder))? {
        if let Some(loss) = line.values.get("validation/loss") {
            println!("step {:>6}: validation loss {loss:.5}", line.step);
        }
    }

    let (device, _) = DeviceSpec::Auto.open()?;
    let found = patterns(&open(&folder, &[], &device)?, Which::Mean(16), &device)?;
    for (index, layer) in found.layers.iter().enumerate() {
        for (head, pattern) in layer.heads.iter().enumerate() {
            // The mean pattern, [q_len, k_len], row by row.
            let first_row = &pattern.mean[..layer.k_len];
            let most = first_row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            println!(
                "layer {index}, head {head}: the first query attends most to key {most:?}; {:?}",
                pattern.scores.scores
            );
        }
    }
    Ok(())
}
