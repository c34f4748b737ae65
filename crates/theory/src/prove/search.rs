//! Branch and bound: the domain is split into boxes until the error on each is bounded.

use std::time::{Duration, Instant};

use headway_tasks::{Interval, Jet, Order};
use rayon::prelude::*;

use super::mixture::{Enclosed, Head, enclose};
use crate::target::Enclosure;

/// What is to be bounded: |mixtures − target| over a box.
pub struct Question {
    /// The mixtures, whose sum is the network.
    pub heads: Vec<Head>,
    /// The target over boxes of the same variables, with an output for each of the mixtures.
    pub target: Enclosure,
    /// The box. `[d]`
    pub sides: Vec<Interval>,
    /// What is added to the error whatever the box, because the variables are not quite those of the target.
    pub shift: f64,
}

/// How long a search may last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Longest time.
    pub time: Duration,
    /// Largest number of boxes that are kept.
    pub boxes: usize,
    /// The search ends when the bound exceeds the largest error that was seen by this share of it.
    pub gap: f64,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Boxes examined.
    pub examined: usize,
    /// Boxes that are to be split.
    pub left: usize,
    /// The largest error seen at the middle of a box: no bound can be lower.
    pub seen: f64,
    /// The bound that holds now.
    pub bound: f64,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// sup |mixtures − target| is at most this in exact arithmetic.
    pub bound: f64,
    /// The largest error seen at the middle of a box, rounded down.
    pub seen: f64,
    /// What float32 adds at most.
    pub rounding: f64,
    /// The boxes: `0` for a box that is not split, else the axis from 1 along which it is halved, then its lower half, then
    /// its upper one.
    pub tree: String,
    /// Number of boxes that are not split.
    pub boxes: usize,
    /// Number of boxes that were examined.
    pub examined: usize,
    /// Whether the search ended before its limit.
    pub ended: bool,
}

/// A box of the tree.
struct Node {
    /// Axis from 1, and the lower of two halves that stand side by side; axis 0 if it is not split.
    split: (u8, u32),
}

/// What is known over one box.
struct Look {
    bound: f64,
    seen: f64,
    rounding: f64,
    loose: f64,
    axis: usize,
}

/// The mixtures and the target over one box.
fn look(question: &Question, sides: &[Interval]) -> Look {
    let over = (question.target)(&Jet::variables(sides, Order::First));
    let points: Vec<Interval> = sides.iter().map(|side| Interval::point(side.middle())).collect();
    let at = (question.target)(&Jet::variables(&points, Order::First));
    let mut worst = Look { bound: 0.0, seen: 0.0, rounding: 0.0, loose: 0.0, axis: 0 };
    for ((found, over), at) in enclose(&question.heads, sides).iter().zip(&over).zip(&at) {
        let Enclosed { middle, range, slopes, rounding, loose } = found;
        let here = *middle - at.value;
        let mut most = here.magnitude();
        let (mut axis, mut steepest) = (0, -1.0);
        for (j, side) in sides.iter().enumerate() {
            let radius = (side.high - side.middle()).max(side.middle() - side.low).next_up();
            let part = (slopes[j] - over.gradient[j]).magnitude() * radius;
            let part = if part.is_nan() { f64::INFINITY } else { part };
            if part > steepest || (part >= steepest && side.width() > sides[axis].width()) {
                (axis, steepest) = (j, part);
            }
            most = (most + part.next_up()).next_up();
        }
        // The mean value theorem needs slopes; without them the ranges are compared.
        let ranges = (*range - over.value).magnitude();
        let bound = if ranges.is_nan() { most } else { most.min(ranges) };
        let bound = if bound.is_nan() { f64::INFINITY } else { bound };
        if bound >= worst.bound {
            (worst.bound, worst.axis) = (bound, axis);
        }
        if !here.is_undefined() {
            worst.seen = worst.seen.max(here.mignitude());
        }
        worst.loose = worst.loose.max(*loose);
        worst.rounding = worst.rounding.max(if rounding.is_nan() { f64::INFINITY } else { *rounding });
    }
    worst.bound = (worst.bound + question.shift).next_up();
    worst
}

/// Boxes are examined in rounds of at most this many, between which the clock is read.
const ROUND: usize = 4096;

/// Splits the box of a question until the bound is within the gap of the largest error seen, or the limit is reached: the
/// bound holds whenever it ends.
pub fn search(question: &Question, limit: Limit, mut progress: impl FnMut(Progress)) -> Found {
    let start = Instant::now();
    let mut nodes = vec![Node { split: (0, 0) }];
    // Boxes with their place in the tree and what is known of them, that may have to be split.
    let mut open: Vec<(u32, Vec<Interval>, Look)> = vec![(0, question.sides.clone(), look(question, &question.sides))];
    let (mut examined, mut seen, mut bound, mut rounding) = (1, 0.0_f64, 0.0_f64, 0.0_f64);
    let mut ended = true;
    while !open.is_empty() {
        seen = open.iter().fold(seen, |seen, (_, _, look)| seen.max(look.seen));
        let goal = seen * (1.0 + limit.gap) + 1e-13 + question.shift;
        let mut rest = Vec::new();
        for (node, sides, look) in open {
            // What variables are off by is in the bound, and missing from what was seen.
            if look.bound <= goal + (2.0 * look.loose).min(4.0 * limit.gap * seen) && look.rounding.is_finite() {
                bound = bound.max(look.bound);
                rounding = rounding.max(look.rounding);
            } else {
                rest.push((node, sides, look));
            }
        }
        open = rest;
        // The worst boxes first.
        open.sort_by(|a, b| a.2.bound.total_cmp(&b.2.bound));
        let worst = open.last().map_or(bound, |(_, _, look)| look.bound);
        progress(Progress { examined, left: open.len(), seen, bound: worst.max(bound) });
        if start.elapsed() > limit.time || nodes.len() + 2 * ROUND > limit.boxes {
            ended = open.is_empty();
            break;
        }
        let now = open.split_off(open.len().saturating_sub(ROUND));
        let mut halves = Vec::with_capacity(2 * now.len());
        let mut stuck = false;
        for (node, sides, look) in now {
            let axis = look.axis;
            let (low, high) = (sides[axis].low, sides[axis].high);
            if !(low < sides[axis].middle() && sides[axis].middle() < high) {
                // Doubles are not dense enough to split it.
                (bound, rounding, stuck) = (bound.max(look.bound), rounding.max(look.rounding), true);
                continue;
            }
            nodes[node as usize].split = (axis as u8 + 1, nodes.len() as u32);
            for half in sides[axis].halves() {
                let mut part = sides.clone();
                part[axis] = half;
                halves.push((nodes.len() as u32, part));
                nodes.push(Node { split: (0, 0) });
            }
        }
        ended &= !stuck;
        examined += halves.len();
        open.par_extend(halves.into_par_iter().map(|(node, sides)| {
            let look = look(question, &sides);
            (node, sides, look)
        }));
    }
    for (_, _, look) in &open {
        (bound, rounding, seen) = (bound.max(look.bound), rounding.max(look.rounding), seen.max(look.seen));
    }
    let boxes = nodes.iter().filter(|node| node.split.0 == 0).count();
    Found { bound, seen, rounding, tree: written(&nodes), boxes, examined, ended }
}

/// The tree as text.
fn written(nodes: &[Node]) -> String {
    let mut text = String::with_capacity(nodes.len());
    let mut stack = vec![0];
    while let Some(at) = stack.pop() {
        let (axis, first) = nodes[at as usize].split;
        text.push(char::from(b'0' + axis));
        if axis > 0 {
            stack.extend([first + 1, first]);
        }
    }
    text
}
