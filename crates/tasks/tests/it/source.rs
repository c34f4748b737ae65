//! Batches and evaluation sets are functions of the seed only.

use headway_tasks::{Batch, Boxes, DataConfig, Seed, Source, Split, Stream, TaskConfig};
use rand::Rng;

use crate::files;

const FRESH: DataConfig = DataConfig::Fresh { validation: 11, test: 13 };
const FIXED: DataConfig = DataConfig::Fixed { train: 11, validation: 5, test: 13 };

fn source(seed: u64, data: DataConfig, batch_size: usize) -> Source {
    let config = TaskConfig::with_defaults("truncated_linear").expect("a row of the list");
    Source::new(config.open(&files(), Seed(seed)).expect("no file is read"), Seed(seed), data, batch_size)
}

/// Inputs and targets of each example, as bits so that they can be sorted.
fn examples(batches: &[Batch]) -> Vec<Vec<u32>> {
    let examples = batches.iter().flat_map(|batch| {
        let (inputs, targets) = (batch.inputs.continuous(), batch.targets.continuous());
        inputs.chunks(inputs.len() / batch.size).zip(targets.chunks(targets.len() / batch.size))
    });
    examples.map(|(inputs, targets)| inputs.iter().chain(targets).map(|value| value.to_bits()).collect()).collect()
}

fn sorted(mut examples: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    examples.sort_unstable();
    examples
}

#[test]
fn generators_differ_by_seed_stream_and_index_and_never_change() {
    let first = |seed, stream, index| Seed(seed).rng(stream, index).next_u64();
    let start = first(1, Stream::Train, 0);
    for other in [first(2, Stream::Train, 0), first(1, Stream::Test, 0), first(1, Stream::Train, 1)] {
        assert_ne!(other, start);
    }
    // By an independent ChaCha8: key 1234 in 8 little-endian bytes, then 2 for Train, then zeros; stream number 5;
    // first 8 bytes. Another value means that old runs can no longer be repeated.
    assert_eq!(first(1234, Stream::Train, 5), 4_181_846_305_301_553_015);
}

#[test]
fn a_training_batch_does_not_depend_on_those_before_it() {
    for data in [FRESH, FIXED] {
        let (forwards, backwards) = (source(1, data.clone(), 4), source(1, data, 4));
        let up: Vec<Batch> = (0..7).map(|n| forwards.train_batch(n)).collect();
        let mut down: Vec<Batch> = (0..7).rev().map(|n| backwards.train_batch(n)).collect();
        down.reverse();
        assert_eq!(up, down);
        assert_ne!(up[0], up[1]);
        assert_ne!(up[0], source(2, FRESH, 4).train_batch(0));
    }
}

/// Examples from boxes lie in them and have the task's own targets; all others are what they are without boxes.
#[test]
fn a_share_of_the_examples_comes_from_boxes() {
    let of = || {
        let text = "[function]\nseq_len = 2\nd_in = 1\noutputs = [\"x1_1 * x2_1 + i\"]";
        let config: TaskConfig = toml::from_str(text).expect(text);
        Source::new(config.open(&files(), Seed(3)).expect("no file is read"), Seed(3), FRESH, 400)
    };
    let boxes = Boxes(vec![vec![[0.25, 0.5], [-0.75, -0.75]], vec![[0.25, 0.5], [0.5, 0.5]]]);
    let plain = of().train_batch(2);
    let mixed = of().with_boxes(boxes, 0.25).expect("a known function").train_batch(2);
    let (x, y) = (mixed.inputs.continuous(), mixed.targets.continuous());
    let mut count = [0, 0];
    for (at, x) in x.chunks_exact(2).enumerate() {
        if x == &plain.inputs.continuous()[2 * at..][..2] {
            assert_eq!(y[2 * at..][..2], plain.targets.continuous()[2 * at..][..2]);
            continue;
        }
        assert!((0.25..=0.5).contains(&x[0]) && [-0.75, 0.5].contains(&x[1]), "{x:?}");
        count[usize::from(x[1] > 0.0)] += 1;
        let product = x[0] * x[1];
        let off = (y[2 * at] - product - 1.0).abs() + (y[2 * at + 1] - product - 2.0).abs();
        assert!(off < 1e-6, "{x:?}");
    }
    // 100 expected, half in each box: five deviations are 43 and 35.
    assert!(
        (57..=143).contains(&(count[0] + count[1])) && count.iter().all(|count| (15..=85).contains(count)),
        "{count:?}"
    );
    let config = TaskConfig::with_defaults("icl_linear").expect("a row of the list");
    let unknown = Source::new(config.open(&files(), Seed(0)).expect("no file is read"), Seed(0), FRESH, 4);
    assert!(unknown.with_boxes(Boxes(vec![vec![[0.0, 1.0]]]), 0.5).is_none());
}

