//! Gradient descent on the prompt's regression, in both forms.

use headway_theory::{
    Refusal,
    construct::{
        Construction, Request,
        in_context_gd::{Form, InContextGd},
    },
    interpolation::{Moments, Ripple},
};

use crate::stages::{certificate, holds, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };
const LINEAR: Form = Form::Linear { delta: None };
const SQUARES: Form = Form::Squares { intervals: None, sharpness: None };

fn gd(points: usize, d: usize, steps: usize, rate: f64, form: Form) -> InContextGd {
    InContextGd { points, d, steps, rate, form, ..InContextGd::default() }
}

fn within(gd: &InContextGd, tolerance: f64) -> Construction {
    let construction = gd.build(Request { tolerance, ..SIZE }).unwrap();
    // The plan predicted the size.
    let exactly = construction.network.parameters();
    let fits = gd.build(Request { tolerance, max_parameters: exactly });
    assert!(fits.is_ok(), "{exactly} parameters are not enough: {fits:?}");
    let refused = gd.build(Request { tolerance, max_parameters: exactly - 1 });
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })), "the plan expects fewer than {exactly} parameters");
    construction
}

/// The smallest reachable tolerance, from the refusal of an impossible one.
fn reachable(gd: &InContextGd) -> f64 {
    match gd.build(Request { tolerance: 1e-30, ..SIZE }) {
        Err(Refusal::Unreachable { reachable, .. }) => reachable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn case_by_case() {
    for (points, d, steps, rate, [linear, squares]) in [
        (20, 5, 10, 0.2, [2e-3, 4e-3]),
        (11, 3, 4, 0.3, [6e-4, 1e-3]),
        (7, 2, 1, 1.0, [4e-4, 4e-4]),
        (1, 1, 3, 0.5, [2e-4, 2e-4]),
        // Fewer examples than dimensions.
        (3, 4, 6, 0.5, [3e-3, 4e-3]),
        // The largest number of rows that float32 can distinguish, and the largest stable rate.
        (510, 1, 1, 2.0, [4e-3, 6e-3]),
    ] {
        for (form, tolerance) in [(LINEAR, linear), (SQUARES, squares)] {
            let construction = within(&gd(points, d, steps, rate, form), tolerance);
            let certificate = holds(&construction, tolerance);
            // The bound is not vacuous.
            assert!(certificate.float64.error > construction.bound.value / 60.0, "{certificate:?}");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn other_ranges() {
    for form in [LINEAR, SQUARES] {
        for (x_max, y_max, rate) in [(2.0, 0.5, 0.1), (0.25, 3.0, 4.0)] {
            let gd = InContextGd { x_max, y_max, ..gd(9, 3, 3, rate, form) };
            let tolerance = reachable(&gd) * 1.5;
            holds(&within(&gd, tolerance), tolerance);
            assert!(tolerance < 3e-3, "{tolerance}");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn labels_of_any_size() {
    let relative = [1e-6, 1.0, 1e9].map(|y_max| {
        let gd = InContextGd { y_max, ..gd(9, 2, 3, 0.3, SQUARES) };
        let tolerance = reachable(&gd) * 1.5;
        holds(&within(&gd, tolerance), tolerance);
        tolerance / y_max
    });
    assert!(relative.iter().all(|one| (one / relative[1] - 1.0).abs() < 0.05), "{relative:?}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_linear_form_is_off_by_delta_squared() {
    let errors = [0.3, 0.17, 0.1, 0.05, 0.03].map(|delta| {
        let gd = gd(10, 3, 4, 0.3, Form::Linear { delta: Some(delta) });
        (delta, holds(&gd.build(SIZE).unwrap(), f64::MAX).float64.error)
    });
    assert!((slope(&errors) - 2.0).abs() < 0.1, "{errors:?}: {}", slope(&errors));
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn squares_are_off_by_one_over_the_anchors() {
    let errors_at = |c: f64| {
        [24, 48, 96].map(|p| {
            let gd = gd(3, 1, 1, 0.7, Form::Squares { intervals: Some(p), sharpness: Some(c) });
            let certificate = holds(&gd.build(SIZE).unwrap(), f64::MAX);
            let padding = certificate.sizes["padding"];
            // Anchors beyond the ends of the range do not count.
            (p as f64 - 2.0 * padding, certificate.float64.error)
        })
    };
    let mut coarsest = Vec::new();
    for c in [200.0, 2.725] {
        let errors = errors_at(c);
        assert!((slope(&errors) + 1.0).abs() < 0.1, "c = {c}: {errors:?}: {}", slope(&errors));
        coarsest.push(errors[0].1);
    }
    // Smooth anchors start far lower: their ripple is 3e-4 instead of 1/2.
    let smooth = errors_at(1.0)[0].1;
    assert!(smooth < coarsest[1] / 20.0 && coarsest[1] < coarsest[0] / 3.0, "{smooth}, {coarsest:?}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn ripple_is_what_a_walk_finds() {
    for c in [0.5, 1.0, 2.725, 4.0, 12.0, 200.0] {
        let ripple = Ripple::of(c, 20);
        let (mut mean, mut square, mut fourth) = (0.0_f64, 0.0_f64, 0.0_f64);
        for step in 0..=1000 {
            let u = 40.0 + f64::from(step) / 1000.0;
            let at = Moments::of(u, 80, c);
            let distance = at.mean - u;
            mean = mean.max(distance.abs());
            square = square.max((at.variance + distance * distance - 0.5 / c).abs());
            let near =
                (0..=80).map(|k| (f64::from(k) - u).powi(2)).map(|square| ((-c * square).exp(), square * square));
            let (weights, sum) =
                near.fold((0.0, 0.0), |(all, sum), (weight, fourth)| (all + weight, sum + weight * fourth));
            fourth = fourth.max(sum / weights);
        }
        assert!(fourth <= ripple.fourth * (1.0 + 1e-9), "c = {c}: {fourth} {ripple:?}");
        assert!(
            mean <= ripple.mean * (1.0 + 1e-9) + 1e-13 && square <= ripple.square * (1.0 + 1e-9) + 1e-13,
            "c = {c}: {mean} {square} {ripple:?}"
        );
        // Where anchors of this construction are used, ripples add little to a Gaussian's moment.
        if c <= 1.0 {
            assert!(fourth > 0.99 * ripple.fourth, "c = {c}: {fourth}, bound {}", ripple.fourth);
        }
        // The bound is not vacuous: 4 per cent in theta for c = 2.7.
        if c < 3.0 {
            assert!(mean > 0.9 * ripple.mean, "c = {c}: {mean}, bound {}", ripple.mean);
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn many_steps_lead_to_least_squares() {
    let prompt = |gd: &InContextGd, noise: f64| -> Vec<f64> {
        let numbers: Vec<f64> = headway_testkit::numbers(3, 200).into_iter().map(f64::from).collect();
        let (w, rest) = numbers.split_at(gd.d);
        let mut prompt: Vec<f64> = rest[..(gd.points + 1) * (gd.d + 1)].to_vec();
        for (i, example) in prompt.chunks_mut(gd.d + 1).enumerate() {
            let clean: f64 = example.iter().zip(w).map(|(x, w)| x * w).sum();
            example[gd.d] = if i == gd.points { 0.0 } else { clean / gd.d as f64 + noise * example[gd.d] };
        }
        prompt
    };
    // More examples than dimensions, and fewer: then the limit is the solution of smallest norm.
    for points in [12, 2] {
        let gaps = [1, 10, 100, 1000].map(|steps| {
            let gd = gd(points, 3, steps, 0.5, LINEAR);
            gd.least_squares_gap(&prompt(&gd, 0.05))
        });
        assert!(gaps.windows(2).all(|pair| pair[1] < pair[0]) && gaps[3] < 1e-9, "{gaps:?}");
    }
    // The same holds for the network: up to its tolerance, its distance from the limit is that of gradient descent.
    let gd = gd(12, 3, 40, 0.5, LINEAR);
    let tolerance = reachable(&gd);
    let network = gd.build(Request { tolerance, ..SIZE }).unwrap().network;
    let x = prompt(&gd, 0.05);
    let found = network.forward(&x)[gd.points];
    assert!((found - gd.predict(&x)).abs() < tolerance);
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    let good = gd(7, 2, 3, 0.5, LINEAR);
    for form in [LINEAR, SQUARES] {
        let gd = InContextGd { form, ..good.clone() };
        let least = reachable(&gd);
        // A tolerance that is named as reachable can be reached.
        holds(&within(&gd, least), least);
        let small = Request { tolerance: 2.0 * least, max_parameters: 100 };
        assert!(matches!(gd.build(small), Err(Refusal::TooLarge { needed, .. }) if needed > 100.0));
    }
    for (gd, words) in [
        (InContextGd { points: 0, ..good.clone() }, "points: must be from 1 to 1024, not 0"),
        (InContextGd { points: 600, ..good.clone() }, "points: 600 take 1203 rows"),
        (InContextGd { points: 1010, form: SQUARES, ..good.clone() }, "points: 1010 leave 11 rows for anchors"),
        (InContextGd { d: 0, ..good.clone() }, "d: must be from 1"),
        (InContextGd { steps: 0, ..good.clone() }, "steps: must be from 1"),
        (InContextGd { steps: 2000, ..good.clone() }, "steps: must be from 1 to 1000, not 2000"),
        (InContextGd { rate: 1.1, ..good.clone() }, "rate: must be at most 2 / (d x_max^2) = 1, not 1.1"),
        (InContextGd { rate: f64::NAN, ..good.clone() }, "rate: must be a positive number, not NaN"),
        (InContextGd { x_max: 0.0, ..good.clone() }, "x-max: must be a positive number, not 0"),
        (InContextGd { y_max: f64::INFINITY, ..good.clone() }, "y-max: must be a positive number, not inf"),
        (InContextGd { form: Form::Linear { delta: Some(0.0) }, ..good.clone() }, "delta: must be a positive number"),
        (InContextGd { form: Form::Linear { delta: Some(1e4) }, ..good.clone() }, "delta: 10000 is so large that"),
        (
            InContextGd { form: Form::Squares { intervals: Some(4), sharpness: Some(1.0) }, ..good.clone() },
            "intervals: must be from 13 to 900, not 4",
        ),
        (
            InContextGd { form: Form::Squares { intervals: Some(5000), sharpness: None }, ..good.clone() },
            "intervals: must be from",
        ),
        (
            InContextGd { form: Form::Squares { intervals: None, sharpness: Some(0.1) }, ..good.clone() },
            "sharpness: must be from 0.25 to 10000, not 0.1",
        ),
    ] {
        let refusal = gd.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    for tolerance in [0.0, -1.0, f64::NAN] {
        let refusal = good.build(Request { tolerance, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with("tolerance: must be a positive number"), "{refusal}");
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let tolerance = 3e-3;
    let build = |form| gd(7, 2, 3, 0.5, form).build(Request { tolerance, ..SIZE }).unwrap();
    let mut cases = Vec::new();
    for form in [LINEAR, SQUARES] {
        let mut rate = build(form);
        let last_step = rate.network.layers.len() - 2;
        rate.network.layers[last_step].heads[1].output *= 1.05;
        cases.push(("rate", rate));
        let mut carried = build(form);
        carried.network.layers[1].heads[0].query.weight *= 0.01;
        cases.push(("carrying head", carried));
        let mut marks = build(form);
        marks.network.layers[last_step].map.constant.swap_rows(2, 7);
        cases.push(("mark of a row", marks));
        let mut readout = build(form);
        let last = readout.network.layers.len() - 1;
        readout.network.layers[last].heads[0].key.weight.column_mut(0).scale_mut(1.05);
        cases.push(("readout", readout));
    }
    for (name, construction) in cases {
        let certificate = certificate(&construction, tolerance);
        assert!(!certificate.holds, "a wrong {name} passes: {:?}", certificate.sizes);
    }
}
