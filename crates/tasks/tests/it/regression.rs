//! Regression with one example per row: the layout and the predictors by hand, and compared with each other.

use headway_tasks::{
    Batch, Distribution, Seed, Split, Stream, TaskConfig,
    baseline::{
        gradient_descent::{ExampleLoss, FixedRateDescent, gradient_descent},
        in_context::InContext,
        least_squares::LeastSquares,
        ridge::Ridge,
    },
    icl::regression::RegressionConfig,
    prompt::rows::{read, write},
};
use nalgebra::{DMatrix, DVector};

use crate::files;

fn parse(text: &str) -> TaskConfig {
    toml::from_str(&format!("[in_context_regression]\n{text}")).expect(text)
}

fn draw(config: &TaskConfig, count: u64) -> Batch {
    let task = config.open(&files(), Seed(1)).expect("no file is read");
    Batch::stack(task.dims(), (0..count).map(|i| task.example(Split::Test, i, &mut Seed(1).rng(Stream::Test, i))))
}

/// Mean squared error at the query of every baseline, by name.
fn errors(config: &TaskConfig, count: u64) -> Vec<(&'static str, f64)> {
    let (batch, mut rows) = (draw(config, count), Vec::new());
    for mut baseline in config.open(&files(), Seed(1)).expect("no file is read").baselines() {
        baseline.fit(&batch);
        let predictions = baseline.predict(&batch);
        let scored = batch.loss_mask.iter().zip(predictions.iter().zip(batch.targets.continuous()));
        let squares = scored.filter(|(scored, _)| **scored).map(|(_, (a, b))| f64::from(a - b).powi(2));
        rows.push((baseline.name(), squares.sum::<f64>() / count as f64));
    }
    rows
}

fn error(errors: &[(&str, f64)], name: &str) -> f64 {
    errors.iter().find(|(there, _)| *there == name).expect(name).1
}

#[test]
fn a_prompt_by_hand() {
    // Two examples and a query in three dimensions.
    let x = DMatrix::from_row_slice(3, 3, &[1., 4., 7., 2., 5., 8., 3., 6., 9.]);
    let example = write(&x, &DVector::from_vec(vec![-1.0, -2.0]), &[-3.0]);
    let rows = [1., 2., 3., -1., 4., 5., 6., -2., 7., 8., 9., 0.];
    assert_eq!(example.inputs.continuous(), rows);
    assert_eq!(example.targets.continuous(), [0.0, 0.0, -3.0]);
    assert_eq!((example.loss_mask, example.slices), (vec![false, false, true], vec![None; 3]));
    let (x, y, query) = read(&rows, 3);
    assert_eq!(x, DMatrix::from_row_slice(3, 2, &[1., 4., 2., 5., 3., 6.]));
    assert_eq!((y.as_slice(), query.as_slice()), (&[-1.0, -2.0][..], &[7.0, 8.0, 9.0][..]));
}

#[test]
fn one_w_answers_every_row_of_a_prompt() {
    let config = parse("d = 3\nn_points = 7\nnoise = 0");
    let (dims, batch) = (config.dims(), draw(&config, 5));
    assert_eq!((dims.seq_len, dims.d_out), (8, 1));
    for (example, rows) in batch.inputs.continuous().chunks_exact(8 * 4).enumerate() {
        let (x, y, query) = read(rows, 8);
        let answer = LeastSquares.answer(x.as_view(), y.as_view(), query.as_view());
        assert!((answer - f64::from(batch.targets.continuous()[example * 8 + 7])).abs() < 1e-5);
        assert!(x.iter().chain(&query).all(|x| (-1.0..=1.0).contains(x)));
    }
}

#[test]
fn noise_is_added_to_examples_and_not_to_the_target() {
    // w is practically 3, in one dimension: the rest of y is noise.
    let config = parse("d = 1\nn_points = 4000\nnoise = 0.5\nweights = { normal = { mean = 3, std = 1e-9 } }");
    let batch = draw(&config, 1);
    let (x, y, query) = read(batch.inputs.continuous(), 4001);
    assert!((f64::from(batch.targets.continuous()[4000]) - 3.0 * query[0]).abs() < 1e-6);
    let noise = y - x.row(0).transpose() * 3.0;
    assert!(noise.mean().abs() < 4.0 * 0.5 / 4000.0_f64.sqrt());
    assert!((noise.variance().sqrt() / 0.5 - 1.0).abs() < 0.05);
}

