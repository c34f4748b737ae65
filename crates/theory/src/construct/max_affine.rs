//! One head, self- or cross-attention, that assigns values to the cells of a max-affine partition: y_i is the value of
//! the cell that contains x_i.
//!
//! Scores are affine, β (a_k · x + b_k), and cell k is where its score is the largest ([`crate::cells`] describes the
//! columns). There are two kinds of cells:
//!
//! - A grid of G^d cubes of side h = (b − a)/G over [a, b]^d, with scores −c |x − v_k|²/h² up to a shared term and
//!   values f(v_k), for any
//!   continuous f on R^d. The weights are products over the axes. With ρ² = sup E (w − k)² and r = sup |w − E k| for
//!   one axis, in units of
//!   h, |head − f| ≤ L √d ρ h, and also ≤ L √d r h + M d ρ² h²/2 if second derivatives are below M. Hard: ρ = ½. At c =
//!   1, r is 3e-4, and
//!   the second bound is of order h² if f is also defined on 3 cells around the cube.
//! - Given cells, whose values are the target itself. It jumps at walls, so the error is small only where the largest
//!   score exceeds all
//!   others by g: (K − 1) e^{−β g} max |V_k − V_l|.
//!
//! In the mean over the cube, functions that jump are approximated too (`mean.rs`).
//!
//! Only the n tokens are queries: there are n × K scores, not K × K.
//!
//! # References
//! Liu et al. 2025, arXiv 2504.19901, for the limit of large β; the padded grid at c = 1 is specific to this crate.

mod mean;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use headway_model::weights::Array;
use headway_tasks::{Probe, TaskConfig, seq2seq::function::FunctionConfig};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    cells::{self, Attention, Cells, felt, moved, sequences, value_noise},
    construct::{
        Construction, Cost, Request, Temperature, choose,
        options::{self, Ends, File, Options, Planned, doubles, ensure_size, ensure_unused, rows, sound},
        written::{Sizes, WrittenDown},
    },
    domain::{Domain, Partition},
    interpolation::{F32_ROUNDOFF, Mode, Moments},
    prove::{Provable, Variables},
    refusal::Refusal,
    smoothness::{Given, Smoothness},
    target::{Enclosure, Target},
};

/// Options of [`MaxAffine`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of a built-in, or one formula in x1 … per output number. Either this or cells must be given.
    pub function: Vec<String>,
    /// A file of cells instead: `slopes` `[cells, d_in]`, `offsets` `[cells]`, `values` `[cells, d_out]`.
    pub cells: Option<PathBuf>,
    /// Lead of the largest score from which on the value of a given cell is promised; if `None`, 0.05.
    pub gap: Option<f64>,
    /// n, number of positions. Default 4.
    pub seq_len: usize,
    /// Numbers per position; if `None`, those of a built-in, else 2.
    pub d_in: Option<usize>,
    /// Range of every input number. Default 0 to 1.
    pub ends: Ends,
    /// Self-attention or cross-attention. Default self-attention.
    pub attention: Attention,
    /// Temperature; if `None`, minimax. Smooth pads the grid, and the function must be defined on the padding too.
    pub mode: Option<Mode>,
    /// G, cells per axis; if `None`, the fewest that meet the tolerance.
    pub per_axis: Option<usize>,
    /// Number of padding cells beyond every face; if `None`, 3 for smooth and none otherwise.
    pub padding: Option<usize>,
    /// Bounds on the function's derivatives. Default: only what its formula implies.
    pub smoothness: Given,
    /// p ≥ 1: the error is ‖h − f‖_p, with x uniform in the cube; if `None`, the largest one.
    pub norm: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            function: Vec::new(),
            cells: None,
            gap: None,
            seq_len: 4,
            d_in: None,
            ends: Ends::default(),
            attention: Attention::default(),
            mode: None,
            per_axis: None,
            padding: None,
            smoothness: Given::default(),
            norm: None,
        }
    }
}

