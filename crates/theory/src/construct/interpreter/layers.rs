//! The layers of a step, which are the same whatever the algorithm, and the readout.
//!
//! | layer | what it puts beside the prompt | heads beside the one that carries |
//! |---|---|---|
//! | read | z = w · x of every row | 2 |
//! | slope | s = Φ(z − a) − b | 1 |
//! | mean | v = u − 1/N Σ s x | 4 |
//! | step | w = v − Ψ(v), u = v − Ω(v), in every coordinate | d |
//!
//! *Read.* Rows ask the query's row, which holds w, with ± δ' x, beside an empty row with score ln(2 + √3): the two heads differ by
//! sinh(δ' z)/(2 + cosh(δ' z)), which is δ' z/3 up to the order 5.
//!
//! *Mean.* Examples have scores m δ s for m = ±1, ±2, and an empty row has 24, beside whose weight K = e²⁴ theirs do not count in the
//! denominator: Σ_m c_m Σ_j x_j e^(m δ s_j)/(K + …) with c = ±2/3, ∓1/12 is δ Σ_j s_j x_j/(K + N) up to the order 5.

use headway_plain::network::{Head, InputMap};
use headway_tasks::icl::algorithm::AlgorithmsConfig;

use crate::{
    network::Layer,
    places::{GAP, carrying, keeping, layer_size, mark_apart, mark_places, places},
    space::Space,
};

/// Score of the empty row beside examples, exact in float32.
pub(super) const NULL: f64 = 24.0;
/// Width of keys: attention divides scores by its square root, which is exact.
const KEY: usize = 4;
/// Factors m on scores, and c on what comes of them.
pub(super) const TERMS: [(f64, f64); 4] =
    [(1.0, 8.0 / 12.0), (-1.0, -8.0 / 12.0), (2.0, -1.0 / 12.0), (-2.0, 1.0 / 12.0)];

/// Sizes of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub d: usize,
    /// N.
    pub points: usize,
    /// Anchors of a table.
    pub anchors: usize,
    pub steps: usize,
}

/// Columns of a row of the prompt beyond x.
const PROMPT: [(&str, usize); 7] =
    [("shift", 1), ("bias", 1), ("slope_key", 1), ("step_key", 1), ("offset", 1), ("value", 1), ("second", 1)];
const NAMES: [&str; 8] = ["x", "shift", "bias", "slope_key", "step_key", "offset", "value", "second"];
const PLACE: [(&str, usize); 3] = [("one", 1), ("place", 1), ("square", 1)];

impl Sizes {
    pub fn of(config: &AlgorithmsConfig) -> Self {
        let AlgorithmsConfig { d, n_points, steps, intervals, .. } = *config;
        Self { d, points: n_points, anchors: intervals + 1, steps }
    }

    /// Rows of the prompt.
    pub fn rows(self) -> usize {
        2 * self.anchors + self.points + 1
    }

