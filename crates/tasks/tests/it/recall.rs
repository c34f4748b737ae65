//! Recall tasks: layouts by hand, the distributions of sequences, and the baselines.

use std::collections::{BTreeMap, BTreeSet};

use headway_tasks::{
    Batch, Example, Inputs, Seed, Split, Stream, Targets, Task, TaskDims, TaskInput,
    baseline::{Baseline, chance::Chance, lookup::Lookup, seen::Seen},
    recall::{
        distance,
        in_context_recall::InContextRecallConfig,
        mqar::{Mqar, MqarConfig},
        noisy_recall::NoisyRecallConfig,
        pairs::Pairs,
        selective_copying::{SelectiveCopying, SelectiveCopyingConfig},
    },
};

fn draw(task: &dyn Task, count: u64) -> Vec<Example> {
    (0..count).map(|i| task.example(Split::Train, i, &mut Seed(1).rng(Stream::Train, i))).collect()
}

fn mqar(config: MqarConfig) -> Mqar {
    Mqar { config }
}

/// How often each value occurs.
fn counts<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    things.into_iter().for_each(|thing| *counts.entry(thing).or_default() += 1);
    counts
}

/// Asserts that a share of `total` independent draws is the expected one, within 4.5 standard errors.
fn assert_share(count: u64, total: u64, expected: f64, what: &str) {
    let (share, error) = (count as f64 / total as f64, (expected * (1.0 - expected) / total as f64).sqrt());
    assert!((share - expected).abs() < 4.5 * error, "{what}: {share} +- {error} is not {expected}");
    // A wide interval would accept anything.
    assert!(error < 0.05 * expected.max(0.1), "{what}: {total} draws say too little about {expected}");
}

/// Asserts that tokens are uniform over a vocabulary and that all of it occurs.
fn assert_uniform(tokens: &[u32], vocabulary: std::ops::Range<u32>, what: &str) {
    let counts = counts(tokens.iter().copied());
    assert!(counts.keys().copied().eq(vocabulary.clone()), "{what}: {:?}", counts.keys());
    let expected = 1.0 / vocabulary.len() as f64;
    for (token, &count) in &counts {
        assert_share(count, tokens.len() as u64, expected, &format!("{what} {token}"));
    }
}

/// Number of scored positions at which the largest logit is the target's, and of all scored positions.
fn hits(baseline: &dyn Baseline, batch: &Batch) -> (u64, u64) {
    let logits = baseline.predict(batch);
    let positions = logits.chunks(batch.dims.d_out).zip(batch.targets.classes()).zip(&batch.loss_mask);
    let scored = positions.filter(|(_, scored)| **scored);
    let greatest = |logits: &[f32]| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let hits = scored.map(|((logits, &class), _)| greatest(logits) == Some(class as usize));
    hits.fold((0, 0), |(hits, total), hit| (hits + u64::from(hit), total + 1))
}

#[test]
fn distances_fall_into_slices_that_double() {
    assert_eq!(distance::slices(34), ["distance=2", "distance=4", "distance=8", "distance=16", "distance=32"]);
    // Distances are even, so 32 is the largest distance both below 34 and in sequences of 33.
    assert_eq!(distance::slices(33), distance::slices(34));
    assert_eq!(distance::slices(35).last().map(String::as_str), Some("distance=64"));
    let slices: Vec<u32> = [2, 4, 6, 8, 10, 16, 18, 32, 34].map(distance::slice).to_vec();
    assert_eq!(slices, [0, 1, 2, 2, 3, 3, 4, 4, 5]);
}

#[test]
fn mqar_by_hand() {
    let task = mqar(MqarConfig { vocab: 23, seq_len: 10, n_pairs: vec![2], ..Default::default() });
    let example = task.sequence(&[[3, 17], [5, 19]], &[2, 1], &[0, 2, 4, 6, 8, 10]);
    assert_eq!(example.inputs.tokens(), [3, 17, 5, 19, 0, 2, 5, 6, 3, 10]);
    assert_eq!(example.targets.classes(), [0, 0, 0, 0, 0, 0, 19, 0, 17, 0]);
    assert_eq!(example.loss_mask, [false, false, false, false, false, false, true, false, true, false]);
    // 6 - 2 = 4 and 8 - 0 = 8.
    assert_eq!(task.slices(), ["distance=2", "distance=4", "distance=8"]);
    assert_eq!(example.slices, [None, None, None, None, None, None, Some(1), None, Some(2), None]);
}

