//! Any function of one number by one head.

#![allow(clippy::float_cmp, reason = "hard points are the very ones, to the last bit")]

use headway_theory::{
    Refusal, Verdict,
    construct::{
        Request,
        activation::{Activation, Scalar, Values},
    },
    interpolation::Mode,
};

use crate::stages::{self, holds, knew_its_size, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

/// A formula without any declared kinks.
fn smooth(text: &str, ends: [f64; 2]) -> Scalar {
    Scalar::formula(text, ends, &[]).unwrap()
}

fn relu() -> Scalar {
    Scalar::formula("relu(x1)", [-4.0, 4.0], &[0.0]).unwrap()
}

fn on(function: Scalar, [low, high]: [f64; 2]) -> Activation {
    Activation {
        seq_len: 7,
        function,
        low,
        high,
        mode: None,
        intervals: None,
        values: Values::default(),
        lipschitz: None,
        curvature: None,
    }
}

fn table() -> Scalar {
    Scalar::table(&[(-1.0, 0.5), (-0.3, -0.2), (0.1, 1.0), (0.15, 0.9), (2.0, -1.0)]).unwrap()
}

#[test]
fn case_by_case() {
    let tanh = || smooth("tanh(x1)", [-4.0, 4.0]);
    let relu = on(relu(), [-4.0, 4.0]);
    for (activation, tolerance) in [
        (on(tanh(), [-4.0, 4.0]), 1e-3),
        (Activation { lipschitz: Some(1.0), curvature: Some(0.7699), ..on(tanh(), [-4.0, 4.0]) }, 1e-3),
        (on(smooth("gelu(x1)", [-4.0, 4.0]), [-4.0, 4.0]), 2e-3),
        (on(smooth("sin(3*x1)", [-1.0, 2.0]), [-1.0, 2.0]), 1e-3),
        (relu.clone(), 0.01),
        (Activation { lipschitz: Some(1.0), curvature: Some(0.0), ..relu.clone() }, 0.01),
        (Activation { lipschitz: Some(1.0), ..relu.clone() }, 0.01),
        (Activation { mode: Some(Mode::Hard), ..relu.clone() }, 0.1),
        (Activation { mode: Some(Mode::Smooth), ..relu.clone() }, 0.03),
        // A kink that is not at an anchor, in an interval far from zero.
        (on(Scalar::formula("abs(x1 - 100.3)", [100.0, 101.0], &[100.3]).unwrap(), [100.0, 101.0]), 2e-3),
        // A kink that is not declared.
        (on(smooth("abs(x1 - 0.1)", [-1.0, 1.0]), [-1.0, 1.0]), 5e-3),
        (on(table(), [-1.0, 2.0]), 0.02),
        // Beyond both ends of the table, where it is constant.
        (on(table(), [-2.0, 3.0]), 0.02),
        // More positions than anchors: rows that no query attends to.
        (Activation { seq_len: 50, ..on(tanh(), [-4.0, 4.0]) }, 0.1),
        (Activation { seq_len: 1, ..on(tanh(), [-4.0, 4.0]) }, 0.1),
        (on(smooth("5", [-1.0, 1.0]), [-1.0, 1.0]), 1e-4),
    ] {
        let construction = activation.build(Request { tolerance, ..SIZE }).unwrap();
        let certificate = holds(&construction, tolerance);
        println!(
            "{} {:?} {:?}: bound {:.2e} rounding {:.2e}, float64 {:.2e} float32 {:.2e}",
            certificate.target,
            certificate.sizes,
            activation.mode,
            certificate.bound.value,
            certificate.rounding.value,
            certificate.float64.error,
            certificate.float32.error
        );
        // The bound is at most a few times the measured error, so it is meaningful.
        let found = certificate.float64.error + certificate.rounding.value;
        assert!(certificate.bound.value < 3.0 * found, "{certificate:?}");
    }
}

/// A spike between points, a cusp, a jump: either the bound covers what a lattice misses, or nothing is certified.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_lies_between_points_is_bounded() {
    for (formula, place) in [
        ("exp(-((x1 - 0.0123456)*1e5)^2)", 0.012_345_6),
        ("abs(x1)^0.25", 0.0),
        ("step(x1 - 0.1)", 0.1_f64.next_down()),
    ] {
        let activation = Activation {
            mode: Some(Mode::Hard),
            intervals: Some(20),
            ..on(smooth(formula, [-1.0, 1.0123]), [-1.0, 1.0123])
        };
        let built = activation.build(SIZE).unwrap();
        let certificate = holds(&built, f64::MAX);
        assert_eq!(certificate.verdict, Verdict::Proved, "{formula}");
        let (found, wanted) = (built.network.forward(&[place; 7])[0], (built.target.function)(&[place; 7])[0]);
        let (off, bound) = ((found - wanted).abs(), certificate.bound.value);
        assert!(off <= bound && bound <= 1.1, "{formula}: off by {off} at {place}, bound {bound}");
        let opaque = Scalar::opaque(formula, {
            let f = built.target.function.clone();
            move |x| f(&[x])[0]
        });
        let measured = Activation { function: opaque, ..activation }.build(SIZE).unwrap();
        let certificate = stages::certificate(&measured, f64::MAX);
        assert_eq!((certificate.holds, certificate.verdict), (false, Verdict::NotCertified), "{formula}");
    }
    // A given constant is compared with what is known.
    for (scalar, given) in [(smooth("sin(x1)", [-3.0, 3.0]), 0.01), (Scalar::opaque("sin", f64::sin), 0.9)] {
        let refusal =
            Activation { lipschitz: Some(given), ..on(scalar, [-3.0, 3.0]) }.build(SIZE).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("lipschitz: {given} is refuted")), "{refusal}");
    }
    let given = Activation { lipschitz: Some(1.0), ..on(Scalar::opaque("sin", f64::sin), [-3.0, 3.0]) };
    assert_eq!(holds(&given.build(Request { tolerance: 0.01, ..SIZE }).unwrap(), 0.01).verdict, Verdict::Given);
}

