//! A two-layer ReLU network compiled into attention alone: Y = W₂ relu(W₁ vec(X) + b₁) + b₂.
//!
//! On a box of inputs every hidden unit is divided by its largest value s_j there, which leaves relu(u') for u' ≤ 1.
//! There are three forms:
//!
//! - **t2**, three layers with token-wise maps: [mixing](crate::mixing) gathers u'_j in row j, a *gate* head applies
//!   ReLU to it, and mixing
//!   scatters the units to the positions. A gate sees two keys that count: itself, with score β u' + M, and a null row,
//!   with score M. Its
//!   output u' σ(β u') is below relu(u') by at most 0.2785/β. The error depends on β alone, whatever the sizes.
//! - **t1**, two layers, the first after a sequence-wise map that computes u'_j itself: heads
//!   [interpolate](crate::interpolation) relu(u')
//!   between anchors on [0, 1], then mixing scatters. The error is κ(c)/(p H) per unit. The paper's form has H = 1.
//! - **s**, one layer that gathers, then a softmax over p + 1 channels, which are the same anchors, and a linear
//!   readout.
//!
//! A network whose outputs need no later inputs compiles to t2 under a causal mask: each unit stands in the row of the last
//! position that it reads, beside those of the same position.
//!
//! With S = max_i Σ_j |W₂_ij| s_j the error is 0.0622 S/(p H) for anchors; for gates 0.2785 S₁/β, where S₁ ≤ S sums W₂ of one sign only.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, sequence-to-sequence theorems: t1 and s follow them in their layers, but have
//! smaller dimensions. The gate follows Huben and Morris 2023, "Attention-Only Transformers and Implementing MLPs with
//! Attention Heads".

mod anchored;
mod chain;
mod gated;
mod readout;
mod units;
mod weights;

use std::path::PathBuf;

