//! Formulas, operation by operation.

use headway_theory::{
    Refusal, Verdict,
    construct::{
        Construction, Request,
        formula::Config,
        options::{Ends, Options},
    },
};

use crate::stages::{holds, knew_its_size};

const PLENTY: usize = 50_000_000;

fn config(formulas: &[&str], [low, high]: [f64; 2]) -> Config {
    let function = formulas.iter().map(|formula| (*formula).to_owned()).collect();
    Config { function, ends: Ends { low, high }, ..Config::default() }
}

fn build(config: &Config, request: Request) -> Result<Construction, Refusal> {
    config.plan(None, request.max_parameters)?.build(request).map(|(construction, _)| construction)
}

fn built(config: &Config, tolerance: f64) -> Construction {
    let construction = build(config, Request { tolerance, max_parameters: PLENTY });
    construction.unwrap_or_else(|refusal| panic!("{config:?}: {refusal}"))
}

/// Formulas, domains and tolerances: sums, products, gates, curves, divisions, powers, positions, several outputs.
const CASES: &[(&[&str], [f64; 2], f64)] = &[
    (&["x1*x1_2 + sin(x2_1)"], [0.0, 1.0], 1e-3),
    (&["x1*x1_2 + sin(x2_1)/(1+abs(x3))"], [-1.0, 1.0], 1e-3),
    (&["x1*x2*x3"], [-1.0, 2.0], 1e-3),
    (&["min(x1, x2, x1_1*x2_2)", "max(x1, 0.3) - relu(x2 - x2_1)"], [-1.0, 1.0], 1e-4),
    (&["exp(-x1*x2)"], [0.0, 1.0], 1e-4),
    (&["sin(3*sin(2*sin(x1 + x2_1)))"], [-1.0, 1.0], 1e-3),
    (&["(x1 + 2*x2)/(3 + x1*x2)"], [-1.0, 1.0], 1e-3),
    (&["x1"], [-2.0, 1.0], 1e-5),
    (&["0.75"], [0.0, 1.0], 1e-5),
    (&["x2_1"], [0.0, 1.0], 1e-5),
    (&["i*x1 - x1_1/i + x4_1^3"], [-1.0, 1.0], 1e-3),
    (&["x1^0.5 + 2^x2 + x2^x1 + atan2(x1, x2)"], [0.5, 1.5], 1e-3),
    (&["(x1 - 100)*(x2 - 100) + tanh(x1 - x2)"], [100.0, 101.0], 1e-2),
    (&["gelu(4*x1) + sigmoid(x1)*ln(2 + x1)"], [-1.0, 1.0], 1e-3),
];

#[test]
fn case_by_case() {
    for (formulas, ends, tolerance) in CASES {
        let config = config(formulas, *ends);
        let construction = built(&config, *tolerance);
        let certificate = holds(&construction, *tolerance);
        assert_eq!(certificate.verdict, Verdict::Proved);
        knew_its_size(&construction, *tolerance, |request| build(&config, request));
    }
}

/// The two formulas that a fit of ReLU units cannot reach, or only with hundreds of thousands of numbers.
#[test]
fn formulas_take_few_parameters() {
    for (formula, most) in [("x1*x1_2 + sin(x2_1)", 2_000), ("x1*x1_2 + sin(x2_1)/(1+abs(x3))", 4_000)] {
        let construction = built(&config(&[formula], [0.0, 1.0]), 1e-3);
        assert!(construction.network.parameters() < most, "{formula}: {}", construction.network.parameters());
    }
}