/// Lead of the largest score if none is given.
const GAP: f64 = 0.05;

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("per-axis", self.per_axis.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.cells.as_deref().map(File::Arrays)
    }

    fn plan(&self, given: Option<options::Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { seq_len, ends: Ends { low, high }, attention, per_axis, padding, .. } = self;
        let domain = self.ends.cube()?;
        ensure_size("seq-len x --d-in", &[seq_len, self.d_in.unwrap_or(2)], max_parameters)?;
        ensure_unused("norm", self.norm.is_some() && self.cells.is_some(), "a function")?;
        let (partition, config) = if let Some(path) = &self.cells {
            let cells =
                GivenCells::from_arrays(options::Given::arrays(given, "cells")?, path, self.gap.unwrap_or(GAP))?;
            let d_in = cells.slopes.first().map_or(0, Vec::len);
            let config = FunctionConfig { seq_len, d_in, outputs: cells.formulas(), table: None, domain };
            sound(&TaskConfig::Function(config.clone()).validate())?;
            (Cut::Given(cells), config)
        } else {
            let sizes = Sizes { seq_len: (Some(seq_len), 4), d_in: (self.d_in, 2) };
            let written = WrittenDown::new(&self.function, &sizes, domain)?;
            let grid = Grid {
                d_in: written.config.d_in,
                function: Target::written(&written.text, written.per_position()?),
                mode: self.mode.unwrap_or_default(),
                per_axis,
                padding,
                given: self.smoothness,
                norm: self.norm,
            };
            (Cut::Grid(grid), written.config)
        };
        let construction = MaxAffine { seq_len: config.seq_len, low, high, partition, attention };
        Ok(Planned::new(TaskConfig::Function(config), 0, move |request| construction.build(request)))
    }
}

/// The construction that assigns values to the cells of a partition.
#[derive(Clone, Debug)]
pub struct MaxAffine {
    /// n, the number of positions.
    pub seq_len: usize,
    /// a, the lower end of every input number.
    pub low: f64,
    /// b, the upper end of every input number.
    pub high: f64,
    /// The cells and their values.
    pub partition: Cut,
    /// Which rows the tokens attend to.
    pub attention: Attention,
}

/// How the cube is cut into cells.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Into equal cubes.
    Grid(Grid),
    /// By the largest of given affine scores.
    Given(GivenCells),
}

/// A function, approximated on a grid of cubes.
#[derive(Clone, Debug)]
pub struct Grid {
    /// d, numbers per position.
    pub d_in: usize,
    /// f, a function of one position: `[d_in]` -> `[d_out]`. It is evaluated at the centres of padding cells too.
    pub function: Target,
    /// Temperature.
    pub mode: Mode,
    /// G, cells per axis; if `None`, the fewest that meet the tolerance.
    pub per_axis: Option<usize>,
    /// Number of padding cells beyond every face of the cube; if `None`, 3 at c = 1 and none otherwise.
    pub padding: Option<usize>,
    /// L and M, bounds for each output number on the padded cube; those that are not given are measured.
    pub given: Given,
    /// p, if the error is one in the mean, ‖h − f‖_p with x uniform in the cube.
    pub norm: Option<f64>,
}

/// Cells given by their scores.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenCells {
    /// a. `[cells][d_in]`
    pub slopes: Vec<Vec<f64>>,
    /// b. `[cells]`
    pub offsets: Vec<f64>,
    /// Value of each cell. `[cells][d_out]`
    pub values: Vec<Vec<f64>>,
    /// The error is promised where the largest score exceeds all others by at least this.
    pub gap: f64,
}

/// Largest number of cells in a file.
const MOST_GIVEN: usize = 100;

