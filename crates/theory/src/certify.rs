//! Certificates: the proved error, the measured error, and whether the measured one is below the proved one.

use std::{collections::BTreeMap, fmt};

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    Input, Model,
    weights::{Array, to_host},
};
use headway_tasks::{Probe, Seed, breaks};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    bound::{Basis, Bound},
    construct::{Construction, Temperature},
    domain::Path,
    prove::Summary,
    words::{Tried, Words},
};

/// What is known about a construction's error, measured as the largest difference of any output number, or in the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Version of this layout, 1.
    pub format: u32,
    /// Name of the construction.
    pub construction: String,
    /// The function it computes.
    pub target: String,
    /// The domain on which the error is claimed.
    pub domain: String,
    /// p, if errors are those in the mean, (E |error|^p)^(1/p) with x uniform in the domain; `None` if they are the largest ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// The requested tolerance.
    pub tolerance: f64,
    /// Sizes by name.
    pub sizes: BTreeMap<String, f64>,
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Temperature of the softmax, and the reason for it.
    pub temperature: Temperature,
    /// Bound on the error in exact arithmetic.
    pub bound: Bound,
    /// Bound on the additional error from rounding to float32, whatever the order of sums.
    pub rounding: Bound,
    /// The same bound if roundings are independent of each other; exceeded in one case in two million. `None` unless it
    /// is much smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding_likely: Option<Bound>,
    /// The proof over boxes that bound and rounding come from, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Summary>,
    /// Error of the model in float32 with the weights of the checkpoint.
    pub float32: Measured,
    /// Error of the same network in double precision.
    pub float64: Measured,
    /// How many of all inputs were tried, of a construction whose inputs can be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// Device on which the float32 model was run.
    pub device: String,
    /// Target and model along a line through the worst point.
    pub line: Line,
    /// The points with the largest errors in float32, worst first; they are written to a file of their own.
    #[serde(skip)]
    pub hardest: Vec<Hardest>,
    /// Whether the bound holds: no term of it is merely measured, both measured errors are within it, and the bounds
    /// are within the tolerance.
    pub holds: bool,
    /// The same as a word that also says what the bound depends on.
    #[serde(default)]
    pub verdict: Verdict,
}

/// What a certificate claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The bound holds unconditionally.
    Proved,
    /// The bound holds if the constants that the user gave are true.
    Given,
    /// Nothing: the bound depends on measurements at points, or a measured error exceeds it.
    #[default]
    NotCertified,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proved => "proved",
            Self::Given => "if |f'| <= L (and |f''| <= M) as given",
            Self::NotCertified => "NOT CERTIFIED",
        })
    }
}

/// Why there is no certificate, although the weights exist and were measured.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Objection {
    /// The target is not finite at some point.
    #[error("--function: gives {wanted} at {at:?} …; it must be finite on the whole domain")]
    NotFinite {
        /// Value of the target.
        wanted: f64,
        /// The first numbers of that point.
        at: Vec<f64>,
    },
    /// A measured error exceeds what the given constants allow.
    #[error(
        "the error found, {found:.3e}, is beyond the {most:.3e} that follow from --lipschitz and --curvature: the function is steeper, or bends \
         more, than they say"
    )]
    Refuted {
        /// The measured error in float32.
        found: f64,
        /// Sum of bound and rounding.
        most: f64,
    },
    /// A measured error exceeds what was proved.
    #[error(
        "measured errors {float32:e} in float32 and {float64:e} in float64 are beyond the bound {bound:e} + {rounding:e}; nothing was written. \
         This is a fault in Headway, not in your input"
    )]
    Fault {
        /// The measured error in float32.
        float32: f64,
        /// The measured error in double precision.
        float64: f64,
        /// The bound in exact arithmetic.
        bound: f64,
        /// Bound on the error from rounding.
        rounding: f64,
    },
}

