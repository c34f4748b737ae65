//! Looking up the tokens on both sides.

use std::sync::{Arc, OnceLock};

use super::Baseline;
use crate::batch::Batch;

/// Largest number of tokens on each side.
const REACH: usize = 5;
/// Number of places of the training texts by which priors are chosen, at most.
const PLACES: usize = 20_000;

/// A hidden token given the 0 to 5 tokens on each side of it, n(h, w) being how often w stood between them, h, in the
/// training texts:
///
/// ```text
/// p_k(w) = (n(h_k, w) + a_k p_(k-1)(w)) / (n(h_k) + a_k)
/// ```
///
/// p_0 is how frequent w is. Where the texts never had these k tokens, or fewer than k known ones stand on some side, p_(k-1)
/// remains. The priors a_1 … a_5 are those that predict the training texts best, each place from all others.
///
/// Where a token was replaced or kept rather than masked, what stands there is evidence too, and is used by Bayes' rule.
///
/// # References
/// MacKay and Peto 1995, Natural Language Engineering 1 (3), for the priors.
pub struct Neighbours {
    name: &'static str,
    /// Number of tokens on each side.
    reach: usize,
    texts: Arc<Vec<Vec<u32>>>,
    hidden: Hidden,
    /// Shared by all reaches, and counted when the first of them is fitted.
    counts: Arc<OnceLock<Counts>>,
}

/// Which tokens can be hidden, and what stands there then.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// Tokens that can be hidden, ascending. Others, and those at or above 32, are no neighbours either.
    pub possible: Arc<[u32]>,
    /// The token that hides others.
    pub mask: u32,
    /// Probability of a random possible token there.
    pub random: f64,
    /// Probability that the token stays.
    pub kept: f64,
}

impl Neighbours {
    /// The frequencies alone under one name, and five neighbours on each side under another.
    pub fn none_and_all(
        names: [&'static str; 2],
        texts: &Arc<Vec<Vec<u32>>>,
        hidden: &Hidden,
    ) -> Vec<Box<dyn Baseline>> {
        let counts = Arc::new(OnceLock::new());
        let of = |(name, reach)| -> Box<dyn Baseline> {
            Box::new(Self { name, reach, texts: texts.clone(), hidden: hidden.clone(), counts: counts.clone() })
        };
        names.into_iter().zip([0, REACH]).map(of).collect()
    }
}

impl Baseline for Neighbours {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Counts the whole training texts, of which the examples are parts.
    fn fit(&mut self, _: &Batch) {
        self.counts.get_or_init(|| Counts::of(&self.texts, &self.hidden.possible));
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let counts = self.counts.get().unwrap_or_else(|| panic!("{} is fitted before it predicts", self.name));
        let (seq_len, d_out) = (batch.dims.seq_len, batch.dims.d_out);
        let Hidden { possible, mask, random, kept } = &self.hidden;
        let mut predictions = vec![0.0; batch.loss_mask.len() * d_out];
        for (row, logits) in predictions.chunks_exact_mut(d_out).enumerate().filter(|(row, _)| batch.loss_mask[*row]) {
            let (example, at) = (row / seq_len, row % seq_len);
            let tokens = &batch.inputs.tokens()[example * seq_len..][..seq_len];
            let mut p = counts.distribution(tokens, at, self.reach);
            if tokens[at] != *mask {
                let even = random / possible.len() as f64;
                p.iter_mut().zip(&**possible).for_each(|(p, token)| {
                    *p *= even + if *token == tokens[at] { *kept } else { 0.0 };
                });
            }
            logits.fill(IMPOSSIBLE);
            let total: f64 = p.iter().sum();
            for (p, token) in p.iter().zip(&**possible) {
                logits[*token as usize] = ((p / total).ln() as f32).max(IMPOSSIBLE);
            }
        }
        predictions
    }
}

/// Logit of a token that cannot be hidden.
const IMPOSSIBLE: f32 = -30.0;

/// What stood between which neighbours.
struct Counts {
    possible: Arc<[u32]>,
    /// For each number of neighbours, one number for each place of the texts, of its neighbours and its token, ascending.
    places: [Vec<u64>; REACH + 1],
    /// Probabilities of the possible tokens by how frequent they are.
    frequencies: Vec<f64>,
    /// The prior of each number of neighbours; of 0 it is one count for each possible token.
    priors: [f64; REACH + 1],
}

/// The k tokens on each side of a place as one number; `None` if some of them are not there, or not known.
fn neighbours(tokens: &[u32], at: usize, k: usize, possible: &[u32]) -> Option<u64> {
    let (before, after) = (tokens.get(at.checked_sub(k)?..at)?, tokens.get(at + 1..=at + k)?);
    before.iter().chain(after).try_fold(0, |key, token| {
        possible.binary_search(token).is_ok().then_some(key << TOKEN_BITS | u64::from(*token))
    })
}

/// Bits of a token, so that eleven of them are one number.
const TOKEN_BITS: u32 = 5;

impl Counts {
    fn of(texts: &[Vec<u32>], possible: &Arc<[u32]>) -> Self {
        let mut places: [Vec<u64>; REACH + 1] = Default::default();
        let known = || {
            let of = |text| (0..Vec::len(text)).map(move |at| (text, at));
            texts.iter().flat_map(of).filter(|(text, at)| possible.binary_search(&text[*at]).is_ok())
        };
        for (text, at) in known() {
            for (k, places) in places.iter_mut().enumerate() {
                let Some(key) = neighbours(text, at, k, possible) else { break };
                places.push(key << TOKEN_BITS | u64::from(text[at]));
            }
        }
        for places in &mut places {
            places.sort_unstable();
        }
        let every = places[0].len().div_ceil(PLACES).max(1);
        let mut counts = Self { possible: possible.clone(), places, frequencies: Vec::new(), priors: [0.0; REACH + 1] };
        let chosen: Vec<Vec<[f64; 2]>> = known().step_by(every).map(|(text, at)| counts.without(text, at)).collect();
        counts.priors = priors(&chosen, possible.len() as f64);
        counts.frequencies = vec![1.0 / possible.len() as f64; possible.len()];
        counts.frequencies = counts.sharpened(0, 0, counts.frequencies.clone()).unwrap_or(counts.frequencies);
        counts
    }