/// The position of a cusp or kink is among the points, whatever it is: the error found there is that of the head by its
/// definition.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn breaks_are_measured() {
    let (ends, intervals, c) = ([-1.0, 1.0123], 20, 12.0);
    for (formula, place) in [
        ("abs(x1)^0.25", 0.0),
        ("abs(x1 - 0.3137)", 0.3137),
        ("relu(0.3137 - x1)", 0.3137),
        ("max(x1, 0.4321)", 0.4321),
        ("step(x1 - 0.1)", 0.1),
        ("floor(2*x1 + 0.77)", 0.115),
        ("sqrt(abs(x1 + 0.777))", -0.777),
    ] {
        let activation =
            Activation { mode: Some(Mode::Hard), intervals: Some(intervals), ..on(smooth(formula, ends), ends) };
        let built = activation.build(SIZE).unwrap();
        let spacing = (ends[1] - ends[0]) / intervals as f64;
        let g = |x: f64| (built.target.function)(&[x; 7])[0];
        let head = |x: f64| {
            let anchors = (-2..=22).map(|k| ends[0] + f64::from(k) * spacing);
            let terms = anchors.map(|anchor| ((-c * ((x - anchor) / spacing).powi(2)).exp(), g(anchor)));
            let (sum, total) = terms.fold((0.0, 0.0), |(sum, total), (w, y)| (sum + w * y, total + w));
            sum / total
        };
        // The position itself, rounded to single precision, and its neighbours.
        let near = [(place as f32).next_down(), place as f32, (place as f32).next_up()].map(f64::from);
        let there = near.iter().map(|x| (head(*x) - g(*x)).abs()).fold(0.0, f64::max);
        let certificate = holds(&built, f64::MAX);
        assert!(certificate.float32.error >= there - 1e-5, "{formula}: {} found of {there}", certificate.float32.error);
        let breaks = &built.hard.iter().find(|(kind, _)| *kind == "breaks").unwrap().1;
        assert!(
            near.iter().all(|x| breaks.iter().flatten().any(|found| found.to_bits() == x.to_bits())),
            "{formula}: {breaks:?}"
        );
        if place == 0.0 {
            assert!((there - 0.2800).abs() < 1e-4, "{there}");
        }
    }
}

/// A root with infinite slope at the end of the interval, and a function that is undefined beyond both ends.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_ends_with_the_interval_is_built() {
    for (formula, ends, tolerance) in [
        ("sqrt(x1)", [0.0, 1.0], 0.02),
        ("sqrt(x1)", [0.0, 3.0], 0.03),
        ("2*asin(x1)", [-1.0, 1.0], 0.1),
        ("x1^0.3", [0.0, 1.0], 0.1),
        ("ln(x1)", [0.1, 1.0], 1e-3),
    ] {
        let built = on(smooth(formula, ends), ends).build(Request { tolerance, ..SIZE }).unwrap();
        let certificate = holds(&built, tolerance);
        assert_eq!(certificate.verdict, Verdict::Proved, "{formula}");
        // Points that approach the end where it is steepest.
        let near = (0..60).map(|i| ends[0] + (ends[1] - ends[0]) * 0.7_f64.powi(i));
        let off = near.map(|x| (built.network.forward(&[x; 7])[0] - (built.target.function)(&[x; 7])[0]).abs());
        assert!(off.fold(0.0, f64::max) <= certificate.bound.value, "{formula}: {certificate:?}");
        assert!(certificate.bound.value < 5.0 * certificate.float64.error, "{formula}: {certificate:?}");
    }
}

