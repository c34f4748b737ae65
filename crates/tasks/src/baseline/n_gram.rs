//! N-grams of tokens with Witten–Bell smoothing.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::Baseline;
use crate::batch::{Batch, LARGEST_VOCABULARY};

/// Name in result tables of each order, from 0.
const NAMES: [&str; 6] = ["n_gram_0", "n_gram_1", "n_gram_2", "n_gram_3", "n_gram_4", "n_gram_5"];

/// The next token given the last `order` tokens h, counted in a whole training text:
///
/// ```text
/// p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))
/// ```
///
/// with c the number of occurrences, t(h) the number of different tokens that follow h, and h' the context h without
/// its oldest token; below order 0 all tokens are equally likely. A context that never occurred leaves p(w | h'), and
/// so does the beginning of a sequence. It sees no more of a sequence than a causal network does.
///
/// # References
/// Witten and Bell 1991, IEEE Transactions on Information Theory 37 (4), method C, interpolated.
pub struct NGram {
    order: usize,
    texts: Arc<Vec<Vec<u32>>>,
    /// Shared by all orders, and counted when the first of them is fitted.
    counts: Arc<OnceLock<Counts>>,
}

impl NGram {
    /// One predictor for each order from 0 to 5, for texts of tokens; contexts do not cross from one text to the next.
    pub fn every_order(texts: &Arc<Vec<Vec<u32>>>) -> Vec<Box<dyn Baseline>> {
        let counts = Arc::new(OnceLock::new());
        let of =
            |order| -> Box<dyn Baseline> { Box::new(Self { order, texts: texts.clone(), counts: counts.clone() }) };
        (0..NAMES.len()).map(of).collect()
    }
}

impl Baseline for NGram {
    fn name(&self) -> &'static str {
        NAMES[self.order]
    }

    /// Counts the whole training text, of which the examples are parts.
    fn fit(&mut self, _: &Batch) {
        self.counts.get_or_init(|| Counts::of(&self.texts));
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let counts = self.counts.get().unwrap_or_else(|| panic!("{} is fitted before it predicts", self.name()));
        let (seq_len, d_out) = (batch.dims.seq_len, batch.dims.d_out);
        let (mut predictions, mut p) = (Vec::with_capacity(batch.size * seq_len * d_out), vec![0.0; d_out]);
        for tokens in batch.inputs.tokens().chunks_exact(seq_len) {
            for position in 0..seq_len {
                counts.distribution(&tokens[..=position], self.order, &mut p);
                predictions.extend(p.iter().map(|p| p.ln() as f32));
            }
        }
        predictions
    }
}

/// For each length of a context, what followed each context.
struct Counts([HashMap<u128, Followers>; NAMES.len()]);

/// How often which tokens followed a context.
#[derive(Default)]
struct Followers {
    total: u32,
    /// Ascending by token.
    each: Vec<(u32, u32)>,
}

impl Counts {
    fn of(texts: &[Vec<u32>]) -> Self {
        let mut counts: [HashMap<u128, Followers>; NAMES.len()] = Default::default();
        for text in texts {
            for (length, of_length) in counts.iter_mut().enumerate() {
                for window in text.windows(length + 1) {
                    let (context, next) = (&window[..length], window[length]);
                    let followers = of_length.entry(key(context)).or_default();
                    followers.total = followers.total.saturating_add(1);
                    match followers.each.binary_search_by_key(&next, |(token, _)| *token) {
                        Ok(at) => followers.each[at].1 = followers.each[at].1.saturating_add(1),
                        Err(at) => followers.each.insert(at, (next, 1)),
                    }
                }
            }
        }
        Self(counts)
    }

    /// The distribution of the token after `tokens`. `[d_out]`
    fn distribution(&self, tokens: &[u32], order: usize, p: &mut [f64]) {
        p.fill(1.0 / p.len() as f64);
        for length in 0..=order.min(tokens.len()) {
            let context = &tokens[tokens.len() - length..];
            let Some(followers) = self.0[length].get(&key(context)) else { return };
            let different = followers.each.len() as f64;
            let all = f64::from(followers.total) + different;
            for p in p.iter_mut() {
                *p *= different / all;
            }
            for (token, count) in &followers.each {
                p[*token as usize] += f64::from(*count) / all;
            }
        }
    }
}

/// A context of at most five tokens as one number.
fn key(context: &[u32]) -> u128 {
    context.iter().fold(0, |key, token| key * LARGEST_VOCABULARY as u128 + u128::from(*token))
}
