//! One head that applies any function of one number at every position: y_i = g(x_i).
//!
//! Anchors L_k stand Δ = (b − a)/p apart on [a, b] and on a few steps beyond either end, with values V_k = g(L_k), and
//! the head gives Σ_k softmax_k(−c (x − L_k)²/Δ²) g(L_k) ([`crate::cells`] describes the columns). For a smooth g the
//! error is g'' Δ²/(4c), and c = 1 is best. At a kink the error is 0.07 Δ times the jump of the slope at c = 2.725. For
//! the bound, head and g are compared on a lattice of at least 64 points per Δ, and a bound on what happens between its
//! points is added. Over a lattice step s, g differs from its chord by at most w, (b − a) s/4 or M s²/8, if values lie
//! within w of each other, slopes lie between a and b, and |g''| ≤ M. All three come from the formula of g, evaluated
//! over intervals.
//!
//! g is evaluated on the padded interval, ⌈6/√c⌉ Δ beyond both ends; where it is undefined there, anchors keep the
//! value at the end.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, have V_k = L_k; here the values are those of any function, and the temperature is
//! chosen.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use headway_tasks::{
    Derivatives, Interval, Jet, Order, TaskConfig, breaks,
    seq2seq::function::{FunctionConfig, Table},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    bound::{Basis, Bound},
    cells::{self, Attention, Cells, felt, moved, sequences, value_noise},
    construct::{
        Construction, Cost, Request, Temperature, choose,
        options::{Ends, File, Given, Options, Planned, ensure_size, sound},
        written::{Sizes, WrittenDown},
    },
    domain::Domain,
    enclosure::Bracket,
    interpolation::{F32_ROUNDOFF, Mode},
    minimax::{Best, best_values},
    prove::{Provable, Variables},
    refusal::{Limit, Refusal},
    smoothness::{self, Constant},
    target::{Enclosure, Target},
};

/// Options of [`Activation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// g: the name of a built-in, or a formula in x1. Either this or a table must be given.
    pub function: Option<String>,
    /// A CSV file of x,y in increasing x, instead of a function: linear between the points, constant beyond them.
    pub table: Option<PathBuf>,
    /// Where the slope of a formula jumps; for built-ins and tables this is known. Default none.
    pub kink: Vec<f64>,
    /// n, number of positions, each with one number. Default 8.
    pub seq_len: usize,
    /// a, smallest input number. Default −3.
    pub low: f64,
    /// b, largest input number. Default 3.
    pub high: f64,
    /// Temperature; if `None`, minimax or smooth, whichever needs fewer anchors.
    pub mode: Option<Mode>,
    /// p, intervals between anchors; if `None`, about the fewest that meet the tolerance.
    pub intervals: Option<usize>,
    /// Where the anchors' values come from. Default: from the function.
    pub values: Values,
    /// Bounds on the derivatives of g. Default: only what its formula implies.
    pub smoothness: smoothness::Given,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            function: None,
            table: None,
            kink: Vec::new(),
            seq_len: 8,
            low: -3.0,
            high: 3.0,
            mode: None,
            intervals: None,
            values: Values::default(),
            smoothness: smoothness::Given::default(),
        }
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("intervals", self.intervals.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.table.as_deref().map(File::Table)
    }

    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { seq_len, low, high, mode, intervals, values, .. } = self;
        let domain = Ends { low, high }.cube()?;
        ensure_size("seq-len", &[seq_len], max_parameters)?;
        let (function, config) = if let Some(path) = &self.table {
            let table = table(&Given::table(given)?, path)?;
            let points: Vec<(f64, f64)> = table.x.iter().copied().zip(table.y.iter().copied()).collect();
            let config = FunctionConfig { seq_len, d_in: 1, outputs: Vec::new(), table: Some(table), domain };
            sound(&TaskConfig::Function(config.clone()).validate())?;
            (Scalar::table(&points)?, config)
        } else {
            let sizes = Sizes { seq_len: (Some(seq_len), 1), d_in: (None, 1) };
            let written = WrittenDown::new(self.function.as_slice(), &sizes, domain)?;
            if written.config.d_in != 1 || written.function.d_out() != 1 {
                return Err(Refusal::invalid("function", "takes one number, x1, and gives one"));
            }
            let kinks = [written.kinks, &self.kink].concat();
            (Scalar::written(&written.text, written.per_position()?, kinks), written.config)
        };
        let smoothness::Given { lipschitz, curvature } = self.smoothness;
        let construction = Activation { seq_len, function, low, high, mode, intervals, values, lipschitz, curvature };
        Ok(Planned::new(TaskConfig::Function(config), 0, move |request| construction.build(request)))
    }
}