impl GivenCells {
    /// Cells of a file: `slopes` `[cells, d_in]`, `offsets` `[cells]` and `values` `[cells, d_out]`.
    ///
    /// # Errors
    /// [`Refusal::File`] and [`Refusal::Invalid`] if shapes do not match or a number is not finite.
    pub fn from_arrays(mut arrays: BTreeMap<String, Array>, path: &Path, gap: f64) -> Result<Self, Refusal> {
        match ["slopes", "offsets", "values"].map(|name| arrays.remove(name)) {
            [Some(slopes), Some(offsets), Some(values)]
                if slopes.shape.len() == 2 && offsets.shape.len() == 1 && values.shape.len() == 2 =>
            {
                let counts = [slopes.shape[0], offsets.shape[0], values.shape[0]];
                let mut numbers = [&slopes, &offsets, &values].into_iter().flat_map(|array| &array.values);
                let problem = if counts.iter().any(|count| *count != counts[0])
                    || slopes.shape[1] * values.shape[1] == 0
                {
                    Some("the three must have as many rows, and slopes and values a column at least".to_owned())
                } else if !(1..=MOST_GIVEN).contains(&counts[0]) {
                    // The task with the same target writes every score into every term, so its formulas grow fast.
                    Some(format!("holds {} cells; from 1 to {MOST_GIVEN} can be given", counts[0]))
                } else {
                    numbers.any(|n| !n.is_finite()).then(|| "holds something that is not a finite number".to_owned())
                };
                if let Some(problem) = problem {
                    return Err(Refusal::invalid(format!("cells {}", path.display()), problem));
                }
                let (d_in, d_out) = (slopes.shape[1], values.shape[1]);
                Ok(Self { slopes: rows(&slopes, d_in), offsets: doubles(&offsets), values: rows(&values, d_out), gap })
            }
            _ => {
                let problem = "needs `slopes` [cells, d_in], `offsets` [cells] and `values` [cells, d_out]";
                Err(Refusal::file(path, problem))
            }
        }
    }

    /// The value of the cell with the largest score as formulas, one per output number: Σ_k v_k step(s_k − max(s_1, …, s_K)).
    fn formulas(&self) -> Vec<String> {
        let score = |(slope, offset): (&Vec<f64>, &f64)| {
            let terms = slope.iter().enumerate().map(|(j, a)| format!(" + {a:?}*x{}", j + 1));
            format!("({offset:?}{})", terms.collect::<String>())
        };
        let scores: Vec<String> = self.slopes.iter().zip(&self.offsets).map(score).collect();
        let top = if scores.len() == 1 { scores[0].clone() } else { format!("max({})", scores.join(", ")) };
        let d_out = self.values.first().map_or(0, Vec::len);
        let output = |c: usize| {
            let terms = self.values.iter().zip(&scores);
            terms.map(|(v, s)| format!("{:?}*step({s} - {top})", v[c])).collect::<Vec<_>>().join(" + ")
        };
        (0..d_out).map(output).collect()
    }
}

/// Largest number of cells that is tried.
const MOST_CELLS: usize = 1 << 16;
/// Largest number of axes of a grid.
const MOST_AXES: usize = 8;

impl MaxAffine {
    /// Name on the command line.
    pub const NAME: &str = "max-affine";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        let Self { low, high, .. } = *self;
        if self.seq_len == 0 {
            return Err(Refusal::invalid("seq-len", "must be at least 1"));
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Refusal::invalid("low", format!("must be below high, but {low} is not below {high}")));
        }
        match &self.partition {
            Cut::Grid(grid) => grid.build(self, request),
            Cut::Given(cells) => cells.build(self, request),
        }
    }

    fn text(&self) -> &'static str {
        match self.attention {
            Attention::SelfAttention => "self-attention",
            Attention::CrossAttention => "cross-attention",
        }
    }
}

/// Error constants of the softmax weights along one axis, in units of h.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// ρ² = sup E (w − k)².
    square: f64,
    /// r = sup |w − E k|.
    ripple: f64,
}