impl Certificate {
    /// # Errors
    /// [`Objection`] if a measured error contradicts what is proved, or what follows from given constants. A bound that
    /// depends on measured slopes certifies nothing, as its verdict says, and so cannot be contradicted.
    pub fn check(&self) -> Result<(), Objection> {
        let Self { bound, rounding, float32, float64, .. } = self;
        if !float32.wanted.is_finite() || self.hardest.iter().flat_map(|point| &point.wanted).any(|y| !y.is_finite()) {
            let at = float32.worst_point.iter().copied().take(6).collect();
            return Err(Objection::NotFinite { wanted: float32.wanted, at });
        }
        if self.holds || bound.rests_on(Basis::Measured) {
            return Ok(());
        }
        let (bound, rounding, given) = (bound.value, rounding.value, bound.rests_on(Basis::Given));
        Err(if given {
            Objection::Refuted { found: float32.error, most: bound + rounding }
        } else {
            Objection::Fault { float32: float32.error, float64: float64.error, bound, rounding }
        })
    }

    /// The hardest points of the measured network as arrays: `inputs` `[points, seq_len, d_in]`, `targets` `[points,
    /// seq_len, d_out]`, and `scored` `[seq_len]`, which is 1 at positions that count.
    pub fn hardest_arrays(&self, construction: &Construction) -> BTreeMap<String, Array> {
        let network = &construction.network;
        let points = self.hardest.len();
        let inputs = self.hardest.iter().flat_map(|point| point.x.clone()).collect();
        let targets = self.hardest.iter().flat_map(|point| point.wanted.iter().map(|y| *y as f32)).collect();
        let scored =
            (0..network.seq_len).map(|position| f32::from(u8::from(construction.is_scored(position)))).collect();
        BTreeMap::from([
            ("inputs".to_owned(), Array { shape: vec![points, network.seq_len, network.d_in], values: inputs }),
            ("targets".to_owned(), Array { shape: vec![points, network.seq_len, network.d_out], values: targets }),
            ("scored".to_owned(), Array { shape: vec![network.seq_len], values: scored }),
        ])
    }
}

impl Verdict {
    /// The verdict of a bound, given whether it holds.
    pub fn of(bound: &Bound, holds: bool) -> Self {
        match holds {
            false => Self::NotCertified,
            true if bound.rests_on(Basis::Given) => Self::Given,
            true => Self::Proved,
        }
    }
}

/// A point and the target's value there.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardest {
    /// Input. `[seq_len · d_in]`
    pub x: Vec<f32>,
    /// Target. `[seq_len · d_out]`
    pub wanted: Vec<f64>,
}

/// The output number with the largest error, along a straight line: from the point opposite to the worst point, through
/// the middle of the domain, through the worst point, to the end of the domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Places on the line: 0 is the middle of the domain, 1 the worst point.
    pub at: Vec<f64>,
    /// Value of the target at each place.
    pub wanted: Vec<f64>,
    /// Output of the model in float32 at each place.
    pub found: Vec<f64>,
}

/// The largest measured error, and the point where it occurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Largest error, or that in the mean.
    pub error: f64,
    /// Number of points by kind: `random`, `ascent`, and the kinds that the construction knows to be hard.
    pub points: BTreeMap<String, usize>,
    /// Kind of the worst point.
    pub worst_kind: String,
    /// The worst point. `[seq_len · d_in]`
    pub worst_point: Vec<f64>,
    /// Position of the output number with the largest error.
    pub worst_position: usize,
    /// Channel of the output number with the largest error.
    pub worst_channel: usize,
    /// Output of the network.
    pub found: f64,
    /// Value of the target.
    pub wanted: f64,
}

/// How much work to spend on the search for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Largest number of random points.
    pub random: usize,
    /// Number of points from which the error is climbed.
    pub climbers: usize,
    /// Number of steps of each climb.
    pub climb: usize,
    /// Largest number of floating-point operations spent on random points, and on the climb; large networks get fewer
    /// of both.
    pub flops: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { random: 4096, climbers: 16, climb: 24, flops: 20_000_000_000 }
    }
}

