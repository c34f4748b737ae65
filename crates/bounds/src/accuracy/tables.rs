//! What one layer of attention does to words, as tables over tokens and positions.

use headway_plain::{
    function::{Exit, Function},
    network::{Affine, LayerNorm, Linear, Matrix, Row},
};
use thiserror::Error;

/// Why a network has no [`Tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "accuracies are proved of one layer of attention alone whose answer is a linear map of the last position's state; this network {0}"
)]
pub struct NoTables(&'static str);

/// A network of one layer at the last position. With the last token q and tokens `t_j`,
///
/// logits = rate · (own(q) + Σ_h Σ_j `p_hj` `value_h`(j, `t_j`)) + constant,  `p_hj` = `weight_h`(q, j, `t_j`) / Σ_i `weight_h`(q, i, `t_i`),
///
/// where rate is 1, or that of the final norm, which lies between two numbers for all words.
#[derive(Clone, Debug)]
pub struct Tables {
    /// V, number of tokens.
    pub vocab: usize,
    /// k, number of positions.
    pub k: usize,
    /// own(q). `[q, class]`
    pub(super) own: Vec<f64>,
    /// The heads.
    pub(super) heads: Vec<Head>,
    /// The constant. `[class]`
    pub(super) constant: Vec<f64>,
    /// Between which numbers the rate lies.
    rate: [f64; 2],
    /// More than rounding can make of a difference.
    pub(super) slack: f64,
}

/// A head's tables.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// exp(score − the largest score of q). `[q, position, token]`
    weight: Vec<f64>,
    /// What the head adds if it sees this token there alone. `[position, class, token]`
    value: Vec<f64>,
}

/// Rounding of double precision, relative to the largest number of a table: sums have fewer than 10⁵ terms.
const ROUNDING: f64 = 1e-9;

impl Tables {
    /// The tables of a network that reads tokens as vectors with a single 1.
    ///
    /// # Errors
    /// [`NoTables`] with the reason.
    pub fn of(function: &Function) -> Result<Self, NoTables> {
        let [layer] = function.network.layers.as_slice() else {
            return Err(NoTables("has another number of layers"));
        };
        if layer.feed_forward.is_some() {
            return Err(NoTables("has a feed-forward network"));
        }
        let Exit::Rows { norm, pooled: false, map } = &function.exit else {
            return Err(NoTables("reads its answer from more than that"));
        };
        let (Some(enter), None) = (&function.enter, &layer.map) else { return Err(NoTables("maps whole sequences")) };
        let Linear::TokenWise(embedding) = &enter.linear else { return Err(NoTables("maps whole sequences")) };
        let (vocab, k) = (function.d_in, function.seq_len);
        let at = |position: usize| {
            let mut x = embedding.clone();
            x.row_iter_mut().for_each(|mut row| row += enter.constant.row(position));
            x // [vocab, d_model]
        };
        let normed = |x: &Matrix| layer.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(x));
        let readout = Readout { norm: norm.as_ref(), map };
        let last = at(k - 1);
        let mut own = if layer.skip { last.clone() } else { Matrix::zeros(vocab, layer.bias.len()) };
        own.row_iter_mut().for_each(|mut row| row += &layer.bias);
        let mut size = readout.size(&own);
        let mut heads = Vec::new();
        for head in &layer.heads {
            let queries = head.query.forward(&normed(&last)); // [vocab, d_head]
            let (mut scores, mut value) = (vec![0.0; vocab * k * vocab], vec![0.0; k * vocab * vocab]);
            let mut largest = 0.0_f64;
            for position in 0..k {
                let y = normed(&at(position));
                let product = &queries * head.key.forward(&y).transpose() * head.scale; // [query, token]
                let added = head.value.forward(&y) * &head.output; // [token, d_model]
                largest = largest.max(readout.size(&added));
                let logits = readout.linear(&added); // [token, class]
                for a in 0..vocab {
                    for b in 0..vocab {
                        scores[(a * k + position) * vocab + b] = product[(a, b)];
                        value[(position * vocab + a) * vocab + b] = logits[(b, a)];
                    }
                }
            }
            size += largest;
            for scores in scores.chunks_exact_mut(k * vocab) {
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                for score in scores {
                    *score = (*score - most).exp();
                }
            }
            heads.push(Head { weight: scores, value });
        }
        let rate = readout.rate(size);
        let own: Vec<f64> = by_rows(&readout.linear(&own));
        let constant = readout.constant();
        let most = |values: &[f64]| values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let largest = most(&own) + heads.iter().map(|head| most(&head.value)).sum::<f64>();
        let slack = ROUNDING * (rate[1].min(1e6) * largest + most(&constant) + f64::MIN_POSITIVE);
        Ok(Self { vocab, k, own, heads, constant, rate, slack })
    }

    /// Whether rate · linear + constant is certainly negative, `linear` being an upper bound.
    pub(super) fn is_behind(&self, linear: f64, constant: f64) -> bool {
        let rate = if linear < 0.0 { self.rate[0] } else { self.rate[1] };
        // NaN is not below.
        rate * linear + constant < -self.slack
    }

    /// own(q) for a wrong class less that for the right one.
    pub(super) fn own(&self, q: usize, wrong: usize, right: usize) -> f64 {
        self.own[q * self.vocab + wrong] - self.own[q * self.vocab + right]
    }
}