impl Axis {
    /// Constants for G cells and `padding` more on either side, from a lattice of 1024 points per cell; half the
    /// largest difference between neighbours, and half as much again, is added for what lies between lattice points.
    fn of(c: f64, per_axis: usize, padding: usize) -> Self {
        // All cells except the first are alike, and the last is the mirror image of the first.
        let per_axis = per_axis.min(24);
        let last = 1024 * per_axis.div_ceil(2);
        let looks = (0..=last).map(|step| {
            let w = -0.5 + f64::from(u32::try_from(step).unwrap_or(u32::MAX)) / 1024.0;
            let seen = Moments::of(w + padding as f64, per_axis - 1 + 2 * padding, c);
            let off = seen.mean - padding as f64 - w;
            [seen.variance + off * off, off.abs()]
        });
        let (mut top, mut step, mut before) = ([0.0_f64; 2], [0.0_f64; 2], None);
        for look in looks {
            for i in 0..2 {
                top[i] = top[i].max(look[i]);
                step[i] = before.map_or(step[i], |before: [f64; 2]| step[i].max((look[i] - before[i]).abs()));
            }
            before = Some(look);
        }
        Self { square: top[0] + 0.75 * step[0], ripple: top[1] + 0.75 * step[1] }
    }
}

impl Grid {
    fn build(&self, whole: &MaxAffine, request: Request) -> Result<Construction, Refusal> {
        if let Some(power) = self.norm {
            return self.build_in_mean(whole, power, request);
        }
        let d_out = self.check(whole)?;
        let per_axis: Vec<usize> = match self.per_axis {
            Some(per_axis) => vec![per_axis],
            None => (1..=MOST_CELLS).take_while(|per_axis| self.cells(*per_axis) <= MOST_CELLS).collect(),
        };
        // Without padding the constants are those of the cube, whatever G is. With padding, a given constant that is
        // contradicted on the cube is contradicted for every G, so it is refused here.
        let on_cube = self.smoothness(whole, None)?;
        let smoothness = |per_axis: usize| match self.padding() {
            0 => Ok(on_cube),
            _ => self.smoothness(whole, Some(per_axis)),
        };
        let cost = |per_axis: &usize| {
            let cells = self.cells(*per_axis);
            // If a constant is contradicted beyond the cube, more cells make the padding narrower.
            let parameters = cells::parameters(whole.seq_len, self.d_in, d_out, cells, whole.attention);
            smoothness(*per_axis).map_or(Cost::unbounded(parameters), |smoothness| {
                let (bound, rounding) = self.bounds(whole, *per_axis, smoothness);
                Cost::of(&bound, &rounding, parameters)
            })
        };
        let hint = format!("; a grid of {} axes has {MOST_CELLS} cells at most", self.d_in);
        let per_axis = choose(request, per_axis, cost, &hint).map_err(|refusal| {
            refusal.or_blame_function("must be finite and of one width on the cube and the padding around it")
        })?;
        self.write(whole, per_axis, self.bounds(whole, per_axis, smoothness(per_axis)?))?.in_float32("low", "low")
    }

    /// Checks the options and returns the width of an output.
    fn check(&self, whole: &MaxAffine) -> Result<usize, Refusal> {
        if !(1..=MOST_AXES).contains(&self.d_in) {
            return Err(Refusal::invalid("d-in", format!("must be from 1 to {MOST_AXES}: the cells are G^d")));
        }
        if let Some(per_axis) = self.per_axis
            && !(per_axis >= 1 && self.cells(per_axis) <= MOST_CELLS)
        {
            return Err(Refusal::invalid(
                "per-axis",
                format!("must be at least 1, and make {MOST_CELLS} cells at most"),
            ));
        }
        if self.cells(1) > MOST_CELLS {
            let problem = format!("is so wide that not even one cell is left; there are {MOST_CELLS} at most");
            return Err(Refusal::invalid("padding", problem));
        }
        for (key, given) in [("lipschitz", self.given.lipschitz), ("curvature", self.given.curvature)] {
            if given.is_some_and(|value| !(value >= 0.0 && value.is_finite())) {
                return Err(Refusal::invalid(key, "must be a number from 0 on"));
            }
        }
        let middle = (self.function.function)(&vec![f64::midpoint(whole.low, whole.high); self.d_in]);
        if middle.is_empty() || middle.iter().any(|value| !value.is_finite()) {
            return Err(Refusal::invalid("function", "must give finite numbers, one at least"));
        }
        Ok(middle.len())
    }

    fn padding(&self) -> usize {
        self.padding.unwrap_or(if self.mode == Mode::Smooth { 3 } else { 0 })
    }