#[test]
fn mqar_is_sliced_by_the_number_of_pairs_where_there_are_several() {
    let task = mqar(MqarConfig { vocab: 23, seq_len: 10, n_pairs: vec![2, 1, 2], ..Default::default() });
    assert_eq!(task.slices(), ["pairs=1", "pairs=2"]);
    let example = task.sequence(&[[3, 17], [5, 19]], &[2, 1], &[0; 6]);
    assert_eq!(example.slices, [None, None, None, None, None, None, Some(1), None, Some(1), None]);
    let example = task.sequence(&[[3, 17]], &[3], &[0; 8]);
    assert_eq!(example.inputs.tokens(), [3, 17, 0, 0, 0, 0, 0, 0, 3, 0]);
    assert_eq!(example.slices, [None, None, None, None, None, None, None, None, Some(0), None]);
}

#[test]
fn mqar_asks_once_for_every_key_and_for_nothing_else() {
    let (vocab, seq_len) = (31, 22);
    let task = mqar(MqarConfig { vocab, seq_len, n_pairs: vec![1, 3, 5], ..Default::default() });
    let (mut keys_drawn, mut values_drawn, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for example in draw(&task, 6000) {
        let tokens = example.inputs.tokens();
        assert_eq!(tokens.len(), seq_len);
        let n_pairs = example.loss_mask.iter().filter(|scored| **scored).count();
        let (pairs, queries) = tokens.split_at(2 * n_pairs);
        let value_of: BTreeMap<u32, u32> = pairs.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        assert_eq!(value_of.len(), n_pairs, "keys differ");
        assert_eq!(value_of.values().collect::<BTreeSet<_>>().len(), n_pairs, "values differ");
        let asked: Vec<u32> = queries.iter().copied().filter(|&token| token != 0).collect();
        assert!(asked.iter().collect::<BTreeSet<_>>().into_iter().eq(value_of.keys()), "{asked:?} {value_of:?}");
        assert_eq!(asked.len(), n_pairs, "each key is asked for once");
        for (position, &token) in tokens.iter().enumerate() {
            let is_query = position >= 2 * n_pairs && token != 0;
            assert_eq!(example.loss_mask[position], is_query);
            assert_eq!(example.targets.classes()[position], if is_query { value_of[&token] } else { 0 });
            assert!(!is_query || position % 2 == 0, "queries stand at even positions");
        }
        keys_drawn.push(pairs[0]);
        values_drawn.push(pairs[1]);
        sizes.push(n_pairs as u32);
    }
    assert_uniform(&keys_drawn, 1..15, "key");
    assert_uniform(&values_drawn, 15..31, "value");
    let sizes = counts(sizes);
    assert!(sizes.keys().eq(&[1, 3, 5]));
    for (size, &count) in &sizes {
        assert_share(count, 6000, 1.0 / 3.0, &format!("pairs={size}"));
    }
}

#[test]
fn a_number_of_pairs_given_twice_is_drawn_twice_as_often() {
    let task = mqar(MqarConfig { n_pairs: vec![2, 5, 2], ..Default::default() });
    let sizes = draw(&task, 5000).into_iter().map(|example| example.loss_mask.iter().filter(|scored| **scored).count());
    assert_share(counts(sizes)[&2], 5000, 2.0 / 3.0, "pairs=2");
}

#[test]
fn query_slots_follow_the_power_law_without_replacement() {
    // Two keys in three slots: the first key's slot has probability p(i), the second's then p(j) / (1 - p(i)).
    for power in [0.01, 1.0, 2.5] {
        let task = mqar(MqarConfig { seq_len: 10, n_pairs: vec![2], power, ..Default::default() });
        let drawn = counts(draw(&task, 20_000).into_iter().map(|example| {
            let tokens = example.inputs.tokens().to_vec();
            let slot = |key: u32| (0..3).find(|slot| tokens[4 + 2 * slot] == key).expect("asked for");
            (slot(tokens[0]), slot(tokens[2]))
        }));
        let weight = |slot: usize| ((slot + 1) as f64).powf(power - 1.0);
        let total: f64 = (0..3).map(weight).sum();
        for (i, j) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let expected = weight(i) / total * weight(j) / (total - weight(i));
            assert_share(drawn[&(i, j)], 20_000, expected, &format!("power {power}, slots {i} and {j}"));
        }
    }
}

