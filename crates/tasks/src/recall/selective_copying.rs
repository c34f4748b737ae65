//! Selective copying: repeat the symbols in order, without the blanks between them.

use headway_keys::Described;
use rand::{RngExt, seq::index};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`SelectiveCopying`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct SelectiveCopyingConfig {
    /// Total number of tokens V: V-2 data symbols, the blank V-2, and COPY, V-1. Default 16, as in the source.
    pub vocab: usize,
    /// Number of positions L. Default 64; the source has 256.
    pub seq_len: usize,
    /// Number of symbols to copy, m. Default 8; the source has 16.
    pub n_data: usize,
}

impl Default for SelectiveCopyingConfig {
    fn default() -> Self {
        Self { vocab: 16, seq_len: 64, n_data: 8 }
    }
}

impl SelectiveCopyingConfig {
    /// Number of data symbols.
    fn n_symbols(&self) -> usize {
        self.vocab - 2
    }

    /// Number of positions before COPY, which data and blanks share.
    fn n_before(&self) -> usize {
        self.seq_len - self.n_data - 1
    }

    fn too_short(&self) -> Option<TaskError> {
        let Self { seq_len, n_data, .. } = *self;
        let least = n_data.saturating_mul(2).saturating_add(2);
        let problem = || format!("{seq_len} is too few for n_data = {n_data} twice, a blank and COPY");
        (seq_len < least)
            .then(|| TaskError::Key { key: "seq_len", problem: format!("{}; give {least} or more", problem()) })
    }
}

impl TaskSpec for SelectiveCopyingConfig {
    fn dims(&self) -> TaskDims {
        let vocab = self.vocab;
        TaskDims { seq_len: self.seq_len, input: TaskInput::Tokens { vocab }, d_out: vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        // With a single symbol there is nothing to remember.
        [TaskError::below("vocab", self.vocab, 4), self.too_short(), TaskError::below("n_data", self.n_data, 1)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn scored(&self) -> f64 {
        self.n_data as f64
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(SelectiveCopying { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// Data symbols d_1 … d_m in order among blanks, then COPY, then m blanks, at which the symbols are predicted in order.
/// Symbols are uniform and independent; all choices of m places among the L-m-1 before COPY are equally likely. Only
/// the last m positions are scored, the i-th of them in slice `item=i`.
///
/// ```text
/// position   0    1    2    3    4    5    6    7    8
/// input      _   d_1   _    _   d_2   _   COPY  _    _
/// target     .    .    .    .    .    .    .   d_1  d_2
/// ```
///
/// # Shapes
/// inputs `[L]`, ids below `vocab` -> targets `[L]`
///
/// # References
/// MAD, Poli et al. 2024, arXiv 2403.17844. There each blank is inserted before a data symbol chosen uniformly, so that
/// the last symbol is always next to COPY.
#[derive(Clone, Debug)]
pub struct SelectiveCopying {
    /// Sizes.
    pub config: SelectiveCopyingConfig,
}

impl SelectiveCopying {
    /// The example with given data symbols at given places.
    ///
    /// # Shapes
    /// data `[m]`, places `[m]`, ascending
    pub fn sequence(&self, data: &[u32], places: &[usize]) -> Example {
        let SelectiveCopyingConfig { vocab, seq_len, n_data } = self.config;
        let (blank, copy) = (vocab as u32 - 2, vocab as u32 - 1);
        let mut inputs = vec![blank; seq_len];
        places.iter().zip(data).for_each(|(&place, &symbol)| inputs[place] = symbol);
        inputs[self.config.n_before()] = copy;
        let unscored = seq_len - n_data;
        let targets = [&vec![0; unscored], data].concat();
        let loss_mask = (0..seq_len).map(|position| position >= unscored).collect();
        let slices = (0..seq_len).map(|position| position.checked_sub(unscored).map(|item| item as u32)).collect();
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }
}

impl Task for SelectiveCopying {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let (n_symbols, n_data) = (self.config.n_symbols(), self.config.n_data);
        let data: Vec<u32> = (0..n_data).map(|_| rng.random_range(0..n_symbols as u32)).collect();
        let mut places = index::sample(rng, self.config.n_before(), n_data).into_vec();
        places.sort_unstable();
        self.sequence(&data, &places)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Chance { possible: 0..self.config.n_symbols() })]
    }

    fn slices(&self) -> Vec<String> {
        (1..=self.config.n_data).map(|item| format!("item={item}")).collect()
    }
}
