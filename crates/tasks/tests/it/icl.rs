//! Prompts, and the error curves of in-context predictors compared with closed forms.

use headway_tasks::{
    Batch, Inputs, Seed, Shift, Split, Stream, Targets, Task,
    baseline::{Baseline, averaging::Averaging, knn::Knn, least_squares::LeastSquares, ridge::Ridge},
    icl::{family::InContextTask, linear::LinearConfig},
    prompt::alternating::{self, AnswerKind, Prompt},
};
use nalgebra::{DMatrix, DVector};

const PROMPTS: u64 = 4000;

fn draw(config: &LinearConfig, count: u64) -> Batch {
    let task = InContextTask { config: config.clone() };
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
}

/// One prompt in which every point is scored; one row per coordinate of x.
fn asked<const POINTS: usize>(x: &[[f32; POINTS]], y: [f32; POINTS], asked: AnswerKind) -> Batch {
    let (d, every): (_, Vec<usize>) = (x.len(), (0..POINTS).collect());
    let x = DMatrix::from_fn(d, POINTS, |row, point| x[row][point]);
    let example = alternating::write(&x, &DVector::from_column_slice(&y), asked, &every);
    Batch::stack(alternating::dims(d, POINTS, asked), [example])
}

/// A predictor's squared error at each point: the mean over prompts, with its standard error.
fn curve(baseline: &dyn Baseline, config: &LinearConfig) -> Vec<(f64, f64)> {
    let batch = draw(config, PROMPTS);
    let (predictions, targets) = (baseline.predict(&batch), batch.targets.continuous());
    let at_point = |point: usize| {
        let squares = DVector::from_fn(batch.size, |example, _| {
            let position = example * batch.dims.seq_len + alternating::x_position(point);
            f64::from(predictions[position] - targets[position]).powi(2)
        });
        (squares.mean(), (squares.variance() / PROMPTS as f64).sqrt())
    };
    (0..config.n_points).map(at_point).collect()
}

/// Asserts that a curve agrees with theory within 4 standard errors at the given points.
fn assert_curve(baseline: &dyn Baseline, config: &LinearConfig, points: &[usize], expected: impl Fn(usize) -> f64) {
    let curve = curve(baseline, config);
    for &i in points {
        let ((mean, error), expected) = (curve[i], expected(i));
        let allowed = 4.0 * error + 1e-9;
        assert!((mean - expected).abs() < allowed, "points={i}: {mean} +- {error} is not {expected}");
        // A wide interval would accept anything.
        assert!(allowed < 0.35 * expected.max(1.0), "points={i}: {error} says too little about {expected}");
    }
}

fn all_points(config: &LinearConfig) -> Vec<usize> {
    (0..config.n_points).collect()
}

#[test]
fn a_prompt_by_hand() {
    let x = DMatrix::from_row_slice(2, 3, &[2.0, 5.0, 11.0, 3.0, 7.0, 13.0]);
    let y = DVector::from_vec(vec![17.0, -19.0, 23.0]);
    let example = alternating::write(&x, &y, AnswerKind::Number, &[0, 1, 2]);
    assert_eq!(example.inputs.continuous(), [2., 3., 17., 0., 5., 7., -19., 0., 11., 13.]);
    assert_eq!(example.targets.continuous(), [17., 0., -19., 0., 23.]);
    assert_eq!(example.loss_mask, [true, false, true, false, true]);
    let signs = alternating::write(&x, &y, AnswerKind::Sign, &[0, 1, 2]);
    assert_eq!((signs.inputs, signs.loss_mask), (example.inputs.clone(), example.loss_mask));
    assert_eq!(signs.targets.classes(), [1, 0, 0, 0, 1]);
    let last = alternating::write(&x, &y, AnswerKind::Number, &[2]);
    assert_eq!(last.inputs, example.inputs);
    assert_eq!(last.targets.continuous(), [0., 0., 0., 0., 23.]);
    assert_eq!(last.loss_mask, [false, false, false, false, true]);
    let read = Prompt::read(example.inputs.continuous(), 2);
    assert_eq!(read, Prompt { x: x.cast(), y: DVector::from_vec(vec![17.0, -19.0]) });
    assert_eq!(example.slices, [Some(0), None, Some(1), None, Some(2)]);
    assert_eq!(last.slices, [None, None, None, None, Some(2)]);
    assert_eq!(alternating::slices(3), ["points=0", "points=1", "points=2"]);
}

