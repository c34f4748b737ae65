//! Shifted prompts compared with the same prompts without a shift: what changes, by how much, and what stays the same.

use headway_tasks::{
    Batch, DataConfig, SHIFTS, Seed, Shift, Source, Split, Stream, TASKS, Targets, Task, TaskConfig,
    baseline::{Baseline, least_squares::LeastSquares},
    icl::{family::InContextTask, linear::LinearConfig, logistic::LogisticConfig},
    prompt::alternating::{Prompt, x_position},
};
use nalgebra::DVector;

use crate::files;

const D: usize = 5;
const POINTS: usize = 7;

/// Prompts of a linear function, with D dimensions and POINTS points by default.
fn draw(config: LinearConfig, count: u64) -> Batch {
    let task = InContextTask { config };
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
}

fn config(shift: Option<Shift>) -> LinearConfig {
    LinearConfig { d: D, n_points: POINTS, shift, ..Default::default() }
}

fn prompts(batch: &Batch) -> Vec<Prompt> {
    let d = batch.inputs.continuous().len() / (batch.size * batch.dims.seq_len);
    batch.inputs.continuous().chunks(batch.dims.seq_len * d).map(|tokens| Prompt::read(tokens, d)).collect()
}

/// The scored points of each prompt.
fn asked(batch: &Batch) -> Vec<Vec<usize>> {
    let points = |scored: &[bool]| (0..POINTS).filter(|&point| scored[x_position(point)]).collect();
    batch.loss_mask.chunks(batch.dims.seq_len).map(points).collect()
}

/// (unshifted prompt, shifted prompt, its query), for shifts of the query alone.
fn queries(shift: Shift, count: u64) -> Vec<(Prompt, Prompt, usize)> {
    let (plain, shifted) = (draw(config(None), count), draw(config(Some(shift)), count));
    let queries = asked(&shifted).into_iter().map(|points| {
        assert_eq!(points.len(), 1, "one point is the query");
        points[0]
    });
    prompts(&plain).into_iter().zip(prompts(&shifted)).zip(queries).map(|((a, b), query)| (a, b, query)).collect()
}

fn assert_close(found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{found} is not {expected} +- {allowed}");
}

#[test]
fn the_query_is_every_point_that_it_can_be_equally_often() {
    for (shift, points) in
        [(Shift::RandomQuadrant, 0..POINTS), (Shift::OrthogonalQuery, 0..D), (Shift::RepeatedQuery, 1..POINTS)]
    {
        let mut counts = [0.0; POINTS];
        for (.., query) in queries(shift.clone(), 3000) {
            counts[query] += 1.0;
        }
        for (point, &count) in counts.iter().enumerate() {
            let expected = if points.contains(&point) { 3000.0 / points.len() as f64 } else { 0.0 };
            assert_close(count, expected, 4.0 * expected.sqrt());
        }
    }
    for shift in [Shift::HalfSubspace, Shift::Skewed, Shift::ScaleX(2.0), Shift::ScaleY(2.0), Shift::NoisyY(1.0)] {
        let every: Vec<usize> = (0..POINTS).collect();
        assert!(asked(&draw(config(Some(shift)), 3)).iter().all(|points| *points == every));
    }
}

#[test]
fn a_random_quadrant_holds_the_context_and_not_the_query() {
    let (mut outside, mut negative) = (0, 0);
    let drawn = queries(Shift::RandomQuadrant, 300);
    for (plain, shifted, query) in &drawn {
        assert_eq!(shifted.x.column(*query), plain.x.column(*query), "the query is free");
        assert_eq!(shifted.x.abs(), plain.x.abs());
        let some = usize::from(*query == 0);
        for row in 0..D {
            let is_negative = |point: usize| shifted.x[(row, point)] < 0.0;
            let mut context = (0..POINTS).filter(|point| point != query);
            assert!(context.all(|point| is_negative(point) == is_negative(some)), "one orthant");
            negative += i32::from(is_negative(some));
            outside += i32::from(is_negative(*query) != is_negative(some));
        }
    }
    // 1500 fair coins: 750 +- 19.
    assert_close(f64::from(negative), 750.0, 78.0);
    assert_close(f64::from(outside), 750.0, 78.0);
}

