//! Curricula: training prompts grow, and nothing else does.

use headway_tasks::{
    Batch, DataConfig, Seed, Source, Split, TASKS, TaskConfig, icl::curriculum::Curriculum, prompt::Size,
};

use crate::files;

const FRESH: DataConfig = DataConfig::Fresh { validation: 7, test: 5 };

/// Every in-context task, with 3, 4, 5 active dimensions and 4, 7, 10, 11 points, each for two batches.
fn growing() -> Vec<TaskConfig> {
    let keys = "curriculum = { d_start = 3, points_start = 4, points_step = 3, every = 2 }";
    let names = TASKS.iter().map(|(name, _)| name).filter(|name| name.starts_with("icl_"));
    names.map(|name| toml::from_str(&format!("[{name}]\n{keys}")).expect(name)).collect()
}

fn plain(config: &TaskConfig) -> TaskConfig {
    TaskConfig::with_defaults(config.name()).expect("a row of the list")
}

fn source(config: &TaskConfig, data: DataConfig) -> Source {
    Source::new(config.open(&files(), Seed(3)).expect("no file is read"), Seed(3), data, 2)
}

/// (active dimensions, positions) of a batch of 5-wide tokens.
fn size(batch: &Batch) -> (usize, usize) {
    // Every second token is an x.
    let tokens = batch.inputs.continuous().chunks(5).collect::<Vec<_>>();
    let x = tokens.chunks(batch.dims.seq_len).flat_map(|prompt| prompt.iter().step_by(2));
    let active = x.map(|x| x.iter().filter(|&&value| value != 0.0).count()).collect::<Vec<_>>();
    assert!(active.iter().all(|&count| count == active[0]), "all x of a batch have as many dimensions");
    assert!(tokens.iter().all(|x| x[active[0]..].iter().all(|&value| value == 0.0)), "the first ones are active");
    (active[0], batch.dims.seq_len)
}

#[test]
fn sizes_of_the_source() {
    let (curriculum, full) = (Curriculum::default(), Size { d: 20, n_points: 41 });
    for (batch, d, n_points) in [
        (0, 5, 11),
        (1999, 5, 11),
        (2000, 6, 13),
        (3999, 6, 13),
        (29_999, 19, 39),
        (30_000, 20, 41),
        (500_000, 20, 41),
        (u64::MAX, 20, 41),
    ] {
        assert_eq!(curriculum.size(batch, full), Size { d, n_points }, "batch {batch}");
    }
    assert_eq!(curriculum.end(full), 30_000);
    assert_eq!(curriculum.end(Size { d: 5, n_points: 11 }), 0);
    // The slower one determines the end.
    assert_eq!(curriculum.end(Size { d: 8, n_points: 12 }), 6000);
    assert_eq!(curriculum.end(Size { d: 6, n_points: 16 }), 6000);
}

#[test]
fn training_prompts_grow_by_batch_number() {
    for config in growing() {
        assert_eq!(config.validate(), []);
        assert_eq!(config.curriculum_end(), Some(6));
        assert_eq!(plain(&config).curriculum_end(), None);
        let source = source(&config, FRESH);
        let sizes: Vec<_> = (0..9).map(|number| size(&source.train_batch(number))).collect();
        let expected = [(3, 7), (3, 7), (4, 13), (4, 13), (5, 19), (5, 19), (5, 21), (5, 21), (5, 21)];
        assert_eq!(sizes, expected, "{}", config.name());
        let batch = source.train_batch(0);
        assert_eq!((batch.size, batch.loss_mask.len()), (2, 2 * 7), "{}", config.name());
        assert_eq!(batch.loss_mask.iter().filter(|&&scored| scored).count(), 2 * 4, "{}", config.name());
    }
}

#[test]
fn batches_are_functions_of_their_number() {
    for config in growing() {
        let (forwards, backwards) = (source(&config, FRESH), source(&config, FRESH));
        let up: Vec<Batch> = (0..8).map(|number| forwards.train_batch(number)).collect();
        let mut down: Vec<Batch> = (0..8).rev().map(|number| backwards.train_batch(number)).collect();
        down.reverse();
        assert_eq!(up, down, "{}", config.name());
        assert_ne!(up[0], up[1], "{}", config.name());
        // Once all is full, batches equal those of a run without a curriculum.
        let plain = source(&plain(&config), FRESH);
        assert_eq!(up[6], plain.train_batch(6), "{}", config.name());
        assert_ne!(up[0], plain.train_batch(0), "{}", config.name());
    }
}

#[test]
fn what_is_judged_or_fitted_never_grows() {
    let fixed = DataConfig::Fixed { train: 5, validation: 3, test: 4 };
    for config in growing() {
        for data in [FRESH, fixed.clone()] {
            let (growing, plain) = (source(&config, data.clone()), source(&plain(&config), data));
            for split in [Split::Validation, Split::Test] {
                assert_eq!(growing.evaluation(split), plain.evaluation(split), "{}", config.name());
            }
            assert_eq!(growing.fit_set(), plain.fit_set(), "{}", config.name());
        }
        assert_eq!(source(&config, fixed.clone()).train_batch(0).dims, config.dims(), "{}", config.name());
    }
}

#[test]
fn baselines_answer_short_prompts() {
    for config in growing() {
        let (source, task) = (source(&config, FRESH), config.open(&files(), Seed(3)).expect("no file is read"));
        let batch = source.train_batch(0);
        for mut baseline in task.baselines() {
            baseline.fit(&source.fit_set());
            let predictions = baseline.predict(&batch);
            assert_eq!(predictions.len(), 2 * 7 * config.dims().d_out, "{}: {}", config.name(), baseline.name());
            assert!(predictions.iter().all(|value| value.is_finite()), "{}: {}", config.name(), baseline.name());
        }
    }
}

#[test]
#[should_panic(expected = "equally long")]
fn a_batch_has_one_length() {
    let [config, ..] = &growing()[..] else { unreachable!("there are in-context tasks") };
    let task = config.open(&files(), Seed(3)).expect("no file is read");
    let example = |batch| task.training_example(batch, 0, &mut Seed(3).rng(headway_tasks::Stream::Train, 0));
    Batch::stack(config.dims(), [example(0), example(2)]);
}