#[test]
fn every_prompt_has_one_weight_vector_of_its_own() {
    let config = LinearConfig { d: 3, n_points: 7, ..Default::default() };
    let batch = draw(&config, 2);
    let weights = batch.inputs.continuous().chunks(13 * 3).zip(batch.targets.continuous().chunks(13)).map(|(x, y)| {
        let x = Prompt::read(x, 3).x;
        let y = DVector::from_fn(7, |i, _| f64::from(y[alternating::x_position(i)]));
        let w = x.columns(0, 3).transpose().try_inverse().expect("three points in general position") * y.rows(0, 3);
        assert!((x.tr_mul(&w) - y).amax() < 1e-4, "all points lie on one plane");
        w
    });
    let weights: Vec<DVector<f64>> = weights.collect();
    assert!((&weights[0] - &weights[1]).amax() > 0.1);
}

#[test]
fn least_squares_follows_its_closed_form() {
    // E err = d - i: what is left of w lies outside the span of i examples. All moments of the error are finite, so the
    // standard error can be trusted at every point, i = d - 1 included.
    let config = LinearConfig::default();
    let d = config.d as f64;
    assert_curve(&LeastSquares, &config, &all_points(&config), |i| (d - i as f64).max(0.0));
}

#[test]
fn least_squares_pays_for_noise_by_its_closed_form() {
    // E err = (d - i) + s^2 (1 + i / (d - i - 1)) below d examples and s^2 (1 + d / (i - d - 1)) above, by the mean of
    // an inverse Wishart matrix. Near i = d the tails are heavy: at i = d - 1, d and d + 1 the mean itself is infinite,
    // and within 3 of d the variance is, so only points further off are held to the formula.
    let config = LinearConfig { n_points: 17, noise_std: 0.5, ..Default::default() };
    let (d, variance) = (config.d as f64, config.noise_std.powi(2));
    assert_curve(&LeastSquares, &config, &[0, 1, 9, 10, 11, 12, 13, 14, 15, 16], |i| {
        let i = i as f64;
        if i < d { d - i + variance * (1.0 + i / (d - i - 1.0)) } else { variance * (1.0 + d / (i - d - 1.0)) }
    });
}

#[test]
fn averaging_follows_its_closed_form() {
    // E err / d = (d + 1) / i, and 1 without examples.
    let config = LinearConfig { d: 8, n_points: 23, ..Default::default() };
    assert_curve(&Averaging, &config, &all_points(&config), |i| if i == 0 { 8.0 } else { 8.0 * 9.0 / i as f64 });
}

#[test]
fn without_examples_every_rule_predicts_zero() {
    let config = LinearConfig::default();
    let batch = draw(&config, 5);
    for baseline in (InContextTask { config }).baselines() {
        let predictions = baseline.predict(&batch);
        let learns = baseline.name() != "zero";
        assert!(predictions.chunks(batch.dims.seq_len).all(|prompt| prompt[0] == 0.0), "{}", baseline.name());
        let answers = |prompt: &[f32]| (prompt[2] != 0.0) == learns;
        assert!(predictions.chunks(batch.dims.seq_len).all(answers), "{}", baseline.name());
    }
}

