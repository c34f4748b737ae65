//! What a config file may say, and what is refused.

use headway_tasks::{Law, Seed, Stream, TASKS, TaskConfig};

fn parse(text: &str) -> Result<TaskConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn refused_keys(text: &str) -> Vec<&'static str> {
    parse(text).expect(text).validate().into_iter().map(|error| error.key).collect()
}

#[test]
fn an_empty_table_means_the_defaults_and_every_config_survives_a_round_trip() {
    for &(name, _) in TASKS {
        let defaults = TaskConfig::with_defaults(name).expect(name);
        assert_eq!(parse(&format!("[{name}]")), Ok(defaults.clone()));
        let written = toml::to_string(&defaults).expect(name);
        assert_eq!(parse(&written), Ok(defaults), "{written}");
    }
}

#[test]
fn keys_are_read_and_typos_are_not() {
    let changed =
        parse("[icl_linear]\nd = 7\nn_points = 3\nnoise_std = 0.1\ninput = { uniform = { low = -1, high = 2 } }");
    let written = toml::to_string(&changed.expect("valid")).expect("a table");
    for line in ["d = 7", "n_points = 3", "noise_std = 0.1\n", "low = -1.0", "high = 2.0"] {
        assert!(written.contains(line), "{line} is missing from\n{written}");
    }
    for (typo, named) in [
        ("[coppy]", "coppy"),
        ("[copy]\nvocabulary = 3", "vocabulary"),
        ("[truncated_linear]\ninput = { gaussian = {} }", "gaussian"),
        ("[truncated_linear]\ninput = { normal = { sigma = 2 } }", "sigma"),
        ("[truncated_linear]\ninput = { uniform = { low = 0 } }", "high"),
    ] {
        let message = parse(typo).expect_err(typo);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn normal_is_standard_unless_told() {
    let law = |text: &str| parse(&format!("[icl_linear]\ninput.normal = {text}"));
    assert_eq!(law("{}"), parse("[icl_linear]"));
    assert_eq!(law("{ std = 1, mean = 0 }"), law("{}"));
    assert_ne!(law("{ std = 2 }"), law("{}"));
}

#[test]
fn sizes_that_make_no_sense_are_refused_by_key() {
    for (text, keys) in [
        ("[truncated_linear]\nseq_len = 0\nd_in = 0", vec!["seq_len", "d_in"]),
        ("[truncated_linear]\nlow = 3\nhigh = 3", vec!["low"]),
        ("[truncated_linear]\nhigh = inf", vec!["low"]),
        ("[truncated_linear]\ninput.uniform = { low = 2, high = 1 }", vec!["input"]),
        ("[relu_network]\nseq_len = 0\nd = 0\nd_hidden = 0", vec!["seq_len", "d", "d_hidden"]),
        ("[relu_network]\ninput.normal = { std = 0 }", vec!["input"]),
        ("[icl_linear]\nd = 0\nn_points = 0\nnoise_std = -1", vec!["d", "n_points", "noise_std"]),
        ("[icl_linear]\nnoise_std = nan\ninput.normal = { mean = 1e300 }", vec!["noise_std", "input"]),
        ("[copy]\nvocab = 1\nn_data = 0", vec!["vocab", "n_data"]),
    ] {
        assert_eq!(refused_keys(text), keys, "{text}");
    }
}

#[test]
fn a_message_names_the_key_and_the_fix() {
    let problems = parse("[copy]\nn_data = 0").expect("well-formed").validate();
    assert_eq!(problems[0].to_string(), "n_data: 0 is too few; give 1 or more");
    let problem = Law::Uniform { low: 2.0, high: 1.0 }.validate().expect("a problem");
    assert_eq!(problem, "uniform.low = 2 must be below uniform.high = 1");
}

#[test]
fn the_smallest_valid_sizes_can_be_drawn() {
    for text in [
        "[truncated_linear]\nseq_len = 1\nd_in = 1",
        "[relu_network]\nseq_len = 1\nd = 1\nd_hidden = 1",
        "[icl_linear]\nd = 1\nn_points = 1",
        "[copy]\nvocab = 2\nn_data = 1",
    ] {
        assert_eq!(refused_keys(text), [""; 0], "{text}");
        let task = parse(text).expect(text).build(Seed(1));
        let example = task.sample(&mut Seed(1).rng(Stream::Train, 0));
        assert_eq!(example.scored.len(), task.dims().seq_len, "{text}");
    }
}

#[test]
fn laws_have_the_moments_that_they_name() {
    let n = 20_000;
    // (law, mean, standard deviation); a uniform law's is (high - low) / sqrt(12).
    for (law, mean, std) in [
        (Law::Uniform { low: -1.0, high: 5.0 }, 2.0, 6.0 / 12.0_f64.sqrt()),
        (Law::Normal { mean: 3.0, std: 0.5 }, 3.0, 0.5),
    ] {
        let values = law.vector(n, &mut Seed(1).rng(Stream::Train, 0));
        let moment = |power: i32, centre: f64| {
            values.iter().map(|&value| (f64::from(value) - centre).powi(power)).sum::<f64>() / n as f64
        };
        let four_errors = 4.0 * std / (n as f64).sqrt();
        assert!((moment(1, 0.0) - mean).abs() < four_errors, "{law:?}");
        // The standard error of a standard deviation is at most std / sqrt(2 n), attained by the normal law.
        assert!((moment(2, mean).sqrt() - std).abs() < four_errors / 2.0_f64.sqrt(), "{law:?}");
    }
    let uniform = Law::Uniform { low: -1.0, high: 5.0 }.vector(n, &mut Seed(1).rng(Stream::Train, 0));
    assert!(uniform.iter().all(|value| (-1.0..=5.0).contains(value)));
}
