//! One head that clamps a linear form at every position: y_i = clamp(w_i · x_i + t_i, a, b).
//!
//! A sequence-wise affine map writes max(n, p + 1) rows
//!
//! z_i = (ũ_i, 1, L̃_i, L̃_i²),  ũ_i = w_i · x_i + t_i − m for i < n, else 0;  L̃_k = L_k − m for k ≤ p,  m = (a + b)/2,
//!
//! and one head with query (2β ũ, β), key (L̃, −L̃²) and value L̃ + m interpolates. Rows after the anchors get so large
//! a square that no query attends to them. The error is κ(c) (b − a)/p with c = β Δ²: 0.062 (b − a)/p at c = 2.725,
//! where the paper promises (b − a)/p. Under a causal mask, with token-wise maps, it takes a layer before the head
//! (`causal.rs`).
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, single-head theorem.

mod best;
mod causal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headway_model::weights::Array;
use headway_plain::{
    Readout,
    network::{Head, InputMap},
};
use headway_tasks::{
    Distribution, Seed, Stream, TaskConfig,
    seq2seq::truncated_linear::{GivenForms, TruncatedLinearConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::{
        Construction, Cost, Request, Temperature,
        activation::Values,
        choose,
        options::{File, Given, Options, Planned, doubles, ensure_size, rows, sound},
    },
    domain::Domain,
    interpolation::{Anchors, F32_ROUNDOFF, Mode, Profile, profile, tail},
    network::{Layer, Network},
    prove::{self, Provable, Variables},
    refusal::Refusal,
    space::Space,
    target::Target,
};

/// Options of [`TruncatedLinear`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The clamp and the temperature.
    pub clamp: ClampConfig,
    /// p, intervals between anchors; if `None`, the fewest that meet the tolerance.
    pub intervals: Option<usize>,
    /// Where the anchors' values come from: V_k = L_k, or a linear program. Default: L_k.
    pub values: Values,
    /// Whether maps are token-wise and no position sees a later one. Default false.
    pub causal: bool,
}

/// The clamp that both clamp constructions compute, and how sharply heads attend to their anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClampConfig {
    /// n, number of positions. Default 50.
    pub seq_len: usize,
    /// Numbers per position. Default 10.
    pub d_in: usize,
    /// a, lower end of the clamp. Default −25.
    pub low: f64,
    /// b, upper end of the clamp. Default 25.
    pub high: f64,
    /// Input numbers lie within ± this. Default 5.
    pub input: f64,
    /// Seed from which w and t are drawn, all from N(0, 1), as the task does. Default 0.
    pub seed: u64,
    /// A file with w and t instead, which also sets the sizes: `weights` `[seq_len, d_in]` and `offsets` `[seq_len]`.
    pub weights: Option<PathBuf>,
    /// Temperature. Default minimax.
    pub mode: Mode,
}

impl Default for ClampConfig {
    fn default() -> Self {
        Self {
            seq_len: 50,
            d_in: 10,
            low: -25.0,
            high: 25.0,
            input: 5.0,
            seed: 0,
            weights: None,
            mode: Mode::default(),
        }
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("intervals", self.intervals.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.clamp.file()
    }

    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let (clamp, task) = self.clamp.plan(false, given, max_parameters)?;
        let head = TruncatedLinear { clamp, mode: self.clamp.mode, intervals: self.intervals };
        let (values, causal) = (self.values, self.causal);
        Ok(Planned::new(task, self.clamp.seed, move |request| match values {
            Values::Function if causal => head.build_causal(request),
            Values::Function => head.build(request),
            Values::LinearProgram if causal => Err(Refusal::invalid(
                "prove",
                "goes by boxes over one layer of attention, and the causal form has two; leave it out",
            )),
            Values::LinearProgram => head.build_best(request),
        }))
    }
}

