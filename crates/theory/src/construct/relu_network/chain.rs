//! The error of form t2 as a chain of inequalities, from row sums of its weights to the bounds.

use super::{
    APART, GATE, GATE_ROUNDING,
    units::{Gather, Places, Units},
};
use crate::{
    bound::Bound,
    interpolation::F32_ROUNDOFF,
    mixing::{Noise, Roundings, any_order},
    prove::chain::{Chain, Steps},
};

/// What the chain reads off the file.
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
