//! The statistical models in context: ridge regression, the Lasso, logistic regression and Huber's loss.

use headway_tasks::baseline::gradient_descent::ExampleLoss;
use headway_theory::{
    Refusal,
    construct::{
        Request,
        in_context_gd::{Form, InContextGd},
    },
};
use nalgebra::{DMatrix, DVector};

use crate::stages::{certificate, holds, knew_its_size};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };
const HUBER: ExampleLoss = ExampleLoss::Huber { threshold: 0.3 };

/// A small problem of every kind.
fn models() -> Vec<(&'static str, InContextGd)> {
    let small = InContextGd { points: 7, d: 3, steps: 3, rate: 0.5, ..InContextGd::default() };
    vec![
        ("ridge", InContextGd { ridge: 0.3, ..small.clone() }),
        ("lasso", InContextGd { lasso: 0.1, ..small.clone() }),
        ("elastic net", InContextGd { ridge: 0.2, lasso: 0.05, steps: 2, ..small.clone() }),
        ("huber", InContextGd { loss: HUBER, ..small.clone() }),
        ("huber, lasso", InContextGd { loss: HUBER, lasso: 0.04, points: 5, d: 2, ..small.clone() }),
        ("logistic", InContextGd { loss: ExampleLoss::Logistic, rate: 2.0, ..small.clone() }),
        ("sparse logistic", InContextGd { loss: ExampleLoss::Logistic, lasso: 0.05, steps: 2, ..small }),
    ]
}

