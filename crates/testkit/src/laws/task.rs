//! Laws that every task obeys.

use headway_tasks::{
    Batch, Example, Files, Inputs, Seed, Split, Stream, Targets, Task, TaskConfig, TaskInput, baseline::BLIND,
};

const SEED: Seed = Seed(7);

/// Every law, for a task.
pub fn all(config: &TaskConfig, files: &Files) {
    the_config_is_valid_and_knows_the_sizes(config, files);
    examples_have_the_sizes_that_dims_name(config, files);
    few_scored_positions_are_told(config, files);
    unscored_targets_are_zero(config, files);
    slices_are_named_and_hold_scored_positions(config, files);
    slices_share_one_key(config, files);
    an_example_is_a_function_of_seed_stream_and_index(config, files);
    baselines_predict_a_finite_value_for_everything(config, files);
    baselines_treat_examples_one_by_one(config, files);
    blind_baselines_answer_every_input_alike(config, files);
    answers_further_on_in_the_input_are_told(config, files);
    a_single_answer_is_told(config, files);
    no_baseline_beats_the_best_possible(config, files);
}

/// The task, opened from its config with all keys settled.
fn opened(config: &TaskConfig, files: &Files) -> Box<dyn Task> {
    config.open(files, SEED).unwrap_or_else(|error| panic!("{}: {error}", config.name()))
}

fn draw(task: &dyn Task, split: Split, index: u64) -> Example {
    task.example(split, index, &mut SEED.rng(split.stream(), index))
}

fn batch(task: &dyn Task, split: Split, size: u64) -> Batch {
    Batch::stack(task.dims(), (0..size).map(|i| draw(task, split, i)))
}

/// Whether the input at a position is the answer that another position must predict.
fn is_answer(batch: &Batch, example: usize, position: usize, ahead: usize) -> bool {
    let seq_len = batch.dims.seq_len;
    let there = example * seq_len + position + ahead;
    let asked = example * batch.asked() + position - (seq_len - batch.asked());
    match (&batch.inputs, &batch.targets) {
        (Inputs::Tokens(ids), Targets::Classes(classes)) => ids[there] == classes[asked],
        // The sign of y must be predicted where y itself is shown.
        (Inputs::Continuous(x), Targets::Classes(classes)) => {
            u32::from(x[there * (x.len() / (batch.size * seq_len))] > 0.0) == classes[asked]
        }
        (Inputs::Continuous(x), Targets::Continuous(y)) => {
            x[there * (x.len() / (batch.size * seq_len))].to_bits() == y[asked * batch.dims.d_out].to_bits()
        }
        (Inputs::Tokens(_), Targets::Continuous(_)) => unreachable!("no task asks for the number of a token"),
    }
}

/// A config is valid, opens, and its task has the sizes that it names.
pub fn the_config_is_valid_and_knows_the_sizes(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    assert_eq!(config.validate(), [], "{name}");
    assert_eq!(config.dims(), task.dims(), "{name}");
}

