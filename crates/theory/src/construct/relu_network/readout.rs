//! Form s: gather, then a softmax over anchors and a linear readout.

use headway_plain::{Readout, network::Matrix};

use super::{
    FormPlan, ReluNetwork, Written,
    chain::{Anchored, Around},
    gather_layer, gather_parameters, output_matrix,
    units::{Gather, Places, Units, rounding_formula},
};
use crate::{
    bound::Bound,
    cells::felt,
    construct::{
        Construction, Request, Temperature,
        truncated_linear::{MOST_INTERVALS, score_rounding},
    },
    interpolation::{Anchors, Profile, profile, tail},
    mixing::{Noise, Roundings},
    prove::Provable,
    refusal::Refusal,
};

struct ReadoutPlan<'a> {
    options: &'a ReluNetwork,
    units: &'a Units,
    gather: Gather,
    gather_parameters: f64,
    noise: Vec<Noise>,
    /// Profiles for each small number of intervals, then one for all larger numbers.
    profiles: Vec<Profile>,
}

pub(super) fn build(options: &ReluNetwork, units: &Units, request: Request) -> Result<Construction, Refusal> {
    let places = Places::one_a_row(units);
    let gather = Gather::of(units, 0.5, &places);
    let noise = gather.rounding(units, &places);
    let profiles = (1..=16).map(|intervals| profile(options.mode.sharpness(), intervals, 1)).collect();
    let gather_parameters = gather_parameters(units, &gather, places.columns());
    let plan = ReadoutPlan { options, units, gather, gather_parameters, noise, profiles };
    let next = |size: &usize| Some((size + size / 64).max(size + 1));
    let sizes = std::iter::successors(Some(1), next).take_while(|intervals| *intervals <= MOST_INTERVALS);
    let candidates: Vec<usize> = options.intervals.map_or_else(|| sizes.collect(), |intervals| vec![intervals]);
    plan.build(options, units, request, candidates, "; form t2 reaches further")
}

impl FormPlan for ReadoutPlan<'_> {
    type Size = usize;

    fn bound(&self, intervals: usize) -> Bound {
        let (c, total) = (self.options.mode.sharpness(), self.units.weight());
        let spacing = Self::anchors(intervals).spacing();
        let kappa = self.profile(intervals).error;
        let anyway = (0.5 + tail(c)) * spacing * total;
        let formula = format!(
            "kappa(c) S / p, S = max_i sum_j |W2_ij| s_j = {total:.4}, kappa({c}) = {kappa:.4}; for any c at most \
             (1/2 + tau(c)) S / p = {anyway:.3e}"
        );
        Bound::default()
            .and("interpolation", formula, kappa * spacing * total)
            .at_most(total, "range", "S: values and what they stand for both lie in [0, 1]")
            .and(
                "weights of zero",
                "S exp(-80) 2 rows scale reach, summed over gathering heads",
                total * self.gather.leak(),
            )
    }

    fn rounding(&self, intervals: usize, roundings: Roundings) -> Bound {
        let total = self.units.weight();
        let anchors = Self::anchors(intervals);
        let scores = score_rounding(anchors, self.options.mode.sharpness(), self.profile(intervals)).value;
        // Anchor values and their sums: roundings of a number of at most 1, per unit.
        let readout = vec![Noise::of(1.0, 2.0 * felt(self.options.mode.sharpness()) + 8.0); self.units.count()];
        let sums = Noise::of(total + self.units.largest_bias(), self.units.count() as f64 + 2.0);
        Bound::default()
            .and(
                "gather",
                rounding_formula("through W2 s, u' gathered by log weights", roundings),
                self.units.through_output(&self.noise, roundings),
            )
            .and("scores", "S times S(c) Delta (exp(2 gamma) - 1) / 2, gamma = 2.25 eps c p^2", total * scores)
            .and(
                "readout",
                rounding_formula("2 keys felt + 8 roundings per unit, and r + 2 of S + max |b2|", roundings),
                self.units.through_output(&readout, roundings) + sums.bound(roundings),
            )
    }

    fn parameters(&self, intervals: usize) -> f64 {
        let (units, flat_out) = (self.units.count() as f64, self.units.bias_out.len() as f64);
        self.gather_parameters + 3.0 * (intervals as f64 + 1.0) + (units + 1.0) * flat_out
    }

    fn provable(&self, _: usize) -> Provable {
        let around = Around::Readout { leak: self.gather.leak() };
        Anchored { units: self.units, noise: &self.noise, around }.provable()
    }

    fn write(&self, intervals: usize) -> Written {
        let Self { units, gather, .. } = self;
        let anchors = Self::anchors(intervals);
        let (beta, middle) = (anchors.inverse_temperature(self.options.mode.sharpness()), anchors.centre());
        let layers = vec![gather_layer(units, gather, 1)];
        let centred = |k: usize| anchors.at(k) - middle;
        let (weight, bias) = output_matrix(units);
        let readout = Readout::Softmax {
            scores: Matrix::from_fn(1, intervals + 1, |_, k| 2.0 * beta * centred(k)),
            scores_bias: Matrix::from_fn(1, intervals + 1, |_, k| -beta * centred(k).powi(2)),
            values: Matrix::from_fn(intervals + 1, 1, |k, _| anchors.at(k)),
            weight,
            bias,
        };
        let spacing = anchors.spacing();
        let around = [0.0, 0.25, 0.5, -0.25, 0.75, -0.5, 1.0, -1.0].map(|at| at * spacing);
        let values: Vec<f64> = around.into_iter().chain([1.0 - spacing / 2.0, 1.0 - spacing / 4.0]).collect();
        Written {
            layers,
            readout,
            sizes: vec![("p", intervals as f64), ("rows", gather.mixing.rows() as f64)],
            temperature: Temperature { beta, reason: self.options.mode.reason().to_owned() },
            values,
        }
    }
}

impl ReadoutPlan<'_> {
    fn anchors(intervals: usize) -> Anchors {
        Anchors { low: 0.0, high: 1.0, intervals }
    }

    fn profile(&self, intervals: usize) -> Profile {
        self.profiles[intervals.min(self.profiles.len()) - 1]
    }
}
