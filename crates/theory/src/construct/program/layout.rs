//! The second pass: what a layer consists of, from which follows its number of parameters.
//!
//! Rows: the n positions, then an empty row. Columns:
//!
//! | column | at position p | at the empty row |
//! |---|---|---|
//! | `value` | what comes in: a column per node | |
//! | `one` | 1 | |
//! | `place` | p | |
//! | `square` | p² | |
//! | `row` | 1 in column p | 1 in the last column |

use headway_tasks::program::Window;

use super::nodes::{Kind, Nodes};
use crate::{
    places::layer_size,
    schedule::{Form, Stage},
    space::Space,
};

/// Width of keys of gates and of what is carried: attention divides scores by its square root, which is exact.
pub(super) const KEY: usize = 4;

/// One layer.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub seq_len: usize,
    pub is_first: bool,
    pub is_last: bool,
    /// Nodes whose values come in, a column each.
    pub incoming: Vec<usize>,
    /// Nodes whose values go out; of the last layer none, since its output is what the program returns.
    pub outgoing: Vec<usize>,
    /// What is handed on, a form for each number.
    pub carried: Vec<Form>,
    /// Windows, each with the nodes that count over it.
    pub counts: Vec<(Window, Vec<usize>)>,
    pub gates: Vec<usize>,
    pub d_in: usize,
    pub d_out: usize,
}

impl Layout {
    /// The layout of stage `at`.
    pub fn of(nodes: &Nodes, stages: &[Stage], at: usize) -> Self {
        let (stage, is_first, is_last) = (&stages[at], at == 0, at + 1 == stages.len());
        let mut counts: Vec<(Window, Vec<usize>)> = Vec::new();
        let mut gates = Vec::new();
        for node in &stage.computed {
            match nodes.all[*node].kind {
                Kind::Count(window) => match counts.iter_mut().find(|(known, _)| *known == window) {
                    Some((_, all)) => all.push(*node),
                    None => counts.push((window, vec![*node])),
                },
                Kind::Gate => gates.push(*node),
                Kind::Symbol(_) | Kind::Index => {}
            }
        }
        let carried = if is_last {
            // What is returned besides the nodes of this layer.
            let rest = |output: &Form| {
                let mut rest = output.clone();
                rest.terms.retain(|node, _| !stage.computed.contains(node));
                rest
            };
            let rest: Vec<Form> = nodes.outputs.iter().map(rest).collect();
            if rest.iter().all(|form| form.as_number() == Some(0.0)) && !stage.computed.is_empty() {
                Vec::new()
            } else {
                rest
            }
        } else {
            stage.carried.iter().map(|node| Form::node(*node)).collect()
        };
        Self {
            seq_len: nodes.seq_len,
            is_first,
            is_last,
            incoming: stage.incoming.clone(),
            outgoing: stage.outgoing.clone(),
            carried,
            counts,
            gates,
            d_in: if is_first { nodes.symbols } else { stage.incoming.len() },
            d_out: if is_last { nodes.outputs.len() } else { stage.outgoing.len() },
        }
    }

    pub fn rows(&self) -> usize {
        self.seq_len + 1
    }

    pub fn space(&self) -> Space {
        let mut parts = vec![("value", self.incoming.len()), ("one", 1), ("place", 1), ("square", 1)];
        if !self.counts.is_empty() {
            parts.push(("row", self.rows()));
        }
        Space::new(&parts)
    }

    /// Width of keys of counting heads: a power of 4, so that attention divides scores by a power of 2.
    pub fn window_key(&self) -> usize {
        std::iter::successors(Some(KEY), |width| Some(4 * width)).find(|width| *width >= self.rows()).unwrap_or(KEY)
    }

    /// Number, key width and value width of the heads of a kind.
    fn heads(&self) -> Vec<[usize; 3]> {
        let carrying = (!self.carried.is_empty()).then_some([1, KEY, self.carried.len()]);
        let counting = self.counts.iter().map(|(_, nodes)| [1, self.window_key(), nodes.len()]);
        carrying.into_iter().chain(counting).chain([[self.gates.len(), KEY, 1]]).collect()
    }

    pub fn n_heads(&self) -> usize {
        self.heads().iter().map(|[count, ..]| count).sum()
    }

    pub fn parameters(&self) -> f64 {
        layer_size(self.d_in, [self.rows(), self.space().width(), self.d_out], &self.heads())
    }
}