impl ClampConfig {
    /// The file that holds w and t; `None` if they are drawn.
    pub(super) fn file(&self) -> Option<File<'_>> {
        self.weights.as_deref().map(File::Arrays)
    }

    /// The clamp and the task with the same numbers; if `shared`, w and t are the same at every position.
    pub(super) fn plan(
        &self,
        shared: bool,
        given: Option<Given>,
        max_parameters: usize,
    ) -> Result<(Clamp, TaskConfig), Refusal> {
        ensure_size("seq-len x --d-in", &[self.seq_len, self.d_in], max_parameters)?;
        let &Self { seq_len, d_in, low, high, input, seed, .. } = self;
        let law = Distribution::Uniform { low: -input, high: input };
        let ends = TruncatedLinearConfig { low, high, input: law, ..TruncatedLinearConfig::default() };
        let given = match &self.weights {
            Some(path) => Some(forms(Given::arrays(given, "weights")?, path)?),
            None if shared => {
                let drawn = draw(&TruncatedLinearConfig { seq_len, d_in, ..ends.clone() }, seed)?;
                let first = (drawn.weights.first(), drawn.offsets.first());
                let (Some(weights), Some(offset)) = first else {
                    return Err(Refusal::invalid("seq-len", "must be at least 1, and --d-in too"));
                };
                Some(GivenForms { weights: vec![weights.clone(); seq_len], offsets: vec![*offset; seq_len] })
            }
            None => None,
        };
        let (seq_len, d_in) = match &given {
            Some(given) => (given.weights.len(), given.weights.first().map_or(0, Vec::len)),
            None => (seq_len, d_in),
        };
        let config = TruncatedLinearConfig { seq_len, d_in, given, ..ends };
        let GivenForms { weights, offsets } = draw(&config, seed)?;
        Ok((Clamp { weights, offsets, low, high, input }, TaskConfig::TruncatedLinear(config)))
    }
}

/// The linear forms of a file: `weights` `[seq_len, d_in]` and `offsets` `[seq_len]`.
///
/// # Errors
/// [`Refusal::File`]
pub fn forms(mut arrays: BTreeMap<String, Array>, path: &Path) -> Result<GivenForms, Refusal> {
    let mut take = |name: &str, axes: usize| {
        let array = arrays.remove(name).filter(|array| array.shape.len() == axes);
        array.ok_or_else(|| Refusal::file(path, "needs `weights` [seq_len, d_in] and `offsets` [seq_len]"))
    };
    let (weights, offsets) = (take("weights", 2)?, take("offsets", 1)?);
    let d_in = weights.shape[1].max(1);
    Ok(GivenForms { weights: rows(&weights, d_in), offsets: doubles(&offsets) })
}

/// The w and t of a task, drawn or given, rounded as the task rounds them.
fn draw(config: &TruncatedLinearConfig, seed: u64) -> Result<GivenForms, Refusal> {
    sound(&TaskConfig::TruncatedLinear(config.clone()).validate())?;
    let drawn = headway_tasks::seq2seq::truncated_linear::TruncatedLinear::new(
        config.clone(),
        &mut Seed(seed).rng(Stream::Task, 0),
    );
    let weights = drawn.weights.column_iter().map(|w| w.iter().copied().map(f64::from).collect());
    Ok(GivenForms { weights: weights.collect(), offsets: drawn.offsets.iter().copied().map(f64::from).collect() })
}

/// One linear form per position, clamped to [a, b].
#[derive(Clone, Debug, PartialEq)]
pub struct Clamp {
    /// w, one row per position. `[seq_len][d_in]`
    pub weights: Vec<Vec<f64>>,
    /// t. `[seq_len]`
    pub offsets: Vec<f64>,
    /// a, the lower end.
    pub low: f64,
    /// b, the upper end.
    pub high: f64,
    /// Input numbers lie within ± this; beyond it, rounding may add more than is promised.
    pub input: f64,
}

impl Clamp {
    /// Number of positions.
    pub fn seq_len(&self) -> usize {
        self.weights.len()
    }

    /// Numbers per position.
    pub fn d_in(&self) -> usize {
        self.weights.first().map_or(0, Vec::len)
    }

    /// # Errors
    /// [`Refusal::Invalid`] if sizes do not match, ends are in the wrong order, or a number is not finite.
    pub fn check(&self) -> Result<(), Refusal> {
        let (n, d) = (self.seq_len(), self.d_in());
        if n == 0 || d == 0 {
            return Err(Refusal::invalid("weights", "need at least one position and one number per position"));
        }
        if self.weights.iter().any(|w| w.len() != d) || self.offsets.len() != n {
            return Err(Refusal::invalid("weights", format!("need {n} rows of {d} numbers and {n} offsets")));
        }
        let numbers = self.weights.iter().flatten().chain(&self.offsets).chain([&self.low, &self.high, &self.input]);
        if numbers.clone().any(|value| !value.is_finite()) {
            return Err(Refusal::invalid("weights", "hold something that is not a finite number"));
        }
        if self.low >= self.high {
            let problem = format!("must be below high, but {} is not below {}", self.low, self.high);
            return Err(Refusal::invalid("low", problem));
        }
        if self.input <= 0.0 {
            return Err(Refusal::invalid("input", "must be positive"));
        }
        Ok(())
    }

    /// The linear form of position i, before clamping.
    pub fn form(&self, i: usize, x: &[f64]) -> f64 {
        self.weights[i].iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + self.offsets[i]
    }

