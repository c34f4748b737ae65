//! A network with a hidden layer, trained in its prompt.

use headway_theory::{
    Refusal,
    construct::{Request, network_descent::NetworkDescent},
};

use crate::stages::{certificate, holds, knew_its_size};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn small() -> NetworkDescent {
    NetworkDescent { points: 5, units: 3, steps: 2, ..NetworkDescent::default() }
}

/// The smallest reachable tolerance, from the refusal of an impossible one.
fn reachable(of: &NetworkDescent) -> f64 {
    match of.build(Request { tolerance: 1e-30, ..SIZE }) {
        Err(Refusal::Unreachable { reachable, .. }) => reachable,
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn it_holds_at_hard_prompts() {
    for of in [
        small(),
        NetworkDescent { steps: 1, rate: 0.1, ..small() },
        NetworkDescent { units: 1, d: 1, steps: 5, rate: 0.1, ..small() },
        // Heads of weights and of outputs are of the same sizes.
        NetworkDescent { units: 2, d: 1, points: 1, ..small() },
        NetworkDescent { d: 4, units: 5, steps: 2, rate: 0.02, ..small() },
        NetworkDescent { w_max: 3.0, a_max: 0.1, x_max: 0.5, y_max: 0.3, rate: 0.2, ..small() },
    ] {
        let tolerance = reachable(&of);
        assert!(tolerance < 0.02, "{of:?}: {tolerance}");
        let construction = of.build(Request { tolerance, ..SIZE }).unwrap();
        knew_its_size(&construction, tolerance, |request| of.build(request));
        assert_eq!(construction.network.layers.len(), 2 * of.steps + 2);
        let certificate = holds(&construction, tolerance);
        for kind in ["corners", "alike", "pairs", "nothing"] {
            assert!(certificate.float32.points.contains_key(kind), "{kind}: {:?}", certificate.float32.points);
        }
        // A larger scale, at which softmax is less linear, so that double precision shows what the bound is about.
        let coarse = NetworkDescent { delta: Some(0.5), ..of.clone() }.build(SIZE).unwrap();
        let found = holds(&coarse, coarse.bound.value + coarse.rounding.value);
        let share = found.float64.error / coarse.bound.value;
        assert!(share > 1.0 / 500.0, "{of:?}: {share} of {:?}", coarse.bound);
    }
}

/// The error in double precision falls as the fourth power of the scale.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn errors_fall_with_the_fourth_power() {
    let errors = [0.5, 0.25].map(|delta| {
        let construction = NetworkDescent { delta: Some(delta), ..small() }.build(SIZE).unwrap();
        certificate(&construction, 1.0).float64.error
    });
    let ratio = errors[0] / errors[1];
    assert!((8.0..40.0).contains(&ratio), "{ratio}: {errors:?}");
}

/// Gradients by differences of the loss: what the construction is compared with is gradient descent.
#[test]
fn the_target_descends_the_gradient() {
    let of = NetworkDescent { points: 3, units: 2, steps: 1, rate: 0.3, ..NetworkDescent::default() };
    let prompt: Vec<f64> = headway_testkit::numbers(9, 18).into_iter().map(|number| f64::from(number) * 0.5).collect();
    let loss = |weights: &[f64]| -> f64 {
        let f =
            |x: &[f64]| weights.chunks(3).map(|unit| unit[2] * (unit[0] * x[0] + unit[1] * x[1]).tanh()).sum::<f64>();
        prompt[6..15].chunks(3).map(|row| (f(&row[..2]) - row[2]).powi(2)).sum::<f64>() / 6.0
    };
    let mut trained = prompt[..6].to_vec();
    for at in 0..6 {
        let moved = |by: f64| {
            let mut weights = prompt[..6].to_vec();
            weights[at] += by;
            loss(&weights)
        };
        trained[at] -= 0.3 * (moved(1e-5) - moved(-1e-5)) / 2e-5;
    }
    let query = &prompt[15..17];
    let answer: f64 = trained.chunks(3).map(|unit| unit[2] * (unit[0] * query[0] + unit[1] * query[1]).tanh()).sum();
    // Differences are off by the third derivative times 1e-10, and by roundings of 1e-11.
    assert!((of.predict(&prompt) - answer).abs() < 1e-9, "{} for {answer}", of.predict(&prompt));
    // And the step matters.
    let before: f64 =
        prompt[..6].chunks(3).map(|unit| unit[2] * (unit[0] * query[0] + unit[1] * query[1]).tanh()).sum();
    assert!((before - answer).abs() > 1e-3, "{before}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_part_is_found() {
    let build = || small().build(SIZE).unwrap();
    let mut cases = Vec::new();
    let mut wrong = build();
    wrong.network.layers[0].heads[1].output *= -1.0;
    cases.push(("mirror image", wrong));
    let mut wrong = build();
    wrong.network.layers[1].heads[2].key.weight *= 1.05;
    cases.push(("hidden unit", wrong));
    let mut wrong = build();
    wrong.network.layers[2].heads[20].output *= 1.2;
    cases.push(("term of a mean", wrong));
    let mut wrong = build();
    let last = wrong.network.layers[2].heads.len() - 1;
    wrong.network.layers[2].heads[last].output *= -1.0;
    cases.push(("term of an output weight", wrong));
    let mut wrong = build();
    let column = wrong.network.layers[4].space.nth("other", 1);
    wrong.network.layers[4].map.constant.column_mut(column).fill(0.0);
    cases.push(("unit that gets what is another's", wrong));
    let mut wrong = build();
    let column = wrong.network.layers[2].space.at("silent");
    wrong.network.layers[2].map.constant.column_mut(column).fill(0.0);
    cases.push(("rows that are no examples", wrong));
    for (name, construction) in cases {
        let (certificate, most) = (certificate(&construction, 1.0), construction.bound.value);
        assert!(certificate.float64.error > most, "a wrong {name} passes: {} of {most}", certificate.float64.error);
    }
}

#[test]
fn what_is_refused() {
    for (of, words) in [
        (NetworkDescent { points: 0, ..small() }, "points: must be from 1 to 1024, not 0"),
        (NetworkDescent { units: 65, ..small() }, "units: must be from 1 to 64, not 65"),
        (NetworkDescent { points: 1020, ..small() }, "points: 1020 take 1028 rows with the units"),
        (NetworkDescent { a_max: 0.0, ..small() }, "a-max: must be a positive number, not 0"),
        (NetworkDescent { delta: Some(-1.0), ..small() }, "delta: must be a positive number, not -1"),
        (
            NetworkDescent { rate: 0.5, ..small() },
            "rate: 0.5 is so large that the loss of some prompt may rise: times a bound",
        ),
    ] {
        let refusal = of.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    // So many steps carry weights farther than what is known of them.
    let long = NetworkDescent { steps: 40, rate: 0.02, ..small() };
    let refusal = long.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
    assert!(refusal.contains("no size has a finite bound") || refusal.starts_with("rate: "), "{refusal}");
}
