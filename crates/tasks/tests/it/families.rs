//! Hidden functions, compared with hand computations and with moments from theory.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_6, LN_2, SQRT_2};

use headway_tasks::{
    Batch, Distribution, Seed, Split, Stream, Targets, Task,
    baseline::{Baseline, least_squares::LeastSquares, squares_least_squares::SquaresLeastSquares},
    icl::{
        family::{Family, InContextTask},
        linear::LinearConfig,
        logistic::LogisticConfig,
        quadratic::QuadraticConfig,
        relu::{ReluConfig, ReluFunction},
        sine::{SineConfig, Wave},
        sparse::SparseConfig,
        tree::{Tree, TreeConfig},
        two_layer_net::{TanhFunction, TwoLayerNetConfig},
    },
    prompt::alternating::{self, Prompt},
};
use nalgebra::{DMatrix, DVector};

fn draw<F: Family>(config: &F, count: u64) -> Batch {
    let task = InContextTask { config: config.clone() };
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
}

/// The answers of a function to points given as columns of coordinates.
fn answers<F: Family, const D: usize>(config: &F, function: &F::Function, points: &[[f32; D]]) -> Vec<f32> {
    let x = DMatrix::from_fn(D, points.len(), |row, point| points[point][row]);
    config.answers(function, &x, &mut Seed(1).rng(Stream::Test, 0)).as_slice().to_vec()
}

/// Asserts that the mean of y^2 over prompts is the family's `mean_square`, within 4 standard errors.
fn assert_mean_square<F: Family>(config: &F, expected: f64) {
    assert!((config.mean_square() - expected).abs() < 1e-9, "{} is not {expected}", config.mean_square());
    let (batch, points) = (draw(config, 20_000), config.prompts().n_points);
    let squares = DVector::from_fn(batch.size, |example, _| {
        let y = |point| {
            f64::from(batch.targets.continuous()[example * batch.dims.seq_len + alternating::x_position(point)])
        };
        (0..points).map(|point| y(point).powi(2)).sum::<f64>() / points as f64
    });
    let (mean, error) = (squares.mean(), (squares.variance() / batch.size as f64).sqrt());
    assert!((mean - expected).abs() < 4.0 * error, "{mean} +- {error} is not {expected}");
    // A wide interval would accept anything.
    assert!(error < 0.02 * expected, "{error} says too little about {expected}");
}

#[test]
fn saying_zero_costs_what_each_family_names() {
    let wide = Distribution::Uniform { low: -1.0, high: 3.0 }; // E[x^2] = 7/3, E[x^4] = 244/20
    assert_mean_square(&LinearConfig::default(), 5.0);
    assert_mean_square(&LinearConfig { d: 3, noise_std: 2.0, ..Default::default() }, 3.0 + 4.0);
    assert_mean_square(&LinearConfig { d: 3, noise_std: 2.0, rescale: true, ..Default::default() }, 3.0);
    assert_mean_square(&LinearConfig { d: 3, input: wide.clone(), ..Default::default() }, 7.0);
    assert_mean_square(&SparseConfig { d: 7, ..Default::default() }, 3.0);
    assert_mean_square(&SparseConfig { n_nonzero: 1, input: wide.clone(), ..Default::default() }, 7.0 / 3.0);
    assert_mean_square(&QuadraticConfig::default(), 5.0);
    assert_mean_square(&QuadraticConfig { d: 3, input: wide.clone(), ..Default::default() }, 12.2);
    assert_mean_square(&ReluConfig::default(), 5.0);
    assert_mean_square(&ReluConfig { d: 3, d_hidden: 7, input: wide.clone(), ..Default::default() }, 7.0);
    assert_mean_square(&SineConfig::default(), 0.5);
    assert_mean_square(&SineConfig { d: 2, frequency: 3.0, input: wide.clone(), ..Default::default() }, 0.5);
    // By quadrature over u and over the density of x in numpy: the other way than that of the code.
    assert_mean_square(&TwoLayerNetConfig::default(), 0.511_088_587_301_928_7);
    assert_mean_square(&TwoLayerNetConfig { d: 1, input: wide.clone(), ..Default::default() }, 0.550_306_380_670_548);
    assert_mean_square(&TwoLayerNetConfig { d: 2, input: wide, ..Default::default() }, 0.575_041_931_038_219_8);
    assert_mean_square(&TreeConfig::default(), 1.0);
    assert_mean_square(&TreeConfig { d: 2, depth: 1, ..Default::default() }, 1.0);
}

