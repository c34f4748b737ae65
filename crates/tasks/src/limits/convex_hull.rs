//! The corners of the convex hull of points in the plane.

use headway_keys::Described;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance, most_frequent::MostFrequent},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`ConvexHull`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ConvexHullConfig {
    /// Number of points. Default 10.
    pub points: usize,
    /// Edge of the square in which points are uniform. Default 10.
    pub edge: f64,
    /// Standard deviation of the shift that all points of an example share. Default 3.3.
    pub shift_std: f64,
}

impl Default for ConvexHullConfig {
    fn default() -> Self {
        Self { points: 10, edge: 10.0, shift_std: 3.3 }
    }
}

/// Larger coordinates lose the points in single precision.
const MOST: f64 = 1e6;

impl TaskSpec for ConvexHullConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.points, input: TaskInput::Continuous { d_in: 2 }, d_out: 2 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let edge = !(self.edge > 0.0 && self.edge <= MOST);
        let shift = !(0.0..=MOST).contains(&self.shift_std);
        let wrong = |is: bool, key: &'static str, value: f64, from: &str| {
            is.then(|| TaskError::Key { key, problem: format!("{value} must be {from} to {MOST}") })
        };
        let problems = [
            TaskError::below("points", self.points, 4),
            wrong(edge, "edge", self.edge, "from above 0"),
            wrong(shift, "shift_std", self.shift_std, "from 0"),
        ];
        problems.into_iter().flatten().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(ConvexHull { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        Some("whether a point is a corner depends on all others")
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("points", &mut self.points))
    }
}

/// Points x = u + s in the plane, u uniform in a square for each point and s normal, the same for all of an example. Class 1 for a corner of
/// their convex hull, class 0 for the others.
///
/// # Shapes
/// inputs `[points, 2]` -> targets `[points]`
///
/// # References
/// Dong, Cordonnier, Loukas 2021, arXiv 2103.03404, whose code has these sizes; that 3.3 is a standard deviation is our reading.
#[derive(Clone, Debug)]
pub struct ConvexHull {
    /// Sizes.
    pub config: ConvexHullConfig,
}

impl ConvexHull {
    /// The example with given points.
    pub fn sequence(points: &[[f32; 2]]) -> Example {
        let n = points.len();
        Example {
            inputs: Inputs::Continuous(points.as_flattened().to_vec()),
            targets: Targets::Classes(corners(points).into_iter().map(u32::from).collect()),
            loss_mask: vec![true; n],
            slices: vec![None; n],
        }
    }
}

/// Whether each point is a corner of the hull, by walking the points from left to right and back (Andrew's monotone chain). Points on an edge
/// are no corners.
fn corners(points: &[[f32; 2]]) -> Vec<bool> {
    let at = |index: usize| points[index].map(f64::from);
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a][0].total_cmp(&points[*b][0]).then(points[*a][1].total_cmp(&points[*b][1])));
    // Positive where b lies to the right of the way from a to c.
    let turns_left = |a: usize, b: usize, c: usize| {
        let ([ax, ay], [bx, by], [cx, cy]) = (at(a), at(b), at(c));
        (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0.0
    };
    let mut is_corner = vec![false; points.len()];
    let mut walk = |order: &mut dyn Iterator<Item = usize>| {
        let mut chain: Vec<usize> = Vec::new();
        for next in order {
            while let [.., a, b] = chain.as_slice()
                && !turns_left(*a, *b, next)
            {
                chain.pop();
            }
            chain.push(next);
        }
        for corner in chain {
            is_corner[corner] = true;
        }
    };
    walk(&mut order.iter().copied());
    walk(&mut order.iter().rev().copied());
    is_corner
}

impl Task for ConvexHull {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let ConvexHullConfig { points, edge, shift_std } = self.config;
        let shift: [f64; 2] = [0; 2].map(|_| shift_std * rng.sample::<f64, _>(StandardNormal));
        let point = |rng: &mut SampleRng| shift.map(|shift| (edge * rng.random::<f64>() + shift) as f32);
        Self::sequence(&(0..points).map(|_| point(rng)).collect::<Vec<_>>())
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(MostFrequent::default()), Box::new(Chance { possible: 0..2 })]
    }
}
