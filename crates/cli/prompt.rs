//! `headway prompt`

use std::process::ExitCode;

use headway_draw::number;
use headway_exchange::npz;
use headway_tasks::{
    Seed, Stream, TaskConfig, TaskSpec,
    icl::algorithm::{Algorithm, Algorithms, AlgorithmsConfig, Programs},
};
use headway_trainer::{beside, predict::Predictor};
use serde_json::json;

use crate::{args::Prompt, device, error::Error, output, tables};

/// A prompt, and what comes of it.
struct Executed {
    algorithm: Algorithm,
    problem: usize,
    network: f64,
    exact: f64,
}

pub fn run(args: &Prompt) -> Result<ExitCode, Error> {
    let device = device::open(args.device)?;
    let predictor = Predictor::load(&args.checkpoint, Some(8), &device)?;
    let TaskConfig::InContextAlgorithm(config) = predictor.task() else {
        let path = args.checkpoint.display().to_string();
        let problem = "its network is for another task than in_context_algorithm; `headway construct interpreter` makes one that is";
        return Err(headway_trainer::Error::argument(path, problem).into());
    };
    let algorithms = chosen(config, &args.algorithm)?;
    let programs = Programs::of(config);
    let problems: Vec<Vec<f64>> = (0..u64::from(args.problems))
        .map(|index| Algorithms::problem(config, &mut Seed(args.seed).rng(Stream::Test, index)))
        .collect();
    let mut prompts = Vec::new();
    let mut executed = Vec::new();
    for (problem, rows) in problems.iter().enumerate() {
        for algorithm in &algorithms {
            let prompt: Vec<f32> = programs.prompt(*algorithm, rows).into_iter().map(|number| number as f32).collect();
            let exact = programs.answer(&prompt.iter().copied().map(f64::from).collect::<Vec<_>>());
            executed.push(Executed { algorithm: *algorithm, problem: problem + 1, network: 0.0, exact });
            prompts.push(prompt);
        }
    }
    let seq_len = config.dims().seq_len;
    let answers = predictor.numbers(&prompts)?;
    for (one, answers) in executed.iter_mut().zip(answers.chunks_exact(seq_len)) {
        // The query is the last row.
        one.network = f64::from(answers[seq_len - 1]);
    }
    if let Some(out) = &args.out {
        let mut bytes = npz::header(&[prompts.len(), seq_len, config.width()])
            .map_err(|error| headway_trainer::Error::argument(format!("--out {}", out.display()), error.to_string()))?;
        bytes.extend(npz::bytes_of(&prompts.concat()));
        beside::write_new(out, &bytes)?;
    }
    show(args, config, &executed);
    Ok(ExitCode::SUCCESS)
}

/// The algorithms that are asked for, or all.
fn chosen(config: &AlgorithmsConfig, asked: &[Algorithm]) -> Result<Vec<Algorithm>, Error> {
    let known = &config.algorithms;
    match asked.iter().find(|algorithm| !known.contains(algorithm)) {
        Some(stranger) => {
            let known: Vec<&str> = known.iter().map(|algorithm| algorithm.name()).collect();
            let problem =
                format!("the network was made for {}; construct one for it with --algorithms", known.join(", "));
            Err(headway_trainer::Error::argument(format!("--algorithm {}", stranger.name()), problem).into())
        }
        None if asked.is_empty() => Ok(known.clone()),
        None => Ok(asked.to_vec()),
    }
}

fn show(args: &Prompt, config: &AlgorithmsConfig, executed: &[Executed]) {
    let off = |one: &Executed| (one.network - one.exact).abs();
    let worst = executed.iter().map(off).fold(0.0, f64::max);
    let out = args.out.as_ref().map(|out| out.to_string_lossy().into_owned());
    if args.json {
        let rows = executed.iter().map(|one| {
            let Executed { algorithm, problem, network, exact } = one;
            json!({ "problem": problem, "algorithm": algorithm.name(), "network": network, "exact": exact })
        });
        output::json(
            &json!({ "steps": config.steps, "prompts": rows.collect::<Vec<_>>(), "largest_difference": worst, "out": out }),
        );
        return;
    }
    let rows = executed.iter().map(|one| {
        let numbers = [format!("{:.6}", one.network), format!("{:.6}", one.exact), number(off(one))];
        [one.problem.to_string(), one.algorithm.name().to_owned()].into_iter().chain(numbers).collect()
    });
    output::line(tables::table(&["problem", "algorithm", "network", "exact", "difference"], rows));
    output::line(format!(
        "{} steps of each, all by the same weights; largest difference {}",
        config.steps,
        number(worst)
    ));
    if let Some(out) = out {
        output::line(format!("prompts: {out}"));
    }
}