    pub(crate) fn target(&self) -> Target {
        let clamp = self.clone();
        let d = self.d_in();
        Target::opaque(format!("y_i = clamp(w_i . x_i + t_i, {}, {})", self.low, self.high), move |x| {
            let forms = x.chunks(d).enumerate().map(|(i, x)| clamp.form(i, x));
            forms.map(|u| u.clamp(clamp.low, clamp.high)).collect()
        })
    }

    /// The clamp of the forms less m, as a function of one number.
    pub(super) fn provable(&self, m: f64, by_heads: bool) -> Provable {
        let offsets = self.offsets.iter().map(|t| t - m).collect();
        let variables = Variables::Form { weights: self.weights.clone(), offsets, by_heads };
        Provable::Boxes { function: prove::clamp(self.low, self.high, m), variables }
    }

    /// The bound, reduced to b − a: an output within [a, b] cannot be off by more.
    pub(crate) fn no_more_than_range(&self, bound: Bound) -> Bound {
        bound.at_most(self.high - self.low, "range", "b - a: values and target both lie within")
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain::cube(self.seq_len() * self.d_in(), -self.input, self.input)
    }

    /// Rounding error of the linear form itself in float32: d + 3 roundings of Σ |w| |x| + |t| + |m|, at the worst
    /// position.
    pub(crate) fn form_noise(&self) -> f64 {
        let centre = f64::midpoint(self.low, self.high).abs();
        let size = |(w, t): (&Vec<f64>, &f64)| w.iter().map(|w| w.abs() * self.input).sum::<f64>() + t.abs() + centre;
        let largest = self.weights.iter().zip(&self.offsets).map(size).fold(0.0, f64::max);
        (self.d_in() as f64 + 3.0) * F32_ROUNDOFF * largest
    }

    /// Inputs at which the form of every position has one value after another, or comes as near to it as the domain
    /// allows.
    pub(crate) fn at_values(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let points = values.iter().map(|value| {
            let tokens = self.weights.iter().zip(&self.offsets).map(|(w, t)| shortest(w, value - t, self.input));
            tokens.flatten().collect()
        });
        points.collect()
    }
}

/// The shortest x within ± `input` with w · x = u, or the one that comes nearest to u: λ w clipped at the ends, with λ
/// such that the unclipped numbers make up for the clipped ones.
fn shortest(w: &[f64], u: f64, input: f64) -> Vec<f64> {
    let mut factor = 0.0;
    // A number that is clipped once stays clipped, since λ only grows.
    for _ in 0..=w.len() {
        let free = w.iter().filter(|w| (*w * factor).abs() < input);
        let square: f64 = free.map(|w| w * w).sum();
        let cut: f64 = w.iter().filter(|w| (*w * factor).abs() >= input).map(|w| w.abs() * input).sum();
        if square == 0.0 {
            break;
        }
        factor = (u.abs() - cut) / square;
    }
    w.iter().map(|w| (w * factor.copysign(u)).clamp(-input, input)).collect()
}

/// The construction that clamps by one head.
#[derive(Clone, Debug, PartialEq)]
pub struct TruncatedLinear {
    /// The clamp to compute.
    pub clamp: Clamp,
    /// Temperature.
    pub mode: Mode,
    /// p, intervals between anchors; if `None`, the fewest that meet the tolerance.
    pub intervals: Option<usize>,
}

/// Largest number of intervals of one head that is tried; rounding dominates long before.
pub(crate) const MOST_INTERVALS: usize = 1 << 14;

