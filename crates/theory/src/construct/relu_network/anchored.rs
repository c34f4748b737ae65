//! Form t1: anchors after a sequence-wise map, then scatter.

use std::cell::RefCell;
use std::collections::BTreeMap;

use headway_plain::{
    Readout,
    network::{Head, InputMap},
};

use super::{
    APART, FormPlan, ReluNetwork, Written,
    chain::{Anchored, Around},
    scatter_layer, scatter_parameters,
    units::{Places, ScatterRounding, Units, rounding_formula},
};
use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::{
        Construction, Request, Temperature,
        truncated_linear::{MOST_INTERVALS as LONGEST, score_rounding},
    },
    interpolation::{Anchors, F32_ROUNDOFF, Profile, profile, tail},
    mixing::{Noise, Roundings},
    network::Layer,
    prove::Provable,
    refusal::Refusal,
    space::Space,
};

/// Number of intervals of one head before a second head is used: float32 represents that many well.
const MOST_INTERVALS: usize = 256;
/// Largest number of heads that is tried.
const MOST_HEADS: usize = 1 << 10;

#[derive(Clone, Copy)]
struct Size {
    intervals: usize,
    heads: usize,
}

impl Size {
    fn candidates(options: &ReluNetwork) -> Vec<Self> {
        let next = |size: &usize| Some((size + size / 64).max(size + 1));
        let heads = || std::iter::successors(Some(1), next).take_while(|heads| *heads <= MOST_HEADS);
        match (options.intervals, options.heads) {
            (Some(intervals), Some(heads)) => vec![Self { intervals, heads }],
            (Some(intervals), None) => heads().map(|heads| Self { intervals, heads }).collect(),
            (None, Some(heads)) => {
                let all = std::iter::successors(Some(1), next).take_while(|intervals| *intervals <= LONGEST);
                all.map(|intervals| Self { intervals, heads }).collect()
            }
            (None, None) => {
                let one = (1..MOST_INTERVALS).map(|intervals| Self { intervals, heads: 1 });
                one.chain(heads().map(|heads| Self { intervals: MOST_INTERVALS, heads })).collect()
            }
        }
    }

    /// Anchors of one head, shifted to [0, 1/H].
    fn anchors(self) -> Anchors {
        Anchors { low: 0.0, high: 1.0 / self.heads as f64, intervals: self.intervals }
    }
}

struct AnchorPlan<'a> {
    options: &'a ReluNetwork,
    units: &'a Units,
    noise: Vec<Noise>,
    leak: f64,
    scatter: ScatterRounding,
    scatter_parameters: f64,
    profiles: RefCell<BTreeMap<(usize, usize), Profile>>,
}

pub(super) fn build(options: &ReluNetwork, units: &Units, request: Request) -> Result<Construction, Refusal> {
    let places = Places::one_a_row(units);
    let scattering = units.scatter(&places);
    let (mixing, mixes) = &scattering;
    let (leak, scatter) = (mixing.leak(mixes, mixing.rows(), 1.0), ScatterRounding::of(&scattering, units.d_out));
    let plan = AnchorPlan {
        options,
        units,
        noise: units.product_noise(),
        leak,
        scatter,
        scatter_parameters: scatter_parameters(units, &places),
        profiles: RefCell::default(),
    };
    plan.build(options, units, request, Size::candidates(options), "; form t2 reaches further")
}

