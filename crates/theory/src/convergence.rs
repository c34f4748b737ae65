//! Convergence of the constructions: their errors at growing sizes, beside their own bounds and those of the paper.
//!
//! A [`Rate`] says what is built and how its error should fall; [`Rate::measure`] certifies every size, and
//! [`Measurements::agrees`] gives the verdict.

use burn::tensor::Device;
use headway_plain::convergence::exponent;
use thiserror::Error;

use crate::{
    Certificate, Effort, Refusal, Target,
    cells::Attention,
    certify,
    construct::{
        Construction, Request,
        in_context_gd::{self, InContextGd},
        max_affine::{self, MaxAffine},
        prefix::Prefix,
        relu_network::{self, ReluNetwork, ReluWeights},
        truncated_linear::{Clamp, TruncatedLinear},
        truncated_linear_heads::TruncatedLinearHeads,
    },
    interpolation::Mode,
    smoothness::Given,
};

/// A construction at growing sizes.
pub struct Rate {
    /// Name of the figure and of its rows.
    pub id: &'static str,
    /// Title of the figure.
    pub title: &'static str,
    /// What the size is, for example intervals.
    pub size: &'static str,
    /// Power of the size with which the error should fall.
    pub exponent: f64,
    /// Allowed difference between the fitted power and that one.
    pub within: f64,
    /// The sizes.
    pub sizes: &'static [usize],
    /// Builds the construction of a given size.
    pub build: fn(usize) -> Result<Construction, Refusal>,
    /// Error that the paper promises for a size; `None` if it promises none.
    pub paper: Option<fn(usize) -> f64>,
}

/// One size of one construction.
pub struct Point {
    /// The size, in the unit of [`Rate::size`].
    pub size: usize,
    /// The certificate of this size: what was measured and what is proved.
    pub certificate: Certificate,
}

/// A rate, measured at every size.
pub struct Measurements {
    /// The rate that was measured.
    pub rate: &'static Rate,
    /// One point per size, in the order of [`Rate::sizes`].
    pub points: Vec<Point>,
}

/// Why a size of a rate could not be built.
#[derive(Debug, Error)]
#[error("{id} at {size}: {refusal}")]
pub struct NotBuilt {
    /// [`Rate::id`].
    pub id: &'static str,
    /// The size.
    pub size: usize,
    /// The construction's refusal.
    pub refusal: Refusal,
}

impl Rate {
    /// Builds every size and measures its error on a device; `named` is the device's name in certificates.
    ///
    /// # Errors
    /// [`NotBuilt`]
    pub fn measure(&'static self, device: &Device, named: &str) -> Result<Measurements, NotBuilt> {
        let points = self.sizes.iter().map(|size| self.certify(*size, device, named)).collect::<Result<_, _>>()?;
        Ok(Measurements { rate: self, points })
    }

    fn certify(&self, size: usize, device: &Device, named: &str) -> Result<Point, NotBuilt> {
        let construction = (self.build)(size).map_err(|refusal| NotBuilt { id: self.id, size, refusal })?;
        let model = construction.network.assemble(device);
        let tolerance = construction.bound.value + construction.rounding.value;
        let effort = Effort { random: 1024, climbers: 8, climb: 12, ..Effort::default() };
        let certificate = certify(&construction, tolerance, &model, device, named, effort);
        Ok(Point { size, certificate })
    }
}

impl Measurements {
    /// Fitted power of the size with which the error in float32 falls: the slope of log error against log size. `None`
    /// if there is no such line.
    pub fn exponent(&self) -> Option<f64> {
        let error = |point: &Point| (point.size as f64, point.certificate.float32.error);
        exponent(&self.points.iter().map(error).collect::<Vec<_>>())
    }

    /// Whether every certificate holds and the error falls with the expected power.
    pub fn agrees(&self) -> bool {
        let Rate { exponent, within, .. } = self.rate;
        let falls = self.exponent().is_some_and(|found| (found - exponent).abs() <= *within);
        falls && self.points.iter().all(|point| point.certificate.holds)
    }
}

/// No limit on the error, since the size is given.
const ANY: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

