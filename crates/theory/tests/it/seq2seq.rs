//! Continuous functions of the whole sequence, by a grid and by a fit.

use headway_theory::{
    Basis, Refusal, Target, Verdict,
    construct::{
        Construction, Request,
        relu_network::Form,
        seq2seq::{Method, Seq2seq, Source},
    },
};

use crate::stages::{self, holds, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 20_000_000 };

fn formulas(list: &[&str], n: usize, d_in: usize) -> Source {
    Source::Function(Target::formulas(list, [n, d_in], [0.0, 1.0]).unwrap())
}

/// Two positions of one number: smooth, with a slope of at most sqrt(3² + 2²) on [0, 1]².
fn waves() -> Source {
    formulas(&["(2 - i)*(sin(3*x1_1) + x2_1^2) + (i - 1)*x1_1*x2_1"], 2, 1)
}

/// Two positions of two numbers, which are all mixed; 1-Lipschitz in each, with a kink.
fn kinked() -> Source {
    formulas(&["(2 - i)*abs(x1_1 - x2_2) + (i - 1)*max(x1_2, x2_1)"], 2, 2)
}

/// Any number of positions: a softmax of inputs over positions, which is very different from a ReLU network.
fn soft(n: usize) -> Source {
    Source::Function(Target::opaque("softmax of the sequence", move |x| {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        (0..n).map(|i| x[i].exp() / sum).collect()
    }))
}

fn term(construction: &Construction, name: &str) -> String {
    construction.bound.terms.iter().find(|term| term.name == name).map(|term| term.formula.clone()).unwrap_or_default()
}

