//! Kernel regression: the predictors by hand, and compared with each other.

use headway_tasks::{
    Batch, Seed, Split, Stream, TaskConfig,
    baseline::{
        in_context::InContext,
        kernel_ridge::{Gaussian, KernelRidge, Richardson},
    },
    icl::kernel::KernelConfig,
    prompt::rows::read,
};
use nalgebra::{DMatrix, DVector};

use crate::files;

fn parse(text: &str) -> TaskConfig {
    toml::from_str(&format!("[in_context_kernel]\n{text}")).expect(text)
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

/// Two examples at distance 2 in one dimension: K has ones and e^-2, for s = 1.
#[test]
fn two_examples_by_hand() {
    let x = DMatrix::from_row_slice(1, 2, &[-1.0, 1.0]);
    let y = DVector::from_vec(vec![1.0, -1.0]);
    let query = DVector::from_vec(vec![0.5]);
    let kernel = Gaussian { bandwidth: 1.0 };
    // (1, -1) is an eigenvector with eigenvalue 1 - e^-2.
    let eigenvalue = 1.0 - (-2.0_f64).exp();
    let beside = (-1.125_f64).exp() - (-0.125_f64).exp();
    let (ridge, rate) = (0.3, 0.4);
    let exact = KernelRidge { kernel, ridge }.answer(x.as_view(), y.as_view(), query.as_view());
    assert!((exact - beside / (eigenvalue + ridge)).abs() < 1e-15, "{exact}");
    for steps in [1, 2, 7] {
        let rule = Richardson { kernel, ridge, steps, rate };
        let left = (1.0 - rate * (eigenvalue + ridge)).powi(i32::try_from(steps).expect("few"));
        let found = rule.answer(x.as_view(), y.as_view(), query.as_view());
        assert!((found - (1.0 - left) * exact).abs() < 1e-15, "{steps} steps: {found}");
    }
    // Bandwidth is a unit of length.
    let twice = KernelRidge { kernel: Gaussian { bandwidth: 2.0 }, ridge };
    let same = twice.answer((&x * 2.0).as_view(), y.as_view(), (&query * 2.0).as_view());
    assert!((same - exact).abs() < 1e-15);
}

/// Without noise and with a hidden function of the kernel's space, kernel ridge regression with a small penalty interpolates, and is better than a line;
/// steps come nearer and nearer to it.
#[test]
fn the_kernel_knows_its_functions() {
    let config = |steps: usize| {
        parse(&format!(
            "d = 2\nn_points = 30\nnoise = 0\nrichardson = {{ steps = {steps}, rate = 0.06, ridge = 1e-4 }}"
        ))
    };
    let few = errors(&config(3), 200);
    let many = errors(&config(300), 200);
    let of = |errors: &[(&str, f64)], name: &str| errors.iter().find(|(there, _)| *there == name).expect(name).1;
    assert_eq!(
        few.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["richardson", "kernel_ridge", "least_squares", "mean"]
    );
    assert!(of(&few, "kernel_ridge") < 1e-4 && of(&few, "kernel_ridge") < 0.01 * of(&few, "least_squares"), "{few:?}");
    assert!(
        of(&few, "richardson") > 2.0 * of(&many, "richardson") && of(&many, "richardson") < of(&many, "mean"),
        "{few:?}, {many:?}"
    );
    assert!(of(&many, "richardson") > of(&many, "kernel_ridge"));
}

#[test]
fn a_prompt_holds_one_function() {
    let config = parse("d = 2\nn_points = 12\ncentres = 1\nnoise = 0");
    let TaskConfig::InContextKernel(KernelConfig { bandwidth, .. }) = config.clone() else { panic!("{config:?}") };
    assert!((bandwidth - 1.0).abs() < 1e-15);
    let batch = draw(&config, 20);
    let inputs = batch.inputs.continuous();
    for prompt in inputs.chunks_exact(13 * 3) {
        // c exp(-|x - z|^2 / 2): the logarithm of |y| and |x|^2 / 2 together are affine in x.
        let (x, y, _) = read(prompt, 13);
        assert!(y.iter().all(|one| one.signum() == y[0].signum()));
        let affine = DVector::from_iterator(12, (0..12).map(|i| y[i].abs().ln() + x.column(i).norm_squared() / 2.0));
        let columns = DMatrix::from_fn(12, 3, |i, j| if j == 2 { 1.0 } else { x[(j, i)] });
        let solution = columns.clone().svd(true, true).solve(&affine, 1e-12).expect("both factors were asked for");
        // y is rounded to float32.
        assert!((columns * solution - affine).amax() < 1e-5);
    }
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    for (text, key) in [
        ("d = 0", "d"),
        ("n_points = 0", "n_points"),
        ("centres = 0", "centres"),
        ("bandwidth = 0", "bandwidth"),
        ("noise = -1", "noise"),
        ("richardson.steps = 0", "richardson.steps"),
        ("richardson.steps = 1000000", "richardson.steps"),
        ("richardson.rate = 0", "richardson.rate"),
        ("richardson.ridge = -0.1", "richardson.ridge"),
        ("weights.normal = { std = 1e20 }", "weights"),
    ] {
        let problems = parse(text).validate();
        assert!(problems.len() == 1 && problems[0].to_string().contains(key), "{text}: {problems:?}");
    }
    assert!(parse("").validate().is_empty());
    let typo = toml::from_str::<TaskConfig>("[in_context_kernel]\nrichardson.step = 3");
    assert!(typo.is_err_and(|error| error.to_string().contains("unknown field `step`")));
}
