//! Tasks of the limits: examples by hand, and how often their predictors are right.

use headway_tasks::{
    Batch, Inputs, Seed, Split, Stream, Targets, Task, TaskSpec,
    baseline::Baseline,
    limits::{
        convex_hull::{ConvexHull, ConvexHullConfig},
        d_retrieval::{DRetrieval, DRetrievalConfig},
        inverse_permutation::{InversePermutation, InversePermutationConfig},
        kth_largest::{KthLargest, KthLargestConfig},
        max_of_k::MaxOfK,
        parity::{Parity, ParityConfig},
        sort::Sort,
    },
};

fn batch(task: &dyn Task, size: u64) -> Batch {
    let example = |index| task.example(Split::Train, index, &mut Seed(3).rng(Stream::Train, index));
    Batch::stack(task.dims(), (0..size).map(example))
}

/// Share of right answers of a predictor that needs no fit.
fn accuracy(baseline: &dyn Baseline, batch: &Batch) -> f64 {
    let logits = baseline.predict(batch);
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("there are classes");
    let answers = logits.chunks_exact(batch.dims.d_out).map(largest);
    let right = answers.zip(batch.targets.classes()).filter(|(answer, class)| *answer == **class as usize);
    right.count() as f64 / batch.targets.classes().len() as f64
}

#[test]
fn parity_by_hand() {
    for (bits, parity) in [(vec![0, 0, 0], 0), (vec![1, 0, 0], 1), (vec![1, 1, 0], 0), (vec![1, 1, 1], 1)] {
        let example = Parity::sequence(&bits);
        assert_eq!(example.inputs, Inputs::Tokens([&bits[..], &[2]].concat()));
        assert_eq!(example.targets, Targets::Classes(vec![parity]));
    }
    // Both answers are as likely: of 4,000 the standard error is 0.8 %.
    let drawn = batch(&Parity { config: ParityConfig { n_bits: 5 } }, 4000);
    let odd = drawn.targets.classes().iter().sum::<u32>();
    assert!((1880..2120).contains(&odd), "{odd}");
}

#[test]
fn the_largest_by_hand() {
    assert_eq!(MaxOfK::sequence(&[3, 0, 7, 7]).targets, Targets::Classes(vec![7]));
    assert_eq!(MaxOfK::sequence(&[5]).targets, Targets::Classes(vec![5]));
}

#[test]
fn the_kth_largest_by_hand_and_its_variance() {
    let numbers = vec![0.25, 0.75, 0.5, 0.125];
    for (k, wanted) in [(1, 0.75), (2, 0.5), (3, 0.25), (4, 0.125)] {
        let task = KthLargest { config: KthLargestConfig { seq_len: 4, k } };
        assert_eq!(task.sequence(numbers.clone()).targets, Targets::Continuous(vec![wanted]));
    }
    let (t, k) = (7.0_f64, 3.0);
    let task = KthLargest { config: KthLargestConfig { seq_len: 7, k: 3 } };
    let targets: Vec<f64> = batch(&task, 4000).targets.continuous().iter().map(|y| f64::from(*y)).collect();
    let mean = targets.iter().sum::<f64>() / 4000.0;
    let variance = targets.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 4000.0;
    let wanted = [(t + 1.0 - k) / (t + 1.0), k * (t + 1.0 - k) / ((t + 1.0).powi(2) * (t + 2.0))];
    // Four standard errors of the mean; of the variance, of kurtosis below 3, below 10 %.
    assert!((mean - wanted[0]).abs() < 4.0 * (wanted[1] / 4000.0).sqrt(), "{mean}");
    assert!((variance / wanted[1] - 1.0).abs() < 0.1, "{variance}");
    assert!(!KthLargestConfig { seq_len: 4, k: 5 }.validate().is_empty());
}

#[test]
fn permutations_by_hand_and_what_their_beginning_tells() {
    let task = |scratch| InversePermutation { config: InversePermutationConfig { n: 4, scratch } };
    let example = task(false).sequence(&[2, 0, 3, 1]);
    assert_eq!(example.targets, Targets::Classes(vec![1, 3, 0, 2]));
    let example = task(true).sequence(&[2, 0, 3, 1]);
    assert_eq!(example.inputs, Inputs::Tokens(vec![2, 0, 3, 1, 4, 4, 4, 4]));
    assert_eq!(example.targets, Targets::Classes(vec![1, 3, 0, 2]));
    // Of 4 elements, by the formula, (1 + 3 · 6 / 8) / 4 = 13 / 16 are what the beginning tells; behind the permutation all are.
    for (scratch, wanted) in [(false, 13.0 / 16.0), (true, 1.0)] {
        let (task, drawn) = (task(scratch), batch(&task(scratch), 4000));
        let best = &task.baselines()[0];
        let right = accuracy(best.as_ref(), &drawn);
        // Four standard errors of 4,000 examples, whose share of right answers deviates by less than 1/4.
        assert!((right - wanted).abs() <= if scratch { 0.0 } else { 0.016 }, "{right}");
    }
}

#[test]
fn maxima_are_taken_for_each_direction_by_itself() {
    let config = DRetrievalConfig { seq_len: 3, d_in: 2, n_features: 2 };
    let mut task = DRetrieval::new(config, &mut Seed(1).rng(Stream::Task, 0));
    assert!(task.directions.row_iter().all(|row| (row.norm() - 1.0).abs() < 1e-6));
    task.directions.copy_from_slice(&[1.0, 0.0, 0.0, -1.0]);
    // The first coordinate is largest at the second token, the second smallest at the third.
    assert_eq!(task.target(&[0.5, 1.0, 2.0, 0.0, -1.0, -3.0]).to_bits(), 5.0_f32.to_bits());
}

#[test]
fn sorting_by_hand() {
    assert_eq!(Sort::sequence(vec![7, 2, 2, 0]).targets, Targets::Classes(vec![0, 2, 2, 7]));
}

/// By hand, and by Caratheodory: a point is no corner if three others make a triangle around it.
#[test]
fn corners_of_a_hull() {
    let square = [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [1.0, 1.0], [0.0, 1.0], [0.5, 0.0]];
    assert_eq!(ConvexHull::sequence(&square).targets, Targets::Classes(vec![1, 1, 0, 1, 1, 0]));
    let task = ConvexHull { config: ConvexHullConfig::default() };
    let drawn = batch(&task, 200);
    let points: Vec<[f64; 2]> =
        drawn.inputs.continuous().chunks_exact(2).map(|point| [f64::from(point[0]), f64::from(point[1])]).collect();
    for (example, classes) in points.chunks_exact(10).zip(drawn.targets.classes().chunks_exact(10)) {
        for (at, point) in example.iter().enumerate() {
            let others = [&example[..at], &example[at + 1..]].concat();
            let side = |[ax, ay]: &[f64; 2], [bx, by]: &[f64; 2]| {
                (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax) > 0.0
            };
            let is_around = |[a, b, c]: [usize; 3]| {
                let [a, b, c] = [&others[a], &others[b], &others[c]];
                let first = side(a, b);
                first == side(b, c) && first == side(c, a)
            };
            let triangles = (0..9).flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| [a, b, c])));
            assert_eq!(classes[at] == 0, triangles.into_iter().any(is_around), "{at} of {example:?}");
        }
    }
}
