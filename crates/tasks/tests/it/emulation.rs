//! What the experiments on emulating algorithms ask, and what their predictors leave.

use headway_tasks::{
    Batch, Seed, Split, Stream, Task, TaskSpec,
    emulation::{Emulated, Emulation, EmulationConfig},
};

const ALL: [Emulated; 5] =
    [Emulated::Function, Emulated::ToldFunction, Emulated::Attention, Emulated::AttentionMap, Emulated::Statistics];

fn task(what: Emulated) -> Emulation {
    let config = EmulationConfig { what, seq_len: 6, d: 4, d_key: 5, ..EmulationConfig::default() };
    assert_eq!(config.validate(), []);
    Emulation::new(config, &mut Seed(9).rng(Stream::Task, 0))
}

fn batch(task: &Emulation, split: Split, size: u64) -> Batch {
    let example = |index| task.example(split, index, &mut Seed(9).rng(split.stream(), index));
    Batch::stack(task.dims(), (0..size).map(example))
}

fn mean_square(numbers: impl Iterator<Item = f32>) -> f64 {
    let squares: Vec<f64> = numbers.map(|number| f64::from(number).powi(2)).collect();
    squares.iter().sum::<f64>() / squares.len() as f64
}

/// Mean squared error of a predictor by its name, fitted to 400 examples, and the mean square of targets.
fn left(task: &Emulation, name: &str, size: u64) -> [f64; 2] {
    let mut predictor = task.baselines().into_iter().find(|baseline| baseline.name() == name).expect(name);
    predictor.fit(&batch(task, Split::Train, 400));
    let test = batch(task, Split::Test, size);
    let (found, wanted) = (predictor.predict(&test), test.targets.continuous());
    assert_eq!(found.len(), wanted.len());
    [mean_square(found.iter().zip(wanted).map(|(found, wanted)| found - wanted)), mean_square(wanted.iter().copied())]
}

#[test]
fn exact_predictors_leave_nothing_but_noise() {
    for what in ALL {
        let task = task(what);
        let [error, size] = left(&task, "exact", 2000);
        if what == Emulated::Statistics {
            // 12,000 labels: their variance, 0.0025, is known to 1.3 per cent.
            assert!((error / 0.0025 - 1.0).abs() < 0.06 && size > 1.0, "{error} of {size}");
            assert!(task.best_possible().is_some());
        } else {
            // Inputs and targets are float32.
            assert!(error < 1e-10 * size && size > 0.1, "{what:?}: {error} of {size}");
            assert!(task.best_possible().is_none());
        }
    }
}

/// One row in, one row out, by the formulas.
#[test]
fn a_single_row_by_hand() {
    let single = |what| {
        let config = EmulationConfig { what, seq_len: 1, d: 1, d_key: 1, noise: 0.0 };
        let task = Emulation::new(config, &mut Seed(4).rng(Stream::Task, 0));
        let drawn = batch(&task, Split::Test, 2);
        (drawn.inputs.continuous().to_vec(), drawn.targets.continuous().to_vec())
    };
    // Attention to the only row there is: y = v x, whatever the scores.
    let (x, y) = single(Emulated::Attention);
    assert!((y[0] / x[0] - y[1] / x[1]).abs() < 1e-5 * (y[0] / x[0]).abs(), "{x:?} {y:?}");
    // y = tanh(w x + s) x with one w: solved for w by both examples. Beyond |tanh| = 0.99 that loses its digits.
    let (rows, y) = single(Emulated::Function);
    let forms: Vec<f32> = rows.chunks(2).zip(&y).map(|(row, y)| (y / row[0]).atanh()).collect();
    assert!(forms.iter().all(|form| form.abs() < 2.5), "another seed: {forms:?}");
    let weights: Vec<f32> = rows.chunks(2).zip(&forms).map(|(row, form)| (form - row[1]) / row[0]).collect();
    assert!((weights[0] - weights[1]).abs() < 1e-3, "{weights:?}");
    // y = w x, and both stand in the row.
    let (rows, y) = single(Emulated::Statistics);
    assert!(rows.chunks(2).zip(&y).all(|(row, y)| (row[0] * row[1] - y).abs() < 1e-5), "{rows:?} {y:?}");
}