    fn cells(&self, per_axis: usize) -> usize {
        per_axis.saturating_add(self.padding().saturating_mul(2)).saturating_pow(self.d_in as u32)
    }

    /// Smoothness on the cube, or on the cube with padding for `per_axis` cells per axis.
    fn smoothness(&self, whole: &MaxAffine, per_axis: Option<usize>) -> Result<Smoothness, Refusal> {
        let beyond =
            per_axis.map_or(0.0, |per_axis| self.padding() as f64 * (whole.high - whole.low) / per_axis as f64);
        Smoothness::on_cube(&self.function, self.d_in, [whole.low - beyond, whole.high + beyond], self.given)
    }

    fn bounds(&self, whole: &MaxAffine, per_axis: usize, smoothness: Smoothness) -> (Bound, Bound) {
        let Smoothness { lipschitz, curvature, largest, range } = smoothness;
        let (c, d) = (self.mode.sharpness(), self.d_in as f64);
        let h = (whole.high - whole.low) / per_axis as f64;
        let Axis { square, ripple } = Axis::of(c, per_axis, self.padding());
        let spread = lipschitz.value * (d * square).sqrt() * h;
        let (bias, bend) = (lipschitz.value * d.sqrt() * ripple * h, curvature.value * d * square * h * h / 2.0);
        // From slopes alone, or from slopes and second derivatives, whichever gives the smaller bound.
        let bound = if spread <= bias + bend {
            let formula = format!("L sqrt(d) rho h, L = {lipschitz}, rho({c}) = {:.4}; hard rho = 1/2", square.sqrt());
            Bound::default().and_on(lipschitz.basis, "distance to cells", formula, spread)
        } else {
            let first = format!("L sqrt(d) r h, L = {lipschitz}, r({c}) = {ripple:.2e}");
            let second = format!("M d rho^2 h^2 / 2, M = {curvature}, rho^2({c}) = {square:.4}");
            Bound::default().and_on(lipschitz.basis, "ripple", first, bias).and_on(
                curvature.basis,
                "curvature",
                second,
                bend,
            )
        };
        // A weighted mean of values differs from a value by at most the distance between two values.
        let bound = bound.at_most(range, "range", "sup f - inf f: the head gives a mean of values of f");
        let left = (range - bound.value).max(0.0);
        let (noise, shift) = self.noise(whole, per_axis);
        let keys = (self.cells(per_axis) as f64).min(felt(c).powf(d));
        let rounding = Bound::default()
            .and(
                "scores",
                "2 L sqrt(d) rho h (exp(2 gamma) - 1) / 2, gamma = eps (c (d + 2) d (2 w v + v^2) + 16)",
                moved(2.0 * spread, noise).min(left),
            )
            .and(
                "input",
                "d 2 c rho^2 L sqrt(d) eps (3 |x| + 2 |m| + 3 |x - m|)",
                (d * 2.0 * c * square * lipschitz.value * d.sqrt() * h * shift).min(left),
            )
            .and("values", "(2 keys felt + 8) eps max |f|", value_noise(keys, largest));
        (bound, rounding)
    }

    /// Rounding error of a score, and of a token in units of cells.
    fn noise(&self, whole: &MaxAffine, per_axis: usize) -> (f64, f64) {
        let (c, d, padding) = (self.mode.sharpness(), self.d_in as f64, self.padding() as f64);
        let h = (whole.high - whole.low) / per_axis as f64;
        let (token, cell) = (per_axis as f64 / 2.0, per_axis as f64 / 2.0 + padding);
        let noise = F32_ROUNDOFF * (c * (d + 2.0) * d * (2.0 * token * cell + cell * cell) + 16.0);
        let size = (whole.low.abs().max(whole.high.abs()) * 3.0 + 2.0 * f64::midpoint(whole.low, whole.high).abs()) / h;
        (noise, F32_ROUNDOFF * (size + 3.0 * token))
    }

    /// Centre of cell j of an axis, relative to m in units of h: an integer or a half-integer.
    fn place(&self, per_axis: usize, j: usize) -> f64 {
        j as f64 - self.padding() as f64 + 0.5 - per_axis as f64 / 2.0
    }