/// The smallest reachable tolerance, from the refusal of an impossible one.
fn reachable(gd: &InContextGd) -> f64 {
    match gd.build(Request { tolerance: 1e-30, ..SIZE }) {
        Err(Refusal::Unreachable { reachable, .. }) => reachable,
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn every_model_holds_at_hard_prompts() {
    for (name, gd) in models() {
        let tolerance = reachable(&gd);
        assert!(tolerance < 5e-3, "{name}: {tolerance}");
        let construction = gd.build(Request { tolerance, ..SIZE }).unwrap();
        knew_its_size(&construction, tolerance, |request| gd.build(request));
        let certificate = holds(&construction, tolerance);
        // The bound is not vacuous.
        let share = certificate.float64.error / construction.bound.value;
        assert!(share > 1.0 / 100.0, "{name}: {share} of {:?}", construction.bound);
        assert!(certificate.float32.points.contains_key("kinks"), "{name}: {:?}", certificate.float32.points);
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn other_ranges_and_rates() {
    for (name, gd) in models() {
        let bend = gd.loss.bend();
        for (x_max, y_max, share) in [(2.0, 0.5, 0.3), (0.25, 1.0, 0.99), (1.0, 0.1, 0.6)] {
            let rate = share * 2.0 / (bend * gd.d as f64 * x_max * x_max + gd.ridge);
            let gd = InContextGd { x_max, y_max, rate, ..gd.clone() };
            let construction = gd.build(SIZE).unwrap();
            holds(&construction, construction.bound.value + construction.rounding.value);
            assert!(construction.bound.value < 1.0, "{name}: {:?}", construction.bound);
        }
    }
}

/// Inputs within ±1, and labels that hardly depend on the second number.
fn examples(points: usize) -> (DMatrix<f64>, DVector<f64>) {
    let numbers: Vec<f64> = headway_testkit::numbers(5, 2 * points).into_iter().map(f64::from).collect();
    let largest = numbers.iter().fold(0.0, |top: f64, number| top.max(number.abs()));
    let x = DMatrix::from_vec(2, points, numbers) / largest;
    let y = x.tr_mul(&DVector::from_vec(vec![0.7, -0.02]));
    (x, y)
}

fn prompt(x: &DMatrix<f64>, y: &DVector<f64>, query: &[f64]) -> Vec<f64> {
    let rows = (0..y.len()).flat_map(|i| x.column(i).iter().copied().chain([y[i]]).collect::<Vec<f64>>());
    rows.chain(query.iter().copied()).chain([0.0]).collect()
}

/// The networks themselves solve the models: with many steps, their answers are those of closed forms and of optimality
/// conditions.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn many_steps_solve_the_model() {
    let (points, d) = (11, 2);
    let (x, y) = examples(points);
    let base = InContextGd { points, d, steps: 60, rate: 0.9, ..InContextGd::default() };
    let answers = |gd: &InContextGd| -> DVector<f64> {
        let construction = gd.build(SIZE).unwrap();
        let most = construction.bound.value;
        let answer = |query: &[f64]| construction.network.forward(&prompt(&x, &y, query))[points];
        let w = DVector::from_vec(vec![answer(&[1.0, 0.0]), answer(&[0.0, 1.0])]);
        let exact = gd.descent().weights(x.as_view(), y.as_view());
        assert!((&w - exact).amax() <= most, "{gd:?}");
        w
    };
    // Ridge regression in closed form: (XXᵀ/N + λ)⁻¹ Xy/N.
    let gram = &x * x.transpose() / points as f64 + DMatrix::identity(d, d) * 0.2;
    let solution = gram.lu().solve(&(&x * &y / points as f64)).unwrap();
    let found = answers(&InContextGd { ridge: 0.2, ..base.clone() });
    // Softmax is off by some 1e-4 at most, and what is left after 60 steps is nothing.
    assert!((&found - &solution).amax() < 1e-3, "{found} for {solution}");
    // The Lasso: slopes of the smooth part are −λ sign(w), and within ±λ where w is 0.
    let lasso = 0.06;
    let found = answers(&InContextGd { lasso, ..base.clone() });
    let slopes = &x * (x.tr_mul(&found) - &y) / points as f64;
    for (w, slope) in found.iter().zip(slopes.iter()) {
        let good = if w.abs() < 1e-3 { slope.abs() < lasso + 1e-3 } else { (slope + lasso * w.signum()).abs() < 1e-3 };
        assert!(good, "w = {w}, slope {slope}");
    }
    assert!(found.iter().any(|w| w.abs() < 1e-3) && found.amax() > 0.2, "one of two is out: {found}");
    // Losses with a slope of nothing at the end.
    for (loss, rate, steps, ridge) in [(HUBER, 0.9, 60, 0.0), (ExampleLoss::Logistic, 3.0, 60, 0.05)] {
        let found = answers(&InContextGd { loss, rate, steps, ridge, ..base.clone() });
        let each = x.tr_mul(&found).zip_map(&y, |z, y| loss.slope(z, y));
        let slope = &x * each / points as f64 + &found * ridge;
        assert!(slope.amax() < 2e-3 && found.amax() > 0.1, "{loss:?}: {slope} at {found}");
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_part_is_found() {
    let mut cases = Vec::new();
    let build = |gd: InContextGd| gd.build(SIZE).unwrap();
    let base = InContextGd { points: 7, d: 2, steps: 3, rate: 0.5, ..InContextGd::default() };
    let lasso = InContextGd { lasso: 0.1, ..base.clone() };
    let huber = InContextGd { loss: HUBER, ..base.clone() };
    let logistic = InContextGd { loss: ExampleLoss::Logistic, rate: 2.0, ..base.clone() };
    let mut wrong = build(InContextGd { ridge: 0.3, ..base });
    wrong.network.layers[2].heads[0].output[(4, 4)] *= 1.02;
    cases.push(("penalty", wrong));
    // Layers of the Lasso: mirror, step, threshold, step, …
    let mut wrong = build(lasso.clone());
    wrong.network.layers[2].heads[1].output *= -1.0;
    cases.push(("gate", wrong));
    let mut wrong = build(lasso);
    let column = wrong.network.layers[4].space.at("above");
    wrong.network.layers[4].map.constant[(16, column)] *= 0.8;
    cases.push(("threshold", wrong));
    // Layers of other losses: mirror, predictions, slopes, step, …
    let mut wrong = build(huber.clone());
    let column = wrong.network.layers[2].space.at("below");
    wrong.network.layers[2].map.constant.column_mut(column).scale_mut(0.9);
    cases.push(("Huber's threshold", wrong));
    let mut wrong = build(huber);
    wrong.network.layers[4].heads[1].output *= 0.98;
    cases.push(("prediction", wrong));
    let mut wrong = build(logistic.clone());
    // In the first step all predictions are 0.
    let column = wrong.network.layers[5].space.at("value");
    wrong.network.layers[5].map.constant.column_mut(column).scale_mut(1.02);
    cases.push(("value of an anchor", wrong));
    let mut wrong = build(logistic);
    wrong.network.layers[5].heads[0].query.weight *= 0.01;
    cases.push(("carrying head", wrong));
    for (name, construction) in cases {
        let (certificate, most) = (certificate(&construction, 1.0), construction.bound.value);
        assert!(certificate.float64.error > most, "a wrong {name} passes: {} of {most}", certificate.float64.error);
    }
}

#[test]
fn what_is_refused() {
    let good = InContextGd { points: 7, d: 2, steps: 3, rate: 0.5, ..InContextGd::default() };
    let squares = Form::Squares { intervals: None, sharpness: None };
    for (gd, words) in [
        (InContextGd { ridge: -0.1, ..good.clone() }, "ridge: must be a number from 0 on, not -0.1"),
        (InContextGd { lasso: f64::NAN, ..good.clone() }, "lasso: must be a number from 0 on, not NaN"),
        (
            InContextGd { loss: ExampleLoss::Huber { threshold: 0.0 }, ..good.clone() },
            "threshold: must be a positive number, not 0",
        ),
        (
            InContextGd { loss: ExampleLoss::Logistic, y_max: 1.5, ..good.clone() },
            "y-max: must be at most 1 with the logistic loss, not 1.5",
        ),
        (InContextGd { lasso: 0.1, points: 129, ..good.clone() }, "points: must be at most 128 with Huber's loss or"),
        (InContextGd { loss: HUBER, points: 400, ..good.clone() }, "points: must be at most 128"),
        (InContextGd { lasso: 0.1, form: squares, ..good.clone() }, "form: e2 is for the squared loss"),
        (
            InContextGd { ridge: 3.0, ..good.clone() },
            "rate: must be at most 2 / (d x_max^2 + ridge) = 0.4, not 0.5: the curvature of some prompt is d x_max^2 + ridge",
        ),
        (
            InContextGd { loss: ExampleLoss::Logistic, rate: 4.1, ..good.clone() },
            "rate: must be at most 2 / (d x_max^2 / 4) = 4, not 4.1",
        ),
    ] {
        let refusal = gd.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    // What cannot be reached is refused with what can.
    let huber = InContextGd { loss: HUBER, ..good };
    let tolerance = reachable(&huber);
    holds(&huber.build(Request { tolerance, ..SIZE }).unwrap(), tolerance);
}