#[test]
fn case_by_case() {
    for (source, n, d, method, lipschitz, low, high, tolerance) in [
        (waves(), 2, [1, 1], Method::Grid, Some(3.61), 0.0, 1.0, 0.05),
        (waves(), 2, [1, 1], Method::Grid, None, -1.0, 0.5, 0.25),
        (waves(), 2, [1, 1], Method::Auto, None, 0.0, 1.0, 0.25),
        (kinked(), 2, [2, 1], Method::Grid, Some(1.42), 0.0, 1.0, 0.3),
        (soft(1), 1, [1, 1], Method::Grid, Some(0.0), 0.0, 1.0, 1e-3),
        (waves(), 2, [1, 1], Method::Fit, None, 0.0, 1.0, 0.05),
        (soft(6), 6, [1, 1], Method::Auto, None, -1.0, 1.0, 0.1),
    ] {
        let options = Seq2seq {
            method,
            lipschitz,
            low: vec![low; n * d[0]],
            high: vec![high; n * d[0]],
            ..Seq2seq::new(source, n, d[0], d[1])
        };
        let construction = options.build(Request { tolerance, ..SIZE });
        let construction = construction.unwrap_or_else(|refusal| panic!("{n} {d:?} {method:?}: {refusal}"));
        if construction.bound.rests_on(Basis::Measured) {
            // Six numbers and no formula: nothing is certified, but the measurements are kept.
            let certificate = stages::certificate(&construction, tolerance);
            assert!(n == 6 && !certificate.holds && certificate.verdict == Verdict::NotCertified, "{certificate:?}");
            assert!(certificate.float32.error <= certificate.bound.value, "{certificate:?}");
        } else {
            holds(&construction, tolerance);
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_proved_and_what_is_measured() {
    let build = |options: Seq2seq| options.build(Request { tolerance: 0.1, ..SIZE }).unwrap();
    let grid = Seq2seq { method: Method::Grid, ..Seq2seq::new(waves(), 2, 1, 1) };
    let known = build(grid.clone());
    assert!(term(&known, "interpolation").contains("(from the formula)"), "{:?}", known.bound);
    assert_eq!(holds(&known, 0.1).verdict, Verdict::Proved);
    let Source::Function(target) = waves() else { panic!("no function") };
    let opaque = Seq2seq { source: Source::Function(Target { enclosure: None, ..target }), ..grid };
    let measured = build(opaque.clone());
    assert!(term(&measured, "interpolation").contains("(measured, not proved)"), "{:?}", measured.bound);
    assert_eq!(stages::certificate(&measured, 0.1).verdict, Verdict::NotCertified);
    let given = build(Seq2seq { lipschitz: Some(3.61), ..opaque.clone() });
    assert!(term(&given, "interpolation").contains("(as given)"), "{:?}", given.bound);
    assert_eq!(holds(&given, 0.1).verdict, Verdict::Given);
    // The error of a fit to a formula is bounded over the whole box; that of a fit to values alone is not.
    let fit = build(Seq2seq { method: Method::Fit, ..Seq2seq::new(waves(), 2, 1, 1) });
    assert!(term(&fit, "fit").starts_with("from the formula: ") && !term(&fit, "gates").is_empty(), "{:?}", fit.bound);
    assert_eq!(holds(&fit, 0.1).verdict, Verdict::Proved);
    let fit = build(Seq2seq { method: Method::Fit, ..opaque });
    assert!(term(&fit, "fit").starts_with("measured, not proved"), "{:?}", fit.bound);
}

/// A fit compiles to the paper's two layers and to one layer with a softmax as it does to three layers.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_fit_takes_every_form() {
    for (form, layers) in [(Form::T1, 2), (Form::T2, 3), (Form::S, 1)] {
        let options = Seq2seq { form: Some(form), ..Seq2seq::new(waves(), 2, 1, 1) };
        let built = options.build(Request { tolerance: 0.1, ..SIZE }).unwrap();
        assert_eq!(built.network.layers.len(), layers, "{form:?}");
        assert!(!term(&built, "fit").is_empty(), "{form:?}: {:?}", built.bound);
        assert_eq!(holds(&built, 0.1).verdict, Verdict::Proved);
        // One parameter too few is named before anything is built.
        let refusal = options.build(Request { tolerance: 0.1, max_parameters: built.network.parameters() - 1 });
        assert!(matches!(refusal, Err(Refusal::TooLarge { .. })), "{form:?}: {refusal:?}");
    }
}

/// A spike between the points at which slopes would be measured.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn spikes_are_bounded_or_refused() {
    let spike = || formulas(&["x1_1 + 125*relu(0.008 - abs(x1_1 - 0.3) - abs(x2_1 - 0.7))"], 2, 1);
    let grid = Seq2seq { method: Method::Grid, ..Seq2seq::new(spike(), 2, 1, 1) };
    let refusal = grid.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err();
    assert!(matches!(refusal, Refusal::Unreachable { .. }), "{refusal}");
    let built = Seq2seq { cells: Some(20), ..grid }.build(SIZE).unwrap();
    let (found, wanted) = (built.network.forward(&[0.3, 0.7])[0], (built.target.function)(&[0.3, 0.7])[0]);
    assert!((wanted - 1.3).abs() < 1e-12 && built.bound.value >= (found - wanted).abs(), "{:?}", built.bound);
    // No false proof is found: a fit that misses the spike is not within a tolerance smaller than the spike.
    let fit = Seq2seq { method: Method::Fit, units: Some(8), ..Seq2seq::new(spike(), 2, 1, 1) };
    match fit.build(Request { tolerance: 0.5, ..SIZE }) {
        Ok(built) => assert!(built.bound.rests_on(Basis::Measured), "{:?}", built.bound),
        Err(refusal) => assert!(matches!(refusal, Refusal::Unfit { .. }), "{refusal}"),
    }
    // A fit that is zero compiles exactly, and its own error still counts.
    let thin = formulas(&["relu(1 - 1e3*abs(x1_1 - 0.1234))"], 2, 1);
    let refusal =
        Seq2seq { method: Method::Auto, ..Seq2seq::new(thin, 2, 1, 1) }.build(Request { tolerance: 0.1, ..SIZE });
    assert!(matches!(refusal, Err(Refusal::Unfit { reached, .. }) if reached > 0.5), "{refusal:?}");
}

/// Whatever the slope: a mean of zeros and ones is off by at most 1, rounding of scores included.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn no_bound_is_beyond_the_range() {
    for (formula, range) in [("step(x1_1 + x2_1 - 0.7)", 1.0), ("5 - 3*step(x1_1 - x2_1)", 3.0)] {
        let grid = Seq2seq {
            method: Method::Grid,
            lipschitz: Some(1e9),
            cells: Some(12),
            ..Seq2seq::new(formulas(&[formula], 2, 1), 2, 1, 1)
        };
        let built = grid.build(SIZE).unwrap();
        let certificate = holds(&built, f64::MAX);
        let (bound, rounding) = (certificate.bound.value, certificate.rounding.value);
        assert!((range..1.01 * range).contains(&bound) && rounding < 1e-4, "{formula}: {bound} + {rounding}");
        assert_eq!(certificate.verdict, Verdict::Proved, "{formula}");
    }
}