#[test]
fn random_filler_is_any_token() {
    let config = MqarConfig { vocab: 21, seq_len: 18, n_pairs: vec![3], random_filler: true, ..Default::default() };
    let fillers = draw(&mqar(config), 2000).into_iter().flat_map(|example| {
        let tokens = example.inputs.tokens().to_vec();
        (6..18).filter(move |&position| !example.loss_mask[position]).map(move |position| tokens[position])
    });
    assert_uniform(&fillers.collect::<Vec<_>>(), 0..21, "filler");
}

/// Three keys, four values and two noise tokens.
const SMALL: Pairs = Pairs { n_slots: 6, n_paired: 7, n_noise: 2, noise: 0.3 };

#[test]
fn pairs_by_hand() {
    assert_eq!((SMALL.keys(), SMALL.values(), SMALL.noise_tokens()), (0..3, 3..7, 7..9));
    assert_eq!(SMALL.dims(), TaskDims { seq_len: 11, input: TaskInput::Tokens { vocab: 9 }, d_out: 9 });
    let example = SMALL.write(&[[1, 4], [7, 7], [2, 6], [1, 4], [1, 4], [2, 6]]);
    assert_eq!(example.inputs.tokens(), [1, 4, 7, 7, 2, 6, 1, 4, 1, 4, 2]);
    assert_eq!(example.targets.classes(), [0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 6]);
    let scored = [6, 8, 10];
    assert!((0..11).all(|position| example.loss_mask[position] == scored.contains(&position)));
    // Distances to the key's last occurrence: 6 - 0, 8 - 6 and 10 - 4.
    assert_eq!(scored.map(|position| example.slices[position]), [Some(2), Some(0), Some(2)]);
    assert_eq!(example.slices.iter().flatten().count(), 3);
}

/// The slots of a sequence, the last of which lacks its value.
fn slots(example: &Example) -> Vec<Vec<u32>> {
    example.inputs.tokens().chunks(2).map(<[u32]>::to_vec).collect()
}

/// Asserts that a key always has the same value, and that exactly the keys that have occurred before are scored.
fn assert_recall(example: &Example, is_key: impl Fn(u32) -> bool) {
    let mut value_of = BTreeMap::new();
    for (slot, tokens) in slots(example).iter().enumerate() {
        let known = value_of.get(&tokens[0]).copied().filter(|_| is_key(tokens[0]));
        assert_eq!(example.loss_mask[2 * slot], known.is_some(), "{example:?}");
        assert_eq!(example.targets.classes()[2 * slot], known.unwrap_or(0), "{example:?}");
        if let [key, value] = tokens[..] {
            assert!(!example.loss_mask[2 * slot + 1], "values are not asked about");
            assert!(known.is_none_or(|known| known == value), "{example:?}");
            value_of.insert(key, value);
        }
    }
    assert_eq!(example.loss_mask.last(), Some(&true), "the last key has stood before");
}

#[test]
fn in_context_recall_draws_a_new_map_for_every_sequence() {
    let task = InContextRecallConfig { vocab: 7, n_pairs: 5 }.pairs();
    let examples = draw(&task, 8000);
    for example in &examples {
        assert_recall(example, |token| token < 3);
    }
    let all: Vec<_> = examples.iter().map(slots).collect();
    let first = |token: usize| all.iter().map(|slots| slots[0][token]).collect::<Vec<_>>();
    assert_uniform(&first(0), 0..3, "first key");
    assert_uniform(&first(1), 3..7, "first value");
    assert_uniform(&all.iter().map(|slots| slots[3][0]).collect::<Vec<_>>(), 0..3, "later key");
    // Values are drawn with replacement: two different keys have the same one in a quarter of the sequences.
    let different: Vec<_> = all.iter().filter(|slots| slots[0][0] != slots[1][0]).collect();
    let same_value = different.iter().filter(|slots| slots[0][1] == slots[1][1]).count() as u64;
    assert_share(same_value, different.len() as u64, 0.25, "a shared value");
}