    /// The tokens that stood between some neighbours, ascending.
    fn between(&self, k: usize, key: u64) -> &[u64] {
        let from = |key: u64| self.places[k].partition_point(|place| *place < key << TOKEN_BITS);
        &self.places[k][from(key)..from(key + 1)]
    }

    /// For each number of neighbours, how often the token of a place and how often any token stood between its
    /// neighbours elsewhere.
    fn without(&self, tokens: &[u32], at: usize) -> Vec<[f64; 2]> {
        let keys = (0..=REACH).map_while(|k| Some((k, neighbours(tokens, at, k, &self.possible)?)));
        keys.map(|(k, key)| {
            let all = self.between(k, key);
            [count(all, tokens[at]) - 1, all.len() - 1].map(|n| n as f64)
        })
        .collect()
    }

    /// Probabilities of the possible tokens between some neighbours, from those by fewer; `None` where nothing stood between
    /// them.
    fn sharpened(&self, k: usize, key: u64, mut p: Vec<f64>) -> Option<Vec<f64>> {
        let all = self.between(k, key);
        for (p, token) in p.iter_mut().zip(&*self.possible) {
            *p = (count(all, *token) as f64 + self.priors[k] * *p) / (all.len() as f64 + self.priors[k]);
        }
        (!all.is_empty()).then_some(p)
    }

    /// Probabilities of the possible tokens.
    fn distribution(&self, tokens: &[u32], at: usize, reach: usize) -> Vec<f64> {
        let mut p = self.frequencies.clone();
        for k in 1..=reach {
            let key = neighbours(tokens, at, k, &self.possible);
            let Some(sharper) = key.and_then(|key| self.sharpened(k, key, p.clone())) else { break };
            p = sharper;
        }
        p
    }
}

/// How often a token is among those that stood between the same neighbours.
fn count(between: &[u64], token: u32) -> usize {
    let before = |token: u32| between.partition_point(|place| place & ((1 << TOKEN_BITS) - 1) < u64::from(token));
    before(token + 1) - before(token)
}

/// The priors that give places the largest probability, each from all others: one after the other, twice.
fn priors(places: &[Vec<[f64; 2]>], possible: f64) -> [f64; REACH + 1] {
    let nats = |priors: &[f64; REACH + 1]| -> f64 {
        let of = |place: &Vec<[f64; 2]>| {
            let p = place
                .iter()
                .zip(priors)
                .fold(1.0 / possible, |p, ([own, all], prior)| (own + prior * p) / (all + prior));
            -p.ln()
        };
        places.iter().map(of).sum()
    };
    let mut best = [1.0; REACH + 1];
    best[0] = possible;
    for k in (1..=REACH).chain(1..=REACH) {
        // From 1/8 to 4,096.
        let trials = (-3..=12).map(|power| {
            let mut trial = best;
            trial[k] = f64::from(power).exp2();
            trial
        });
        best = trials.min_by(|a, b| nats(a).total_cmp(&nats(b))).unwrap_or(best);
    }
    best
}