/// Points are computed together as long as their activations stay below this many bytes.
const BATCH_BYTES: usize = 256 << 20;
/// Number of points that a certificate stores for others to check.
const KEPT: usize = 64;
/// Number of hard points that are tried at any cost.
const FEWEST_HARD: usize = 256;
/// Memory for the climb in bytes: activations and gradients of all climbers together. If a single pass of a network
/// needs more, there is no climb.
const CLIMB_BYTES: usize = 2 << 30;
/// Number of points with the largest errors through which paths to discontinuities of the target are followed, in each
/// round.
const CROSSED: usize = 4;
/// About the number of discontinuities through which further paths are followed.
const CROSSED_AGAIN: usize = 16;
/// Largest number of paths in each round.
const MOST_PATHS: usize = 64;
/// Largest number of pieces of a path that are examined side by side.
const MOST_PIECES: usize = 16;
/// Floating-point operations spent in double precision.
const DOUBLE_FLOPS: usize = 1_500_000_000;
/// Least number of points in double precision, however large the network.
const FEWEST_DOUBLES: usize = 12;
/// Largest number of words that are tried.
const MOST_WORDS: usize = 1 << 17;
/// Memory for them.
const WORD_BYTES: usize = 1 << 28;
/// Operations spent on words, in terms of those spent on random points: to try all of them is worth more.
const WORTH_OF_ALL: usize = 20;
/// Least number of points from which the error is climbed, however large the network.
const FEWEST_CLIMBERS: usize = 4;

/// A point and the target's value there.
struct Point {
    kind: usize,
    x: Vec<f32>,
    wanted: Vec<f64>,
}

impl Point {
    fn hardest(&self) -> Hardest {
        Hardest { x: self.x.clone(), wanted: self.wanted.clone() }
    }
}

/// The largest error at one point.
#[derive(Clone, Copy)]
struct Miss {
    error: f64,
    /// The mean over positions of the p-th power of the largest error there, for errors in the mean.
    power: f64,
    at: usize,
    found: f64,
}

