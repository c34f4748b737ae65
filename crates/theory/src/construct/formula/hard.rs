//! Inputs at which errors are expected to be large: corners; where a gate's argument is 0 or where its error is largest; where an
//! argument lies on an anchor or between two.

use headway_tasks::{Probe, SampleRng};
use rand::RngExt;

use super::{
    nodes::{Kind, Nodes},
    plan::Plan,
};
use crate::construct::options::Ends;

/// Number of corners.
const CORNERS: usize = 128;
/// Lines along which a value of an argument is looked for.
const LINES: usize = 6;
/// |β u| at which a gate is farthest off.
const GATE_AT: f64 = 1.2785;
/// Places between two anchors, in units of their distance.
const BETWEEN: [f64; 4] = [0.0, 0.25, 0.5, 0.75];
/// Cells of a curve that are looked at.
const CELLS: usize = 6;

pub(super) fn points(nodes: &Nodes, plan: &Plan, ends: Ends) -> Vec<(&'static str, Vec<Vec<f64>>)> {
    let mut rng = Probe::Formula.rng();
    let count = nodes.seq_len * nodes.d_in;
    let Ends { low, high } = ends;
    let mut corners = vec![vec![low; count], vec![high; count], vec![f64::midpoint(low, high); count]];
    for _ in 0..CORNERS {
        corners.push((0..count).map(|_| if rng.random::<bool>() { low } else { high }).collect());
    }
    let (mut kinks, mut ties) = (Vec::new(), Vec::new());
    for (at, node) in nodes.all.iter().enumerate() {
        match (node.kind, &plan.heads[at], plan.betas[at]) {
            (Kind::Relu | Kind::Abs, _, Some(beta)) => {
                for value in [0.0, GATE_AT / beta, -GATE_AT / beta] {
                    kinks.extend(reaching(nodes, at, value, ends, &mut rng));
                }
            }
            (Kind::Curve(_), Some(head), _) => {
                let range = node.arguments[0].range;
                let spacing = (range.high - range.low) / head.intervals as f64;
                for cell in (0..head.intervals).step_by(head.intervals.div_ceil(CELLS)) {
                    for part in BETWEEN {
                        let value = range.low + spacing * (cell as f64 + part);
                        ties.extend(reaching(nodes, at, value, ends, &mut rng));
                    }
                }
            }
            _ => {}
        }
    }
    let kinds = [("corners", corners), ("kinks", kinks), ("ties", ties)];
    kinds.into_iter().filter(|(_, points)| !points.is_empty()).collect()
}

/// Inputs at which the first argument of a node has a value at some position: by bisection along lines through the domain.
fn reaching(nodes: &Nodes, node: usize, value: f64, ends: Ends, rng: &mut SampleRng) -> Vec<Vec<f64>> {
    let count = nodes.seq_len * nodes.d_in;
    let form = &nodes.all[node].arguments[0].form;
    let mut found = Vec::new();
    for _ in 0..LINES {
        let position = rng.random_range(0..nodes.seq_len);
        let mut end = || -> Vec<f64> { (0..count).map(|_| rng.random_range(ends.low..=ends.high)).collect() };
        let (from, to) = (end(), end());
        let at = |t: f64| -> Vec<f64> { from.iter().zip(&to).map(|(a, b)| a + t * (b - a)).collect() };
        let beyond = |t: f64| {
            let values = nodes.values(&at(t), position);
            form.value(|node| values[node]) - value
        };
        let (mut low, mut high) = (0.0, 1.0);
        let rises = beyond(1.0) > beyond(0.0);
        if (beyond(0.0) > 0.0) == (beyond(1.0) > 0.0) {
            continue;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if (beyond(middle) > 0.0) == rises { high = middle } else { low = middle }
        }
        found.push(at(high));
    }
    found
}
