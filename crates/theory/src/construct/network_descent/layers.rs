//! The layers: mirror images of the units, two for every step, and the answer.
//!
//! | layer | heads beside the one that carries | what it does |
//! |---|---|---|
//! | mirror | 1 | a row (−w_j, −a_j) for every unit |
//! | hidden | r | h_j = tanh(w_j · x), g_j = 1 − h_j², and f = Σ_j a_j h_j of every row |
//! | descent | 16 r + 4 | w_j −= η mean of a_j e g_j x, a_j −= η mean of e h_j, e = f − y |
//! | answer | r | f of the query |
//!
//! *Hidden.* Head j has scores 2 w_j · x to the unit, −2 w_j · x to its mirror image and ln 2 to an empty row, whose weights are e^(2z), e^(−2z) and 2 over (e^z +
//! e^(−z))². Values ±1 give tanh z, ± a_j give a_j tanh z, and 2 for the empty row gives 1 − tanh² z.
//!
//! *Descent.* Beside an empty row of weight K = e²⁰ those of examples do not count in the denominator. Heads with scores m δ_e e + m' δ_g a_j g_j for m, m' = ±1, ±2 and factors c_m
//! c_m', ±2/3 and ∓1/12, leave F(δ_e e) F(δ_g a_j g_j) with F(u) = (8 sinh u − sinh 2u)/6 = u + O(u⁵); values are x. Heads with scores m δ_h h_j leave F(δ_h h_j) in the
//! row of unit j; values are e. Rows that are no units, or other units, have 60 more for the empty row and get nothing.

use headway_plain::network::{Head, InputMap};

use super::{
    NetworkDescent,
    bounds::{NULL, Plan, TERMS},
};
use crate::{
    network::Layer,
    places::{GAP, carrying, keeping, layer_size, mark_apart, mark_places, places},
    space::Space,
};

/// Width of keys: attention divides scores by its square root, which is exact.
const KEY: usize = 4;
const PLACE: [(&str, usize); 3] = [("one", 1), ("place", 1), ("square", 1)];

/// Rows of data: units, examples, the query, mirrored units; an empty row is behind them.
fn data(of: &NetworkDescent) -> usize {
    of.rows() - 1
}

/// The unit of a row, and the sign of its weights; `None` for examples and the query.
fn unit(of: &NetworkDescent, row: usize) -> Option<(usize, f64)> {
    if row < of.units { Some((row, 1.0)) } else { row.checked_sub(of.seq_len()).map(|unit| (unit, -1.0)) }
}

/// w or x, and a or y.
fn carried(of: &NetworkDescent) -> Space {
    Space::new(&[("row", of.d), ("last", 1)])
}

/// With hidden units and what the network answers.
fn hidden(of: &NetworkDescent) -> Space {
    Space::new(&[("row", of.d), ("last", 1), ("hidden", of.units), ("slope", of.units), ("answer", 1)])
}

fn mirror_space(of: &NetworkDescent) -> Space {
    Space::new(&[&[("row", of.d), ("last", 1)][..], &PLACE, &[("self", 1), ("mirrored", 1)]].concat())
}

fn hidden_space(of: &NetworkDescent) -> Space {
    let marks = [("unit", of.units), ("sign", 1), ("nothing", 1), ("silent", 1)];
    Space::new(&[&[("row", of.d), ("last", 1)][..], &marks, &PLACE].concat())
}

fn descent_space(of: &NetworkDescent) -> Space {
    let r = of.units;
    let numbers = [("row", of.d), ("last", 1), ("error", 1), ("hidden", r), ("slope", r)];
    let marks = [("pick", r), ("other", r), ("data", 1), ("nothing", 1), ("silent", 1)];
    Space::new(&[&numbers[..], &marks, &PLACE].concat())
}

fn answer_space(of: &NetworkDescent) -> Space {
    Space::new(&[("row", of.d), ("last", 1), ("unit", of.units), ("nothing", 1), ("silent", 1), ("one", 1)])
}

/// All layers.
pub(super) fn layers(of: &NetworkDescent, plan: Plan) -> Vec<Layer> {
    let steps = (0..of.steps).flat_map(|_| [hidden_layer(of), descent_layer(of, plan)]);
    std::iter::once(mirror_layer(of)).chain(steps).chain([answer_layer(of)]).collect()
}