/// Every rate, in the order of the report.
pub const RATES: &[Rate] = &[
    Rate {
        id: "truncated-linear",
        title: "One head clamps a linear form: error against the intervals p between anchors",
        size: "p",
        exponent: -1.0,
        within: 0.05,
        sizes: &[15, 30, 60, 120, 240, 480],
        build: |p| TruncatedLinear { clamp: clamp(20, false), mode: Mode::Minimax, intervals: Some(p) }.build(ANY),
        paper: Some(|p| RANGE / p as f64),
    },
    Rate {
        id: "truncated-linear-hard",
        title: "The same in the theorem's regime, where the nearest anchor takes all",
        size: "p",
        exponent: -1.0,
        within: 0.05,
        sizes: &[15, 30, 60, 120, 240, 480],
        build: |p| TruncatedLinear { clamp: clamp(20, false), mode: Mode::Hard, intervals: Some(p) }.build(ANY),
        paper: Some(|p| RANGE / p as f64),
    },
    Rate {
        id: "heads",
        title: "H heads on 20 positions clamp a linear form: error against H",
        size: "H",
        exponent: -1.0,
        within: 0.05,
        sizes: &[1, 2, 4, 8, 16, 32],
        build: |heads| {
            TruncatedLinearHeads { clamp: clamp(20, true), mode: Mode::Minimax, heads: Some(heads) }.build(ANY)
        },
        paper: Some(|heads| RANGE / (18.0 * heads as f64)),
    },
    Rate {
        id: "positions",
        title: "Four heads on n positions clamp a linear form: error against n - 1, intervals of a head",
        size: "n - 1",
        exponent: -1.0,
        within: 0.05,
        sizes: &[4, 8, 16, 32, 64],
        build: |intervals| {
            TruncatedLinearHeads { clamp: clamp(intervals + 1, true), mode: Mode::Minimax, heads: Some(4) }.build(ANY)
        },
        paper: Some(|intervals| RANGE / ((intervals as f64 - 1.0) * 4.0)),
    },
    Rate {
        id: "relu-network-t1",
        title: "Two layers compute a ReLU network of 6 x 3 numbers with 8 units: error against the intervals p",
        size: "p",
        exponent: -1.0,
        within: 0.05,
        sizes: &[16, 32, 64, 128, 256],
        build: |p| {
            let form = relu_network::Form::T1;
            ReluNetwork { form, intervals: Some(p), heads: Some(1), ..ReluNetwork::new(network()) }.build(ANY)
        },
        paper: None,
    },
    Rate {
        id: "in-context-gd-e1",
        title: "Ten steps of gradient descent, softmax made linear by small scores: error against 1 / delta",
        size: "1 / delta",
        exponent: -2.0,
        within: 0.1,
        sizes: &[4, 8, 16, 32],
        build: |inverse| {
            let form = in_context_gd::Form::Linear { delta: Some(1.0 / inverse as f64) };
            InContextGd { points: 10, d: 3, form, ..InContextGd::default() }.build(ANY)
        },
        paper: None,
    },
    Rate {
        id: "in-context-gd-e2",
        title: "A step with products as squares interpolated between anchors, at c = 200: error against the intervals p",
        size: "p",
        // With fixed random prompts alone the fitted power is about -0.88; with hard ones included it is that of the
        // bound.
        exponent: -1.0,
        within: 0.1,
        sizes: &[24, 48, 96, 192],
        build: |p| {
            let form = in_context_gd::Form::Squares { intervals: Some(p), sharpness: Some(200.0) };
            InContextGd { points: 3, d: 1, steps: 1, rate: 0.7, form, ..InContextGd::default() }.build(ANY)
        },
        paper: None,
    },
    Rate {
        id: "max-affine-kink",
        title: "One head looks up a function with kinks on G x G cells: error against G",
        size: "G",
        exponent: -1.0,
        within: 0.1,
        sizes: &[4, 8, 16, 32],
        build: |cells| cells_of(kink(), Mode::Minimax, cells),
        paper: None,
    },
    Rate {
        id: "max-affine-smooth",
        title: "The same for a smooth function, at c = 1 with cells beyond the square: error against G",
        size: "G",
        exponent: -2.0,
        within: 0.15,
        sizes: &[4, 8, 16, 32],
        build: |cells| cells_of(waves(), Mode::Smooth, cells),
        paper: None,
    },
    Rate {
        id: "prefix-lipschitz",
        title: "A prefix of N rows makes a frozen head compute a function with kinks on the sphere: error against N",
        size: "N",
        exponent: -0.5,
        within: 0.1,
        sizes: &[100, 200, 400, 800, 1600],
        build: |rows| prefix(lipschitz(), Mode::Minimax, rows),
        paper: None,
    },
    Rate {
        id: "prefix-smooth",
        title: "The same for a smooth function: error against N",
        size: "N",
        // The curvature's share falls as 1/N; the ripple of a Fibonacci lattice, which is not square, falls more
        // slowly.
        exponent: -1.0,
        within: 0.15,
        sizes: &[100, 200, 400, 800, 1600],
        build: |rows| prefix(smooth(), Mode::Smooth, rows),
        paper: None,
    },
];

