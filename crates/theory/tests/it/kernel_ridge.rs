//! Kernel ridge regression in context, by Richardson's iteration.

use headway_tasks::baseline::{
    in_context::InContext,
    kernel_ridge::{Gaussian, KernelRidge as Exact},
};
use headway_theory::{
    Refusal,
    construct::{Request, kernel_ridge::KernelRidge},
};
use nalgebra::{DMatrix, DVector};

use crate::stages::{certificate, holds, knew_its_size};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn small() -> KernelRidge {
    KernelRidge { points: 7, d: 3, steps: 4, rate: 0.2, ..KernelRidge::default() }
}

/// The smallest reachable tolerance, from the refusal of an impossible one.
fn reachable(of: &KernelRidge) -> f64 {
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
        KernelRidge { steps: 1, ..small() },
        KernelRidge { steps: 2, ridge: 0.0, ..small() },
        KernelRidge { ridge: 1.0, rate: 0.25, steps: 12, ..small() },
        KernelRidge { bandwidth: 0.3, ..small() },
        KernelRidge { bandwidth: 4.0, points: 1, rate: 1.0, ..small() },
        KernelRidge { x_max: 3.0, y_max: 0.2, bandwidth: 2.0, ..small() },
        KernelRidge { d: 1, points: 23, rate: 0.08, bandwidth: 0.1, ..small() },
    ] {
        let tolerance = reachable(&of);
        assert!(tolerance < 2e-2, "{of:?}: {tolerance}");
        let construction = of.build(Request { tolerance, ..SIZE }).unwrap();
        knew_its_size(&construction, tolerance, |request| of.build(request));
        assert_eq!(construction.network.layers.len(), of.steps + 1);
        let certificate = holds(&construction, tolerance);
        for kind in ["alike", "groups", "line", "corners", "opposed", "nothing"] {
            assert!(certificate.float32.points.contains_key(kind), "{kind}: {:?}", certificate.float32.points);
        }
        // The fewest anchors need not reach that far, and are bounded as well.
        let fewest = of.build(SIZE).unwrap();
        assert!(fewest.network.parameters() <= construction.network.parameters());
        let most = fewest.bound.value + fewest.rounding.value;
        let found = holds(&fewest, most);
        // The bound is not vacuous.
        let share = found.float64.error / fewest.bound.value;
        assert!(share > 1.0 / 300.0, "{of:?}: {share} of {:?}", fewest.bound);
    }
}

/// Inputs within ±1, and labels that are no linear function of them.
fn examples(points: usize) -> (DMatrix<f64>, DVector<f64>) {
    let numbers: Vec<f64> = headway_testkit::numbers(5, 2 * points).into_iter().map(f64::from).collect();
    let largest = numbers.iter().fold(0.0, |top: f64, number| top.max(number.abs()));
    let x = DMatrix::from_vec(2, points, numbers) / largest;
    let y = DVector::from_iterator(points, x.column_iter().map(|x| (3.0 * x[0]).sin() * x[1]));
    (x, y)
}

fn prompt(x: &DMatrix<f64>, y: &DVector<f64>, query: &[f64]) -> Vec<f64> {
    let rows = (0..y.len()).flat_map(|i| x.column(i).iter().copied().chain([y[i]]).collect::<Vec<f64>>());
    rows.chain(query.iter().copied()).chain([0.0]).collect()
}

/// The network itself solves (K + λ I) α = y: with many steps, its answers are those of the closed form, whose error falls as the contraction says.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn many_steps_solve_the_system() {
    let (points, ridge, bandwidth) = (11, 0.5, 0.7);
    let (x, y) = examples(points);
    let exact = Exact { kernel: Gaussian { bandwidth }, ridge };
    let queries = [[0.3, -0.8], [1.0, 1.0], [0.0, 0.1], [-0.6, 0.4]];
    let gap = |steps: usize| -> f64 {
        let of = KernelRidge { points, d: 2, steps, rate: 0.15, bandwidth, ridge, ..KernelRidge::default() };
        let network = of.build(SIZE).unwrap().network;
        let miss = |query: &[f64; 2]| {
            let prompt = prompt(&x, &y, query);
            let closed = exact.answer(x.as_view(), y.as_view(), DVector::from_column_slice(query).as_view());
            let found = network.forward(&prompt)[points];
            // What the network is off by is far less than what is left of the iteration.
            assert!(
                ((found - closed).abs() - of.solution_gap(&prompt)).abs() < 1e-4,
                "{steps} steps: {found} for {closed}"
            );
            (found - closed).abs()
        };
        queries.iter().map(miss).fold(0.0, f64::max)
    };
    let gaps = [3, 12, 120].map(gap);
    // What is left of an eigenvector is at most (1 − η λ)^k, 1e-4 of it after 120 steps.
    assert!(gaps[0] > 0.03 && gaps[1] < 0.6 * gaps[0] && gaps[2] < 1e-3, "{gaps:?}");
}