impl TruncatedLinear {
    /// Name on the command line.
    pub const NAME: &str = "truncated-linear";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let profile = profile(self.mode.sharpness(), MOST_INTERVALS, 1);
        let cost = |intervals: &usize| {
            let (bound, rounding) = (self.bound(*intervals, profile), self.rounding(*intervals, profile));
            Cost::of(&bound, &rounding, self.parameters(*intervals))
        };
        let hint = "; truncated-linear-heads splits the range and reaches further";
        let intervals = choose(request, self.candidates(), cost, hint)?;
        self.write(intervals, profile).in_float32("low", "input")
    }

    fn check(&self) -> Result<(), Refusal> {
        self.clamp.check()?;
        if !self.intervals.is_none_or(|intervals| (1..=MOST_INTERVALS).contains(&intervals)) {
            return Err(Refusal::invalid("intervals", format!("must be from 1 to {MOST_INTERVALS}")));
        }
        Ok(())
    }

    /// Numbers of intervals that may be tried.
    fn candidates(&self) -> Vec<usize> {
        self.intervals.map_or_else(|| (1..=MOST_INTERVALS).collect(), |intervals| vec![intervals])
    }

    fn anchors(&self, intervals: usize) -> Anchors {
        Anchors { low: self.clamp.low, high: self.clamp.high, intervals }
    }

    fn rows(&self, intervals: usize) -> usize {
        self.clamp.seq_len().max(intervals + 1)
    }

    /// Number of parameters.
    fn parameters(&self, intervals: usize) -> f64 {
        self.parameters_of_width(intervals, 4.0)
    }

    /// The same for rows of any width: map, query and key of 2 columns each, value, output.
    fn parameters_of_width(&self, intervals: usize, width: f64) -> f64 {
        let (rows, flat) = (self.rows(intervals) as f64, (self.clamp.seq_len() * self.clamp.d_in()) as f64);
        (flat + 1.0) * rows * width + width * 5.0 + 1.0
    }

    fn bound(&self, intervals: usize, profile: Profile) -> Bound {
        let (c, spacing) = (self.mode.sharpness(), self.anchors(intervals).spacing());
        let anyway = (0.5 + tail(c)) * spacing;
        let formula = format!(
            "kappa(c) (b - a) / p, kappa({c}) = {:.4}; for any c at most (1/2 + tau(c)) (b - a) / p = {anyway:.3e}",
            profile.error
        );
        let bound = Bound::default().and("interpolation", formula, profile.error * spacing);
        self.clamp.no_more_than_range(bound)
    }

    fn rounding(&self, intervals: usize, profile: Profile) -> Bound {
        self.rounding_at(intervals, self.mode.sharpness(), profile)
    }

    fn rounding_at(&self, intervals: usize, sharpness: f64, profile: Profile) -> Bound {
        let anchors = self.anchors(intervals);
        score_rounding(anchors, sharpness, profile)
            .and("linear form", "(d + 3) eps (sum |w| |x| + |t| + |m|)", self.clamp.form_noise())
            .and(
                "values",
                "(2 keys felt + 8) eps max(|a|, |b|)",
                value_noise(felt(sharpness), anchors.low.abs().max(anchors.high.abs())),
            )
    }

    fn write(&self, intervals: usize, profile: Profile) -> Construction {
        let network = self.network(intervals, self.mode.sharpness(), None);
        let errors = (self.bound(intervals, profile), self.rounding(intervals, profile));
        self.construction(
            intervals,
            network,
            self.temperature(intervals, self.mode.sharpness(), self.mode.reason()),
            errors,
        )
    }

    fn temperature(&self, intervals: usize, sharpness: f64, reason: &str) -> Temperature {
        Temperature { beta: self.anchors(intervals).inverse_temperature(sharpness), reason: reason.to_owned() }
    }

    /// The head of one size at c = `sharpness`, whose values are its anchors unless they are given.
    fn network(&self, intervals: usize, sharpness: f64, values: Option<&[f64]>) -> Network {
        let Clamp { weights, offsets, .. } = &self.clamp;
        let (n, d) = (self.clamp.seq_len(), self.clamp.d_in());
        let (anchors, rows) = (self.anchors(intervals), self.rows(intervals));
        let (beta, m) = (anchors.inverse_temperature(sharpness), anchors.centre());
        let parts = [("u", 1), ("one", 1), ("anchor", 1), ("square", 1), ("value", 1)];
        let z = Space::new(if values.is_some() { &parts } else { &parts[..4] });

        let mut map = InputMap::sequence_wise(n * d, rows, z.width());
        let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
        for (i, (w, t)) in weights.iter().zip(offsets).enumerate() {
            for (j, w) in w.iter().enumerate() {
                weight[(i * d + j, i * z.width() + z.at("u"))] = *w;
            }
            constant[(i, z.at("u"))] = t - m;
        }
        for row in 0..rows {
            constant[(row, z.at("one"))] = 1.0;
            // No query attends to a row that is not an anchor.
            let (anchor, square) = match row {
                k if k <= intervals => (anchors.at(k) - m, (anchors.at(k) - m).powi(2)),
                _ => (0.0, 4.0 * ((anchors.high - anchors.low).powi(2) + 40.0 / beta)),
            };
            constant[(row, z.at("anchor"))] = anchor;
            constant[(row, z.at("square"))] = square;
            if let Some(values) = values {
                constant[(row, z.at("value"))] = values.get(row).copied().unwrap_or(m);
            }
        }

        let mut head = Head::zeros(z.width(), 2, 1, 1);
        head.query.weight[(z.at("u"), 0)] = 2.0 * beta;
        head.query.weight[(z.at("one"), 1)] = beta;
        head.key.weight[(z.at("anchor"), 0)] = 1.0;
        head.key.weight[(z.at("square"), 1)] = -1.0;
        if values.is_some() {
            head.value.weight[(z.at("value"), 0)] = 1.0;
        } else {
            head.value.weight[(z.at("anchor"), 0)] = 1.0;
            head.value.weight[(z.at("one"), 0)] = m;
        }
        head.output[(0, 0)] = 1.0;

        let layer = Layer { space: z, map: InputMap { queries: n, keys: rows, ..map }, heads: vec![head] };
        Network { seq_len: n, d_in: d, d_out: 1, layers: vec![layer], readout: Readout::Rows, causal: false }
    }

    fn construction(
        &self,
        intervals: usize,
        network: Network,
        temperature: Temperature,
        (bound, rounding): (Bound, Bound),
    ) -> Construction {
        let anchors = self.anchors(intervals);
        Construction {
            name: Self::NAME,
            target: self.clamp.target(),
            domain: self.clamp.domain(),
            network,
            scored: None,
            sizes: vec![("p".to_owned(), intervals as f64), ("rows".to_owned(), self.rows(intervals) as f64)],
            temperature,
            bound,
            rounding,
            likely: None,
            provable: Some(self.clamp.provable(anchors.centre(), false)),
            proof: None,
            truth: None,
            norm: None,
            hard: hard_points(&self.clamp, &[anchors]),
        }
    }
}