/// x and y of a CSV file; a first line without numbers is a heading.
///
/// # Errors
/// [`Refusal::File`], with the number of the line.
pub fn table(bytes: &[u8], path: &Path) -> Result<Table, Refusal> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(bytes);
    // The CSV reader keeps a record of every cell of a line, so long lines are refused first.
    if let Some(line) = bytes.split(|byte| *byte == b'\n').position(|line| line.len() > LONGEST_LINE) {
        let problem = format!("line {}: more than {LONGEST_LINE} characters; give two numbers, x and y", line + 1);
        return Err(Refusal::file(path, problem));
    }
    // Reserved at once, since growing lists would take their memory several times. A line has at least four characters.
    let most = bytes.len() / 4 + 1;
    let mut table = Table { x: Vec::with_capacity(most), y: Vec::with_capacity(most) };
    for (line, record) in (1..).zip(reader.records()) {
        let record = record.map_err(|error| Refusal::file(path, error.to_string()))?;
        let numbers: Option<Vec<f64>> = record.iter().map(|cell| cell.parse().ok()).collect();
        match numbers.as_deref() {
            Some([x, y]) => {
                table.x.push(*x);
                table.y.push(*y);
            }
            None if line == 1 => {}
            _ => return Err(Refusal::file(path, format!("line {line}: give two numbers, x and y"))),
        }
    }
    Ok(table)
}

/// Largest number of characters of a line of a table.
const LONGEST_LINE: usize = 1000;

/// Where the anchors' values come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// V_k = g(L_k).
    #[default]
    Function,
    /// Those with the smallest largest error, by a linear program ([`crate::minimax`]). The bound is a proof over boxes, since
    /// no formula gives it; the fewest intervals are found by bisection.
    LinearProgram,
}

/// A function of one number, to be approximated.
#[derive(Clone)]
pub struct Scalar {
    /// Description in words, or the formula.
    pub text: String,
    /// The function g.
    pub function: Arc<dyn Fn(f64) -> f64 + Send + Sync>,
    /// Where its slope jumps.
    pub kinks: Vec<f64>,
    /// g and its derivatives over intervals; `None` if no formula is known.
    pub enclosure: Option<Arc<dyn Fn(Jet) -> Jet + Send + Sync>>,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalar").field("text", &self.text).field("kinks", &self.kinks).finish_non_exhaustive()
    }
}

impl Scalar {
    /// A function about which nothing is known except its values.
    pub fn opaque(text: &str, function: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        Self { text: text.to_owned(), function: Arc::new(function), kinks: Vec::new(), enclosure: None }
    }

    /// A function given by a formula or a built-in.
    pub fn written(
        text: impl Into<String>,
        function: headway_tasks::seq2seq::function::Function,
        kinks: Vec<f64>,
    ) -> Self {
        let same = function.clone();
        let enclosure = move |x: Jet| {
            let undefined = Jet::constant(Interval::UNDEFINED, 1, x.order());
            same.enclose(&[x]).pop().unwrap_or(undefined)
        };
        Self {
            text: text.into(),
            function: Arc::new(move |x| function.evaluate(&[x]).first().copied().unwrap_or(f64::NAN)),
            kinks,
            enclosure: Some(Arc::new(enclosure)),
        }
    }

    /// The function of one number as a target.
    fn target(&self) -> Target {
        let (function, enclosure) = (self.function.clone(), self.enclosure.clone());
        Target {
            text: self.text.clone(),
            function: Arc::new(move |x| vec![function(x[0])]),
            enclosure: enclosure.map(|of| -> Enclosure { Arc::new(move |x| vec![of(x[0].clone())]) }),
        }
    }

    /// Float32 numbers on either side of every break of the function; empty if no formula is known.
    fn breaks(&self, ends: Interval) -> Vec<f64> {
        self.enclosure.as_ref().map_or_else(Vec::new, |of| breaks(|x| vec![of(x)], ends, MOST_BREAKS))
    }

    /// A formula in x1 on an interval, with the known places where its slope jumps.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if the text is no formula, or not finite on the interval.
    pub fn formula(text: &str, [low, high]: [f64; 2], kinks: &[f64]) -> Result<Self, Refusal> {
        let outputs = vec![text.to_owned()];
        let config = FunctionConfig {
            seq_len: 1,
            d_in: 1,
            outputs,
            table: None,
            domain: headway_tasks::seq2seq::function::Domain::Cube { low, high },
        };
        Ok(Self::written(text, function(&config, "function")?, kinks.to_vec()))
    }