/// Inputs, targets and mask have the sizes that the task names, finite numbers, ids and classes within their range, and something to score.
pub fn examples_have_the_sizes_that_dims_name(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (dims, example) = (task.dims(), draw(&*task, Split::Train, 0));
    match (dims.input, &example.inputs) {
        (TaskInput::Continuous { d_in }, Inputs::Continuous(values)) => {
            assert_eq!(values.len(), dims.seq_len * d_in, "{name}");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
        (TaskInput::Tokens { vocab }, Inputs::Tokens(ids)) => {
            assert_eq!(ids.len(), dims.seq_len, "{name}");
            assert!(ids.iter().all(|&id| (id as usize) < vocab), "{name}");
        }
        _ => panic!("{name}: inputs are not of the kind that dims name"),
    }
    match &example.targets {
        Targets::Continuous(values) => {
            assert_eq!(values.len(), example.loss_mask.len() * dims.d_out, "{name}");
            // A number that is not asked for stands beside one that is.
            let is_sound =
                |row: &[f32]| row.iter().any(|value| value.is_finite()) && !row.iter().any(|x| x.is_infinite());
            assert!(values.chunks_exact(dims.d_out).all(is_sound), "{name}");
            assert!(values.iter().any(|&value| value != 0.0), "{name}: every target is zero");
        }
        Targets::Classes(classes) => {
            assert_eq!(classes.len(), example.loss_mask.len(), "{name}");
            assert!(classes.iter().all(|&class| (class as usize) < dims.d_out), "{name}");
        }
    }
    assert_eq!(example.loss_mask.len(), config.asked(), "{name}");
    assert!(config.asked() <= dims.seq_len, "{name}");
    assert!(example.loss_mask.contains(&true), "{name}: nothing is scored");
}

/// A task that scores fewer than a quarter of its positions, where a head is applied to those alone, says how many: not fewer than it
/// scores, up to chance, and at most twice as many, since sequences may be shorter.
pub fn few_scored_positions_are_told(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let examples = batch(&*task, Split::Train, 101);
    let scored = examples.loss_mask.iter().filter(|scored| **scored).count() as f64 / 101.0;
    let (told, asked) = (config.scored(), config.asked() as f64);
    assert!(told >= 1.0 && told <= asked, "{name}: {told} of {asked}");
    if told < asked || 4.0 * scored <= asked {
        // Of counts below their mean m, the variance is at most m: four standard errors.
        let chance = 4.0 * (told / 101.0).sqrt();
        assert!(scored <= told + chance && told <= 2.0 * scored, "{name}: {told} told, {scored} scored");
    }
}

/// Targets that are not scored are zero.
pub fn unscored_targets_are_zero(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (d_out, example) = (task.dims().d_out, draw(&*task, Split::Train, 0));
    for (position, _) in example.loss_mask.iter().enumerate().filter(|(_, scored)| !**scored) {
        let zero = match &example.targets {
            Targets::Continuous(values) => values[position * d_out..][..d_out].iter().all(|&value| value == 0.0),
            Targets::Classes(classes) => classes[position] == 0,
        };
        assert!(zero, "{name}: position {position}");
    }
}

/// Slices have distinct names, and each has scored positions in the test.
pub fn slices_are_named_and_hold_scored_positions(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (names, parts) = (task.slices(), [Split::Train, Split::Test].map(|split| batch(&*task, split, 101)));
    for examples in &parts {
        assert_eq!(examples.slices.len(), examples.loss_mask.len(), "{name}");
        for (slice, scored) in examples.slices.iter().zip(&examples.loss_mask) {
            assert!(slice.is_none_or(|slice| *scored && (slice as usize) < names.len()), "{name}: {slice:?}");
        }
    }
    let [_, test] = &parts;
    for (slice, slice_name) in names.iter().enumerate() {
        assert!(test.slices.contains(&Some(slice as u32)), "{name}: {slice_name} is empty");
    }
    let mut distinct = names.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len(), "{name}: two slices of one name");
}

/// Numbered slices are drawn along one axis, named by their key.
pub fn slices_share_one_key(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let names = task.slices();
    let number = |name: &String| name.split_once('=').map(|(key, number)| (key.to_owned(), number.parse::<u32>()));
    let numbers: Vec<_> = names.iter().filter_map(number).collect();
    assert!(numbers.iter().all(|(key, number)| *key == numbers[0].0 && number.is_ok()), "{name}: {names:?}");
}

/// An example is the same for the same seed, stream and index, and differs for any other.
pub fn an_example_is_a_function_of_seed_stream_and_index(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let first = draw(&*task, Split::Train, 0);
    // In words, since a missing target is NaN, which equals nothing.
    let again = draw(&*opened(config, files), Split::Train, 0);
    assert_eq!(format!("{again:?}"), format!("{first:?}"), "{name}: same seed, stream and index");
    let others = [draw(&*task, Split::Train, 1), draw(&*task, Split::Validation, 0), draw(&*task, Split::Test, 0)];
    for other in others {
        assert_ne!(other.inputs, first.inputs, "{name}: other index or stream");
    }
    // The seed of a generated example is that of its generator, of one from a file that of the order in which it is opened.
    let other = config.open(files, Seed(8)).unwrap();
    let other = other.example(Split::Train, 0, &mut Seed(8).rng(Stream::Train, 0));
    assert_ne!(other.inputs, first.inputs, "{name}: other seed");
}

/// There is at least one baseline, and all its predictions are finite.
pub fn baselines_predict_a_finite_value_for_everything(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (train, test) = (batch(&*task, Split::Train, 23), batch(&*task, Split::Test, 3));
    let mut names = Vec::new();
    for mut baseline in task.baselines() {
        baseline.fit(&train);
        let predictions = baseline.predict(&test);
        let d_out = task.dims().d_out;
        assert_eq!(predictions.len(), 3 * config.asked() * d_out, "{name}: {}", baseline.name());
        assert!(predictions.iter().all(|value| value.is_finite()), "{name}: {}", baseline.name());
        names.push(baseline.name());
    }
    assert!(!names.is_empty(), "{name} has nothing to be compared with");
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{name}: two baselines of one name");
}

