//! Any continuous function of the whole sequence, [low, high]^{n × d_in} -> R^{n × d_out}, by attention alone. There
//! are two methods:
//!
//! - **grid**: one head looks the function up on a grid of G^{n d} points; mathematically exact, but hopeless beyond a
//!   few input numbers;
//! - **fit**: a two-layer ReLU network is fitted to the function, or to samples of it, and
//!   [compiled](super::relu_network), by any of its forms: three layers with token-wise maps, the paper's two layers, or one layer
//!   followed by a softmax.
//!
//! They differ in what is proved. The grid's bound depends on a Lipschitz constant, from the formula or given. The
//! error of compiling a fit is always proved; the error of the fit itself is bounded by branch and bound over the box
//! if that ends in time, and otherwise measured, which proves nothing and is marked as such. Samples say nothing about
//! the points between them: for samples the target is the fitted network, the bound is that of compiling it, and the
//! fit's error at the samples is reported beside it; the tolerance covers both.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956 (universality by compiling ReLU networks), and 2504.19901 (attention as a partition
//! of the domain).

mod fit;
mod grid;
mod proof;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headway_model::weights::Array;
use headway_tasks::{Distribution, TaskConfig, seq2seq::relu_network::ReluNetworkConfig};
use serde::{Deserialize, Serialize};

use super::{
    Construction, ReluWeights, Request,
    options::{Ends, File, Given, Options, Planned, ensure_size, ensure_unused, rows},
    relu_network::Form,
    written::{Sizes, WrittenDown},
};
use crate::{bound::Basis, refusal::Refusal, target::Target};

/// Options of [`Seq2seq`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of a built-in, or one formula per output number of a position. Either this or samples must be given.
    pub function: Vec<String>,
    /// A file of samples instead: `inputs` `[count, seq_len, d_in]` and `outputs` `[count, seq_len, d_out]`.
    pub samples: Option<PathBuf>,
    /// n, number of positions; if `None`, that of a built-in, else 2.
    pub seq_len: Option<usize>,
    /// Numbers per position; if `None`, those of a built-in, else 2.
    pub d_in: Option<usize>,
    /// Range of every input number. Default 0 to 1.
    pub ends: Ends,
    /// How to approximate. Default auto.
    pub method: Method,
    /// L with |f(x)_i − f(x')_i| ≤ L |x − x'|₂, for the grid, used if the formula implies less or nothing.
    pub lipschitz: Option<f64>,
    /// G, cells per input number of a grid; if `None`, the fewest that meet the tolerance.
    pub cells: Option<usize>,
    /// How the network of a fit is compiled, which asks for a fit; if `None`, by form t2.
    pub form: Option<Form>,
    /// Hidden units of a fit; if `None`, doubled from 8 until the tolerance is met.
    pub units: Option<usize>,
    /// Seed of sampled points and random directions. Default 0.
    pub seed: u64,
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("cells", self.cells.is_some()), ("units", self.units.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.samples.as_deref().map(File::Arrays)
    }

    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let Ends { low, high } = self.ends;
        let domain = self.ends.cube()?;
        let (grid, fit) = (self.method == Method::Grid, self.method == Method::Fit);
        // A form asks for a fit.
        let compiled = fit || self.form.is_some();
        ensure_unused("cells", compiled && self.cells.is_some(), "the grid")?;
        ensure_unused("lipschitz", compiled && self.lipschitz.is_some(), "the grid")?;
        ensure_unused("units", grid && self.units.is_some(), "the fit")?;
        ensure_unused("form", grid && self.form.is_some(), "the fit")?;
        let asked = [self.seq_len, self.d_in].map(|size| size.unwrap_or(2));
        ensure_size("seq-len x --d-in", &asked, max_parameters)?;
        let &Self { method, lipschitz, cells, form, units, seed, .. } = self;
        let of = |source, [seq_len, d_in, d_out]: [usize; 3]| Seq2seq {
            source,
            seq_len,
            d_in,
            d_out,
            low: vec![low; seq_len * d_in],
            high: vec![high; seq_len * d_in],
            method,
            lipschitz,
            cells,
            form,
            units,
            seed,
        };
        if let Some(path) = &self.samples {
            let [inputs, outputs] = samples(Given::arrays(given, "samples")?, path)?;
            let sizes = |array: &Array| [array.shape[1], array.shape[2]];
            let ([seq_len, d_in], [_, d_out]) = (sizes(&inputs), sizes(&outputs));
            let source =
                Source::Samples { inputs: rows(&inputs, seq_len * d_in), outputs: rows(&outputs, seq_len * d_out) };
            let construction = of(source, [seq_len, d_in, d_out]);
            let base = ReluNetworkConfig { input: Distribution::Uniform { low, high }, ..ReluNetworkConfig::default() };
            // The task is the fitted network, which is known only after building.
            return Ok(Planned::with_task(seed, move |request| {
                let (construction, fitted) = construction.build_with_fit(request)?;
                let fitted = fitted.unwrap_or_else(|| unreachable!("samples are always fitted"));
                Ok((construction, TaskConfig::ReluNetwork(fitted.task(base))))
            }));
        }
        let sizes = Sizes { seq_len: (self.seq_len, 2), d_in: (self.d_in, 2) };
        let written = WrittenDown::new(&self.function, &sizes, domain)?;
        let (function, target) = (&written.function, written.target());
        let sizes = [function.seq_len(), function.d_in(), function.d_out()];
        let construction = of(Source::Function(target), sizes);
        Ok(Planned::new(TaskConfig::Function(written.config), seed, move |request| construction.build(request)))
    }
}

