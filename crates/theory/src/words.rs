//! Words: inputs that are one symbol out of a few at every position, so many that all can be tried.

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// All words of a length. A position holds a 1 for its symbol, and 0 for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Number of positions.
    pub seq_len: usize,
    /// The symbols.
    pub alphabet: Vec<String>,
}

impl Words {
    /// How many there are, symbols^positions; infinite if that is beyond double precision.
    pub fn count(&self) -> f64 {
        (self.alphabet.len() as f64).powf(self.seq_len as f64)
    }

    /// Word `index`, counted with the last position changing first. `[seq_len · symbols]`
    pub fn nth(&self, index: usize) -> Vec<f64> {
        let (mut rest, symbols) = (index, self.alphabet.len());
        let mut word = vec![0; self.seq_len];
        for symbol in word.iter_mut().rev() {
            *symbol = rest % symbols;
            rest /= symbols;
        }
        self.written(&word)
    }

    /// A uniform word.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let word: Vec<usize> = (0..self.seq_len).map(|_| rng.random_range(0..self.alphabet.len())).collect();
        self.written(&word)
    }

    /// The symbols of an input: the largest number of each position says which.
    pub fn read(&self, x: &[f64]) -> Vec<usize> {
        let largest = |position: &[f64]| {
            let first = (0, f64::NEG_INFINITY);
            let best =
                position.iter().enumerate().fold(first, |best, (at, x)| if *x > best.1 { (at, *x) } else { best });
            best.0
        };
        x.chunks(self.alphabet.len()).map(largest).collect()
    }

    /// The input that is a word.
    pub fn written(&self, word: &[usize]) -> Vec<f64> {
        let mut x = vec![0.0; self.seq_len * self.alphabet.len()];
        for (at, symbol) in word.iter().enumerate() {
            x[at * self.alphabet.len() + symbol] = 1.0;
        }
        x
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq_len, alphabet } = self;
        write!(f, "the {} words of {seq_len} positions over {}", self.count(), alphabet.join(" "))
    }
}

/// How many words were tried, of how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Number of words on which the network was run, in float32 and in double precision.
    pub words: usize,
    /// Number of words that there are.
    pub of: f64,
    /// Whether these are all: then the largest error found is the largest error.
    pub all: bool,
    /// By how much every output number was nearer to its integer than to the border with the next one, in float32.
    pub margin: f64,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, of, all, margin } = self;
        if *all {
            write!(f, "all {words} words, in float32 and float64: ")?;
        } else {
            write!(f, "{words} of {of:.3e} words, drawn: ")?;
        }
        if *margin > 0.0 {
            write!(f, "every answer right, by a margin of {margin:.7} of 1/2")?;
        } else {
            f.write_str("not every answer is right")?;
        }
        if *all { Ok(()) } else { f.write_str("; by itself this proves nothing") }
    }
}