#[test]
fn functions_by_hand() {
    let vector = |values: &[f32]| DVector::from_column_slice(values);
    let linear = LinearConfig { d: 2, ..Default::default() };
    assert_eq!(answers(&linear, &vector(&[3.0, -1.0]), &[[1.0, 2.0], [2.0, -5.0]]), [1.0, 11.0]);
    let sparse = SparseConfig { d: 2, ..Default::default() };
    assert_eq!(answers(&sparse, &vector(&[0.0, -1.0]), &[[1.0, 2.0], [2.0, -5.0]]), [-2.0, 5.0]);
    let quadratic = QuadraticConfig { d: 2, ..Default::default() };
    let scaled: Vec<f32> = answers(&quadratic, &vector(&[3.0, -1.0]), &[[1.0, 2.0], [-2.0, 0.0]])
        .iter()
        .map(|y| y * 3.0_f32.sqrt())
        .collect();
    assert!((scaled[0] + 1.0).abs() < 1e-5 && (scaled[1] - 12.0).abs() < 1e-5, "{scaled:?}");
    let logistic = LogisticConfig { d: 2, ..Default::default() };
    assert_eq!(answers(&logistic, &vector(&[1.0, -2.0]), &[[3.0, 1.0], [1.0, 1.0]]), [1.0, -1.0]);
    // Units x_1 + 3 x_2 and 2 x_1 - x_2: -5 and 4 at (1, -2), 4 and 1 at (1, 1). The factor sqrt(2 / 2) is 1.
    let relu = ReluFunction {
        weights_in: DMatrix::from_row_slice(2, 2, &[1.0, 2.0, 3.0, -1.0]),
        weights_out: vector(&[7.0, 0.5]),
    };
    let config = ReluConfig { d: 2, d_hidden: 2, ..Default::default() };
    assert_eq!(answers(&config, &relu, &[[1.0, -2.0], [1.0, 1.0]]), [2.0, 28.5]);
    // The wave 2 x_1 - x_2 + pi / 6 in degrees of pi: sin(pi / 6), then sin(pi / 6 + pi / 2).
    let wave = Wave { direction: vector(&[2.0, -1.0]), phase: FRAC_PI_6 };
    let sines = answers(&SineConfig { d: 2, ..Default::default() }, &wave, &[[0.5, 1.0], [0.0, -FRAC_PI_2]]);
    assert!((sines[0] - 0.5).abs() < 1e-6 && (sines[1] - 0.75_f32.sqrt()).abs() < 1e-6, "{sines:?}");
    // Units (4 x_1) / 2 + ln 2 and a bias alone: tanh(ln 2) = 3/5, tanh(ln 4) = 15/17; the factor 1 / sqrt(2).
    let net = TanhFunction {
        weights_in: DMatrix::from_fn(4, 2, |row, unit| if row + unit == 0 { 4.0 } else { 0.0 }),
        biases: vector(&[LN_2, -LN_2]),
        weights_out: vector(&[SQRT_2, 5.0 * SQRT_2]),
    };
    let config = TwoLayerNetConfig { d: 4, d_hidden: 2, ..Default::default() };
    let outputs = answers(&config, &net, &[[0.0, 7.0, 0.0, 0.0], [LN_2 / 2.0, 0.0, 0.0, 7.0]]);
    assert!((outputs[0] + 2.4).abs() < 1e-5 && (outputs[1] - (15.0 / 17.0 - 3.0)).abs() < 1e-5, "{outputs:?}");
    //        x_1
    //     x_0     x_2
    //   10  20  30  40
    let tree = Tree { coordinates: vec![1, 0, 2], leaves: vec![10.0, 20.0, 30.0, 40.0] };
    let config = TreeConfig { d: 3, depth: 2, ..Default::default() };
    let points = [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0]];
    assert_eq!(answers(&config, &tree, &points), [10.0, 20.0, 30.0, 40.0, 10.0]);
}