#[test]
fn fresh_batches_are_full_and_never_repeat_an_example() {
    let batches: Vec<Batch> = (0..5).map(|n| source(1, FRESH, 4).train_batch(n)).collect();
    assert!(batches.iter().all(|batch| batch.size == 4));
    let mut seen = sorted(examples(&batches));
    seen.dedup();
    assert_eq!(seen.len(), 20);
}

#[test]
fn an_epoch_is_a_permutation_of_the_fixed_training_set() {
    let source = source(1, FIXED, 4);
    let training_set = examples(&[source.fit_set()]);
    assert_eq!(training_set.len(), 11);
    let epochs: Vec<Vec<Batch>> =
        (0..2).map(|epoch| (0..3).map(|n| source.train_batch(3 * epoch + n)).collect()).collect();
    for epoch in &epochs {
        assert_eq!(epoch.iter().map(|batch| batch.size).collect::<Vec<_>>(), [4, 4, 3]);
        assert_eq!(sorted(examples(epoch)), sorted(training_set.clone()));
    }
    assert_ne!(examples(&epochs[0]), examples(&epochs[1]), "each epoch has an order of its own");
    assert_ne!(examples(&epochs[0]), training_set, "the first epoch is shuffled too");
}

#[test]
fn examples_are_counted_as_they_are_drawn() {
    for (data, batch_size) in [(FRESH, 4), (FIXED, 4), (FIXED, 11), (FIXED, 100)] {
        let source = source(1, data.clone(), batch_size);
        let sizes: Vec<usize> = (0..9).map(|n| source.train_batch(n).size).collect();
        assert_eq!(sizes.iter().max(), Some(&data.largest_batch(batch_size)), "{data:?}");
        let drawn: Vec<f64> = (0..9).map(|batches| sizes[..batches].iter().sum::<usize>() as f64).collect();
        let counted: Vec<f64> = (0..9).map(|batches| data.examples_of(batches, batch_size)).collect();
        assert_eq!(counted, drawn, "{data:?} in batches of {batch_size}");
    }
}

#[test]
fn a_batch_larger_than_the_training_set_is_the_whole_of_it() {
    let source = source(1, FIXED, 100);
    assert_eq!(source.train_batch(0).size, 11);
    assert_eq!(sorted(examples(&[source.train_batch(0)])), sorted(examples(&[source.train_batch(1)])));
}

#[test]
fn evaluation_sets_depend_on_the_seed_alone() {
    for split in [Split::Validation, Split::Test] {
        let whole = source(1, FRESH, 100).evaluation(split);
        assert_eq!(whole.len(), 1);
        let parts = source(1, FRESH, 3).evaluation(split);
        assert_eq!(parts.iter().map(|batch| batch.size).sum::<usize>(), FRESH.size(split));
        assert_eq!(examples(&parts), examples(&whole), "batch size");
        assert_ne!(examples(&source(2, FRESH, 100).evaluation(split)), examples(&whole), "seed");
    }
    assert_eq!(
        source(1, FIXED, 4).evaluation(Split::Test),
        source(1, FRESH, 4).evaluation(Split::Test),
        "training data"
    );
    let none = DataConfig::Fresh { validation: 0, test: 1 };
    assert_eq!(source(1, none, 4).evaluation(Split::Validation), []);
}

#[test]
fn no_example_is_in_two_sets() {
    let source = source(1, FIXED, 4);
    let mut all = examples(&[source.fit_set()]);
    all.extend(examples(&source.evaluation(Split::Validation)));
    all.extend(examples(&source.evaluation(Split::Test)));
    all.extend(examples(&[self::source(1, FRESH, 4).fit_set()]));
    let count = all.len();
    assert_eq!(count, 11 + 5 + 13 + 1024);
    let mut distinct = sorted(all);
    distinct.dedup();
    assert_eq!(distinct.len(), count);
}

#[test]
#[should_panic(expected = "fixed training set")]
fn an_empty_training_set_is_refused() {
    source(1, DataConfig::Fixed { train: 0, validation: 0, test: 1 }, 4);
}

#[test]
fn data_sizes_of_zero_are_refused_by_key() {
    let keys = |data: DataConfig| data.validate().into_iter().map(|error| error.into_parts().0).collect::<Vec<_>>();
    assert_eq!(keys(FRESH), [""; 0]);
    assert_eq!(keys(DataConfig::Fresh { validation: 0, test: 0 }), ["fresh.test"]);
    assert_eq!(keys(DataConfig::Fixed { train: 0, validation: 0, test: 0 }), ["fixed.train", "fixed.test"]);
}