#[test]
fn an_orthogonal_query_is_orthogonal_and_as_long_as_before() {
    for (plain, shifted, query) in queries(Shift::OrthogonalQuery, 300) {
        let moved = shifted.x.column(query);
        assert_close(moved.norm(), plain.x.column(query).norm(), 1e-5);
        for point in (0..POINTS).filter(|&point| point != query) {
            assert_eq!(shifted.x.column(point), plain.x.column(point), "only the query moves");
        }
        let products = shifted.x.columns(0, query).tr_mul(&moved);
        assert!(products.iter().all(|product| product.abs() < 1e-5), "{products}");
    }
}

#[test]
fn a_repeated_query_repeats_any_earlier_example() {
    let mut chosen = [0; POINTS];
    for (plain, shifted, query) in queries(Shift::RepeatedQuery, 300) {
        let earlier = (0..query).find(|&point| shifted.x.column(point) == shifted.x.column(query));
        chosen[earlier.expect("an earlier example")] += 1;
        assert_ne!(shifted.x.column(query), plain.x.column(query));
        assert_eq!(shifted.x.columns(0, query), plain.x.columns(0, query), "only the query moves");
    }
    assert!(chosen[..POINTS - 1].iter().all(|&count| count > 0), "{chosen:?}");
}

#[test]
fn least_squares_knows_repeated_queries_and_nothing_of_orthogonal_ones() {
    let scored = |shift: Shift| {
        let batch = draw(config(Some(shift)), 200);
        let predictions = LeastSquares.predict(&batch);
        let targets = batch.targets.continuous().to_vec();
        let rows = batch.loss_mask.into_iter().zip(predictions.into_iter().zip(targets));
        rows.filter(|(scored, _)| *scored).map(|(_, pair)| pair).collect::<Vec<_>>()
    };
    assert!(scored(Shift::RepeatedQuery).iter().all(|(prediction, target)| (prediction - target).abs() < 1e-3));
    let orthogonal = scored(Shift::OrthogonalQuery);
    assert!(orthogonal.iter().all(|(prediction, _)| prediction.abs() < 1e-3));
    // So its error is E[y^2] = |x|^2, 5 on average.
    let errors = DVector::from_iterator(200, orthogonal.iter().map(|(_, target)| f64::from(*target).powi(2)));
    assert_close(errors.mean(), 5.0, 4.0 * (errors.variance() / 200.0).sqrt());
}

/// Eigenvalues of the second moment of x in one prompt of many points, largest first.
fn spectrum(shift: Shift) -> Vec<f64> {
    let batch = draw(LinearConfig { n_points: 4000, shift: Some(shift), ..config(None) }, 1);
    let x = prompts(&batch).remove(0).x;
    let mut eigenvalues = (&x * x.transpose() / 4000.0).symmetric_eigenvalues().as_slice().to_vec();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    eigenvalues
}

#[test]
fn spectra_are_those_that_shifts_name() {
    // An eigenvalue's standard error is sqrt(2 / 4000) = 2% of it; the spread of equal ones is a little more.
    let half = spectrum(Shift::HalfSubspace);
    for (found, expected) in half.iter().zip([2.5, 2.5, 0.0, 0.0, 0.0]) {
        assert_close(*found, expected, 0.12 * expected + 1e-6);
    }
    // 5 / (1 + 1/4 + 1/9 + 1/16 + 1/25) = 3.4162, times 1/j^2.
    for (axis, found) in (1..).zip(spectrum(Shift::Skewed)) {
        let expected = 3.4162 / f64::from(axis * axis);
        assert_close(found, expected, 0.1 * expected);
    }
    for found in spectrum(Shift::ScaleX(3.0)) {
        assert_close(found, 9.0, 0.15 * 9.0);
    }
}

#[test]
fn directions_are_new_in_every_prompt() {
    let batch = draw(LinearConfig { shift: Some(Shift::HalfSubspace), ..config(None) }, 2);
    let [first, second] = &prompts(&batch)[..] else { panic!("two prompts") };
    let rank = |x: nalgebra::DMatrix<f64>| x.rank(1e-4);
    assert_eq!((rank(first.x.clone()), rank(second.x.clone())), (2, 2));
    let both = nalgebra::DMatrix::from_fn(D, 2 * POINTS, |row, point| {
        if point < POINTS { first.x[(row, point)] } else { second.x[(row, point - POINTS)] }
    });
    assert_eq!(rank(both), 4);
}

