//! What a layer consists of: its rows, its named columns and its heads, from which follows its number of parameters.
//!
//! Rows: the n positions; an empty row, if there are gates; the anchors, if there are curves or products. Columns:
//!
//! | column | at a position | at the empty row | at an anchor |
//! |---|---|---|---|
//! | `carried` | numbers that are handed on | | |
//! | `number` | its input numbers that are picked | | |
//! | `argument` | of a head over anchors, in units of anchors, 0 in their middle | | |
//! | `gate` | argument of a gate | | |
//! | `one` | 1 | | |
//! | `place` | its index p from 1 | 0 | 2n + 2 |
//! | `square` | p² | 0 | (2n + 2)² |
//! | `anchor` | | | k, 0 in the middle |
//! | `offset` | so low that no head over anchors attends here | the same | −k² |
//! | `value` | | | V_k of a curve |

use super::{
    anchored::SHARPNESS,
    nodes::{Form, Kind, Nodes},
};
use crate::{
    places::{GAP, layer_size},
    schedule::Stage,
    space::Space,
};

/// Width of keys of gates and of heads over anchors: attention divides scores by its square root, which is exact.
pub(in crate::construct) const KEY: usize = 4;

/// Score, before the factor c, of rows that are not anchors: below that of the nearest anchor by 60.
pub(in crate::construct) const NOBODY: f64 = -0.25 - GAP / SHARPNESS;

/// One layer.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub seq_len: usize,
    /// Whether its input are the inputs, and whether its output are the outputs.
    pub is_first: bool,
    pub is_last: bool,
    /// Nodes whose values input and output hold, a column each, unless they are those of the network.
    pub incoming: Vec<usize>,
    pub outgoing: Vec<usize>,
    /// What is handed on, a form for each number: of the nodes of the input.
    pub carried: Vec<Form>,
    /// Positions of which numbers are picked, each with the nodes that these are.
    pub picked: Vec<(usize, Vec<usize>)>,
    /// Which numbers of a position are picked at all.
    pub numbers: Vec<usize>,
    pub curves: Vec<usize>,
    pub products: Vec<usize>,
    pub gates: Vec<usize>,
    /// Number of heads per gate: max(u, 0) takes one, |u| two.
    pub gate_heads: usize,
    /// Number of columns of the output.
    pub d_out: usize,
    pub d_in: usize,
}

impl Layout {
    /// The layout of stage `at` of a schedule.
    pub fn of(nodes: &Nodes, stages: &[Stage], at: usize) -> Self {
        let (stage, is_first, is_last) = (&stages[at], at == 0, at + 1 == stages.len());
        let all = |wanted: &dyn Fn(Kind) -> bool| -> Vec<usize> {
            stage.computed.iter().copied().filter(|node| wanted(nodes.all[*node].kind)).collect()
        };
        let (mut picked, mut numbers) = (Vec::<(usize, Vec<usize>)>::new(), Vec::new());
        for node in &stage.computed {
            let Kind::Other { position, number } = nodes.all[*node].kind else { continue };
            if !numbers.contains(&number) {
                numbers.push(number);
            }
            match picked.iter_mut().find(|(known, _)| *known == position) {
                Some((_, numbers)) => numbers.push(*node),
                None => picked.push((position, vec![*node])),
            }
        }
        let gates = all(&|kind| matches!(kind, Kind::Relu | Kind::Abs));
        let carried = if is_last {
            // What the outputs consist of besides the nodes of this layer.
            let rest = |output: &Form| {
                let mut rest = output.clone();
                rest.terms.retain(|node, _| !stage.computed.contains(node));
                rest
            };
            nodes.outputs.iter().map(rest).collect()
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
            picked,
            numbers,
            curves: all(&|kind| matches!(kind, Kind::Curve(_))),
            products: all(&|kind| matches!(kind, Kind::Product(_))),
            gate_heads: gates.iter().map(|node| if nodes.all[*node].kind == Kind::Abs { 2 } else { 1 }).sum(),
            gates,
            d_out: if is_last { nodes.outputs.len() } else { stage.outgoing.len() },
            d_in: if is_first { nodes.d_in } else { stage.incoming.len() },
        }
    }

    /// Number of heads over anchors.
    pub fn anchored(&self) -> usize {
        self.curves.len() + 2 * self.products.len()
    }

    /// Number of rows besides those of anchors.
    pub fn others(&self) -> usize {
        self.seq_len + usize::from(!self.gates.is_empty())
    }

    pub fn space(&self) -> Space {
        let mut parts = vec![("carried", self.carried.len()), ("number", self.numbers.len())];
        parts.extend([("argument", self.anchored()), ("gate", self.gates.len())]);
        parts.extend([("one", 1), ("place", 1), ("square", 1)]);
        if self.anchored() > 0 {
            parts.extend([("anchor", 1), ("offset", 1), ("value", self.curves.len())]);
        }
        Space::new(&parts)
    }

    /// Number, key width and value width of the heads of a kind.
    fn heads(&self) -> Vec<[usize; 3]> {
        let picked = self.picked.iter().map(|(_, numbers)| [1, 2, numbers.len()]);
        let carrying = (!self.carried.is_empty()).then_some([1, 2, self.carried.len()]);
        let wide = [self.anchored() + self.gate_heads, KEY, 1];
        carrying.into_iter().chain(picked).chain([wide]).collect()
    }

    pub fn n_heads(&self) -> usize {
        self.heads().iter().map(|[count, ..]| count).sum()
    }

    /// Number of parameters with so many anchors.
    pub fn parameters(&self, anchors: usize) -> f64 {
        layer_size(self.d_in, [self.others() + anchors, self.space().width(), self.d_out], &self.heads())
    }
}
