//! Functions given in a config: values by hand, moments of domains, and refusals.

use headway_tasks::{
    Batch, Seed, Split, Stream, TaskConfig,
    baseline::{Baseline, per_position::PerPosition},
    seq2seq::function::{BUILT_INS, BuiltIn, Domain, Function, FunctionConfig},
};

use crate::files;

fn parse(text: &str) -> TaskConfig {
    toml::from_str(&format!("[function]\n{text}")).expect(text)
}

fn function(text: &str) -> Function {
    let TaskConfig::Function(config) = parse(text) else { panic!("{text}") };
    Function::new(&config).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn messages(text: &str) -> Vec<String> {
    parse(text).validate().iter().map(ToString::to_string).collect()
}

fn draw(config: &TaskConfig, count: u64) -> Batch {
    let task = config.open(&files(), Seed(1)).expect("no file is read");
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Train, i, &mut Seed(1).rng(Stream::Train, i))))
}

#[test]
fn formulas_by_hand() {
    // Two positions of three numbers, two numbers out.
    let f = function("seq_len = 2\nd_in = 3\noutputs = [\"x1 + 10*x2 + 100*x3 + 1000*i\", \"x2_3 - x1_1^2\"]");
    assert_eq!((f.seq_len(), f.d_in(), f.d_out(), f.is_per_position()), (2, 3, 2, false));
    assert_eq!(f.evaluate(&[2.0, 3.0, 5.0, 7.0, 11.0, 13.0]), [1532.0, 9.0, 3417.0, 9.0]);
    let f = function("seq_len = 3\nd_in = 1\noutputs = [\"min(x1, 2)/i\"]");
    assert_eq!(f.evaluate(&[1.0, 3.0, 6.0]), [1.0, 1.0, 2.0 / 3.0]);
    assert!(f.is_per_position() && !f.is_alike_everywhere());
    assert!(function("seq_len = 3\nd_in = 1\noutputs = [\"min(x1, 2)\"]").is_alike_everywhere());
}

#[test]
fn variables_with_two_digits_are_told_apart() {
    let f = function("seq_len = 11\nd_in = 12\noutputs = [\"x12\", \"x1\", \"x11_2\", \"x1_12\"]");
    let inputs: Vec<f64> = (0..132).map(f64::from).collect();
    assert_eq!(f.evaluate(&inputs)[4..8], [23.0, 12.0, 121.0, 11.0]);
}

#[test]
fn a_table_by_hand() {
    let f = function("seq_len = 2\nd_in = 3\ntable = { x = [-1, 0, 4], y = [5, 1, 3] }");
    assert_eq!((f.d_out(), f.is_per_position()), (3, true));
    assert_eq!(f.evaluate(&[-7.0, -1.0, -0.5, 0.0, 3.0, 4.5]), [5.0, 5.0, 3.0, 1.0, 2.5, 3.0]);
    assert_eq!(parse("d_in = 3\ntable = { x = [0, 1], y = [0, 1] }").dims().d_out, 3);
}

#[test]
fn examples_are_the_rounded_values_at_what_a_model_sees() {
    for text in [
        "seq_len = 2\nd_in = 3\noutputs = [\"x1*x2_3\", \"exp(x2)\"]\ndomain = { normal = {} }",
        "seq_len = 5\nd_in = 2\ntable = { x = [0, 0.3, 1], y = [1, -1, 2] }",
        "seq_len = 3\nd_in = 7\noutputs = [\"x7\"]\ndomain = \"sphere\"",
    ] {
        let (config, f) = (parse(text), function(text));
        let batch = draw(&config, 3);
        let (width_in, width_out) = (f.seq_len() * f.d_in(), f.seq_len() * f.d_out());
        let examples = batch.inputs.continuous().chunks_exact(width_in);
        for (inputs, targets) in examples.zip(batch.targets.continuous().chunks_exact(width_out)) {
            let inputs: Vec<f64> = inputs.iter().map(|&x| f64::from(x)).collect();
            let expected: Vec<f32> = f.evaluate(&inputs).into_iter().map(|y| y as f32).collect();
            assert_eq!(targets, expected);
        }
        // The seed does not change the function, and every position is scored.
        assert_eq!(
            config
                .open(&files(), Seed(2))
                .expect("no file is read")
                .example(Split::Train, 0, &mut Seed(1).rng(Stream::Train, 0))
                .targets
                .continuous(),
            { &batch.targets.continuous()[..width_out] }
        );
        assert!(batch.loss_mask.iter().all(|&scored| scored));
    }
}