/// Number of parameters of all layers.
pub(super) fn parameters(of: &NetworkDescent) -> f64 {
    let (d, r, rows) = (of.d, of.units, of.rows());
    let mirror = layer_size(d + 1, [rows - 1, mirror_space(of).width(), d + 1], &[[2, 2, d + 1]]);
    let out = hidden(of).width();
    let hidden = layer_size(d + 1, [rows, hidden_space(of).width(), out], &[[1, 2, d + 1], [r, d + 1, 3]]);
    let heads = [[1, 2, d + 1], [16 * r, KEY, d], [4, r + 2, 1]];
    let descent = layer_size(out, [rows, descent_space(of).width(), d + 1], &heads);
    let answer = layer_size(d + 1, [rows, answer_space(of).width(), 1], &[[r, d + 1, 1]]);
    mirror + of.steps as f64 * (hidden + descent) + answer
}

/// Copies all rows, and adds those of units with the other sign. A row that copies nothing attends to rows of zeros, which share a place.
fn mirror_layer(of: &NetworkDescent) -> Layer {
    let (n, all) = (of.seq_len(), data(of));
    let (z, out) = (mirror_space(of), carried(of));
    let mut map = keeping(&out, &z, &["row", "last"], all);
    let known = places(n + 1);
    let place = |row: usize| known[row.min(n)];
    mark_places(&mut map, &z, &(0..all).map(place).collect::<Vec<_>>());
    for row in 0..all {
        map.constant[(row, z.at("self"))] = place(row);
        map.constant[(row, z.at("mirrored"))] = if row < n { known[n] } else { known[row - n] };
    }
    let take = |target: &str, sign: f64| carrying(&z, &out, target, &["row", "last"], sign);
    let heads = vec![take("self", 1.0), take("mirrored", -1.0)];
    Layer { space: z, map, heads }
}

/// Marks the rows of units, one column for each, and keeps heads from all others but the empty row.
fn mark_units(of: &NetworkDescent, map: &mut InputMap, z: &Space) {
    for row in 0..data(of) {
        map.constant[(row, z.at("one"))] = 1.0;
        match unit(of, row) {
            Some((j, _)) => map.constant[(row, z.nth("unit", j))] = 1.0,
            None => map.constant[(row, z.at("silent"))] = 1.0,
        }
    }
    map.constant[(data(of), z.at("nothing"))] = 1.0;
}

/// The head of hidden unit j, without values.
fn unit_head(of: &NetworkDescent, z: &Space, j: usize, d_value: usize, d_out: usize) -> Head {
    let d = of.d;
    let mut head = Head::zeros(z.width(), d + 1, d_value, d_out);
    for c in 0..d {
        head.query.weight[(z.nth("row", c), c)] = 2.0;
        head.key.weight[(z.nth("row", c), c)] = 1.0;
    }
    head.query.weight[(z.at("one"), d)] = 1.0;
    head.key.weight[(z.at("nothing"), d)] = std::f64::consts::LN_2;
    head.key.weight[(z.at("silent"), d)] = -2.0 * GAP;
    for other in (0..of.units).filter(|other| *other != j) {
        head.key.weight[(z.nth("unit", other), d)] = -2.0 * GAP;
    }
    head
}

fn hidden_layer(of: &NetworkDescent) -> Layer {
    let (z, out) = (hidden_space(of), hidden(of));
    let mut map = keeping(&carried(of), &z, &["row", "last"], of.rows());
    mark_apart(&mut map, &z, data(of));
    mark_units(of, &mut map, &z);
    for row in 0..data(of) {
        if let Some((_, sign)) = unit(of, row) {
            map.constant[(row, z.at("sign"))] = sign;
        }
    }
    let mut heads = vec![carrying(&z, &out, "place", &["row", "last"], 1.0)];
    for j in 0..of.units {
        let mut head = unit_head(of, &z, j, 3, out.width());
        for (at, (column, to, factor)) in [
            ("sign", out.nth("hidden", j), 1.0),
            ("last", out.at("answer"), 1.0),
            ("nothing", out.nth("slope", j), 2.0),
        ]
        .into_iter()
        .enumerate()
        {
            head.value.weight[(z.at(column), at)] = 1.0;
            head.output[(at, to)] = factor;
        }
        heads.push(head);
    }
    Layer { space: z, map: InputMap { queries: data(of), ..map }, heads }
}

