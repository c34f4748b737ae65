//! The third pass: which layer computes which node, and which numbers each layer hands on.
//!
//! A node is computed in the first layer in which all that it needs is there: input numbers of the position itself are there from
//! the start, those of other positions after one layer. Whatever a later layer needs is carried until then.

use super::nodes::{Form, Kind, Nodes};

/// One layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
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
pub(super) struct Schedule {
    pub stages: Vec<Stage>,
    /// The layer that computes each node, from 1; 0 for what is there from the start.
    pub levels: Vec<usize>,
    /// The last layer that needs each node.
    pub last_use: Vec<usize>,
}

impl Schedule {
    pub fn of(nodes: &Nodes) -> Self {
        let mut levels: Vec<usize> = Vec::with_capacity(nodes.all.len());
        for node in &nodes.all {
            let above = |form: &Form| form.terms.keys().map(|node| levels[*node]).max().unwrap_or(0);
            levels.push(match node.kind {
                Kind::Own(_) | Kind::Index => 0,
                Kind::Other { .. } => 1,
                _ => 1 + node.arguments.iter().map(|argument| above(&argument.form)).max().unwrap_or(0),
            });
        }
        let used = needed(nodes);
        let depth = levels.iter().zip(&used).filter(|(_, used)| **used).map(|(level, _)| *level).max();
        let depth = depth.unwrap_or(1).max(1);
        let mut last_use = vec![0; nodes.all.len()];
        for ((node, level), used) in nodes.all.iter().zip(&levels).zip(&used) {
            for argument in node.arguments.iter().filter(|_| *used) {
                argument.form.terms.keys().for_each(|from| last_use[*from] = last_use[*from].max(*level));
            }
        }
        for from in nodes.outputs.iter().flat_map(|output| output.terms.keys()) {
            last_use[*from] = depth;
        }
        let is_held = |node: usize| nodes.all[node].kind != Kind::Index && used[node];
        let all = || (0..nodes.all.len()).filter(|node| is_held(*node));
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
fn needed(nodes: &Nodes) -> Vec<bool> {
    let mut used = vec![false; nodes.all.len()];
    for output in &nodes.outputs {
        output.terms.keys().for_each(|node| used[*node] = true);
    }
    for at in (0..nodes.all.len()).rev() {
        if used[at] {
            let forms = nodes.all[at].arguments.iter().map(|argument| &argument.form);
            forms.flat_map(|form| form.terms.keys()).for_each(|node| used[*node] = true);
        }
    }
    used
}