#[test]
fn domains_have_the_moments_that_they_name() {
    let (seq_len, d_in, count) = (3, 5, 4000);
    // (domain, mean, variance of a number)
    for (domain, mean, variance) in [
        (Domain::Cube { low: -1.0, high: 5.0 }, 2.0, 3.0_f64),
        (Domain::Normal { mean: 3.0, std: 0.5 }, 3.0, 0.25),
        (Domain::Sphere, 0.0, 0.2),
    ] {
        let sequences = (0..count).map(|i| domain.sample(seq_len, d_in, &mut Seed(1).rng(Stream::Train, i)));
        let numbers: Vec<f64> = sequences.flatten().map(f64::from).collect();
        assert_eq!(numbers.len(), 60_000);
        let moment = |power: i32, centre: f64| {
            numbers.iter().map(|x| (x - centre).powi(power)).sum::<f64>() / numbers.len() as f64
        };
        assert!((moment(1, 0.0) - mean).abs() < 4.0 * (variance / 60_000.0).sqrt(), "{domain:?}");
        assert!((moment(2, mean) / variance - 1.0).abs() < 0.03, "{domain:?}");
        if domain == Domain::Sphere {
            let length = |token: &[f64]| token.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(numbers.chunks_exact(d_in).all(|token| (length(token) - 1.0).abs() < 1e-6));
        } else {
            assert!((numbers[0] - numbers[d_in]).abs() > 0.0, "positions differ");
        }
    }
    let cube = Domain::default().sample(7, 11, &mut Seed(1).rng(Stream::Train, 0));
    assert!(cube.iter().all(|x| (0.0..=1.0).contains(x)));
}

