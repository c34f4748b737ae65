//! Rows that know their places: how a stack without skip connections hands numbers from layer to layer.
//!
//! Every row holds its place p and p². A query for the place t gives the row at p the score −60 (t − p)² up to a term that all
//! scores of the row share, so that at integer places the row at t gets all attention but e⁻⁶⁰, and its values are copied as they
//! are.

use headway_plain::network::{Head, InputMap};

use crate::space::Space;

/// Lead in score of the row that is attended to over all others, e⁻⁶⁰ = 9e-27.
pub(crate) const GAP: f64 = 60.0;

/// A token-wise map that keeps the columns that both spaces have under the same name.
pub(crate) fn keeping(from: &Space, to: &Space, names: &[&str], rows: usize) -> InputMap {
    let mut map = InputMap::token_wise(from.width(), rows, to.width());
    let weight = map.linear.weight_mut();
    for name in names {
        for (from, to) in from.part(name).zip(to.part(name)) {
            weight[(from, to)] = 1.0;
        }
    }
    map
}

/// Gives every row its place, counted from the middle, and the square of it.
pub(crate) fn mark_places(map: &mut InputMap, z: &Space, places: &[f64]) {
    for (row, place) in places.iter().enumerate() {
        map.constant[(row, z.at("one"))] = 1.0;
        map.constant[(row, z.at("place"))] = *place;
        map.constant[(row, z.at("square"))] = place * place;
    }
}

/// Marks rows by their places, and all beyond them by one place more, at which nobody looks.
pub(crate) fn mark_apart(map: &mut InputMap, z: &Space, rows: usize) {
    let known = places(rows + 1);
    mark_places(map, z, &(0..map.constant.nrows()).map(|row| known[row.min(rows)]).collect::<Vec<_>>());
}

/// Places 0, 1, …, shifted so that their middle is 0.
pub(crate) fn places(rows: usize) -> Vec<f64> {
    (0..rows).map(|row| row as f64 - (rows as f64 - 1.0) / 2.0).collect()
}

/// A head with which every row copies the columns `names`, times `sign`, from the row whose place is in its column
/// `target`: scores are −60 (target − place)², up to a term that all scores of a row share.
pub(crate) fn carrying(z: &Space, out: &Space, target: &str, names: &[&str], sign: f64) -> Head {
    let width = names.iter().map(|name| z.part(name).len()).sum();
    let mut head = Head::zeros(z.width(), 2, width, out.width());
    head.query.weight[(z.at(target), 0)] = 2.0 * GAP;
    by_square(&mut head, z);
    let columns = names.iter().flat_map(|name| z.part(name).zip(out.part(name)));
    for (at, (from, to)) in columns.enumerate() {
        head.value.weight[(from, at)] = 1.0;
        head.output[(at, to)] = sign;
    }
    head
}

/// Keys of a head that asks for a place t by its first query, 120 t: the score of the row at p is −60 (t − p)², up to a term that all
/// scores of a row share.
pub(crate) fn by_square(head: &mut Head, z: &Space) {
    head.query.weight[(z.at("one"), 1)] = GAP;
    head.key.weight[(z.at("place"), 0)] = 1.0;
    head.key.weight[(z.at("square"), 1)] = -1.0;
}

/// Keys of a gate, whose first query is a score s: s at the position itself, s − 60 (p − q)² at the position with place q, and 0 at an
/// empty row, all of whose columns are 0. Keys have four columns.
pub(crate) fn gated(head: &mut Head, z: &Space) {
    head.key.weight[(z.at("one"), 0)] = 1.0;
    head.query.weight[(z.at("place"), 1)] = 2.0 * GAP;
    head.key.weight[(z.at("place"), 1)] = 1.0;
    head.query.weight[(z.at("one"), 2)] = GAP;
    head.key.weight[(z.at("square"), 2)] = -1.0;
    head.query.weight[(z.at("square"), 3)] = -GAP;
    head.key.weight[(z.at("one"), 3)] = 1.0;
}

/// Number of parameters of a token-wise layer that reads `d_in` numbers per row; heads are given as count, d_key and
/// d_value.
pub(crate) fn layer_size(d_in: usize, [rows, width, d_out]: [usize; 3], heads: &[[usize; 3]]) -> f64 {
    let heads = heads.iter().map(|[count, d_key, d_value]| count * (width * (2 * d_key + d_value) + d_value * d_out));
    (d_in * width + rows * width + heads.sum::<usize>()) as f64
}