/// Measures the error of a construction's model, and of its network in double precision: at random points, at points
/// that the construction knows to be hard, and along an ascent of the error from the worst of both. Then it measures on
/// either side of the places where the target's formula [`breaks()`] along [paths](crate::domain::Domain::paths)
/// through the middle of the domain and the worst points, and once more through some of the places found, since breaks
/// may cross.
///
/// Where inputs are [`Words`], it measures at all of them instead, or at random ones where they are too many.
///
/// Points are rounded to float32 first, so that all stages see the same points. `model` is the construction's model on
/// `device`.
pub fn certify(
    construction: &Construction,
    tolerance: f64,
    model: &Model,
    device: &Device,
    device_name: &str,
    effort: Effort,
) -> Certificate {
    let bench = Bench { construction, kinds: construction.kinds(), seed: Seed(0) };
    let network = &construction.network;
    let budget = network.model_config().budget(&network.dims());
    let flops = budget.forward_flops.max(1);
    let batch = (BATCH_BYTES / budget.activation_bytes.max(1)).clamp(1, 512);
    let words = construction.domain.words();
    let (points, misses) = match words {
        Some(words) => {
            let points = bench.points(some_of(words, WORTH_OF_ALL * effort.flops / flops, Seed(0)));
            let misses = bench.run(model, device, &points, batch);
            (points, misses)
        }
        None if construction.norm.is_some() => bench.uniform(model, device, effort, [flops, batch]),
        None => bench.search(model, device, effort, [flops, batch]),
    };
    let float32 = bench.measured(&points, &misses);

    // Hard and climbed points come first: they are fewer and matter more.
    let in_double = (DOUBLE_FLOPS / flops).clamp(FEWEST_DOUBLES, points.len().max(FEWEST_DOUBLES));
    let mut order: Vec<usize> = worst_first(&misses);
    if construction.norm.is_some() {
        // A mean is one over points that were not picked.
        order.sort_unstable();
    }
    order.sort_by_key(|at| points[*at].kind == 0);
    // All words are a proof, some of them are points like others.
    if words.is_none_or(|words| (points.len() as f64) < words.count()) {
        order.truncate(in_double);
    }
    let doubles: Vec<&Point> = order.iter().map(|at| &points[*at]).collect();
    let found: Vec<Miss> = doubles
        .par_iter()
        .map(|point| {
            let x: Vec<f64> = point.x.iter().copied().map(f64::from).collect();
            construction.miss(&network.forward(&x), &point.wanted)
        })
        .collect();
    let float64 = bench.measured(&doubles, &found);
    let tried = words.map(|words| Tried {
        words: points.len(),
        of: words.count(),
        all: points.len() as f64 >= words.count(),
        margin: 0.5 - float32.error,
    });

    let bounds = construction.bound.value + construction.rounding.value;
    // The network in double precision has rounding errors too, which matter if the bound is zero.
    // A proof is about the weights in the file, of which those in double precision differ by a rounding.
    let double_roundoff = construction.rounding.value * if construction.proof.is_some() { 1.0 } else { 1e-6 };
    let holds = !construction.bound.rests_on(Basis::Measured)
        && bench.least(&float32, &misses) <= bounds
        && bench.least(&float64, &found) <= construction.bound.value + double_roundoff
        && bounds <= tolerance * (1.0 + 1e-12);
    Certificate {
        format: 1,
        construction: construction.name.to_owned(),
        target: construction.target.text.clone(),
        domain: construction.domain.to_string(),
        norm: construction.norm,
        tolerance,
        sizes: construction.sizes.iter().cloned().collect(),
        parameters: budget.parameters,
        temperature: construction.temperature.clone(),
        bound: construction.bound.clone(),
        rounding: construction.rounding.clone(),
        rounding_likely: construction.likely.clone(),
        proof: construction.proof.clone(),
        hardest: worst_first(&misses).into_iter().take(KEPT).map(|at| points[at].hardest()).collect(),
        line: bench.line(model, device, &float32, batch, (effort.flops / flops).clamp(101, 801)),
        float32,
        float64,
        tried,
        device: device_name.to_owned(),
        holds,
        verdict: Verdict::of(&construction.bound, holds),
    }
}

/// What [`attack`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Attack {
    /// Evaluations of the model at random points, or at words.
    pub random: usize,
    /// Evaluations where the error is likely to be large: at points that the construction knows to be hard, at every step of an ascent,
    /// and beside breaks of the target.
    pub adversarial: usize,
    /// The largest error that was found.
    pub error: f64,
    /// The kind of point at which it was found.
    pub worst_kind: String,
}

/// Looks for an error of a construction's model above its bound, as [`certify()`] does, at points that the seed decides. `model` is the construction's
/// model on `device`.
pub fn attack(construction: &Construction, model: &Model, device: &Device, effort: Effort, seed: Seed) -> Attack {
    let bench = Bench { construction, kinds: construction.kinds(), seed };
    let network = &construction.network;
    let budget = network.model_config().budget(&network.dims());
    let flops = budget.forward_flops.max(1);
    let batch = (BATCH_BYTES / budget.activation_bytes.max(1)).clamp(1, 512);
    let (points, misses) = match construction.domain.words() {
        Some(words) => {
            let points = bench.points(some_of(words, effort.random, seed));
            let misses = bench.run(model, device, &points, batch);
            (points, misses)
        }
        None => bench.search(model, device, effort, [flops, batch]),
    };
    let random = points.iter().filter(|point| point.kind == 0).count();
    // Of an ascent only the last point is kept.
    let ascents = points.iter().filter(|point| point.kind == 1 && construction.domain.words().is_none()).count();
    let worst = worst_first(&misses)[0];
    Attack {
        random,
        adversarial: points.len() - random + ascents * effort.climb,
        error: misses[worst].error,
        worst_kind: bench.kinds[points[worst].kind].clone(),
    }
}