    /// The piecewise linear function through the points (x, y), constant before the first and after the last.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] unless there are at least two points, finite and with increasing x.
    pub fn table(points: &[(f64, f64)]) -> Result<Self, Refusal> {
        if points.len() < 2 {
            return Err(Refusal::invalid("table", "needs two points at least"));
        }
        if points.iter().any(|(x, y)| !(x.is_finite() && y.is_finite())) {
            return Err(Refusal::invalid("table", "holds something that is not a finite number"));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let problem = format!("x must grow from point to point, but {} is not below {}", pair[0].0, pair[1].0);
            return Err(Refusal::invalid("table", problem));
        }
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let text = format!("straight lines through {} points, constant beyond", points.len());
        let table = Table { x: x.clone(), y };
        let config = FunctionConfig {
            seq_len: 1,
            d_in: 1,
            outputs: Vec::new(),
            table: Some(table),
            ..FunctionConfig::default()
        };
        Ok(Self::written(text, function(&config, "table")?, x))
    }
}

fn function(config: &FunctionConfig, key: &'static str) -> Result<headway_tasks::seq2seq::function::Function, Refusal> {
    headway_tasks::seq2seq::function::Function::new(config).map_err(|problems| {
        let problems: Vec<String> = problems.into_iter().map(|problem| problem.into_parts().1).collect();
        Refusal::invalid(key, problems.join("; "))
    })
}

/// Number of pieces of [a, b] over which values and derivatives are tabulated.
const PIECES: usize = 1 << 14;

/// Largest number of pieces that are searched for breaks side by side.
const MOST_BREAKS: usize = 512;

/// Enclosures of a function over equal pieces of an interval.
struct Pieces<'a> {
    low: f64,
    high: f64,
    width: f64,
    all: Vec<Derivatives>,
    enclosure: &'a (dyn Fn(Jet) -> Jet + Send + Sync),
}

/// Values and derivatives over an interval.
fn derivatives(of: &(dyn Fn(Jet) -> Jet + Send + Sync), x: Interval) -> Derivatives {
    let jet = of(Jet::variable(x, 0, 1, Order::Second));
    [jet.value, jet.gradient[0], jet.second[0]]
}

impl<'a> Pieces<'a> {
    fn of(scalar: &'a Scalar, low: f64, high: f64) -> Option<Self> {
        let enclosure = scalar.enclosure.as_deref()?;
        let width = (high - low) / PIECES as f64;
        let end = |at: usize| if at == PIECES { high } else { low + width * at as f64 };
        let all: Vec<Derivatives> =
            (0..PIECES).into_par_iter().map(|at| derivatives(enclosure, Interval::new(end(at), end(at + 1)))).collect();
        all.iter().all(|[value, ..]| value.magnitude().is_finite()).then_some(Self { low, high, width, all, enclosure })
    }

    /// Bound on how far g differs from its chord over a step of the lattice, whose steps have length `step` and start
    /// at the lower end.
    fn stray(&self, step: f64, steps: usize) -> f64 {
        let most = |[value, slope, second]: Derivatives| {
            value.width().min(slope.width() * step / 4.0).min(second.magnitude() * step * step / 8.0)
        };
        let stray = |at: usize| {
            // Slightly more on either side, since ends are rounded.
            let place = |x: f64| ((x - self.low) / self.width).clamp(0.0, PIECES as f64);
            let first = place(self.low + step * at as f64 - 1e-9 * self.width).floor() as usize;
            let last = place(self.low + step * (at + 1) as f64 + 1e-9 * self.width).ceil() as usize;
            let touched = &self.all[first.min(PIECES - 1)..last.clamp(first + 1, PIECES)];
            let whole = touched.iter().skip(1).fold(touched[0], |[v, d, m], [value, slope, second]| {
                [v.hull(*value), d.hull(*slope), m.hull(*second)]
            });
            if whole[1].magnitude().is_finite() {
                return most(whole);
            }
            // At the end of a root, a cusp or a jump, pieces are too wide: use the range of values over the step
            // itself.
            let [from, to] = [at, at + 1].map(|at| self.low + step * at as f64);
            let hair = 1e-9 * step + 4.0 * f64::EPSILON * from.abs().max(to.abs());
            let alone = Interval::new((from - hair).max(self.low), (to + hair).min(self.high));
            most(derivatives(self.enclosure, alone)).min(most(whole))
        };
        (0..steps).map(stray).fold(0.0, f64::max)
    }

    /// Bracket of sup |g'| or sup |g''|.
    fn supremum(&self, derivative: usize) -> Bracket {
        let all = self.all.iter().map(|derivatives| derivatives[derivative]);
        all.fold(Bracket { least: 0.0, most: 0.0 }, |bracket, range| {
            bracket.or(Bracket { least: range.mignitude(), most: range.magnitude() })
        })
    }
}