    /// Centre of cell j of an axis.
    fn centre(&self, whole: &MaxAffine, per_axis: usize, j: usize) -> f64 {
        let h = (whole.high - whole.low) / per_axis as f64;
        f64::midpoint(whole.low, whole.high) + h * self.place(per_axis, j)
    }

    fn write(&self, whole: &MaxAffine, per_axis: usize, bounds: (Bound, Bound)) -> Result<Construction, Refusal> {
        let MaxAffine { seq_len, low, high, attention, .. } = *whole;
        let (c, d, padding) = (self.mode.sharpness(), self.d_in, self.padding());
        let (h, m) = ((high - low) / per_axis as f64, f64::midpoint(low, high));
        let side = per_axis + 2 * padding;
        let centres: Vec<Vec<f64>> = (0..side.pow(d as u32))
            .map(|k| (0..d).map(|axis| self.place(per_axis, k / side.pow(axis as u32) % side)).collect())
            .collect();
        let values: Vec<Vec<f64>> = centres
            .iter()
            .map(|v| (self.function.function)(&v.iter().map(|v| m + h * v).collect::<Vec<f64>>()))
            .collect();
        if values.iter().any(|value| value.len() != values[0].len() || value.iter().any(|value| !value.is_finite())) {
            return Err(Refusal::invalid("function", "must be finite and of one width on the cube and its padding"));
        }
        let cells = Cells {
            centre: vec![m; d],
            spacing: h,
            sharpness: c,
            slopes: centres.iter().map(|v| v.iter().map(|v| 2.0 * v).collect()).collect(),
            offsets: centres.iter().map(|v| -v.iter().map(|v| v * v).sum::<f64>()).collect(),
            values,
            // A token is at most h √d/2 away from a centre.
            nobody: -(d as f64) / 4.0 - 60.0 / c,
        };
        let network = cells.network(seq_len, attention);
        let f = self.function.function.clone();
        Ok(Construction {
            name: MaxAffine::NAME,
            target: Target {
                text: format!("y_i = f(x_i) by {}, f(x) = {}", whole.text(), self.function.text),
                function: Arc::new(move |x| x.chunks(d).flat_map(|x| f(x)).collect()),
                enclosure: self.function.enclosure.clone().map(|enclosure| -> Enclosure {
                    Arc::new(move |x| x.chunks(d).flat_map(|x| enclosure(x)).collect())
                }),
            },
            domain: Domain::cube(seq_len * d, low, high),
            sizes: vec![
                ("G".to_owned(), per_axis as f64),
                ("padding".to_owned(), padding as f64),
                ("cells".to_owned(), cells.slopes.len() as f64),
                ("rows".to_owned(), network.layers[0].rows() as f64),
            ],
            network,
            scored: None,
            temperature: Temperature { beta: c / (h * h), reason: self.mode.reason().to_owned() },
            bound: bounds.0,
            rounding: bounds.1,
            likely: None,
            provable: Some(Provable::Boxes { function: self.function.clone(), variables: Variables::Token }),
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard(whole, per_axis),
        })
    }

    /// Corners of the cube, corners and walls of cells, and points between them: all combinations of some places on
    /// each axis, or a random choice of them if there are too many.
    fn hard(&self, whole: &MaxAffine, per_axis: usize) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        const MOST_POINTS: usize = 2048;
        let h = (whole.high - whole.low) / per_axis as f64;
        let mut rng = Probe::Cell.rng();
        let mut product = |places: &[f64]| {
            let total = places.len().pow(self.d_in as u32);
            let token = |at: usize| {
                let axes = (0..self.d_in).map(|axis| places[at / places.len().pow(axis as u32) % places.len()]);
                axes.collect::<Vec<f64>>()
            };
            match total {
                ..=MOST_POINTS => (0..total).map(token).collect::<Vec<_>>(),
                _ => (0..MOST_POINTS).map(|_| token(rng.random_range(0..total))).collect(),
            }
        };
        let mut places: Vec<f64> = [0, per_axis / 3, per_axis / 2, per_axis - 1]
            .into_iter()
            .flat_map(|cell| [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| whole.low + h * (cell as f64 + t)))
            .collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let corners = product(&[whole.low, whole.high]);
        [("corners", corners), ("walls", product(&places))]
            .into_iter()
            .map(|(kind, tokens)| (kind, sequences(&tokens, whole.seq_len)))
            .collect()
    }
}

