//! In-context rules, by hand and by the conditions that define their answers.

use headway_tasks::{
    Batch, Seed, Split, Stream, Task,
    baseline::{
        Baseline,
        averaging::Averaging,
        gaussian_process::GaussianProcess,
        gradient_descent::GradientDescent,
        in_context::InContext,
        knn::Knn,
        lasso::{self, Lasso},
        least_squares::LeastSquares,
        logistic_regression::LogisticRegression,
        regression_tree::RegressionTree,
        trained_network::TrainedNetwork,
    },
    icl::{
        family::{Family, InContextTask},
        linear::LinearConfig,
        logistic::LogisticConfig,
        relu::ReluConfig,
        sine::SineConfig,
        sparse::SparseConfig,
        tree::TreeConfig,
    },
    prompt::alternating::{Prompt, x_position},
};
use nalgebra::{DMatrix, DVector};

fn draw<F: Family>(config: &F, count: u64) -> Batch {
    let task = InContextTask { config: config.clone() };
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
}

fn prompts<F: Family>(config: &F, count: u64) -> Vec<Prompt> {
    let (batch, d) = (draw(config, count), config.prompts().d);
    batch.inputs.continuous().chunks(batch.dims.seq_len * d).map(|tokens| Prompt::read(tokens, d)).collect()
}

/// A rule's answer to a query, given one row per example.
fn answer<const D: usize>(rule: &impl InContext, examples: &[([f64; D], f64)], query: [f64; D]) -> f64 {
    let x = DMatrix::from_fn(D, examples.len(), |row, j| examples[j].0[row]);
    let y = DVector::from_fn(examples.len(), |j, _| examples[j].1);
    rule.answer(x.as_view(), y.as_view(), DVector::from_column_slice(&query).as_view())
}

fn assert_close(found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{found} is not {expected} +- {allowed}");
}

/// Mean squared error over the points from `first` on.
fn error(baseline: &dyn Baseline, batch: &Batch, first: usize) -> f64 {
    let (predictions, targets) = (baseline.predict(batch), batch.targets.continuous());
    let late = |position: &usize| batch.loss_mask[*position] && position % batch.dims.seq_len >= x_position(first);
    let squares: Vec<f64> = (0..predictions.len())
        .filter(late)
        .map(|position| f64::from(predictions[position] - targets[position]).powi(2))
        .collect();
    squares.iter().sum::<f64>() / squares.len() as f64
}

#[test]
fn lasso_shrinks_by_the_soft_threshold_where_coordinates_are_orthogonal() {
    // X = sqrt(2) I over two examples: G = I and c = y / sqrt(2) = (3, -0.05).
    let root = 2.0_f64.sqrt();
    let examples = [([root, 0.0], 3.0 * root), ([0.0, root], -0.05 * root)];
    let lasso = Lasso { name: "lasso", alpha: 0.1 };
    assert_close(answer(&lasso, &examples, [1.0, 0.0]), 2.9, 1e-12);
    assert_close(answer(&lasso, &examples, [0.0, 1.0]), 0.0, 0.0);
    let lasso = Lasso { name: "lasso", alpha: 0.02 };
    assert_close(answer(&lasso, &examples, [0.0, 1.0]), -0.03, 1e-12);
}

