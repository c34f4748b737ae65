//! The last pass: weights, over the named columns of every layer.

use std::rc::Rc;

use headway_plain::{
    Readout,
    network::{Head as Attention, InputMap},
};

use super::{
    anchored::{Head, SHARPNESS},
    layout::{KEY, Layout, NOBODY},
    nodes::{Form, Kind, Nodes},
    plan::Plan,
};
use crate::{
    network::{Layer, Network},
    places::{GAP, by_square, gated},
    space::Space,
};

/// The network of a plan.
pub(super) fn network(nodes: &Nodes, plan: &Plan) -> Network {
    let layers = plan.layouts.iter().zip(&plan.anchors);
    let layers = layers.map(|(layout, anchors)| Writer::new(nodes, plan, layout, *anchors).layer());
    Network {
        seq_len: nodes.seq_len,
        d_in: nodes.d_in,
        d_out: nodes.outputs.len(),
        layers: layers.collect(),
        readout: Readout::Rows,
        causal: false,
    }
}

/// Writes one layer.
struct Writer<'a> {
    nodes: &'a Nodes,
    plan: &'a Plan,
    layout: &'a Layout,
    z: Space,
    map: InputMap,
    heads: Vec<Attention>,
}

impl<'a> Writer<'a> {
    fn new(nodes: &'a Nodes, plan: &'a Plan, layout: &'a Layout, anchors: usize) -> Self {
        let z = layout.space();
        let rows = layout.others() + anchors;
        let map = InputMap { queries: layout.seq_len, ..InputMap::token_wise(layout.d_in, rows, z.width()) };
        Self { nodes, plan, layout, z, map, heads: Vec::new() }
    }

    fn layer(mut self) -> Layer {
        self.mark_rows();
        self.carry();
        self.pick();
        for (at, node) in self.layout.curves.iter().enumerate() {
            self.curve(at, *node);
        }
        for (at, node) in self.layout.products.iter().enumerate() {
            self.product(self.layout.curves.len() + 2 * at, *node);
        }
        for (at, node) in self.layout.gates.iter().enumerate() {
            self.gate(at, *node);
        }
        Layer { space: self.z, map: self.map, heads: self.heads }
    }

    /// Places, anchors, and the values of curves at them.
    fn mark_rows(&mut self) {
        let (n, rows) = (self.layout.seq_len, self.map.constant.nrows());
        let first = self.layout.others();
        for row in 0..rows {
            let place = match row {
                row if row < n => row + 1,
                row if row < first => 0,
                _ => 2 * n + 2,
            } as f64;
            self.mark(row, "one", f64::from(u8::from(row < n)));
            self.mark(row, "place", place);
            self.mark(row, "square", place * place);
        }
        if self.layout.anchored() == 0 {
            return;
        }
        for row in 0..first {
            self.mark(row, "offset", NOBODY);
        }
        let middle = (rows - first - 1) as f64 / 2.0;
        for row in first..rows {
            let k = (row - first) as f64 - middle;
            self.mark(row, "anchor", k);
            self.mark(row, "offset", -k * k);
        }
        for (at, node) in self.layout.curves.iter().enumerate() {
            let column = self.z.nth("value", at);
            let head = self.head_of(*node);
            for (k, value) in head.values.iter().enumerate() {
                self.map.constant[(first + k, column)] = *value;
            }
        }
    }

    fn mark(&mut self, row: usize, column: &'static str, value: f64) {
        self.map.constant[(row, self.z.at(column))] = value;
    }

    fn head_of(&self, node: usize) -> Rc<Head> {
        let head = self.plan.heads[node].as_ref();
        head.map_or_else(|| unreachable!("a plan has a head for every curve and product"), Rc::clone)
    }

    /// Lets a column hold `unit` (form − middle) at every position.
    fn express(&mut self, column: usize, form: &Form, middle: f64, unit: f64) {
        for (node, weight) in &form.terms {
            if self.nodes.all[*node].kind == Kind::Index {
                for row in 0..self.layout.seq_len {
                    self.map.constant[(row, column)] += unit * weight * (row + 1) as f64;
                }
                continue;
            }
            let from = match self.nodes.all[*node].kind {
                Kind::Own(number) if self.layout.is_first => Some(number),
                _ => self.layout.incoming.iter().position(|there| there == node),
            };
            let from = from.unwrap_or_else(|| unreachable!("a schedule hands on what is needed"));
            self.map.linear.weight_mut()[(from, column)] += unit * weight;
        }
        for row in 0..self.layout.seq_len {
            self.map.constant[(row, column)] += unit * (form.constant - middle);
        }
    }

