//! A formula over a box: intervals that contain all its values, all its slopes and all its second derivatives there.
//!
//! Computed by forward differentiation with [intervals](crate::interval). At kinks the slopes cover both one-sided
//! slopes and all numbers between, so that the mean value theorem holds; second derivatives are then unbounded. Besides
//! the box of slopes there is a bound on the length of the gradient, which maxima do not increase: the box around (1,
//! 0) and (0, 1) has a corner of length √2, but no gradient of max(x₁, x₂) is longer than 1.

use crate::interval::{Derivatives, Interval, functions};

/// How many derivatives are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The gradient.
    First,
    /// The gradient and all second derivatives.
    Second,
}

/// Values, slopes and second derivatives over a box of n numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Jet {
    /// f, the value.
    pub value: Interval,
    /// ∂f/∂x_i. `[n]`
    pub gradient: Vec<Interval>,
    /// Upper bound on |∇f|₂.
    pub steepest: f64,
    /// ∂²f/∂x_i∂x_j for j ≤ i, row by row; empty if they were not requested. `[n (n + 1) / 2]`
    pub second: Vec<Interval>,
    /// Whether a requested second derivative of the formula or of any of its parts is unbounded, even if the formula does not
    /// depend on that part here.
    pub is_broken: bool,
}

impl Jet {
    /// The jet of a constant.
    pub fn constant(value: Interval, n: usize, order: Order) -> Self {
        let second = if order == Order::Second { vec![Interval::ZERO; n * (n + 1) / 2] } else { Vec::new() };
        Self { value, gradient: vec![Interval::ZERO; n], steepest: 0.0, second, is_broken: false }
    }

    /// The jet of variable number `at` of the box.
    pub fn variable(value: Interval, at: usize, n: usize, order: Order) -> Self {
        let mut jet = Self::constant(value, n, order);
        jet.gradient[at] = Interval::ONE;
        jet.steepest = 1.0;
        jet
    }

    /// The jets of all variables of a box. `[n]`
    pub fn variables(sides: &[Interval], order: Order) -> Vec<Self> {
        (0..sides.len()).map(|at| Self::variable(sides[at], at, sides.len(), order)).collect()
    }

    /// How many derivatives it contains.
    pub fn order(&self) -> Order {
        if self.second.is_empty() { Order::First } else { Order::Second }
    }

    /// Its value if it is a single number everywhere, else `None`.
    fn as_number(&self) -> Option<f64> {
        let fixed = self.gradient.iter().all(|slope| *slope == Interval::ZERO)
            && self.value.low.to_bits() == self.value.high.to_bits();
        fixed.then_some(self.value.low)
    }

    /// Sets the bound on |∇f|₂ to the smaller of the one computed so far and that of the box of slopes.
    fn settled(mut self) -> Self {
        let squares = self.gradient.iter().fold(Interval::ZERO, |sum, slope| {
            let size = slope.magnitude();
            sum + Interval::point(size) * Interval::point(size)
        });
        let boxed = if squares.high.is_nan() { f64::INFINITY } else { squares.high.sqrt().next_up() };
        self.steepest = if self.steepest.is_nan() { boxed } else { self.steepest.min(boxed) };
        self.is_broken |= !self.second.iter().all(|second| second.magnitude().is_finite());
        self
    }

    /// Lower bound on |∇f|₂ at every point of the box.
    pub fn flattest(&self) -> f64 {
        let squares: f64 = self.gradient.iter().map(|slope| slope.mignitude().powi(2)).sum();
        squares.sqrt() * (1.0 - 1e-14)
    }