#[test]
fn rescaling_divides_every_noisy_answer_by_the_same_number() {
    let noisy = LinearConfig { d: 3, noise_std: 2.0, ..Default::default() };
    let (plain, rescaled) = (draw(&noisy, 3), draw(&LinearConfig { rescale: true, ..noisy }, 3));
    let factor = (3.0_f32 / 7.0).sqrt();
    for (plain, rescaled) in plain.targets.continuous().iter().zip(rescaled.targets.continuous()) {
        assert!((plain * factor - rescaled).abs() < 1e-5, "{plain} {rescaled}");
    }
}

#[test]
fn sparse_weights_are_few_and_each_active_coordinate_is_as_likely() {
    let config = SparseConfig { d: 7, n_nonzero: 2, ..Default::default() };
    let mut counts = [0; 7];
    for i in 0..2000 {
        let w = config.draw(5, &mut Seed(1).rng(Stream::Test, i));
        assert_eq!(w.iter().filter(|&&weight| weight != 0.0).count(), 2);
        w.iter().zip(&mut counts).for_each(|(&weight, count)| *count += i32::from(weight != 0.0));
    }
    assert_eq!(counts[5..], [0, 0]);
    // Each of 5 is chosen with probability 2/5: 800 +- 22.
    assert!(counts[..5].iter().all(|count| (count - 800).abs() < 88), "{counts:?}");
}

#[test]
fn trees_ask_about_every_coordinate_equally_often() {
    let config = TreeConfig { d: 5, depth: 3, ..Default::default() };
    let mut counts = [0; 5];
    for i in 0..1000 {
        let tree = config.draw(5, &mut Seed(1).rng(Stream::Test, i));
        assert_eq!((tree.coordinates.len(), tree.leaves.len()), (7, 8));
        tree.coordinates.iter().for_each(|&coordinate| counts[coordinate] += 1);
    }
    // 7000 draws, each coordinate with probability 1/5: 1400 +- 33.
    assert!(counts.iter().all(|count| (count - 1400_i32).abs() < 134), "{counts:?}");
}

#[test]
fn classes_are_the_signs_that_the_prompt_shows() {
    let config = LogisticConfig::default();
    let batch = draw(&config, 300);
    let mut ones = 0;
    for (tokens, classes) in batch.inputs.continuous().chunks(21 * 5).zip(batch.targets.classes().chunks(21)) {
        for (point, &y) in Prompt::read(tokens, 5).y.iter().enumerate() {
            assert_eq!(y.abs().to_bits(), 1.0_f64.to_bits());
            assert_eq!(classes[alternating::x_position(point)], u32::from(y > 0.0));
            ones += classes[alternating::x_position(point)];
        }
    }
    // Of 3000 answers, ten to a prompt that share w.
    assert!((1200..1800).contains(&ones), "{ones}");
}

#[test]
fn least_squares_in_the_right_coordinates_is_exact_after_d_examples() {
    let largest_gap = |batch: &Batch, baseline: &dyn Baseline, points: std::ops::Range<usize>| {
        let (predictions, targets) = (baseline.predict(batch), batch.targets.continuous());
        let gap = |position: usize| (predictions[position] - targets[position]).abs();
        let positions = |example: usize| points.clone().map(move |point| example * 21 + alternating::x_position(point));
        (0..batch.size).flat_map(positions).map(gap).fold(0.0, f32::max)
    };
    let (sparse, quadratic) = (draw(&SparseConfig::default(), 50), draw(&QuadraticConfig::default(), 50));
    assert!(largest_gap(&sparse, &LeastSquares, 6..11) < 1e-3);
    assert!(largest_gap(&quadratic, &SquaresLeastSquares, 6..11) < 1e-2);
    assert!(largest_gap(&quadratic, &SquaresLeastSquares, 0..4) > 1.0, "fewer than d examples do not suffice");
    assert!(largest_gap(&quadratic, &LeastSquares, 6..11) > 1.0, "a linear form is no quadratic one");
    assert!(matches!(sparse.targets, Targets::Continuous(_)));
}