/// Inputs and outputs of a file of samples, each with three axes.
///
/// # Errors
/// [`Refusal::File`]
pub fn samples(mut arrays: BTreeMap<String, Array>, path: &Path) -> Result<[Array; 2], Refusal> {
    match (arrays.remove("inputs"), arrays.remove("outputs")) {
        (Some(inputs), Some(outputs))
            if inputs.shape.len() == 3
                && outputs.shape.len() == 3
                && inputs.shape[..2] == outputs.shape[..2]
                && inputs.shape.iter().chain(&outputs.shape).all(|size| *size > 0) =>
        {
            Ok([inputs, outputs])
        }
        _ => {
            let problem = "needs `inputs` [count, seq_len, d_in] and `outputs` [count, seq_len, d_out]";
            Err(Refusal::file(path, problem))
        }
    }
}

/// The function to approximate.
#[derive(Clone, Debug)]
pub enum Source {
    /// A function that can be evaluated anywhere in the box.
    Function(Target),
    /// Pairs of inputs `[seq_len · d_in]` and outputs `[seq_len · d_out]`; four in five are fitted, the others judge
    /// the fit.
    Samples {
        /// Inputs.
        inputs: Vec<Vec<f64>>,
        /// Outputs.
        outputs: Vec<Vec<f64>>,
    },
}

/// How to approximate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The grid, for functions of at most four input numbers for which it meets the tolerance with few enough keys;
    /// otherwise the fit.
    #[default]
    Auto,
    /// A grid of keys.
    Grid,
    /// A fitted ReLU network.
    Fit,
}

/// The construction of a function of whole sequences.
#[derive(Clone, Debug)]
pub struct Seq2seq {
    /// The function to approximate.
    pub source: Source,
    /// Number of positions.
    pub seq_len: usize,
    /// Input numbers per position.
    pub d_in: usize,
    /// Output numbers per position.
    pub d_out: usize,
    /// Lower end of every input number. `[seq_len · d_in]`
    pub low: Vec<f64>,
    /// Upper end of every input number. `[seq_len · d_in]`
    pub high: Vec<f64>,
    /// How to approximate it.
    pub method: Method,
    /// L with |f(x)_i − f(x')_i| ≤ L |x − x'|₂ for every output number, for the grid, used if the formula implies less
    /// or nothing.
    pub lipschitz: Option<f64>,
    /// G, for the grid; if `None`, the fewest that meet the tolerance.
    pub cells: Option<usize>,
    /// How the network of a fit is compiled, which asks for a fit; if `None`, by form t2.
    pub form: Option<Form>,
    /// Hidden units, for the fit; if `None`, doubled from 8 to 1024 until the tolerance is met.
    pub units: Option<usize>,
    /// Seed of sampled points and random directions.
    pub seed: u64,
}

/// Largest number of input numbers for which a grid is tried without being requested.
const FEW: usize = 4;
/// Number of keys of a grid beyond which a fit is tried as well.
const MANY: usize = 1 << 14;

impl Seq2seq {
    /// Name on the command line.
    pub const NAME: &str = "seq2seq";

