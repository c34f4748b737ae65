//! Laws that hold for every task of the list: a new row in the registry is tested here without further work.

use std::collections::BTreeSet;

use headway_tasks::{Seed, TASKS, TaskConfig, baseline::BLIND};
use headway_testkit::laws;

use crate::{PICTURES, PROTEINS, RECORDINGS, TABLE, TEXT, files};

/// Every task at its default sizes.
fn every_task() -> impl Iterator<Item = TaskConfig> {
    TASKS.iter().map(|&(name, _)| {
        let mut config = TaskConfig::with_defaults(name).expect(name);
        assert_eq!(config.name(), name);
        match &mut config {
            TaskConfig::File(file) => file.path = TABLE.into(),
            TaskConfig::Forecast(forecast) => {
                forecast.path = TABLE.into();
                forecast.columns = ["inputs", "targets"].map(str::to_owned).into();
                (forecast.window, forecast.patch, forecast.horizon, forecast.period) = (12, 3, 5, Some(4));
            }
            TaskConfig::Image(image) => image.train = PICTURES.into(),
            TaskConfig::Language(language) => {
                for texts in [&mut language.train, &mut language.validation, &mut language.test] {
                    texts.push(TEXT.into());
                }
            }
            TaskConfig::Activity(activity) => {
                [activity.samples, activity.recordings] = RECORDINGS.map(Into::into);
                (activity.train, activity.validation, activity.test) = (vec![0, 1], vec![2], vec![3, 4]);
                activity.seq_len = 8;
            }
            TaskConfig::Proteins(proteins) => {
                proteins.path = PROTEINS.into();
                proteins.test = ["near", "far"].map(str::to_owned).to_vec();
            }
            _ => {}
        }
        config.settle(&files()).expect(name);
        config
    })
}

macro_rules! hold {
    ($($law:ident,)+) => {
        $(#[test]
        fn $law() {
            every_task().for_each(|config| laws::task::$law(&config, &files()));
        })+
    };
}

hold! {
    the_config_is_valid_and_knows_the_sizes,
    examples_have_the_sizes_that_dims_name,
    few_scored_positions_are_told,
    unscored_targets_are_zero,
    slices_are_named_and_hold_scored_positions,
    slices_share_one_key,
    an_example_is_a_function_of_seed_stream_and_index,
    baselines_predict_a_finite_value_for_everything,
    baselines_treat_examples_one_by_one,
    blind_baselines_answer_every_input_alike,
    answers_further_on_in_the_input_are_told,
    a_single_answer_is_told,
    no_baseline_beats_the_best_possible,
}

/// Names of predictors that none has would be names that a verdict never finds.
#[test]
fn every_blind_predictor_belongs_to_a_task() {
    let named: BTreeSet<&str> = every_task()
        .filter_map(|config| config.open(&files(), Seed(1)).ok())
        .flat_map(|task| task.baselines().iter().map(|baseline| baseline.name()).collect::<Vec<_>>())
        .collect();
    assert!(BLIND.iter().all(|name| named.contains(name)), "{BLIND:?} of {named:?}");
}

#[test]
fn a_name_that_is_not_in_the_list_leads_nowhere() {
    assert_eq!(TaskConfig::with_defaults("no_such_task"), None);
}

#[test]
fn smaller_sizes_tell_of_answers_further_on_too() {
    let smaller = [
        "[copy]\nn_data = 1",
        "[in_context_recall]\nn_pairs = 2",
        "[noisy_recall]\nn_pairs = 2",
        "[icl_tree]\nn_points = 1",
    ];
    for text in smaller {
        let config: TaskConfig = toml::from_str(text).expect(text);
        laws::task::answers_further_on_in_the_input_are_told(&config, &files());
    }
}

/// The laws are not vacuous: this many tasks have answers ahead, and these know the best possible predictor.
#[test]
fn some_tasks_have_answers_ahead_and_some_know_the_best() {
    assert_eq!(every_task().filter(|config| config.answers_ahead().is_some()).count(), 12);
    let knows =
        |config: &TaskConfig| config.open(&files(), Seed(7)).expect("no file is missing").best_possible().is_some();
    let known: Vec<&str> = every_task().filter(knows).map(|config| config.name()).collect();
    let expected = [
        "icl_linear",
        "icl_sparse",
        "icl_quadratic",
        "icl_relu",
        "icl_two_layer_net",
        "icl_sine",
        "icl_tree",
        "icl_logistic",
        "in_context_regression",
    ];
    assert_eq!(known, expected);
}
