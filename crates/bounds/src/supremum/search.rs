//! Best-first branch and bound, which can end at any time and go on later.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use headway_tasks::{Interval, Probe};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Arithmetic, Question};

/// A box that may have to be halved.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    /// Upper bound on the error there.
    bound: f64,
    /// Axis along which it is best halved.
    axis: usize,
    /// Ends of its sides. `[free]`
    sides: Vec<[f64; 2]>,
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    /// Ties in the order of the sides, so that a search does not depend on what came first.
    fn cmp(&self, other: &Self) -> Ordering {
        let sides = || self.sides.iter().flatten().zip(other.sides.iter().flatten());
        let tie = || sides().map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
        self.bound.total_cmp(&other.bound).then_with(tie)
    }
}

/// What was known at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds of search until then, of all sittings together.
    pub seconds: f64,
    /// Boxes examined until then.
    pub boxes: u64,
    /// No error is larger.
    pub upper: f64,
    /// Some error is at least this.
    pub lower: f64,
}

/// How far a search is: all that it needs to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct State {
    /// What is asked, in words and digests: a search goes on only with the same question.
    pub question: Vec<(String, String)>,
    /// Some error is at least this.
    pub lower: f64,
    /// The free numbers of the point that has it. `[free]`
    pub at: Vec<f64>,
    /// Boxes examined.
    pub boxes: u64,
    /// Seconds of search.
    pub seconds: f64,
    /// Upper bound of the boxes that are not looked at any more.
    closed: f64,
    /// The others.
    open: BinaryHeap<Open>,
    /// How the bounds came closer.
    pub history: Vec<Moment>,
}

/// When a search ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// After this time, counted from this call.
    pub time: Duration,
    /// When the upper bound exceeds the lower one, with what float32 may add there if that is covered, by this share.
    pub gap: f64,
    /// When there are as many boxes that may have to be halved.
    pub boxes: usize,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The bounds are as close as they were to be.
    Gap,
    /// Its time is over.
    Time,
    /// It was stopped.
    Stopped,
    /// There are as many boxes as it may keep.
    Boxes,
    /// Boxes cannot be halved any more: what is left is rounding.
    Rounding,
}

/// How far a search is, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The latest moment.
    pub now: Moment,
    /// Boxes that may have to be halved.
    pub open: usize,
}

/// Boxes are halved in rounds of this many, between which the clock is read.
const ROUND: usize = 64;
/// Random points that are tried before boxes are, and how many of the worst are climbed from.
const TRIED: (usize, usize) = (512, 16);
/// Halvings of the step of a climb, from an eighth of the domain.
const HALVINGS: i32 = 40;
/// Below this no error counts.
const FLOOR: f64 = 1e-12;

/// A [`State`] as it is written: boxes as one row of numbers, which JSON holds in little room.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Version of this layout, 1.
    format: u32,
    question: Vec<(String, String)>,
    lower: f64,
    at: Vec<f64>,
    boxes: u64,
    seconds: f64,
    closed: f64,
    history: Vec<Moment>,
    /// Of every box its bound, its axis, and the ends of its sides.
    open: Vec<f64>,
}

impl From<State> for Written {
    fn from(state: State) -> Self {
        let State { question, lower, at, boxes, seconds, closed, open, history } = state;
        let row = |open: Open| {
            let sides = open.sides.into_iter().flatten();
            [open.bound, open.axis as f64].into_iter().chain(sides).collect::<Vec<f64>>()
        };
        let open = open.into_vec().into_iter().flat_map(row).collect();
        Self { format: 1, question, lower, at, boxes, seconds, closed, history, open }
    }
}

impl TryFrom<Written> for State {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let Written { format, question, lower, at, boxes, seconds, closed, history, open } = written;
        if format != 1 {
            return Err("another version of Headway wrote it");
        }
        let free = at.len();
        let row = |row: &[f64]| {
            let sides: Vec<[f64; 2]> = row[2..].chunks_exact(2).map(|side| [side[0], side[1]]).collect();
            let axis = row[1] as usize;
            let is_box = axis < free && sides.iter().all(|[low, high]| low <= high);
            is_box.then_some(Open { bound: row[0], axis, sides }).ok_or("a box of it is none")
        };
        if free == 0 || open.len() % (2 + 2 * free) != 0 {
            return Err("a box of it is none");
        }
        let open = open.chunks_exact(2 + 2 * free).map(row).collect::<Result<Vec<Open>, _>>()?;
        Ok(Self { question, lower, at, boxes, seconds, closed, open: BinaryHeap::from(open), history })
    }
}

impl State {
    /// A search that has examined the whole box alone, and looked for large errors.
    pub fn new(question: &Question, text: Vec<(String, String)>) -> Self {
        let start = Instant::now();
        let sides: Vec<[f64; 2]> = question.inputs.sides.iter().map(|side| [side.low, side.high]).collect();
        let look = question.look(&question.inputs.sides);
        let mut state = Self {
            question: text,
            lower: 0.0,
            at: question.inputs.sides.iter().map(|side| side.middle()).collect(),
            boxes: 1,
            seconds: 0.0,
            closed: 0.0,
            open: BinaryHeap::from([Open { bound: look.bound, axis: look.axis, sides }]),
            history: Vec::new(),
        };
        state.climb(question);
        state.seconds = start.elapsed().as_secs_f64();
        state.history.push(state.now());
        state
    }

    /// No error is larger; `f64::MAX` if there is no bound.
    pub fn upper(&self) -> f64 {
        self.open.peek().map_or(self.closed, |open| open.bound.max(self.closed))
    }