/// Told the targets, a network has nothing to do; a map of the head is a linear one.
#[test]
fn least_squares_row_by_row_is_enough_where_nothing_is_emulated() {
    for (what, is_enough) in ALL.into_iter().zip([false, true, false, true, false]) {
        let [error, size] = left(&task(what), "per_position_least_squares", 500);
        let found = (error < 1e-8 * size, error > 0.1 * size);
        assert_eq!(found, (is_enough, !is_enough), "{what:?}: {error} of {size}");
    }
}

/// What the first of the rows is asked for changes with the last of them where rows are mixed, and nowhere else.
#[test]
fn function_and_head_mix_rows() {
    for what in ALL {
        let (task, exact) = (task(what), task(what).baselines().remove(0));
        let mut drawn = batch(&task, Split::Test, 20);
        let before = exact.predict(&drawn);
        let width = drawn.inputs.continuous().len() / (20 * 6);
        if let headway_tasks::Inputs::Continuous(values) = &mut drawn.inputs {
            values.chunks_exact_mut(6 * width).for_each(|example| example[5 * width] += 30.0);
        }
        let after = exact.predict(&drawn);
        let d_out = task.dims().d_out;
        let mut firsts = before.chunks(6 * d_out).zip(after.chunks(6 * d_out)).map(|(a, b)| a[..d_out] != b[..d_out]);
        assert_eq!(firsts.any(|differs| differs), task.config.clues_ahead().is_some(), "{what:?}");
    }
}

#[test]
fn w_is_in_every_row_and_each_model_has_its_own() {
    let task = task(Emulated::Statistics);
    assert_eq!(task.slices(), ["linear", "lasso", "ridge"]);
    let drawn = batch(&task, Split::Test, 900);
    let prompts: Vec<&[f32]> = drawn.inputs.continuous().chunks_exact(6 * 8).collect();
    let of = |model: u32| {
        let slices = drawn.slices.chunks_exact(6);
        slices
            .zip(&prompts)
            .filter(move |(slice, _)| slice.iter().all(|row| *row == Some(model)))
            .map(|(_, prompt)| *prompt)
    };
    for prompt in &prompts {
        assert!(prompt.chunks_exact(8).all(|row| row[4..] == prompt[4..8]), "w is the same in every row");
    }
    for model in 0..3 {
        // A third of 900, ± 14 at one deviation.
        let count = of(model).count();
        assert!((240..360).contains(&count), "{model}: {count}");
        let zeros = of(model).flat_map(|prompt| &prompt[4..8]).filter(|w| **w == 0.0).count() as f64;
        let share = zeros / (4.0 * count as f64);
        // Half of about 1,200 numbers, ± 1.5 per cent.
        assert!((share - if model == 1 { 0.5 } else { 0.0 }).abs() < 0.06, "{model}: {share}");
    }
    // A ridge of 5 beside six rows shrinks.
    let size = |model| mean_square(of(model).flat_map(|prompt| prompt[4..8].iter().copied()));
    assert!((size(0) - 1.0).abs() < 0.2 && size(2) < 0.9 * size(0), "{} {}", size(0), size(2));
}

/// Weights of a head add up to 1: with one number in a row, every answer lies between the smallest and the largest value.
#[test]
fn answers_of_a_head_are_mixtures_of_values() {
    let drawn = |seq_len| {
        let config = EmulationConfig { what: Emulated::Attention, seq_len, d: 1, d_key: 1, noise: 0.0 };
        let task = Emulation::new(config, &mut Seed(4).rng(Stream::Task, 0));
        batch(&task, Split::Test, 100)
    };
    // A single row is answered by its value, v x, with the same v for any number of rows.
    let single = drawn(1);
    let v = single.targets.continuous()[0] / single.inputs.continuous()[0];
    let several = drawn(6);
    let mut inside = 0;
    for (x, y) in several.inputs.continuous().chunks(6).zip(several.targets.continuous().chunks(6)) {
        let (low, high) =
            x.iter().map(|x| v * x).fold((f32::MAX, f32::MIN), |(low, high), at| (low.min(at), high.max(at)));
        let slack = 1e-5 * (high - low);
        assert!(y.iter().all(|y| (low - slack..=high + slack).contains(y)), "{y:?} outside of {low} to {high}");
        inside += y.iter().filter(|y| **y > low + slack && **y < high - slack).count();
    }
    assert!(inside > 0, "some answers are no values");
}