#[test]
fn rules_see_only_what_stands_before_the_query() {
    let config = LinearConfig { noise_std: 0.3, ..Default::default() };
    let batch = draw(&config, 1);
    let (d, query) = (config.d, alternating::x_position(4));
    let mut later = batch.clone();
    later.targets = Targets::Continuous(vec![1e3; batch.dims.seq_len]);
    let mut tokens = batch.inputs.continuous().to_vec();
    tokens[(query + 1) * d..].fill(1e3);
    later.inputs = Inputs::Continuous(tokens.clone());
    let mut earlier = batch.clone();
    tokens[(query - 1) * d] += 1.0;
    earlier.inputs = Inputs::Continuous(tokens);
    for baseline in (InContextTask { config }).baselines() {
        let predictions = baseline.predict(&batch);
        assert_eq!(baseline.predict(&later)[..=query], predictions[..=query], "{}", baseline.name());
        assert_eq!(baseline.predict(&earlier)[..query], predictions[..query], "{}", baseline.name());
    }
    assert_ne!(LeastSquares.predict(&earlier)[query..], LeastSquares.predict(&batch)[query..]);
}

#[test]
fn ridge_with_a_vanishing_penalty_is_least_squares() {
    let batch = draw(&LinearConfig { noise_std: 0.3, ..Default::default() }, 101);
    let gap = |lambda: f64| {
        let predictions = Ridge { lambda }.predict(&batch).into_iter().zip(LeastSquares.predict(&batch));
        predictions.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
    };
    assert!(gap(1e-10) < 1e-3, "{}", gap(1e-10));
    assert!(gap(1.0) > 0.1);
}

#[test]
fn ridge_by_hand() {
    // In one dimension w = sum x y / (sum x^2 + lambda) = (2 * 3 + 1 * 7) / (4 + 1 + 1.5) = 2.
    let predictions = Ridge { lambda: 1.5 }.predict(&asked(&[[2.0, 1.0, 5.0]], [3.0, 7.0, 0.0], AnswerKind::Number));
    assert!((predictions[4] - 10.0).abs() < 1e-5, "{predictions:?}");
}

#[test]
fn ridge_is_the_best_predictor_at_its_own_noise() {
    let config = LinearConfig { noise_std: 1.0, ..Default::default() };
    let mean = |baseline: &dyn Baseline| curve(baseline, &config).iter().map(|(mean, _)| mean).sum::<f64>();
    let best = mean(&Ridge { lambda: 1.0 });
    for other in [
        &LeastSquares as &dyn Baseline,
        &Averaging,
        &Knn { neighbours: 3 },
        &Ridge { lambda: 5.0 },
        &Ridge { lambda: 0.2 },
    ] {
        assert!(best < mean(other), "{} {best} {}", other.name(), mean(other));
    }
}

/// Three sources of noise: that of the task, before y is scaled down, and that of a shift after it.
#[test]
fn the_best_possible_predictor_knows_how_noisy_prompts_are() {
    let shift = Some(Shift::NoisyY(1.0));
    for config in [
        LinearConfig { noise_std: 0.7, ..Default::default() },
        LinearConfig { noise_std: 1.5, rescale: true, shift: shift.clone(), ..Default::default() },
        LinearConfig { shift, ..Default::default() },
    ] {
        let best = InContextTask { config: config.clone() }.best_possible().expect("it is known");
        let mean = |baseline: &dyn Baseline| curve(baseline, &config).iter().map(|(mean, _)| mean).sum::<f64>();
        let found = mean(&*best);
        for lambda in [0.2, 1.5, 8.0] {
            assert!(
                found < 1.001 * mean(&Ridge { lambda }),
                "{config:?}: {found}, {lambda}: {}",
                mean(&Ridge { lambda })
            );
        }
        assert!(1.05 * found < mean(&LeastSquares), "{config:?}: {found}");
    }
}

#[test]
fn nearest_neighbours_by_hand() {
    let x = [[0.0, 10.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0, 1.0]];
    let predictions = Knn { neighbours: 3 }.predict(&asked(&x, [1.0, 2.0, 3.0, 5.0, 100.0], AnswerKind::Number));
    let answers: Vec<f32> = (0..5).map(|point| predictions[alternating::x_position(point)]).collect();
    // With up to three examples all count; the last query ignores the example at (10, 0).
    assert_eq!(answers, [0.0, 1.0, 1.5, 2.0, 3.0]);
}
