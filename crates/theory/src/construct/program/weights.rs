//! The last pass: weights, over the named columns of every layer.

use headway_plain::{
    Readout,
    network::{Head, InputMap},
};

use super::{
    errors::BETA,
    layout::{KEY, Layout},
    nodes::{Kind, Nodes},
};
use crate::{
    network::{Layer, Network},
    places::{GAP, by_square, gated},
    schedule::Form,
    space::Space,
};

/// The network of a program.
pub(super) fn network(nodes: &Nodes, layouts: &[Layout]) -> Network {
    Network {
        seq_len: nodes.seq_len,
        d_in: nodes.symbols,
        d_out: nodes.outputs.len(),
        layers: layouts.iter().map(|layout| Writer::new(nodes, layout).layer()).collect(),
        readout: Readout::Rows,
        causal: false,
    }
}

/// Writes one layer.
struct Writer<'a> {
    nodes: &'a Nodes,
    layout: &'a Layout,
    z: Space,
    map: InputMap,
    heads: Vec<Head>,
}

impl<'a> Writer<'a> {
    fn new(nodes: &'a Nodes, layout: &'a Layout) -> Self {
        let z = layout.space();
        let map = InputMap { queries: layout.seq_len, ..InputMap::token_wise(layout.d_in, layout.rows(), z.width()) };
        Self { nodes, layout, z, map, heads: Vec::new() }
    }

    fn layer(mut self) -> Layer {
        self.mark_rows();
        self.carry();
        for at in 0..self.layout.counts.len() {
            self.count(at);
        }
        for node in &self.layout.gates {
            self.gate(*node);
        }
        Layer { space: self.z, map: self.map, heads: self.heads }
    }

    /// What comes in, and places.
    fn mark_rows(&mut self) {
        for (at, node) in self.layout.incoming.iter().enumerate() {
            let from = match self.nodes.all[*node].kind {
                Kind::Symbol(symbol) if self.layout.is_first => symbol,
                _ => at,
            };
            self.map.linear.weight_mut()[(from, self.z.nth("value", at))] = 1.0;
        }
        for row in 0..self.layout.seq_len {
            let place = (row + 1) as f64;
            for (column, value) in [("one", 1.0), ("place", place), ("square", place * place)] {
                self.map.constant[(row, self.z.at(column))] = value;
            }
        }
        if !self.layout.counts.is_empty() {
            for row in 0..self.layout.rows() {
                self.map.constant[(row, self.z.nth("row", row))] = 1.0;
            }
        }
    }

    /// Columns and weights of a form, which is 0 at the empty row.
    fn columns(&self, form: &Form) -> Vec<(usize, f64)> {
        let column = |node: usize| match self.nodes.all[node].kind {
            Kind::Index => self.z.at("place"),
            _ => {
                let at = self.layout.incoming.iter().position(|there| *there == node);
                self.z.nth("value", at.unwrap_or_else(|| unreachable!("a schedule hands on what is needed")))
            }
        };
        let terms = form.terms.iter().map(|(node, weight)| (column(*node), *weight));
        terms.chain([(self.z.at("one"), form.constant)]).collect()
    }

    /// Writes a value of a head to where its node stands, or to what is returned.
    fn write(&self, head: &mut Head, value: usize, node: usize, factor: f64) {
        if self.layout.is_last {
            for (o, output) in self.nodes.outputs.iter().enumerate() {
                head.output[(value, o)] = factor * output.terms.get(&node).copied().unwrap_or(0.0);
            }
        } else if let Some(at) = self.layout.outgoing.iter().position(|there| *there == node) {
            head.output[(value, at)] = factor;
        }
    }

    fn empty(&self, d_key: usize, d_value: usize) -> Head {
        Head::zeros(self.z.width(), d_key, d_value, self.layout.d_out)
    }

    /// Every position hands on its own numbers.
    fn carry(&mut self) {
        if self.layout.carried.is_empty() {
            return;
        }
        let mut head = self.empty(KEY, self.layout.carried.len());
        head.query.weight[(self.z.at("place"), 0)] = 2.0 * GAP;
        by_square(&mut head, &self.z);
        for (at, form) in self.layout.carried.iter().enumerate() {
            for (column, weight) in self.columns(form) {
                head.value.weight[(column, at)] += weight;
            }
            head.output[(at, at)] = 1.0;
        }
        self.heads.push(head);
    }

    /// A position attends equally to the w positions of its window, and to the empty row as if it were m − w more, m being the
    /// largest w. So m times what it gets is the sum over the window.
    fn count(&mut self, at: usize) {
        let (window, counted) = &self.layout.counts[at];
        let (n, widths) = (self.layout.seq_len, self.nodes.widths(*window));
        let most = widths.iter().copied().max().unwrap_or(1);
        let mut head = self.empty(self.layout.window_key(), counted.len());
        for (row, width) in widths.iter().enumerate() {
            let query = self.z.nth("row", row);
            for key in 0..n {
                head.query.weight[(query, key)] = if window.holds(key + 1, row + 1, n) { 0.0 } else { -GAP };
            }
            head.query.weight[(query, n)] = if *width == most { -GAP } else { ((most - width) as f64).ln() };
        }
        for row in 0..self.layout.rows() {
            head.key.weight[(self.z.nth("row", row), row)] = 1.0;
        }
        for (value, node) in counted.iter().enumerate() {
            for (column, weight) in self.columns(self.argument(*node)) {
                head.value.weight[(column, value)] += weight;
            }
            self.write(&mut head, value, *node, most as f64);
        }
        self.heads.push(head);
    }

    fn argument(&self, node: usize) -> &'a Form {
        let argument = self.nodes.all[node].argument.as_ref();
        argument.unwrap_or_else(|| unreachable!("counts and gates have an argument"))
    }

    /// A position attends to itself with the score β (u − 1/2), to the empty row with 0.
    fn gate(&mut self, node: usize) {
        let mut head = self.empty(KEY, 1);
        for (column, weight) in self.columns(self.argument(node)) {
            head.query.weight[(column, 0)] += BETA * weight;
        }
        head.query.weight[(self.z.at("one"), 0)] -= BETA / 2.0;
        gated(&mut head, &self.z);
        head.value.weight[(self.z.at("one"), 0)] = 1.0;
        self.write(&mut head, 0, node, 1.0);
        self.heads.push(head);
    }
}
