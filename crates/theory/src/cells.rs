//! Softmax over affine scores: one head that maps x to the value of the cell with the largest score a_k · w + b_k,
//! smoothed by softmax.
//!
//! Rows have the columns (w, one, slope, offset, value): a token's query is σ (w, 1) with w = (x − m)/h, and a cell's
//! key is its slope and offset. Cells around v_k have the slope 2 v_k and the offset −|v_k|², so that scores are −σ |w
//! − v_k|² up to a term that all cells share. If the v_k are multiples of one half, both are exact in float32; so is
//! the factor by which attention divides scores, because the width of keys is padded with zeros to a power of four.

use headway_plain::{
    Readout,
    network::{Head, InputMap, Matrix},
};

use crate::{
    interpolation::F32_ROUNDOFF,
    network::{Layer, Network},
    space::Space,
};

/// Which rows the tokens attend to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// To all rows of the layer; each of its max(n, K) rows is a token, a cell, or both.
    #[default]
    SelfAttention,
    /// To K further rows after the n tokens.
    CrossAttention,
}

/// Parameters of the head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cells {
    /// m. `[d_in]`
    pub centre: Vec<f64>,
    /// h.
    pub spacing: f64,
    /// σ.
    pub sharpness: f64,
    /// a, a row per cell. `[K][d_in]`
    pub slopes: Vec<Vec<f64>>,
    /// b. `[K]`
    pub offsets: Vec<f64>,
    /// Value of each cell. `[K][d_out]`
    pub values: Vec<Vec<f64>>,
    /// Score of rows that are not cells: below every token's best cell by 60, so that they get a weight below e⁻⁶⁰.
    pub nobody: f64,
}

/// Number of rows of the layer.
pub(crate) fn rows(seq_len: usize, cells: usize, attention: Attention) -> usize {
    match attention {
        Attention::SelfAttention => seq_len.max(cells),
        Attention::CrossAttention => seq_len + cells,
    }
}

/// The smallest power of four that is at least d + 1: attention divides scores by its square root, which is then exact.
pub(crate) fn key_width(d: usize) -> usize {
    std::iter::successors(Some(1), |width| Some(width * 4)).find(|width| *width > d).unwrap_or(d + 1)
}

/// Number of parameters of the network.
pub(crate) fn parameters(seq_len: usize, d_in: usize, d_out: usize, cells: usize, attention: Attention) -> f64 {
    let (rows, width) = (rows(seq_len, cells, attention) as f64, (2 * d_in + 2 + d_out) as f64);
    let (d_in, d_key, d_out) = (d_in as f64, key_width(d_in) as f64, d_out as f64);
    width * (d_in + rows + 2.0 * d_key + d_out) + d_out * d_out
}

/// Number of keys per axis whose weight, at sharpness c, exceeds e⁻¹⁷ of the largest; all others are below one
/// rounding.
pub(crate) fn felt(sharpness: f64) -> f64 {
    2.0 * (17.0 / sharpness).sqrt().ceil() + 1.0
}

/// Rounding error of values, of their weighted sum over `keys` keys, and of the sum that weights are divided by.
pub(crate) fn value_noise(keys: f64, largest: f64) -> f64 {
    (2.0 * keys + 8.0) * F32_ROUNDOFF * largest
}

/// How far noise γ in the scores can move Σ P_k V_k: at most Σ P_k |V_k − mean| (e^{2γ} − 1)/2, which is zero if all
/// values are equal.
pub(crate) fn moved(spread: f64, noise: f64) -> f64 {
    if spread > 0.0 { spread * (2.0 * noise).exp_m1() / 2.0 } else { 0.0 }
}

impl Cells {
    pub(crate) fn network(&self, seq_len: usize, attention: Attention) -> Network {
        let (d, d_out) = (self.centre.len(), self.values[0].len());
        let (rows, count) = (rows(seq_len, self.slopes.len(), attention), self.slopes.len());
        let z = Space::new(&[("w", d), ("one", 1), ("slope", d), ("offset", 1), ("value", d_out)]);
        let mut map = InputMap::token_wise(d, rows, z.width());
        let weight = map.linear.weight_mut();
        (0..d).for_each(|j| weight[(j, z.nth("w", j))] = 1.0 / self.spacing);
        let constant = &mut map.constant;
        for i in 0..seq_len {
            for (j, m) in self.centre.iter().enumerate() {
                constant[(i, z.nth("w", j))] = -m / self.spacing;
            }
            constant[(i, z.at("one"))] = 1.0;
        }
        let first = match attention {
            Attention::SelfAttention => {
                // Tokens after the last cell are keys too; this score keeps every query from attending to them.
                (count..rows).for_each(|row| constant[(row, z.at("offset"))] = self.nobody);
                0
            }
            Attention::CrossAttention => seq_len,
        };
        for k in 0..count {
            let row = first + k;
            (0..d).for_each(|j| constant[(row, z.nth("slope", j))] = self.slopes[k][j]);
            constant[(row, z.at("offset"))] = self.offsets[k];
            (0..d_out).for_each(|o| constant[(row, z.nth("value", o))] = self.values[k][o]);
        }
        let mut head = Head::zeros(z.width(), key_width(d), d_out, d_out);
        for j in 0..d {
            head.query.weight[(z.nth("w", j), j)] = self.sharpness;
            head.key.weight[(z.nth("slope", j), j)] = 1.0;
        }
        head.query.weight[(z.at("one"), d)] = self.sharpness;
        head.key.weight[(z.at("offset"), d)] = 1.0;
        (0..d_out).for_each(|o| head.value.weight[(z.nth("value", o), o)] = 1.0);
        head.output = Matrix::identity(d_out, d_out);
        let keys = if attention == Attention::SelfAttention { rows } else { count };
        let layer = Layer { space: z, map: InputMap { queries: seq_len, keys, ..map }, heads: vec![head] };
        Network { seq_len, d_in: d, d_out, layers: vec![layer], readout: Readout::Rows, causal: false }
    }
}

/// The tokens cut into sequences; the last token is repeated to fill the last sequence.
pub(crate) fn sequences(tokens: &[Vec<f64>], seq_len: usize) -> Vec<Vec<f64>> {
    let chunk =
        |chunk: &[Vec<f64>]| (0..seq_len).flat_map(|i| chunk[i.min(chunk.len() - 1)].clone()).collect::<Vec<f64>>();
    tokens.chunks(seq_len).map(chunk).collect()
}