    /// The prompt's columns, and others.
    fn space(self, more: &[&[(&'static str, usize)]]) -> Space {
        let columns = [&[("x", self.d)], &PROMPT[..]].concat();
        Space::new(&more.iter().fold(columns, |columns, more| [&columns, *more].concat()))
    }

    pub fn prompt(self) -> Space {
        self.space(&[])
    }

    /// What is carried between steps: w, and u, from which the next step starts.
    fn between(self) -> Space {
        self.space(&[&[("w", self.d), ("start", self.d)]])
    }

    /// All layers.
    pub fn layers(self, [delta, read]: [f64; 2]) -> Vec<Layer> {
        let mut layers = Vec::with_capacity(4 * self.steps + 1);
        for step in 0..self.steps {
            let first = step == 0;
            let from = if first { self.prompt() } else { self.between() };
            layers.push(self.read_layer(read, &from, first));
            layers.push(self.slope_layer());
            layers.push(self.mean_layer(delta));
            layers.push(self.step_layer());
        }
        layers.push(self.last_layer(read));
        layers
    }

    /// Number of parameters.
    pub fn parameters(self) -> f64 {
        let Self { d, steps, .. } = self;
        let (rows, prompt, between) = (self.rows(), self.prompt().width(), self.between().width());
        let read = |d_in: usize| {
            let out = between + 1;
            layer_size(d_in, [rows + 1, self.read_space().width(), out], &[[1, 2, between], [2, d + 2, 1]])
        };
        let slope = layer_size(
            between + 1,
            [rows, self.slope_space().width(), between + 1],
            &[[1, 2, between + 1], [1, KEY, 1]],
        );
        let mean = layer_size(
            between + 1,
            [rows + 1, self.mean_space().width(), prompt + d],
            &[[1, 2, prompt + d], [4, KEY, d]],
        );
        let step = layer_size(prompt + d, [rows, self.step_space().width(), between], &[[1, 2, between], [d, KEY, 2]]);
        let last = layer_size(between, [rows + 1, self.last_space().width(), 1], &[[2, d + 1, 1]]);
        let k = steps as f64;
        read(prompt) + (k - 1.0) * read(between) + k * (slope + mean + step) + last
    }

    fn read_space(self) -> Space {
        self.space(&[&[("w", self.d), ("start", self.d), ("state", 1), ("nothing", 1), ("silent", 1)], &PLACE])
    }

    fn read_layer(self, read: f64, from: &Space, first: bool) -> Layer {
        let (rows, z) = (self.rows(), self.read_space());
        let out = self.space(&[&[("w", self.d), ("start", self.d), ("z", 1)]]);
        let carried = [&NAMES[..], &["w", "start"]].concat();
        let mut map = keeping(from, &z, if first { &NAMES } else { &carried }, rows + 1);
        mark_apart(&mut map, &z, rows);
        silence(&mut map, &z, 0..rows - 1);
        let mut heads = vec![carrying(&z, &out, "place", &carried, 1.0)];
        heads.extend(self.reading(&mut map, &z, read, (out.at("z"), out.width())));
        for head in &mut heads[1..] {
            head.query.weight[(z.at("one"), self.d + 1)] = -2.0 * GAP;
            head.key.weight[(z.at("silent"), self.d + 1)] = 1.0;
        }
        Layer { space: z, map: InputMap { queries: rows, ..map }, heads }
    }

    /// The two heads that read w; marks the query's row and the empty row behind it.
    fn reading(self, map: &mut InputMap, z: &Space, read: f64, (to, d_out): (usize, usize)) -> [Head; 2] {
        let (d, rows) = (self.d, self.rows());
        map.constant[(rows - 1, z.at("state"))] = 1.0;
        map.constant[(rows, z.at("nothing"))] = 1.0;
        let d_key = if z.has("silent") { d + 2 } else { d + 1 };
        [1.0, -1.0].map(|sign| {
            let mut head = Head::zeros(z.width(), d_key, 1, d_out);
            for j in 0..d {
                head.query.weight[(z.nth("x", j), j)] = sign * read;
                head.key.weight[(z.nth("w", j), j)] = 1.0;
            }
            head.query.weight[(z.at("one"), d)] = (2.0 + 3.0_f64.sqrt()).ln();
            head.key.weight[(z.at("nothing"), d)] = 1.0;
            head.value.weight[(z.at("state"), 0)] = 1.0;
            head.output[(0, to)] = sign * 3.0 / read;
            head
        })
    }

    fn slope_space(self) -> Space {
        self.space(&[&[("w", self.d), ("start", self.d), ("slope", 1), ("argument", 1), ("silent", 1)], &PLACE])
    }

    fn slope_layer(self) -> Layer {
        let (rows, z) = (self.rows(), self.slope_space());
        let from = self.space(&[&[("w", self.d), ("start", self.d), ("z", 1)]]);
        let out = self.space(&[&[("w", self.d), ("start", self.d), ("slope", 1)]]);
        let mut map = keeping(&from, &z, &[&NAMES[..], &["w", "start"]].concat(), rows);
        mark_places(&mut map, &z, &places(rows));
        let weight = map.linear.weight_mut();
        weight[(from.at("bias"), z.at("slope"))] = -1.0;
        weight[(from.at("z"), z.at("argument"))] = 1.0;
        weight[(from.at("shift"), z.at("argument"))] = -1.0;
        silence(&mut map, &z, self.anchors..rows);
        let mut head = lookup(&z, z.at("argument"), "slope_key", 1, out.width());
        head.value.weight[(z.at("value"), 0)] = 1.0;
        head.output[(0, out.at("slope"))] = 1.0;
        let carry = carrying(&z, &out, "place", &[&NAMES[..], &["w", "start", "slope"]].concat(), 1.0);
        Layer { space: z, map, heads: vec![carry, head] }
    }

    fn mean_space(self) -> Space {
        self.space(&[&[("v", self.d), ("slope", 1), ("nothing", 1), ("silent", 1)], &PLACE])
    }

    fn mean_layer(self, delta: f64) -> Layer {
        let (d, n, rows, z) = (self.d, self.points, self.rows(), self.mean_space());
        let from = self.space(&[&[("w", d), ("start", d), ("slope", 1)]]);
        let out = self.space(&[&[("v", d)]]);
        let mut map = keeping(&from, &z, &[&NAMES[..], &["slope"]].concat(), rows + 1);
        mark_apart(&mut map, &z, rows);
        for (start, v) in from.part("start").zip(z.part("v")) {
            map.linear.weight_mut()[(start, v)] = 1.0;
        }
        silence(&mut map, &z, (0..2 * self.anchors).chain([rows - 1]));
        map.constant[(rows, z.at("nothing"))] = 1.0;
        let mut heads = vec![carrying(&z, &out, "place", &[&NAMES[..], &["v"]].concat(), 1.0)];
        for (multiple, factor) in TERMS {
            let mut head = Head::zeros(z.width(), KEY, d, out.width());
            for (at, (column, score)) in
                [("slope", multiple * delta), ("silent", -2.0 * GAP), ("nothing", NULL)].into_iter().enumerate()
            {
                head.query.weight[(z.at("one"), at)] = score;
                head.key.weight[(z.at(column), at)] = 1.0;
            }
            for j in 0..d {
                head.value.weight[(z.nth("x", j), j)] = 1.0;
                head.output[(j, out.nth("v", j))] = -factor * (NULL.exp() + n as f64) / (n as f64 * delta);
            }
            heads.push(head);
        }
        Layer { space: z, map: InputMap { queries: rows, ..map }, heads }
    }

    fn step_space(self) -> Space {
        self.space(&[&[("w", self.d), ("start", self.d), ("silent", 1)], &PLACE])
    }

    fn step_layer(self) -> Layer {
        let (d, rows, z) = (self.d, self.rows(), self.step_space());
        let (from, out) = (self.space(&[&[("v", d)]]), self.between());
        let mut map = keeping(&from, &z, &NAMES, rows);
        mark_places(&mut map, &z, &places(rows));
        for (j, v) in from.part("v").enumerate() {
            for part in ["w", "start"] {
                map.linear.weight_mut()[(v, z.nth(part, j))] = 1.0;
            }
        }
        silence(&mut map, &z, (0..self.anchors).chain(2 * self.anchors..rows));
        let mut heads = vec![carrying(&z, &out, "place", &[&NAMES[..], &["w", "start"]].concat(), 1.0)];
        for j in 0..d {
            let mut head = lookup(&z, z.nth("w", j), "step_key", 2, out.width());
            for (at, (value, to)) in [("value", "w"), ("second", "start")].into_iter().enumerate() {
                head.value.weight[(z.at(value), at)] = 1.0;
                head.output[(at, out.nth(to, j))] = -1.0;
            }
            heads.push(head);
        }
        Layer { space: z, map, heads }
    }

    fn last_space(self) -> Space {
        Space::new(&[("x", self.d), ("w", self.d), ("state", 1), ("nothing", 1), ("one", 1)])
    }

    fn last_layer(self, read: f64) -> Layer {
        let (rows, z) = (self.rows(), self.last_space());
        let mut map = keeping(&self.between(), &z, &["x", "w"], rows + 1);
        for row in 0..rows {
            map.constant[(row, z.at("one"))] = 1.0;
        }
        let heads = self.reading(&mut map, &z, read, (0, 1)).to_vec();
        Layer { space: z, map: InputMap { queries: rows, keys: 2, ..map }, heads }
    }
}

/// A head that looks an argument up in the anchors that have keys in a column. The anchor at 0 has score 0, so that silent rows are below the best by
/// 120 at least.
fn lookup(z: &Space, argument: usize, key: &str, d_value: usize, d_out: usize) -> Head {
    let mut head = Head::zeros(z.width(), KEY, d_value, d_out);
    head.query.weight[(argument, 0)] = 1.0;
    head.key.weight[(z.at(key), 0)] = 1.0;
    head.query.weight[(z.at("one"), 1)] = 1.0;
    head.key.weight[(z.at("offset"), 1)] = 1.0;
    head.query.weight[(z.at("one"), 2)] = -2.0 * GAP;
    head.key.weight[(z.at("silent"), 2)] = 1.0;
    head
}

/// Keeps heads from rows.
fn silence(map: &mut InputMap, z: &Space, rows: impl Iterator<Item = usize>) {
    for row in rows {
        map.constant[(row, z.at("silent"))] = 1.0;
    }
}