fn descent_layer(of: &NetworkDescent, plan: Plan) -> Layer {
    let (z, from, out) = (descent_space(of), hidden(of), carried(of));
    let mut map = keeping(&from, &z, &["row", "last", "hidden", "slope"], of.rows());
    mark_apart(&mut map, &z, data(of));
    map.linear.weight_mut()[(from.at("answer"), z.at("error"))] = 1.0;
    map.linear.weight_mut()[(from.at("last"), z.at("error"))] = -1.0;
    for row in 0..data(of) {
        let mut mark = |column: usize, value: f64| map.constant[(row, column)] = value;
        let of_unit = unit(of, row);
        match of_unit {
            Some((j, sign)) => mark(z.nth("pick", j), sign),
            None => mark(z.at("data"), 1.0),
        }
        for j in (0..of.units).filter(|j| of_unit.is_none_or(|(own, _)| own != *j)) {
            mark(z.nth("other", j), 1.0);
        }
        if of_unit.is_some() || row + 1 == of.seq_len() {
            mark(z.at("silent"), 1.0);
        }
    }
    map.constant[(data(of), z.at("nothing"))] = 1.0;
    let mut heads = vec![carrying(&z, &out, "place", &["row", "last"], 1.0)];
    for (j, (by_error, by_slope)) in (0..of.units).flat_map(|j| pairs().map(move |pair| (j, pair))) {
        heads.push(weight_head(of, plan, &z, (j, by_error, by_slope)));
    }
    heads.extend(TERMS.map(|term| output_head(of, plan, &z, term)));
    Layer { space: z, map: InputMap { queries: data(of), ..map }, heads }
}

/// Every term beside every other.
fn pairs() -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
    TERMS.into_iter().flat_map(|one| TERMS.into_iter().map(move |other| (one, other)))
}

/// A mean is what comes of K + N times heads, over N.
fn mean(of: &NetworkDescent) -> f64 {
    (NULL.exp() + of.points as f64) / of.points as f64
}

/// The head that moves w_j by one of its sixteen terms.
fn weight_head(of: &NetworkDescent, plan: Plan, z: &Space, (j, error, slope): (usize, (f64, f64), (f64, f64))) -> Head {
    let out = carried(of);
    let mut head = Head::zeros(z.width(), KEY, of.d, out.width());
    let [by_error, by_slope, _] = plan.scales(of);
    head.query.weight[(z.at("last"), 0)] = slope.0 * by_slope;
    head.key.weight[(z.nth("slope", j), 0)] = 1.0;
    head.query.weight[(z.at("one"), 1)] = error.0 * by_error;
    head.key.weight[(z.at("error"), 1)] = 1.0;
    head.query.weight[(z.at("one"), 2)] = 1.0;
    head.key.weight[(z.at("silent"), 2)] = -2.0 * GAP;
    head.key.weight[(z.at("nothing"), 2)] = NULL;
    head.query.weight[(z.nth("other", j), 3)] = GAP;
    head.key.weight[(z.at("nothing"), 3)] = 1.0;
    let factor = -of.rate * error.1 * slope.1 * mean(of) / (by_error * by_slope);
    for c in 0..of.d {
        head.value.weight[(z.nth("row", c), c)] = 1.0;
        head.output[(c, out.nth("row", c))] = factor;
    }
    head
}

/// The head that moves every a_j by one of its four terms.
fn output_head(of: &NetworkDescent, plan: Plan, z: &Space, (multiple, factor): (f64, f64)) -> Head {
    let (r, out) = (of.units, carried(of));
    let mut head = Head::zeros(z.width(), r + 2, 1, out.width());
    let [_, _, scale] = plan.scales(of);
    for j in 0..r {
        head.query.weight[(z.nth("pick", j), j)] = multiple * scale;
        head.key.weight[(z.nth("hidden", j), j)] = 1.0;
    }
    head.query.weight[(z.at("one"), r)] = 1.0;
    head.key.weight[(z.at("silent"), r)] = -2.0 * GAP;
    head.key.weight[(z.at("nothing"), r)] = NULL;
    head.query.weight[(z.at("data"), r + 1)] = GAP;
    head.key.weight[(z.at("nothing"), r + 1)] = 1.0;
    head.value.weight[(z.at("error"), 0)] = 1.0;
    head.output[(0, out.at("last"))] = -of.rate * factor * mean(of) / scale;
    head
}

fn answer_layer(of: &NetworkDescent) -> Layer {
    let z = answer_space(of);
    let mut map = keeping(&carried(of), &z, &["row", "last"], of.rows());
    mark_units(of, &mut map, &z);
    let heads = (0..of.units).map(|j| {
        let mut head = unit_head(of, &z, j, 1, 1);
        head.value.weight[(z.at("last"), 0)] = 1.0;
        head.output[(0, 0)] = 1.0;
        head
    });
    let heads = heads.collect();
    Layer { space: z, map: InputMap { queries: of.seq_len(), ..map }, heads }
}