/// The construction that applies a function of one number.
#[derive(Clone, Debug)]
pub struct Activation {
    /// n, the number of positions.
    pub seq_len: usize,
    /// g, the function to apply.
    pub function: Scalar,
    /// a, the lower end of the interval.
    pub low: f64,
    /// b, the upper end of the interval.
    pub high: f64,
    /// Temperature; if `None`, minimax or smooth, whichever needs fewer anchors.
    pub mode: Option<Mode>,
    /// p, the number of intervals; if `None`, about the smallest that meets the tolerance.
    pub intervals: Option<usize>,
    /// Where the anchors' values come from.
    pub values: Values,
    /// sup |g'| on [a, b], used if the formula of g is unknown or implies less.
    pub lipschitz: Option<f64>,
    /// sup |g''| on [a, b] outside the listed kinks, used likewise.
    pub curvature: Option<f64>,
}

/// Largest number of intervals that is tried; up to here squares of anchors are exact in float32.
const MOST_INTERVALS: usize = 4000;

/// Temperatures that are tried for values by linear program: the smallest has the smallest ripple, the largest the smallest
/// rounding of kinks.
const BEST: [f64; 3] = [0.8, 1.2, 2.4];

/// Largest number of intervals for values by linear program.
const MOST_BEST: usize = 512;

/// Points per interval at which values by linear program are best.
const PER_CELL: usize = 12;

/// Longest time for the proof of one size.
const PROOF_TIME: Duration = Duration::from_mins(1);

/// Weights of the head at u = t Δ after an anchor, which are the same in every cell.
struct Kernel {
    c: f64,
    padding: usize,
    /// For each lattice point, one weight for each of the anchors −padding … padding + 1.
    weights: Vec<Vec<f64>>,
    /// sup Σ P_k (k − mean)² (|k − mean| + Σ P_j |j − mean|), which bounds h'' Δ / (4 c²) if slopes of values are at
    /// most 1.
    third: f64,
    /// sup 2 c Var with Var = Σ P_k (k − mean)². If slopes of values are at most 1, it bounds h', and √Var bounds Σ P_k
    /// |V_k − h|.
    slope: f64,
}

impl Kernel {
    fn new(mode: Mode) -> Self {
        let c = mode.sharpness();
        let padding = (6.0 / c.sqrt()).ceil() as usize;
        let density = 64.max((5.0 * c).ceil() as usize);
        let (mut third, mut slope) = (0.0_f64, 0.0_f64);
        let at = |step: usize| {
            let t = step as f64 / density as f64;
            let place = |j: usize| j as f64 - padding as f64;
            let mut weights: Vec<f64> = (0..2 * padding + 2).map(|j| (-c * (t - place(j)).powi(2)).exp()).collect();
            let total: f64 = weights.iter().sum();
            for weight in &mut weights {
                *weight /= total;
            }
            let mean: f64 = weights.iter().enumerate().map(|(j, weight)| weight * place(j)).sum();
            let away = |j: usize| (place(j) - mean).abs();
            let deviation: f64 = weights.iter().enumerate().map(|(j, weight)| weight * away(j)).sum();
            let cubes = weights.iter().enumerate().map(|(j, weight)| weight * away(j).powi(2) * (away(j) + deviation));
            third = third.max(cubes.sum());
            slope = slope
                .max(2.0 * c * weights.iter().enumerate().map(|(j, weight)| weight * away(j).powi(2)).sum::<f64>());
            weights
        };
        let weights = (0..density).map(at).collect();
        // Functions of c alone, which change by less than this factor within a step of 1/64.
        Self { c, padding, weights, third: 1.05 * third, slope: 1.05 * slope }
    }

    fn density(&self) -> usize {
        self.weights.len()
    }
}

/// One size at one temperature.
#[derive(Clone, Debug)]
struct ActivationPlan {
    mode: Mode,
    intervals: usize,
}

/// The head of one size.
struct Built {
    intervals: usize,
    c: f64,
    padding: usize,
    values: Vec<f64>,
    reason: String,
}

/// What is known of g besides its values.
struct Known<'a> {
    pieces: Option<&'a Pieces<'a>>,
    lipschitz: Option<Constant>,
    curvature: Option<Constant>,
}

/// Errors of a plan on the lattice.
struct Study {
    bound: Bound,
    rounding: Bound,
}

