//! The fourth pass: how much each node may be off, so that the sum at every output stays below an aim.
//!
//! If node v is off by e_v, the output is off by at most Σ_v S_v e_v, where S_v bounds the slope of the output in the node: by intervals
//! of derivatives, from the outputs back to the inputs. All curves get equal shares of the aim; what products and gates get is a
//! twentieth each, since they are accurate at any size.

use super::nodes::{Kind, Nodes};

/// Share of the aim for all products together, and for all gates together.
const FINE: f64 = 0.05;
/// A slope without bound, as that of a root at 0, counts as so many times the mean slope.
const STEEPEST: f64 = 100.0;

/// How steep a node is in its arguments.
fn slopes(nodes: &Nodes, node: usize) -> [f64; 2] {
    let node = &nodes.all[node];
    match node.kind {
        Kind::Own(_) | Kind::Index | Kind::Other { .. } => [0.0; 2],
        Kind::Curve(curve) => {
            let range = node.arguments[0].range;
            let [value, slope, _] = curve.rule.over(range);
            let mean = value.width() / range.width().max(f64::MIN_POSITIVE);
            [slope.magnitude().min(STEEPEST * mean), 0.0]
        }
        Kind::Product([a, b]) => [b, a],
        Kind::Relu | Kind::Abs => [1.0, 0.0],
    }
}

/// What reaches each node from one output, if a node hands on `through` times what reaches it to its arguments.
pub(super) fn backwards(nodes: &Nodes, output: usize, through: impl Fn(usize) -> [f64; 2]) -> Vec<f64> {
    let mut reached = vec![0.0; nodes.all.len()];
    for (node, weight) in &nodes.outputs[output].terms {
        reached[*node] += weight.abs();
    }
    for at in (0..nodes.all.len()).rev() {
        if reached[at] > 0.0 {
            for (argument, factor) in nodes.all[at].arguments.iter().zip(through(at)) {
                for (node, weight) in &argument.form.terms {
                    reached[*node] += reached[at] * factor * weight.abs();
                }
            }
        }
    }
    reached
}

/// The largest error of each node for an error of `aim` at the outputs; infinite where it does not matter.
pub(super) fn budgets(nodes: &Nodes, aim: f64) -> Vec<f64> {
    let mut budgets = vec![f64::INFINITY; nodes.all.len()];
    for output in 0..nodes.outputs.len() {
        let reached = backwards(nodes, output, |node| slopes(nodes, node));
        let is_curve = |node: usize| matches!(nodes.all[node].kind, Kind::Curve(_));
        let is_product = |node: usize| matches!(nodes.all[node].kind, Kind::Product(_));
        let is_gate = |node: usize| matches!(nodes.all[node].kind, Kind::Relu | Kind::Abs);
        let count = |wanted: &dyn Fn(usize) -> bool| {
            reached.iter().enumerate().filter(|(node, size)| **size > 0.0 && wanted(*node)).count().max(1) as f64
        };
        let curves = count(&is_curve);
        let (products, gates) = (count(&is_product), count(&is_gate));
        for (node, size) in reached.iter().enumerate().filter(|(_, size)| **size > 0.0) {
            let share = match () {
                () if is_curve(node) => (1.0 - 2.0 * FINE) / curves,
                () if is_product(node) => FINE / products,
                () if is_gate(node) => FINE / gates,
                () => continue,
            };
            budgets[node] = budgets[node].min(share * aim / size);
        }
    }
    budgets
}