/// Rounding of scores: noise γ in them moves the output by at most Σ softmax |L − output| (e^{2γ} − 1)/2.
pub(crate) fn score_rounding(anchors: Anchors, sharpness: f64, profile: Profile) -> Bound {
    let noise = anchors.score_noise(sharpness);
    let value = profile.spread * anchors.spacing() * (2.0 * noise).exp_m1() / 2.0;
    // Whatever the scores, the head gives a weighted mean of its anchors.
    let value = value.min(anchors.high - anchors.low);
    Bound::default().and("scores", "S(c) Delta (exp(2 gamma) - 1) / 2, gamma = 2.25 eps c p^2", value)
}

/// Kinks, seams between heads, ties between anchors and places of the largest ripple, at the ends and in the middle.
pub(crate) fn hard_points(clamp: &Clamp, heads: &[Anchors]) -> Vec<(&'static str, Vec<Vec<f64>>)> {
    let (first, last) = (heads[0], heads[heads.len() - 1]);
    let offsets = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0];
    let around = |at: f64, spacing: f64| offsets.map(|offset| at + offset * spacing).to_vec();
    let kinks = [around(first.low, first.spacing()), around(last.high, last.spacing())].concat();
    // At most 64 heads, with 64 anchors each or 1024 in all, evenly spread.
    let (every, most) = (heads.len().div_ceil(64), (1024 / heads.len().min(64)).min(64));
    let seams = heads.iter().skip(1).step_by(every).flat_map(|head| around(head.low, head.spacing()));
    let seams: Vec<f64> = seams.collect();
    let ties = heads.iter().step_by(every).flat_map(|head| {
        let stride = head.intervals.div_ceil(most);
        (0..head.intervals).step_by(stride).flat_map(|k| [0.25, 0.5, 0.75].map(|t| head.at(k) + t * head.spacing()))
    });
    let ties: Vec<f64> = ties.collect();
    let beyond = [-1e3, -10.0, 10.0, 1e3].map(|factor| clamp.low + factor * (clamp.high - clamp.low));
    let kinds = [("kinks", kinks), ("seams", seams), ("ties", ties), ("saturation", beyond.to_vec())];
    kinds
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(kind, values)| (kind, clamp.at_values(&values)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_reach_the_values_that_the_box_reaches() {
        let clamp = Clamp {
            weights: vec![vec![3.0, -0.1, 0.2], vec![1.0, 1.0, 0.0], vec![0.0; 3]],
            offsets: vec![0.5, -1.0, 2.0],
            low: -1.0,
            high: 1.0,
            input: 2.0,
        };
        let values = [0.0, 1.0, 6.4, -5.9, 7.1, 1e3, -1e3, -6.1];
        for (x, value) in clamp.at_values(&values).iter().zip(values) {
            for (i, x) in x.chunks(3).enumerate() {
                let reach: f64 = clamp.weights[i].iter().map(|w| w.abs() * 2.0).sum();
                let nearest = value.clamp(clamp.offsets[i] - reach, clamp.offsets[i] + reach);
                assert!((clamp.form(i, x) - nearest).abs() < 1e-12, "{x:?} puts form {i} not at {nearest}");
                assert!(x.iter().all(|x| x.abs() <= 2.0), "{x:?} is outside");
            }
        }
    }
}
