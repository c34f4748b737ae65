//! The domain on which a construction promises its error, and how points are drawn from it.

use std::{borrow::Cow, fmt};

use headway_tasks::{Interval, Jet, Order};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::{interpolation::F32_ROUNDOFF, words::Words};

/// A set of inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// A box: each input number lies between two ends of its own. `[seq_len · d_in]`
    Box {
        /// Lower ends.
        low: Vec<f64>,
        /// Upper ends.
        high: Vec<f64>,
    },
    /// A point of one of several boxes that lie apart, each given by its lower and its upper ends.
    Boxes(Vec<[Vec<f64>; 2]>),
    /// Every position is a unit vector of `d` numbers.
    Sphere {
        /// Number of positions.
        seq_len: usize,
        /// Numbers per position.
        d: usize,
    },
    /// Every position is a point of a cube at which one of several affine scores a_k · x + b_k clearly exceeds all
    /// others.
    Partition(Partition),
    /// Every position is one of a few symbols.
    Words(Words),
}

/// The points of [low, high]^d whose largest score a_k · x + b_k exceeds all other scores by at least `gap`.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// Number of positions.
    pub seq_len: usize,
    /// Lower end of every number.
    pub low: f64,
    /// Upper end of every number.
    pub high: f64,
    /// a, a row per cell. `[cells][d]`
    pub slopes: Vec<Vec<f64>>,
    /// b. `[cells]`
    pub offsets: Vec<f64>,
    /// By how much the largest score exceeds the others.
    pub gap: f64,
    /// A point of the domain; points that cannot be moved to a nearer one are moved here.
    pub inside: Vec<f64>,
}

impl Partition {
    /// Index of the cell with the largest score; the first one if there is a tie.
    pub fn cell(&self, x: &[f64]) -> usize {
        let scores = (0..self.slopes.len()).map(|k| self.score(k, x));
        let best = scores.enumerate().fold(
            (0, f64::NEG_INFINITY),
            |best, (k, score)| {
                if score > best.1 { (k, score) } else { best }
            },
        );
        best.0
    }

    fn score(&self, k: usize, x: &[f64]) -> f64 {
        self.slopes[k].iter().zip(x).map(|(a, x)| a * x).sum::<f64>() + self.offsets[k]
    }

    /// Difference between the largest and the second largest score.
    pub fn margin(&self, x: &[f64]) -> f64 {
        let cell = self.cell(x);
        let others = (0..self.slopes.len()).filter(|k| *k != cell).map(|k| self.score(k, x));
        self.score(cell, x) - others.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Moves one token into the cube, then away from the walls of its cell. Returns whether it got far enough, also
    /// after rounding to float32.
    ///
    /// It aims at a gap wider by a thousandth and by 4 ε max Σ |a| |x|, which is how far rounding the point to float32
    /// can move scores.
    pub fn settle(&self, x: &mut [f64]) -> bool {
        let steepest = self.slopes.iter().map(|a| a.iter().map(|a| a.abs()).sum::<f64>()).fold(0.0, f64::max);
        let aim = self.gap * 1.001 + 4.0 * F32_ROUNDOFF * steepest * self.low.abs().max(self.high.abs());
        for _ in 0..256 {
            for x in x.iter_mut() {
                *x = x.clamp(self.low, self.high);
            }
            let cell = self.cell(x);
            let lead = |k: usize, x: &[f64]| self.score(cell, x) - self.score(k, x);
            let nearest =
                (0..self.slopes.len()).filter(|k| *k != cell).min_by(|j, k| lead(*j, x).total_cmp(&lead(*k, x)));
            let Some(nearest) = nearest.filter(|k| lead(*k, x) < aim) else {
                return self.margin(&x.iter().map(|x| f64::from(*x as f32)).collect::<Vec<f64>>()) >= self.gap;
            };
            let away: Vec<f64> = self.slopes[cell].iter().zip(&self.slopes[nearest]).map(|(a, b)| a - b).collect();
            let square: f64 = away.iter().map(|a| a * a).sum();
            if square == 0.0 {
                return false;
            }
            let step = (aim * (1.0 + 1e-6) - lead(nearest, x)) / square;
            x.iter_mut().zip(&away).for_each(|(x, a)| *x += step * a);
        }
        false
    }
}

/// A curve through a domain, with parameter t.
#[derive(Clone, Debug)]
pub struct Path {
    /// A point of the curve. `[seq_len · d_in]`
    through: Vec<f64>,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// The number at index `at` is t, between its ends; all others are fixed.
    Axis { at: usize, ends: Interval },
    /// The token that starts at index `at` is rotated by the angle t, towards a unit vector orthogonal to it.
    Turn { at: usize, towards: Vec<f64> },
}

impl Path {
    /// Range of t.
    pub fn ends(&self) -> Interval {
        match self.way {
            Way::Axis { ends, .. } => ends,
            Way::Turn { .. } => Interval::new(-std::f64::consts::PI, std::f64::consts::PI),
        }
    }

