//! Parity: the function of which no part of the input tells anything.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Size of [`Parity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ParityConfig {
    /// Number of bits, L. Default 8.
    pub n_bits: usize,
}

impl Default for ParityConfig {
    fn default() -> Self {
        Self { n_bits: 8 }
    }
}

impl TaskSpec for ParityConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.n_bits.saturating_add(1), input: TaskInput::Tokens { vocab: 3 }, d_out: 2 }
    }

    fn validate(&self) -> Vec<TaskError> {
        TaskError::below("n_bits", self.n_bits, 1).into_iter().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Parity { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asked(&self) -> usize {
        1
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n_bits", &mut self.n_bits))
    }
}

/// L independent fair bits and END, where their sum modulo 2 is asked for. Whatever L − 1 of them say, both answers are as likely.
///
/// # Shapes
/// inputs `[L + 1]`, ids 0, 1 and END = 2 -> target `[1]`
///
/// # References
/// Hahn 2020, arXiv 1906.06755, about what attention of a bounded size cannot compute.
#[derive(Clone, Debug)]
pub struct Parity {
    /// Size.
    pub config: ParityConfig,
}

impl Parity {
    /// The example with given bits.
    pub fn sequence(bits: &[u32]) -> Example {
        let parity = bits.iter().sum::<u32>() % 2;
        Example {
            inputs: Inputs::Tokens([bits, &[2]].concat()),
            targets: Targets::Classes(vec![parity]),
            loss_mask: vec![true],
            slices: vec![None],
        }
    }
}

impl Task for Parity {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let bits: Vec<u32> = (0..self.config.n_bits).map(|_| rng.random_range(0..2)).collect();
        Self::sequence(&bits)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Chance { possible: 0..2 })]
    }

    fn class_names(&self) -> Vec<String> {
        ["even", "odd"].map(str::to_owned).into()
    }
}