#[test]
fn lasso_meets_its_optimality_conditions() {
    // x_j . (y - X^T w) / i is alpha sign(w_j) where w_j is not zero, and between -alpha and alpha where it is.
    assert_eq!(
        lasso::GRID.iter().map(|lasso| lasso.name).collect::<Vec<_>>(),
        ["lasso_1.0", "lasso_0.1", "lasso_0.01", "lasso_0.001", "lasso_0.0001"]
    );
    for Prompt { x, y } in prompts(&LinearConfig { d: 7, n_points: 12, noise_std: 0.3, ..Default::default() }, 10) {
        for seen in [1, 3, 6, 8, 11] {
            let (x, y) = (x.columns(0, seen).into_owned(), y.rows(0, seen).into_owned());
            for lasso in lasso::GRID {
                let w = lasso.weights(x.as_view(), y.as_view());
                let pulls = &x * (&y - x.tr_mul(&w)) / seen as f64;
                for (pull, weight) in pulls.iter().zip(&w) {
                    if *weight == 0.0 {
                        assert!(pull.abs() <= lasso.alpha + 1e-6, "{}: {pull}", lasso.name);
                    } else {
                        assert_close(*pull, lasso.alpha * weight.signum(), 1e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn lasso_finds_sparse_weights_sooner_than_least_squares() {
    let batch = draw(&SparseConfig { d: 20, n_points: 17, ..Default::default() }, 100);
    let (lasso, least_squares) = (error(&lasso::GRID[2], &batch, 12), error(&LeastSquares, &batch, 12));
    assert!(lasso < 0.3 * least_squares, "{lasso} {least_squares}");
}

#[test]
fn gradient_descent_by_hand() {
    // X = diag(2, 1), y = (2, 1): the largest eigenvalue is 4, and one step from zero is X y / 4 = (1, 1/4).
    let examples = [([2.0, 0.0], 2.0), ([0.0, 1.0], 1.0)];
    let after = |steps, step_size, query| answer(&GradientDescent { steps, step_size }, &examples, query);
    assert_close(after(1, 1.0, [1.0, 0.0]), 1.0, 1e-12);
    assert_close(after(1, 1.0, [0.0, 1.0]), 0.25, 1e-12);
    // Each step leaves 1 - step_size lambda / 4 of the remainder.
    assert_close(after(3, 0.5, [1.0, 0.0]), 1.0 - 0.5_f64.powi(3), 1e-12);
    assert_close(after(3, 0.5, [0.0, 1.0]), 1.0 - 0.875_f64.powi(3), 1e-12);
    assert_close(after(0, 1.0, [1.0, 1.0]), 0.0, 0.0);
}

#[test]
fn gradient_descent_converges_to_least_squares() {
    for Prompt { x, y } in prompts(&LinearConfig::default(), 20) {
        for seen in [1, 3, 9] {
            let (x, y, query) = (x.columns(0, seen), y.rows(0, seen), x.column(10));
            let descent = GradientDescent { steps: 20_000, step_size: 1.5 };
            assert_close(descent.answer(x, y, query), LeastSquares.answer(x, y, query), 1e-3);
        }
    }
}

#[test]
fn regression_trees_by_hand() {
    // The second coordinate separates (0, 0) from (10, 12); the first only splits off one example at a time.
    let examples = [([0.0, 0.0], 0.0), ([2.0, 1.0], 0.0), ([1.0, 2.0], 10.0), ([3.0, 3.0], 12.0)];
    let (shallow, full) = (RegressionTree { max_depth: Some(1) }, RegressionTree { max_depth: None });
    for (query, by_shallow, by_full) in [
        ([9.0, 1.4], 0.0, 0.0),
        ([0.0, 1.6], 11.0, 10.0),
        // Both coordinates separate 10 from 12; the first counts, at 2.
        ([1.9, 9.0], 11.0, 10.0),
        ([2.1, 1.6], 11.0, 12.0),
    ] {
        assert_close(answer(&shallow, &examples, query), by_shallow, 1e-12);
        assert_close(answer(&full, &examples, query), by_full, 1e-12);
    }
    assert_close(answer(&RegressionTree { max_depth: Some(0) }, &examples, [0.0, 0.0]), 5.5, 1e-12);
    // Examples that cannot be separated share a leaf.
    assert_close(answer(&full, &[([1.0], 2.0), ([1.0], 4.0), ([2.0], 9.0)], [0.0]), 3.0, 1e-12);
}

#[test]
fn a_full_regression_tree_repeats_what_it_saw() {
    for Prompt { x, y } in prompts(&TreeConfig::default(), 20) {
        for (point, &y_seen) in y.iter().enumerate() {
            let tree = RegressionTree { max_depth: None };
            assert_close(tree.answer(x.columns(0, 10), y.as_view(), x.column(point)), y_seen, 1e-12);
        }
    }
}

#[test]
fn regression_trees_learn_trees() {
    let batch = draw(&TreeConfig { d: 3, n_points: 101, depth: 2, ..Default::default() }, 30);
    let tree = error(&RegressionTree { max_depth: None }, &batch, 60);
    for other in [&LeastSquares as &dyn Baseline, &Knn { neighbours: 3 }] {
        assert!(tree < 0.5 * error(other, &batch, 60), "{tree} {}", error(other, &batch, 60));
    }
}

#[test]
fn logistic_regression_is_where_its_gradient_vanishes() {
    for Prompt { x, y } in prompts(&LogisticConfig { d: 7, n_points: 20, ..Default::default() }, 10) {
        for (seen, lambda) in [(1, 0.01), (5, 0.3), (19, 1e-4), (19, 10.0)] {
            let (x, y) = (x.columns(0, seen), y.rows(0, seen));
            let w = LogisticRegression { lambda }.weights(x, y);
            let pulls = y.zip_map(&x.tr_mul(&w), |sign, form| sign / (1.0 + (sign * form).exp()));
            assert!((x * pulls - &w * lambda).amax() < 1e-4 * w.amax().max(1.0), "{seen} {lambda}");
            assert!(w.amax() > 0.0);
        }
    }
    // One example at x = 1: w = sigmoid(-w) at lambda = 1, so w = 0.401058.
    assert_close(answer(&LogisticRegression { lambda: 1.0 }, &[([1.0], 1.0)], [2.0]), 2.0 * 0.401_058, 1e-5);
    assert_close(answer(&LogisticRegression { lambda: 1.0 }, &[([1.0], -1.0)], [1.0]), -0.401_058, 1e-5);
}

#[test]
fn logistic_regression_stands_inputs_beside_which_its_penalty_is_lost() {
    // Three examples in seven dimensions: the curvature alone is singular, and at these sizes the rest is lost in
    // rounding.
    for scale in [1e8, 1e15, 1e30] {
        for Prompt { x, y } in prompts(&LogisticConfig { d: 7, n_points: 4, ..Default::default() }, 20) {
            let x = x.columns(0, 3) * scale;
            let w = LogisticRegression { lambda: 0.3 }.weights(x.as_view(), y.as_view());
            assert!(w.iter().all(|entry| entry.is_finite()), "{scale}: {w}");
            let right = x.tr_mul(&w).iter().zip(&y).all(|(form, sign)| form * sign > 0.0);
            assert!(right, "{scale}: three examples in seven dimensions can be told apart");
        }
    }
}

#[test]
fn answers_to_classes_are_differences_of_logits() {
    let config = LogisticConfig::default();
    let batch = draw(&config, 1);
    let rule = LogisticRegression { lambda: 0.3 };
    let logits = rule.predict(&batch);
    let Prompt { x, y } = prompts(&config, 1).remove(0);
    for seen in 1..11 {
        let expected = rule.answer(x.columns(0, seen), y.rows(0, seen), x.column(seen));
        let [zero, one] = [0, 1].map(|class| f64::from(logits[2 * x_position(seen) + class]));
        assert_close(one - zero, expected, 1e-4);
        assert_close(one + zero, 0.0, 0.0);
    }
    let accuracy = |baseline: &dyn Baseline| {
        let batch = draw(&config, 400);
        let logits = baseline.predict(&batch);
        let right = |position: &usize| {
            let class = u32::from(logits[2 * position + 1] > logits[2 * position]);
            class == batch.targets.classes()[*position]
        };
        let last = (0..400).map(|example| example * 21 + x_position(10)).filter(right).count();
        last as f64 / 400.0
    };
    let (logistic, neighbours) = (accuracy(&rule), accuracy(&Knn { neighbours: 3 }));
    assert!(logistic > 0.8 && logistic > neighbours + 0.05, "{logistic} {neighbours}");
}

#[test]
fn only_scored_points_are_answered() {
    let mut batch = draw(&LinearConfig::default(), 2);
    let whole = LeastSquares.predict(&batch);
    batch.loss_mask.fill(false);
    batch.loss_mask[21 + x_position(3)] = true;
    let predictions = LeastSquares.predict(&batch);
    for (position, prediction) in predictions.into_iter().enumerate() {
        let expected = if batch.loss_mask[position] { whole[position] } else { 0.0 };
        assert_eq!(prediction.to_bits(), expected.to_bits());
    }
}

#[test]
fn a_trained_network_fits_what_it_saw_and_learns_networks() {
    let config = ReluConfig::default();
    let mut patient = TrainedNetwork::new(5, 100);
    patient.steps = 1000;
    for Prompt { x, y } in prompts(&config, 3) {
        for seen in [1, 10] {
            let (x, y) = (x.columns(0, seen), y.rows(0, seen));
            assert_close(patient.answer(x, y, x.column(seen - 1)), y[seen - 1], 0.02);
        }
    }
    let batch = draw(&config, 150);
    let network = error(&TrainedNetwork::new(5, 100), &batch, 5);
    for other in [&LeastSquares as &dyn Baseline, &Knn { neighbours: 3 }] {
        assert!(network < 0.8 * error(other, &batch, 5), "{network} {}", error(other, &batch, 5));
    }
}

/// By hand: two examples of covariance 1/2 with themselves and c / 2 with each other, the query at the first of them.
/// And of all linear rules it is the best one, so that ridge regression, also linear in the answers, cannot be better.
#[test]
fn a_gaussian_process_interpolates_and_beats_what_is_linear_too() {
    let config = SineConfig { d: 1, frequency: 2.0, ..Default::default() };
    let covariance = |a: f64, b: f64| (-2.0 * (a - b).powi(2)).exp() / 2.0;
    let process = GaussianProcess { covariance: Box::new(move |a, b| covariance(a[0], b[0])) };
    let x = DMatrix::from_row_slice(1, 2, &[0.25, 1.0]);
    let y = DVector::from_column_slice(&[0.5, -0.25]);
    let answer = |query: f64| process.answer(x.as_view(), y.as_view(), DVector::from_element(1, query).as_view());
    assert_close(answer(0.25), 0.5, 1e-6);
    assert_close(answer(1.0), -0.25, 1e-6);
    // (K^-1 y) by Cramer's rule.
    let (k, c) = (0.5, covariance(0.25, 1.0));
    let weights = [(k * 0.5 + c * 0.25) / (k * k - c * c), (-k * 0.25 - c * 0.5) / (k * k - c * c)];
    assert_close(answer(0.5), weights[0] * covariance(0.25, 0.5) + weights[1] * covariance(1.0, 0.5), 1e-6);
    let batch = draw(&config, 400);
    let best = error(&process, &batch, 10);
    for other in [&LeastSquares as &dyn Baseline, &Averaging, &Knn { neighbours: 3 }] {
        assert!(best < 0.8 * error(other, &batch, 10), "{best} {}", error(other, &batch, 10));
    }
}
