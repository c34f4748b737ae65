//! What a config file may contain, and what is refused.

use headway_tasks::{Distribution, SHIFTS, Seed, Split, Stream, TASKS, TaskConfig};

use crate::files;

fn parse(text: &str) -> Result<TaskConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn refused_keys(text: &str) -> Vec<&'static str> {
    parse(text).expect(text).validate().into_iter().map(|error| error.into_parts().0).collect()
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
    let mqar = parse("[mqar]\nn_pairs = [2, 3]\npower = 1\nrandom_filler = true").expect("valid");
    let written_mqar = toml::to_string(&mqar).expect("a table");
    for line in ["n_pairs = [2, 3]", "power = 1.0", "random_filler = true"] {
        assert!(written_mqar.contains(line), "{line} is missing from\n{written_mqar}");
    }
    for line in ["d = 7", "n_points = 3", "noise_std = 0.1\n", "low = -1.0", "high = 2.0"] {
        assert!(written.contains(line), "{line} is missing from\n{written}");
    }
    for (typo, named) in [
        ("[coppy]", "coppy"),
        ("[copy]\nvocabulary = 3", "vocabulary"),
        ("[icl_tree]\nnoise_std = 1", "noise_std"),
        ("[icl_linear]\ncurriculum.evry = 3", "evry"),
        ("[icl_linear]\nshift = \"rotated\"", "rotated"),
        ("[icl_linear]\nshift = \"scale_x\"", "scale_x"),
        ("[truncated_linear]\ninput = { gaussian = {} }", "gaussian"),
        ("[truncated_linear]\ninput = { normal = { sigma = 2 } }", "sigma"),
        ("[truncated_linear]\ninput = { uniform = { low = 0 } }", "high"),
    ] {
        let message = parse(typo).expect_err(typo);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn every_shift_of_the_list_suits_every_prompt_and_survives_a_round_trip() {
    for &(name, _) in TASKS {
        let config = TaskConfig::with_defaults(name).expect(name);
        for (shift, _, value) in SHIFTS {
            // The value in a config file reads like its name: a word, or a word and a number.
            assert!(
                shift.starts_with(toml::Value::try_from(value).map_or_else(|_| panic!("{shift}"), first_word).as_str())
            );
            let Some(shifted) = config.with_shift(value.clone()) else {
                assert!(!name.starts_with("icl_"), "{name} has no key shift");
                continue;
            };
            assert_eq!(shifted.validate(), [], "{name} {shift}");
            let written = toml::to_string(&shifted).expect(name);
            assert_eq!(parse(&written), Ok(shifted), "{written}");
        }
    }
}

fn first_word(value: toml::Value) -> String {
    match value {
        toml::Value::String(word) => word,
        toml::Value::Table(table) => table.keys().next().expect("one key").clone(),
        other => panic!("{other} is not a shift"),
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
        ("[truncated_linear]\nhigh = inf", vec!["high"]),
        ("[truncated_linear]\ninput.uniform = { low = 2, high = 1 }", vec!["input"]),
        ("[relu_network]\nseq_len = 0\nd = 0\nd_hidden = 0", vec!["seq_len", "d", "d_hidden"]),
        ("[relu_network]\ninput.normal = { std = 0 }", vec!["input"]),
        ("[icl_linear]\nd = 0\nn_points = 0\nnoise_std = -1", vec!["d", "n_points", "noise_std"]),
        ("[icl_linear]\nnoise_std = nan\ninput.normal = { mean = 1e300 }", vec!["input", "noise_std"]),
        ("[icl_sparse]\nd = 4\nn_nonzero = 5", vec!["n_nonzero"]),
        ("[language]\nseq_len = 0\nstride = 1\ntest_tokens = 0", vec!["train", "seq_len", "stride", "test_tokens"]),
        (
            "[image]\npatch = 0\nmask = \"boxes\"\nboxes = 0\ntest_pictures = 0",
            vec!["train", "patch", "boxes", "test_pictures"],
        ),
        ("[activity]\nseq_len = 0\ntrain_stride = 0\nunit = 0", vec!["samples", "seq_len", "train_stride", "unit"]),
        ("[proteins]\nseq_len = 0\nrate = 1.0\ntest = []", vec!["path", "test", "seq_len", "rate"]),
        ("[proteins]\ntest = [\"valid\"]\nrate = nan", vec!["path", "test", "rate"]),
        ("[forecast]\nwindow = 0\nhorizon = 0\nstride = 0\npatch = 0", vec!["window", "horizon", "patch", "stride"]),
        ("[forecast]\npatch = 5\nperiod = 97\nsplit = [1.0, 0.0, 0.0]", vec!["path", "patch", "period", "split"]),
        ("[icl_sparse]\nn_nonzero = 0", vec!["n_nonzero"]),
        ("[icl_sparse]\ncurriculum.d_start = 2", vec!["n_nonzero"]),
        ("[icl_relu]\nd_hidden = 0", vec!["d_hidden"]),
        ("[icl_two_layer_net]\nd_hidden = 0", vec!["d_hidden"]),
        ("[icl_sine]\nfrequency = 0.0", vec!["frequency"]),
        ("[icl_sine]\nfrequency = nan", vec!["frequency"]),
        ("[icl_tree]\ndepth = 0", vec!["depth"]),
        ("[icl_tree]\ndepth = 17", vec!["depth"]),
        ("[icl_quadratic]\nd = 0", vec!["d"]),
        ("[icl_logistic]\nn_points = 0", vec!["n_points"]),
        ("[icl_linear]\nd = 1\nshift = \"half_subspace\"", vec!["shift"]),
        ("[icl_linear]\nd = 1\nshift = \"orthogonal_query\"", vec!["shift"]),
        ("[icl_linear]\nn_points = 1\nshift = \"repeated_query\"", vec!["shift"]),
        ("[icl_linear]\nshift.scale_x = 0", vec!["shift"]),
        ("[icl_linear]\nshift.scale_y = inf", vec!["shift"]),
        ("[icl_linear]\nshift.noisy_y = -1", vec!["shift"]),
        (
            "[icl_linear]\ncurriculum = { d_start = 0, points_start = 0, every = 0 }",
            vec!["curriculum.d_start", "curriculum.points_start", "curriculum.every"],
        ),
        (
            "[icl_linear]\ncurriculum = { d_start = 6, points_start = 12 }",
            vec!["curriculum.d_start", "curriculum.points_start"],
        ),
        ("[icl_linear]\nd = 6\ncurriculum.d_step = 0", vec!["curriculum.d_step"]),
        ("[icl_linear]\nn_points = 12\ncurriculum.points_step = 0", vec!["curriculum.points_step"]),
        // Numbers that become equal in single precision.
        ("[truncated_linear]\nlow = 1\nhigh = 1.00000001", vec!["low"]),
        ("[truncated_linear]\nhigh = 1e39", vec!["high"]),
        ("[truncated_linear]\nhigh = 1e30\ntarget_scale = 1e20", vec!["target_scale"]),
        ("[truncated_linear]\ninput.uniform = { low = 1, high = 1.00000001 }", vec!["input"]),
        ("[truncated_linear]\ninput.uniform = { low = 0, high = 1e19 }", vec!["input"]),
        ("[relu_network]\ntarget_scale = 1e20", vec!["target_scale"]),
        ("[relu_network]\ninput.normal = { mean = 1, std = 1e-9 }", vec!["input"]),
        ("[icl_linear]\nnoise_std = 1e20", vec!["noise_std"]),
        ("[icl_linear]\nshift.scale_x = 1e9", vec!["shift"]),
        ("[icl_quadratic]\ninput.normal = { std = 1e12 }", vec!["input"]),
        ("[in_context_regression]\nweights.normal = { std = 1e17 }\ninput.normal = { std = 1e17 }", vec!["weights"]),
        (
            "[in_context_regression]\ngradient_descent = { steps = 1000000, rate = 0 }",
            vec!["gradient_descent.steps", "gradient_descent.rate"],
        ),
        ("[robust_mean]\nd = 0\nn_agents = 0\nliars.exactly = 1", vec!["d", "n_agents", "liars.exactly"]),
        ("[robust_mean]\nliars.up_to = 14", vec!["liars.up_to"]),
        ("[robust_mean]\nliars.up_to = 0", vec!["liars.up_to"]),
        ("[robust_mean]\nattack.worst_case.distance = 0\nnoise = -1", vec!["attack.worst_case.distance", "noise"]),
        ("[robust_mean]\nattack.constant.value = nan\nmean.normal.std = 0", vec!["attack.constant.value", "mean"]),
        ("[robust_mean]\nd = 6\nn_agents = 40", vec!["attack.worst_case"]),
        ("[robust_mean]\nd = 1\nn_agents = 1025", vec!["n_agents"]),
        ("[emulation]\nseq_len = 0\nd = 513\nd_key = 0\nnoise = -1", vec!["seq_len", "d_key", "d", "noise"]),
        ("[emulation]\nwhat = \"statistics\"\nnoise = 1e30", vec!["noise"]),
        ("[mqar]\npower = 1e9", vec!["power"]),
        ("[copy]\nvocab = 1\nn_data = 0", vec!["vocab", "n_data"]),
        ("[mqar]\nseq_len = 33", vec!["seq_len"]),
        ("[mqar]\nvocab = 32", vec!["vocab"]),
        ("[mqar]\nn_pairs = []\npower = 0", vec!["n_pairs", "power"]),
        ("[mqar]\nn_pairs = [0, 4]\npower = inf", vec!["n_pairs", "power"]),
        ("[mqar]\nn_pairs = [4, 9]\npower = nan", vec!["n_pairs", "power"]),
        ("[in_context_recall]\nvocab = 2\nn_pairs = 1", vec!["vocab", "n_pairs"]),
        ("[noisy_recall]\nvocab = 18\nnoise = 1\nn_pairs = 1", vec!["vocab", "noise", "n_pairs"]),
        ("[noisy_recall]\nnoise_vocab = 0\nnoise = nan", vec!["noise_vocab", "noise"]),
        ("[noisy_recall]\nnoise = -0.1", vec!["noise"]),
        ("[selective_copying]\nvocab = 3\nn_data = 0", vec!["vocab", "n_data"]),
        ("[selective_copying]\nseq_len = 17", vec!["seq_len"]),
    ] {
        assert_eq!(refused_keys(text), keys, "{text}");
    }
}

#[test]
fn a_message_names_the_key_and_the_fix() {
    let problems = parse("[copy]\nn_data = 0").expect("well-formed").validate();
    assert_eq!(problems[0].to_string(), "n_data: 0 is too few; give 1 or more");
    for (text, message) in [
        ("vocab = 32", "vocab: 32 holds too few keys for seq_len = 32; give more than 32"),
        ("seq_len = 31", "seq_len: 31 is odd, but pairs and query slots take two positions; give 32"),
        (
            "n_pairs = [9]",
            "n_pairs: 9 pairs and their queries take 36 positions, seq_len is 32; give fewer, or seq_len = 36",
        ),
        ("n_pairs = []", "n_pairs: the list is empty; give a number of pairs, such as [4]"),
    ] {
        let problems = parse(&format!("[mqar]\n{text}")).expect("well-formed").validate();
        assert_eq!(problems[0].to_string(), message);
    }
    let problem = Distribution::Uniform { low: 2.0, high: 1.0 }.validate().expect("a problem");
    assert_eq!(problem, "uniform.low = 2 must be below uniform.high = 1");
    let problem = Distribution::Uniform { low: 1.0, high: 1.000_000_01 }.validate().expect("a problem");
    assert_eq!(problem, "uniform.low = 1 must be below uniform.high = 1.00000001 in single precision");
}

#[test]
fn the_smallest_valid_sizes_can_be_drawn() {
    for text in [
        "[truncated_linear]\nseq_len = 1\nd_in = 1",
        "[relu_network]\nseq_len = 1\nd = 1\nd_hidden = 1",
        "[icl_linear]\nd = 1\nn_points = 1",
        "[icl_sparse]\nd = 1\nn_points = 1\nn_nonzero = 1",
        "[icl_quadratic]\nd = 1\nn_points = 1",
        "[icl_relu]\nd = 1\nn_points = 1\nd_hidden = 1",
        "[icl_two_layer_net]\nd = 1\nn_points = 1\nd_hidden = 1",
        "[icl_sine]\nd = 1\nn_points = 1",
        "[icl_tree]\nd = 1\nn_points = 1\ndepth = 1",
        "[icl_logistic]\nd = 1\nn_points = 1",
        "[icl_linear]\nd = 2\nshift = \"half_subspace\"",
        "[icl_linear]\nd = 2\nn_points = 1\nshift = \"orthogonal_query\"",
        "[icl_linear]\nn_points = 2\nshift = \"repeated_query\"",
        "[emulation]\nseq_len = 1\nd = 1\nd_key = 1",
        "[emulation]\nwhat = \"statistics\"\nseq_len = 1\nd = 1\nnoise = 0",
        "[copy]\nvocab = 2\nn_data = 1",
        "[mqar]\nvocab = 5\nseq_len = 4\nn_pairs = [1]",
        "[mqar]\nvocab = 33\nn_pairs = [8]",
        "[in_context_recall]\nvocab = 3\nn_pairs = 2",
        "[noisy_recall]\nvocab = 4\nnoise_vocab = 1\nn_pairs = 2",
        "[selective_copying]\nvocab = 4\nseq_len = 4\nn_data = 1",
    ] {
        assert_eq!(refused_keys(text), [""; 0], "{text}");
        let task = parse(text).expect(text).open(&files(), Seed(1)).expect("no file is read");
        let example = task.example(Split::Train, 0, &mut Seed(1).rng(Stream::Train, 0));
        assert_eq!(example.loss_mask.len(), task.dims().seq_len, "{text}");
    }
}

#[test]
fn moments_by_hand() {
    // Of N(1, 2^2): 1, 1 + 4, 1 + 3 * 4, 1 + 6 * 4 + 3 * 16. Of U(-1, 2): (2^(n+1) - (-1)^(n+1)) / (3 (n+1)).
    for (law, moments) in [
        (Distribution::Normal { mean: 1.0, std: 2.0 }, [1.0, 1.0, 5.0, 13.0, 73.0]),
        (Distribution::Uniform { low: -1.0, high: 2.0 }, [1.0, 0.5, 1.0, 1.25, 2.2]),
    ] {
        for (order, moment) in (0..).zip(moments) {
            assert!((law.moment(order) - moment).abs() < 1e-12, "{law:?}: {order}");
        }
    }
}

#[test]
fn laws_have_the_moments_that_they_name() {
    let n = 20_000;
    // (law, mean, standard deviation); a uniform law's is (high - low) / sqrt(12).
    for (law, mean, std) in [
        (Distribution::Uniform { low: -1.0, high: 5.0 }, 2.0, 6.0 / 12.0_f64.sqrt()),
        (Distribution::Normal { mean: 3.0, std: 0.5 }, 3.0, 0.5),
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
    let uniform = Distribution::Uniform { low: -1.0, high: 5.0 }.vector(n, &mut Seed(1).rng(Stream::Train, 0));
    assert!(uniform.iter().all(|value| (-1.0..=5.0).contains(value)));
}
