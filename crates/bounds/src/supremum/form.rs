//! Taylor forms of second order: what a number inside a network is over a box, up to an error.
//!
//! Over the box x_a = m_a + r_a ε_a with |ε_a| ≤ 1 a form stands for every function c + Σ_a g_a ε_a + Σ_ab q_ab ε_a ε_b + η(ε) with
//! |η| ≤ e. Sums of forms and affine maps of them lose nothing, so that what two paths through a network have in common cancels
//! where they meet; products and functions put their third order into e, so that over boxes of half the size e is an eighth.
//!
//! A form also covers rounding: of double precision, in which it is computed, and with [`Arithmetic::Float32`] that of a
//! network which computes every operation in float32, a sum in any order. For a sum of n products the error grows by
//! γ_n = n u/(1 − n u) times the sum of the sizes of its terms, with u = 2⁻⁵³ or 2⁻²⁴.

use headway_tasks::{Interval, Jet, Order};
use serde::{Deserialize, Serialize};

/// Which evaluations of a network an enclosure covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// The function of the weights in real numbers.
    #[default]
    Exact,
    /// That, and every evaluation in float32: sums in any order, with fused multiply-add or without it.
    Float32,
}

/// Half a unit in the last place of 1 in double precision.
const U64: f64 = f64::EPSILON / 2.0;
/// Half a unit in the last place of 1 in float32.
const U32: f64 = 5.960_464_477_539_063e-8;
/// Errors are sums and products of fewer than 10⁵ numbers of one sign in double precision; this makes up for their rounding.
pub(super) const UP: f64 = 1.0 + 1e-10;

impl Arithmetic {
    /// u, the largest relative error of one operation; that of double precision included.
    pub fn unit(self) -> f64 {
        match self {
            Self::Exact => U64,
            Self::Float32 => U32 + U64,
        }
    }

    /// u of float32, or 0 if that is not covered.
    pub(super) fn float32(self) -> f64 {
        match self {
            Self::Exact => 0.0,
            Self::Float32 => U32,
        }
    }

    /// γ_n; infinite for absurd n.
    pub(super) fn gamma(self, n: usize) -> f64 {
        let share = n as f64 * self.unit();
        if share < 0.5 { share / (1.0 - share) * UP } else { f64::INFINITY }
    }

    /// Largest absolute error of one operation whose result is subnormal, or set to zero because it is.
    pub(super) fn tiny(self) -> f64 {
        match self {
            Self::Exact => f64::MIN_POSITIVE,
            Self::Float32 => 1.2e-38,
        }
    }
}

/// c + Σ_a g_a ε_a + Σ_ab q_ab ε_a ε_b ± e.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form<const D: usize> {
    /// c, the value in the middle of the box up to e.
    pub centre: f64,
    /// g_a, by how much half a side of the box changes it.
    pub slopes: [f64; D],
    /// q_ab.
    pub bends: Quadratic<D>,
    /// e.
    pub error: f64,
}

/// Coefficients of ε_a ε_b.
pub(super) type Quadratic<const D: usize> = [[f64; D]; D];

/// The largest |Σ_ab q_ab ε_a ε_b|, from above.
pub(super) fn bulge<const D: usize>(quadratic: &Quadratic<D>) -> f64 {
    let (shift, spread) = settled(quadratic);
    let most = shift.abs() + spread;
    // All squares have one sign, or not.
    most.min(quadratic.iter().flatten().map(|q| q.abs()).sum::<f64>()) * UP
}

/// Σ_ab q_ab ε_a ε_b lies within the second number of the first: squares lie between 0 and 1, other products between −1 and 1.
fn settled<const D: usize>(quadratic: &Quadratic<D>) -> (f64, f64) {
    let (mut shift, mut spread) = (0.0, 0.0);
    for (a, row) in quadratic.iter().enumerate() {
        shift += 0.5 * row[a];
        spread += 0.5 * row[a].abs();
        spread += row[..a].iter().zip(quadratic).map(|(below, other)| (below + other[a]).abs()).sum::<f64>();
    }
    (shift, spread)
}

impl<const D: usize> Form<D> {
    /// The form of one number.
    pub const fn point(value: f64) -> Self {
        Self { centre: value, slopes: [0.0; D], bends: [[0.0; D]; D], error: 0.0 }
    }

    /// The form of variable `a` over a side of the box.
    pub fn variable(side: Interval, a: usize) -> Self {
        let mut form = Self::point(side.middle());
        form.slopes[a] = radius(side);
        form
    }

    /// The constant form of all numbers of an interval.
    pub fn all_of(interval: Interval) -> Self {
        let error = radius(interval);
        Self { error, ..Self::point(if error.is_finite() { interval.middle() } else { 0.0 }) }
    }

    /// Σ_a |g_a|, the largest size of the linear part.
    pub fn reach(&self) -> f64 {
        self.slopes.iter().map(|slope| slope.abs()).sum::<f64>() * UP
    }