impl FormPlan for AnchorPlan<'_> {
    type Size = Size;

    fn bound(&self, size: Size) -> Bound {
        let (c, total) = (self.options.mode.sharpness(), self.units.weight());
        let spacing = size.anchors().spacing();
        let anyway = (0.5 + tail(c)) * spacing * total;
        let profile = self.profile(size);
        let others = (self.rows(size) - size.intervals - 1) as f64;
        Bound::default()
            .and(
                "interpolation",
                format!(
                    "kappa(c) S / (p H), S = max_i sum_j |W2_ij| s_j = {total:.4}, kappa({c}) = {:.4}; for any c one head is off by \
                     (1/2 + tau(c)) S / (p H) = {anyway:.3e} at most",
                    profile.error
                ),
                profile.error * spacing * total,
            )
            .at_most(total, "range", "S: values and what they stand for both lie in [0, 1]")
            .and("rows that are no anchors", "S exp(-64) per row", total * others * (-APART).exp())
            .and("weights of zero", "exp(-80) 2 rows scale, summed over scattering heads", self.leak)
    }

    fn rounding(&self, size: Size, roundings: Roundings) -> Bound {
        let (anchors, total) = (size.anchors(), self.units.weight());
        let scores = score_rounding(anchors, self.options.mode.sharpness(), self.profile(size)).value;
        // u − m_h is rounded once more, in each of the heads at a seam.
        let seen = |noise: &Noise| noise.and(Noise::of(1.0, 3.0));
        let noise: Vec<Noise> = self.noise.iter().map(seen).collect();
        Bound::default()
            .and(
                "linear form",
                rounding_formula("through W2 s, u' as a row of a matrix product", roundings),
                self.units.through_output(&noise, roundings),
            )
            .and("scores", "S times S(c) Delta (exp(2 gamma) - 1) / 2, gamma = 2.25 eps c p^2", total * scores)
            // Saturated heads add the same number again and again, and these additions are all rounded in the same way.
            .and(
                "sum over heads",
                "S eps (2 keys felt + 8 + H)",
                total * value_noise(felt(self.options.mode.sharpness()), 1.0)
                    + total * F32_ROUNDOFF * size.heads as f64,
            )
            .and("scatter", rounding_formula("h scattered by log weights", roundings), self.scatter.bound(roundings))
    }

    fn parameters(&self, size: Size) -> f64 {
        let flat = (self.units.seq_len * self.units.d_in) as f64;
        (flat + 1.0) * self.rows(size) as f64 * 4.0 + size.heads as f64 * 21.0 + self.scatter_parameters
    }

    fn provable(&self, _: Size) -> Provable {
        let around = Around::Scatter { leak: self.leak, rounding: self.scatter.bound(Roundings::Any) };
        Anchored { units: self.units, noise: &self.noise, around }.provable()
    }

    fn write(&self, size: Size) -> Written {
        let units = self.units;
        let (anchors, rows) = (size.anchors(), self.rows(size));
        let beta = anchors.inverse_temperature(self.options.mode.sharpness());
        let layers = vec![self.anchor_layer(size), scatter_layer(units, &Places::one_a_row(units))];
        let spacing = anchors.spacing();
        let around = [0.0, 0.25, 0.5, -0.25, 0.75, -0.5, 1.0, -1.0].map(|at| at * spacing);
        let seams = (1..size.heads).step_by(size.heads.div_ceil(8)).map(|head| head as f64 * anchors.high);
        let values: Vec<f64> =
            around.into_iter().chain([1.0 - spacing / 2.0, 1.0 - spacing / 4.0]).chain(seams).collect();
        Written {
            layers,
            readout: Readout::Rows,
            sizes: vec![("p", size.intervals as f64), ("H", size.heads as f64), ("rows", rows as f64)],
            temperature: Temperature { beta, reason: self.options.mode.reason().to_owned() },
            values,
        }
    }
}

impl AnchorPlan<'_> {
    /// The profile; with more than some intervals and heads it stays the same.
    fn profile(&self, size: Size) -> Profile {
        let alike = (size.intervals.min(32), size.heads.min(if size.intervals < 8 { 17 } else { 3 }));
        let known = || profile(self.options.mode.sharpness(), alike.0, alike.1);
        *self.profiles.borrow_mut().entry(alike).or_insert_with(known)
    }

    fn rows(&self, size: Size) -> usize {
        (size.intervals + 1).max(self.units.count())
    }

    /// Rows (u', 1, L̃, L̃²): the heads share anchors, and each sees u' relative to the middle of its own part of [0,
    /// 1].
    fn anchor_layer(&self, size: Size) -> Layer {
        let units = self.units;
        let (anchors, rows, flat) = (size.anchors(), self.rows(size), units.seq_len * units.d_in);
        let (middle, beta) = (anchors.centre(), anchors.inverse_temperature(self.options.mode.sharpness()));
        let z = Space::new(&[("u", 1), ("one", 1), ("anchor", 1), ("square", 1)]);
        let mut map = InputMap::sequence_wise(flat, rows, z.width());
        let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
        for j in 0..units.count() {
            (0..flat).for_each(|at| weight[(at, j * z.width() + z.at("u"))] = units.weights[(j, at)]);
            constant[(j, z.at("u"))] = units.bias[j];
        }
        for row in 0..rows {
            let (anchor, square) = match row {
                k if k <= size.intervals => (anchors.at(k) - middle, (anchors.at(k) - middle).powi(2)),
                // The best anchor's score is at least −β middle².
                _ => (0.0, middle.powi(2) + APART / beta),
            };
            constant[(row, z.at("one"))] = 1.0;
            constant[(row, z.at("anchor"))] = anchor;
            constant[(row, z.at("square"))] = square;
        }
        let heads = (0..size.heads).map(|at| {
            let mut head = Head::zeros(z.width(), 2, 1, 1);
            head.query.weight[(z.at("u"), 0)] = 2.0 * beta;
            head.query.weight[(z.at("one"), 0)] = -2.0 * beta * (at as f64 * anchors.high + middle);
            head.query.weight[(z.at("one"), 1)] = beta;
            head.key.weight[(z.at("anchor"), 0)] = 1.0;
            head.key.weight[(z.at("square"), 1)] = -1.0;
            head.value.weight[(z.at("anchor"), 0)] = 1.0;
            head.value.weight[(z.at("one"), 0)] = middle;
            head.output[(0, 0)] = 1.0;
            head
        });
        let heads = heads.collect();
        Layer { space: z, map: InputMap { queries: units.count(), keys: rows, ..map }, heads }
    }
}
