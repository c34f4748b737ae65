//! Nodes: what heads compute, each from an affine form of earlier nodes, all of them integers.
//!
//! | node | value | by |
//! |---|---|---|
//! | symbol | whether the position holds it | the input |
//! | count | Σ_j u(j) over the positions of a window | a head that attends equally to them |
//! | gate | 1 where u ≥ 1, else 0 | a head that attends to the position or to the empty row |
//!
//! `not p` is 1 − p, and sums of numbers are forms too: no head is spent on them.

use headway_tasks::program::Window;

use crate::schedule::{Form, Graph};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Symbol(usize),
    /// The index of the position, from 1.
    Index,
    Count(Window),
    Gate,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// u, of a count and of a gate.
    pub argument: Option<Form>,
    /// Least and largest value.
    pub range: [f64; 2],
}

/// Something that has a name in the program, as a form of nodes.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub name: String,
    pub form: Form,
}

/// The nodes of a program, each after those that it needs.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub all: Vec<Node>,
    /// One per returned number.
    pub outputs: Vec<Form>,
    pub variables: Vec<Variable>,
    pub seq_len: usize,
    pub symbols: usize,
}

impl Nodes {
    /// Least and largest value of a form. Of the symbols, one is 1 and the others are 0.
    pub fn range(&self, form: &Form) -> [f64; 2] {
        let mut range = [form.constant; 2];
        let mut symbols: Vec<f64> = Vec::new();
        for (node, weight) in &form.terms {
            let Node { kind, range: [low, high], .. } = self.all[*node];
            if matches!(kind, Kind::Symbol(_)) {
                symbols.push(*weight);
                continue;
            }
            let ends = [weight * low, weight * high];
            range[0] += ends[0].min(ends[1]);
            range[1] += ends[0].max(ends[1]);
        }
        if symbols.len() < self.symbols {
            symbols.push(0.0);
        }
        range[0] += symbols.iter().copied().fold(f64::INFINITY, f64::min);
        range[1] += symbols.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        range
    }

    /// The largest size of a node's value.
    pub fn size(&self, node: usize) -> f64 {
        let [low, high] = self.all[node].range;
        low.abs().max(high.abs())
    }

    /// Number of positions that each position looks at.
    pub fn widths(&self, window: Window) -> Vec<usize> {
        let n = self.seq_len;
        (1..=n).map(|i| (1..=n).filter(|j| window.holds(*j, i, n)).count()).collect()
    }
}

impl Graph for Nodes {
    fn len(&self) -> usize {
        self.all.len()
    }

    fn given(&self, node: usize) -> Option<usize> {
        matches!(self.all[node].kind, Kind::Symbol(_) | Kind::Index).then_some(0)
    }

    fn is_constant(&self, node: usize) -> bool {
        self.all[node].kind == Kind::Index
    }

    fn arguments(&self, node: usize) -> impl Iterator<Item = &Form> {
        self.all[node].argument.iter()
    }

    fn outputs(&self) -> &[Form] {
        &self.outputs
    }
}
