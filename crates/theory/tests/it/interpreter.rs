//! One network that executes the algorithm in its prompt.

use headway_tasks::{
    Seed, Stream, TaskConfig,
    icl::algorithm::{Algorithm, Algorithms, AlgorithmsConfig, Programs},
};
use headway_theory::{
    Refusal,
    construct::{
        Construction, Request,
        interpreter::{Config, Interpreter},
        options::Options,
    },
};

use crate::stages::{certificate, holds, knew_its_size};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

/// So small that certificates take seconds.
fn small() -> Config {
    Config { points: 4, d: 2, steps: 2, rate: 0.5, intervals: Some(32), ..Config::default() }
}

/// The construction, and what its prompts are.
fn built(config: &Config) -> (Construction, AlgorithmsConfig) {
    match config.plan(None, SIZE.max_parameters).unwrap().build(SIZE).unwrap() {
        (construction, TaskConfig::InContextAlgorithm(task)) => (construction, task),
        (_, other) => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn every_algorithm_holds_at_hard_prompts() {
    let config = small();
    let (construction, _) = built(&config);
    let most = construction.bound.value + construction.rounding.value;
    knew_its_size(&construction, most, |request| Interpreter::build(&config, request));
    let certificate = holds(&construction, most);
    for algorithm in Algorithm::ALL {
        let points = certificate.float32.points.get(algorithm.name());
        assert!(points.is_some_and(|points| *points > 20), "{}: {:?}", algorithm.name(), certificate.float32.points);
    }
    // The bound is not vacuous.
    let share = certificate.float64.error / construction.bound.value;
    assert!(share > 1.0 / 50.0 && construction.bound.value < 0.05, "{share} of {:?}", construction.bound);
    assert!(certificate.domain.starts_with("one of 6 boxes"), "{}", certificate.domain);
}

/// Other weights would be cheating: the network is the same to the last bit whatever algorithms it is certified for, as long as scales are given.
#[test]
fn no_weight_depends_on_the_algorithm() {
    let config = |algorithms: &[Algorithm], rate: f64| Config {
        algorithms: algorithms.to_vec(),
        rate,
        delta: Some(0.2),
        // The same reach of predictions, by which reading is scaled.
        steps: 2,
        ..small()
    };
    let layers = |config: &Config| built(config).0.network.layers;
    let [one, other] = [&[Algorithm::Gd], &[Algorithm::Lasso]].map(|algorithm| layers(&config(algorithm, 0.5)));
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.map, other.map);
        assert_eq!(one.heads, other.heads);
    }
    // What differs is the prompt.
    let tables = |algorithm| {
        let (_, task) = built(&config(&[algorithm], 0.5));
        let programs = Programs::of(&task);
        programs.prompt(algorithm, &vec![0.0; (task.n_points + 1) * (task.d + 1)])
    };
    assert_ne!(tables(Algorithm::Gd), tables(Algorithm::Lasso));
}

/// The answers of the algorithms are far apart, and each network answer is near that of its own.
#[test]
fn the_prompt_picks_the_algorithm() {
    let (construction, task) = built(&Config { steps: 4, ..small() });
    let programs = Programs::of(&task);
    let rows = Algorithms::problem(&task, &mut Seed(3).rng(Stream::Test, 0));
    let answers = Algorithm::ALL.map(|algorithm| {
        let prompt = programs.prompt(algorithm, &rows);
        let [found, exact] = [construction.network.forward(&prompt).pop().unwrap(), programs.answer(&prompt)];
        assert!((found - exact).abs() <= construction.bound.value, "{}: {found} for {exact}", algorithm.name());
        exact
    });
    let apart = answers.iter().flat_map(|a| answers.iter().map(move |b| (a - b).abs())).fold(0.0, f64::max);
    assert!(apart > 10.0 * construction.bound.value, "{answers:?}, {:?}", construction.bound);
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_part_is_found() {
    let good = Config { steps: 1, ..small() };
    let made = || built(&good).0;
    let mut cases = Vec::new();
    // Layers of a step: read, slope, mean, step; then the last.
    let mut wrong = made();
    wrong.network.layers[4].heads[0].output *= 1.05;
    cases.push(("reading", wrong));
    let mut wrong = made();
    wrong.network.layers[1].heads[1].output *= 0.95;
    cases.push(("lookup of slopes", wrong));
    let mut wrong = made();
    wrong.network.layers[2].heads[2].output *= 1.01;
    cases.push(("mean", wrong));
    let mut wrong = made();
    let column = wrong.network.layers[1].space.at("silent");
    wrong.network.layers[1].map.constant.column_mut(column).fill(0.0);
    cases.push(("silence of other rows", wrong));
    let mut wrong = made();
    wrong.network.layers[3].heads[2].output *= -1.0;
    cases.push(("step", wrong));
    let mut wrong = made();
    wrong.network.layers[0].heads[0].query.weight *= 0.01;
    cases.push(("carrying head", wrong));
    for (name, construction) in cases {
        let (certificate, most) = (certificate(&construction, 1.0), construction.bound.value);
        assert!(certificate.float64.error > most, "a wrong {name} passes: {} of {most}", certificate.float64.error);
    }
}

#[test]
fn what_is_refused() {
    let good = small();
    for (config, words) in [
        (Config { points: 0, ..good.clone() }, "points: must be from 1 to 1024, not 0"),
        (Config { rate: 1.1, ..good.clone() }, "rate: must be at most 2 / (d x_max^2 + ridge)"),
        (Config { lasso: 0.0, ..good.clone() }, "lasso: must be a positive number, not 0"),
        (Config { y_max: 1.5, ..good.clone() }, "y-max: must be at most 1 with the logistic loss, not 1.5"),
        (Config { intervals: Some(33), ..good.clone() }, "intervals: 33 must be even"),
        (Config { intervals: Some(18), ..good.clone() }, "intervals: "),
        (Config { delta: Some(-1.0), ..good.clone() }, "delta: must be a positive number, not -1"),
        (Config { algorithms: Vec::new(), ..good.clone() }, "algorithms: names none"),
        (Config { points: 800, intervals: Some(128), ..good.clone() }, "points: 800 take 1059 rows"),
    ] {
        let refusal = Interpreter::build(&config, SIZE).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    // Labels beyond 1 are no matter without the logistic loss.
    let squares = Config { y_max: 1.5, algorithms: vec![Algorithm::Gd, Algorithm::Huber], ..good.clone() };
    assert!(Interpreter::build(&squares, SIZE).is_ok());
    // What cannot be reached is refused with what can.
    let all_sizes = Config { intervals: None, ..good };
    match Interpreter::build(&all_sizes, Request { tolerance: 1e-9, ..SIZE }) {
        Err(Refusal::Unreachable { reachable, .. }) => assert!(reachable < 0.02, "{reachable}"),
        other => panic!("{other:?}"),
    }
}
