//! A function on the circle or the sphere by one frozen head and a prefix.

use headway_theory::{
    Refusal, Target,
    construct::{Request, prefix::Prefix},
    interpolation::Mode,
    smoothness::Given,
};

use crate::stages::{self, holds, knew_its_size, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn formulas(list: &[&str], d_in: usize) -> Target {
    Target::formulas(list, [1, d_in], [-1.0, 1.0]).unwrap()
}

fn smooth() -> Target {
    formulas(&["x1*x2", "sin(2*x3)", "x1^2 - x3"], 3)
}

fn kinked() -> Target {
    formulas(&["abs(x1)", "max(x2, x3)", "abs(x1 - x2)/2"], 3)
}

fn on(d_in: usize, function: Target, mode: Mode) -> Prefix {
    Prefix { seq_len: 1, d_in, function, mode, length: None, given: Given::default() }
}

#[test]
fn case_by_case() {
    let circle = formulas(&["abs(x1)", "x1*x2"], 2);
    let wave = Target::opaque("sin 3 angle", |x| vec![(3.0 * x[1].atan2(x[0])).sin()]);
    let known = Given { lipschitz: Some(3.0), curvature: Some(9.0) };
    for (prefix, tolerance) in [
        (on(2, circle.clone(), Mode::Minimax), 0.05),
        (on(2, circle.clone(), Mode::Smooth), 0.1),
        (on(2, circle, Mode::Hard), 0.1),
        (Prefix { given: known, ..on(2, wave, Mode::Smooth) }, 5e-3),
        (on(3, kinked(), Mode::Minimax), 0.2),
        (on(3, smooth(), Mode::Smooth), 0.05),
        // So many positions that they weigh something beside few points of a prefix.
        (Prefix { seq_len: 5, ..on(3, smooth(), Mode::Smooth) }, 0.1),
        (Prefix { seq_len: 40, length: Some(12), ..on(2, formulas(&["x1"], 2), Mode::Smooth) }, 1.0),
        (on(3, kinked(), Mode::Hard), 0.2),
        (on(3, smooth(), Mode::Minimax), 0.2),
    ] {
        let construction = prefix.build(Request { tolerance, ..SIZE }).unwrap();
        let found = holds(&construction, tolerance);
        println!(
            "{} {:?}: bound {:.2e} rounding {:.2e}, float64 {:.2e} float32 {:.2e}",
            found.target,
            found.sizes,
            found.bound.value,
            found.rounding.value,
            found.float64.error,
            found.float32.error
        );
        knew_its_size(&construction, tolerance, |request| prefix.build(request));
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_head_is_the_same_for_all_functions() {
    let build = |function: Target, length: usize| {
        let prefix = Prefix { length: Some(length), ..on(3, function, Mode::Minimax) };
        prefix.build(SIZE).unwrap().network.layers.remove(0).heads.remove(0)
    };
    let (one, other) = (build(smooth(), 50), build(kinked(), 70));
    assert!(one.query == other.query && one.key == other.key && one.value == other.value && one.output == other.output);
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_error_falls_with_the_prefix() {
    let on_circle = || formulas(&["abs(x1)"], 2);
    let wave = || formulas(&["2*x1*x2"], 2);
    for (d_in, function, mode, lengths, wanted) in [
        (3, kinked(), Mode::Minimax, [100, 250, 640, 1600], -0.5),
        (3, smooth(), Mode::Smooth, [100, 250, 640, 1600], -1.0),
        (2, on_circle(), Mode::Minimax, [11, 41, 161, 641], -1.0),
        (2, wave(), Mode::Smooth, [16, 32, 64, 128], -2.0),
    ] {
        let mut points = Vec::new();
        for length in lengths {
            let sized = Prefix { length: Some(length), ..on(d_in, function.clone(), mode) };
            let found = holds(&sized.build(SIZE).unwrap(), f64::MAX);
            let terms: Vec<String> =
                found.bound.terms.iter().map(|term| format!("{} {:.2e}", term.name, term.value)).collect();
            println!(
                "{} {mode:?} {length}: {:.2e} of {:.2e} ({})",
                function.text,
                found.float64.error,
                found.bound.value,
                terms.join(", ")
            );
            points.push((length as f64, found.float64.error));
        }
        println!("{} {mode:?}: {}", function.text, slope(&points));
        assert!((slope(&points) - wanted).abs() < 0.1, "{} {mode:?}: {points:?}", function.text);
    }
}

/// No float32 point is on the sphere, so the target is evaluated at the nearest point that is.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_target_lives_on_the_sphere() {
    let radius = Target::opaque("|x|", |x| vec![x.iter().map(|x| x * x).sum::<f64>().sqrt() * 1e9]);
    let built = Prefix { length: Some(20), ..on(3, radius, Mode::Minimax) }.build(SIZE).unwrap();
    let found = (built.target.function)(&[0.6 + 1e-7, 0.0, 0.8])[0];
    assert!((found - 1e9).abs() < 1e-5, "{found}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    let circle = on(2, formulas(&["x1"], 2), Mode::Minimax);
    let Refusal::Unreachable { reachable, .. } = circle.build(Request { tolerance: 1e-6, ..SIZE }).unwrap_err() else {
        panic!("not refused for its tolerance")
    };
    holds(&circle.build(Request { tolerance: reachable, ..SIZE }).unwrap(), reachable);
    let small = Request { tolerance: 0.01, max_parameters: 200 };
    let Refusal::TooLarge { reachable, .. } = circle.build(small).unwrap_err() else {
        panic!("not refused for its size")
    };
    assert!(circle.build(Request { tolerance: reachable, ..small }).is_ok());
    let negative = Given { lipschitz: None, curvature: Some(-1.0) };
    for (prefix, words) in [
        (Prefix { d_in: 4, ..circle.clone() }, "d-in: must be 2, for the circle, or 3, for the sphere"),
        (Prefix { length: Some(2), ..circle.clone() }, "length: must be from 3 to 8192"),
        (Prefix { given: negative, ..circle.clone() }, "curvature: must be a number from 0 on"),
        (on(2, Target::opaque("1 / y", |x| vec![1.0 / x[1]]), Mode::Hard), "function: must give finite numbers"),
        (
            on(
                3,
                Target::opaque("not a number near a pole", |x| vec![if x[0] > 0.99 { f64::NAN } else { 1.0 }]),
                Mode::Hard,
            ),
            "function: must",
        ),
        (on(2, Target::opaque("nothing", |_| vec![]), Mode::Hard), "function: must give finite numbers"),
    ] {
        let refusal = prefix.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let circle = formulas(&["abs(x1)", "x1*x2"], 2);
    for (prefix, tolerance, rows) in [
        (on(3, kinked(), Mode::Minimax), 0.3, 50..60),
        (on(2, circle.clone(), Mode::Minimax), 0.1, 5..7),
        (on(2, circle, Mode::Smooth), 0.1, 5..7),
    ] {
        let build = || prefix.build(Request { tolerance, ..SIZE }).unwrap();
        let mut shifted = build();
        let value = shifted.network.layers[0].space.at("value");
        rows.for_each(|row| shifted.network.layers[0].map.constant[(row, value)] += 1.5);
        let mut hotter = build();
        hotter.network.layers[0].heads[0].query.weight *= 0.02;
        let mut swapped = build();
        swapped.network.layers[0].heads[0].value.weight.swap_columns(0, 1);
        for (name, construction) in [("value", shifted), ("temperature", hotter), ("channel", swapped)] {
            let certificate = stages::certificate(&construction, tolerance);
            assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
        }
    }
}
