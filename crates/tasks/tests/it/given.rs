//! Constants given in a config, compared with hand computations and with the constants drawn from a seed.

use headway_tasks::{
    Seed, Split, Stream, TaskConfig,
    seq2seq::{
        relu_network::{ReluNetwork, ReluNetworkConfig},
        truncated_linear::{TruncatedLinear, TruncatedLinearConfig},
    },
};

use crate::files;

const FORMS: &str = "[truncated_linear]
seq_len = 2
d_in = 3
low = -4
high = 5
given = { weights = [[1, 2, -1], [0, -3, 1.0]], offsets = [0.5, 1] }
";

/// A network of 2 positions with 3 numbers each and one number out.
const NETWORK: &str = "[relu_network]
seq_len = 2
d = 3
d_out = 1
d_hidden = 2
given = { weights_in = [[1, 0, 0, 0, 0, -1], [0, 1, 0, -1, 1, 0]], bias_in = [2, -1], weights_out = [[7, 1], [0, 2]], \
                       bias_out = [0, -0.5] }
";

fn parse(text: &str) -> TaskConfig {
    toml::from_str(text).expect(text)
}

fn messages(text: &str) -> Vec<String> {
    parse(text).validate().iter().map(ToString::to_string).collect()
}

fn forms(text: &str) -> TruncatedLinear {
    let TaskConfig::TruncatedLinear(config) = parse(text) else { panic!("{text}") };
    TruncatedLinear::new(config, &mut Seed(1).rng(Stream::Task, 0))
}

fn network(text: &str) -> ReluNetwork {
    let TaskConfig::ReluNetwork(config) = parse(text) else { panic!("{text}") };
    ReluNetwork::new(config, &mut Seed(1).rng(Stream::Task, 0))
}

#[test]
fn given_forms_by_hand() {
    let task = forms(FORMS);
    assert_eq!(messages(FORMS), [""; 0]);
    // 1 + 2 - 1 + 0.5 is inside; -9 + 1 + 1 is cut off below.
    assert_eq!(task.targets(&[1.0, 1.0, 1.0, 9.0, 3.0, 1.0]), [2.5, -4.0]);
    // 3 + 6 - 1 + 0.5 is cut off above; 3 + 0 + 1 is inside.
    assert_eq!(task.targets(&[3.0, 3.0, 1.0, 9.0, -1.0, 0.0]), [5.0, 4.0]);
}

#[test]
fn a_given_network_by_hand() {
    assert_eq!(messages(NETWORK), [""; 0]);
    // Hidden: 1 - 6 + 2 = -3, so 0; 2 - 4 + 5 - 1 = 2.
    assert_eq!(network(NETWORK).targets(&[1., 2., 3., 4., 5., 6.]), [2.0, 3.5]);
    assert_eq!(parse(NETWORK).dims().d_out, 1);
}

#[test]
fn given_constants_hide_the_seed_from_the_targets_alone() {
    for text in [FORMS, NETWORK] {
        let config = parse(text);
        let draw = |seed: u64, example: u64| {
            config.open(&files(), Seed(seed)).expect("no file is read").example(
                Split::Train,
                example,
                &mut Seed(9).rng(Stream::Train, example),
            )
        };
        assert_eq!(draw(1, 0), draw(2, 0), "{text}");
        assert_ne!(draw(1, 0), draw(1, 1), "{text}");
    }
}

#[test]
fn drawn_constants_written_down_are_the_same_task() {
    let seed = Seed(7);
    let config = TruncatedLinearConfig { seq_len: 5, d_in: 3, ..Default::default() };
    let drawn = TruncatedLinear::new(config.clone(), &mut seed.rng(Stream::Task, 0));
    let config = TaskConfig::TruncatedLinear(config);
    assert_same(&config, &TaskConfig::TruncatedLinear(drawn.written_down()), seed);
    for d_out in [None, Some(2)] {
        let config = ReluNetworkConfig { seq_len: 5, d: 3, d_out, d_hidden: 7, ..Default::default() };
        let drawn = ReluNetwork::new(config.clone(), &mut seed.rng(Stream::Task, 0));
        let config = TaskConfig::ReluNetwork(config);
        assert_same(&config, &TaskConfig::ReluNetwork(drawn.written_down()), seed);
    }
}

