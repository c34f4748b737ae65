//! Programs: every word of a length, on every program that ships.

use headway_model::weights::{self, arrays};
use headway_plain::network::Linear;
use headway_tasks::{
    TaskConfig,
    program::{Program as Text, ZOO},
};
use headway_testkit::devices;
use headway_theory::{
    Effort, Objection, Refusal, Verdict, certify,
    construct::{
        Construction, Request,
        options::{Given, Options},
        program::{Config, Program},
    },
};

use crate::stages::{certificate, holds, knew_its_size};

const ANY: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn shipped(name: &str, length: Option<usize>) -> Construction {
    let config = Config { program: name.to_owned(), length };
    let (construction, _) = config.plan(None, ANY.max_parameters).unwrap().build(ANY).unwrap();
    construction
}

fn compiled(text: &str, seq_len: usize) -> Construction {
    Program { name: "a test".to_owned(), text: Text::read(text).unwrap(), seq_len }.build(ANY).unwrap()
}

fn promised(construction: &Construction) -> f64 {
    construction.bound.value + construction.rounding.value
}

/// All words of a few positions, in float32 and in double precision, and nothing of it is far from an integer.
#[test]
fn every_word_of_every_program_that_ships() {
    for program in ZOO {
        let length = program.length.min(6);
        let construction = shipped(program.name, Some(length));
        let certificate = holds(&construction, promised(&construction));
        assert_eq!(certificate.verdict, Verdict::Proved);
        let tried = certificate.tried.unwrap();
        let symbols = construction.network.d_in as f64;
        assert!(
            tried.all && (tried.words as f64 - symbols.powf(length as f64)).abs() < 0.5,
            "{}: {tried:?}",
            program.name
        );
        // Rounding alone: 6e-8 per operation, on numbers up to twelve or so.
        assert!(tried.margin > 0.499 && promised(&construction) < 0.01, "{}: {tried:?}", program.name);
    }
}

/// What programs may contain: every operation, at both ends of its range.
const CASES: &[&str] = &[
    "alphabet a b\nreturn 'a'",
    "alphabet a b\nreturn 1, i, n, 2 * i - n",
    "alphabet a b\nreturn not 'a', 'a' and 'b', 'a' or 'b', 'a' or 'a'",
    "alphabet a b c\nx = #[j <= i] 'a'\ny = #[j > i] 'b'\nreturn x < y, x <= y, x = y, x != y, x >= y, x > y",
    "alphabet a b c\nx = #[j != i] 'a' - #[j] 'b'\nreturn x mod 3, x div 2, min(x, 1), max(x, i - 2), -x",
    "alphabet a b c\nx = #[j < i] 'a'\nreturn if 'b' then x else 2 - x, if x > 1 then 'a' else 'c', if 'a' then 3 else -2",
    "alphabet a b\nreturn 'a'[i-1], 'a'[1], 'b'[n], 'a'[n-1], 'b'[i+2], 'a'[9], i[i-1], (#[j <= i] 'a')[i+1]",
    "alphabet a b\nx = 'a'[i-1]\ny = x and 'b'\nz = #[j <= i] y\nreturn #[j >= i] (z = 1), #[j = 2] y",
    "alphabet a b c\ns = automaton\n  q: 'a' -> r, 'b' -> q, 'c' -> t\n  r: 'a' -> q, 'b' -> t, 'c' -> r\n  t: 'a' -> t, 'b' -> q, 'c' -> q\n\
     return s.q, s.r, #[j <= i] s.t",
    "alphabet a\nreturn 'a', #[j <= i] 'a'",
];

#[test]
fn every_operation() {
    for text in CASES {
        for seq_len in [1, 2, 5] {
            let construction = compiled(text, seq_len);
            let certificate = holds(&construction, promised(&construction));
            assert!(certificate.tried.unwrap().all, "{text}");
        }
    }
    let construction = compiled(CASES[3], 5);
    let again =
        |request| Program { name: String::new(), text: Text::read(CASES[3]).unwrap(), seq_len: 5 }.build(request);
    knew_its_size(&construction, f64::MAX, again);
}

