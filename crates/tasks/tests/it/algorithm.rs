//! Prompts that hold an algorithm: what is written is what is read, and tables are the functions that they stand for.

#![allow(clippy::float_cmp, reason = "answers are those of one computation, or of others")]

use headway_tasks::{
    Inputs, Seed, Split, Stream, Targets, Task, TaskSpec,
    icl::algorithm::{Algorithm, Algorithms, AlgorithmsConfig, Programs},
};

fn problem(config: &AlgorithmsConfig, index: u64) -> Vec<f64> {
    Algorithms::problem(config, &mut Seed(5).rng(Stream::Test, index))
}

#[test]
fn what_is_written_is_read() {
    let config = AlgorithmsConfig { d: 3, n_points: 6, intervals: 32, ..AlgorithmsConfig::default() };
    let programs = Programs::of(&config);
    let rows = problem(&config, 0);
    for algorithm in Algorithm::ALL {
        let prompt = programs.prompt(algorithm, &rows);
        assert_eq!(prompt.len(), config.dims().seq_len * config.width());
        assert_eq!(programs.algorithm(&prompt), algorithm);
        let (x, y, query) = programs.examples(algorithm, &prompt);
        for (row, each) in rows.chunks_exact(4).enumerate() {
            let found: Vec<f64> =
                if row < 6 { x.column(row).iter().copied().collect() } else { query.as_slice().to_vec() };
            assert_eq!(found, each[..3]);
            assert!(row == 6 || (y[row] - each[3]).abs() < 1e-15);
        }
        let exact = config.rule(algorithm).weights(x.as_view(), y.as_view()).dot(&query);
        assert_eq!(programs.answer(&prompt).to_bits(), exact.to_bits());
    }
}

/// The iteration with tables in the place of functions, as a network carries it out.
fn by_tables(config: &AlgorithmsConfig, programs: &Programs, algorithm: Algorithm, rows: &[f64]) -> f64 {
    let [slopes, values, seconds] = config.tables(algorithm);
    let prompt = programs.prompt(algorithm, rows);
    let (d, width) = (config.d, config.width());
    let data: Vec<&[f64]> = prompt.chunks_exact(width).skip(2 * (config.intervals + 1)).collect();
    let (examples, query) = data.split_at(config.n_points);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).take(d).map(|(a, b)| a * b).sum::<f64>();
    let (mut w, mut u) = (vec![0.0; d], vec![0.0; d]);
    for _ in 0..config.steps {
        let mut v = u.clone();
        for row in examples {
            let slope = slopes.at(dot(row, &w) - row[d]) - row[d + 1];
            for (v, x) in v.iter_mut().zip(*row) {
                *v -= slope * x / config.n_points as f64;
            }
        }
        w = v.iter().map(|v| v - values.at(*v)).collect();
        u = v.iter().map(|v| v - seconds.at(*v)).collect();
    }
    dot(query[0], &w)
}

#[test]
fn tables_execute_the_algorithm() {
    let config = AlgorithmsConfig::default();
    let programs = Programs::of(&config);
    let mut answers = Vec::new();
    for algorithm in Algorithm::ALL {
        for index in 0..5 {
            let rows = problem(&config, index);
            let exact = programs.answer(&programs.prompt(algorithm, &rows));
            let found = by_tables(&config, &programs, algorithm, &rows);
            // A clamp of 128 intervals is off by a thousandth of its end at its kinks alone.
            assert!((found - exact).abs() < 5e-4, "{}: {found} for {exact}", algorithm.name());
            answers.push(exact);
        }
    }
    assert!(answers[0] != answers[5] && answers[5] != answers[10], "{answers:?}");
}

#[test]
fn examples_hold_what_is_asked() {
    let config = AlgorithmsConfig { intervals: 32, ..AlgorithmsConfig::default() };
    let task = Algorithms { programs: Programs::of(&config) };
    let example = task.example(Split::Test, 0, &mut Seed(3).rng(Stream::Test, 0));
    let (Inputs::Continuous(inputs), Targets::Continuous(targets)) = (&example.inputs, &example.targets) else {
        panic!("{example:?}")
    };
    let prompt: Vec<f64> = inputs.iter().copied().map(f64::from).collect();
    assert_eq!(*targets.last().expect("a list has a last"), task.programs.answer(&prompt) as f32);
    assert_eq!(example.loss_mask.iter().filter(|scored| **scored).count(), 1);
    assert_eq!(example.loss_mask.last(), Some(&true));
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    for (text, key) in [
        ("intervals = 33", "intervals"),
        ("intervals = 10", "intervals"),
        ("intervals = 258", "intervals"),
        ("algorithms = []", "algorithms"),
        ("lasso = 0", "lasso"),
        ("rate = -1", "rate"),
        ("d = 0", "d"),
        ("noise = -1", "noise"),
    ] {
        let config: AlgorithmsConfig = toml::from_str(text).expect(text);
        let problems = config.validate();
        assert!(problems.iter().any(|problem| problem.to_string().contains(key)), "{text}: {problems:?}");
    }
    assert!(AlgorithmsConfig::default().validate().is_empty());
    assert!(toml::from_str::<AlgorithmsConfig>("algorithms = [\"adam\"]").is_err());
}
