//! What reading and batching cost beside training, for the tasks that read files: `cargo bench --bench batches [-- FILTER]`.
//!
//! Each row is an experiment of `experiments/`. Reading takes the time until the first batch can be made. Batches and whole
//! training steps take turns, and each time is the smallest of its turns, so that their ratio means something on a machine with
//! other work.

use std::{env, hint, path::Path, process::ExitCode, time::Instant};

use headway_trainer::{Error, bench, build, device::DeviceSpec, experiment, memory};

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

const EXPERIMENTS: [&str; 5] = ["language", "forecast", "proteins", "image", "activity"];
const TURNS: usize = 5;
/// Batches of a turn.
const BATCHES: u64 = 20;

fn row(name: &str) -> Result<(), Error> {
    let (device, _) = DeviceSpec::Cpu.open()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name).with_extension("toml");
    let began = Instant::now();
    let experiment = experiment::load(&path, &[])?.experiment;
    let source = build::build_source(&experiment)?;
    let reading = began.elapsed().as_secs_f64();
    let (mut batch, mut step) = (f64::INFINITY, f64::INFINITY);
    for turn in 0..TURNS as u64 {
        let began = Instant::now();
        for number in turn * BATCHES..(turn + 1) * BATCHES {
            hint::black_box(source.train_batch(number));
        }
        batch = batch.min(began.elapsed().as_secs_f64() / BATCHES as f64);
        step = step.min(bench::steps_of(&experiment, &device, 1)?.best());
    }
    let share = 100.0 * batch / (batch + step);
    println!("{name:<10} {reading:>10.2} {:>12.3} {:>12.2} {share:>8.2}", batch * 1e3, step * 1e3);
    Ok(())
}

fn main() -> ExitCode {
    memory::keep_freed_pages();
    // Cargo adds `--bench`.
    let filters: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{:<10} {:>10} {:>12} {:>12} {:>8}", "experiment", "reading, s", "a batch, ms", "a step, ms", "share, %");
    let is_wanted = |name: &&&str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    for name in EXPERIMENTS.iter().filter(is_wanted) {
        if let Err(error) = row(name) {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