use headway_plain::{
    Readout,
    network::{InputMap, Matrix},
};
use headway_tasks::{
    Distribution, Seed, Stream, TaskConfig,
    seq2seq::relu_network::{GivenNetwork, ReluNetworkConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    construct::{
        Construction, Cost, Request, Temperature, choose,
        options::{Ends, File, Given, Options, Planned, ensure_size, ensure_unused, sound},
    },
    interpolation::Mode,
    mixing::Roundings,
    network::{Layer, Network},
    prove::Provable,
    refusal::Refusal,
    space::Space,
};

use units::{Gather, Places, Units};
pub use weights::ReluWeights;

/// Difference in score between keys that count and those that should not: e⁻⁶⁴ = 1.6e-28.
const APART: f64 = 64.0;

/// sup_t t σ(−t): the largest difference between relu(u) and u σ(β u), times β.
const GATE: f64 = 0.278_465;
/// In units of ε/β: a score difference t = β u has an error of ε (4 |t| + 8 M + 16), exponentials included, and moves the output by |u| σ'(t)
/// times that; sup |t| σ'(t) < 0.224 and sup t² σ'(t) < 0.44.
const GATE_ROUNDING: f64 = 0.224 * (8.0 * APART + 16.0) + 4.0 * 0.44;

/// Options of [`ReluNetwork`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A file of the network, as [`ReluWeights::from_arrays`] reads it; if `None`, one is drawn.
    pub network: Option<PathBuf>,
    /// n, number of positions into which the network's flat inputs and outputs are split. Default 20.
    pub seq_len: usize,
    /// Numbers per position of a drawn network, for inputs and outputs. Default 5.
    pub d: usize,
    /// Hidden units of a drawn network. Default 10.
    pub hidden: usize,
    /// Seed from which the network is drawn, all weights from N(0, 1), as the task does. Default 0.
    pub seed: u64,
    /// Form of the compiled network. Default t2.
    pub form: Form,
    /// Range of every input number. Default 0 to 1.
    pub ends: Ends,
    /// Temperature of anchors (t1 and s); if `None`, minimax.
    pub mode: Option<Mode>,
    /// p, intervals between anchors of a head (t1 and s); if `None`, the fewest that meet the tolerance.
    pub intervals: Option<usize>,
    /// H, number of heads (t1); if `None`, the fewest that meet the tolerance.
    pub heads: Option<usize>,
    /// β of the gates (t2); if `None`, large enough that gates matter little beside rounding.
    pub beta: Option<f64>,
    /// Whether no position sees a later one (t2): a drawn network loses the weights that would, and a given one must have
    /// none. Default false.
    pub causal: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: None,
            seq_len: 20,
            d: 5,
            hidden: 10,
            seed: 0,
            form: Form::default(),
            ends: Ends::default(),
            mode: None,
            intervals: None,
            heads: None,
            beta: None,
            causal: false,
        }
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("beta", self.beta.is_some()), ("intervals", self.intervals.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.network.as_deref().map(File::Arrays)
    }

    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { seq_len, d, ends: Ends { low, high }, form, intervals, heads, beta, .. } = self;
        self.ends.cube()?;
        ensure_unused("mode", form == Form::T2 && self.mode.is_some(), "forms t1 and s")?;
        ensure_size("hidden x --seq-len x --d", &[self.hidden, seq_len.saturating_mul(d)], max_parameters)?;
        let base =
            ReluNetworkConfig { seq_len, input: Distribution::Uniform { low, high }, ..ReluNetworkConfig::default() };
        let (network, config) = if self.network.is_some() {
            let network = ReluWeights::from_arrays(&Given::arrays(given, "network")?, seq_len)?;
            let config = network.task(base);
            (network, config)
        } else {
            let config = ReluNetworkConfig { d, d_hidden: self.hidden, ..base.clone() };
            sound(&TaskConfig::ReluNetwork(config.clone()).validate())?;
            let drawn = headway_tasks::seq2seq::relu_network::ReluNetwork::new(
                config.clone(),
                &mut Seed(self.seed).rng(Stream::Task, 0),
            );
            // Written down, so that the task rounds nothing that the construction does not.
            let given = drawn.written_down().given.unwrap_or_else(|| unreachable!("written down means given"));
            let GivenNetwork { weights_in, bias_in, weights_out, bias_out } = given;
            let drawn = ReluWeights { seq_len, d_in: d, d_out: d, weights_in, bias_in, weights_out, bias_out };
            if self.causal {
                let network = drawn.causal();
                let config = network.task(base);
                (network, config)
            } else {
                (drawn, config)
            }
        };
        sound(&TaskConfig::ReluNetwork(config.clone()).validate())?;
        let flat = network.seq_len * network.d_in;
        let construction = ReluNetwork {
            form,
            low: vec![low; flat],
            high: vec![high; flat],
            mode: self.mode.unwrap_or_default(),
            intervals,
            heads,
            beta,
            causal: self.causal,
            ..ReluNetwork::new(network)
        };
        Ok(Planned::new(TaskConfig::ReluNetwork(config), self.seed, move |request| construction.build(request)))
    }
}

/// How a ReLU network becomes attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Two layers: anchors, scatter.
    T1,
    /// Three layers with token-wise maps: gather, gates, scatter.
    #[default]
    T2,
    /// One layer and a softmax.
    S,
}

/// The construction that compiles a ReLU network.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluNetwork {
    /// The network to compile.
    pub network: ReluWeights,
    /// How to compile it.
    pub form: Form,
    /// Lower end of every input number. `[seq_len · d_in]`
    pub low: Vec<f64>,
    /// Upper end of every input number. `[seq_len · d_in]`
    pub high: Vec<f64>,
    /// Temperature of anchors, for t1 and s.
    pub mode: Mode,
    /// p, for t1 and s; if `None`, the smallest that meets the tolerance.
    pub intervals: Option<usize>,
    /// H, for t1; if `None`, the fewest that meet the tolerance.
    pub heads: Option<usize>,
    /// β, for t2; if `None`, the gates' error is a hundredth of the tolerance, since sharpness costs no parameters.
    pub beta: Option<f64>,
    /// Whether no position sees a later one, for t2.
    pub causal: bool,
}