    /// Approximates for inputs in [0, 1], with method and sizes chosen.
    pub fn new(source: Source, seq_len: usize, d_in: usize, d_out: usize) -> Self {
        let flat = seq_len * d_in;
        Self {
            source,
            seq_len,
            d_in,
            d_out,
            low: vec![0.0; flat],
            high: vec![1.0; flat],
            method: Method::Auto,
            lipschitz: None,
            cells: None,
            form: None,
            units: None,
            seed: 0,
        }
    }

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.build_with_fit(request).map(|(construction, _)| construction)
    }

    /// [`Seq2seq::build`], together with the ReLU network that was fitted; `None` if none was.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build_with_fit(&self, request: Request) -> Result<(Construction, Option<ReluWeights>), Refusal> {
        self.check()?;
        if !(request.tolerance > 0.0 && request.tolerance.is_finite()) {
            let problem = format!("must be a positive number, not {}", request.tolerance);
            return Err(Refusal::invalid("tolerance", problem));
        }
        match (self.method, &self.source) {
            (Method::Grid, Source::Function(target)) => grid::build(self, target, request).map(|built| (built, None)),
            (Method::Grid, Source::Samples { .. }) => {
                Err(Refusal::invalid("method", "grid needs a function; samples are fitted"))
            }
            (Method::Auto, Source::Function(target))
                if self.flat_in() <= FEW && self.units.is_none() && self.form.is_none() =>
            {
                // Continue only if the grid is out of reach, or so large that a fit that is proved as well may be
                // smaller.
                match grid::build(self, target, request) {
                    Err(Refusal::Unreachable { .. } | Refusal::TooLarge { .. }) => fit::build(self, request),
                    Ok(grid) if self.cells.is_none() && grid.network.layers[0].map.keys > MANY => {
                        let fit =
                            fit::build(self, request).ok().filter(|(fit, _)| !fit.bound.rests_on(Basis::Measured));
                        Ok(fit.unwrap_or((grid, None)))
                    }
                    other => other.map(|built| (built, None)),
                }
            }
            (Method::Auto | Method::Fit, _) => fit::build(self, request),
        }
    }

    fn flat_in(&self) -> usize {
        self.seq_len * self.d_in
    }

    fn flat_out(&self) -> usize {
        self.seq_len * self.d_out
    }

    fn check(&self) -> Result<(), Refusal> {
        let (flat_in, flat_out) = (self.flat_in(), self.flat_out());
        if flat_in == 0 || flat_out == 0 {
            return Err(Refusal::invalid("seq-len", "needs a position and a number per position, in and out"));
        }
        if self.low.len() != flat_in || self.high.len() != flat_in {
            return Err(Refusal::invalid("low", format!("need {flat_in} lower and upper ends, one per input number")));
        }
        for (low, high) in self.low.iter().zip(&self.high) {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return Err(Refusal::invalid("low", format!("must be below high, both finite, not {low} and {high}")));
            }
        }
        for (key, value) in [("cells", self.cells), ("units", self.units)] {
            if value == Some(0) {
                return Err(Refusal::invalid(key, "must be at least 1"));
            }
        }
        if let Some(lipschitz) = self.lipschitz
            && !(lipschitz >= 0.0 && lipschitz.is_finite())
        {
            return Err(Refusal::invalid("lipschitz", format!("must be a number from 0 on, not {lipschitz}")));
        }
        match &self.source {
            Source::Function(target) => {
                let middle: Vec<f64> =
                    self.low.iter().zip(&self.high).map(|(low, high)| f64::midpoint(*low, *high)).collect();
                let found = (target.function)(&middle);
                if found.len() != flat_out || found.iter().any(|y| !y.is_finite()) {
                    let problem =
                        format!("must give {flat_out} finite numbers, but gives {found:?} in the middle of the box");
                    return Err(Refusal::invalid("function", problem));
                }
                Ok(())
            }
            Source::Samples { inputs, outputs } => self.check_samples(inputs, outputs),
        }
    }

    fn check_samples(&self, inputs: &[Vec<f64>], outputs: &[Vec<f64>]) -> Result<(), Refusal> {
        let refuse = |problem: String| Err(Refusal::invalid("samples", problem));
        let (flat_in, flat_out) = (self.flat_in(), self.flat_out());
        if inputs.len() != outputs.len() || inputs.len() < 10 {
            return refuse(format!(
                "need as many outputs as inputs, 10 at least, not {} and {}",
                outputs.len(),
                inputs.len()
            ));
        }
        if inputs.iter().any(|x| x.len() != flat_in) || outputs.iter().any(|y| y.len() != flat_out) {
            return refuse(format!("need {flat_in} numbers per input and {flat_out} per output"));
        }
        if inputs.iter().chain(outputs).flatten().any(|number| !number.is_finite()) {
            return refuse("hold something that is not a finite number".to_owned());
        }
        for (at, x) in inputs.iter().enumerate() {
            let ends = self.low.iter().zip(&self.high);
            if let Some((i, x)) = x.iter().zip(ends).position(|(x, (low, high))| x < low || x > high).map(|i| (i, x[i]))
            {
                let (low, high) = (self.low[i], self.high[i]);
                return refuse(format!("number {i} of input {at} is {x}, outside [{low}, {high}]"));
            }
        }
        Ok(())
    }
}