/// A program without counts of its own takes as many heads as it has gates, and what is handed on.
#[test]
fn sizes_are_those_of_the_literature() {
    let size = |construction: &Construction, name: &str| {
        construction.sizes.iter().find(|(known, _)| known == name).map(|(_, size)| *size).unwrap()
    };
    let majority = shipped("majority", None);
    // A count, then a comparison.
    assert!(["layers", "heads"].iter().all(|name| (size(&majority, name) - 2.0).abs() < 0.5));
    // Doubling: two layers per round, as many rounds as the logarithm of the length.
    for (length, layers) in [(2, 2.0), (4, 4.0), (8, 6.0), (16, 8.0), (31, 10.0)] {
        assert!((size(&shipped("cups", Some(length)), "layers") - layers).abs() < 0.5, "{length}");
    }
}

/// Too many words are drawn, and that is said; the bound holds for them all the same.
#[test]
fn many_words_are_not_all_words() {
    let construction = shipped("dyck", Some(40));
    let certificate = holds(&construction, promised(&construction));
    let tried = certificate.tried.unwrap();
    assert!(!tried.all && (tried.words as f64) < tried.of && tried.to_string().contains("proves nothing"), "{tried}");
}

/// A network whose weights were touched gives a wrong answer at some word, and its certificate says so.
#[test]
fn a_damaged_network_is_found_out() {
    let on = devices().remove(0);
    for name in ["parity", "adder", "dyck", "cups"] {
        let construction = shipped(name, Some(4));
        let model = construction.network.assemble(&on.device);
        let mut touched = 0;
        let all = arrays(&model);
        for (weight, array) in &all {
            // The output of each layer's last head: a gate or a count that something depends on.
            if !weight.ends_with("output.weight") {
                continue;
            }
            let mut damaged = all.clone();
            let values = &mut damaged.get_mut(weight).unwrap().values;
            assert_eq!(values.len(), array.values.len());
            let Some(value) = values.iter_mut().rev().find(|value| **value != 0.0) else { continue };
            *value = -*value;
            let (model, _) = weights::load(construction.network.assemble(&on.device), damaged).unwrap();
            let certificate =
                certify(&construction, promised(&construction), &model, &on.device, on.name, Effort::default());
            let tried = certificate.tried.as_ref().unwrap();
            assert!(!certificate.holds && tried.margin < 0.0, "{name}: {weight}");
            assert!(tried.to_string().ends_with("not every answer is right"), "{tried}");
            assert!(matches!(certificate.check(), Err(Objection::Fault { .. })), "{name}: {weight}");
            assert_eq!(certificate.verdict, Verdict::NotCertified);
            touched += 1;
        }
        assert!(touched >= 2, "{name}: {touched}");
    }
}

/// A network in double precision in which a threshold is shifted by one is found out as well.
#[test]
fn a_wrong_threshold_is_found_out() {
    let mut construction = shipped("majority", Some(6));
    let layer = &mut construction.network.layers[1];
    let one = layer.space.at("one");
    layer.heads[0].query.weight[(one, 0)] += 120.0;
    let certificate = certificate(&construction, 0.1);
    assert!(!certificate.holds && certificate.float64.error > 0.99, "{}", certificate.float64.error);
}

