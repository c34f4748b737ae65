//! How far the network's answer is from that of gradient descent, whatever the prompt within its box: |w_jc| ≤ w, |a_j| ≤ a, |x_ic| ≤ x, |y_i| ≤ y.
//!
//! Let R = √d x, e_i = f(x_i) − y_i, and E = r a + y, which bounds every |e_i| at the start.
//!
//! - *The loss does not rise.* Suppose that it has not until step t; then the root mean square of e is at most E, and every a_j has moved by η E a step, so that |a_j| ≤ A =
//!   a + η k E and |e_i| ≤ Ē = r A + y. ∇f has the length G = √(r + r A² R²) at most, since |h| ≤ 1 and 1 − h² ≤ 1; second derivatives of f come in blocks, one of
//!   each unit, ((0, g xᵀ), (g x, a h'' x xᵀ)), of norm B = (c + √(c² + 4 R²))/2 at most, c = 0.77 A R². On the way to the next weights, which is η G E at most,
//!   the loss has second derivatives of at most L = G² + E (1 + η G²) B. For η L ≤ 2, which is checked, it does not rise.
//! - *Errors grow slowly.* Where the loss is not convex, it bends by −M at most, M = (root mean square of e) B; an error of the weights grows by q = 1 + η M at most in a step.
//! - *The answer* f(x_q) moves by G times the error of the weights.
//!
//! So a gradient that is off by V in every step costs G η S V, S = Σ_{s<k} q^s. All of that is taken for weights that are off by [`ROOM`] already, which must be enough.
//!
//! V: with p = δ and κ(u) = u⁴ cosh(2u)/30, F(u) is u up to a share κ(u). Factors on scores are δ_e = p/Ē, δ_g = p/A and δ_h = p, so that means are off by √r E (A R ((1 + κ)² − 1) + κ). The empty
//! row: denominators differ from K + N by N (e^(4p) − 1) at most, and terms that cancel have C = Σ |c_m| e^(|m| p) times what remains of them, over p for each factor.
//!
//! # Rounding
//! A weight of a mean has 2 N + 200 roundings: two for each row, 16 of a score beside 20, four times 21 and six of the exponential, three times 20 of the empty row, and those of division,
//! products, outputs and of the sum over heads; and r + 14 of its own score, 4p. Hidden units have d + 10 of scores up to T = 2 |w| R, and 40. A state has 24 in every step.

use super::NetworkDescent;
use crate::{bound::Bound, construct::in_context_gd::power, interpolation::F32_ROUNDOFF, places::GAP};

/// Score of the empty row beside examples, exact in float32.
pub(super) const NULL: f64 = 20.0;
/// Factors m on scores, and c on what comes of them.
pub(super) const TERMS: [(f64, f64); 4] =
    [(1.0, 2.0 / 3.0), (-1.0, -2.0 / 3.0), (2.0, -1.0 / 12.0), (-2.0, 1.0 / 12.0)];
/// How far weights may be off, in all, for what is said of them.
const ROOM: f64 = 0.02;
/// sup |tanh''|, 4/(3 √3).
const BEND: f64 = 0.769_801;
/// Roundings of a mean beside those of its sum and of its score.
const MEAN: f64 = 200.0;
/// Roundings of a weight in a step.
const STATE: f64 = 24.0;
/// Allows for roundings of what is off by roundings.
const SPARE: f64 = 1.01;

/// The scale of scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// p, the largest |δ e|, |δ a g| or |δ h| of a score, before its factor m.
    pub delta: f64,
}

/// What is known of all weights, also of those that are off by [`ROOM`].
struct Known {
    /// R.
    far: f64,
    /// A.
    output: f64,
    /// |w_j|.
    weight: f64,
    /// Ē.
    largest: f64,
    /// Root mean square of e.
    mean: f64,
    /// G.
    gradient: f64,
    /// B.
    bend: f64,
}

impl NetworkDescent {
    fn known(&self) -> Known {
        let (r, far) = (self.units as f64, (self.d as f64).sqrt() * self.x_max);
        let start = r * self.a_max + self.y_max;
        let time = self.rate * self.steps as f64;
        let output = self.a_max + time * start + ROOM;
        let weight = (self.d as f64).sqrt() * self.w_max + time * output * far * start + ROOM;
        let gradient = (r + r * (output * far).powi(2)).sqrt();
        let c = BEND * output * far.powi(2);
        let bend = f64::midpoint(c, (c * c + 4.0 * far.powi(2)).sqrt());
        let largest = r * output + self.y_max;
        Known { far, output, weight, largest, mean: start + gradient * ROOM, gradient, bend }
    }

    /// L, a bound on second derivatives of the loss on the way of a step.
    pub(super) fn curvature(&self) -> f64 {
        let Known { gradient, bend, .. } = self.known();
        let start = self.units as f64 * self.a_max + self.y_max;
        gradient.powi(2) + start * (1.0 + self.rate * gradient.powi(2)) * bend
    }

    /// S, and what an error of every gradient costs, G η S.
    fn growth(&self, known: &Known) -> [f64; 2] {
        let factor = 1.0 + self.rate * known.mean * known.bend;
        let sum: f64 = (0..self.steps).map(|s| power(factor, s)).sum();
        [sum, known.gradient * self.rate * sum]
    }
}

impl Plan {
    /// δ_e, δ_g and δ_h.
    pub fn scales(self, of: &NetworkDescent) -> [f64; 3] {
        let known = of.known();
        [self.delta / known.largest, self.delta / known.output, self.delta]
    }

