//! The layers: squared lengths, then a step each, then the prediction.
//!
//! | layer | heads beside the one that carries | what it puts beside the prompt |
//! |---|---|---|
//! | first | d | norm = \|x\|²/(2 s²), of squares between anchors, one head for every input number |
//! | a step | 1 | α ← (1 − η λ) α + η y − η (e¹⁶ + N/2) Σ_j softmax_j α_j, whose first part the head that carries gives |
//! | last | 1, and none that carries | (e¹⁶ + N/2) Σ_j softmax_j α_j at the query |
//!
//! Scores of a step are x_i · x_j/s² − norm_i − norm_j to examples, 16 to an empty row, and less by 120 to the query. The first step, from α = 0 to η y,
//! takes no attention: the map of the layer after it makes η y. So k steps take k + 1 layers.

use headway_plain::network::{Head, InputMap};

use super::{
    KernelRidge,
    bounds::{NULL, Plan},
};
use crate::{
    cells::key_width,
    construct::formula::{KEY, NOBODY, SHARPNESS},
    network::Layer,
    places::{GAP, carrying, keeping, layer_size, mark_apart},
    space::Space,
};

const PLACE: [(&str, usize); 3] = [("one", 1), ("place", 1), ("square", 1)];
const ANCHOR: [(&str, usize); 3] = [("anchor", 1), ("offset", 1), ("value", 1)];
const STATE: [(&str, usize); 5] = [("norm", 1), ("alpha", 1), ("example", 1), ("silent", 1), ("nothing", 1)];

/// Rows of a step: examples, the query, an empty row.
pub(super) fn rows(of: &KernelRidge) -> usize {
    of.points + 2
}

