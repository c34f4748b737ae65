//! A network in the prompt: what its training gives, by hand, and what examples hold.

use headway_tasks::{
    Inputs, Seed, Split, Stream, Targets, TaskConfig,
    baseline::{in_context::InContext, network_descent::NetworkDescent},
    icl::network::NetworkConfig,
    prompt::rows::read,
};
use nalgebra::{DMatrix, DVector};

use crate::files;

fn parse(text: &str) -> TaskConfig {
    toml::from_str(&format!("[in_context_network]\n{text}")).expect(text)
}

/// One unit, one example, one number: a step in closed form.
#[test]
fn a_step_by_hand() {
    let (w, a, x, y, rate) = (0.7_f64, -0.4, 1.3, 0.9, 0.25);
    let rule = NetworkDescent { units: 1, steps: 1, rate };
    let hidden = (w * x).tanh();
    let error = a * hidden - y;
    let seen = DMatrix::from_row_slice(1, 2, &[w, x]);
    let (trained, outputs) = rule.weights(seen.as_view(), DVector::from_vec(vec![a, y]).as_view());
    assert!((outputs[0] - (a - rate * error * hidden)).abs() < 1e-15);
    assert!((trained[(0, 0)] - (w - rate * error * a * (1.0 - hidden * hidden) * x)).abs() < 1e-15);
}

#[test]
fn examples_hold_what_is_asked() {
    let config = parse("d = 3\nunits = 2\nn_points = 6\nsteps = 4");
    let TaskConfig::InContextNetwork(network) = &config else { panic!("{config:?}") };
    let task = config.open(&files(), Seed(1)).expect("no file is read");
    let mut moved = 0.0_f64;
    for index in 0..20 {
        let example = task.example(Split::Test, index, &mut Seed(1).rng(Stream::Test, index));
        let (Inputs::Continuous(inputs), Targets::Continuous(targets)) = (&example.inputs, &example.targets) else {
            panic!("{example:?}")
        };
        assert_eq!((inputs.len(), targets.len()), (9 * 4, 9));
        let (x, y, query) = read(inputs, 9);
        let answer = |rule: NetworkDescent| rule.answer(x.as_view(), y.as_view(), query.as_view());
        let trained = answer(network.rule());
        assert_eq!(targets[8].to_bits(), (trained as f32).to_bits());
        assert_eq!(example.loss_mask.iter().rposition(|scored| *scored), Some(8));
        moved = moved.max((trained - answer(NetworkDescent { steps: 0, ..network.rule() })).abs());
    }
    assert!(moved > 1e-3, "training moves answers by {moved} at most");
    let names: Vec<&str> = task.baselines().iter().map(|baseline| baseline.name()).collect();
    assert_eq!(names, ["network_descent", "untrained", "mean"]);
}

/// Loss falls with the steps, on the examples of the prompt.
#[test]
fn training_fits_the_examples() {
    let config = NetworkConfig::default();
    let task = TaskConfig::InContextNetwork(config.clone()).open(&files(), Seed(2)).expect("no file is read");
    let example = task.example(Split::Test, 0, &mut Seed(2).rng(Stream::Test, 0));
    let (x, y, _) = read(example.inputs.continuous(), config.units + config.n_points + 1);
    let loss = |steps: usize| -> f64 {
        let rule = NetworkDescent { units: config.units, steps, rate: 0.3 };
        let (w, a) = rule.weights(x.as_view(), y.as_view());
        let inputs = x.columns(config.units, config.n_points);
        let answers = w.tr_mul(&inputs).map(f64::tanh).tr_mul(&a);
        (answers - y.rows(config.units, config.n_points)).norm_squared()
    };
    let losses = [0, 10, 100, 1000].map(loss);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert!(losses[3] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    for (text, key) in [
        ("d = 0", "d"),
        ("units = 0", "units"),
        ("n_points = 0", "n_points"),
        ("steps = 0", "steps"),
        ("steps = 1000000", "steps"),
        ("rate = 0", "rate"),
        ("noise = -1", "noise"),
        ("outputs.normal = { std = 1e20 }", "outputs"),
        ("teacher.normal = { std = 1e20 }", "teacher"),
    ] {
        let problems = parse(text).validate();
        assert!(problems.len() == 1 && problems[0].to_string().contains(key), "{text}: {problems:?}");
    }
    assert!(parse("").validate().is_empty());
}