/// All words if there are `most` at most, else so many, drawn; within bounds on either.
fn some_of(words: &Words, most: usize, seed: Seed) -> Vec<(usize, Vec<f64>)> {
    let bytes = 12 * words.seq_len * words.alphabet.len();
    let most = most.min(WORD_BYTES / bytes.max(1)).clamp(FEWEST_HARD, MOST_WORDS);
    if words.count() <= most as f64 {
        return (0..words.count() as usize).map(|index| (0, words.nth(index))).collect();
    }
    let mut rng = seed.probe(Probe::Certificate);
    (0..most).map(|_| (0, words.sample(&mut rng))).collect()
}

/// Indices of the points, largest error first.
fn worst_first(misses: &[Miss]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..misses.len()).collect();
    order.sort_by(|a, b| misses[*b].error.total_cmp(&misses[*a].error));
    order
}

impl Construction {
    /// The scored output number with the largest error; NaN counts as an infinite error.
    fn miss(&self, found: &[f64], wanted: &[f64]) -> Miss {
        let d_out = self.network.d_out;
        let scored = (0..wanted.len()).filter(|at| self.is_scored(at / d_out));
        let error = |at: usize| {
            let error = (found[at] - wanted[at]).abs();
            if error.is_nan() { f64::INFINITY } else { error }
        };
        let misses = scored.map(|at| Miss { error: error(at), power: 0.0, at, found: found[at] });
        let none = Miss { error: 0.0, power: 0.0, at: 0, found: 0.0 };
        let worst = misses.max_by(|a, b| a.error.total_cmp(&b.error)).unwrap_or(none);
        let power = self.norm.map_or(0.0, |p| {
            let positions = wanted.len() / d_out;
            let largest = |i: usize| (i * d_out..(i + 1) * d_out).map(error).fold(0.0, f64::max);
            (0..positions).map(|i| largest(i).powf(p)).sum::<f64>() / positions as f64
        });
        Miss { power, ..worst }
    }

    fn kinds(&self) -> Vec<String> {
        if self.domain.words().is_some() {
            return vec!["words".to_owned()];
        }
        let hard = self.hard.iter().map(|(kind, _)| (*kind).to_owned());
        ["random", "ascent"].map(str::to_owned).into_iter().chain(hard).chain(["breaks".to_owned()]).collect()
    }
}

struct Bench<'a> {
    construction: &'a Construction,
    kinds: Vec<String>,
    seed: Seed,
}