/// A baseline's prediction for an example does not depend on the other examples of the batch.
pub fn baselines_treat_examples_one_by_one(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (train, test) = (batch(&*task, Split::Train, 23), batch(&*task, Split::Test, 3));
    for mut baseline in task.baselines() {
        baseline.fit(&train);
        let alone = (0..3).map(|i| Batch::stack(task.dims(), [draw(&*task, Split::Test, i)]));
        let alone: Vec<f32> = alone.flat_map(|one| baseline.predict(&one)).collect();
        let together = baseline.predict(&test);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
        assert!(alone.iter().zip(&together).all(close), "{name}: {}", baseline.name());
    }
}

/// A baseline that [`BLIND`] names answers every input alike, unless the task counts its answers from the last value of the input.
pub fn blind_baselines_answer_every_input_alike(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let (train, test) = (batch(&*task, Split::Train, 23), batch(&*task, Split::Test, 3));
    let blind = task.baselines().into_iter().filter(|baseline| BLIND.contains(&baseline.name()));
    for mut baseline in blind.filter(|_| !config.answers_count_from_last()) {
        baseline.fit(&train);
        let predictions = baseline.predict(&test);
        let mut answers = predictions.chunks_exact(predictions.len() / 3);
        let first = answers.next().expect("three examples");
        assert!(answers.all(|answer| answer == first), "{name}: {}", baseline.name());
    }
}

/// The task says whether its answers appear later in the input, where a model that sees them would copy them.
pub fn answers_further_on_in_the_input_are_told(config: &TaskConfig, files: &Files) {
    let examples = batch(&*opened(config, files), Split::Train, 97);
    let seq_len = examples.dims.seq_len;
    // The share of answers that appear `ahead` positions later in the input.
    let share = |ahead: usize| {
        let (n, first) = (examples.asked(), seq_len - examples.asked());
        let position = |at: usize| first + at % n;
        let asked =
            (0..examples.loss_mask.len()).filter(|&at| examples.loss_mask[at] && position(at) + ahead < seq_len);
        let asked: Vec<usize> = asked.collect();
        let found = asked.iter().filter(|&&at| is_answer(&examples, at / n, position(at), ahead)).count();
        found as f64 / asked.len().max(10) as f64
    };
    let most = (1..seq_len).map(share).fold(0.0, f64::max);
    assert_eq!(most > 0.9, config.answers_ahead().is_some(), "{config:?}: {most} of its answers");
    // No value in between: by chance the sign of one coordinate agrees half of the time.
    assert!(!(0.7..=0.9).contains(&most), "{config:?}: {most}");
}

/// The task says whether the last position alone is scored.
pub fn a_single_answer_is_told(config: &TaskConfig, files: &Files) {
    let examples = batch(&*opened(config, files), Split::Train, 97);
    let is_last = |mask: &[bool]| mask.iter().filter(|scored| **scored).count() == 1 && mask.last() == Some(&true);
    assert_eq!(examples.loss_mask.chunks_exact(examples.asked()).all(is_last), config.asks_once(), "{config:?}");
}

/// No baseline beats the best possible predictor, if the task knows it.
pub fn no_baseline_beats_the_best_possible(config: &TaskConfig, files: &Files) {
    let (name, task) = (config.name(), opened(config, files));
    let Some(best) = task.best_possible() else { return };
    let (train, test) = (batch(&*task, Split::Train, 23), batch(&*task, Split::Test, 100));
    let (d_out, best) = (task.dims().d_out, best.predict(&test));
    let is_known = |row: &usize| test.loss_mask[*row] && best[row * d_out].is_finite();
    let rows: Vec<usize> = (0..test.loss_mask.len()).filter(is_known).collect();
    assert!(!rows.is_empty(), "{name}: known nowhere");
    let Targets::Continuous(targets) = &test.targets else {
        let is_even = |row: &usize| best[row * d_out..][..d_out] == best[row * d_out..][..1].repeat(d_out);
        assert!(rows.iter().all(is_even), "{name}");
        return;
    };
    for mut baseline in task.baselines() {
        baseline.fit(&train);
        let predictions = baseline.predict(&test);
        let square = |of: &[f32], row: usize| f64::from(of[row] - targets[row]).powi(2);
        let leads: Vec<f64> = rows.iter().map(|&row| square(&best, row) - square(&predictions, row)).collect();
        let (n, mean) = (leads.len() as f64, leads.iter().sum::<f64>() / leads.len() as f64);
        let error = (leads.iter().map(|lead| (lead - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt();
        assert!(mean <= 4.0 * error + 1e-9, "{name}: {} is better by {mean} +- {error}", baseline.name());
    }
}