#[test]
fn configs_survive_a_round_trip() {
    let texts = [
        "outputs = [\"x1\", \"x2 - 1e-3\"]\ndomain = { cube = { low = -1, high = 2 } }",
        "seq_len = 1\nd_in = 1\ntable = { x = [0, 1.5], y = [2, 3] }\ndomain = { normal = { std = 2 } }",
        "d_in = 3\noutputs = [\"x3\"]\ndomain = \"sphere\"",
    ];
    let built_ins = BUILT_INS.iter().map(|function| TaskConfig::Function(function.config()));
    for config in texts.into_iter().map(parse).chain(built_ins) {
        let written = toml::to_string(&config).expect("a table");
        assert_eq!(toml::from_str::<TaskConfig>(&written), Ok(config), "{written}");
    }
    let written = toml::to_string(&parse("table = { x = [0, 1], y = [0, 1] }")).expect("a table");
    assert!(!written.contains("outputs"), "{written}");
    let written = toml::to_string(&parse("")).expect("a table");
    assert!(written.contains("outputs = [\"sin(2*PI*x1)*x2\"]") && !written.contains("table"), "{written}");
    for (typo, named) in [
        ("outputs = \"x1\"", "invalid type"),
        ("output = [\"x1\"]", "output"),
        ("domain = \"ball\"", "ball"),
        ("domain = { cube = { low = 0 } }", "high"),
        ("table = { x = [0, 1], y = [0, 1], z = [] }", "z"),
    ] {
        let message = toml::from_str::<TaskConfig>(&format!("[function]\n{typo}")).expect_err(typo).to_string();
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn formulas_that_make_no_sense_are_refused_with_the_fix() {
    for (text, expected) in [
        (
            "seq_len = 2\nd_in = 3\noutputs = [\"x1\", \"2*x4\"]",
            "outputs: `2*x4`, column 3: there is no variable `x4`; there are x1 to x3, x1_1 to x2_3, i and the \
             constants E and PI",
        ),
        (
            "seq_len = 3\nd_in = 1\noutputs = [\"x4_1\"]",
            "outputs: `x4_1`, column 1: there is no variable `x4_1`; there are x1, x1_1 to x3_1, i and the constants E \
             and PI",
        ),
        ("outputs = [\"x1 +\"]", "outputs: `x1 +`, column 5: a number, a variable or a function is missing at the end"),
        ("outputs = []", "outputs: the list is empty; give one formula per number out, such as [\"sin(x1)\"]"),
        (
            "outputs = [\"x1\"]\ntable = { x = [0, 1], y = [0, 1] }",
            "outputs: there are both outputs and a table; leave one of them out",
        ),
        ("table = { x = [0], y = [0] }", "table.x: 1 points are too few; give 2 or more"),
        ("table = { x = [0, 0], y = [0, 1] }", "table.x: 0 stands before 0; give points in increasing order"),
        ("table = { x = [0, 1], y = [0, inf] }", "table.y: it holds inf; give finite single-precision numbers"),
        ("table = { x = [0, 1], y = [0] }", "table.y: there are 1 values for 2 points; give as many"),
        ("domain.cube = { low = 1, high = 1 }", "domain: cube.low = 1 must be below cube.high = 1"),
        ("domain.normal = { std = 0 }", "domain: normal.std = 0 must be above 0, or every number is the same"),
        ("seq_len = 0", "seq_len: 0 is too few; give 1 or more"),
    ] {
        assert_eq!(messages(text), [expected], "{text}");
    }
    for name in ["x0", "x01", "x", "x3", "x1_0", "x1_3", "x9_1", "x1_", "x1_1_1", "x+1", "i1", "x_1"] {
        let config = FunctionConfig { outputs: vec![name.to_owned()], ..Default::default() };
        assert!(Function::new(&config).is_err() || name == "x+1", "{name}");
    }
    // All problems are reported at once.
    assert_eq!(messages("seq_len = 0\nd_in = 0\noutputs = [\"(\", \")\"]\ndomain.normal.std = -1").len(), 5);
}

#[test]
fn sequences_that_no_machine_holds_are_refused_at_once() {
    for size in ["seq_len = 4294967296\nd_in = 4294967296", "seq_len = 100000000\nd_in = 1"] {
        let messages = messages(&format!("{size}\noutputs = [\"x1\"]"));
        assert!(matches!(messages.as_slice(), [one] if one.contains("are too many")), "{messages:?}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_point() {
    let fix = "give a formula that is finite in single precision on the whole domain, or a smaller domain";
    for (text, expected) in [
        // At the centre, at a corner, at the lower end of a normal law, at a pole of the sphere.
        ("seq_len = 1\noutputs = [\"1/(x1 - x2)\"]", "`1/(x1 - x2)` is inf at position 1 of [[0.5, 0.5]]"),
        ("seq_len = 2\noutputs = [\"x1\", \"ln(x1)\"]", "`ln(x1)` is -inf at position 1 of [[0.0, 0.0], [0.0, 0.0]]"),
        (
            "seq_len = 1\nd_in = 1\noutputs = [\"sqrt(x1 + 5)\"]\ndomain.normal = {}",
            "`sqrt(x1 + 5)` is NaN at position 1 of [[-6.0]]",
        ),
        (
            "seq_len = 1\nd_in = 2\noutputs = [\"sqrt(x1 + x2 - 0.9)\"]\ndomain = \"sphere\"",
            "`sqrt(x1 + x2 - 0.9)` is NaN at position 1 of [[-1.0, 0.0]]",
        ),
        (
            "seq_len = 9\noutputs = [\"ln(i - 2)\"]",
            "`ln(i - 2)` is NaN at position 1 of a sequence with [0.5, 0.5] there",
        ),
        // Finite only in double precision.
        (
            "seq_len = 1\nd_in = 1\noutputs = [\"exp(100*x1)\"]",
            "`exp(100*x1)` is 2.6881171418161356e43 at position 1 of [[1.0]]",
        ),
        // At one corner of sixteen.
        (
            "seq_len = 2\noutputs = [\"1/(x1_1 + x1_2*10 + x2_1*100 + x2_2*1000 - 101)\"]",
            "`1/(x1_1 + x1_2*10 + x2_1*100 + x2_2*1000 - 101)` is inf at position 1 of [[1.0, 0.0], [1.0, 0.0]]",
        ),
    ] {
        assert_eq!(messages(text), [format!("outputs: {expected}; {fix}")], "{text}");
    }
    // An undefined region that contains no corner.
    assert!(messages("seq_len = 1\nd_in = 1\noutputs = [\"sqrt(abs(x1 - 0.7) - 0.05)\"]")[0].contains("NaN"));
}

#[test]
fn a_point_where_a_formula_is_not_finite_is_drawn_again() {
    // A gap of width 1e-4 that no tested point hits; 20,000 draws of 7 numbers hit it 14 times on average.
    let config = parse("seq_len = 7\nd_in = 1\noutputs = [\"sqrt(abs(x1 - 0.70002) - 0.00005)\"]");
    assert_eq!(config.validate(), []);
    let batch = draw(&config, 20_000);
    assert!(batch.targets.continuous().iter().all(|target| target.is_finite()));
}

#[test]
fn built_in_functions_are_valid_and_found_by_name() {
    for built_in in BUILT_INS {
        assert_eq!(BuiltIn::find(built_in.name).map(|found| found.outputs), Some(built_in.outputs));
        let f = Function::new(&built_in.config()).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(f.d_out(), built_in.outputs.len(), "{}", built_in.name);
        // Functions that allow any number of positions treat each position by itself.
        assert_eq!(f.is_per_position(), built_in.seq_len.is_none(), "{}", built_in.name);
        let dims = TaskConfig::Function(built_in.config()).dims();
        assert_eq!((dims.seq_len, dims.d_out), (built_in.seq_len.unwrap_or(1), f.d_out()));
    }
    assert!(BuiltIn::find("no_such_function").is_none());
    let value = |name: &str, inputs: &[f64]| {
        Function::new(&BuiltIn::find(name).expect(name).config()).expect(name).evaluate(inputs)
    };
    assert_eq!(value("relu", &[-2.0]), [0.0]);
    assert_eq!(value("kink", &[0.413, 0.077]), [0.577 - 0.077]);
    assert_eq!(value("sphere_lipschitz", &[-0.5, 0.25, 0.75]), [0.5, 0.75, 0.375]);
    assert_eq!(value("sphere_smooth", &[0.5, 0.25, 0.0]), [0.125, 0.0, 0.25]);
    let mixed = value("mixing", &[0.1, 0.2, 0.3, 0.4]);
    let expected = [0.6_f64.sin() + 0.05, 0.06 + 0.2_f64.cos(), 0.6_f64.sin() + 0.15, 0.06 + 0.8_f64.cos()];
    assert!(mixed.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{mixed:?}");
}

#[test]
fn least_squares_is_exact_on_affine_formulas() {
    for (text, name) in [
        ("seq_len = 3\nd_in = 2\noutputs = [\"i*x1 - x2 + i\", \"x2\"]", "per_position_least_squares"),
        ("seq_len = 3\nd_in = 2\noutputs = [\"i*x3_1 - x2 + i\", \"x2\"]", "flattened_least_squares"),
    ] {
        let (config, mut names) = (parse(text), Vec::new());
        for mut baseline in config.open(&files(), Seed(1)).expect("no file is read").baselines() {
            let batch = draw(&config, 31);
            baseline.fit(&batch);
            let predictions = baseline.predict(&batch);
            let gaps = predictions.iter().zip(batch.targets.continuous()).map(|(a, b)| (a - b).abs());
            let largest = gaps.fold(0.0, f32::max);
            assert_eq!(largest < 1e-5, baseline.name() == name, "{}: {largest}", baseline.name());
            names.push(baseline.name());
        }
        assert_eq!(names, [name, "mean"]);
    }
    assert_eq!(PerPosition::default().name(), "per_position_least_squares");
}

#[test]
fn a_function_can_be_used_by_many_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&function(""));
}