    /// The point at parameter t.
    pub fn at(&self, t: f64) -> Vec<f64> {
        let mut x = self.through.clone();
        match &self.way {
            Way::Axis { at, .. } => x[*at] = t,
            Way::Turn { at, towards } => {
                for (x, side) in x[*at..].iter_mut().zip(towards) {
                    *x = *x * t.cos() + side * t.sin();
                }
            }
        }
        x
    }

    /// All points over a piece of the path, with derivatives in t. `[seq_len · d_in]`
    pub fn over(&self, t: Jet) -> Vec<Jet> {
        let fixed = |x: f64| Jet::constant(Interval::point(x), 1, Order::Second);
        let mut x: Vec<Jet> = self.through.iter().copied().map(fixed).collect();
        match &self.way {
            Way::Axis { at, .. } => x[*at] = t,
            Way::Turn { at, towards } => {
                let (cos, sin) = (t.clone().cos(), t.sin());
                for (i, side) in towards.iter().enumerate() {
                    let turned = fixed(self.through[at + i]).times(&cos);
                    x[at + i] = turned.plus(&fixed(*side).times(&sin));
                }
            }
        }
        x
    }
}

impl Domain {
    /// Paths through a point of the domain, one per input number: in a box, along its axis; on a sphere, the great
    /// circle towards it. Empty for a partition, whose boundaries are walls, and for words.
    pub fn paths(&self, x: &[f64]) -> Vec<Path> {
        let through = |way| Path { through: x.to_vec(), way };
        match self {
            Self::Box { low, high } => {
                let ends = low.iter().zip(high).map(|(low, high)| Interval::new(*low, *high));
                ends.enumerate().map(|(at, ends)| through(Way::Axis { at, ends })).collect()
            }
            Self::Boxes(boxes) => nearest(boxes, x).paths(x),
            Self::Sphere { d, .. } => {
                let ways = (0..x.len()).filter_map(|i| {
                    let (at, axis) = (i / d * d, i % d);
                    let token = &x[at..at + d];
                    let mut side: Vec<f64> = token.iter().map(|v| -token[axis] * v).collect();
                    side[axis] += 1.0;
                    let norm = side.iter().map(|v| v * v).sum::<f64>().sqrt();
                    let towards = side.iter().map(|v| v / norm).collect();
                    // A token on the axis already cannot be turned towards it.
                    (norm > 1e-3).then_some(Way::Turn { at, towards })
                });
                ways.map(through).collect()
            }
            Self::Partition(_) | Self::Words(_) => Vec::new(),
        }
    }

    /// A box of `count` numbers, each in [low, high].
    pub fn cube(count: usize, low: f64, high: f64) -> Self {
        Self::Box { low: vec![low; count], high: vec![high; count] }
    }