#[test]
fn the_last_key_is_uniform_among_those_that_stood_before() {
    // If one key occurred twice and another once, either is the last key equally often.
    let task = InContextRecallConfig { vocab: 6, n_pairs: 4 }.pairs();
    let all: Vec<_> = draw(&task, 4000).iter().map(slots).collect();
    let two_and_one = all.iter().filter(|s| s[0][0] == s[1][0] && s[1][0] != s[2][0]);
    let last_is_single: Vec<bool> = two_and_one.map(|s| s[3][0] == s[2][0]).collect();
    let count = last_is_single.iter().filter(|single| **single).count() as u64;
    assert_share(count, last_is_single.len() as u64, 0.5, "the key that stood once");
}

#[test]
fn noisy_recall_has_the_noise_that_it_names() {
    let task = NoisyRecallConfig { vocab: 10, noise_vocab: 3, noise: 0.3, n_pairs: 7 }.pairs();
    let examples = draw(&task, 4000);
    for example in &examples {
        assert_recall(example, |token| token < 3);
    }
    let all: Vec<_> = examples.iter().map(slots).collect();
    let noise: Vec<u32> = all.iter().flatten().flatten().copied().filter(|&token| token >= 7).collect();
    assert_uniform(&noise, 7..10, "noise");
    for slots in &all {
        let (last, before) = slots.split_last().expect("seven slots");
        assert!(last[0] < 3);
        assert!(
            before
                .iter()
                .all(|slot| slot.iter().all(|&token| token >= 7) || (slot[0] < 3 && (3..7).contains(&slot[1])))
        );
    }
    // One of the six slots before the last is never noise, and each of them equally often.
    for slot in 0..6 {
        let count = all.iter().filter(|slots| slots[slot][0] >= 7).count() as u64;
        assert_share(count, 4000, 0.3 * 5.0 / 6.0, &format!("noise in slot {slot}"));
    }
}

#[test]
fn a_key_is_left_however_much_noise_there_is() {
    let task = NoisyRecallConfig { noise: 0.999, n_pairs: 5, ..Default::default() }.pairs();
    for example in draw(&task, 500) {
        assert_recall(&example, |token| token < 8);
    }
}

#[test]
fn selective_copying_by_hand() {
    let task = SelectiveCopying { config: SelectiveCopyingConfig { vocab: 13, seq_len: 9, n_data: 2 } };
    let example = task.sequence(&[7, 5], &[1, 4]);
    assert_eq!(example.inputs.tokens(), [11, 7, 11, 11, 5, 11, 12, 11, 11]);
    assert_eq!(example.targets.classes(), [0, 0, 0, 0, 0, 0, 0, 7, 5]);
    assert_eq!(example.loss_mask, [false, false, false, false, false, false, false, true, true]);
    assert_eq!(example.slices, [None, None, None, None, None, None, None, Some(0), Some(1)]);
    assert_eq!(task.slices(), ["item=1", "item=2"]);
}

#[test]
fn selective_copying_puts_its_symbols_anywhere_in_order() {
    // Two of the five positions before COPY: ten choices.
    let task = SelectiveCopying { config: SelectiveCopyingConfig { vocab: 7, seq_len: 8, n_data: 2 } };
    let examples = draw(&task, 10_000);
    let places = examples.iter().map(|example| {
        let (before, rest) = example.inputs.tokens().split_at(5);
        assert_eq!(rest, [6, 5, 5], "COPY and blanks");
        let places: Vec<usize> = (0..5).filter(|&position| before[position] != 5).collect();
        let data: Vec<u32> = places.iter().map(|&place| before[place]).collect();
        assert_eq!(example.targets.classes()[6..], data);
        places
    });
    let places = counts(places);
    assert_eq!(places.len(), 10);
    for (places, &count) in &places {
        assert_share(count, 10_000, 0.1, &format!("places {places:?}"));
    }
    let symbols: Vec<u32> = examples.iter().flat_map(|example| example.targets.classes()[6..].to_vec()).collect();
    assert_uniform(&symbols, 0..5, "symbol");
}

/// A batch of one sequence of tokens below `vocab`.
fn sequence(tokens: &[u32], vocab: usize) -> Batch {
    let seq_len = tokens.len();
    let example = Example {
        inputs: Inputs::Tokens(tokens.to_vec()),
        targets: Targets::Classes(vec![0; seq_len]),
        loss_mask: vec![false; seq_len],
        slices: vec![None; seq_len],
    };
    Batch::stack(TaskDims { seq_len, input: TaskInput::Tokens { vocab }, d_out: vocab }, [example])
}