#[test]
fn scales_multiply_and_noise_keeps_the_mean_square() {
    let plain = draw(config(None), 4000);
    let [by_x, by_y] = [Shift::ScaleX(3.0), Shift::ScaleY(0.5)].map(|shift| draw(config(Some(shift)), 4000));
    for ((plain, x), y) in prompts(&plain).iter().zip(prompts(&by_x)).zip(prompts(&by_y)) {
        assert!((&x.x - &plain.x * 3.0).amax() < 1e-5 && (&x.y - &plain.y * 3.0).amax() < 1e-4);
        assert!(y.x == plain.x && (&y.y - &plain.y * 0.5).amax() < 1e-5);
    }
    // c (y + 2 e) with c^2 = 5 / (5 + 4): noise of variance 4 c^2 about c y.
    let noisy = draw(config(Some(Shift::NoisyY(2.0))), 4000);
    let c = (5.0_f64 / 9.0).sqrt();
    let [mut squares, mut residuals] = [const { Vec::new() }; 2];
    for (plain, noisy) in prompts(&plain).iter().zip(prompts(&noisy)) {
        assert_eq!(plain.x, noisy.x);
        squares.push(noisy.y.norm_squared() / (POINTS - 1) as f64);
        residuals.push((noisy.y - &plain.y * c).norm_squared() / (POINTS - 1) as f64);
    }
    for (values, expected) in [(squares, 5.0), (residuals, 4.0 * c * c)] {
        let values = DVector::from_vec(values);
        assert_close(values.mean(), expected, 4.0 * (values.variance() / 4000.0).sqrt());
    }
}

#[test]
fn classes_follow_shifted_answers() {
    let draw = |shift| {
        let task = InContextTask { config: LogisticConfig { shift, ..Default::default() } };
        Batch::stack(task.dims(), (0..100).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
    };
    let (plain, scaled, noisy) = (draw(None), draw(Some(Shift::ScaleY(2.0))), draw(Some(Shift::NoisyY(1.0))));
    assert_eq!(scaled.targets, plain.targets);
    for (plain, scaled) in prompts(&plain).iter().zip(prompts(&scaled)) {
        assert_eq!(scaled.y, &plain.y * 2.0);
    }
    // A label flips if N(0, 1) exceeds 1 on the wrong side: 15.9% of 1100.
    let flips = noisy.targets.classes().iter().zip(plain.targets.classes()).filter(|(a, b)| a != b).count();
    assert_close(flips as f64, 174.5, 49.0);
}

#[test]
fn training_is_never_shifted_and_evaluation_always_is() {
    let data = DataConfig::Fresh { validation: 20, test: 20 };
    let fixed = DataConfig::Fixed { train: 8, validation: 0, test: 20 };
    for &(name, _) in TASKS.iter().filter(|(name, _)| name.starts_with("icl_")) {
        let plain = TaskConfig::with_defaults(name).expect(name);
        for (_, _, shift) in SHIFTS {
            let source = |config: &TaskConfig, data: &DataConfig| {
                Source::new(config.open(&files(), Seed(1)).expect("no file is read"), Seed(1), data.clone(), 4)
            };
            let shifted = plain.with_shift(shift.clone()).expect(name);
            let (a, b) = (source(&plain, &data), source(&shifted, &data));
            assert_eq!(a.train_batch(2), b.train_batch(2), "{name} {shift:?}");
            assert_eq!(a.fit_set(), b.fit_set(), "{name} {shift:?}");
            assert_ne!(a.evaluation(Split::Test), b.evaluation(Split::Test), "{name} {shift:?}");
            assert_eq!(source(&plain, &fixed).fit_set(), source(&shifted, &fixed).fit_set(), "{name} {shift:?}");
            assert_eq!(b.evaluation(Split::Test), source(&shifted, &data).evaluation(Split::Test), "{name} {shift:?}");
            // Targets at points that are not scored would reveal nothing, but they are not data.
            for batch in b.evaluation(Split::Test) {
                let zero = |position: usize| match &batch.targets {
                    Targets::Continuous(y) => y[position] == 0.0,
                    Targets::Classes(classes) => classes[position] == 0,
                };
                assert!(
                    (0..batch.loss_mask.len()).all(|position| batch.loss_mask[position] || zero(position)),
                    "{name}"
                );
            }
        }
    }
}