#[test]
fn steps_of_gradient_descent_by_hand() {
    // x = 1, 2 and y = 1, 3: the gradient is (5 w - 7) / 2.
    let (x, y) = (DMatrix::from_row_slice(1, 2, &[1.0, 2.0]), DVector::from_vec(vec![1.0, 3.0]));
    let w = |steps| gradient_descent(x.as_view(), y.as_view(), steps, 0.1)[0];
    for (steps, expected) in [(0, 0.0), (1, 0.35), (2, 0.6125)] {
        assert!((w(steps) - expected).abs() < 1e-15, "{steps} steps: {}", w(steps));
    }
    assert!((w(1000) - 1.4).abs() < 1e-12, "the least squares solution");
    // Two coordinates that no example mixes evolve independently.
    let (x, y) = (DMatrix::from_row_slice(2, 2, &[2.0, 0.0, 0.0, 1.0]), DVector::from_vec(vec![2.0, 5.0]));
    assert_eq!(gradient_descent(x.as_view(), y.as_view(), 1, 0.5).as_slice(), [1.0, 1.25]);
}

#[test]
fn descent_goes_from_averaging_to_least_squares() {
    let descent = |steps: usize, rate: f64| {
        errors(&parse(&format!("d = 2\nn_points = 11\ngradient_descent = {{ steps = {steps}, rate = {rate} }}")), 500)
    };
    // One step at rate 1 is averaging.
    let one = descent(1, 1.0);
    assert!((error(&one, "gradient_descent") - error(&one, "averaging")).abs() < 1e-9);
    let many = descent(5000, 1.0);
    assert!((error(&many, "gradient_descent") - error(&many, "least_squares")).abs() < 1e-6);
}

#[test]
fn predictors_are_ranked_as_theory_says() {
    let all = errors(&parse("noise = 0.5"), 4000);
    let names: Vec<_> = all.iter().map(|&(name, _)| name).collect();
    assert_eq!(names, ["gradient_descent", "least_squares", "averaging", "mean", "ridge"]);
    // E[(w . x)^2] = d / 3 is the error of the mean, and no predictor is better than ridge, the posterior mean.
    assert!((error(&all, "mean") / (5.0 / 3.0) - 1.0).abs() < 0.15);
    for (name, found) in &all {
        assert!(*found >= error(&all, "ridge"), "{name}");
    }
    assert!(error(&all, "least_squares") < error(&all, "gradient_descent"));
    assert!(error(&all, "gradient_descent") < error(&all, "averaging"));
    assert!(error(&all, "averaging") < error(&all, "mean"));
    // Without noise there is nothing to shrink, and least squares is exact.
    let all = errors(&parse("noise = 0"), 50);
    assert!(all.iter().all(|&(name, _)| name != "ridge") && error(&all, "least_squares") < 1e-9);
}

#[test]
fn ridge_shrinks_by_the_ratio_of_noise_and_weights() {
    let config =
        RegressionConfig { noise: 0.6, weights: Distribution::Normal { mean: 0.0, std: 2.0 }, ..Default::default() };
    let batch = draw(&TaskConfig::InContextRegression(config.clone()), 3);
    let task = TaskConfig::InContextRegression(config).open(&files(), Seed(1)).expect("no file is read");
    let ridge = task.baselines().into_iter().find(|baseline| baseline.name() == "ridge").expect("noise is not 0");
    let predictions = ridge.predict(&batch);
    for (example, rows) in batch.inputs.continuous().chunks_exact(21 * 6).enumerate() {
        let (x, y, query) = read(rows, 21);
        let expected = Ridge { lambda: 0.09 }.answer(x.as_view(), y.as_view(), query.as_view());
        assert!((f64::from(predictions[example * 21 + 20]) - expected).abs() < 1e-6);
        assert!(predictions[example * 21..][..20].iter().all(|&unscored| unscored == 0.0));
    }
}

const PLAIN: FixedRateDescent =
    FixedRateDescent { steps: 1, rate: 0.5, loss: ExampleLoss::Squared, ridge: 0.0, lasso: 0.0 };

