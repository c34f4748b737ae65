//! Multi-query associative recall: first pairs, then every key once more, at which its value is predicted.

use std::{collections::BTreeSet, ops::Range};

use headway_keys::Described;
use rand::{
    RngExt,
    seq::{IndexedRandom, index},
};
use rand_distr::Exp1;
use serde::{Deserialize, Serialize};

use super::distance;
use crate::{
    baseline::{Baseline, chance::Chance, lookup::Lookup, seen::Seen},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`Mqar`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct MqarConfig {
    /// Number of tokens V: 0 is filler, those below V/2 are keys, the rest are values. Default 64; the source has 8192.
    pub vocab: usize,
    /// Number of positions L; even. Default 32; the source has 64 to 512.
    pub seq_len: usize,
    /// Number of pairs N of a sequence: a single number, or several, one of which is drawn for each sequence; a number
    /// listed twice is drawn twice as often. Default `[4]`; the source has L/16.
    pub n_pairs: Vec<usize>,
    /// Exponent a of the distribution of query slots, p(j) ∝ j^(a-1): near 0 queries come early, 1 is uniform. Default
    /// 0.01, as in the source.
    pub power: f64,
    /// Whether filler among the queries is uniform over all tokens instead of 0. Default false.
    pub random_filler: bool,
}

impl Default for MqarConfig {
    fn default() -> Self {
        Self { vocab: 64, seq_len: 32, n_pairs: vec![4], power: 0.01, random_filler: false }
    }
}

/// Largest exponent: here the last slots are already practically certain, and much larger exponents would overflow.
const LARGEST_POWER: f64 = 1e6;

impl MqarConfig {
    /// Token ids of keys.
    pub fn keys(&self) -> Range<u32> {
        1..(self.vocab / 2) as u32
    }

    /// Token ids of values.
    pub fn values(&self) -> Range<u32> {
        (self.vocab / 2) as u32..self.vocab as u32
    }

    /// The different numbers of pairs, ascending.
    fn sizes(&self) -> Vec<usize> {
        self.n_pairs.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn bad_vocab(&self) -> Option<TaskError> {
        let Self { vocab, seq_len, .. } = *self;
        // The rule of the source. Since 4 N <= L, it leaves at least N keys and N values.
        let problem = || format!("{vocab} holds too few keys for seq_len = {seq_len}; give more than {seq_len}");
        (vocab <= seq_len).then(|| TaskError::Key { key: "vocab", problem: problem() })
    }

    fn odd_length(&self) -> Option<TaskError> {
        let seq_len = self.seq_len;
        let problem =
            || format!("{seq_len} is odd, but pairs and query slots take two positions; give {}", seq_len + 1);
        (seq_len % 2 == 1).then(|| TaskError::Key { key: "seq_len", problem: problem() })
    }

    fn bad_sizes(&self) -> Option<TaskError> {
        let (sizes, seq_len) = (self.sizes(), self.seq_len);
        let (Some(&least), Some(&most)) = (sizes.first(), sizes.last()) else {
            let problem = "the list is empty; give a number of pairs, such as [4]".to_owned();
            return Some(TaskError::Key { key: "n_pairs", problem });
        };
        let too_many = || {
            let needed = most.saturating_mul(4);
            let problem = format!("{most} pairs and their queries take {needed} positions, seq_len is {seq_len}");
            TaskError::Key { key: "n_pairs", problem: format!("{problem}; give fewer, or seq_len = {needed}") }
        };
        TaskError::below("n_pairs", least, 1).or_else(|| (most > seq_len / 4).then(too_many))
    }

    fn bad_power(&self) -> Option<TaskError> {
        let good = self.power > 0.0 && self.power <= LARGEST_POWER;
        let problem = || format!("{} must be above 0 and at most {LARGEST_POWER:e}; 1 is uniform", self.power);
        (!good).then(|| TaskError::Key { key: "power", problem: problem() })
    }
}

impl TaskSpec for MqarConfig {
    fn dims(&self) -> TaskDims {
        let vocab = self.vocab;
        TaskDims { seq_len: self.seq_len, input: TaskInput::Tokens { vocab }, d_out: vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [self.bad_vocab(), self.odd_length(), self.bad_sizes(), self.bad_power()];
        problems.into_iter().flatten().collect()
    }

    fn scored(&self) -> f64 {
        self.n_pairs.iter().sum::<usize>() as f64 / self.n_pairs.len().max(1) as f64
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Mqar { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// N pairs with different keys and different values, then S = (L - 2N) / 2 query slots of two positions. N of them have
/// a key at their first position, each key once. The value is predicted at the repeated key and never shown. Query
/// slots are drawn one after the other without replacement, with p(j) ∝ j^(a-1), j = 1 … S. Only queries are scored.
///
/// ```text
/// position   0    1    2    3    4    5    6    7    8    9
/// input     k_1  v_1  k_2  v_2   0    0   k_2   0   k_1   0
/// target     .    .    .    .    .    .   v_2   .   v_1   .
/// ```
///
/// Slices are `pairs=N` if `n_pairs` has several numbers, and the distance from a query back to its key if it has a
/// single one.
///
/// # Shapes
/// inputs `[L]`, ids below `vocab` -> targets `[L]`
///
/// # References
/// Zoology, Arora et al. 2023, arXiv 2312.04927, with one pass over the pairs. There a set with several N has an L for
/// each, and accuracy is averaged within each sequence first; here it is averaged over all queries.
#[derive(Clone, Debug)]
pub struct Mqar {
    /// Sizes, and the distributions of slots and filler.
    pub config: MqarConfig,
}

impl Mqar {
    /// The sequence with given pairs, given slots of their queries (from 0), and given filler at the other positions.
    ///
    /// # Shapes
    /// pairs `[N]`, a key and its value; slots `[N]`; filler `[L - 2 N]`, from the first query slot on
    pub fn sequence(&self, pairs: &[[u32; 2]], slots: &[usize], filler: &[u32]) -> Example {
        let seq_len = self.config.seq_len;
        let mut inputs = [pairs.as_flattened(), filler].concat();
        let (mut targets, mut loss_mask, mut slices) = (vec![0; seq_len], vec![false; seq_len], vec![None; seq_len]);
        let sizes = self.config.sizes();
        for (pair, (&[key, value], slot)) in pairs.iter().zip(slots).enumerate() {
            let (stood, position) = (2 * pair, 2 * (pairs.len() + slot));
            inputs[position] = key;
            targets[position] = value;
            loss_mask[position] = true;
            slices[position] = match sizes.len() {
                1 => Some(distance::slice(position - stood)),
                _ => sizes.iter().position(|&size| size == pairs.len()).map(|size| size as u32),
            };
        }
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }
}

impl Task for Mqar {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let MqarConfig { vocab, seq_len, ref n_pairs, power, random_filler } = self.config;
        let n_pairs = *n_pairs.choose(rng).expect("a valid config has a number of pairs");
        let keys = distinct(self.config.keys(), n_pairs, rng);
        let values = distinct(self.config.values(), n_pairs, rng);
        let pairs: Vec<[u32; 2]> = keys.into_iter().zip(values).map(|(key, value)| [key, value]).collect();
        let slots = power_law(seq_len / 2 - n_pairs, n_pairs, power, rng);
        let mut filler = |_| if random_filler { rng.random_range(0..vocab as u32) } else { 0 };
        let filler: Vec<u32> = (2 * n_pairs..seq_len).map(&mut filler).collect();
        self.sequence(&pairs, &slots, &filler)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let possible = self.config.vocab / 2..self.config.vocab;
        let (lookup, seen) = (Lookup { possible: possible.clone() }, Seen { possible: possible.clone() });
        vec![Box::new(lookup), Box::new(seen), Box::new(Chance { possible })]
    }

    fn slices(&self) -> Vec<String> {
        match self.config.sizes().as_slice() {
            [_] => distance::slices(self.config.seq_len),
            sizes => sizes.iter().map(|size| format!("pairs={size}")).collect(),
        }
    }
}

/// `count` different tokens in uniformly random order.
fn distinct(tokens: Range<u32>, count: usize, rng: &mut SampleRng) -> Vec<u32> {
    let first = tokens.start;
    index::sample(rng, tokens.len(), count).into_iter().map(|token| first + token as u32).collect()
}

/// `count` of `n_slots` slots, drawn one after the other without replacement with p(j) ∝ j^(power - 1), j = 1 …
/// `n_slots`; returned from 0, in the order drawn.
///
/// Equivalent to drawing for each slot an exponential waiting time with rate p(j) and taking the `count` shortest;
/// times are compared by their logarithms.
fn power_law(n_slots: usize, count: usize, power: f64, rng: &mut SampleRng) -> Vec<usize> {
    let mut wait = |slot: usize| rng.sample::<f64, _>(Exp1).ln() - (power - 1.0) * ((slot + 1) as f64).ln();
    let mut clocks: Vec<(f64, usize)> = (0..n_slots).map(|slot| (wait(slot), slot)).collect();
    clocks.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    clocks.into_iter().take(count).map(|(_, slot)| slot).collect()
}