fn space(d: usize, more: &[&[(&'static str, usize)]]) -> Space {
    Space::new(&more.iter().fold(vec![("x", d)], |columns, more| [&columns, *more].concat()))
}

/// What the first layer gives.
fn measured(d: usize) -> Space {
    space(d, &[&[("y", 1), ("norm", 1)]])
}

/// What is carried from step to step.
fn carried(d: usize) -> Space {
    space(d, &[&[("y", 1), ("norm", 1), ("alpha", 1)]])
}

fn first_space(d: usize) -> Space {
    space(d, &[&[("y", 1)], &ANCHOR, &PLACE])
}

fn step_space(d: usize) -> Space {
    space(d, &[&[("y", 1)], &STATE, &PLACE])
}

fn last_space(d: usize) -> Space {
    space(d, &[&STATE, &[("one", 1)]])
}

/// All layers.
pub(super) fn layers(of: &KernelRidge, plan: &Plan) -> Vec<Layer> {
    let from = |step: usize| if step == 1 { measured(of.d) } else { carried(of.d) };
    let steps = (1..of.steps).map(|step| step_layer(of, &from(step)));
    std::iter::once(first_layer(of, plan)).chain(steps).chain([last_layer(of, &from(of.steps))]).collect()
}

/// Number of parameters of all layers, with so many anchors.
pub(super) fn parameters(of: &KernelRidge, anchors: usize) -> f64 {
    let (d, rows) = (of.d, rows(of));
    let first = layer_size(d + 1, [rows - 1 + anchors, first_space(d).width(), d + 2], &[[1, 2, d + 1], [d, KEY, 1]]);
    let step = |d_in: usize| {
        layer_size(d_in, [rows, step_space(d).width(), d + 3], &[[1, 2, d + 3], [1, key_width(d + 1), 1]])
    };
    let last = |d_in: usize| layer_size(d_in, [rows, last_space(d).width(), 1], &[[1, key_width(d + 1), 1]]);
    match of.steps {
        1 => first + last(d + 2),
        k => first + step(d + 2) + (k as f64 - 2.0) * step(d + 3) + last(d + 3),
    }
}

/// Squares of every input number by heads over anchors, which are the last rows.
fn first_layer(of: &KernelRidge, plan: &Plan) -> Layer {
    let (d, data, count) = (of.d, of.points + 1, plan.anchors());
    let (z, out) = (first_space(d), measured(d));
    let mut map = keeping(&space(d, &[&[("y", 1)]]), &z, &["x", "y"], data + count);
    mark_apart(&mut map, &z, data);
    for row in 0..data {
        map.constant[(row, z.at("offset"))] = NOBODY;
    }
    for (k, value) in plan.values().iter().enumerate() {
        let anchor = k as f64 - (count as f64 - 1.0) / 2.0;
        map.constant[(data + k, z.at("anchor"))] = anchor;
        map.constant[(data + k, z.at("offset"))] = -anchor * anchor;
        map.constant[(data + k, z.at("value"))] = *value;
    }
    let spacing = plan.spacing(of);
    let mut heads = vec![carrying(&z, &out, "place", &["x", "y"], 1.0)];
    for j in 0..d {
        let mut head = Head::zeros(z.width(), KEY, 1, out.width());
        head.query.weight[(z.nth("x", j), 0)] = SHARPNESS / spacing;
        head.key.weight[(z.at("anchor"), 0)] = 2.0;
        head.query.weight[(z.at("one"), 1)] = SHARPNESS;
        head.key.weight[(z.at("offset"), 1)] = 1.0;
        head.value.weight[(z.at("value"), 0)] = 1.0;
        head.output[(0, out.at("norm"))] = 0.5 * (spacing / of.bandwidth).powi(2);
        heads.push(head);
    }
    Layer { space: z, map: InputMap { queries: data, ..map }, heads }
}

/// A map to columns with the state; from the first layer, it makes α = η y, and gives norms back what values of anchors are less.
fn with_state(of: &KernelRidge, from: &Space, z: &Space, names: &[&str]) -> InputMap {
    let mut map = keeping(from, z, names, rows(of));
    let (source, factor, norm) =
        if from.has("alpha") { ("alpha", 1.0, 0.0) } else { ("y", of.rate, of.longest() / 4.0) };
    map.linear.weight_mut()[(from.at(source), z.at("alpha"))] = factor;
    for row in 0..=of.points {
        map.constant[(row, z.at("norm"))] = norm;
        map.constant[(row, z.at("example"))] = 1.0;
        map.constant[(row, z.at("one"))] = 1.0;
    }
    map.constant[(of.points, z.at("silent"))] = 1.0;
    map.constant[(of.points + 1, z.at("nothing"))] = 1.0;
    map
}

/// The head that gives a row the factor times Σ_j k(x_i, x_j) α_j.
fn kernel_head(of: &KernelRidge, z: &Space, factor: f64, (to, d_out): (usize, usize)) -> Head {
    let d = of.d;
    let mut head = Head::zeros(z.width(), key_width(d + 1), 1, d_out);
    for j in 0..d {
        head.query.weight[(z.nth("x", j), j)] = of.bandwidth.powi(-2);
        head.key.weight[(z.nth("x", j), j)] = 1.0;
    }
    head.query.weight[(z.at("one"), d)] = 1.0;
    head.key.weight[(z.at("norm"), d)] = -1.0;
    head.key.weight[(z.at("nothing"), d)] = NULL;
    head.key.weight[(z.at("silent"), d)] = -2.0 * GAP;
    head.query.weight[(z.at("norm"), d + 1)] = 1.0;
    head.key.weight[(z.at("example"), d + 1)] = -1.0;
    head.value.weight[(z.at("alpha"), 0)] = 1.0;
    head.output[(0, to)] = factor * (NULL.exp() + of.points as f64 / 2.0);
    head
}

fn step_layer(of: &KernelRidge, from: &Space) -> Layer {
    let (z, out) = (step_space(of.d), carried(of.d));
    let mut map = with_state(of, from, &z, &["x", "y", "norm"]);
    mark_apart(&mut map, &z, of.points + 1);
    let names = ["x", "y", "norm", "alpha"];
    let mut carry = carrying(&z, &out, "place", &names, 1.0);
    // Values are in the order of names.
    carry.output[(of.d, out.at("alpha"))] = of.rate;
    carry.output[(of.d + 2, out.at("alpha"))] = 1.0 - of.rate * of.ridge;
    let step = kernel_head(of, &z, -of.rate, (out.at("alpha"), out.width()));
    Layer { space: z, map: InputMap { queries: of.points + 1, ..map }, heads: vec![carry, step] }
}

fn last_layer(of: &KernelRidge, from: &Space) -> Layer {
    let z = last_space(of.d);
    let map = with_state(of, from, &z, &["x", "norm"]);
    let head = kernel_head(of, &z, 1.0, (0, 1));
    Layer { space: z, map: InputMap { queries: of.points + 1, ..map }, heads: vec![head] }
}