/// What the ground truth says of a head is what the head does: a variable that is turned off where it stands changes what depends on it.
#[test]
fn the_ground_truth_points_at_columns() {
    let mut construction = shipped("dyck", Some(6));
    let truth = construction.truth.clone().unwrap();
    let opened = truth.variables.iter().find(|variable| variable.name == "opened").unwrap();
    let [(node, _)] = opened.value.terms[..] else { panic!("{opened:?}") };
    let computed = &truth.nodes[node];
    assert_eq!((computed.kind, computed.text.as_str(), computed.layer), ("count", "#[j <= i] ('(')", Some(0)));
    let role = truth.heads.iter().find(|head| (Some(head.layer), Some(head.head)) == (computed.layer, computed.head));
    assert_eq!(role.unwrap().window.as_deref(), Some("j <= i"));
    let word = construction.domain.words().unwrap().written(&[0, 0, 1, 0, 1, 1]);
    // The columns that hold it count the brackets.
    let held = computed.held[0];
    assert_eq!(held.layer, 1);
    let mut first = construction.network.clone();
    first.layers.truncate(1);
    first.d_out = first.layers[0].d_out();
    let rows = first.forward(&word);
    let column: Vec<f64> = rows.chunks(first.d_out).map(|row| row[held.column].round()).collect();
    assert_eq!(column, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
    // Without it, the balanced word is refused.
    assert!((construction.network.forward(&word)[5] - 1.0).abs() < 1e-9);
    let Linear::TokenWise(weight) = &mut construction.network.layers[1].map.linear else { panic!("a token-wise map") };
    weight.row_mut(held.column).fill(0.0);
    assert!(construction.network.forward(&word)[5].abs() < 1e-9);
}

/// What cannot be built is refused by name.
#[test]
fn refusals_name_the_place() {
    let plan = |program: &str, text: Option<&str>, length: Option<usize>| {
        let config = Config { program: program.to_owned(), length };
        let given = text.map(|text| Given::Text(text.as_bytes().to_vec()));
        config.plan(given, ANY.max_parameters).and_then(|planned| planned.build(ANY)).map(drop).unwrap_err()
    };
    for (refusal, words) in [
        (plan("dykc", None, None), "dykc: no program that ships has this name"),
        (plan("parity", None, Some(64)), "from 1 to 63"),
        (plan("a.crasp", Some("alphabet a\nreturn b"), None), "line 2: b is not defined"),
        (plan("a.crasp", Some("alphabet a\nx = 9999 * #[j] 'a'\nreturn x > 5 * x[i-1]"), Some(40)), "65536"),
        (plan("a.crasp", Some("alphabet a b\nreturn (2000 * #[j] 'a') mod 2"), None), "parts"),
    ] {
        let text = refusal.to_string();
        assert!(text.contains(words), "{text}");
    }
    let Err(refusal) = Program { text: Text::read(CASES[0]).unwrap(), name: String::new(), seq_len: 6 }
        .build(Request { tolerance: 1e-12, ..ANY })
    else {
        panic!("float32 has no 1e-12")
    };
    assert!(matches!(refusal, Refusal::Unreachable { .. }), "{refusal}");
}

/// The task that a checkpoint is evaluated on has the targets that the network was compiled for.
#[test]
fn the_task_is_the_program() {
    let config = Config { program: "sort".to_owned(), length: Some(4) };
    let (construction, task) = config.plan(None, ANY.max_parameters).unwrap().build(ANY).unwrap();
    let TaskConfig::Program(task) = task else { panic!("another task") };
    assert!(task.source.contains("alphabet 0 1 2 3") && task.seq_len == 4);
    let word = construction.domain.words().unwrap().written(&[3, 1, 0, 1]);
    assert_eq!((construction.target.function)(&word), [0.0, 1.0, 1.0, 3.0]);
}

/// Numbers that float32 does not tell apart, and stairs without end, are refused before anything is built.
#[test]
fn numbers_beyond_reach_are_refused() {
    let huge = "10000*10000*10000*10000";
    for (returned, seq_len, words) in [
        (format!("{huge} div 1"), 6, "in size is the most"),
        (format!("'a'*{huge}*10000"), 6, "in size is the most"),
        (format!("1 + {huge}"), 6, "in size is the most"),
        ("max(10000*'a' - 5000, i)".to_owned(), 6, "has more than 4096 parts"),
        ("1000*#[j <= i] 'a'".to_owned(), 63, "integers are told apart"),
    ] {
        let text = Text::read(&format!("alphabet a b\nreturn {returned}")).unwrap();
        let refused = Program { name: String::new(), text, seq_len }
            .build(Request { tolerance: f64::MAX, max_parameters: 50_000_000 });
        let said = refused.map(|built| format!("{}", built.rounding.value)).unwrap_err().to_string();
        assert!(said.contains(words), "{returned}: {said}");
    }
}