    /// A random point of the domain: uniform in a box, but one in eight is a corner; uniform on a sphere.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        match self {
            Self::Box { low, high } => {
                let corner = rng.random::<f64>() < 0.125;
                let ends = low.iter().zip(high);
                ends.map(|(low, high)| match (corner, rng.random::<f64>()) {
                    (false, t) => low + (high - low) * t,
                    (true, t) if t < 0.5 => *low,
                    (true, _) => *high,
                })
                .collect()
            }
            Self::Boxes(boxes) => {
                let [low, high] = &boxes[rng.random_range(0..boxes.len())];
                Self::Box { low: low.clone(), high: high.clone() }.sample(rng)
            }
            Self::Sphere { seq_len, d } => {
                let mut x: Vec<f64> = (0..seq_len * d).map(|_| rng.sample(StandardNormal)).collect();
                self.project(&mut x);
                x
            }
            Self::Partition(Partition { seq_len, low, high, inside, .. }) => {
                let mut x: Vec<f64> =
                    (0..seq_len * inside.len()).map(|_| low + (high - low) * rng.random::<f64>()).collect();
                self.project(&mut x);
                x
            }
            Self::Words(words) => words.sample(rng),
        }
    }

    /// A random point of the domain, uniform in a box.
    pub fn uniform(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        match self {
            Self::Box { low, high } => {
                low.iter().zip(high).map(|(low, high)| low + (high - low) * rng.random::<f64>()).collect()
            }
            other => other.sample(rng),
        }
    }

    /// Moves a point to the nearest point of the domain, or to one close to it.
    pub fn project(&self, x: &mut [f64]) {
        match self {
            Self::Box { low, high } => {
                for (x, (low, high)) in x.iter_mut().zip(low.iter().zip(high)) {
                    *x = x.clamp(*low, *high);
                }
            }
            Self::Boxes(boxes) => nearest(boxes, x).project(x),
            Self::Sphere { d, .. } => {
                for token in x.chunks_mut(*d) {
                    let norm = token.iter().map(|v| v * v).sum::<f64>().sqrt();
                    if norm > 0.0 {
                        for v in token.iter_mut() {
                            *v /= norm;
                        }
                    } else {
                        token[0] = 1.0;
                    }
                }
            }
            Self::Partition(partition) => {
                for token in x.chunks_mut(partition.inside.len()) {
                    if !partition.settle(token) {
                        token.copy_from_slice(&partition.inside);
                    }
                }
            }
            Self::Words(words) => x.copy_from_slice(&words.written(&words.read(x))),
        }
    }

    /// The part of the domain in which a point lies: its box, of several.
    pub fn around(&self, x: &[f64]) -> Cow<'_, Self> {
        if let Self::Boxes(boxes) = self { Cow::Owned(nearest(boxes, x)) } else { Cow::Borrowed(self) }
    }

    /// Whether number `i` is the same at all points.
    pub fn is_fixed(&self, i: usize) -> bool {
        matches!(self, Self::Box { low, high } if low[i] >= high[i])
    }

    /// The point with number `i` changed by `step`, moved back into the domain if it leaves it.
    pub fn beside(&self, x: &[f64], i: usize, step: f64) -> Vec<f64> {
        let mut x = x.to_vec();
        x[i] += step;
        match self {
            // The same as `project`, for one number.
            Self::Box { low, high } => x[i] = x[i].clamp(low[i], high[i]),
            Self::Boxes(_) | Self::Sphere { .. } | Self::Partition(_) | Self::Words(_) => self.project(&mut x),
        }
        x
    }

    /// The point at `t` on the line from the middle of the domain (t = 0) through `x` (t = 1); on a sphere, on the
    /// great circle through the last axis, with `t` in quarters of it. If the line leaves the domain, the nearest point
    /// of the domain.
    pub fn through(&self, x: &[f64], t: f64) -> Vec<f64> {
        let mut point: Vec<f64> = match self {
            Self::Box { low, high } => {
                let middles = low.iter().zip(high).map(|(low, high)| f64::midpoint(*low, *high));
                middles.zip(x).map(|(middle, x)| middle + t * (x - middle)).collect()
            }
            Self::Boxes(boxes) => nearest(boxes, x).through(x, t),
            Self::Partition(Partition { low, high, .. }) => {
                let middle = f64::midpoint(*low, *high);
                x.iter().map(|x| middle + t * (x - middle)).collect()
            }
            Self::Words(_) => x.iter().map(|x| 0.5 + t * (x - 0.5)).collect(),
            Self::Sphere { d, .. } => {
                let (sin, cos) = ((t - 1.0) * std::f64::consts::FRAC_PI_2).sin_cos();
                let across = |token: &[f64], j: usize| {
                    // The component of the last axis orthogonal to the token; of the first axis if the token is close
                    // to the last one.
                    let pick = if token[d - 1].abs() < 0.9 { d - 1 } else { 0 };
                    f64::from(u8::from(j == pick)) - token[pick] * token[j]
                };
                let tokens = x.chunks(*d);
                tokens.flat_map(|token| (0..*d).map(move |j| cos * token[j] + sin * across(token, j))).collect()
            }
        };
        self.project(&mut point);
        point
    }

    /// The words, if it consists of words.
    pub fn words(&self) -> Option<&Words> {
        if let Self::Words(words) = self { Some(words) } else { None }
    }

    /// The largest absolute value of any input number.
    pub fn reach(&self) -> f64 {
        match self {
            Self::Box { low, high } => low.iter().chain(high).fold(0.0, |top, end| f64::max(top, end.abs())),
            Self::Boxes(boxes) => boxes.iter().flatten().flatten().fold(0.0, |top, end| f64::max(top, end.abs())),
            Self::Sphere { .. } | Self::Words(_) => 1.0,
            Self::Partition(Partition { low, high, .. }) => low.abs().max(high.abs()),
        }
    }

    /// Size of the domain, by which the steps of a climb are scaled.
    pub fn scale(&self) -> f64 {
        match self {
            Self::Box { low, high } => low.iter().zip(high).fold(0.0, |top, (low, high)| f64::max(top, high - low)),
            Self::Boxes(boxes) => {
                let widths = boxes.iter().flat_map(|[low, high]| low.iter().zip(high)).map(|(low, high)| high - low);
                widths.fold(0.0, f64::max)
            }
            Self::Sphere { .. } => 2.0,
            Self::Partition(Partition { low, high, .. }) => high - low,
            Self::Words(_) => 1.0,
        }
    }
}

