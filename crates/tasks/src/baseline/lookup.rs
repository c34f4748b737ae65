//! Looking up a token's earlier occurrence in the sequence.

use std::{collections::HashMap, ops::Range};

use super::{Baseline, by_sequence, chance::equal_logits};
use crate::batch::Batch;

/// Predicts, with certainty, the token that followed the first occurrence of the current token;
/// [`Chance`](super::chance::Chance) if the current token is new. Exact if a key's first occurrence is followed by its
/// value.
pub struct Lookup {
    /// Classes that can be a target.
    pub possible: Range<usize>,
}

impl Baseline for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        by_sequence(batch, |tokens| self.answers(tokens, batch.dims.d_out))
    }
}

impl Lookup {
    /// Logits at every position of a sequence. `[seq_len, d_out]`
    fn answers(&self, tokens: &[u32], d_out: usize) -> Vec<f32> {
        let mut followers = HashMap::new();
        let answer = |position: usize| {
            if position > 0 {
                followers.entry(tokens[position - 1]).or_insert(tokens[position]);
            }
            match followers.get(&tokens[position]) {
                Some(&follower) => equal_logits(d_out, |class| class == follower as usize),
                None => equal_logits(d_out, |class| self.possible.contains(&class)),
            }
        };
        (0..tokens.len()).flat_map(answer).collect()
    }
}
