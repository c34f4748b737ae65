//! Training examples whose inputs come from given boxes, as where a bound on the error of a network is worst.

use std::fmt;

use headway_keys::{Described, Form};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Example, Inputs, Targets},
    interval::Interval,
    jet::{Jet, Order},
    known::OverBoxes,
    seed::{Seed, Stream},
    task::Task,
};

/// Boxes of all input numbers of a sequence, each from low to high; numbers that are fixed have equal ends. `[boxes, seq_len · d_in, 2]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boxes(pub Vec<Vec<[f64; 2]>>);

impl Described for Boxes {
    fn form() -> Form {
        Vec::<Vec<[f64; 2]>>::form()
    }
}

impl Boxes {
    /// What is wrong with boxes of `width` input numbers, in a sentence; `None` if nothing is.
    pub fn problem(&self, width: usize) -> Option<String> {
        if self.0.is_empty() {
            return Some("holds no box".to_owned());
        }
        let other = self.0.iter().find(|sides| sides.len() != width);
        if let Some(sides) = other {
            return Some(format!("has boxes of {} input numbers, and this task gives {width}", sides.len()));
        }
        let is_side = |[low, high]: &[f64; 2]| low.is_finite() && high.is_finite() && low <= high;
        let wrong = self.0.iter().flatten().find(|side| !is_side(side));
        wrong.map(|[low, high]| format!("has a side from {low} to {high}; sides go from a number up"))
    }
}

/// Draws a share of the training examples from boxes.
#[derive(Clone)]
pub(crate) struct FromBoxes {
    boxes: Boxes,
    share: f64,
    seq_len: usize,
    target: OverBoxes,
}

impl fmt::Debug for FromBoxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromBoxes").field("boxes", &self.boxes).field("share", &self.share).finish_non_exhaustive()
    }
}

impl FromBoxes {
    /// `None` if the task's targets are no known function of its inputs.
    pub fn new(boxes: Boxes, share: f64, task: &dyn Task) -> Option<Self> {
        Some(Self { boxes, share, seq_len: task.dims().seq_len, target: task.known()?.enclosure })
    }

    /// Training example `index`, if it is one of these: uniform in a box that is drawn uniformly, with the task's own target.
    pub fn example(&self, seed: Seed, index: u64) -> Option<Example> {
        let mut rng = seed.rng(Stream::Boxes, index);
        if rng.random::<f64>() >= self.share {
            return None;
        }
        let sides = &self.boxes.0[rng.random_range(0..self.boxes.0.len())];
        let draw = |[low, high]: &[f64; 2]| (low + (high - low) * rng.random::<f64>()) as f32;
        let x: Vec<f32> = sides.iter().map(draw).collect();
        let at = |x: &f32| Jet::constant(Interval::point(f64::from(*x)), 1, Order::First);
        let jets: Vec<Jet> = x.iter().map(at).collect();
        let y: Vec<f32> = (self.target)(&jets).iter().map(|jet| jet.value.middle() as f32).collect();
        Some(Example {
            inputs: Inputs::Continuous(x),
            targets: Targets::Continuous(y),
            loss_mask: vec![true; self.seq_len],
            slices: vec![None; self.seq_len],
        })
    }
}