    /// Upper bound on |second derivative along any line|: the largest spectral norm of a matrix in the box of second
    /// derivatives. It is bounded by that of the middle matrix (by the Frobenius norm of its 32nd power) plus the
    /// Frobenius norm of the deviations, or by the largest row sum if that is smaller.
    pub fn bend(&self) -> f64 {
        let n = self.gradient.len();
        let at = |i: usize, j: usize| self.second[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
        let row = |i: usize| (0..n).map(|j| at(i, j).magnitude()).sum::<f64>();
        let rows = (0..n).map(row).fold(0.0, f64::max);
        if !rows.is_finite() || rows == 0.0 {
            return rows;
        }
        let frobenius = |matrix: &[f64]| matrix.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
        let entries = || (0..n * n).map(|k| at(k / n, k % n));
        let away: Vec<f64> = entries().map(|entry| entry.width() / 2.0).collect();
        let middle: Vec<f64> = entries().map(Interval::middle).collect();
        let size = frobenius(&middle);
        let mut power: Vec<f64> = middle.iter().map(|entry| if size > 0.0 { entry / size } else { 0.0 }).collect();
        for _ in 0..5 {
            let product = |k: usize| (0..n).map(|i| power[k / n * n + i] * power[i * n + k % n]).sum::<f64>();
            power = (0..n * n).map(product).collect();
        }
        // The rounding errors of the powers are far below the margin added.
        let spectral = size * frobenius(&power).powf(1.0 / 32.0) + frobenius(&away);
        rows.min(spectral) * (1.0 + 1e-12)
    }

    /// Lower bound, at every point of the box, on the largest |second derivative along a line|.
    pub fn least_bend(&self) -> f64 {
        let n = self.gradient.len();
        // A diagonal entry is the second derivative along an axis, and the spectral norm is at least as large as any
        // entry.
        (0..n * (n + 1) / 2).map(|at| self.second[at].mignitude()).fold(0.0, f64::max) * (1.0 - 1e-14)
    }

    /// g(f), for a g with these values and derivatives over the values of f.
    pub fn then(self, [value, first, second]: Derivatives) -> Self {
        let (n, is_broken) = (self.gradient.len(), self.is_broken);
        let mut hessian = self.second;
        if !hessian.is_empty() {
            for i in 0..n {
                for j in 0..=i {
                    let at = i * (i + 1) / 2 + j;
                    hessian[at] = first * hessian[at] + second * self.gradient[i] * self.gradient[j];
                }
            }
        }
        let gradient = self.gradient.into_iter().map(|slope| first * slope).collect();
        let steepest = if self.steepest == 0.0 && !first.is_undefined() {
            0.0
        } else {
            (first.magnitude() * self.steepest).next_up()
        };
        Self { value, gradient, steepest, second: hessian, is_broken }.settled()
    }

    /// cos f
    pub fn cos(self) -> Self {
        let by = functions::cos(self.value);
        self.then(by)
    }

    /// sin f
    pub fn sin(self) -> Self {
        let by = functions::sin(self.value);
        self.then(by)
    }

    fn with(self, other: &Self, value: Interval, steepest: f64, of: impl Fn(Interval, Interval) -> Interval) -> Self {
        let pair =
            |own: Vec<Interval>, other: &[Interval]| own.into_iter().zip(other).map(|(a, b)| of(a, *b)).collect();
        let (gradient, second) = (pair(self.gradient, &other.gradient), pair(self.second, &other.second));
        Self { value, gradient, steepest, second, is_broken: self.is_broken || other.is_broken }.settled()
    }

    /// f + g
    pub fn plus(self, other: &Self) -> Self {
        let (value, steepest) = (self.value + other.value, (self.steepest + other.steepest).next_up());
        self.with(other, value, steepest, |a, b| a + b)
    }

    /// f − g
    pub fn minus(self, other: &Self) -> Self {
        let (value, steepest) = (self.value - other.value, (self.steepest + other.steepest).next_up());
        self.with(other, value, steepest, |a, b| a - b)
    }

    /// f g
    pub fn times(self, other: &Self) -> Self {
        let n = self.gradient.len();
        let (a, b) = (self.value, other.value);
        let mut second = self.second;
        if !second.is_empty() {
            for i in 0..n {
                for j in 0..=i {
                    let at = i * (i + 1) / 2 + j;
                    second[at] = second[at] * b
                        + a * other.second[at]
                        + self.gradient[i] * other.gradient[j]
                        + self.gradient[j] * other.gradient[i];
                }
            }
        }
        let gradient = self.gradient.iter().zip(&other.gradient).map(|(p, q)| *p * b + a * *q).collect();
        let weighed = |size: f64, steep: f64| if steep == 0.0 { 0.0 } else { size * steep };
        let steepest = weighed(a.magnitude(), other.steepest) + weighed(b.magnitude(), self.steepest);
        let is_broken = self.is_broken || other.is_broken;
        Self { value: a * b, gradient, steepest: steepest * (1.0 + 1e-15), second, is_broken }.settled()
    }

    /// f / g
    pub fn over(self, other: Self) -> Self {
        let by = functions::reciprocal(other.value);
        self.times(&other.then(by))
    }

    /// f^g
    pub fn power(self, other: Self) -> Self {
        match other.as_number() {
            Some(b) if b.fract() == 0.0 && b.abs() <= 1024.0 => {
                let by = functions::power(self.value, b as i32);
                self.then(by)
            }
            Some(b) => {
                let by = functions::real_power(self.value, b);
                self.then(by)
            }
            None => {
                let by = functions::ln(self.value);
                let exponent = self.then(by).times(&other);
                let by = functions::exp(exponent.value);
                exponent.then(by)
            }
        }
    }

    /// max(f, g)
    pub fn greatest(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        if a.is_undefined() || b.is_undefined() {
            return self.undefined();
        }
        let is_broken = self.is_broken || other.is_broken;
        // If the two meet only at an end, there is a kink between this box and its neighbour; two constants meet
        // without one.
        let apart = a.low > b.high || b.low > a.high || (self.as_number().is_some() && other.as_number().is_some());
        if a.low >= b.high || b.low >= a.high {
            let jet = if a.low >= b.high { self } else { other };
            return if apart { Self { is_broken, ..jet } } else { jet.kinked() };
        }
        let steepest = self.steepest.max(other.steepest);
        self.with(&other, Interval::new(a.low.max(b.low), a.high.max(b.high)), steepest, Interval::hull).kinked()
    }

    /// The jet with unbounded second derivatives.
    fn kinked(mut self) -> Self {
        self.second.fill(Interval::ENTIRE);
        self.is_broken |= !self.second.is_empty();
        self
    }

    /// min(f, g)
    pub fn least(self, other: Self) -> Self {
        self.negative().greatest(other.negative()).negative()
    }

    fn negative(self) -> Self {
        let by = functions::negate(self.value);
        self.then(by)
    }

    /// The angle of the point (g, f).
    pub fn angle(self, other: Self) -> Self {
        let (y, x) = (self.value, other.value);
        if y.is_undefined() || x.is_undefined() {
            return self.undefined();
        }
        let (n, is_broken) = (self.gradient.len(), self.is_broken || other.is_broken);
        let turn = Interval::new(-std::f64::consts::PI.next_up(), std::f64::consts::PI.next_up());
        if x.low <= 0.0 && y.low <= 0.0 && y.high >= 0.0 {
            // The angle jumps along the negative axis.
            let anything = vec![Interval::ENTIRE; n];
            let second = vec![Interval::ENTIRE; self.second.len()];
            let jet = Self { value: turn, gradient: anything, steepest: f64::INFINITY, second, is_broken };
            return jet.kinked();
        }
        let corners = [(y.low, x.low), (y.low, x.high), (y.high, x.low), (y.high, x.high)].map(|(y, x)| y.atan2(x));
        let (low, high) = corners.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), a| (l.min(*a), h.max(*a)));
        let value = Interval::new(low - 1e-15 * (1.0 + low.abs()), high + 1e-15 * (1.0 + high.abs()));
        // d angle = (x dy − y dx) / (x² + y²); second derivatives by the quotient rule, term by term.
        let part = (x.square() + y.square()).reciprocal();
        let square = part.square();
        let two = Interval::point(2.0);
        let (by_y, by_x) = (x * part, -(y * part));
        let (yy, xy) = (-(two * x * y * square), (y.square() - x.square()) * square);
        let mut second = self.second.clone();
        for i in 0..if second.is_empty() { 0 } else { n } {
            for j in 0..=i {
                let at = i * (i + 1) / 2 + j;
                let (yi, yj, xi, xj) = (self.gradient[i], self.gradient[j], other.gradient[i], other.gradient[j]);
                second[at] = by_y * self.second[at]
                    + by_x * other.second[at]
                    + yy * yi * yj
                    + xy * (yi * xj + yj * xi)
                    + -(yy * xi * xj);
            }
        }
        let gradient: Vec<Interval> =
            self.gradient.iter().zip(&other.gradient).map(|(dy, dx)| by_y * *dy + by_x * *dx).collect();
        Self { value, gradient, steepest: f64::INFINITY, second, is_broken }.settled()
    }

    fn undefined(self) -> Self {
        let nothing = |of: &[Interval]| vec![Interval::UNDEFINED; of.len()];
        Self {
            value: Interval::UNDEFINED,
            gradient: nothing(&self.gradient),
            steepest: f64::INFINITY,
            second: nothing(&self.second),
            is_broken: !self.second.is_empty(),
        }
    }
}