    /// Number of boxes that may have to be halved.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn now(&self) -> Moment {
        Moment { seconds: self.seconds, boxes: self.boxes, upper: self.upper(), lower: self.lower }
    }

    /// Notes the moment if the last one is long ago for its age.
    fn note(&mut self) {
        let now = self.now();
        if self.history.last().is_none_or(|last| now.seconds > 1.05 * last.seconds + 0.01) {
            self.history.push(now);
        }
    }

    /// Takes a point for the largest error if its error is proved to be larger.
    fn try_point(&mut self, question: &Question, point: &[f64]) {
        if question.error(point) > self.lower {
            let attained = question.attained(point);
            if attained > self.lower {
                (self.lower, self.at) = (attained, point.to_vec());
            }
        }
    }

    /// Looks for large errors from random points uphill.
    fn climb(&mut self, question: &Question) {
        let (sides, mut rng) = (question.inputs.sides.clone(), Probe::Supremum.rng());
        let point = |_: usize| -> Vec<f64> {
            sides.iter().map(|side| side.low + (side.high - side.low) * rng.random::<f64>()).collect()
        };
        let points: Vec<Vec<f64>> = (0..TRIED.0).map(point).collect();
        let mut tried: Vec<(f64, Vec<f64>)> =
            points.into_par_iter().map(|point| (question.error(&point), point)).collect();
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        tried.truncate(TRIED.1);
        let tops: Vec<Vec<f64>> = tried.into_par_iter().map(|(_, start)| uphill(question, start)).collect();
        for top in tops {
            self.try_point(question, &top);
        }
    }
}

/// The top that steps along the axes reach from a point, each step half as long once none goes up.
pub(super) fn uphill(question: &Question, start: Vec<f64>) -> Vec<f64> {
    let sides = &question.inputs.sides;
    let (mut top, mut here) = (question.error(&start), start);
    for halving in 3..HALVINGS {
        let mut steps = 0;
        loop {
            let before = top;
            for a in 0..here.len() {
                for sign in [-1.0, 1.0] {
                    let mut there = here.clone();
                    let step = sign * (sides[a].high - sides[a].low) * 0.5_f64.powi(halving);
                    there[a] = (there[a] + step).clamp(sides[a].low, sides[a].high);
                    let error = question.error(&there);
                    if error > top {
                        (top, here) = (error, there);
                    }
                }
            }
            steps += 1;
            if top <= before || steps == 16 {
                break;
            }
        }
    }
    here
}

/// Halves the worst boxes until the limit, or until `each`, which is called between rounds, stops it. The bounds of the state hold
/// whenever it ends.
pub fn search(
    question: &Question,
    state: &mut State,
    limit: Limit,
    mut each: impl FnMut(&State, Progress) -> ControlFlow<()>,
) -> End {
    let (start, before) = (Instant::now(), state.seconds);
    let room = |state: &State| match question.arithmetic {
        Arithmetic::Exact => 0.0,
        Arithmetic::Float32 => question.rounding(&state.at),
    };
    let end = loop {
        let goal = (state.lower + room(state)) * (1.0 + limit.gap) + FLOOR;
        if state.upper() <= goal {
            break End::Gap;
        }
        if start.elapsed() >= limit.time {
            break End::Time;
        }
        if state.open.len() + ROUND > limit.boxes {
            break End::Boxes;
        }
        let mut halves = Vec::with_capacity(2 * ROUND);
        while halves.len() < 2 * ROUND {
            let Some(open) = pop_above(&mut state.open, goal) else { break };
            let [low, high] = open.sides[open.axis];
            let middle = f64::midpoint(low, high);
            if !(low < middle && middle < high) {
                // Doubles are not dense enough to halve it.
                state.closed = state.closed.max(open.bound);
                continue;
            }
            for half in [[low, middle], [middle, high]] {
                let mut sides = open.sides.clone();
                sides[open.axis] = half;
                halves.push((open.bound, sides));
            }
        }
        if halves.is_empty() {
            break End::Rounding;
        }
        let looks = halves.into_par_iter().map(|(bound, sides)| {
            let intervals: Vec<Interval> = sides.iter().map(|[low, high]| Interval::new(*low, *high)).collect();
            let look = question.look(&intervals);
            // What holds over the whole holds over its halves.
            let bound = look.bound.min(bound);
            let worth = if bound > goal { question.error(&look.corner) } else { 0.0 };
            (Open { bound, axis: look.axis, sides }, look.corner, worth)
        });
        let mut best: Option<(f64, Vec<f64>)> = None;
        for (open, corner, worth) in looks.collect::<Vec<_>>() {
            state.boxes += 1;
            if worth > best.as_ref().map_or(state.lower, |(top, _)| *top) {
                best = Some((worth, corner));
            }
            if open.bound <= goal {
                state.closed = state.closed.max(open.bound);
            } else {
                state.open.push(open);
            }
        }
        if let Some((_, corner)) = best {
            let top = uphill(question, corner);
            state.try_point(question, &top);
        }
        state.seconds = before + start.elapsed().as_secs_f64();
        state.note();
        let progress = Progress { now: state.now(), open: state.open.len() };
        if each(state, progress).is_break() {
            break End::Stopped;
        }
    };
    state.seconds = before + start.elapsed().as_secs_f64();
    let now = state.now();
    if state.history.last() != Some(&now) {
        state.history.push(now);
    }
    end
}

/// The worst box, if its bound is above the goal.
fn pop_above(open: &mut BinaryHeap<Open>, goal: f64) -> Option<Open> {
    if open.peek().is_some_and(|open| open.bound > goal) { open.pop() } else { None }
}