/// Outputs of the network in double precision are those of the formula at single points, for every position.
#[test]
fn the_network_is_the_formula() {
    let config = Config { seq_len: Some(3), ..config(&["x1*x3_2 + i*x2", "max(x1, x2_1)/(1 + i)"], [0.0, 1.0]) };
    let network = built(&config, 1e-4).network;
    let x = [0.1, 0.9, 0.4, 0.35, 0.8, 0.6];
    let found = network.forward(&x);
    let row = |i: usize| {
        let (x1, x2) = (x[2 * i], x[2 * i + 1]);
        let i = (i + 1) as f64;
        [x1 * 0.6 + i * x2, f64::max(x1, 0.4) / (1.0 + i)]
    };
    for (position, found) in found.chunks(2).enumerate() {
        for (found, wanted) in found.iter().zip(row(position)) {
            assert!((found - wanted).abs() < 1e-4, "position {position}: {found} for {wanted}");
        }
    }
}

/// A smaller tolerance never takes fewer numbers, and errors fall with it.
#[test]
fn sizes_follow_the_tolerance() {
    let config = config(&["x1*x1_2 + sin(3*x2_1)/(2 + x1)"], [-1.0, 1.0]);
    let mut before = (0, f64::INFINITY);
    for tolerance in [0.1, 0.01, 1e-3, 1e-4] {
        let construction = built(&config, tolerance);
        let now = (construction.network.parameters(), construction.bound.value);
        assert!(now.0 >= before.0 && now.1 <= before.1, "{tolerance}: {now:?} after {before:?}");
        before = now;
    }
    // Where float32 ends, the smallest tolerance in reach is named, and can be had.
    let refusal = build(&config, Request { tolerance: 1e-8, max_parameters: PLENTY }).unwrap_err();
    let Refusal::Unreachable { reachable, .. } = refusal else { panic!("{refusal}") };
    assert!(reachable < 1e-4, "{refusal}");
    holds(&built(&config, reachable * 1.01), reachable * 1.01);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    for (formula, ends, words) in [
        ("x1 + y", [0.0, 1.0], &["the formula: ", "column 6: there is no variable `y`"][..]),
        ("sin(x1", [0.0, 1.0], &["column 7: `)` is missing"]),
        ("1/(x1 - 0.3)", [0.0, 1.0], &["a division by x1 - 0.3, which may be 0", "between -0.3 and 0.7"]),
        ("1/(1.2 + x1*x1 - 2*x1)", [0.0, 1.0], &["a division by 1.2 + x1*x1 - 2*x1, which may be 0"]),
        ("ln(x1 - x2)", [0.5, 1.0], &["the formula: `ln(x1 - x2)` is"]),
        (
            "ln(0.3 + x1 - x1^2)",
            [0.0, 1.0],
            &["ln(0.3 + x1 - x1^2) may be undefined or infinite: its argument is between"],
        ),
        ("floor(3*x1)", [0.0, 1.0], &["floor(3*x1) jumps from 0 to 3"]),
        ("x1*step(x2 - 0.5)", [0.0, 1.0], &["step(x2 - 0.5) jumps from 0 to 1"]),
        ("atan2(x1, x2)", [-1.0, 1.0], &["atan2(x1, x2) jumps or is undefined"]),
    ] {
        let refusal = build(&config(&[formula], ends), Request { tolerance: 1e-2, max_parameters: PLENTY });
        let said = refusal.unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "{formula}: {said}");
        }
    }
    let far = Config { seq_len: Some(300), ..config(&["x1"], [0.0, 1.0]) };
    let said = build(&far, Request { tolerance: 1e-2, max_parameters: PLENTY }).unwrap_err().to_string();
    assert!(said.contains("seq-len: must be at most 256"), "{said}");
}

/// A root at 0 is steep without bound: what can be reached is said.
#[test]
fn what_is_steep_without_bound_is_out_of_reach() {
    let refusal = build(&config(&["x1^0.5"], [0.0, 1.0]), Request { tolerance: 1e-4, max_parameters: PLENTY });
    let Err(Refusal::Unreachable { reachable, .. }) = refusal else { panic!("{refusal:?}") };
    assert!(reachable.is_finite() && reachable > 1e-4, "{reachable}");
    holds(&built(&config(&["x1^0.5"], [0.0, 1.0]), reachable * 1.01), reachable * 1.01);
}