    /// Writes a value of a head to where its node stands: to its column, or, in the last layer, to the outputs.
    fn write(&self, head: &mut Attention, value: usize, node: usize, factor: f64) {
        if self.layout.is_last {
            for (o, output) in self.nodes.outputs.iter().enumerate() {
                head.output[(value, o)] = factor * output.terms.get(&node).copied().unwrap_or(0.0);
            }
        } else if let Some(at) = self.layout.outgoing.iter().position(|there| *there == node) {
            head.output[(value, at)] = factor;
        }
    }

    fn empty(&self, d_key: usize, d_value: usize) -> Attention {
        Attention::zeros(self.z.width(), d_key, d_value, self.layout.d_out)
    }

    /// Every position hands on its own numbers: its query is that for its own place.
    fn carry(&mut self) {
        if self.layout.carried.is_empty() {
            return;
        }
        let mut head = self.empty(2, self.layout.carried.len());
        head.query.weight[(self.z.at("place"), 0)] = 2.0 * GAP;
        by_square(&mut head, &self.z);
        for (at, form) in self.layout.carried.iter().enumerate() {
            let column = self.z.nth("carried", at);
            self.express(column, form, 0.0, 1.0);
            head.value.weight[(column, at)] = 1.0;
            head.output[(at, at)] = 1.0;
        }
        self.heads.push(head);
    }

    /// Every position takes numbers of another one: its query is the same everywhere.
    fn pick(&mut self) {
        for (at, number) in self.layout.numbers.iter().enumerate() {
            self.map.linear.weight_mut()[(*number, self.z.nth("number", at))] = 1.0;
        }
        for (position, picked) in &self.layout.picked {
            let mut head = self.empty(2, picked.len());
            head.query.weight[(self.z.at("one"), 0)] = 2.0 * GAP * (position + 1) as f64;
            by_square(&mut head, &self.z);
            for (value, node) in picked.iter().enumerate() {
                let Kind::Other { number, .. } = self.nodes.all[*node].kind else { continue };
                let at = self.layout.numbers.iter().position(|there| *there == number).unwrap_or(0);
                head.value.weight[(self.z.nth("number", at), value)] = 1.0;
                self.write(&mut head, value, *node, 1.0);
            }
            self.heads.push(head);
        }
    }

    /// A head over anchors with scores c (2 u k − k²), for the argument u in column `at`.
    fn over_anchors(&self, at: usize) -> Attention {
        let mut head = self.empty(KEY, 1);
        head.query.weight[(self.z.nth("argument", at), 0)] = SHARPNESS;
        head.key.weight[(self.z.at("anchor"), 0)] = 2.0;
        head.query.weight[(self.z.at("one"), 1)] = SHARPNESS;
        head.key.weight[(self.z.at("offset"), 1)] = 1.0;
        head
    }

    /// g(u) from its values at the anchors.
    fn curve(&mut self, at: usize, node: usize) {
        let u = &self.nodes.all[node].arguments[0];
        let intervals = self.head_of(node).intervals as f64;
        self.express(self.z.nth("argument", at), &u.form, u.range.middle(), intervals / (u.range.high - u.range.low));
        let mut head = self.over_anchors(at);
        head.value.weight[(self.z.nth("value", at), 0)] = 1.0;
        self.write(&mut head, 0, node, 1.0);
        self.heads.push(head);
    }

    /// a b = A B (((a/A + b/B)/2)² − ((a/A − b/B)/2)²)
    fn product(&mut self, at: usize, node: usize) {
        let Kind::Product([a, b]) = self.nodes.all[node].kind else { return };
        let half = self.head_of(node).intervals as f64 / 2.0;
        let [u, v] = [0, 1].map(|at| self.nodes.all[node].arguments[at].form.clone());
        for (head, sign) in [(at, 1.0), (at + 1, -1.0)] {
            let form = u.times(0.5 / a).plus(sign * 0.5 / b, &v);
            self.express(self.z.nth("argument", head), &form, 0.0, half);
            let mut head = self.over_anchors(head);
            head.value.weight[(self.z.at("offset"), 0)] = -1.0;
            self.write(&mut head, 0, node, sign * a * b / (half * half));
            self.heads.push(head);
        }
    }

    /// max(u, 0) by a position's own row beside the empty one, with scores β u and 0; |u| = max(u, 0) + max(−u, 0).
    fn gate(&mut self, at: usize, node: usize) {
        let column = self.z.nth("gate", at);
        let u = &self.nodes.all[node].arguments[0];
        self.express(column, &u.form, 0.0, 1.0);
        let beta = self.plan.betas[node].unwrap_or_else(|| unreachable!("a plan has a temperature for every gate"));
        let signs: &[f64] = if self.nodes.all[node].kind == Kind::Abs { &[1.0, -1.0] } else { &[1.0] };
        for sign in signs {
            let mut head = self.empty(KEY, 1);
            head.query.weight[(column, 0)] = sign * beta;
            gated(&mut head, &self.z);
            head.value.weight[(column, 0)] = *sign;
            self.write(&mut head, 0, node, 1.0);
            self.heads.push(head);
        }
    }
}