    /// |c| + Σ_a |g_a| + Σ_ab |q_ab| + e, by which a sum of forms is off in proportion.
    pub fn parts(&self) -> f64 {
        let bends = self.bends.iter().flatten().map(|bend| bend.abs()).sum::<f64>();
        self.centre.abs() + self.error + self.reach() + bends
    }

    /// The largest distance from c without the error.
    pub fn moved(&self) -> f64 {
        (self.reach() + bulge(&self.bends)) * UP
    }

    /// The largest distance from c.
    pub fn radius(&self) -> f64 {
        (self.moved() + self.error) * UP
    }

    /// The largest absolute value; infinite if there is no bound.
    pub fn size(&self) -> f64 {
        let size = (self.centre.abs() + self.radius()) * UP;
        if size.is_nan() { f64::INFINITY } else { size }
    }

    /// All its values.
    pub fn interval(&self) -> Interval {
        let (shift, spread) = settled(&self.bends);
        let half = (self.reach() + spread + self.error) * UP + 4.0 * U64 * (self.centre.abs() + shift.abs());
        let middle = self.centre + shift;
        if !half.is_finite() || !middle.is_finite() {
            return Interval::ENTIRE;
        }
        Interval::new((middle - half).next_down(), (middle + half).next_up())
    }

    /// Itself, or all numbers of `interval`, to which its values are known to belong, if that says more. Slopes are worth keeping
    /// until the interval is narrower than the error, or half as wide as all: they may cancel against others.
    pub fn within(self, interval: Interval) -> Self {
        let other = Self::all_of(interval);
        // A comparison with NaN is false.
        if self.error <= other.error && self.radius() <= 2.0 * other.error { self } else { other }
    }

    /// f + g
    pub fn plus(&self, other: &Self, arithmetic: Arithmetic) -> Self {
        let mut sum = Sum::default();
        sum.add(1.0, self);
        sum.add(1.0, other);
        sum.finish(0.0, arithmetic)
    }

    /// f − g
    pub fn minus(&self, other: &Self, arithmetic: Arithmetic) -> Self {
        let mut sum = Sum::default();
        sum.add(1.0, self);
        sum.add(-1.0, other);
        sum.finish(0.0, arithmetic)
    }

    /// f g
    pub fn times(&self, other: &Self, arithmetic: Arithmetic) -> Self {
        dot(&[(*self).into()], &[(*other).into()], 1.0, arithmetic)
    }

    /// φ(f) for a φ given by its jets, best of three: its slope in the middle and second derivatives over the box, its slopes over the
    /// box, its range.
    pub fn apply(&self, function: impl Fn(Jet) -> Jet) -> Self {
        let range = self.interval();
        let over = function(Jet::variable(range, 0, 1, Order::Second));
        let at = function(Jet::variable(Interval::point(self.centre), 0, 1, Order::Second));
        let (reach, bulge, far) = (self.reach(), bulge(&self.bends), self.radius());
        // φ(c) + λ t + μ t² for t = f − c, where φ'(c) and half the second derivative differ from λ and μ by so much at most.
        let parabola = |[slope, slope_off]: [f64; 2], [bend, bend_off]: [f64; 2]| {
            let mut form = self.scaled(slope);
            for a in 0..D {
                for b in 0..D {
                    form.bends[a][b] += bend * self.slopes[a] * self.slopes[b];
                }
            }
            let e = self.error;
            let higher = 2.0 * reach * bulge + bulge * bulge + e * (2.0 * (reach + bulge) + e);
            let rounding = 8.0 * U64 * (slope.abs() * far + bend.abs() * reach * reach);
            form.centre = at.value.middle();
            form.error += radius(at.value) + bend.abs() * higher + slope_off * far + bend_off * far * far + rounding;
            form.error = form.error * UP + f64::MIN_POSITIVE;
            form
        };
        let [steep, slopes, bend] = [at.gradient[0], over.gradient[0], over.second[0]];
        let tangent = parabola([steep.middle(), radius(steep)], [0.5 * bend.middle(), 0.5 * radius(bend)]);
        let chord = parabola([slopes.middle(), radius(slopes)], [0.0, 0.0]);
        let best = if tangent.error <= chord.error { tangent } else { chord };
        best.within(over.value)
    }

    /// s f
    fn scaled(&self, scale: f64) -> Self {
        Self {
            centre: scale * self.centre,
            slopes: self.slopes.map(|g| scale * g),
            bends: self.bends.map(|row| row.map(|q| scale * q)),
            error: scale.abs() * self.error,
        }
    }

    /// max(f, 0), between two parallel lines where it may have either sign.
    pub fn relu(&self) -> Self {
        let Interval { low, high } = self.interval();
        if low >= 0.0 {
            return *self;
        }
        if high <= 0.0 {
            return Self::point(0.0);
        }
        let slope = high / (high - low);
        // max(x, 0) lies between λ x and λ (x − low), λ = high / (high − low): for any λ from 0 to 1 up to its distance from these.
        let above = (slope * -low).max((1.0 - slope) * high) * UP;
        let mut form = self.scaled(slope);
        form.centre += 0.5 * above;
        form.error = (form.error + 0.5 * above + 8.0 * U64 * (slope * self.size() + above)) * UP;
        form.within(Interval::new(0.0, high))
    }
}

