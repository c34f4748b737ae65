//! The layers of E1: mirror images of the examples, then one head a step.

use headway_plain::network::{Head, InputMap};

use super::{InContextGd, slopes::sloped};
use crate::{
    network::Layer,
    places::{GAP, carrying, keeping, layer_size, mark_places, places},
    space::Space,
};

/// Number of rows: examples, query, mirrored examples, two states.
pub(super) fn rows(gd: &InContextGd) -> usize {
    2 * gd.points + 3
}

/// Number of parameters of [`mirror_layer`].
pub(super) fn mirror_parameters(rows: usize, d: usize) -> f64 {
    layer_size(d + 1, [rows, prompt_space(d).width(), d + 1], &[[2, 2, d + 1]])
}

/// Number of parameters of [`layer`].
pub(super) fn parameters(rows: usize, d: usize, d_in: usize) -> f64 {
    let state = 2 * d + 1;
    layer_size(d_in, [rows, step_space(d).width(), state], &[[1, 2, state], [1, d + 2, d]])
}

/// Number of parameters of [`sloped_layer`].
pub(super) fn sloped_parameters(rows: usize, d: usize) -> f64 {
    let state = 2 * d + 1;
    layer_size(state + 1, [rows, sloped_step_space(d).width(), state], &[[1, 2, state], [1, 2, d]])
}

fn prompt_space(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("one", 1), ("place", 1), ("square", 1), ("self", 1), ("mirrored", 1)])
}

fn step_space(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("w", d), ("sign", 1), ("silent", 1), ("one", 1), ("place", 1), ("square", 1)])
}

/// With slopes in a column, ready for a step.
fn sloped_step_space(d: usize) -> Space {
    let numbers = [("x", d), ("y", 1), ("w", d), ("slope", 1), ("sign", 1), ("silent", 1)];
    Space::new(&[numbers.as_slice(), &[("one", 1), ("place", 1), ("square", 1)]].concat())
}

/// Copies examples and query, and adds the mirror images. A row that copies nothing attends to empty rows, which share
/// a place.
pub(super) fn mirror_layer(gd: &InContextGd, prompt: &Space) -> Layer {
    let (n, rows) = (gd.points, rows(gd));
    let z = prompt_space(gd.d);
    let mut map = keeping(prompt, &z, &["x", "y"], rows);
    let known = places(n + 2);
    let place = |row: usize| known[row.min(n + 1)];
    mark_places(&mut map, &z, &(0..rows).map(place).collect::<Vec<_>>());
    for row in 0..rows {
        let mirrored = if (n + 1..=2 * n).contains(&row) { place(row - n - 1) } else { place(n + 1) };
        map.constant[(row, z.at("self"))] = place(row);
        map.constant[(row, z.at("mirrored"))] = mirrored;
    }
    let take = |target: &str, sign: f64| carrying(&z, prompt, target, &["x", "y"], sign);
    let heads = vec![take("self", 1.0), take("mirrored", -1.0)];
    Layer { space: z, map, heads }
}

/// The state attends to examples and their mirror images.
pub(super) fn layer(gd: &InContextGd, delta: f64, from: &Space, names: &[&str], out: &Space) -> Layer {
    let z = step_space(gd.d);
    let mut map = keeping(from, &z, names, rows(gd));
    mark_step(gd, &mut map, &z);
    let mut head = step_head(gd, delta, &z, gd.d + 2, out);
    for j in 0..gd.d {
        head.query.weight[(z.nth("w", j), j)] = delta;
        head.key.weight[(z.nth("x", j), j)] = 1.0;
    }
    head.query.weight[(z.at("sign"), gd.d)] = -delta;
    head.key.weight[(z.at("y"), gd.d)] = 1.0;
    Layer { map, heads: vec![carry(gd, &z, out), head], space: z }
}

/// The same where slopes stand in a column.
pub(super) fn sloped_layer(gd: &InContextGd, delta: f64, out: &Space) -> Layer {
    let z = sloped_step_space(gd.d);
    let mut map = keeping(&sloped(gd.d), &z, &["x", "y", "w", "slope"], rows(gd));
    mark_step(gd, &mut map, &z);
    let mut head = step_head(gd, delta, &z, 2, out);
    head.query.weight[(z.at("sign"), 0)] = delta;
    head.key.weight[(z.at("slope"), 0)] = 1.0;
    Layer { map, heads: vec![carry(gd, &z, out), head], space: z }
}

/// A head with x as values, for which silent rows have the last number of their keys.
fn step_head(gd: &InContextGd, delta: f64, z: &Space, d_key: usize, out: &Space) -> Head {
    let mut head = Head::zeros(z.width(), d_key, gd.d, out.width());
    for j in 0..gd.d {
        head.value.weight[(z.nth("x", j), j)] = 1.0;
        head.output[(j, out.nth("w", j))] = -gd.rate / delta;
    }
    head.query.weight[(z.at("one"), d_key - 1)] = -2.0 * GAP;
    head.key.weight[(z.at("silent"), d_key - 1)] = 1.0;
    head
}

/// Marks rows by their places, the states by ±1, and query and states as silent.
fn mark_step(gd: &InContextGd, map: &mut InputMap, z: &Space) {
    let (n, rows) = (gd.points, rows(gd));
    mark_places(map, z, &places(rows));
    for row in (0..rows).filter(|row| *row == n || *row > 2 * n) {
        map.constant[(row, z.at("silent"))] = 1.0;
    }
    map.constant[(rows - 2, z.at("sign"))] = 1.0;
    map.constant[(rows - 1, z.at("sign"))] = -1.0;
}

/// Carries x, y and (1 − η λ₂) w.
fn carry(gd: &InContextGd, z: &Space, out: &Space) -> Head {
    let mut head = carrying(z, out, "place", &["x", "y", "w"], 1.0);
    for column in out.part("w") {
        head.output.column_mut(column).scale_mut(1.0 - gd.rate * gd.ridge);
    }
    head
}