impl ReluNetwork {
    /// Name on the command line.
    pub const NAME: &str = "relu-network";

    /// Compiles by form t2, for inputs in [0, 1], with sizes chosen.
    pub fn new(network: ReluWeights) -> Self {
        let flat = network.seq_len * network.d_in;
        let (low, high) = (vec![0.0; flat], vec![1.0; flat]);
        Self {
            network,
            form: Form::T2,
            low,
            high,
            mode: Mode::Minimax,
            intervals: None,
            heads: None,
            beta: None,
            causal: false,
        }
    }

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let units = Units::of(&self.network, &self.low, &self.high);
        match self.form {
            Form::T1 => anchored::build(self, &units, request),
            Form::T2 => gated::build(self, &units, request),
            Form::S => readout::build(self, &units, request),
        }?
        .in_float32("network", "low")
    }

    /// Number of parameters of form t2, which does not depend on the tolerance.
    pub(super) fn parameters(&self) -> f64 {
        let units = Units::of(&self.network, &self.low, &self.high);
        gated::parameters(&units, &Places::one_a_row(&units))
    }

    fn check(&self) -> Result<(), Refusal> {
        self.network.check()?;
        let flat = self.network.seq_len * self.network.d_in;
        if self.low.len() != flat || self.high.len() != flat {
            return Err(Refusal::invalid("low", format!("need {flat} lower and upper ends, one per input number")));
        }
        for (low, high) in self.low.iter().zip(&self.high) {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return Err(Refusal::invalid("low", format!("must be below high, both finite, not {low} and {high}")));
            }
        }
        let anchors = self.form != Form::T2;
        for (key, given, wanted, forms) in
            [("intervals", self.intervals, anchors, "t1 and s"), ("heads", self.heads, self.form == Form::T1, "t1")]
        {
            if given.is_some() && !wanted {
                return Err(Refusal::invalid(key, format!("is an option of form {forms}")));
            }
            if given == Some(0) {
                return Err(Refusal::invalid(key, "must be at least 1"));
            }
        }
        if self.causal && anchors {
            return Err(Refusal::invalid("causal", "is an option of form t2"));
        }
        if let Some(beta) = self.beta {
            if anchors {
                return Err(Refusal::invalid("beta", "is an option of form t2"));
            }
            if !(beta > 0.0 && beta <= gated::SHARPEST) {
                let problem =
                    format!("must be above 0 and at most {:e}, where float32 ends, not {beta}", gated::SHARPEST);
                return Err(Refusal::invalid("beta", problem));
            }
        }
        Ok(())
    }
}

/// One form of the construction, for sizes to choose from.
trait FormPlan {
    type Size: Copy;

    /// Bound on the error in exact arithmetic.
    fn bound(&self, size: Self::Size) -> Bound;
    /// Bound on the error from rounding to float32.
    fn rounding(&self, size: Self::Size, roundings: Roundings) -> Bound;
    /// Number of parameters.
    fn parameters(&self, size: Self::Size) -> f64;
    /// The weights, and values of units at which they are hard to get right.
    fn write(&self, size: Self::Size) -> Written;

    /// The error as a chain of inequalities, which a proof writes down.
    fn provable(&self, size: Self::Size) -> Provable;

