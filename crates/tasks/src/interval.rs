//! Interval arithmetic that is sound in spite of rounding, and the functions of formulas over intervals, with two
//! derivatives.
//!
//! The results of the four operations and of the square root are rounded outward by one unit in the last place, or not
//! at all if they are exact, so that 0 stays 0. The system's library functions are assumed to be right to within
//! `LIBRARY` units.

use std::ops::{Add, Mul, Neg, Sub};

/// All real numbers from `low` to `high`, both of which may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end; not below the lower one.
    pub high: f64,
}

/// A function of one number over an interval: its values, and those of its first and second derivative.
pub type Derivatives = [Interval; 3];

/// Largest error of exp, sin and similar library functions, in units in the last place.
const LIBRARY: f64 = 4.0;

impl Interval {
    /// The interval that contains only 0.
    pub const ZERO: Self = Self { low: 0.0, high: 0.0 };
    /// The interval that contains only 1.
    pub const ONE: Self = Self { low: 1.0, high: 1.0 };
    /// All real numbers.
    pub const ENTIRE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };
    /// The interval of something that may be undefined.
    pub const UNDEFINED: Self = Self { low: f64::NAN, high: f64::NAN };

    /// The interval of a single number.
    pub const fn point(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// The interval from one number to another.
    pub const fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// Whether what it stands for may be undefined.
    pub fn is_undefined(self) -> bool {
        self.low.is_nan() || self.high.is_nan()
    }

    /// Whether it contains a number.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// sup |x|; infinite if it may be undefined.
    pub fn magnitude(self) -> f64 {
        if self.is_undefined() { f64::INFINITY } else { self.low.abs().max(self.high.abs()) }
    }

    /// inf |x|; 0 if it may be undefined.
    pub fn mignitude(self) -> f64 {
        if self.low > 0.0 {
            self.low
        } else if self.high < 0.0 {
            -self.high
        } else {
            0.0
        }
    }

    /// high − low, rounded up; infinite if it may be undefined.
    pub fn width(self) -> f64 {
        if self.is_undefined() { f64::INFINITY } else { (self.high - self.low).next_up() }
    }

    /// The middle of the interval.
    pub fn middle(self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    /// The two halves of the interval.
    pub fn halves(self) -> [Self; 2] {
        let middle = self.middle();
        [Self::new(self.low, middle), Self::new(middle, self.high)]
    }

    /// The smallest interval that contains both.
    pub fn hull(self, other: Self) -> Self {
        if self.is_undefined() || other.is_undefined() {
            return Self::UNDEFINED;
        }
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    /// |x|
    pub fn abs(self) -> Self {
        if self.is_undefined() { self } else { Self::new(self.mignitude(), self.magnitude()) }
    }

    /// x²
    pub fn square(self) -> Self {
        let size = self.abs();
        Self::new((size * size).low.max(0.0), (size * size).high)
    }

    /// 1/x; undefined if the interval contains 0.
    pub fn reciprocal(self) -> Self {
        if self.is_undefined() || self.contains(0.0) {
            return Self::UNDEFINED;
        }
        let ends = [self.high, self.low].map(|end| (1.0 / end, (-(1.0 / end)).mul_add(end, 1.0) * end.signum()));
        // The sign of the remainder shows on which side of the quotient the exact ratio lies.
        let [(low, under), (high, over)] = ends;
        Self::new(
            if under < 0.0 || low.is_infinite() || under.is_nan() { low.next_down() } else { low },
            if over > 0.0 || over.is_nan() { high.next_up() } else { high },
        )
    }

    /// √x; undefined if the interval contains negative numbers.
    pub fn sqrt(self) -> Self {
        if self.is_undefined() || self.low < 0.0 {
            return Self::UNDEFINED;
        }
        let root = |x: f64| (x.sqrt(), x.sqrt().mul_add(-x.sqrt(), x));
        let [(low, under), (high, over)] = [self.low, self.high].map(root);
        Self::new(if under < 0.0 { low.next_down() } else { low }, if over > 0.0 { high.next_up() } else { high })
    }

    /// x^n for an integer n.
    pub fn power(self, n: i32) -> Self {
        match n {
            0 => Self::ONE,
            n if n < 0 => self.power(n.saturating_neg()).reciprocal(),
            n if n % 2 == 0 => rising(self.abs(), |x| x.powi(n)).at_least(0.0),
            n => rising(self, |x| x.powi(n)),
        }
    }

    /// The part of the interval from `low` on.
    fn at_least(self, low: f64) -> Self {
        if self.is_undefined() { self } else { Self::new(self.low.max(low), self.high.max(low)) }
    }

    /// The part of the interval within bounds that are known for a function.
    fn within(self, low: f64, high: f64) -> Self {
        if self.is_undefined() { self } else { Self::new(self.low.clamp(low, high), self.high.clamp(low, high)) }
    }
}

impl Neg for Interval {
    type Output = Self;

    fn neg(self) -> Self {
        Self::new(-self.high, -self.low)
    }
}

impl Add for Interval {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        if self.is_undefined() || other.is_undefined() {
            return Self::UNDEFINED;
        }
        // The rounding error of a sum is a floating-point number, which shows whether and in which direction the sum
        // was rounded.
        let sum = |a: f64, b: f64| {
            let s = a + b;
            let part = s - a;
            (s, (a - (s - part)) + (b - part))
        };
        let ((low, under), (high, over)) = (sum(self.low, other.low), sum(self.high, other.high));
        Self::new(
            if under < 0.0 || (under.is_nan() && low == f64::INFINITY) { low.next_down() } else { low },
            if over > 0.0 || (over.is_nan() && high == f64::NEG_INFINITY) { high.next_up() } else { high },
        )
    }
}

impl Sub for Interval {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Interval {
    type Output = Self;

    /// 0 times any number is 0; infinite ends are limits that are never reached.
    fn mul(self, other: Self) -> Self {
        if self.is_undefined() || other.is_undefined() {
            return Self::UNDEFINED;
        }
        let product = |a: f64, b: f64| {
            if a == 0.0 || b == 0.0 {
                return (0.0, 0.0);
            }
            let p = a * b;
            // If products are so small that the remainder underflows, both ends are moved.
            let left = if p.abs() < 1e-280 || p.is_infinite() { f64::NAN } else { a.mul_add(b, -p) };
            (
                if left < 0.0 || (left.is_nan() && p != f64::NEG_INFINITY) { p.next_down() } else { p },
                if left > 0.0 || (left.is_nan() && p != f64::INFINITY) { p.next_up() } else { p },
            )
        };
        let ends = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        let low = ends.iter().fold(f64::INFINITY, |low, end| low.min(end.0));
        let high = ends.iter().fold(f64::NEG_INFINITY, |high, end| high.max(end.1));
        Self::new(low, high)
    }
}

/// The interval of an increasing library function.
fn rising(x: Interval, function: impl Fn(f64) -> f64) -> Interval {
    around(function(x.low), function(x.high))
}

/// The interval of a decreasing library function.
fn falling(x: Interval, function: impl Fn(f64) -> f64) -> Interval {
    around(function(x.high), function(x.low))
}

/// The interval between two values of library functions, widened by the library's error.
fn around(low: f64, high: f64) -> Interval {
    let unit = |x: f64| LIBRARY * f64::EPSILON * x.abs() + f64::MIN_POSITIVE;
    // If the lower value overflowed, the exact one may still be finite.
    let low = if low == f64::INFINITY { f64::MAX } else { low };
    let high = if high == f64::NEG_INFINITY { f64::MIN } else { high };
    Interval::new(
        if low.is_finite() && low != 0.0 { low - unit(low) } else { low },
        if high.is_finite() && high != 0.0 { high + unit(high) } else { high },
    )
}

const fn constant(value: f64) -> Interval {
    // Usually the exact value is not an f64.
    Interval::new(value.next_down(), value.next_up())
}

/// Whether the interval may contain a number `phase` + k `period` with an integer k.
fn meets(x: Interval, phase: f64, period: f64) -> bool {
    let place = |x: f64| (x - phase) / period;
    let slack = 1e-9 + 1e-15 * place(x.magnitude()).abs();
    !slack.is_finite() || slack > 0.1 || (place(x.high) + slack).floor() >= (place(x.low) - slack).ceil()
}

/// Functions of formulas by name, with their derivatives. At a kink the first derivative covers both one-sided
/// derivatives and all numbers between, and the second is unbounded; at a jump both are unbounded; outside its domain a
/// function is undefined.
#[allow(missing_docs, reason = "each is the function of its name")]
pub mod functions {
    use std::f64::consts::{FRAC_2_SQRT_PI, FRAC_PI_2, LN_2, LN_10, PI, SQRT_2, TAU};

    use super::{Derivatives, Interval, around, constant, falling, meets, rising};

    pub fn abs(x: Interval) -> Derivatives {
        [x.abs(), slope_of_abs(x), second_of_kink(x)]
    }

    /// Slope of |x|: −1 below 0, 1 above.
    fn slope_of_abs(x: Interval) -> Interval {
        match x {
            x if x.is_undefined() => x,
            x if x.low >= 0.0 && x.high > 0.0 => Interval::ONE,
            x if x.high <= 0.0 && x.low < 0.0 => -Interval::ONE,
            _ => Interval::new(-1.0, 1.0),
        }
    }

    /// A kink at an end of the interval counts as well: the slope jumps between this interval and its neighbour.
    fn second_of_kink(x: Interval) -> Interval {
        if x.is_undefined() {
            x
        } else if x.contains(0.0) {
            Interval::ENTIRE
        } else {
            Interval::ZERO
        }
    }

    pub fn negate(x: Interval) -> Derivatives {
        [-x, -Interval::ONE, Interval::ZERO]
    }

    pub fn relu(x: Interval) -> Derivatives {
        let slope = match x {
            x if x.is_undefined() => x,
            x if x.low >= 0.0 && x.high > 0.0 => Interval::ONE,
            x if x.high <= 0.0 && x.low < 0.0 => Interval::ZERO,
            _ => Interval::new(0.0, 1.0),
        };
        [x.at_least(0.0), slope, second_of_kink(x)]
    }

    /// A function that is constant except for jumps.
    fn steps(x: Interval, value: impl Fn(f64) -> f64) -> Derivatives {
        if x.is_undefined() {
            return [x; 3];
        }
        let value = Interval::new(value(x.low), value(x.high));
        let slope = if value.low < value.high { Interval::ENTIRE } else { Interval::ZERO };
        [value, slope, slope]
    }

    pub fn ceil(x: Interval) -> Derivatives {
        steps(x, f64::ceil)
    }

    pub fn floor(x: Interval) -> Derivatives {
        steps(x, f64::floor)
    }

    pub fn signum(x: Interval) -> Derivatives {
        steps(x, |x| if x == 0.0 { 0.0 } else { x.signum() })
    }

    pub fn step(x: Interval) -> Derivatives {
        steps(x, |x| f64::from(x >= 0.0))
    }

    pub fn exp(x: Interval) -> Derivatives {
        if x.is_undefined() {
            return [x; 3];
        }
        [rising(x, f64::exp).at_least(0.0); 3]
    }

    fn logarithm(x: Interval, function: fn(f64) -> f64, per_unit: Interval) -> Derivatives {
        if x.is_undefined() || x.low <= 0.0 {
            return [Interval::UNDEFINED; 3];
        }
        let slope = x.reciprocal() * per_unit;
        [rising(x, function), slope, -(slope * x.reciprocal())]
    }

    pub fn ln(x: Interval) -> Derivatives {
        logarithm(x, f64::ln, Interval::ONE)
    }

    pub fn log2(x: Interval) -> Derivatives {
        logarithm(x, f64::log2, constant(LN_2).reciprocal())
    }

    pub fn log10(x: Interval) -> Derivatives {
        logarithm(x, f64::log10, constant(LN_10).reciprocal())
    }

    pub fn sqrt(x: Interval) -> Derivatives {
        let root = x.sqrt();
        if root.is_undefined() {
            return [root; 3];
        }
        if x.low <= 0.0 {
            // The slope is infinite at 0.
            let least = if root.high > 0.0 {
                (Interval::point(0.5) * Interval::point(root.high).reciprocal()).low
            } else {
                0.0
            };
            return [root, Interval::new(least, f64::INFINITY), Interval::new(f64::NEG_INFINITY, 0.0)];
        }
        let slope = Interval::point(0.5) * root.reciprocal();
        [root, slope, -(slope * Interval::point(0.5) * x.reciprocal())]
    }

    pub fn sin(x: Interval) -> Derivatives {
        let (sine, cosine) = (sine(x), sine_of(x, f64::cos, 0.0));
        [sine, cosine, -sine]
    }

    pub fn cos(x: Interval) -> Derivatives {
        let (sine, cosine) = (sine(x), sine_of(x, f64::cos, 0.0));
        [cosine, -sine, -cosine]
    }

    fn sine(x: Interval) -> Interval {
        sine_of(x, f64::sin, FRAC_PI_2)
    }

    /// A sine that has a maximum at `peak`.
    fn sine_of(x: Interval, function: fn(f64) -> f64, peak: f64) -> Interval {
        if x.is_undefined() || x.magnitude().is_infinite() {
            return if x.is_undefined() { x } else { Interval::UNDEFINED };
        }
        let (one, other) = (function(x.low), function(x.high));
        let seen = around(one.min(other), one.max(other));
        Interval::new(
            if meets(x, peak + PI, TAU) { -1.0 } else { seen.low.max(-1.0) },
            if meets(x, peak, TAU) { 1.0 } else { seen.high.min(1.0) },
        )
    }

    pub fn tan(x: Interval) -> Derivatives {
        if x.is_undefined() || x.magnitude().is_infinite() || meets(x, FRAC_PI_2, PI) {
            return [Interval::UNDEFINED; 3];
        }
        let value = rising(x, f64::tan);
        let slope = Interval::ONE + value.square();
        [value, slope, Interval::point(2.0) * value * slope]
    }

    pub fn sinh(x: Interval) -> Derivatives {
        let (sine, cosine) = (rising(x, f64::sinh), even(x, f64::cosh).at_least(1.0));
        [sine, cosine, sine]
    }

    pub fn cosh(x: Interval) -> Derivatives {
        let [sine, cosine, _] = sinh(x);
        [cosine, sine, cosine]
    }

    /// A function that increases with |x|.
    fn even(x: Interval, function: fn(f64) -> f64) -> Interval {
        rising(x.abs(), function)
    }

    pub fn tanh(x: Interval) -> Derivatives {
        let value = rising(x, f64::tanh).within(-1.0, 1.0);
        let slope = (Interval::ONE - value.square()).within(0.0, 1.0);
        [value, slope, Interval::point(-2.0) * value * slope]
    }

    pub fn sigmoid(x: Interval) -> Derivatives {
        let value = rising(x, |x| 1.0 / (1.0 + (-x).exp())).within(0.0, 1.0);
        let slope = (value * (Interval::ONE - value)).within(0.0, 0.25);
        [value, slope, slope * (Interval::ONE - Interval::point(2.0) * value)]
    }

    pub fn silu(x: Interval) -> Derivatives {
        let [s, first, second] = sigmoid(x);
        // Its minimum is −0.27846…
        let value = (x * s).at_least(-0.278_47);
        [value, s + x * first, Interval::point(2.0) * first + x * second]
    }

    pub fn erf(x: Interval) -> Derivatives {
        let slope = constant(FRAC_2_SQRT_PI) * bell(x.square());
        [rising(x, libm::erf).within(-1.0, 1.0), slope, Interval::point(-2.0) * x * slope]
    }

    /// e^{−s}
    fn bell(s: Interval) -> Interval {
        if s.is_undefined() { s } else { exp(-s)[0].at_least(0.0) }
    }

    pub fn gelu(x: Interval) -> Derivatives {
        let half = Interval::point(0.5);
        let law = rising(x, |x| 0.5 * libm::erfc(-x / SQRT_2)).within(0.0, 1.0);
        let density = constant(TAU.sqrt().recip()) * bell(half * x.square());
        // Its minimum is −0.16997…
        let value = (x * law).at_least(-0.169_98);
        [value, law + x * density, density * (Interval::point(2.0) - x.square())]
    }

    pub fn asin(x: Interval) -> Derivatives {
        arc(x, rising(x, f64::asin), 1.0)
    }

    pub fn acos(x: Interval) -> Derivatives {
        arc(x, falling(x, f64::acos), -1.0)
    }

    /// ±1/√(1 − x²), whose derivative is x/(1 − x²) times itself.
    fn arc(x: Interval, value: Interval, sign: f64) -> Derivatives {
        if x.is_undefined() || x.low < -1.0 || x.high > 1.0 {
            return [Interval::UNDEFINED; 3];
        }
        let left = Interval::ONE - x.square();
        if left.low <= 0.0 {
            return [value, Interval::new(1.0, f64::INFINITY) * Interval::point(sign), Interval::ENTIRE];
        }
        let slope = left.sqrt().reciprocal() * Interval::point(sign);
        [value, slope, slope * x * left.reciprocal()]
    }

    pub fn atan(x: Interval) -> Derivatives {
        if x.is_undefined() {
            return [x; 3];
        }
        let slope = bounded_reciprocal(Interval::ONE + x.square());
        [rising(x, f64::atan), slope, Interval::point(-2.0) * x * slope.square()]
    }

    /// 1/x for x ≥ 1, including infinity.
    fn bounded_reciprocal(x: Interval) -> Interval {
        let upper = Interval::point(x.low).reciprocal();
        let lower = if x.high.is_infinite() { 0.0 } else { Interval::point(x.high).reciprocal().low };
        Interval::new(lower, upper.high)
    }

    pub fn square(x: Interval) -> Derivatives {
        power(x, 2)
    }

    pub fn reciprocal(x: Interval) -> Derivatives {
        let value = x.reciprocal();
        let square = value.square();
        [value, -square, Interval::point(2.0) * square * value]
    }

    /// x^n for an integer n.
    pub fn power(x: Interval, n: i32) -> Derivatives {
        let times = |n: i32| Interval::point(f64::from(n));
        match n {
            0 => [if x.is_undefined() { x } else { Interval::ONE }, Interval::ZERO, Interval::ZERO],
            1 => [x, Interval::ONE, Interval::ZERO],
            n => [x.power(n), times(n) * x.power(n - 1), times(n) * times(n - 1) * x.power(n - 2)],
        }
    }

    /// x^b for a number b that is not an integer; defined from 0 on.
    pub fn real_power(x: Interval, b: f64) -> Derivatives {
        if x.is_undefined() || x.low < 0.0 || (x.low <= 0.0 && b < 0.0) {
            return [Interval::UNDEFINED; 3];
        }
        let of = |exponent: f64| {
            if exponent >= 0.0 {
                rising(x, |x| x.powf(exponent)).at_least(0.0)
            } else {
                falling(x, |x| x.powf(exponent)).at_least(0.0)
            }
        };
        let (first, second) = (Interval::point(b), Interval::point(b) * (Interval::point(b) - Interval::ONE));
        [of(b), first * of(b - 1.0), second * of(b - 2.0)]
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is exact is equal to the last bit")]
mod tests {
    use super::*;

    #[test]
    fn what_is_exact_stays_so_and_what_is_not_is_held() {
        let (a, b) = (Interval::point(0.1), Interval::point(0.2));
        assert_eq!(Interval::point(0.5) + Interval::point(0.25), Interval::point(0.75));
        assert_eq!(Interval::point(3.0) * Interval::new(-2.0, 0.5), Interval::new(-6.0, 1.5));
        assert_eq!(Interval::ZERO * Interval::ENTIRE, Interval::ZERO);
        assert_eq!(Interval::new(0.0, 1.0).sqrt(), Interval::new(0.0, 1.0));
        assert_eq!(Interval::point(4.0).reciprocal(), Interval::point(0.25));
        assert_eq!(Interval::new(-2.0, 1.0).square(), Interval::new(0.0, 4.0));
        // The exact sum of 0.1 and 0.2 lies strictly between two f64 numbers, and so does the product.
        for inexact in [a + b, a * b, Interval::point(3.0).reciprocal(), Interval::point(2.0).sqrt()] {
            assert!(inexact.low < inexact.high && inexact.low.next_up() == inexact.high, "{inexact:?}");
        }
        assert!((Interval::ZERO * Interval::UNDEFINED).is_undefined());
        assert!(Interval::new(-1.0, 1.0).reciprocal().is_undefined());
        assert!(Interval::new(-1e-300, 1.0).sqrt().is_undefined());
    }

    /// Over pieces of all sizes, at zero and far from it, functions and their differences lie within the enclosures.
    #[test]
    fn functions_and_their_derivatives_are_held() {
        for (operation, ends) in crate::expression::FUNCTIONS.iter().map(|operation| {
            let ends = match operation.name {
                "acos" | "asin" => [-1.0, 1.0],
                "ln" | "log10" | "log2" => [1e-3, 5.0],
                "sqrt" => [0.0, 5.0],
                "tan" => [-1.5, 1.5],
                _ => [-5.0, 5.0],
            };
            (operation, ends)
        }) {
            for pieces in [1, 3, 7, 64, 1000] {
                let step = (ends[1] - ends[0]) / f64::from(pieces);
                for piece in 0..pieces {
                    let low = ends[0] + step * f64::from(piece);
                    let x = Interval::new(low, (low + step).min(ends[1]));
                    let [value, first, second] = (operation.enclose)(x);
                    let name = operation.name;
                    for t in [0.0, 0.13, 0.5, 0.77, 1.0] {
                        let at = (x.low + t * (x.high - x.low)).clamp(x.low, x.high);
                        let here = (operation.value)(at);
                        assert!(value.contains(here), "{name} at {at}: {here} outside {value:?} over {x:?}");
                    }
                    // Differences within a piece lie within its derivatives, up to their own rounding.
                    let quarter = (x.high - x.low) / 4.0;
                    let [a, b, c] = [1.0, 2.0, 3.0].map(|i| (operation.value)(x.low + i * quarter));
                    let slope = (c - a) / (2.0 * quarter);
                    let slack = 1e-13 / quarter;
                    assert!(
                        slope >= first.low - slack && slope <= first.high + slack,
                        "{name} over {x:?}: slope {slope} outside {first:?}"
                    );
                    let bend = (a - 2.0 * b + c) / (quarter * quarter);
                    let slack = 1e-14 * 4.0 * value.magnitude().max(1.0) / (quarter * quarter);
                    assert!(
                        bend >= second.low - slack && bend <= second.high + slack,
                        "{name} over {x:?}: bend {bend} outside {second:?}"
                    );
                    // The enclosures are not too wide: small pieces have narrow ones, away from kinks, jumps and steep
                    // ends.
                    let smooth = first.magnitude() < 1e3 && second.magnitude() < 1e3;
                    assert!(
                        !(pieces == 1000 && smooth) || (first.width() < 12.0 * step * (1.0 + second.magnitude())),
                        "{name} over {x:?}: {first:?} says nothing"
                    );
                }
            }
        }
    }
}