/// Asserts that a config with given constants produces the examples of the seed that they were drawn from, also after a
/// round trip.
fn assert_same(drawn: &TaskConfig, written_down: &TaskConfig, seed: Seed) {
    assert_eq!(written_down.validate(), []);
    let read = parse(&toml::to_string(written_down).expect("a table"));
    assert_eq!(read, *written_down);
    let examples = |config: &TaskConfig, seed: Seed| {
        let task = config.open(&files(), seed).expect("no file is read");
        [0, 1, 2].map(|i| task.example(Split::Test, i, &mut Seed(3).rng(Stream::Test, i)))
    };
    let expected = examples(drawn, seed);
    assert_eq!(examples(&read, Seed(100)), expected);
    assert_ne!(examples(drawn, Seed(100)), expected);
}

#[test]
fn a_width_out_that_is_the_width_in_changes_no_number() {
    let narrow = "[relu_network]\nseq_len = 3\nd = 2\nd_hidden = 5";
    let (default, said) = (network(narrow), network(&format!("{narrow}\nd_out = 2")));
    assert_eq!(default.targets(&[0.5; 6]), said.targets(&[0.5; 6]));
    // W1 and b1 are drawn first, so that they do not depend on the output width.
    let wide = network(&format!("{narrow}\nd_out = 7"));
    assert_eq!((&wide.weights_in, &wide.bias_in), (&default.weights_in, &default.bias_in));
    assert_eq!((wide.weights_out.shape(), wide.bias_out.len()), ((21, 5), 21));
    assert_eq!(wide.targets(&[0.5; 6]).len(), 21);
}

#[test]
fn a_config_without_given_constants_does_not_mention_them() {
    for name in ["truncated_linear", "relu_network"] {
        let written = toml::to_string(&TaskConfig::with_defaults(name).expect(name)).expect("a table");
        assert!(!written.contains("given") && !written.contains("d_out"), "{written}");
    }
}

#[test]
fn given_constants_of_a_wrong_shape_are_refused_with_the_right_one() {
    let forms = |given: &str| messages(&format!("[truncated_linear]\nseq_len = 2\nd_in = 3\n{given}"));
    assert_eq!(
        forms("given = { weights = [[1, 2, 3]], offsets = [1, 2, 3] }"),
        [
            "given.weights: there are 1 rows; give seq_len = 2 of them",
            "given.offsets: there are 3 numbers; give seq_len = 2"
        ]
    );
    assert_eq!(
        forms("given = { weights = [[1, 2, 3], [1, 2]], offsets = [1, nan] }"),
        [
            "given.weights: row 2 holds 2 numbers; give d_in = 3",
            "given.offsets: the list holds NaN; give finite single-precision numbers"
        ]
    );
    assert_eq!(
        forms("given = { weights = [[1, 2, 3], [1, 2, 1e39]], offsets = [1, 2] }"),
        ["given.weights: row 2 holds 1e39; give finite single-precision numbers"]
    );
    let network = |keys: &str| messages(&format!("[relu_network]\nseq_len = 2\nd = 3\nd_hidden = 1\n{keys}"));
    let given = "given = { weights_in = [[1, 2]], bias_in = [], weights_out = [[1], [1]], bias_out = [1] }";
    assert_eq!(
        network(&format!("d_out = 1\n{given}")),
        [
            "given.weights_in: row 1 holds 2 numbers; give seq_len * d = 6",
            "given.bias_in: there are 0 numbers; give d_hidden = 1",
            "given.bias_out: there are 1 numbers; give seq_len * d_out = 2"
        ]
    );
    assert_eq!(network(given)[2], "given.weights_out: there are 2 rows; give seq_len * d = 6 of them");
    assert_eq!(network("d_out = 0"), ["d_out: 0 is too few; give 1 or more"]);
}