impl GivenCells {
    fn build(&self, whole: &MaxAffine, request: Request) -> Result<Construction, Refusal> {
        let domain = self.check(whole)?;
        let (count, d, d_out) = (self.slopes.len(), self.slopes[0].len(), self.values[0].len());
        let parameters = cells::parameters(whole.seq_len, d, d_out, count, whole.attention);
        // β g from 1/4 on; the weight of a wrong cell is e^{−β g}.
        let leads = (1..=400).map(|quarter| f64::from(quarter) / 4.0);
        let cost = |lead: &f64| {
            let (bound, rounding) = self.bounds(whole, *lead);
            Cost::of(&bound, &rounding, parameters)
        };
        let lead = choose(request, leads, cost, "; a wider gap reaches further").map_err(Refusal::at_given_size)?;
        self.write(whole, lead, domain).in_float32("slopes", "low")
    }

    fn check(&self, whole: &MaxAffine) -> Result<Partition, Refusal> {
        let Self { slopes, offsets, values, gap } = self;
        let count = slopes.len();
        if !(1..=MOST_CELLS).contains(&count) {
            return Err(Refusal::invalid("slopes", format!("must be from 1 to {MOST_CELLS} cells")));
        }
        let (d, d_out) = (slopes[0].len(), values.first().map_or(0, Vec::len));
        if d == 0 || slopes.iter().any(|a| a.len() != d) || offsets.len() != count {
            return Err(Refusal::invalid("slopes", format!("need {count} rows of equal length, and as many offsets")));
        }
        if d_out == 0 || values.len() != count || values.iter().any(|value| value.len() != d_out) {
            return Err(Refusal::invalid("values", format!("need {count} rows of equal length, one for each cell")));
        }
        if slopes.iter().flatten().chain(offsets).chain(values.iter().flatten()).any(|value| !value.is_finite()) {
            return Err(Refusal::invalid("slopes", "or offsets or values hold something that is not a finite number"));
        }
        if !(*gap > 0.0 && gap.is_finite()) {
            return Err(Refusal::invalid("gap", format!("must be a positive number, not {gap}: values jump at walls")));
        }
        let MaxAffine { seq_len, low, high, .. } = *whole;
        let (slopes, offsets) = (slopes.clone(), offsets.clone());
        let mut domain = Partition { seq_len, low, high, slopes, offsets, gap: *gap, inside: vec![low; d] };
        let mut rng = Probe::Inside.rng();
        for _ in 0..1024 {
            let mut x: Vec<f64> = (0..d).map(|_| low + (high - low) * rng.random::<f64>()).collect();
            if domain.settle(&mut x) {
                domain.inside = x;
                return Ok(domain);
            }
        }
        Err(Refusal::invalid(
            "gap",
            format!("none of 1024 points of the cube has a largest score {gap} above all others"),
        ))
    }

    /// Largest Σ |a| |x| + |b| over the cells.
    fn largest_score(&self, whole: &MaxAffine) -> f64 {
        let input = whole.low.abs().max(whole.high.abs());
        let size = |(a, b): (&Vec<f64>, &f64)| a.iter().map(|a| a.abs() * input).sum::<f64>() + b.abs();
        self.slopes.iter().zip(&self.offsets).map(size).fold(0.0, f64::max)
    }