/// Of the labels and of nothing else the answer is a linear function.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn answers_are_linear_in_labels() {
    let (x, y) = examples(7);
    let network = KernelRidge { d: 2, ..small() }.build(SIZE).unwrap().network;
    let answer = |y: &DVector<f64>, query: &[f64]| network.forward(&prompt(&x, y, query))[7];
    let query = [0.3, -0.8];
    let halves = answer(&(&y * 0.5), &query);
    // In double precision, at products with e^16.
    assert!((answer(&y, &query) - 2.0 * halves).abs() < 1e-8 && halves.abs() > 1e-3, "{halves}");
    assert!((answer(&y, &[0.6, -0.8]) - answer(&y, &[0.3, -0.8])).abs() > 1e-3);
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_part_is_found() {
    let build = || small().build(SIZE).unwrap();
    let mut cases = Vec::new();
    let mut wrong = build();
    wrong.network.layers[2].heads[0].output[(5, 5)] *= 1.001;
    cases.push(("penalty", wrong));
    let mut wrong = build();
    wrong.network.layers[2].heads[0].output[(3, 5)] *= 0.999;
    cases.push(("rate of labels", wrong));
    let mut wrong = build();
    wrong.network.layers[2].heads[1].output *= 1.001;
    cases.push(("step", wrong));
    let mut wrong = build();
    wrong.network.layers[4].heads[0].output *= -1.0;
    cases.push(("sign", wrong));
    let mut wrong = build();
    let column = wrong.network.layers[1].space.at("silent");
    wrong.network.layers[1].map.constant.column_mut(column).fill(0.0);
    wrong.network.layers[2].map.constant.column_mut(column).fill(0.0);
    cases.push(("query that is attended to", wrong));
    let mut wrong = build();
    let column = wrong.network.layers[0].space.at("value");
    wrong.network.layers[0].map.constant.column_mut(column).add_scalar_mut(0.05);
    cases.push(("squared length", wrong));
    let mut wrong = build();
    wrong.network.layers[3].heads[1].query.weight *= 1.01;
    cases.push(("bandwidth", wrong));
    for (name, construction) in cases {
        let (certificate, most) = (certificate(&construction, 1.0), construction.bound.value);
        assert!(certificate.float64.error > most, "a wrong {name} passes: {} of {most}", certificate.float64.error);
    }
}

#[test]
fn what_is_refused() {
    for (of, words) in [
        (KernelRidge { points: 0, ..small() }, "points: must be from 1 to 960, not 0"),
        (KernelRidge { points: 961, rate: 1e-3, ..small() }, "points: must be from 1 to 960, not 961"),
        (KernelRidge { d: 0, ..small() }, "d: must be from 1 to 1024, not 0"),
        (KernelRidge { steps: 4001, ..small() }, "steps: must be from 1 to 4000, not 4001"),
        (KernelRidge { bandwidth: 0.0, ..small() }, "bandwidth: must be a positive number, not 0"),
        (KernelRidge { ridge: -0.1, ..small() }, "ridge: must be a number from 0 on, not -0.1"),
        (
            KernelRidge { ridge: 1.0, rate: 0.26, ..small() },
            "rate: must be at most 2 / (points + ridge) = 0.25, not 0.26",
        ),
        (KernelRidge { y_max: f64::NAN, ..small() }, "y-max: must be a positive number, not NaN"),
    ] {
        let refusal = of.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    // A kernel so narrow that float32 says nothing of it.
    let narrow = KernelRidge { bandwidth: 1e-5, ..small() };
    let refusal = narrow.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
    assert!(refusal.contains("out of reach"), "{refusal}");
}
