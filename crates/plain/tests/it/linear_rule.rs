//! Rules as filters of a spectrum, compared with the same rules computed directly.

use headway_plain::linear_rule::{Family, LinearRule, Observed, Spectrum, cosine, implicit_weights};
use nalgebra::{DMatrix, DVector};

/// A deterministic number that looks random.
fn number(seed: usize) -> f64 {
    ((seed * seed) as f64 * 0.731 + seed as f64 * 1.37).sin() * 1.4
}

fn examples(d: usize, points: usize, seed: usize) -> (DMatrix<f64>, DVector<f64>) {
    let x = DMatrix::from_fn(d, points, |row, column| number(seed + 97 * row + 13 * column));
    (x, DVector::from_fn(points, |point, _| number(seed + 5 + 31 * point)))
}

#[track_caller]
fn assert_near(found: &DVector<f64>, wanted: &DVector<f64>) {
    assert!((found - wanted).norm() < 1e-9 * wanted.norm().max(1.0), "{found} is not {wanted}");
}

#[test]
fn filters_are_the_rules_worked_out_plainly() {
    for (d, points) in [(3, 7), (4, 2), (1, 1), (3, 3)] {
        let (x, y) = examples(d, points, 3);
        let spectrum = Spectrum::of(&x, &y);
        let gram = &x * x.transpose();
        let averaging = &x * &y / points as f64;
        assert_near(&spectrum.weights(LinearRule::Averaging), &averaging);
        let ridge = (&gram + DMatrix::identity(d, d) * 0.3).lu().solve(&(&x * &y)).unwrap();
        assert_near(&spectrum.weights(LinearRule::Ridge { lambda: 0.3 }), &ridge);
        // w <- w - rate / k * X (X^T w - y)
        let descend =
            |steps: usize, size: f64| (0..steps).fold(DVector::zeros(d), |w, _| &w - (&gram * &w - &x * &y) * size);
        for steps in [1, 2, 9] {
            let found = spectrum.weights(LinearRule::Descent { steps, rate: 0.2 });
            assert_near(&found, &descend(steps, 0.2 / points as f64));
            let largest = gram.symmetric_eigenvalues().max();
            let found = spectrum.weights(LinearRule::ScaledDescent { steps, step_size: 1.1 });
            assert_near(&found, &descend(steps, 1.1 / largest));
        }
        let least = x.transpose().svd(true, true).solve(&y, 1e-10).unwrap();
        assert_near(&spectrum.weights(LinearRule::LeastSquares), &least);
    }
}

#[test]
fn nothing_is_learned_from_no_examples() {
    let spectrum = Spectrum::of(&DMatrix::zeros(3, 0), &DVector::zeros(0));
    for rule in [LinearRule::LeastSquares, LinearRule::Averaging, LinearRule::Descent { steps: 3, rate: 0.1 }] {
        assert_eq!(spectrum.weights(rule), DVector::zeros(3), "{rule:?}");
    }
}

fn observed(rule: LinearRule) -> Vec<Observed> {
    let one = |prompt: usize| {
        let (x, y) = examples(3, 4 + prompt % 5, 11 * prompt + 1);
        let spectrum = Spectrum::of(&x, &y);
        let query = DVector::from_fn(3, |row, _| number(prompt + 7 * row + 2));
        Observed { prediction: spectrum.weights(rule).dot(&query), query, spectrum }
    };
    (0..40).map(one).collect()
}

#[test]
fn a_rule_is_found_by_what_it_predicts() {
    match Family::Descent.nearest(&observed(LinearRule::Descent { steps: 7, rate: 0.13 }), []) {
        Some(LinearRule::Descent { steps: 7, rate }) => assert!((rate - 0.13).abs() < 1e-6, "{rate}"),
        other => panic!("{other:?}"),
    }
    match Family::ScaledDescent.nearest(&observed(LinearRule::ScaledDescent { steps: 3, step_size: 0.9 }), []) {
        Some(LinearRule::ScaledDescent { steps: 3, step_size }) => {
            assert!((step_size - 0.9).abs() < 1e-6, "{step_size}");
        }
        other => panic!("{other:?}"),
    }
    match Family::Ridge.nearest(&observed(LinearRule::Ridge { lambda: 0.7 }), []) {
        Some(LinearRule::Ridge { lambda }) => assert!((lambda - 0.7).abs() < 1e-5, "{lambda}"),
        other => panic!("{other:?}"),
    }
    // Predictions that no rate can fit have no rule.
    let mut broken = observed(LinearRule::Averaging);
    broken[3].prediction = f64::NAN;
    assert_eq!(Family::Ridge.nearest(&broken, []), None);
}

/// A rule fitted to few prompts is applied to others, one of which has a far larger curvature.
#[test]
fn descent_of_several_steps_converges_on_every_prompt_in_hand() {
    let few = &observed(LinearRule::LeastSquares)[..6];
    let (x, y) = examples(3, 4, 500);
    let steep = Spectrum::of(&(x * 4.0), &y);
    let size = |rule: LinearRule| steep.weights(rule).norm() / steep.weights(LinearRule::LeastSquares).norm();
    for family in [Family::Descent, Family::ScaledDescent] {
        let rule = family.nearest(few, [&steep]).unwrap();
        assert!(size(rule) < 3.0, "{rule:?}: {}", size(rule));
    }
    let alone = Family::Descent.nearest(few, []).unwrap();
    assert!(size(alone) > 1e6, "{alone:?}: {}: the case has lost its point", size(alone));
}

#[test]
fn implicit_weights_are_those_of_a_linear_function() {
    let queries: Vec<f64> = (0..15).map(number).collect();
    let linear: Vec<f64> = queries.chunks(3).map(|x| 2.0 * x[0] - x[1] + 0.5 * x[2]).collect();
    let (w, share) = implicit_weights(&queries, &linear, 3).unwrap();
    assert!(w.iter().zip([2.0, -1.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-9), "{w:?}");
    assert!((share - 1.0).abs() < 1e-12);
    // The square of a number with symmetric distribution is not a linear function of it: w = sum x^3 / sum x^2 = 0.
    let (w, share) = implicit_weights(&[-2.0, -1.0, 1.0, 2.0], &[4.0, 1.0, 1.0, 4.0], 1).unwrap();
    assert!(w[0].abs() < 1e-12 && share.abs() < 1e-12, "{w:?} {share}");
    assert_eq!(implicit_weights(&[1.0, 2.0], &[1.0], 2), None);
}

#[test]
fn cosines() {
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
    assert!((cosine(&[1.0, 1.0], &[3.0, 3.0]).unwrap() - 1.0).abs() < 1e-15);
    assert!((cosine(&[1.0, 1.0], &[-1.0, 0.0]).unwrap() + 0.5_f64.sqrt()).abs() < 1e-15);
    assert_eq!(cosine(&[0.0], &[1.0]), None);
}