/// b − a of the clamps above, as in the paper.
const RANGE: f64 = 50.0;

/// A clamp to [−25, 25] of linear forms in ten numbers from −5 to 5, with weights ±0.9 … ±1.1 that differ from position
/// to position unless `shared`.
fn clamp(n: usize, shared: bool) -> Clamp {
    let row = |i: usize| if shared { 0.0 } else { i as f64 };
    let weight = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 } * (0.9 + 0.2 * (row(i) * 0.37 + j as f64 * 0.61).fract());
    Clamp {
        weights: (0..n).map(|i| (0..10).map(|j| weight(if shared { 0 } else { i }, j)).collect()).collect(),
        offsets: (0..n).map(|i| (row(i) * 0.29).fract() - 0.5).collect(),
        low: -RANGE / 2.0,
        high: RANGE / 2.0,
        input: 5.0,
    }
}

/// A deterministic weight in [−1, 1] that looks random.
fn weight(i: usize, j: usize) -> f64 {
    ((i as f64 + 1.0) * 0.754_877_666 + (j as f64 + 1.0) * 0.569_840_291).fract() * 2.0 - 1.0
}

/// A ReLU network with six positions of three numbers and eight hidden units.
fn network() -> ReluWeights {
    let (n, d, units) = (6, 3, 8);
    let matrix = |rows: usize, columns: usize, salt: usize| {
        (0..rows).map(|i| (0..columns).map(|j| weight(i * 31 + salt, j)).collect()).collect()
    };
    ReluWeights {
        seq_len: n,
        d_in: d,
        d_out: d,
        weights_in: matrix(units, n * d, 1),
        bias_in: (0..units).map(|j| weight(j, 77)).collect(),
        weights_out: matrix(n * d, units, 5),
        bias_out: (0..n * d).map(|i| weight(i, 99)).collect(),
    }
}

/// The target given by formulas of one position; those of this file are known to parse.
fn formulas(formulas: &[&str], d_in: usize) -> Target {
    Target::formulas(formulas, [1, d_in], [-1.0, 1.0]).unwrap_or_else(|problem| unreachable!("{formulas:?}: {problem}"))
}

fn kink() -> Target {
    formulas(&["max(abs(x1 - 0.413), abs(x2 - 0.577))"], 2)
}

fn waves() -> Target {
    formulas(&["sin(2*PI*x1)*x2"], 2)
}

fn lipschitz() -> Target {
    formulas(&["abs(x1)", "max(x2, x3)", "abs(x1 - x2)/2"], 3)
}

fn smooth() -> Target {
    formulas(&["x1*x2", "sin(2*x3)", "x1^2 - x3"], 3)
}

fn cells_of(function: Target, mode: Mode, per_axis: usize) -> Result<Construction, Refusal> {
    let grid = max_affine::Grid {
        d_in: 2,
        function,
        mode,
        per_axis: Some(per_axis),
        padding: None,
        given: Given::default(),
        norm: None,
    };
    let partition = max_affine::Cut::Grid(grid);
    MaxAffine { seq_len: 4, low: 0.0, high: 1.0, partition, attention: Attention::CrossAttention }.build(ANY)
}

fn prefix(function: Target, mode: Mode, length: usize) -> Result<Construction, Refusal> {
    Prefix { seq_len: 1, d_in: 3, function, mode, length: Some(length), given: Given::default() }.build(ANY)
}
