//! The error of every form as a chain of inequalities, from row sums of its weights to the bounds. That of a unit of anchors is bounded by
//! boxes, for all units at once.

use std::sync::Arc;

use headway_tasks::Interval;

use super::{
    APART, GATE, GATE_ROUNDING,
    units::{Gather, Places, Units},
};
use crate::{
    bound::Bound,
    interpolation::F32_ROUNDOFF,
    mixing::{Noise, Roundings, any_order},
    prove::{
        Provable,
        chain::{Chain, Steps},
        clamp, units,
    },
};

/// What the chain of form t2 reads off the file.
pub(super) struct Parts<'a> {
    pub units: &'a Units,
    pub places: &'a Places,
    pub gather: &'a Gather,
    /// Rounding errors of the gathered u'.
    pub noise: &'a [Noise],
    /// What weights of e⁻⁸⁰ instead of zero add by scattering.
    pub leak: f64,
    /// Rounding error that the scatter adds.
    pub scatter: f64,
    pub beta: f64,
}

impl Parts<'_> {
    /// Every step, from which bound and rounding follow.
    pub fn chain(&self) -> Chain {
        let Self { units, places, gather, noise, leak, scatter, beta } = *self;
        let mut steps = Steps::default();
        let gate = steps.follows("gate", "sup_t t / (1 + exp t)", GATE);
        let blunt = steps.stands("1/beta", "the reciprocal of the gates' temperature", 1.0 / beta);
        let total = steps.read("S", "max_i sum_j |W2_ij s_j|", units.weight());
        let one_signed = steps.read("S1", "max_i sum_j (W2_ij s_j)+ or (...)-", units.one_signed_weight());
        let low = steps.read("low", "max(1, -inf u')", units.lowest().abs().max(1.0));
        let top = steps.read("top", "max(1, sup u')", 1.0);
        let gathering = steps.read("gathering leak", "2 rows exp(-80) sum over heads of scale reach", gather.leak());
        let scattering = steps.read("scattering leak", "2 rows exp(-80) sum over heads of scale", leak);
        let mut claimed = vec![Noise::default(); units.count()];
        for (at, j) in places.units().enumerate() {
            let says = "x - m, scores, exponentials and sums of this unit, row by row, in any order";
            claimed[j].most = steps.read(format!("gathered {}", at + 1), says, noise[j].most);
        }
        let through = units.through_output(&claimed, Roundings::Any);
        let scattered = steps.read("scattered", "scores, exponentials and sums of an output, in any order", scatter);

        let others = places.rows() as f64 - 1.0;
        let above = 1.0 + gate * blunt;
        let says = "min(gate / beta, low / 2) S1";
        let gates = steps.follows("gates", says, (gate * blunt).min(low / 2.0) * one_signed);
        let says = "S (rows of gates - 1) exp(-64) 2 low";
        let others = steps.follows("other keys of a gate", says, total * others * (-APART).exp() * 2.0 * low);
        let says = "S (gathering leak) + (scattering leak) (top + gate / beta)";
        let zeros = steps.follows("weights of zero", says, total * gathering + scattering * (top + gate * blunt));
        let says = "max_i sum_j |W2_ij s_j| (gathered j)";
        let gather = steps.read("gather", says, through);
        let says = "S eps (0.224 (8 M + 16) + 1.8) / beta + S top gamma(4), M = 64";
        let own = F32_ROUNDOFF * GATE_ROUNDING * blunt + top * any_order(4.0);
        let of_gates = steps.follows("rounding of gates", says, total * own);
        let says = "scattered top (1 + gate / beta)";
        let scatter = steps.follows("scatter", says, scattered * top * above);
        let bound = Bound::default()
            .and("gates", "min(0.2785 / beta, low / 2) S1", gates)
            .and("other keys of a gate", "S (r - 1) exp(-64) 2 max(1, -inf u')", others)
            .and("weights of zero", "exp(-80) over heads that gather and scatter", zeros);
        let rounding = Bound::default()
            .and("gather", "through W2 s, u' gathered by log weights: sums in any order", gather)
            .and(
                "gates",
                "S eps (0.224 (8 M + 16) + 1.8) / beta, M = 64, and four roundings per unit: sums in any order",
                of_gates,
            )
            .and("scatter", "h scattered by log weights: sums in any order", scatter);
        steps.end(bound, rounding)
    }
}

/// What the chain of a form with anchors reads off the file.
pub(super) struct Anchored<'a> {
    pub units: &'a Units,
    /// Rounding errors of each u'.
    pub noise: &'a [Noise],
    pub around: Around,
}

/// What computes u' before the anchors, and what carries the units to the outputs.
#[derive(Clone, Copy)]
pub(super) enum Around {
    /// A matrix product, and a scatter: what weights of e⁻⁸⁰ add, and its rounding error.
    Scatter { leak: f64, rounding: f64 },
    /// Gathering, which leaks this much, and a matrix with a bias.
    Readout { leak: f64 },
}

