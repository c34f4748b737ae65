//! How often a network of tokens names the largest of them: lower bounds that are proved from its weights, without trying every word.
//!
//! A word of k tokens below V is one of V^k. A [`Strategy`] goes through classes of words instead, such as all with the same last token and
//! the same largest one, and bounds over each class how far a wrong answer may come before the right one; a class where none comes
//! before counts as right, whatever its words. The finer the classes, the more words are proved and the more it costs.
//!
//! The network is one layer of softmax attention of any number of heads, with positions, skips and norms or without, and no feed-forward
//! network, see [`Tables`]. Its answer is read at the last position.
//!
//! # References
//! Gross et al. 2024, arXiv 2406.11779, who prove accuracies of such networks with one head and without norms. The strategies are our own.

mod pairs;
mod ranges;
mod tables;

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use headway_model::{Input, Model, weights};
use serde::Serialize;

pub use tables::{NoTables, Tables};

/// Most words that are tried one by one.
pub const MOST_WORDS: f64 = 16_777_216.0;

/// Most multiplications that a strategy may take, some minutes.
pub const MOST_OPERATIONS: f64 = 1e12;

/// A way to prove that words are answered rightly, from the cheapest to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// For every last and largest token: the least attention on the largest, and the worst values beside it. V³ steps.
    Ranges,
    /// For every last and largest token, places of the largest and wrong answer: the worst mixture of the others, exactly for each head.
    /// V⁴ 2^(k−1) steps.
    Mixtures,
    /// The same, for words whose other tokens stay below the largest number that can be proved. log V times as many steps.
    Bounded,
}

impl Strategy {
    /// All, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Ranges, Self::Mixtures, Self::Bounded];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ranges => "ranges",
            Self::Mixtures => "mixtures",
            Self::Bounded => "bounded mixtures",
        }
    }

    /// Multiplications that it takes, about.
    pub fn operations(self, tables: &Tables) -> f64 {
        let [vocab, k, heads] = [tables.vocab, tables.k, tables.heads.len()].map(|size| size as f64);
        let mixtures = heads * vocab.powi(4) * 2_f64.powf(k - 1.0) * k;
        match self {
            Self::Ranges => heads * k * vocab.powi(3),
            Self::Mixtures => mixtures,
            Self::Bounded => mixtures * vocab.log2(),
        }
    }

    /// What it does, for people.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Ranges => "least attention on the largest token, worst values beside it",
            Self::Mixtures => "worst mixture of the other tokens, for each place of the largest",
            Self::Bounded => "the same, for words whose other tokens are small enough",
        }
    }
}

/// What a strategy has proved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proved {
    /// The strategy; `None` if every word was tried.
    pub strategy: Option<Strategy>,
    /// Number of words that are answered rightly, at least; exact to 2⁵³.
    pub words: f64,
    /// Number of all words, V^k.
    pub of: f64,
    /// Multiplications, about.
    pub operations: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// The first words that were found wrong, where every word was tried.
    pub wrong: Vec<Wrong>,
}

/// A word that is answered wrongly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// The tokens. `[k]`
    pub word: Vec<usize>,
    /// The token with the largest logit.
    pub answer: usize,
}

/// Number of wrong words that are kept.
const KEPT: usize = 8;

impl Proved {
    /// The accuracy, at least; rounded down.
    pub fn accuracy(&self) -> f64 {
        let share = self.words / self.of;
        if share < 1.0 { share.next_down().max(0.0) } else { 1.0 }
    }
}

/// Proves as many words as the strategy can.
pub fn prove(tables: &Tables, strategy: Strategy) -> Proved {
    let start = Instant::now();
    let (words, operations) = match strategy {
        Strategy::Ranges => ranges::proved(tables),
        Strategy::Mixtures => pairs::proved(tables, false),
        Strategy::Bounded => pairs::proved(tables, true),
    };
    let of = power(tables.vocab, tables.k);
    Proved {
        strategy: Some(strategy),
        words,
        of,
        operations,
        seconds: start.elapsed().as_secs_f64(),
        wrong: Vec::new(),
    }
}

/// Number of words in a batch of [`try_all`].
const BATCH: usize = 4096;

/// Tries every word with the model itself on its device; `each` is told the share that is done. `flops` is what a word costs.
///
/// # Panics
/// If there are more than [`MOST_WORDS`].
pub fn try_all(
    model: &Model,
    device: &Device,
    [vocab, k]: [usize; 2],
    flops: f64,
    mut each: impl FnMut(f64),
) -> Proved {
    let start = Instant::now();
    let of = power(vocab, k);
    assert!(of <= MOST_WORDS, "{of} words");
    let all = of as usize;
    let (mut right, mut wrong) = (0_usize, Vec::new());
    for first in (0..all).step_by(BATCH) {
        let numbers: Vec<Vec<usize>> = (first..all.min(first + BATCH)).map(|at| word(at, vocab, k)).collect();
        let ids: Vec<i64> = numbers.iter().flatten().filter_map(|token| i64::try_from(*token).ok()).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [numbers.len(), k]), device);
        let answers = model.forward(Input::Tokens(ids)); // [batch, k, vocab]
        let answers = weights::to_host(answers.narrow(1, k - 1, 1));
        for (word, logits) in numbers.iter().zip(answers.chunks_exact(vocab)) {
            if is_right(word, logits) {
                right += 1;
            } else if wrong.len() < KEPT {
                wrong.push(Wrong { word: word.clone(), answer: largest(logits) });
            }
        }
        each((first + numbers.len()) as f64 / of);
    }
    let seconds = start.elapsed().as_secs_f64();
    Proved { strategy: None, words: right as f64, of, operations: flops * of, seconds, wrong }
}

/// The token with the largest logit, the first of several.
fn largest(logits: &[f32]) -> usize {
    let better = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, better)
}

/// Whether no other logit is as large as that of the largest token.
fn is_right(word: &[usize], logits: &[f32]) -> bool {
    let Some(largest) = word.iter().copied().max() else { return false };
    // A logit that is not a number is not below.
    logits.iter().enumerate().all(|(token, logit)| token == largest || *logit < logits[largest])
}

/// Word number `at` in the order of an odometer. `[k]`
fn word(mut at: usize, vocab: usize, k: usize) -> Vec<usize> {
    let digit = |_| {
        let digit = at % vocab;
        at /= vocab;
        digit
    };
    (0..k).map(digit).collect()
}

/// base^exponent
fn power(base: usize, exponent: usize) -> f64 {
    (base as f64).powf(exponent as f64)
}

#[cfg(test)]
mod tests;