    fn bounds(&self, whole: &MaxAffine, lead: f64) -> (Bound, Bound) {
        let (count, d) = (self.slopes.len() as f64, self.slopes[0].len() as f64);
        let ends = |o: usize| {
            let column = self.values.iter().map(|value| value[o]);
            column.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let spread = (0..self.values[0].len()).map(|o| ends(o).1 - ends(o).0).fold(0.0, f64::max);
        let largest = self.values.iter().flatten().fold(0.0_f64, |top, v| top.max(v.abs()));
        let others = (count - 1.0) * (-lead).exp() * spread;
        let noise = F32_ROUNDOFF * ((d + 6.0) * lead / self.gap * self.largest_score(whole) + 16.0);
        let bound = Bound::default().and(
            "other cells",
            format!("(K - 1) exp(-beta g) max |V_k - V_l|, beta g = {lead}; where the gap is g at least"),
            others.min(spread),
        );
        let rounding = Bound::default()
            .and(
                "scores",
                "(K - 1) exp(-beta g) max |V_k - V_l| (exp(2 gamma) - 1), gamma = eps (beta (d + 6) (|a| |x| + |b|) + 16)",
                moved(2.0 * others, noise).min(spread),
            )
            // Cells with a weight below a rounding error do not count; at most this many are above it.
            .and("values", "(2 keys felt + 8) eps max |V|", {
                value_noise(1.0 + ((count - 1.0) * (17.0 - lead).exp().min(1.0)).ceil(), largest)
            });
        (bound, rounding)
    }

    fn write(&self, whole: &MaxAffine, lead: f64, domain: Partition) -> Construction {
        let beta = lead / self.gap;
        let d = self.slopes[0].len();
        let cells = Cells {
            centre: vec![0.0; d],
            spacing: 1.0,
            sharpness: beta,
            slopes: self.slopes.clone(),
            offsets: self.offsets.clone(),
            values: self.values.clone(),
            nobody: -self.largest_score(whole) - 60.0 / beta,
        };
        let network = cells.network(whole.seq_len, whole.attention);
        let (bound, rounding) = self.bounds(whole, lead);
        let (partition, values) = (domain.clone(), self.values.clone());
        Construction {
            name: MaxAffine::NAME,
            target: Target::opaque(
                format!("y_i = value of the cell with the largest a_k . x_i + b_k, by {}", whole.text()),
                move |x| x.chunks(d).flat_map(|x| values[partition.cell(x)].clone()).collect(),
            ),
            sizes: vec![
                ("cells".to_owned(), self.slopes.len() as f64),
                ("rows".to_owned(), network.layers[0].rows() as f64),
            ],
            network,
            scored: None,
            temperature: Temperature {
                beta,
                reason: "the smallest at which a gap of g leaves the other cells no more than the tolerance".to_owned(),
            },
            bound,
            rounding,
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            norm: None,
            hard: hard_points(&domain),
            domain: Domain::Partition(domain),
        }
    }
}

/// Corners, and points on both sides of walls, as near as the gap allows.
fn hard_points(domain: &Partition) -> Vec<(&'static str, Vec<Vec<f64>>)> {
    let Partition { low, high, .. } = *domain;
    let d = domain.inside.len();
    let mut rng = Probe::Wall.rng();
    let mut point = || (0..d).map(|_| low + (high - low) * rng.random::<f64>()).collect::<Vec<f64>>();
    let settled = |mut x: Vec<f64>| domain.settle(&mut x).then_some(x);
    let mut walls = Vec::new();
    for _ in 0..512 {
        let (mut one, mut other) = (point(), point());
        let cell = domain.cell(&one);
        if cell == domain.cell(&other) {
            continue;
        }
        // Bisect towards the wall between them.
        for _ in 0..40 {
            let middle: Vec<f64> = one.iter().zip(&other).map(|(a, b)| f64::midpoint(*a, *b)).collect();
            if domain.cell(&middle) == cell { one = middle } else { other = middle }
        }
        walls.extend([one, other].into_iter().filter_map(settled));
    }
    let corners = (0..1_usize << d.min(8))
        .filter_map(|bits| settled((0..d).map(|axis| if bits >> (axis % 8) & 1 == 1 { high } else { low }).collect()));
    let kinds = [("corners", corners.collect::<Vec<_>>()), ("walls", walls)];
    kinds
        .into_iter()
        .filter(|(_, tokens)| !tokens.is_empty())
        .map(|(kind, tokens)| (kind, sequences(&tokens, domain.seq_len)))
        .collect()
}