impl Activation {
    /// Name on the command line.
    pub const NAME: &str = "activation";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        if self.values == Values::LinearProgram {
            return self.build_best(request);
        }
        let pieces = Pieces::of(&self.function, self.low, self.high);
        let known = self.known(pieces.as_ref())?;
        let modes = self.mode.map_or(vec![Mode::Minimax, Mode::Smooth], |mode| vec![mode]);
        let kernels: Vec<(Mode, Kernel)> = modes.iter().map(|mode| (*mode, Kernel::new(*mode))).collect();
        let intervals: Vec<usize> = match self.intervals {
            Some(intervals) => vec![intervals],
            // Every number up to 32, then steps of three per cent.
            None => {
                let next = |p: &usize| Some((p + p / 32).max(p + 1));
                std::iter::successors(Some(1), next).take_while(|p| *p <= MOST_INTERVALS).collect()
            }
        };
        let candidates =
            intervals.iter().flat_map(|p| modes.iter().map(|mode| ActivationPlan { mode: *mode, intervals: *p }));
        let of = |plan: &ActivationPlan| kernels.iter().find(|(mode, _)| *mode == plan.mode).map(|(_, kernel)| kernel);
        let cost = |plan: &ActivationPlan| {
            let (study, parameters) = (of(plan).map(|kernel| self.study(plan, kernel, &known)), self.parameters(plan));
            study.map_or(Cost::unbounded(parameters), |study| Cost::of(&study.bound, &study.rounding, parameters))
        };
        let hint = "; a shorter interval has finer anchors";
        let plan = choose(request, candidates, cost, hint).map_err(|refusal| {
            // There are still modes to choose from.
            let refusal = if self.intervals.is_some() { refusal.at_given_size() } else { refusal };
            refusal.or_blame_function(&format!(
                "{} is no finite number somewhere between the ends; give an interval on which it is finite",
                self.function.text
            ))
        })?;
        let kernel = Kernel::new(plan.mode);
        self.write(&plan, &kernel, &known).in_float32("low", "low")
    }

    fn check(&self) -> Result<(), Refusal> {
        let Self { low, high, .. } = *self;
        if self.seq_len == 0 {
            return Err(Refusal::invalid("seq-len", "must be at least 1"));
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Refusal::invalid("low", format!("must be below high, but {low} is not below {high}")));
        }
        if !self.intervals.is_none_or(|p| (1..=MOST_INTERVALS).contains(&p)) {
            return Err(Refusal::invalid("intervals", format!("must be from 1 to {MOST_INTERVALS}")));
        }
        for (key, given) in [("lipschitz", self.lipschitz), ("curvature", self.curvature)] {
            if given.is_some_and(|value| !(value >= 0.0 && value.is_finite())) {
                return Err(Refusal::invalid(key, "must be a number from 0 on"));
            }
        }
        if self.function.kinks.iter().any(|kink| !kink.is_finite()) {
            return Err(Refusal::invalid("kinks", "hold something that is not a finite number"));
        }
        let lattice = (0..=256).map(|i| low + (high - low) * f64::from(i) / 256.0);
        if let Some(x) = lattice.into_iter().find(|x| !(self.function.function)(*x).is_finite()) {
            let text = &self.function.text;
            return Err(Refusal::invalid(
                "function",
                format!("{text} is no finite number at {x}; give an interval on which it is finite"),
            ));
        }
        Ok(())
    }

    /// What is known of g besides its values; given constants must not be contradicted.
    fn known<'a>(&self, pieces: Option<&'a Pieces<'a>>) -> Result<Known<'a>, Refusal> {
        let bracket = |derivative: usize| pieces.map_or(Bracket::UNKNOWN, |pieces| pieces.supremum(derivative));
        // If there is no enclosure, differences between lattice neighbours are lower bounds on the slope of g.
        let looks: Vec<f64> = (0..=4096)
            .map(|i| (self.function.function)(self.low + (self.high - self.low) * f64::from(i) / 4096.0))
            .collect();
        let seen = looks.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max) * 4096.0
            / (self.high - self.low);
        let given = |key, given: Option<f64>, derivative, seen| {
            given.map(|given| Constant::of(key, Some(given), bracket(derivative), f64::INFINITY, seen)).transpose()
        };
        let lipschitz = given("lipschitz", self.lipschitz, 1, seen)?;
        let curvature = given("curvature", self.curvature, 2, 0.0)?;
        Ok(Known { pieces, lipschitz, curvature })
    }

    fn spacing(&self, intervals: usize) -> f64 {
        (self.high - self.low) / intervals as f64
    }

    /// An anchor near the middle, relative to which all are counted.
    fn centre(&self, intervals: usize) -> f64 {
        self.low + self.spacing(intervals) * (intervals / 2) as f64
    }

    /// Values from the first padded anchor to the last. Beyond an end where g is not finite, anchors keep the value at
    /// that end.
    fn values(&self, intervals: usize, padding: usize) -> Vec<f64> {
        let g = &self.function.function;
        let value = |j: usize| {
            let x = self.low + self.spacing(intervals) * (j as f64 - padding as f64);
            let value = g(x);
            if value.is_finite() { value } else { g(x.clamp(self.low, self.high)) }
        };
        (0..=intervals + 2 * padding).map(value).collect()
    }

    fn parameters(&self, plan: &ActivationPlan) -> f64 {
        let padding = (6.0 / plan.mode.sharpness().sqrt()).ceil() as usize;
        cells::parameters(self.seq_len, 1, 1, plan.intervals + 2 * padding + 1, Attention::SelfAttention)
    }

    fn study(&self, plan: &ActivationPlan, kernel: &Kernel, known: &Known) -> Study {
        let ActivationPlan { intervals, .. } = *plan;
        let Kernel { c, padding, third, .. } = *kernel;
        let (spacing, density) = (self.spacing(intervals), kernel.density());
        let g = &self.function.function;
        let values = self.values(intervals, padding);
        let largest = values.iter().fold(0.0_f64, |top, v| top.max(v.abs()));
        let steepest = values.windows(2).fold(0.0_f64, |top, v| top.max((v[1] - v[0]).abs())) / spacing;
        let reach = (40.0 / c).sqrt() + 1.0;
        // Kinks first, then lattice point after lattice point.
        let kink_errors =
            self.function.kinks.iter().filter(|kink| (self.low..=self.high).contains(*kink)).map(|kink| {
                let u = (kink - self.low) / spacing;
                let cell = (u.floor() as usize).min(intervals - 1);
                let weights =
                    values[cell..].iter().take(2 * padding + 2).enumerate().map(|(j, value)| {
                        ((-c * (u - cell as f64 - (j as f64 - padding as f64)).powi(2)).exp(), value)
                    });
                let (sum, total) = weights.fold((0.0, 0.0), |(sum, total), (w, v)| (sum + w * v, total + w));
                (sum / total - g(*kink)).abs()
            });
        // Values that are not finite meet no tolerance.
        let finite = values.iter().all(|value| value.is_finite());
        let mut error = if finite { kink_errors.fold(0.0, f64::max) } else { f64::INFINITY };
        let (mut scores, mut bend) = (0.0_f64, 0.0_f64);
        // Rounding must not lead beyond the end, where g may be undefined.
        let at = |step: usize| (self.low + spacing * (step as f64 / density as f64)).min(self.high);
        let last = intervals * density;
        let (mut before, mut here) = (None, g(at(0)));
        for step in 0..=last {
            // The last point is the end of the last cell, whose weights are those at a cell's start, shifted by one
            // anchor.
            let (cell, t) = (step / density, step % density);
            let weights = &kernel.weights[t];
            let seen = &values[cell..(cell + 2 * padding + 2).min(values.len())];
            let h: f64 = weights.iter().zip(seen).map(|(w, v)| w * v).sum();
            let miss = (h - here).abs();
            error = if miss.is_nan() { f64::INFINITY } else { error.max(miss) };
            if t == 0 {
                // Bound over a whole cell, from the steepest values with noticeable weight in it.
                let steep = seen.windows(2).fold(0.0_f64, |top, v| top.max((v[1] - v[0]).abs()));
                let u = (cell as f64 - (intervals / 2) as f64).abs() + 1.0;
                let key = u + reach;
                let noise = F32_ROUNDOFF * (c * (2.0 * u * key + key * key + f64::max(u * u, reach * reach)) + 16.0);
                scores = scores.max(moved((kernel.slope / (2.0 * c)).sqrt() * steep, noise));
            }
            let next = if step < last { g(at(step + 1)) } else { here };
            if let Some(before) = before
                && step < last
            {
                let second: f64 = next - 2.0 * here + before;
                bend = bend.max(second.abs());
            }
            (before, here) = (Some(here), next);
        }
        let step = spacing / density as f64;
        // Both head and g lie between these ends.
        let range = known.pieces.map_or(f64::INFINITY, |pieces| {
            let all = pieces.all.iter().map(|[value, ..]| *value).chain(values.iter().map(|v| Interval::point(*v)));
            all.fold(pieces.all[0][0], Interval::hull).width()
        });
        let left = |bound: &Bound| (range - bound.value).max(0.0);
        // Bound on how far g differs from its chord over one lattice step: from the formula, from given constants, or
        // from differences.
        let enclosed = known.pieces.map_or(f64::INFINITY, |pieces| pieces.stray(step, last));
        let by = |constant: Option<Constant>, factor: f64| {
            constant.map_or(f64::INFINITY, |constant| constant.value * factor)
        };
        let given = by(known.lipschitz, step / 2.0).min(by(known.curvature, step * step / 8.0));
        let formula = "from the formula: range of g, range of g' times s / 4, or sup |g''| s^2 / 8, over every step s";
        let (stray, why, on) = if enclosed <= given && enclosed.is_finite() {
            (enclosed, formula, Basis::Proved)
        } else if given.is_finite() {
            (given, "min(L s / 2, M s^2 / 8) as given", Basis::Given)
        } else {
            let why = "half the largest second difference of g there (measured: it sees kinks, but nothing narrower)";
            (bend / 2.0, why, Basis::Measured)
        };
        let own = steepest * spacing * c * c * third / (2.0 * (density as f64).powi(2));
        let bound = Bound::default()
            .and("on the lattice", format!("max |head - g| at {density} points per Delta and at kinks"), error)
            .and_on(on, "between its points, g", why, stray)
            .and("between its points, head", "max |V_k+1 - V_k| c^2 T(c) / (2 density^2), from sup |head''|", own);
        let bound = bound.at_most(range, "range", "sup - inf of g and of its values at the anchors");
        let size = self.low.abs().max(self.high.abs()) / spacing;
        let half = intervals.div_ceil(2) as f64;
        let shift = F32_ROUNDOFF * (3.0 * size + 2.0 * self.centre(intervals).abs() / spacing + 3.0 * half);
        let rounding = Bound::default()
            .and(
                "scores",
                "sup_u sqrt(Var) |V_k+1 - V_k| (exp(2 gamma(u)) - 1) / 2, gamma = eps (c (2 u k + k^2 + |u^2 - (u - k)^2|) + 16), u and k in units of Delta",
                scores.min(left(&bound)),
            )
            .and(
                "input",
                "2 c Var max |V_k+1 - V_k| eps (3 |x| + 2 |m| + 3 |x - m|), all in units of Delta",
                (kernel.slope * steepest * spacing * shift).min(left(&bound)),
            )
            .and("values", "(2 keys felt + 8) eps max |V|", value_noise(felt(c), largest));
        Study { bound, rounding }
    }

    fn write(&self, plan: &ActivationPlan, kernel: &Kernel, known: &Known) -> Construction {
        let Study { bound, rounding } = self.study(plan, kernel, known);
        let ActivationPlan { mode, intervals } = *plan;
        let values = self.values(intervals, kernel.padding);
        let built = Built { intervals, c: kernel.c, padding: kernel.padding, values, reason: mode.reason().to_owned() };
        self.construction(built, bound, rounding)
    }

    fn construction(&self, built: Built, bound: Bound, rounding: Bound) -> Construction {
        let Built { intervals, c, padding, values, reason } = built;
        let keys: Vec<f64> =
            (0..=intervals + 2 * padding).map(|j| j as f64 - padding as f64 - (intervals / 2) as f64).collect();
        let spacing = self.spacing(intervals);
        let cells = Cells {
            centre: vec![self.centre(intervals)],
            spacing,
            sharpness: c,
            slopes: keys.iter().map(|k| vec![2.0 * k]).collect(),
            offsets: keys.iter().map(|k| -k * k).collect(),
            values: values.into_iter().map(|value| vec![value]).collect(),
            // The nearest anchor's score is −c/4 at least.
            nobody: -0.25 - 60.0 / c,
        };
        let g = self.function.function.clone();
        let network = cells.network(self.seq_len, Attention::SelfAttention);
        let rows = network.layers[0].rows() as f64;
        Construction {
            name: Self::NAME,
            target: Target::opaque(format!("y_i = {} of every number", self.function.text), move |x| {
                x.iter().map(|x| g(*x)).collect()
            }),
            domain: Domain::cube(self.seq_len, self.low, self.high),
            network,
            scored: None,
            sizes: vec![
                ("p".to_owned(), intervals as f64),
                ("padding".to_owned(), padding as f64),
                ("rows".to_owned(), rows),
            ],
            temperature: Temperature { beta: c / spacing.powi(2), reason },
            bound,
            rounding,
            likely: None,
            provable: Some(Provable::Boxes { function: self.function.target(), variables: Variables::Token }),
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard(intervals),
        }
    }

    /// The head with the best values: at the given size, or at the smallest that meets the tolerance, found by bisection, with
    /// the best of several temperatures.
    fn build_best(&self, request: Request) -> Result<Construction, Refusal> {
        let Request { tolerance: wanted, max_parameters: allowed } = request;
        if wanted.is_nan() || wanted <= 0.0 {
            return Err(Refusal::invalid("tolerance", format!("must be a positive number, not {wanted}")));
        }
        let error = |built: &Construction| built.bound.value + built.rounding.value;
        let padding = |c: f64| (6.0 / c.sqrt()).ceil() as usize;
        let parameters =
            |p: usize| cells::parameters(self.seq_len, 1, 1, p + 2 * padding(BEST[0]) + 1, Attention::SelfAttention);
        let most = (1..=MOST_BEST).rev().find(|p| parameters(*p) <= allowed as f64);
        let Some(most) = most.filter(|most| self.intervals.is_none_or(|p| p <= *most)) else {
            let needed = parameters(self.intervals.unwrap_or(1));
            return match self.intervals.filter(|p| *p > MOST_BEST) {
                Some(_) => Err(Refusal::invalid(
                    "intervals",
                    format!("must be from 1 to {MOST_BEST} for values by linear program"),
                )),
                None => Err(Refusal::TooLarge { wanted, needed, allowed, reachable: f64::INFINITY }),
            };
        };
        if let Some(intervals) = self.intervals {
            let built = self.best_of_size(intervals)?;
            let reachable = error(&built);
            let unreachable = Refusal::Unreachable {
                wanted,
                reachable,
                with_more: reachable,
                allowed,
                why: Limit::Given,
                hint: String::new(),
            };
            return if reachable <= wanted { built.in_float32("low", "low") } else { Err(unreachable) };
        }
        // Twice as many until it is met, then between the last two.
        let (mut below, mut size, mut reachable, mut found) = (0, 4.min(most), f64::INFINITY, None);
        while found.is_none() {
            let built = self.best_of_size(size)?;
            reachable = reachable.min(error(&built));
            if error(&built) <= wanted {
                found = Some(built);
            } else if size == most || error(&built) > 4.0 * reachable {
                let why = if error(&built) <= reachable { Limit::Largest } else { Limit::Rounding };
                let hint = "; a shorter interval has finer anchors".to_owned();
                return Err(Refusal::Unreachable { wanted, reachable, with_more: reachable, allowed, why, hint });
            } else {
                (below, size) = (size, (2 * size).min(most));
            }
        }
        while size > below + 1 {
            let middle = usize::midpoint(below, size);
            let built = self.best_of_size(middle)?;
            if error(&built) <= wanted { (size, found) = (middle, Some(built)) } else { below = middle }
        }
        found.map_or_else(
            || Err(Refusal::invalid("intervals", "could not be chosen")),
            |found| found.in_float32("low", "low"),
        )
    }

    /// The head with the best values at one size, at the best of several temperatures, with its proof.
    fn best_of_size(&self, intervals: usize) -> Result<Construction, Refusal> {
        let sharpness = self.mode.map_or_else(|| BEST.to_vec(), |mode| vec![mode.sharpness()]);
        let mut best: Option<Construction> = None;
        for c in sharpness {
            let padding = (6.0 / c.sqrt()).ceil() as usize;
            let start = self.values(intervals, padding);
            let spacing = self.spacing(intervals);
            let place = |x: f64| (x, (self.function.function)(x));
            let lattice =
                (0..=intervals * PER_CELL).map(|at| (self.low + spacing * at as f64 / PER_CELL as f64).min(self.high));
            let kinks = self.function.kinks.iter().copied().filter(|kink| (self.low..=self.high).contains(kink));
            let points: Vec<(f64, f64)> =
                lattice.chain(kinks).map(place).map(|(x, y)| ((x - self.low) / spacing + padding as f64, y)).collect();
            let largest = points.iter().map(|(_, y)| y.abs()).chain(start.iter().map(|v| v.abs())).fold(0.0, f64::max);
            let Some(Best { values, least }) = best_values(c, &points, &start, 1.5 * largest) else { continue };
            let reason = format!(
                "c = beta Delta^2 = {c}, with values by linear program: at this c and with these anchors no values have an error below {least:.3e}"
            );
            let empty = Bound::default().and("range", "not yet proved", f64::MAX / 4.0);
            let built = self.construction(Built { intervals, c, padding, values, reason }, empty.clone(), empty);
            let arrays = built.network.arrays();
            let proof = built.prove(&arrays, PROOF_TIME, |_| {})?;
            let built = built.proved(&proof);
            let error = |built: &Construction| built.bound.value + built.rounding.value;
            if best.as_ref().is_none_or(|best| error(&built) < error(best)) {
                best = Some(built);
            }
        }
        best.ok_or_else(|| {
            Refusal::invalid(
                "values",
                "by linear program cannot be had here: it is too badly conditioned; give --values function",
            )
        })
    }

    /// Points where errors are large: either side of every break of the formula, the given kinks, both ends, and points
    /// over every cell, or over some cells if there are too many.
    fn hard(&self, intervals: usize) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let spacing = self.spacing(intervals);
        let around = |at: f64| (-4..=4).map(move |i| at + 0.25 * f64::from(i) * spacing);
        let kinks: Vec<f64> = self.function.kinks.iter().copied().flat_map(around).collect();
        let stride = intervals.div_ceil(512);
        let cells = (0..intervals).step_by(stride);
        let ties: Vec<f64> =
            cells.flat_map(|k| (0..4).map(move |t| self.low + spacing * (k as f64 + 0.25 * f64::from(t)))).collect();
        let ends: Vec<f64> = [self.low, self.high].into_iter().flat_map(around).collect();
        let breaks = self.function.breaks(Interval::new(self.low, self.high));
        let kinds = [("breaks", breaks), ("kinks", kinks), ("ends", ends), ("ties", ties)].map(|(kind, values)| {
            let inside = values.into_iter().filter(|x| (self.low..=self.high).contains(x)).map(|x| vec![x]);
            (kind, sequences(&inside.collect::<Vec<_>>(), self.seq_len))
        });
        kinds.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    }
}
