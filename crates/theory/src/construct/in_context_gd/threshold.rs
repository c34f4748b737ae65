//! The soft threshold S(u) = u − clamp(u, −τ, τ) = max(u − τ, 0) − max(−u − τ, 0), by two gates.
//!
//! A gate is a head with which a row attends to itself, with score β v, and to an empty row, with score 0, which gives v σ(β v): max(v,
//! 0) up to 0.2785/β. Rows know their places, 1, 2, …, and those of other rows are lower by 60 at least. Sharpness costs no parameters.
//!
//! The step of the Lasso is S itself, in every coordinate of ±w; the slope of Huber's loss is r − S(r), in every example.
//!
//! # Rounding
//! A score's sums of places are of at most 240 p² for p rows, exact but for where β v joins them; so a score is off by γ = ε (720 p² + 16)
//! besides shares of itself. Since t σ(γ − t) ≤ γ + 0.2785 for every t = β v, that adds γ/β.

use headway_plain::network::{Head, InputMap};

use crate::{
    interpolation::F32_ROUNDOFF,
    network::Layer,
    places::{carrying, gated, keeping, layer_size, mark_places},
    space::Space,
};

/// sup_t t σ(−t).
pub(super) const GATE: f64 = 0.278_465;
/// β u at the largest u: beyond it, scores of other rows are not told apart in float32.
pub(super) const SHARPEST: f64 = 4e6;
/// Width of keys of gates: attention divides scores by its square root, which is exact.
const KEY: usize = 4;
/// Largest number of rows: the noise γ of scores stays well below [`GAP`](crate::places::GAP).
pub(super) const MOST_ROWS: usize = 260;

/// The soft threshold, of numbers within ± `reach`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoftThreshold {
    /// τ.
    pub threshold: f64,
    /// Inverse temperature of the gates.
    pub beta: f64,
    /// Largest |u|.
    pub reach: f64,
}

impl SoftThreshold {
    pub fn new(threshold: f64, reach: f64) -> Self {
        Self { threshold, beta: SHARPEST / (reach + threshold), reach }
    }

    /// sup |error| in exact arithmetic.
    pub fn error(&self) -> f64 {
        2.0 * GATE / self.beta
    }

    /// What noise in the scores of both gates adds, in a layer with so many rows of data.
    pub fn noise(&self, rows: usize) -> f64 {
        noise(rows) / self.beta
    }

    /// The heads for u in the columns `above`, which holds u − τ, and `below`, −u − τ; their sum, times a factor, goes to output `to`.
    pub fn heads(&self, z: &Space, [above, below]: [usize; 2], (to, d_out): (usize, usize), factor: f64) -> [Head; 2] {
        [(above, 1.0), (below, -1.0)].map(|(column, sign)| {
            let mut head = Head::zeros(z.width(), KEY, 1, d_out);
            head.query.weight[(column, 0)] = self.beta;
            gated(&mut head, z);
            head.value.weight[(column, 0)] = 1.0;
            head.output[(0, to)] = factor * sign;
            head
        })
    }
}

/// [`SoftThreshold::noise`] times β.
pub(super) fn noise(rows: usize) -> f64 {
    2.002 * F32_ROUNDOFF * (720.0 * (rows as f64).powi(2) + 16.0)
}

/// Marks rows by 1, 2, … and leaves the last, empty row at 0.
pub(super) fn mark_from_one(map: &mut InputMap, z: &Space, rows: usize) {
    mark_places(map, z, &(1..=rows).map(|row| row as f64).collect::<Vec<_>>());
}

/// Sizes of the gates of one soft threshold, as [`layer_size`] takes them.
pub(super) const GATES: [usize; 3] = [2, KEY, 1];

fn space(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("above", d), ("below", d), ("one", 1), ("place", 1), ("square", 1)])
}

/// The last layer of a step of the Lasso: S of every coordinate of the states, which are the last two rows.
pub(super) fn layer(of: &SoftThreshold, rows: usize, carried: &Space) -> Layer {
    let d = carried.part("w").len();
    let z = space(d);
    let mut map = keeping(carried, &z, &["x", "y"], rows + 1);
    mark_from_one(&mut map, &z, rows);
    for j in 0..d {
        for (column, sign) in [("above", 1.0), ("below", -1.0)] {
            map.linear.weight_mut()[(carried.nth("w", j), z.nth(column, j))] = sign;
            for row in rows - 2..rows {
                map.constant[(row, z.nth(column, j))] = -of.threshold;
            }
        }
    }
    let mut heads = vec![carrying(&z, carried, "place", &["x", "y"], 1.0)];
    for j in 0..d {
        let columns = [z.nth("above", j), z.nth("below", j)];
        heads.extend(of.heads(&z, columns, (carried.nth("w", j), carried.width()), 1.0));
    }
    Layer { space: z, map: InputMap { queries: rows, ..map }, heads }
}

pub(super) fn parameters(rows: usize, d: usize) -> f64 {
    let [gates, key, value] = GATES;
    layer_size(2 * d + 1, [rows + 1, space(d).width(), 2 * d + 1], &[[1, 2, d + 1], [gates * d, key, value]])
}