/// The largest distance of its numbers from its middle, rounded up; infinite if it may be undefined.
pub(super) fn radius(interval: Interval) -> f64 {
    let middle = interval.middle();
    let far = (interval.high - middle).max(middle - interval.low);
    if interval.is_undefined() || !far.is_finite() {
        f64::INFINITY
    } else if far > 0.0 {
        far.next_up()
    } else {
        0.0
    }
}

/// A sum of forms with weights while it is being made.
#[derive(Clone, Copy, Debug)]
pub struct Sum<const D: usize> {
    total: Form<D>,
    size: f64,
    terms: usize,
}

impl<const D: usize> Default for Sum<D> {
    fn default() -> Self {
        Self { total: Form::point(0.0), size: 0.0, terms: 0 }
    }
}

impl<const D: usize> Sum<D> {
    /// Adds w f.
    pub fn add(&mut self, weight: f64, form: &Form<D>) {
        self.add_sized(weight, form, form.parts());
    }

    /// Adds w f of which [`Form::parts`] is known.
    pub fn add_sized(&mut self, weight: f64, form: &Form<D>, parts: f64) {
        if weight == 0.0 {
            return;
        }
        let size = weight.abs();
        self.total.centre += weight * form.centre;
        self.total.slopes.iter_mut().zip(&form.slopes).for_each(|(total, slope)| *total += weight * slope);
        for (total, row) in self.total.bends.iter_mut().zip(&form.bends) {
            total.iter_mut().zip(row).for_each(|(total, bend)| *total += weight * bend);
        }
        self.total.error += size * form.error;
        self.size += size * parts;
        self.terms += 1;
    }

    /// The sum with a number added, and what rounding adds.
    pub fn finish(self, bias: f64, arithmetic: Arithmetic) -> Form<D> {
        let Self { mut total, size, terms } = self;
        total.centre += bias;
        if terms > 0 {
            // Each term has its product and at most as many additions as there are terms; one more for a factor of the map.
            let rounding = arithmetic.gamma(terms + 3) * (size + bias.abs()) + (terms + 1) as f64 * arithmetic.tiny();
            total.error = (total.error + rounding) * UP;
        }
        total
    }
}

/// A form with what its products need.
#[derive(Clone, Copy, Debug)]
pub struct Measured<const D: usize> {
    /// The form.
    pub form: Form<D>,
    /// [`Form::reach`].
    pub reach: f64,
    /// The largest size of the quadratic part.
    pub bulge: f64,
}

impl<const D: usize> From<Form<D>> for Measured<D> {
    fn from(form: Form<D>) -> Self {
        Self { form, reach: form.reach(), bulge: bulge(&form.bends) }
    }
}

impl<const D: usize> Measured<D> {
    /// The largest absolute value; infinite if there is no bound.
    pub fn size(&self) -> f64 {
        let size = (self.form.centre.abs() + self.reach + self.bulge + self.form.error) * UP;
        if size.is_nan() { f64::INFINITY } else { size }
    }

    /// Those of all forms of a row.
    pub fn row(row: &[Form<D>]) -> Vec<Self> {
        row.iter().copied().map(Self::from).collect()
    }
}

/// s Σ_k f_k g_k
pub fn dot<const D: usize>(f: &[Measured<D>], g: &[Measured<D>], scale: f64, arithmetic: Arithmetic) -> Form<D> {
    let mut form = Form::point(0.0);
    let mut size = 0.0;
    for (Measured { form: f, reach: reach_f, bulge: bulge_f }, Measured { form: g, reach: reach_g, bulge: bulge_g }) in
        f.iter().zip(g)
    {
        form.centre += f.centre * g.centre;
        for a in 0..D {
            form.slopes[a] += f.slopes[a] * g.centre + f.centre * g.slopes[a];
            for b in 0..D {
                form.bends[a][b] += f.slopes[a] * g.slopes[b] + f.centre * g.bends[a][b] + f.bends[a][b] * g.centre;
            }
        }
        let (size_f, size_g) = (f.centre.abs() + reach_f + bulge_f, g.centre.abs() + reach_g + bulge_g);
        form.error += reach_f * bulge_g + bulge_f * (reach_g + bulge_g);
        form.error += f.error * (size_g + g.error) + size_f * g.error;
        size += (size_f + f.error) * (size_g + g.error);
    }
    let terms = f.len();
    let rounding = arithmetic.gamma(terms + 6) * size + (terms + 2) as f64 * arithmetic.tiny();
    let mut form = form.scaled(scale);
    form.error = (form.error + scale.abs() * rounding) * UP;
    form
}