/// The task that reads the same file does the same.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_table_is_constant_beyond_its_ends() {
    let table = table();
    for (x, y) in [(-1.0, 0.5), (-7.0, 0.5), (2.0, -1.0), (1e6, -1.0), (0.125, 0.95)] {
        assert!(((table.function)(x) - y).abs() < 1e-12, "{x}: {} for {y}", (table.function)(x));
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn parameters_are_known_before_weights_are_written() {
    let relu = on(relu(), [-4.0, 4.0]);
    let construction = relu.build(Request { tolerance: 0.1, ..SIZE }).unwrap();
    knew_its_size(&construction, 0.1, |request| relu.build(request));
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_error_falls_with_the_anchors() {
    let tanh = on(smooth("tanh(x1)", [-4.0, 4.0]), [-4.0, 4.0]);
    for (activation, mode, wanted) in [
        (tanh.clone(), Mode::Smooth, -2.0),
        (tanh, Mode::Hard, -1.0),
        (on(relu(), [-4.0, 4.0]), Mode::Minimax, -1.0),
        (on(relu(), [-4.0, 4.0]), Mode::Smooth, -1.0),
    ] {
        let errors = [16, 32, 64, 128, 256].map(|p| {
            let sized = Activation { mode: Some(mode), intervals: Some(p), ..activation.clone() };
            (p as f64, holds(&sized.build(SIZE).unwrap(), f64::MAX).float64.error)
        });
        println!("{} {mode:?}: {errors:?} {}", activation.function.text, slope(&errors));
        assert!((slope(&errors) - wanted).abs() < 0.1, "{} {mode:?}: {errors:?}", activation.function.text);
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    let tanh = on(smooth("tanh(x1)", [-4.0, 4.0]), [-4.0, 4.0]);
    let Refusal::Unreachable { reachable, .. } = tanh.build(Request { tolerance: 1e-7, ..SIZE }).unwrap_err() else {
        panic!("not refused for its tolerance")
    };
    println!("tanh: reachable {reachable:.2e}");
    assert!(reachable < 1e-4, "{reachable}");
    holds(&tanh.build(Request { tolerance: reachable, ..SIZE }).unwrap(), reachable);
    let small = Request { tolerance: 1e-3, max_parameters: 300 };
    let Refusal::TooLarge { reachable, .. } = tanh.build(small).unwrap_err() else {
        panic!("not refused for its size")
    };
    assert!(reachable > 1e-3 && tanh.build(Request { tolerance: reachable, ..small }).is_ok());
    for (activation, words) in [
        (Activation { seq_len: 0, ..tanh.clone() }, "seq-len: must be at least 1"),
        (Activation { low: 4.0, ..tanh.clone() }, "low: must be below high, but 4 is not below 4"),
        (Activation { low: f64::NAN, ..tanh.clone() }, "low: must be below high"),
        (Activation { intervals: Some(0), ..tanh.clone() }, "intervals: must be from 1 to 4000"),
        (Activation { lipschitz: Some(-1.0), ..tanh.clone() }, "lipschitz: must be a number from 0 on"),
        (
            on(Scalar::opaque("1/x", |x| 1.0 / x), [-1.0, 1.0]),
            "function: 1/x is no finite number at 0; give an interval",
        ),
    ] {
        let refusal = activation.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    // NaN only where a finer lattice would look.
    let gap = Scalar::opaque("gap", |x| if (0.1135..0.117).contains(&x) { f64::NAN } else { x });
    let refusal = Activation { intervals: Some(100), ..on(gap, [0.0, 1.0]) }.build(SIZE).unwrap_err().to_string();
    assert!(refusal.starts_with("function: gap is no finite number somewhere between the ends"), "{refusal}");
    // Finite if anchors are close enough.
    let log = on(smooth("ln(x1)", [0.5, 1.0]), [0.5, 1.0]);
    holds(&log.build(Request { tolerance: 1e-3, ..SIZE }).unwrap(), 1e-3);
    let refusal = Scalar::table(&[(0.0, 1.0), (0.0, 2.0)]).unwrap_err().to_string();
    assert!(refusal.starts_with("table: x must grow from point to point, but 0 is not below 0"), "{refusal}");
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let build = || on(relu(), [-4.0, 4.0]).build(Request { tolerance: 0.02, ..SIZE }).unwrap();
    let mut shifted = build();
    shifted.network.layers[0].map.constant[(25, 4)] += 0.05;
    let mut hotter = build();
    hotter.network.layers[0].heads[0].query.weight *= 0.25;
    let mut swapped = build();
    swapped.network.layers[0].map.constant.swap_rows(3, 30);
    for (name, construction) in [("value", shifted), ("temperature", hotter), ("rows", swapped)] {
        let certificate = stages::certificate(&construction, 0.02);
        assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
    }
}
