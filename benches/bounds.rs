//! A search for an error above a bound, over all constructions: `cargo bench --bench bounds [-- FIRST LAST [FILTER]]`, seeds 8 to 13
//! unless others are given.
//!
//! Every seed decides networks, sizes, functions and points. Where boxes reach, the bound is the proof's if that is lower. An evaluation is
//! adversarial if its point was made to be hard: kinks, seams and corners that the construction knows, every step of an ascent of the error, and either
//! side of breaks. Ends with an error if any error is above its bound.

use std::{collections::BTreeMap, env, process::ExitCode, time::Duration, time::Instant};

use burn::tensor::Device;
use headway_model::weights;
use headway_tasks::Seed;
use headway_theory::{Attack, Effort, attack, attacks};
use headway_trainer::memory;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

const EFFORT: Effort = Effort { random: 512, climbers: 256, climb: 40, flops: 30_000_000_000 };
/// Longest time for the proof of one construction.
const PROOF: Duration = Duration::from_secs(5);

/// Sums over seeds.
#[derive(Default)]
struct Row {
    networks: usize,
    random: usize,
    adversarial: usize,
    /// The largest error as a share of its bound, and where it was.
    share: f64,
    worst: String,
    above: usize,
}

fn main() -> ExitCode {
    memory::keep_freed_pages();
    // Cargo adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let seed = |at: usize, or: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(or);
    let (first, last) = (seed(0, 8), seed(1, 13));
    let device = Device::flex();
    let (began, mut rows) = (Instant::now(), BTreeMap::<&str, Row>::new());
    for seed in first..=last {
        let all = match attacks::constructions(seed) {
            Ok(all) => all,
            Err(refusal) => {
                eprintln!("seed {seed}: {refusal}");
                return ExitCode::FAILURE;
            }
        };
        let wanted = all.into_iter().filter(|one| words.get(2).is_none_or(|filter| one.name.contains(filter.as_str())));
        for construction in wanted {
            let model = construction.network.assemble(&device);
            let proof = construction.prove(&weights::arrays(&model), PROOF, |_| {});
            let construction = match &proof {
                Ok(proof) => construction.proved(proof),
                Err(_) => construction,
            };
            let Attack { random, adversarial, error, worst_kind } =
                attack(&construction, &model, &device, EFFORT, Seed(seed));
            let bound = construction.bound.value + construction.rounding.value;
            let row = rows.entry(construction.name).or_default();
            row.networks += 1;
            row.random += random;
            row.adversarial += adversarial;
            row.above += usize::from(error.is_nan() || error > bound);
            if error / bound >= row.share {
                (row.share, row.worst) = (error / bound, format!("{worst_kind}, seed {seed}"));
            }
        }
        eprintln!("seed {seed}: {:.0} s", began.elapsed().as_secs_f64());
    }
    println!(
        "{:<24} {:>8} {:>10} {:>12} {:>14}  worst at",
        "construction", "networks", "random", "adversarial", "error / bound"
    );
    let (mut adversarial, mut random, mut above) = (0, 0, 0);
    for (name, row) in &rows {
        println!(
            "{name:<24} {:>8} {:>10} {:>12} {:>14.4}  {}",
            row.networks, row.random, row.adversarial, row.share, row.worst
        );
        (random, adversarial, above) = (random + row.random, adversarial + row.adversarial, above + row.above);
    }
    println!(
        "seeds {first} to {last}: {adversarial} adversarial evaluations and {random} random ones; {above} above a bound"
    );
    if above == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