    /// Chooses a size and writes the weights. `hint` says what to do if no size fits.
    fn build(
        &self,
        options: &ReluNetwork,
        units: &Units,
        request: Request,
        candidates: Vec<Self::Size>,
        hint: &'static str,
    ) -> Result<Construction, Refusal> {
        let cost = |size: &Self::Size| {
            Cost::of(&self.bound(*size), &self.rounding(*size, Roundings::Any), self.parameters(*size))
        };
        let size = choose(request, candidates, cost, hint)?;
        let Written { layers, readout, sizes, temperature, values } = self.write(size);
        let Units { seq_len, d_in, d_out, .. } = *units;
        let sizes = [("units", units.count() as f64)].into_iter().chain(sizes);
        Ok(Construction {
            name: ReluNetwork::NAME,
            target: options.network.target(),
            domain: units.domain(),
            network: Network { seq_len, d_in, d_out, layers, readout, causal: options.causal },
            scored: None,
            sizes: sizes.map(|(name, size)| (name.to_owned(), size)).collect(),
            temperature,
            bound: self.bound(size),
            rounding: self.rounding(size, Roundings::Any),
            likely: Some(self.rounding(size, Roundings::Independent)),
            provable: Some(self.provable(size)),
            proof: None,
            truth: None,
            norm: None,
            hard: units.hard_points(&values),
        })
    }
}

/// Result of writing a form.
struct Written {
    layers: Vec<Layer>,
    readout: Readout,
    /// Sizes besides the number of units, by name.
    sizes: Vec<(&'static str, f64)>,
    temperature: Temperature,
    /// Values of units at which errors are large.
    values: Vec<f64>,
}

/// The layer that gathers: its input rows are x_i − m, its output rows hold u'.
fn gather_layer(units: &Units, gather: &Gather, columns: usize) -> Layer {
    let [query, key, dead] = gather.mixing.parts();
    let space = Space::new(&[("x", units.d_in), query, key, dead]);
    let rows = gather.mixing.rows();
    let mut map = InputMap::token_wise(units.d_in, rows, space.width());
    let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
    for f in 0..units.d_in {
        weight[(f, space.nth("x", f))] = 1.0;
        (0..units.seq_len).for_each(|i| constant[(i, space.nth("x", f))] = -gather.middle[(i, f)]);
    }
    gather.mixing.label(&space, constant);
    let heads = gather.mixing.heads(&space, &gather.mixes, columns);
    Layer { space, map: InputMap { queries: gather.mixing.queries, keys: rows, ..map }, heads }
}

fn gather_parameters(units: &Units, gather: &Gather, columns: usize) -> f64 {
    let (heads, values) = gather.mixing.count(&gather.mixes);
    let width = (units.d_in + gather.mixing.queries + gather.mixing.keys + 3) as f64;
    let map = (units.d_in + gather.mixing.rows()) as f64 * width;
    map + heads as f64 * 2.0 * width * gather.mixing.queries as f64 + values as f64 * (width + columns as f64)
}

/// The layer that scatters: its input rows hold the units, its output rows are y_i.
fn scatter_layer(units: &Units, places: &Places) -> Layer {
    let (mixing, mixes) = units.scatter(places);
    let [query, key, dead] = mixing.parts();
    let space = Space::new(&[("h", places.columns()), query, key, dead]);
    let rows = mixing.rows();
    let mut map = InputMap::token_wise(places.columns(), rows, space.width());
    let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
    (0..places.columns()).for_each(|column| weight[(column, space.nth("h", column))] = 1.0);
    mixing.label(&space, constant);
    let heads = mixing.heads(&space, &mixes, units.d_out);
    Layer { space, map: InputMap { queries: mixing.queries, keys: rows, ..map }, heads }
}

fn scatter_parameters(units: &Units, places: &Places) -> f64 {
    let (mixing, mixes) = units.scatter(places);
    let (heads, values) = mixing.count(&mixes);
    let width = (places.columns() + mixing.queries + mixing.keys + 3) as f64;
    let map = (places.columns() + mixing.rows()) as f64 * width;
    map + heads as f64 * 2.0 * width * mixing.queries as f64 + values as f64 * (width + units.d_out as f64)
}

/// W₂ s as the matrix of a readout, from the units to the flat output, and its bias.
fn output_matrix(units: &Units) -> (Matrix, Matrix) {
    (units.output.transpose(), Matrix::from_row_slice(1, units.bias_out.len(), &units.bias_out))
}