    /// What roundings and denominators of heads multiply: the terms of means of a e g x, and of e h, which cancel but for their sum, with a factor of √r.
    fn terms(self, of: &NetworkDescent, known: &Known) -> f64 {
        let p = self.delta;
        let cancel: f64 = TERMS.iter().map(|(m, c)| c.abs() * (m.abs() * p).exp()).sum::<f64>() / p;
        let weights = cancel.powi(2) * known.largest * known.output * known.far;
        (of.units as f64).sqrt() * (weights + cancel * known.mean)
    }

    /// Errors of a gradient in exact arithmetic: of softmax, and of the empty row.
    fn gradient(self, of: &NetworkDescent, known: &Known) -> [f64; 2] {
        let p = self.delta;
        let share = p.powi(4) * (2.0 * p).cosh() / 30.0;
        let both = (1.0 + share).powi(2) - 1.0;
        let linear = (of.units as f64).sqrt() * known.mean * (known.output * known.far * both + share);
        let empty = of.points as f64 * (4.0 * p).exp_m1() * (-NULL).exp();
        [linear, self.terms(of, known) * empty]
    }

    /// What float32 adds to a gradient: by means, and by hidden units.
    fn gradient_rounding(self, of: &NetworkDescent, known: &Known) -> [f64; 2] {
        let (r, eps) = (of.units as f64, F32_ROUNDOFF);
        let means = eps * (2.0 * of.points as f64 + MEAN + (r + 14.0) * 4.0 * self.delta);
        let [hidden, answer] = hidden_rounding(of, known);
        let both = known.output * known.far;
        let units =
            r.sqrt() * ((both + 1.0) * (answer + 2.0 * eps * known.largest) + (2.0 * both + 1.0) * known.mean * hidden);
        [SPARE * self.terms(of, known) * means, SPARE * units]
    }

    pub fn bound(self, of: &NetworkDescent) -> Bound {
        let known = of.known();
        let [_, cost] = of.growth(&known);
        let [linear, empty] = self.gradient(of, &known);
        let bound = Bound::default()
            .and(
                "softmax is not quite linear",
                "G eta S sqrt(r) E (A R ((1 + k)^2 - 1) + k), k = delta^4 cosh(2 delta) / 30",
                cost * linear,
            )
            .and("empty row beside examples", "G eta S C N (exp(4 delta) - 1) exp(-20)", cost * empty)
            .and("rows attended to by mistake", "see `leak`", self.leak(of, &known));
        self.within_room(of, &known, bound)
    }

    /// The bound, or none where weights may be off by more than was allowed for.
    fn within_room(self, of: &NetworkDescent, known: &Known, bound: Bound) -> Bound {
        let [sum, _] = of.growth(known);
        let each = self.gradient(of, known).into_iter().chain(self.gradient_rounding(of, known)).sum::<f64>();
        let off = sum * (of.rate * each + state_rounding(of, known)) + self.leak(of, known);
        if off <= ROOM {
            bound
        } else {
            Bound::default().and("weights are off too far", "nothing is known of the loss there", f64::INFINITY)
        }
    }

    /// Every number that is carried through a layer is off by ζ = 2 T e⁻⁶⁰ B at most, B being the largest of any row of T, that of the prompt after n layers by n ζ.
    /// Rows of units get as much from heads that are made for others. A gradient meets that in scores, whose terms cancel, and in values.
    fn leak(self, of: &NetworkDescent, known: &Known) -> f64 {
        let Known { far, output, weight, largest, gradient, .. } = *known;
        let layers = 2.0 * of.steps as f64 + 2.0;
        let most = of.x_max.max(of.y_max).max(weight).max(output).max(1.0);
        let shift = layers * 2.0 * of.rows() as f64 * (-GAP).exp() * most;
        let root = (of.units as f64 * of.d as f64).sqrt();
        let gain = root * (1.0 + 16.0 * self.terms(of, known)) * (1.0 + weight + far) * (1.0 + output + largest);
        let [sum, _] = of.growth(known);
        gradient * sum * (1.0 + of.rate * gain) * shift + gain * shift
    }

    /// What float32 adds, whatever the order of sums.
    pub fn rounding(self, of: &NetworkDescent) -> Bound {
        let known = of.known();
        let [sum, cost] = of.growth(&known);
        let [means, hidden] = self.gradient_rounding(of, &known);
        let [_, answer] = hidden_rounding(of, &known);
        Bound::default()
            .and("means over examples", "G eta S C eps (2 N + 200 + (r + 14) 4 delta)", cost * means)
            .and("hidden units", "G eta S of h, g and f, eps ((d + 10) 2 |w| R + 40)", cost * hidden)
            .and("state", "G S 24 eps sqrt(r) (|w| + A)", known.gradient * sum * state_rounding(of, &known))
            .and("answer", "r A eps ((d + 10) 2 |w| R + r + 46)", answer)
    }
}

/// What hidden units h, and answers f, are off by in float32; 1 − h² by twice as much.
fn hidden_rounding(of: &NetworkDescent, known: &Known) -> [f64; 2] {
    let (r, eps) = (of.units as f64, F32_ROUNDOFF);
    let score = 2.0 * known.weight * known.far;
    let hidden = SPARE * eps * ((of.d as f64 + 10.0) * score + 40.0);
    [hidden, r * known.output * (hidden + (r + 6.0) * eps)]
}

/// What a step's sums leave in the weights.
fn state_rounding(of: &NetworkDescent, known: &Known) -> f64 {
    STATE * F32_ROUNDOFF * (of.units as f64).sqrt() * (known.weight + known.output)
}
