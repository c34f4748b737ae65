//! The fifth pass: sizes. Every curve gets the fewest anchors within its budget, every layer as many as its neediest head.

use std::{collections::HashMap, rc::Rc};

use super::{
    anchored::{BEYOND, BEYOND_OF_SQUARES, Head},
    budgets::budgets,
    errors::{self, Means},
    layout::Layout,
    nodes::{Kind, Nodes},
};
use crate::{bound::Bound, construct::Cost, schedule::Schedule};

/// Numbers of intervals on the range of a curve that are tried.
const INTERVALS: [usize; 17] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// Fewest intervals on the range of squares: broader ones store much larger values beyond it than on it.
const FEWEST_OF_SQUARES: usize = 4;
/// Share of its budget that a gate takes: sharpness costs no parameters.
const SHARPER: f64 = 1e-4;
/// Largest β |u| of a gate: beyond it scores of other rows are not told apart in float32.
const SHARPEST: f64 = 4e6;

/// Heads over anchors, made once each.
#[derive(Debug, Default)]
pub(super) struct Heads {
    known: HashMap<(Option<usize>, usize), Rc<Head>>,
}

impl Heads {
    /// The head for a node, or for squares, with so many anchors.
    fn get(&mut self, nodes: &Nodes, node: usize, anchors: usize) -> Rc<Head> {
        let (key, make): (_, Box<dyn Fn() -> Head>) = match nodes.all[node].kind {
            Kind::Curve(curve) => {
                let range = nodes.all[node].arguments[0].range;
                (Some(node), Box::new(move || Head::of_curve(curve, range, anchors)))
            }
            _ => (None, Box::new(move || Head::of_squares(anchors))),
        };
        Rc::clone(self.known.entry((key, anchors)).or_insert_with(|| Rc::new(make())))
    }
}

/// Sizes of all layers, with bound and rounding.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub layouts: Vec<Layout>,
    /// Number of anchors of each layer; 0 without curves and products.
    pub anchors: Vec<usize>,
    /// The head over anchors of each node, if it has one.
    pub heads: Vec<Option<Rc<Head>>>,
    /// Inverse temperature of each node's gate.
    pub betas: Vec<Option<f64>>,
    pub bound: Bound,
    pub rounding: Bound,
}

impl Plan {
    /// The plan for an error of `aim` at the outputs; it may miss it, where no number of anchors is enough.
    pub fn of(nodes: &Nodes, schedule: &Schedule, aim: f64, made: &mut Heads) -> Self {
        let budgets = budgets(nodes, aim);
        let depth = schedule.stages.len();
        let layouts: Vec<Layout> = (0..depth).map(|at| Layout::of(nodes, &schedule.stages, at)).collect();
        let mut heads: Vec<Option<Rc<Head>>> = vec![None; nodes.all.len()];
        let mut betas = vec![None; nodes.all.len()];
        let mut anchors = Vec::with_capacity(depth);
        for layout in &layouts {
            let wanted = layout.curves.iter().chain(&layout.products).map(|node| {
                let (scale, beyond, fewest) = match nodes.all[*node].kind {
                    Kind::Product([a, b]) => (a * b, BEYOND_OF_SQUARES, FEWEST_OF_SQUARES),
                    _ => (1.0, BEYOND, INTERVALS[0]),
                };
                let sizes = INTERVALS.iter().filter(|size| **size >= fewest).map(|size| size + 2 * beyond + 1);
                let mut best = (f64::INFINITY, fewest + 2 * beyond + 1);
                for anchors in sizes {
                    let error = scale * made.get(nodes, *node, anchors).error;
                    if error <= budgets[*node] {
                        return anchors;
                    }
                    if error < best.0 {
                        best = (error, anchors);
                    }
                }
                best.1
            });
            let most = wanted.max().unwrap_or(0);
            for node in layout.curves.iter().chain(&layout.products) {
                heads[*node] = Some(made.get(nodes, *node, most));
            }
            for node in &layout.gates {
                let range = nodes.all[*node].arguments[0].range.magnitude();
                let sharp = 0.2785 / (SHARPER * budgets[*node]);
                betas[*node] = Some(sharp.clamp(1.0 / range, SHARPEST / range));
            }
            anchors.push(most);
        }
        let rows = layouts.iter().zip(&anchors).map(|(layout, anchors)| layout.others() + anchors).max().unwrap_or(0);
        let means: Vec<Means> = heads
            .iter()
            .zip(&betas)
            .map(|pair| match pair {
                (Some(head), _) => Means::Anchors(head),
                (_, Some(beta)) => Means::Gate(*beta),
                _ => Means::Copy,
            })
            .collect();
        let [bound, rounding] = errors::bounds(nodes, schedule, &means, rows);
        Self { layouts, anchors, heads, betas, bound, rounding }
    }

    /// Number of rows of the longest layer.
    pub fn rows(&self) -> usize {
        let rows = self.layouts.iter().zip(&self.anchors).map(|(layout, anchors)| layout.others() + anchors);
        rows.max().unwrap_or(0)
    }

    pub fn parameters(&self) -> f64 {
        self.layouts.iter().zip(&self.anchors).map(|(layout, anchors)| layout.parameters(*anchors)).sum()
    }

    pub fn cost(&self) -> Cost {
        Cost::of(&self.bound, &self.rounding, self.parameters())
    }
}
