//! The sequence k_1 v_1 k_2 v_2 … k_n, drawn and written only in this file.
//!
//! A slot consists of two tokens: a key with its value, or noise. The last slot is a key that has occurred before,
//! without its value, so n slots take 2n-1 tokens. The value of a key is predicted at every further occurrence of the
//! key.
//!
//! # References
//! MAD, Poli et al. 2024, arXiv 2403.17844, in its variant with several queries.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use rand::{RngExt, seq::IteratorRandom};

use super::distance;
use crate::{
    baseline::{Baseline, chance::Chance, lookup::Lookup, seen::Seen},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    seed::SampleRng,
    task::{Split, Task},
};

/// Recall of pairs, with or without noise. Token ids are first keys, then values, then noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Number of slots of a sequence, n.
    pub n_slots: usize,
    /// Number of tokens that are keys or values: the first half, rounded down, are keys.
    pub n_paired: usize,
    /// Number of noise tokens.
    pub n_noise: usize,
    /// Probability that a slot is noise.
    pub noise: f64,
}

impl Pairs {
    /// Token ids of keys.
    pub fn keys(&self) -> Range<u32> {
        0..self.values().start
    }

    /// Token ids of values.
    pub fn values(&self) -> Range<u32> {
        (self.n_paired / 2) as u32..self.n_paired as u32
    }

    /// Token ids of noise.
    pub fn noise_tokens(&self) -> Range<u32> {
        self.n_paired as u32..(self.n_paired + self.n_noise) as u32
    }

    /// Draws slots with independent keys, uniform among all keys; the last key is uniform among those that have
    /// occurred before. The value of a key is uniform among all values and drawn anew for every sequence; two keys may
    /// have the same value. Each slot except the last is noise, two uniform tokens, with probability `noise`; one of
    /// these slots, drawn uniformly, never is. `[n_slots]`
    pub fn draw(&self, rng: &mut SampleRng) -> Vec<[u32; 2]> {
        let values: Vec<u32> = self.keys().map(|_| rng.random_range(self.values())).collect();
        let pair = |key: u32| [key, values[key as usize]];
        let never_noise = rng.random_range(0..self.n_slots - 1);
        let mut slots = Vec::with_capacity(self.n_slots);
        for slot in 0..self.n_slots - 1 {
            if slot != never_noise && rng.random_bool(self.noise) {
                slots.push([rng.random_range(self.noise_tokens()), rng.random_range(self.noise_tokens())]);
            } else {
                slots.push(pair(rng.random_range(self.keys())));
            }
        }
        let keys: BTreeSet<u32> =
            slots.iter().map(|slot| slot[0]).filter(|token| self.keys().contains(token)).collect();
        slots.push(pair(keys.into_iter().choose(rng).expect("one slot is never noise")));
        slots
    }

    /// Mean number of scored positions of a sequence. Of m = n − 1 slots 1 + B are pairs, with B from a binomial distribution of m − 1 trials
    /// and probability 1 − ν of a pair. Of their K possible keys those that occur are not scored once, and the last slot always is:
    /// E = 1 + E[1 + B] − K (1 − E[(1 − 1/K)^(1 + B)]).
    pub fn scored(&self) -> f64 {
        let (others, keys) = (self.n_slots.saturating_sub(2) as f64, self.keys().len().max(1) as f64);
        let (pair, missed) = (1.0 - self.noise, 1.0 - 1.0 / keys);
        // E[z^B] = (ν + (1 − ν) z)^(m − 1).
        let never = missed * (self.noise + pair * missed).powf(others);
        2.0 + others * pair - keys * (1.0 - never)
    }

    /// Where answers appear later in the input, in words: after every repeated key except the last.
    pub fn answers_ahead(&self) -> Option<&'static str> {
        (self.n_slots > 2).then_some("the value of a key that comes back stands right after it, where it is asked for")
    }

    /// Writes slots as a sequence in which the value of every key that has occurred before is predicted.
    ///
    /// # Shapes
    /// slots `[n_slots]`; the second token of the last slot is the answer and not part of the inputs
    pub fn write(&self, slots: &[[u32; 2]]) -> Example {
        let seq_len = 2 * slots.len() - 1;
        let (mut targets, mut loss_mask, mut slices) = (vec![0; seq_len], vec![false; seq_len], vec![None; seq_len]);
        let mut last_stood = HashMap::new();
        for (slot, &[key, value]) in slots.iter().enumerate().filter(|(_, slot)| self.keys().contains(&slot[0])) {
            let position = 2 * slot;
            if let Some(before) = last_stood.insert(key, position) {
                targets[position] = value;
                loss_mask[position] = true;
                slices[position] = Some(distance::slice(position - before));
            }
        }
        let inputs = slots.as_flattened()[..seq_len].to_vec();
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }
}

impl Task for Pairs {
    fn dims(&self) -> TaskDims {
        let (seq_len, vocab) =
            (self.n_slots.saturating_mul(2).saturating_sub(1), self.n_paired.saturating_add(self.n_noise));
        TaskDims { seq_len, input: TaskInput::Tokens { vocab }, d_out: vocab }
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        self.write(&self.draw(rng))
    }

    /// From an exact predictor to one that ignores the sequence.
    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let possible = self.values().start as usize..self.values().end as usize;
        let (lookup, seen) = (Lookup { possible: possible.clone() }, Seen { possible: possible.clone() });
        vec![Box::new(lookup), Box::new(seen), Box::new(Chance { possible })]
    }

    fn slices(&self) -> Vec<String> {
        distance::slices(self.dims().seq_len)
    }
}
