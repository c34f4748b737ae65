//! Which layer computes which node of a compiled program or formula, and which numbers each layer hands on. What a node needs are affine
//! forms of earlier nodes, which maps before attention compute.
//!
//! A node is computed in the first layer in which all that it needs is there: input numbers of the position itself are there from
//! the start, those of other positions after one layer. Whatever a later layer needs is carried until then.

use std::collections::BTreeMap;

use headway_tasks::Interval;

/// Σ_j w_j v_j + constant over nodes j.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    /// w_j, none of which is 0.
    pub terms: BTreeMap<usize, f64>,
    pub constant: f64,
}

impl Form {
    pub fn number(constant: f64) -> Self {
        Self { terms: BTreeMap::new(), constant }
    }

    pub fn node(node: usize) -> Self {
        Self { terms: BTreeMap::from([(node, 1.0)]), constant: 0.0 }
    }

    /// This form plus a multiple of another.
    pub fn plus(&self, factor: f64, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.constant += factor * other.constant;
        for (node, weight) in &other.terms {
            *sum.terms.entry(*node).or_default() += factor * weight;
        }
        sum.terms.retain(|_, weight| *weight != 0.0);
        sum
    }

    pub fn times(&self, factor: f64) -> Self {
        Self::default().plus(factor, self)
    }

    /// Its value, if it depends on no node.
    pub fn as_number(&self) -> Option<f64> {
        self.terms.is_empty().then_some(self.constant)
    }

    pub fn value(&self, of: impl Fn(usize) -> f64) -> f64 {
        self.constant + self.terms.iter().map(|(node, weight)| weight * of(*node)).sum::<f64>()
    }

    /// Σ_j |w_j| e_j for sizes e_j of the nodes.
    pub fn spread(&self, of: impl Fn(usize) -> f64) -> f64 {
        // Weights of 0 are not kept, so that what is infinite counts only where it is used.
        self.terms.iter().map(|(node, weight)| weight.abs() * of(*node)).sum()
    }

    pub fn range(&self, of: impl Fn(usize) -> Interval) -> Interval {
        let start = Interval::point(self.constant);
        self.terms.iter().fold(start, |sum, (node, weight)| sum + Interval::point(*weight) * of(*node))
    }
}

/// Nodes, each after those that it needs.
pub(crate) trait Graph {
    /// Number of nodes.
    fn len(&self) -> usize;

    /// For a node that needs no other one: after how many layers it is there.
    fn given(&self, node: usize) -> Option<usize>;

    /// Whether it is the same for every input, so that no column holds it.
    fn is_constant(&self, node: usize) -> bool;

    /// What it needs.
    fn arguments(&self, node: usize) -> impl Iterator<Item = &Form>;

    /// What is asked for.
    fn outputs(&self) -> &[Form];
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    /// Nodes whose values its input holds, a column each.
    pub incoming: Vec<usize>,
    /// Of these, the ones that it hands on; for the last layer, none.
    pub carried: Vec<usize>,
    /// Nodes that it computes.
    pub computed: Vec<usize>,
    /// Nodes whose values its output holds, those carried first; for the last layer, none, since its output are the outputs.
    pub outgoing: Vec<usize>,
}

/// The layers of a network, first to last.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub stages: Vec<Stage>,
    /// The layer that computes each node, from 1; 0 for what is there from the start.
    pub levels: Vec<usize>,
    /// The last layer that needs each node.
    pub last_use: Vec<usize>,
}

impl Schedule {
    pub fn of(nodes: &impl Graph) -> Self {
        let mut levels: Vec<usize> = Vec::with_capacity(nodes.len());
        for node in 0..nodes.len() {
            let above = |form: &Form| form.terms.keys().map(|node| levels[*node]).max().unwrap_or(0);
            let computed = || 1 + nodes.arguments(node).map(above).max().unwrap_or(0);
            levels.push(nodes.given(node).unwrap_or_else(computed));
        }
        let used = needed(nodes);
        let depth = levels.iter().zip(&used).filter(|(_, used)| **used).map(|(level, _)| *level).max();
        let depth = depth.unwrap_or(1).max(1);
        let mut last_use = vec![0; nodes.len()];
        for (node, level) in levels.iter().enumerate().filter(|(node, _)| used[*node]) {
            for form in nodes.arguments(node) {
                form.terms.keys().for_each(|from| last_use[*from] = last_use[*from].max(*level));
            }
        }
        for from in nodes.outputs().iter().flat_map(|output| output.terms.keys()) {
            last_use[*from] = depth;
        }
        let all = || (0..nodes.len()).filter(|node| !nodes.is_constant(*node) && used[*node]);
        let mut stages: Vec<Stage> = Vec::with_capacity(depth);
        for layer in 1..=depth {
            let incoming = match stages.last() {
                Some(before) => before.outgoing.clone(),
                None => all().filter(|node| levels[*node] == 0).collect(),
            };
            let later = |node: &usize| layer < depth && last_use[*node] > layer;
            let carried: Vec<usize> = incoming.iter().copied().filter(later).collect();
            let computed: Vec<usize> = all().filter(|node| levels[*node] == layer).collect();
            let outgoing = carried.iter().chain(computed.iter().filter(|node| later(node))).copied().collect();
            stages.push(Stage { incoming, carried, computed, outgoing });
        }
        Self { stages, levels, last_use }
    }
}

/// Whether an output depends on each node.
fn needed(nodes: &impl Graph) -> Vec<bool> {
    let mut used = vec![false; nodes.len()];
    for output in nodes.outputs() {
        output.terms.keys().for_each(|node| used[*node] = true);
    }
    for at in (0..nodes.len()).rev() {
        if used[at] {
            let forms = nodes.arguments(at);
            forms.flat_map(|form| form.terms.keys()).for_each(|node| used[*node] = true);
        }
    }
    used
}