/// Breaks of a formula of several numbers, along its axes and where two of them cross.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn breaks_are_measured() {
    for (formula, place) in [
        ("abs(x1_1 - 0.3137)^0.5 + x2_1", [0.3137, 0.5]),
        ("abs(x1_1 - 0.413)^0.5 + abs(x2_1 - 0.577)^0.5", [0.413, 0.577]),
        ("x1_1 + 125*relu(0.008 - abs(x1_1 - 0.3) - abs(x2_1 - 0.7))", [0.3, 0.7]),
    ] {
        let options =
            Seq2seq { method: Method::Grid, cells: Some(4), ..Seq2seq::new(formulas(&[formula], 2, 1), 2, 1, 1) };
        let built = options.build(SIZE).unwrap();
        let place = place.map(|x: f64| f64::from(x as f32));
        let there = (built.network.forward(&place)[0] - (built.target.function)(&place)[0]).abs();
        let certificate = stages::certificate(&built, f64::MAX);
        assert!(certificate.float32.points["breaks"] > 0, "{formula}: {:?}", certificate.float32.points);
        assert!(certificate.float32.error >= there - 1e-5, "{formula}: {} found of {there}", certificate.float32.error);
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_grid_gets_better_with_its_cells() {
    let errors = [4, 8, 16, 32].map(|cells| {
        let options = Seq2seq {
            method: Method::Grid,
            lipschitz: Some(3.61),
            cells: Some(cells),
            ..Seq2seq::new(waves(), 2, 1, 1)
        };
        let certificate = holds(&options.build(SIZE).unwrap(), f64::MAX);
        (cells as f64, certificate.float64.error)
    });
    println!("{errors:?}");
    assert!((slope(&errors) + 1.0).abs() < 0.15, "{errors:?}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn samples_are_fitted() {
    let n = 3;
    let numbers: Vec<f64> = headway_testkit::numbers(3, 2000 * n).into_iter().map(f64::from).collect();
    let inputs: Vec<Vec<f64>> = numbers.chunks(n).map(<[f64]>::to_vec).collect();
    let Source::Function(Target { function, .. }) = soft(n) else { panic!("no function") };
    let outputs: Vec<Vec<f64>> = inputs.iter().map(|x| function(x)).collect();
    let source = Source::Samples { inputs: inputs.clone(), outputs: outputs.clone() };
    let options = Seq2seq { low: vec![-1.0; n], high: vec![1.0; n], ..Seq2seq::new(source, n, 1, 1) };
    let construction = options.build(Request { tolerance: 0.02, ..SIZE }).unwrap();
    let certificate = holds(&construction, 0.02);
    // Certificate and bound are about the fitted network; the fit's own error is reported, and was within the
    // tolerance.
    let off = ["off at held-out samples", "off at fitted samples"].map(|name| certificate.sizes[name]);
    let most = off[0].max(off[1]);
    assert!(most + certificate.bound.value + certificate.rounding.value <= 0.02, "{certificate:?}");
    assert!(certificate.bound.value < 0.1 * most, "{certificate:?}");
    assert!(certificate.target.contains("at 400 held-out samples and by"), "{}", certificate.target);
    assert_eq!(certificate.float32.points["samples"], 250);
    let fitted = &construction.target.function;
    let worst = inputs
        .iter()
        .zip(&outputs)
        .map(|(x, y)| fitted(x).iter().zip(y).fold(0.0, |top, (a, b)| f64::max(top, (a - b).abs())));
    let worst = worst.fold(0.0, f64::max);
    assert!((worst - most).abs() < 1e-12, "off by {worst} on the samples, not {most}");
    // The same seed gives the same network.
    let again = options.build(Request { tolerance: 0.02, ..SIZE }).unwrap();
    assert_eq!(again.bound, construction.bound);
    // A wrong weight is found even if it moves the output by less than the error of the fit.
    let mut wrong = construction;
    wrong.network.layers[2].heads[0].output *= 1.0 + 0.5 * most;
    let certificate = stages::certificate(&wrong, 0.02);
    assert!(!certificate.holds && certificate.float32.error < most, "{certificate:?}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    // A grid of many numbers, and a fit that cannot be accurate enough: the smallest tolerance that is named can be
    // reached.
    let grid = Seq2seq { method: Method::Grid, lipschitz: Some(3.61), ..Seq2seq::new(waves(), 2, 1, 1) };
    let refusal = grid.build(Request { tolerance: 1e-4, ..SIZE }).unwrap_err();
    let Refusal::Unreachable { reachable, hint, .. } = refusal else { panic!("{refusal}") };
    assert!(hint.contains("method fit"), "{hint}");
    assert!(grid.build(Request { tolerance: reachable, ..SIZE }).is_ok());
    let small = Request { tolerance: 0.02, max_parameters: 2_000 };
    let refusal = grid.build(small).unwrap_err();
    let Refusal::TooLarge { reachable, .. } = refusal else { panic!("{refusal}") };
    assert!(grid.build(Request { tolerance: reachable, ..small }).is_ok());

    let fit = Seq2seq { method: Method::Fit, units: Some(20), ..Seq2seq::new(waves(), 2, 1, 1) };
    let refusal = fit.build(Request { tolerance: 1e-4, ..SIZE }).unwrap_err();
    let Refusal::Unfit { reached, units: 20, .. } = refusal else { panic!("{refusal}") };
    let construction = fit.build(Request { tolerance: reached, ..SIZE }).unwrap();
    holds(&construction, reached);
    let all = Seq2seq { units: None, ..fit.clone() };
    let refusal = all.build(Request { tolerance: 1e-9, max_parameters: 10_000 }).unwrap_err();
    let Refusal::TooLarge { reachable, .. } = refusal else { panic!("{refusal}") };
    holds(&all.build(Request { tolerance: reachable, max_parameters: 10_000 }).unwrap(), reachable);

    // What would take hours is refused at once.
    let long = |method| Seq2seq { method, ..Seq2seq::new(soft(7000), 7000, 1, 1) };
    for (options, words) in [
        (long(Method::Grid), "method: grid takes 2^7000 keys at least"),
        (long(Method::Fit), "seq-len: 7000 input numbers and 8 units, fitted at 28536 points, take too long"),
        (Seq2seq { units: Some(5000), ..fit.clone() }, "units: 2 input numbers and 5000 units, fitted at 20512 points"),
    ] {
        let refusal = options.build(SIZE).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }

    let samples =
        |inputs: Vec<Vec<f64>>, outputs: Vec<Vec<f64>>| Seq2seq::new(Source::Samples { inputs, outputs }, 2, 1, 1);
    let (few, many) = (vec![vec![0.5; 2]; 3], vec![vec![0.5; 2]; 20]);
    for (options, words) in [
        (Seq2seq { low: vec![0.0], ..fit.clone() }, "low: need 2 lower and upper ends"),
        (Seq2seq { low: vec![2.0; 2], ..fit.clone() }, "low: must be below high, both finite, not 2 and 1"),
        (Seq2seq { units: Some(0), ..fit.clone() }, "units: must be at least 1"),
        (Seq2seq { cells: Some(0), ..fit.clone() }, "cells: must be at least 1"),
        (
            Seq2seq { cells: Some(10_000), method: Method::Grid, ..fit.clone() },
            "cells: make more than 262144 keys, 10000^2",
        ),
        (Seq2seq { lipschitz: Some(f64::NAN), ..fit.clone() }, "lipschitz: must be a number from 0 on, not NaN"),
        (Seq2seq { seq_len: 0, ..fit.clone() }, "seq-len: needs a position"),
        (Seq2seq { d_out: 3, ..fit.clone() }, "function: must give 6 finite numbers, but gives ["),
        (samples(few.clone(), few), "samples: need as many outputs as inputs, 10 at least, not 3 and 3"),
        (samples(many.clone(), vec![vec![0.5; 3]; 20]), "samples: need 2 numbers per input and 2 per output"),
        (samples(vec![vec![1.5; 2]; 20], many.clone()), "samples: number 0 of input 0 is 1.5, outside [0, 1]"),
        (samples(many.clone(), vec![vec![f64::NAN; 2]; 20]), "samples: hold something that is not a finite number"),
        (Seq2seq { method: Method::Grid, ..samples(many.clone(), many) }, "method: grid needs a function"),
    ] {
        let refusal = options.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    for tolerance in [0.0, -1.0, f64::NAN] {
        let refusal = fit.build(Request { tolerance, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with("tolerance: must be a positive number"), "{refusal}");
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let build = |method, tolerance| {
        let options = Seq2seq { method, lipschitz: Some(3.61), ..Seq2seq::new(waves(), 2, 1, 1) };
        options.build(Request { tolerance, ..SIZE }).unwrap()
    };
    let mut value = build(Method::Grid, 0.1);
    let last = value.network.layers[0].space.width() - 1;
    let shape = value.network.layers[0].map.constant.shape();
    value.network.layers[0].map.constant[(shape.0 - 1, last)] += 0.5;
    let mut hot = build(Method::Grid, 0.1);
    hot.network.layers[0].heads[0].query.weight *= 0.02;
    let mut fit = build(Method::Fit, 0.1);
    fit.network.layers[2].heads[0].output *= 1.2;
    for (name, construction) in [("value", value), ("temperature", hot), ("scale", fit)] {
        let certificate = stages::certificate(&construction, 0.1);
        assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
    }
}