/// Two points on axes, so that coordinates do not mix: gradients are means over both.
#[test]
fn steps_of_other_models_by_hand() {
    let x = DMatrix::from_row_slice(2, 2, &[2.0, 0.0, 0.0, 4.0]);
    let y = DVector::from_vec(vec![2.0, 1.0]);
    let after = |rule: FixedRateDescent| rule.weights(x.as_view(), y.as_view());
    // Slopes −2 and −1: the mean gradient is −(2·2, 1·4)/2.
    assert_eq!(after(PLAIN).as_slice(), [1.0, 1.0]);
    // From (1, 1): slopes 0 and 3, the gradient (0, 6) and half the ridge.
    assert_eq!(after(FixedRateDescent { steps: 2, ridge: 0.5, ..PLAIN }).as_slice(), [0.75, -2.25]);
    // The soft threshold takes half of 1.5 away.
    assert_eq!(after(FixedRateDescent { lasso: 1.5, ..PLAIN }).as_slice(), [0.25, 0.25]);
    assert_eq!(after(FixedRateDescent { lasso: 3.0, ..PLAIN }).as_slice(), [0.0, 0.0]);
    // Slopes beyond the threshold are cut.
    let huber = ExampleLoss::Huber { threshold: 1.5 };
    assert_eq!(after(FixedRateDescent { loss: huber, ..PLAIN }).as_slice(), [0.75, 1.0]);
    // At w = 0 the logistic slope is −y/2.
    assert_eq!(after(FixedRateDescent { loss: ExampleLoss::Logistic, ..PLAIN }).as_slice(), [0.5, 0.5]);
}

#[test]
fn slopes_are_those_of_losses_and_the_objective_falls() {
    let losses = [ExampleLoss::Squared, ExampleLoss::Logistic, ExampleLoss::Huber { threshold: 0.7 }];
    for loss in losses {
        for (z, y) in [(0.0, 1.0), (-3.0, 0.25), (0.3, -0.2), (40.0, -1.0), (-800.0, 1.0)] {
            let slope = (loss.value(z + 1e-4, y) - loss.value(z - 1e-4, y)) / 2e-4;
            // Central differences of smooth functions, of values up to 3e5.
            assert!((slope - loss.slope(z, y)).abs() < 1e-6, "{loss:?} at {z}, {y}: {slope}");
        }
        let x = DMatrix::from_row_slice(2, 3, &[1.0, -0.5, 0.25, 0.5, 1.0, -1.0]);
        let y = DVector::from_vec(vec![1.0, -1.0, 0.5]);
        let objective = |steps| {
            let rule = FixedRateDescent { steps, rate: 0.9, loss, ridge: 0.1, lasso: 0.05 };
            rule.objective(x.as_view(), y.as_view(), rule.weights(x.as_view(), y.as_view()).as_view())
        };
        let values: Vec<f64> = (0..12).map(objective).collect();
        assert!(values.windows(2).all(|pair| pair[1] < pair[0]), "{loss:?}: {values:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (text, keys) in [
        ("d = 0\nn_points = 0\nnoise = -1", vec!["d", "n_points", "noise"]),
        (
            "noise = nan\ninput.uniform = { low = 1, high = 0 }\nweights.normal.std = 0",
            vec!["noise", "input", "weights"],
        ),
        ("gradient_descent = { steps = 0, rate = 0 }", vec!["gradient_descent.steps", "gradient_descent.rate"]),
        ("gradient_descent.rate = inf", vec!["gradient_descent.rate"]),
        (
            "gradient_descent = { ridge = -1, lasso = nan, loss = { huber = { threshold = 0 } } }",
            vec!["gradient_descent.loss.huber.threshold", "gradient_descent.ridge", "gradient_descent.lasso"],
        ),
        ("gradient_descent = { ridge = 0.1, lasso = 0.2, loss = \"logistic\" }", vec![]),
        ("d = 1\nn_points = 1\nnoise = 0", vec![]),
    ] {
        let found: Vec<_> = parse(text).validate().into_iter().map(|error| error.into_parts().0).collect();
        assert_eq!(found, keys, "{text}");
    }
    let typo = toml::from_str::<TaskConfig>("[in_context_regression]\ngradient_descent.step = 3");
    assert!(typo.expect_err("a typo").to_string().contains("step"));
    // A key with its default value is not written, so that old runs keep their ids.
    let plain = toml::to_string(&parse("d = 2")).expect("a table");
    assert!(["loss", "ridge", "lasso"].iter().all(|key| !plain.contains(key)), "{plain}");
    let changed = parse("d = 2\ngradient_descent = { steps = 3, lasso = 0.1, loss = { huber = {} } }");
    assert_eq!(toml::from_str::<TaskConfig>(&toml::to_string(&changed).expect("a table")), Ok(changed));
}