impl Tables {
    /// Weights of the tokens at a position, for the last token q. `[token]`
    pub(super) fn weights<'a>(&self, head: &'a Head, q: usize, position: usize) -> &'a [f64] {
        &head.weight[(q * self.k + position) * self.vocab..][..self.vocab]
    }

    /// What tokens at a position add to a class. `[token]`
    pub(super) fn values<'a>(&self, head: &'a Head, position: usize, class: usize) -> &'a [f64] {
        &head.value[(position * self.vocab + class) * self.vocab..][..self.vocab]
    }
}

/// The final norm and the head.
struct Readout<'a> {
    norm: Option<&'a LayerNorm>,
    map: &'a Affine,
}

impl Readout<'_> {
    /// What is divided by its length.
    fn centred(&self, x: &Matrix) -> Matrix {
        let mut x = x.clone();
        if self.norm.is_some_and(|norm| norm.centres) {
            x.row_iter_mut().for_each(|mut row| row.add_scalar_mut(-row.mean()));
        }
        x
    }

    /// The linear part of the logits, without the norm's rate. `[rows, d_model]` -> `[rows, class]`
    fn linear(&self, x: &Matrix) -> Matrix {
        let mut x = self.centred(x);
        if let Some(norm) = self.norm {
            x.row_iter_mut().for_each(|mut row| row.component_mul_assign(&norm.gain));
        }
        x * &self.map.weight
    }

    /// The largest length of a row that is divided by it.
    fn size(&self, x: &Matrix) -> f64 {
        self.centred(x).row_iter().fold(0.0, |most, row| most.max(row.norm()))
    }

    /// Between which numbers 1/sqrt(var + ε) lies if no state is longer than `size`.
    fn rate(&self, size: f64) -> [f64; 2] {
        let Some(norm) = self.norm else { return [1.0; 2] };
        let variance = size * size / norm.gain.len() as f64;
        [(1.0 - ROUNDING) / (variance + norm.epsilon).sqrt(), (1.0 + ROUNDING) / norm.epsilon.sqrt()]
    }

    /// What does not depend on the word. `[class]`
    fn constant(&self) -> Vec<f64> {
        let by_norm = self.norm.map_or_else(|| Row::zeros(self.map.bias.len()), |norm| &norm.bias * &self.map.weight);
        (by_norm + &self.map.bias).iter().copied().collect()
    }
}

/// The numbers row by row.
fn by_rows(matrix: &Matrix) -> Vec<f64> {
    matrix.transpose().as_slice().to_vec()
}