/// Classes that a predictor considers possible, at each position of a sequence of tokens below 7.
fn possible(baseline: &dyn Baseline, tokens: &[u32]) -> Vec<Vec<usize>> {
    let logits = baseline.predict(&sequence(tokens, 7));
    logits.chunks(7).map(|logits| (0..7).filter(|&class| logits[class] == 0.0).collect()).collect()
}

#[test]
fn lookup_by_hand() {
    let tokens = [1, 5, 2, 2, 1, 6, 1];
    // 1 was first followed by 5; 2 was first followed by itself, which is known from its second occurrence on.
    assert_eq!(
        possible(&Lookup { possible: 4..7 }, &tokens),
        [vec![4, 5, 6], vec![4, 5, 6], vec![4, 5, 6], vec![2], vec![5], vec![4, 5, 6], vec![5]]
    );
}

#[test]
fn guesses_among_the_seen_by_hand() {
    assert_eq!(
        possible(&Seen { possible: 4..7 }, &[1, 5, 2, 5, 4, 0]),
        [vec![4, 5, 6], vec![5], vec![5], vec![5], vec![4, 5], vec![4, 5]]
    );
    assert_eq!(possible(&Chance { possible: 4..7 }, &[1, 5]), [vec![4, 5, 6], vec![4, 5, 6]]);
}

#[test]
fn lookup_is_exact_on_every_recall_task() {
    let tasks: [Box<dyn Task>; 6] = [
        Box::new(mqar(MqarConfig::default())),
        Box::new(mqar(MqarConfig { n_pairs: vec![1, 4, 8], ..Default::default() })),
        // Filler that happens to be a key and is followed by something else comes after the pairs.
        Box::new(mqar(MqarConfig { vocab: 33, random_filler: true, power: 1.0, ..Default::default() })),
        Box::new(InContextRecallConfig::default().pairs()),
        Box::new(NoisyRecallConfig::default().pairs()),
        Box::new(NoisyRecallConfig { noise: 0.8, ..Default::default() }.pairs()),
    ];
    for task in tasks {
        let batch = Batch::stack(task.dims(), draw(&*task, 200));
        let baselines = task.baselines();
        let names: Vec<&str> = baselines.iter().map(|baseline| baseline.name()).collect();
        assert_eq!(names, ["lookup", "seen_in_context", "chance"]);
        let [lookup, seen, chance] = [0, 1, 2].map(|i| hits(&*baselines[i], &batch));
        assert_eq!(lookup.0, lookup.1);
        assert!(chance.0 < seen.0 && 10 * seen.0 < 7 * seen.1, "{seen:?} {chance:?}");
    }
}

#[test]
fn guesses_are_right_as_often_as_their_choices_are_few() {
    // Four values of a sequence, 32 of the vocabulary.
    let task = mqar(MqarConfig::default());
    let batch = Batch::stack(task.dims(), draw(&task, 5000));
    let baselines = task.baselines();
    // One value of each sequence is guessed at all its queries, so exactly one query in four is right.
    assert_eq!(hits(&*baselines[1], &batch), (5000, 20_000));
    let (hits, total) = hits(&*baselines[2], &batch);
    assert_share(hits, total, 1.0 / 32.0, "chance");
}

#[test]
fn scored_positions_are_counted_on_average() {
    for (n_slots, n_paired, n_noise, noise) in [(32, 16, 0, 0.0), (9, 100, 0, 0.0), (32, 16, 16, 0.9), (2, 3, 4, 0.5)] {
        let task = Pairs { n_slots, n_paired, n_noise, noise };
        let examples = draw(&task, 4000);
        let counts = examples.iter().map(|example| example.loss_mask.iter().filter(|scored| **scored).count() as f64);
        let (sum, squares) = counts.fold((0.0, 0.0), |(sum, squares), count| (sum + count, squares + count * count));
        let mean = sum / 4000.0;
        let error = ((squares / 4000.0 - mean * mean) / 4000.0).sqrt();
        assert!(
            (task.scored() - mean).abs() <= 4.5 * error + 1e-12,
            "{task:?}: {} told, {mean} +- {error}",
            task.scored()
        );
    }
}