impl Anchored<'_> {
    /// Boxes for one unit, and every step that follows.
    pub fn provable(&self) -> Provable {
        let Self { units, noise, around } = *self;
        let mut steps = Steps::default();
        let total = steps.read("S", "max_i sum_j |W2_ij s_j|", units.weight());
        let low = steps.read("low", "max(1, -inf u')", units.lowest().abs().max(1.0));
        let largest = noise.iter().fold(0.0, |top: f64, noise| top.max(noise.most));
        // The file's u' exceeds 1 by roundings of weights alone: one of as many as a sum of products has and two more.
        let of_weights = match around {
            Around::Scatter { .. } => 2.0 * largest / (units.weights.ncols() as f64 + 2.0),
            Around::Readout { .. } => largest,
        };
        let top = steps.follows("top", "max(1, sup u')", 1.0 + of_weights);
        let (leak, centre, kind, says) = match around {
            Around::Scatter { .. } => (0.0, 0.0, "formed", "one row of a matrix product in any order"),
            Around::Readout { leak } => {
                let leak = steps.read("gathering leak", "2 rows exp(-80) sum over heads of scale reach", leak);
                (leak, 0.5, "gathered", "x - m, scores, exponentials and sums of this unit, in any order")
            }
        };
        let read = |(j, noise): (usize, &Noise)| Noise {
            most: steps.read(format!("{kind} {}", j + 1), says, noise.most),
            ..Noise::default()
        };
        let claimed: Vec<Noise> = noise.iter().enumerate().map(read).collect();
        let aside = claimed.iter().fold(0.0, |top: f64, noise| top.max(noise.most)) + leak;
        let through = units.through_output(&claimed, Roundings::Any);
        let known = Known { total, top, leak, through, around, count: units.count(), bias: units.largest_bias() };
        Provable::Units(units::Units {
            function: clamp(0.0, 1.0, centre),
            side: Interval::new((-low - aside - centre).next_down(), (top + aside - centre).next_up()),
            bent: Interval::new(-centre, 1.0 - centre),
            rest: Arc::new(move |unit| known.rest(steps.clone(), unit)),
        })
    }
}

/// What is claimed before the units are bounded.
struct Known {
    total: f64,
    top: f64,
    leak: f64,
    /// Rounding errors of u', through the output.
    through: f64,
    around: Around,
    count: usize,
    /// Largest |b₂|.
    bias: f64,
}

impl Known {
    /// The other steps, given what a unit is off by in exact arithmetic and what float32 adds.
    fn rest(&self, mut steps: Steps, [exact, float32]: [f64; 2]) -> Chain {
        let Self { total, top, leak, through, around, count, bias } = *self;
        let unit = steps.read("unit", "sup |unit - clamp(u', 0, 1)|, by boxes", exact);
        let float32 = steps.read("unit in float32", "what float32 adds to a unit, by boxes", float32);
        let says = "S (unit + top - 1)";
        let interpolation = steps.follows("interpolation", says, total * (unit + (top - 1.0)));
        let largest = 1.0 + unit + float32;
        let (before, behind) = match around {
            Around::Scatter { .. } => ("linear form", "scatter"),
            Around::Readout { .. } => ("gather", "sums"),
        };
        let zeros = match around {
            Around::Scatter { leak, .. } => {
                let leak = steps.read("scattering leak", "2 rows exp(-80) sum over heads of scale", leak);
                let says = "(scattering leak) (1 + unit + unit in float32)";
                steps.follows("weights of zero", says, leak * largest)
            }
            Around::Readout { .. } => steps.follows("weights of zero", "S (gathering leak)", total * leak),
        };
        let says = "max_i sum_j |W2_ij s_j| times what float32 adds to u'_j";
        let numbers = steps.read(before, says, through);
        let alike = steps.follows("units", "S (unit in float32)", total * float32);
        let carried = match around {
            Around::Scatter { rounding, .. } => {
                let scattered =
                    steps.read("scattered", "scores, exponentials and sums of an output, in any order", rounding);
                steps.follows(behind, "scattered (1 + unit + unit in float32)", scattered * largest)
            }
            Around::Readout { .. } => {
                let bias = steps.read("b2", "max_i |b2_i|", bias);
                let says = "gamma(units + 2) (S (1 + unit + unit in float32) + b2)";
                steps.follows(behind, says, any_order(count as f64 + 2.0) * (total * largest + bias))
            }
        };
        let bound = Bound::default()
            .and("interpolation", "S times the error of a unit, the largest over boxes of u'", interpolation)
            .and("weights of zero", "exp(-80) over heads that mix", zeros);
        let rounding = Bound::default()
            .and(before, "through W2 s, u' in any order of sums", numbers)
            .and("units", "S times what float32 adds to a unit, the most over boxes of u'", alike)
            .and(behind, "from the units to the outputs, in any order of sums", carried);
        steps.end(bound, rounding)
    }
}