impl Bench<'_> {
    /// Points where the error may be large, and the errors there.
    fn search(
        &self,
        model: &Model,
        device: &Device,
        effort: Effort,
        [flops, batch]: [usize; 2],
    ) -> (Vec<Point>, Vec<Miss>) {
        let network = &self.construction.network;
        let budget = network.model_config().budget(&network.dims());
        let mut rng = self.seed.probe(Probe::Certificate);
        let hard = self.construction.hard.iter().enumerate();
        // If there are many hard points, each kind gets an equal share.
        let n_hard: usize = self.construction.hard.iter().map(|(_, points)| points.len()).sum();
        let stride = n_hard.div_ceil((4 * effort.flops / flops).max(FEWEST_HARD)).max(1);
        let hard =
            hard.flat_map(|(kind, (_, points))| points.iter().step_by(stride).map(move |x| (kind + 2, x.clone())));
        let n_random = effort.random.min((effort.flops / flops).max(64));
        let random = (0..n_random).map(|_| (0, self.construction.domain.sample(&mut rng)));
        let mut points: Vec<Point> = self.points(hard.chain(random).collect());
        let mut misses = self.run(model, device, &points, batch);
        // One step costs a forward pass and two backward passes.
        let memory = CLIMB_BYTES / (3 * budget.activation_bytes.max(1));
        let climbers =
            effort.climbers.min(memory).min((effort.flops / (3 * flops * (effort.climb + 1))).max(FEWEST_CLIMBERS));
        let starts = worst_first(&misses).into_iter().take(climbers).collect::<Vec<_>>();
        let climbed =
            self.climb(&starts.iter().map(|at| points[*at].x.clone()).collect::<Vec<_>>(), device, effort.climb);
        let climbed = self.points(climbed.into_iter().map(|x| (1, x.into_iter().map(f64::from).collect())).collect());
        misses.extend(self.run(model, device, &climbed, batch));
        points.extend(climbed);
        let mut broken = 0; // how many of the last points are at breaks
        for _ in 0..2 {
            let worst = worst_first(&misses).into_iter().take(CROSSED).map(|at| &points[at]);
            // Neighbouring points lie at the same break, so only some are used.
            let last = points[points.len() - broken..].iter().step_by((broken / CROSSED_AGAIN).max(1));
            let through = worst.chain(last).map(|point| point.x.as_slice());
            let found = self.breaks(through, (effort.flops / flops).max(FEWEST_HARD));
            misses.extend(self.run(model, device, &found, batch));
            broken = found.len();
            points.extend(found);
        }
        (points, misses)
    }

    /// Points with every number uniform in its range, and the errors there.
    fn uniform(
        &self,
        model: &Model,
        device: &Device,
        effort: Effort,
        [flops, batch]: [usize; 2],
    ) -> (Vec<Point>, Vec<Miss>) {
        let mut rng = self.seed.probe(Probe::Certificate);
        let count = effort.random.min((effort.flops / flops).max(64));
        let points = self.points((0..count).map(|_| (0, self.construction.domain.uniform(&mut rng))).collect());
        let misses = self.run(model, device, &points, batch);
        (points, misses)
    }

    /// What an error is at least: one in the mean is known to within four standard errors.
    fn least(&self, measured: &Measured, misses: &[Miss]) -> f64 {
        let Some(p) = self.construction.norm else { return measured.error };
        let count = misses.len() as f64;
        let mean = misses.iter().map(|miss| miss.power).sum::<f64>() / count;
        let variance = misses.iter().map(|miss| (miss.power - mean).powi(2)).sum::<f64>() / count;
        (mean - 4.0 * (variance / count).sqrt()).max(0.0).powf(1.0 / p)
    }

    fn points(&self, points: Vec<(usize, Vec<f64>)>) -> Vec<Point> {
        let points = points.into_par_iter().map(|(kind, x)| {
            let x: Vec<f32> = x.into_iter().map(|value| value as f32).collect();
            Point { kind, wanted: self.wanted(&x), x }
        });
        points.collect()
    }

    /// At most `most` points on either side of the target's breaks, on paths through the middle of the domain and
    /// through the given points.
    fn breaks<'b>(&self, worst: impl Iterator<Item = &'b [f32]>, most: usize) -> Vec<Point> {
        let Construction { domain, target, .. } = self.construction;
        let Some(enclosure) = &target.enclosure else { return Vec::new() };
        let worst: Vec<Vec<f64>> = worst.map(|x| x.iter().copied().map(f64::from).collect()).collect();
        let middle = worst.first().map(|x| domain.through(x, 0.0).into_iter().map(|x| f64::from(x as f32)).collect());
        let paths: Vec<_> = middle.iter().chain(&worst).flat_map(|x: &Vec<f64>| domain.paths(x)).collect();
        let every = paths.len().div_ceil(MOST_PATHS).max(1);
        let along = |path: &Path| {
            let places = breaks(|t| enclosure(&path.over(t)), path.ends(), MOST_PIECES);
            places.into_iter().map(|t| path.at(t)).collect::<Vec<_>>()
        };
        let found: Vec<Vec<f64>> = paths.par_iter().step_by(every).flat_map_iter(along).collect();
        let stride = found.len().div_ceil(most).max(1);
        let kind = self.kinds.len() - 1;
        self.points(found.into_iter().step_by(stride).map(|x| (kind, x)).collect())
    }

    fn wanted(&self, x: &[f32]) -> Vec<f64> {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        (self.construction.target.function)(&x)
    }

    fn input(&self, xs: &[&[f32]], device: &Device) -> Tensor<3> {
        let network = &self.construction.network;
        let shape = [xs.len(), network.seq_len, network.d_in];
        Tensor::from_data(TensorData::new(xs.concat(), shape), device)
    }

    fn run(&self, model: &Model, device: &Device, points: &[Point], batch: usize) -> Vec<Miss> {
        let mut misses = Vec::with_capacity(points.len());
        for points in points.chunks(batch) {
            let xs: Vec<&[f32]> = points.iter().map(|point| point.x.as_slice()).collect();
            let output = to_host(model.forward(Input::Continuous(self.input(&xs, device))));
            let each = output.chunks(output.len() / points.len());
            misses.extend(points.iter().zip(each).map(|(point, found)| {
                let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
                self.construction.miss(&found, &point.wanted)
            }));
        }
        misses
    }

    /// Climbs |model − target| from each start, along the model's gradient minus the target's (by central differences),
    /// or in a random direction if there is no gradient; a step that does not increase the error is halved.
    fn climb(&self, starts: &[Vec<f32>], device: &Device, steps: usize) -> Vec<Vec<f32>> {
        if starts.is_empty() || steps == 0 {
            return Vec::new();
        }
        let network = &self.construction.network;
        let device = device.clone().autodiff();
        let model = network.assemble(&device);
        let mut rng = self.seed.probe(Probe::Ascent);
        let mut best: Vec<(Vec<f32>, Miss, f64)> = Vec::new();
        let mut places: Vec<Vec<f32>> = starts.to_vec();
        let scale = self.construction.domain.scale();
        let mut gradients = vec![Vec::new(); starts.len()];
        for step in 0..=steps {
            let xs: Vec<&[f32]> = places.iter().map(Vec::as_slice).collect();
            let x = self.input(&xs, &device).require_grad();
            let y = model.forward(Input::Continuous(x.clone())); // [batch, seq_len, d_out]
            let shape = y.dims();
            let output = to_host(y.clone());
            let each = output.len() / places.len();
            let misses: Vec<Miss> = places
                .iter()
                .zip(output.chunks(each))
                .map(|(x, found)| {
                    let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
                    self.construction.miss(&found, &self.wanted(x))
                })
                .collect();
            // The gradient's seed: ±1 for the output number to climb, zero for all others.
            let mut seeds = vec![0.0_f32; output.len()];
            for (at, miss) in misses.iter().enumerate() {
                let wanted = self.wanted(&places[at])[miss.at];
                seeds[at * each + miss.at] = if miss.found >= wanted { 1.0 } else { -1.0 };
            }
            let seeds_tensor = Tensor::from_data(TensorData::new(seeds.clone(), shape), &device);
            let grads = (y * seeds_tensor).sum().backward();
            let slopes = x.grad(&grads).map_or_else(|| vec![0.0; starts.len() * starts[0].len()], to_host);
            let width = starts[0].len();
            for (at, miss) in misses.into_iter().enumerate() {
                let better = best.get(at).is_none_or(|(_, known, _)| miss.error > known.error);
                if better {
                    let sign = f64::from(seeds[at * each + miss.at]);
                    gradients[at] = self.slope(&places[at], &slopes[at * width..][..width], miss.at, sign);
                    let length = best.get(at).map_or(0.05 * scale, |(_, _, length)| length * 1.5);
                    let entry = (places[at].clone(), miss, length);
                    if at < best.len() { best[at] = entry } else { best.push(entry) }
                } else {
                    best[at].2 *= 0.5;
                }
            }
            if step == steps {
                break;
            }
            places = best
                .iter()
                .zip(&gradients)
                .map(|((x, _, length), gradient)| {
                    let steepest = gradient.iter().fold(0.0_f64, |top, g| top.max(g.abs()));
                    // Every third step is random, so that a plateau or a ridge does not end the climb.
                    let wander = step % 3 == 2 || steepest == 0.0 || !steepest.is_finite();
                    let moved = x.iter().zip(gradient).map(|(x, g)| {
                        let direction = if wander { rng.random_range(-1.0..1.0) } else { g / steepest };
                        f64::from(*x) + length * direction
                    });
                    let mut moved: Vec<f64> = moved.collect();
                    self.construction.domain.project(&mut moved);
                    moved.into_iter().map(|value| value as f32).collect()
                })
                .collect();
        }
        best.into_iter().map(|(x, _, _)| x).collect()
    }

    /// Gradient of sign · (model − target) of one output number.
    fn slope(&self, x: &[f32], model: &[f32], output: usize, sign: f64) -> Vec<f64> {
        let Construction { domain, target, .. } = self.construction;
        let h = 1e-4 * domain.scale();
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let domain = domain.around(&x);
        let slope = |i: usize| {
            if domain.is_fixed(i) {
                return 0.0;
            }
            // Stay inside the domain: outside it the target may be undefined.
            let [above, below] = [h, -h].map(|step| domain.beside(&x, i, step));
            let distance = above[i] - below[i];
            let rise = if distance > 0.0 {
                ((target.function)(&above)[output] - (target.function)(&below)[output]) / distance
            } else {
                0.0
            };
            let slope = f64::from(model[i]) - sign * rise;
            if slope.is_finite() { slope } else { 0.0 }
        };
        (0..model.len()).map(slope).collect()
    }

    fn line(&self, model: &Model, device: &Device, worst: &Measured, batch: usize, points: usize) -> Line {
        let network = &self.construction.network;
        let output = worst.worst_position * network.d_out + worst.worst_channel;
        let ends = 1.25;
        let at: Vec<f64> = (0..points).map(|i| ends * (2.0 * i as f64 / (points - 1) as f64 - 1.0)).collect();
        let points: Vec<Vec<f32>> = at
            .iter()
            .map(|t| self.construction.domain.through(&worst.worst_point, *t).into_iter().map(|x| x as f32).collect())
            .collect();
        let wanted = points.par_iter().map(|x| self.wanted(x)[output]).collect();
        let mut found = Vec::with_capacity(points.len());
        for points in points.chunks(batch) {
            let xs: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
            let outputs = to_host(model.forward(Input::Continuous(self.input(&xs, device))));
            let each = outputs.len() / points.len();
            found.extend(outputs.chunks(each).map(|outputs| f64::from(outputs[output])));
        }
        Line { at, wanted, found }
    }

    fn measured<P: std::borrow::Borrow<Point>>(&self, points: &[P], misses: &[Miss]) -> Measured {
        let counts = self.kinds.iter().enumerate().map(|(kind, name)| {
            let count = points.iter().filter(|point| (*point).borrow().kind == kind).count();
            (name.clone(), count)
        });
        let worst = worst_first(misses)[0];
        let (point, miss) = (points[worst].borrow(), misses[worst]);
        let d_out = self.construction.network.d_out;
        let mean = misses.iter().map(|miss| miss.power).sum::<f64>() / misses.len() as f64;
        Measured {
            error: self.construction.norm.map_or(miss.error, |p| mean.powf(1.0 / p)),
            points: counts.filter(|(_, count)| *count > 0).collect(),
            worst_kind: self.kinds[point.kind].clone(),
            worst_point: point.x.iter().copied().map(f64::from).collect(),
            worst_position: miss.at / d_out,
            worst_channel: miss.at % d_out,
            found: miss.found,
            wanted: point.wanted[miss.at],
        }
    }
}
