//! Inverting a permutation: every answer may depend on every token.

use headway_keys::Described;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance, inverse_so_far::InverseSoFar},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`InversePermutation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct InversePermutationConfig {
    /// Number of elements, n. Default 8.
    pub n: usize,
    /// Whether the inverse is asked for at n blank tokens after the permutation, where a causal network has seen all of it. Default false:
    /// at the permutation itself.
    pub scratch: bool,
}

impl Default for InversePermutationConfig {
    fn default() -> Self {
        Self { n: 8, scratch: false }
    }
}

impl TaskSpec for InversePermutationConfig {
    fn dims(&self) -> TaskDims {
        let (seq_len, vocab) =
            if self.scratch { (self.n.saturating_mul(2), self.n.saturating_add(1)) } else { (self.n, self.n) };
        TaskDims { seq_len, input: TaskInput::Tokens { vocab }, d_out: self.n }
    }

    fn validate(&self) -> Vec<TaskError> {
        TaskError::below("n", self.n, 2).into_iter().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(InversePermutation { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        (!self.scratch)
            .then_some("where an element stands may be told by any later token; scratch = true asks behind them")
    }

    fn asked(&self) -> usize {
        self.n
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n", &mut self.n))
    }
}

/// A uniform permutation π of n elements, whose inverse is asked for: at position i, or at blank i, the place of the element i.
///
/// ```text
/// position   0     …   n-1        with scratch:   0   …  n-1     n      …  2n-1
/// input     π(0)   …  π(n-1)                     π(0) … π(n-1)  BLANK   …  BLANK
/// target  π^-1(0)  … π^-1(n-1)                    .   …   .    π^-1(0)  … π^-1(n-1)
/// ```
///
/// # Shapes
/// inputs `[n]` or `[2 n]`, ids below n, BLANK = n -> targets `[n]`
///
/// # References
/// arXiv 2509.24125, by its summary: causal attention of any depth cannot invert, attention in both directions or with scratch tokens can.
#[derive(Clone, Debug)]
pub struct InversePermutation {
    /// Sizes.
    pub config: InversePermutationConfig,
}

impl InversePermutation {
    /// The example with a given permutation.
    pub fn sequence(&self, permutation: &[u32]) -> Example {
        let n = permutation.len();
        let mut inverse = vec![0; n];
        for (place, element) in (0..).zip(permutation) {
            inverse[*element as usize] = place;
        }
        let blanks = if self.config.scratch { vec![n as u32; n] } else { Vec::new() };
        Example {
            inputs: Inputs::Tokens([permutation, &blanks].concat()),
            targets: Targets::Classes(inverse),
            loss_mask: vec![true; n],
            slices: vec![None; n],
        }
    }
}

impl Task for InversePermutation {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let mut permutation: Vec<u32> = (0..self.config.n as u32).collect();
        permutation.shuffle(rng);
        self.sequence(&permutation)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(InverseSoFar), Box::new(Chance { possible: 0..self.config.n })]
    }
}
