//! The third pass: how far every node may be from its integer.
//!
//! - A **gate** whose argument u is off by e ≤ 1/4 has scores β (u − 1/2 ± e) and 0, and is off by at most exp(−β (1/2 − e)), and by what
//!   other rows get, n exp(−60). So errors do not add up along a path: every gate begins anew.
//! - A **count** over at most m positions is off by m times what it counts is off by, and by m exp(−60) per row beyond the window.
//! - In **float32** forms of t terms add γ_{t + 4} (Σ |w| |v| + |t|), counts m ε (2 n + 24 + 4 ln m) |u|, gates 8 ε, numbers that are
//!   handed on 8 ε |v| per layer; a score is off by ε (720 n² + 16) besides. Everything else is an integer that float32 holds.

use super::nodes::{Kind, Nodes};
use crate::bound::Bound;
use crate::{
    interpolation::F32_ROUNDOFF,
    schedule::{Form, Schedule},
};

/// β of gates: twice 60, since u − 1/2 is at least 1/2 away from 0.
pub(super) const BETA: f64 = 120.0;
/// The largest error of a gate's argument that is let pass.
const SLACK: f64 = 0.25;
/// e⁻⁵⁹: what a row gets whose score is 60 below, and off by less than 1.
const STRAY: f64 = 2.38e-26;

/// Bound and rounding of the outputs.
///
/// # Errors
/// The largest error of a gate's argument if it is too large in float32.
pub(super) fn bounds(nodes: &Nodes, schedule: &Schedule) -> Result<[Bound; 2], f64> {
    let [exact, rounded] = [Errors::of(nodes, schedule, 0.0)?, Errors::of(nodes, schedule, F32_ROUNDOFF)?];
    let bound = Bound::default().and(
        "truth values",
        format!("largest error at an output: a gate is off by exp(-{BETA} (1/2 - e)) + n exp(-60) for an argument off by e, a count over m positions by m times what it counts"),
        exact,
    );
    let rounding = Bound::default().and(
        "float32",
        "the same with gamma_(t + 4) (sum |w| |v| + |t|) for a form of t terms, m eps (2 n + 24 + 4 ln m) |u| for a count, 8 eps for a gate, 8 eps |v| for each layer that hands a number on",
        rounded - exact,
    );
    Ok([bound, rounding])
}

struct Errors<'a> {
    nodes: &'a Nodes,
    eps: f64,
    /// Per node, as its last reader sees it.
    each: Vec<f64>,
}

impl Errors<'_> {
    /// The largest error of an output in arithmetic with roundings of `eps`.
    fn of(nodes: &Nodes, schedule: &Schedule, eps: f64) -> Result<f64, f64> {
        let mut errors = Errors { nodes, eps, each: Vec::with_capacity(nodes.all.len()) };
        let n = nodes.seq_len as f64;
        let stray = (n + 1.0) * STRAY;
        for (at, node) in nodes.all.iter().enumerate() {
            let own = match (node.kind, &node.argument) {
                (Kind::Count(window), Some(u)) => {
                    let most = nodes.widths(window).into_iter().max().unwrap_or(1).max(1) as f64;
                    let size = errors.size(u);
                    most * (errors.form(u) + size * (eps * (2.0 * n + 24.0 + 4.0 * most.ln()) + stray))
                }
                (Kind::Gate, Some(u)) => {
                    let off = errors.form(u);
                    if off > SLACK {
                        return Err(off);
                    }
                    let lead = BETA * (0.5 - off) - eps * (720.0 * n * n + 16.0);
                    (-lead).exp() + stray + 8.0 * eps
                }
                _ => 0.0,
            };
            let layers = schedule.last_use[at].saturating_sub(schedule.levels[at] + 1) as f64;
            errors.each.push(own + layers * (nodes.size(at) + own) * (8.0 * eps + stray));
        }
        let output = |form: &Form| errors.form(form) + errors.size(form) * (8.0 * eps + stray);
        Ok(nodes.outputs.iter().map(output).fold(0.0, f64::max))
    }

    /// Σ |w| |v| + |t|
    fn size(&self, form: &Form) -> f64 {
        form.constant.abs() + form.spread(|node| self.nodes.size(node))
    }

    fn form(&self, form: &Form) -> f64 {
        let gamma = 1.01 * self.eps * (form.terms.len() as f64 + 4.0);
        form.spread(|node| self.each[node]) + gamma * self.size(form)
    }
}