/// The box that is nearest to a point.
fn nearest(boxes: &[[Vec<f64>; 2]], x: &[f64]) -> Domain {
    let far = |[low, high]: &[Vec<f64>; 2]| -> f64 {
        let ends = low.iter().zip(high);
        x.iter().zip(ends).map(|(x, (low, high))| (x - x.clamp(*low, *high)).powi(2)).sum()
    };
    let nearest = boxes.iter().min_by(|a, b| far(a).total_cmp(&far(b)));
    nearest.map_or_else(
        || Domain::cube(x.len(), 0.0, 0.0),
        |[low, high]| Domain::Box { low: low.clone(), high: high.clone() },
    )
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box { low, high } => {
                let alike = |ends: &[f64]| ends.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
                if alike(low) && alike(high) {
                    write!(f, "each of the {} input numbers in [{}, {}]", low.len(), low[0], high[0])
                } else {
                    let least = low.iter().copied().fold(f64::INFINITY, f64::min);
                    let largest = high.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    write!(f, "a box of {} input numbers within [{least}, {largest}]", low.len())
                }
            }
            Self::Boxes(boxes) => {
                let free = boxes.first().map_or(0, |[low, high]| low.iter().zip(high).filter(|(a, b)| a < b).count());
                write!(f, "one of {} boxes in each of which {free} input numbers vary", boxes.len())
            }
            Self::Words(words) => write!(f, "{words}"),
            Self::Sphere { d: 2, .. } => write!(f, "every position a point of the unit circle"),
            Self::Sphere { d, .. } => write!(f, "every position a unit vector of {d} numbers"),
            Self::Partition(Partition { low, high, inside, gap, .. }) => write!(
                f,
                "every position a point of [{low}, {high}]^{} whose largest score exceeds all others by {gap} at least",
                inside.len()
            ),
        }
    }
}
