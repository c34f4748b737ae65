//! Reading the state: z = w · x of a row, by softmax at small scores.
//!
//! A row asks w and −w with δ' x, with four empty rows beside them: (3/δ') sinh(δ' z)/(2 + cosh(δ' z)) = z up to δ'⁴ |z|⁵/180. Without the
//! empty rows z would be off by the order δ'² |z|³. The query does so at the end, and every example where a step needs its prediction.

use headway_plain::network::{Head, InputMap};

use super::InContextGd;
use crate::{
    interpolation::F32_ROUNDOFF,
    network::Layer,
    places::{GAP, carrying, keeping, layer_size, mark_apart},
    space::Space,
};

/// Number of empty rows beside the two of the state.
const NOTHING: usize = 4;
/// Roundings of 1: three of each sixth, plus the eight of its two weights.
pub(super) const ROUNDINGS: f64 = 12.0;

/// The δ' that makes the error of |z| ≤ `reach` and the roundings of 1/δ' together smallest.
pub(in crate::construct) fn scale(reach: f64) -> f64 {
    (ROUNDINGS * F32_ROUNDOFF * 45.0 / reach.powi(5)).powf(0.2)
}

/// How far z is off at scale δ', for |z| ≤ `reach`.
pub(in crate::construct) fn error(scale: f64, reach: f64) -> f64 {
    scale.powi(4) * reach.powi(5) / 180.0
}

/// The head for columns x, w and sign of a space; the first of its `d_key` numbers are x and w.
fn head(z: &Space, d: usize, d_key: usize, scale: f64, (to, d_out): (usize, usize)) -> Head {
    let mut head = Head::zeros(z.width(), d_key, 1, d_out);
    for j in 0..d {
        head.query.weight[(z.nth("x", j), j)] = scale;
        head.key.weight[(z.nth("w", j), j)] = 1.0;
    }
    head.value.weight[(z.at("sign"), 0)] = 1.0;
    head.output[(0, to)] = 3.0 / scale;
    head
}

/// Marks the states, which are the last two rows of data.
fn mark_states(map: &mut InputMap, z: &Space, rows: usize) {
    map.constant[(rows - 2, z.at("sign"))] = 1.0;
    map.constant[(rows - 1, z.at("sign"))] = -1.0;
}

fn last_space(d: usize) -> Space {
    Space::new(&[("x", d), ("w", d), ("sign", 1)])
}

/// The last layer: the query attends to w, −w and empty rows alone.
pub(super) fn last_layer(gd: &InContextGd, rows: usize, scale: f64, from: &Space) -> Layer {
    let z = last_space(gd.d);
    let mut map = keeping(from, &z, &["x", "w"], rows + NOTHING);
    mark_states(&mut map, &z, rows);
    let head = head(&z, gd.d, gd.d, scale, (0, 1));
    Layer { space: z, map: InputMap { queries: gd.points + 1, keys: 2 + NOTHING, ..map }, heads: vec![head] }
}

/// Number of parameters of [`last_layer`].
pub(super) fn last_parameters(d: usize, rows: usize) -> f64 {
    layer_size(2 * d + 1, [rows + NOTHING, last_space(d).width(), 1], &[[1, d, 1]])
}

fn space(d: usize) -> Space {
    let numbers = [("x", d), ("y", 1), ("w", d), ("sign", 1), ("silent", 1)];
    Space::new(&[numbers.as_slice(), &[("one", 1), ("place", 1), ("square", 1)]].concat())
}

/// Space of predictions.
pub(super) fn predicted(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("w", d), ("z", 1)])
}

/// A layer that puts z of every row beside x, y and w; all other rows are silent.
pub(super) fn prediction_layer(d: usize, rows: usize, scale: f64, from: &Space, names: &[&str]) -> Layer {
    let (z, out) = (space(d), predicted(d));
    let mut map = keeping(from, &z, names, rows + NOTHING);
    mark_apart(&mut map, &z, rows);
    for row in 0..rows - 2 {
        map.constant[(row, z.at("silent"))] = 1.0;
    }
    mark_states(&mut map, &z, rows);
    let mut head = head(&z, d, d + 1, scale, (out.at("z"), out.width()));
    head.query.weight[(z.at("one"), d)] = -2.0 * GAP;
    head.key.weight[(z.at("silent"), d)] = 1.0;
    let carry = carrying(&z, &out, "place", &["x", "y", "w"], 1.0);
    Layer { space: z, map: InputMap { queries: rows, ..map }, heads: vec![carry, head] }
}

/// Number of parameters of [`prediction_layer`].
pub(super) fn prediction_parameters(d: usize, rows: usize, d_in: usize) -> f64 {
    layer_size(d_in, [rows + NOTHING, space(d).width(), 2 * d + 2], &[[1, 2, 2 * d + 1], [1, d + 1, 1]])
}
