//! Bounds on the derivatives of a target: proved from its formula, given by the user, or measured, and marked as such
//! in every formula.

use std::fmt;

use rand::{Rng, RngExt};

use headway_tasks::{Interval, Order, Probe};

use crate::{
    bound::Basis,
    enclosure::{Bracket, Suprema},
    refusal::Refusal,
    target::Target,
};

/// A bound on a derivative of the target, with its basis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// Its value.
    pub value: f64,
    /// Whether it is proved from the formula, given by the user, or measured by differences.
    pub basis: Basis,
}

impl Constant {
    /// The bound on a supremum: from the formula; from the given constant if that is smaller; measured if neither is
    /// finite.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if the formula or a measurement contradicts the given constant.
    pub(crate) fn of(
        key: &'static str,
        given: Option<f64>,
        known: Bracket,
        measured: f64,
        seen: f64,
    ) -> Result<Self, Refusal> {
        let what = if key == "lipschitz" {
            "is steeper: its slope reaches"
        } else {
            "bends more: its second derivative reaches"
        };
        let least = known.least.max(seen);
        match given {
            // Differences have rounding errors themselves.
            Some(given) if given < least * (1.0 - 1e-5) => {
                Err(Refusal::invalid(key, format!("{given} is refuted, for the function {what} {least:.4e}")))
            }
            Some(given) if given < known.most => Ok(Self { value: given, basis: Basis::Given }),
            _ if known.most.is_finite() => Ok(Self { value: known.most, basis: Basis::Proved }),
            _ => Ok(Self { value: measured, basis: Basis::Measured }),
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.4e} ({})",
            self.value,
            match self.basis {
                Basis::Proved => "from the formula",
                Basis::Given => "as given",
                Basis::Measured => "measured, not proved",
            }
        )
    }
}

/// Bounds that hold for each output number of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothness {
    /// Bound on the length of the gradient.
    pub lipschitz: Constant,
    /// Bound on the second derivative along any line; at a kink, measured differences make it large.
    pub curvature: Constant,
    /// Bound on the absolute value.
    pub largest: f64,
    /// Bound on the distance between two values; infinite if the formula gives none.
    pub range: f64,
}

/// Safety factor on slopes measured on a fine lattice.
pub const SLOPE_SAFETY: f64 = 1.05;
/// Safety factor on second derivatives measured on a fine lattice.
pub const CURVATURE_SAFETY: f64 = 1.25;
/// Safety factor on both if only some points of a large space are examined.
pub const SPARSE_SAFETY: f64 = 1.5;
/// About the number of points of a lattice.
const POINTS: usize = 1 << 15;
/// Number of random points besides the lattice.
const PROBES: usize = 2048;
/// Largest number of axes for which a lattice with that many points is fine.
const FINE_AXES: usize = 2;

/// Largest values and differences found by measurement.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The largest slope along one axis: up to rounding, a lower bound on the true slope.
    least: f64,
    slope: f64,
    bend: f64,
    largest: f64,
    safety: [f64; 2],
}

/// Constants that the user gave; `None` if not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// Bound on the length of the gradient.
    pub lipschitz: Option<f64>,
    /// Bound on the second derivative along any line.
    pub curvature: Option<f64>,
}

/// Whether a value has the expected width and is finite.
fn sound(value: &[f64], width: usize) -> bool {
    value.len() == width && value.iter().all(|value| value.is_finite())
}

impl Smoothness {
    /// Smoothness on [low, high]^d: from the formula if there is one, by measurement if that gives no bound.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a given constant is contradicted.
    pub fn on_cube(target: &Target, d: usize, [low, high]: [f64; 2], given: Given) -> Result<Self, Refusal> {
        let sides = vec![Interval::new(low, high); d];
        let known = target
            .enclosure
            .as_ref()
            .map_or(Suprema::UNKNOWN, |enclosure| Suprema::on_box(enclosure.as_ref(), &sides, Order::Second));
        let function = target.function.as_ref();
        Self::settled(known, given, || Seen::on_cube(&|x| function(x), d, [low, high]))
    }

    /// Smoothness on the circle or the sphere, with derivatives along great circles.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a given constant is contradicted.
    pub fn on_sphere(target: &Target, d: usize, given: Given) -> Result<Self, Refusal> {
        let known =
            target.enclosure.as_ref().map_or(Suprema::UNKNOWN, |enclosure| Suprema::on_sphere(enclosure.as_ref(), d));
        let function = target.function.as_ref();
        Self::settled(known, given, || Seen::on_sphere(&|x| function(x), d))
    }

    /// Infinite second derivatives, which kinks cause, are no reason to measure: bounds on slopes are enough.
    fn settled(known: Suprema, given: Given, look: impl FnOnce() -> Seen) -> Result<Self, Refusal> {
        let seen = (known.slope.most.is_infinite() || known.size.most.is_infinite()).then(look);
        let measured = |of: fn(&Seen) -> f64| seen.as_ref().map_or(f64::INFINITY, of);
        let least = seen.as_ref().map_or(0.0, |seen| seen.least);
        let lipschitz =
            Constant::of("lipschitz", given.lipschitz, known.slope, measured(|s| s.safety[0] * s.slope), least)?;
        // If slopes are proved, measured second derivatives would only weaken the result.
        let bend = if lipschitz.basis == Basis::Measured { measured(|s| s.safety[1] * s.bend) } else { f64::INFINITY };
        let mut curvature = Constant::of("curvature", given.curvature, known.bend, bend, 0.0)?;
        if curvature.value.is_infinite() {
            curvature.basis = Basis::Proved;
        }
        let largest = if known.size.most.is_finite() { known.size.most } else { measured(|seen| seen.largest) };
        Ok(Self { lipschitz, curvature, largest, range: known.range.min(2.0 * known.size.most) })
    }
}

impl Seen {
    /// Smoothness of a function that is not finite everywhere, or whose output width varies: no size has a bound.
    fn nowhere() -> Self {
        Self { least: 0.0, slope: f64::INFINITY, bend: f64::INFINITY, largest: f64::INFINITY, safety: [1.0; 2] }
    }

    /// Measures on [low, high]^d, from differences between neighbours on a lattice of about 2¹⁵ points, and between
    /// points a thousandth of the cube apart around 2048 random points, many of them on faces and edges, because a
    /// lattice with many axes has few points on each. With up to two axes slopes are multiplied by 1.05 and second
    /// differences by 1.25, with more axes both by 1.5. Neighbouring cells of the lattice touch, so no kink can lie
    /// between them.
    fn on_cube(function: &dyn Fn(&[f64]) -> Vec<f64>, d: usize, [low, high]: [f64; 2]) -> Self {
        let per_axis = ((POINTS as f64).powf(1.0 / d as f64) as usize).max(3);
        let step = (high - low) / (per_axis - 1) as f64;
        let strides: Vec<usize> = (0..d).map(|axis| per_axis.pow(axis as u32)).collect();
        let place = |at: usize, axis: usize| at / strides[axis] % per_axis;
        let point = |at: usize| (0..d).map(|axis| low + step * place(at, axis) as f64).collect::<Vec<f64>>();
        let values: Vec<Vec<f64>> = (0..per_axis.pow(d as u32)).map(|at| function(&point(at))).collect();
        let width = values[0].len();
        if !values.iter().all(|value| sound(value, width)) {
            return Self::nowhere();
        }
        let mut seen = Steepest::default();
        for (at, value) in values.iter().enumerate() {
            seen.largest = value.iter().fold(seen.largest, |top, value| top.max(value.abs()));
            // Points that have neighbours on both sides.
            if (0..d).all(|axis| (1..per_axis - 1).contains(&place(at, axis))) {
                let moved = |axis: usize, up: bool, at: usize| if up { at + strides[axis] } else { at - strides[axis] };
                seen.look(d, step, |ways| {
                    Some(values[ways.iter().fold(at, |at, (axis, up)| moved(*axis, *up, at))].as_slice())
                });
            }
        }
        let mut rng = Probe::Smoothness.rng();
        let probe = 1e-3 * (high - low);
        for at in 0..PROBES {
            // Close enough to an end that differences reach it, on some axes or on all.
            let share = if at % 8 == 0 { 1.0 } else { 0.25 };
            let x: Vec<f64> = (0..d).map(|_| ends_or_between(&mut rng, share, [low + probe, high - probe])).collect();
            let looked = seen.look(d, probe, |ways| {
                let mut x = x.clone();
                for (axis, up) in ways {
                    x[*axis] += if *up { probe } else { -probe };
                }
                for x in &mut x {
                    *x = x.clamp(low, high);
                }
                Some(function(&x)).filter(|value| sound(value, width))
            });
            if looked.is_none() {
                return Self::nowhere();
            }
        }
        let safety = if d <= FINE_AXES { [SLOPE_SAFETY, CURVATURE_SAFETY] } else { [SPARSE_SAFETY; 2] };
        // Every point is within half the diagonal of a cell from the lattice.
        let largest = seen.largest + safety[0] * seen.slope * step * (d as f64).sqrt() / 2.0;
        Self { least: seen.axis, slope: seen.slope, bend: seen.bend, largest, safety }
    }

    /// Measures on the circle or the sphere along great circles, from differences between lattice points and their
    /// neighbours one step away, multiplied by 1.05 and 1.25 as on a cube.
    fn on_sphere(function: &dyn Fn(&[f64]) -> Vec<f64>, d: usize) -> Self {
        let step = if d == 2 { std::f64::consts::TAU / POINTS as f64 } else { (12.6 / POINTS as f64).sqrt() };
        let (mut least, mut slope, mut bend, mut largest) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        for x in sphere_lattice(d, step) {
            let here = function(&x);
            let sides = tangents(&x);
            // Along the tangents and, on the sphere, along the diagonals between them.
            let half = std::f64::consts::FRAC_1_SQRT_2;
            let mut ways = sides.clone();
            if let [first, second] = sides.as_slice() {
                for sign in [1.0, -1.0] {
                    ways.push(first.iter().zip(second).map(|(a, b)| half * (a + sign * b)).collect());
                }
            }
            let along = |way: &[f64], sign: f64| {
                let moved = x.iter().zip(way).map(|(x, t)| x * step.cos() + sign * t * step.sin());
                function(&moved.collect::<Vec<f64>>())
            };
            let seen: Vec<(Vec<f64>, Vec<f64>)> = ways.iter().map(|way| (along(way, 1.0), along(way, -1.0))).collect();
            let all = seen.iter().flat_map(|(up, down)| [up, down]).chain([&here]);
            if !all.into_iter().all(|value| sound(value, here.len())) {
                return Self::nowhere();
            }
            for (o, here) in here.iter().enumerate() {
                largest = largest.max(here.abs());
                let first = |(up, down): &(Vec<f64>, Vec<f64>)| (up[o] - here).abs().max((here - down[o]).abs());
                let second = |(up, down): &(Vec<f64>, Vec<f64>)| up[o] - 2.0 * here + down[o];
                let gradient = seen[..sides.len()].iter().map(|pair| first(pair).powi(2)).sum::<f64>().sqrt();
                least = seen.iter().map(first).fold(least, |least, rise| least.max(rise / step));
                let norm = match seen.as_slice() {
                    [one, two, plus, minus] => {
                        let mixed = f64::midpoint(second(plus), -second(minus));
                        let (a, b) = (second(one), second(two));
                        f64::midpoint(a, b).abs() + (((a - b) / 2.0).powi(2) + mixed.powi(2)).sqrt()
                    }
                    others => others.iter().map(|pair| second(pair).abs()).fold(0.0, f64::max),
                };
                slope = slope.max(gradient / step);
                bend = bend.max(norm / step.powi(2));
            }
        }
        let largest = largest + SLOPE_SAFETY * slope * step * std::f64::consts::FRAC_1_SQRT_2;
        Self { least, slope, bend, largest, safety: [SLOPE_SAFETY, CURVATURE_SAFETY] }
    }
}

/// A random number in an interval; with probability `share` it is one of the ends.
fn ends_or_between(rng: &mut impl Rng, share: f64, [low, high]: [f64; 2]) -> f64 {
    match (rng.random::<f64>() < share, rng.random::<f64>()) {
        (false, t) => low + (high - low) * t,
        (true, t) if t < 0.5 => low,
        (true, _) => high,
    }
}

/// The largest values and differences seen so far.
#[derive(Default)]
struct Steepest {
    axis: f64,
    slope: f64,
    bend: f64,
    largest: f64,
}

impl Steepest {
    /// Records the differences around one point, from values one step up or down along no, one or two axes; `None` if
    /// one of these values is.
    fn look<V: AsRef<[f64]>>(&mut self, d: usize, step: f64, at: impl Fn(&[(usize, bool)]) -> Option<V>) -> Option<()> {
        let here = at(&[])?;
        let sides = (0..d).map(|a| Some([at(&[(a, true)])?, at(&[(a, false)])?])).collect::<Option<Vec<[V; 2]>>>()?;
        // Alternating sum of the four corners, for a < b.
        let mut mixed = vec![Vec::new(); d * d];
        for b in 0..d {
            for a in 0..b {
                let [uu, ud] = [at(&[(a, true), (b, true)])?, at(&[(a, true), (b, false)])?];
                let [du, dd] = [at(&[(a, false), (b, true)])?, at(&[(a, false), (b, false)])?];
                let [uu, ud, du, dd] = [uu.as_ref(), ud.as_ref(), du.as_ref(), dd.as_ref()];
                mixed[a * d + b] = (0..uu.len()).map(|o| (uu[o] + dd[o] - ud[o] - du[o]) / 4.0).collect();
            }
        }
        for (o, here) in here.as_ref().iter().enumerate() {
            self.largest = self.largest.max(here.abs());
            let (mut gradient, mut square, mut rows) = (0.0, 0.0, vec![0.0_f64; d]);
            for a in 0..d {
                let [up, down] = [sides[a][0].as_ref()[o], sides[a][1].as_ref()[o]];
                let rise = f64::max((up - here).abs(), (here - down).abs());
                self.axis = self.axis.max(rise / step);
                gradient += rise.powi(2);
                for b in 0..d {
                    let second = if a == b { up - 2.0 * here + down } else { mixed[a.min(b) * d + a.max(b)][o] };
                    square += second.powi(2);
                    rows[a] += second.abs();
                }
            }
            self.slope = self.slope.max(gradient.sqrt() / step);
            // Both are upper bounds on the largest eigenvalue.
            let norm = f64::min(square.sqrt(), rows.iter().copied().fold(0.0, f64::max));
            self.bend = self.bend.max(norm / step.powi(2));
        }
        Some(())
    }
}

/// Points of the circle or the sphere such that every point is within `step` / √2 of one of them: circles of latitude
/// `step` apart, with points `step` apart on each.
pub(crate) fn sphere_lattice(d: usize, step: f64) -> Vec<Vec<f64>> {
    use std::f64::consts::{PI, TAU};
    if d == 2 {
        let count = (TAU / step).ceil();
        let angle = |i: usize| TAU * i as f64 / count;
        return (0..count as usize).map(|i| vec![angle(i).cos(), angle(i).sin()]).collect();
    }
    let rows = (PI / step).ceil();
    let row = |i: usize| {
        let latitude = PI * (i as f64 + 0.5) / rows;
        // The widest circle of the strip around this row.
        let (above, below) = (PI * i as f64 / rows, PI * (i as f64 + 1.0) / rows);
        let widest = if above < PI / 2.0 && below > PI / 2.0 { 1.0 } else { above.sin().max(below.sin()) };
        let count = (TAU * widest / step).ceil().max(1.0);
        (0..count as usize).map(move |j| {
            let longitude = TAU * j as f64 / count;
            vec![latitude.sin() * longitude.cos(), latitude.sin() * longitude.sin(), latitude.cos()]
        })
    };
    (0..rows as usize).flat_map(row).collect()
}

/// Unit vectors orthogonal to x and to each other.
fn tangents(x: &[f64]) -> Vec<Vec<f64>> {
    if let [a, b] = *x {
        return vec![vec![-b, a]];
    }
    let (x, y, z) = (x[0], x[1], x[2]);
    // Start from an axis that x is far from.
    let [a, b, c] = if z.abs() < 0.8 { [-y, x, 0.0] } else { [0.0, -z, y] };
    let length = (a * a + b * b + c * c).sqrt();
    let first = [a / length, b / length, c / length];
    let second = [y * first[2] - z * first[1], z * first[0] - x * first[2], x * first[1] - y * first[0]];
    vec![first.to_vec(), second.to_vec()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn differences_of_known_functions() {
        let f = |x: &[f64]| vec![(3.0 * x[0]).sin(), x[0] * x[1]];
        let found = Seen::on_cube(&f, 2, [-1.0, 1.0]);
        assert!((found.slope - 3.0).abs() < 0.03 && (found.bend - 9.0).abs() < 0.1, "{found:?}");
        assert!(found.largest >= 1.0 && found.largest < 1.1 && found.least <= 3.0, "{found:?}");
        // On the sphere x² has slope sin 2θ and second derivative 2 cos 2θ; z has slope and second derivative 1 at most.
        let f = |x: &[f64]| vec![x[0] * x[0], x[2]];
        let found = Seen::on_sphere(&f, 3);
        assert!((found.bend - 2.0).abs() < 0.02 && found.least <= 1.0 + 1e-9, "{found:?}");
        let found = Seen::on_sphere(&|x: &[f64]| vec![x[0].abs()], 2);
        assert!((found.slope - 1.0).abs() < 0.01 && found.bend > 1000.0, "{found:?}");
    }

    #[test]
    fn what_constants_rest_on() {
        let formula = Target::formulas(&["sin(3*x1)*x2"], [1, 2], [0.0, 1.0]).unwrap();
        let opaque = Target::opaque("the same", |x| vec![(3.0 * x[0]).sin() * x[1]]);
        let of = |target: &Target, lipschitz: Option<f64>| {
            Smoothness::on_cube(target, 2, [0.0, 1.0], Given { lipschitz, curvature: None })
        };
        for (target, given, basis) in [
            (&formula, None, Basis::Proved),
            (&formula, Some(3.0), Basis::Given),
            (&formula, Some(4.0), Basis::Proved),
            (&opaque, None, Basis::Measured),
            (&opaque, Some(3.0), Basis::Given),
        ] {
            let found = of(target, given).unwrap();
            assert!(found.lipschitz.basis == basis && found.lipschitz.value >= 3.0, "{given:?}: {found:?}");
            assert!(found.lipschitz.value < 3.2 && found.curvature.value >= 9.0, "{given:?}: {found:?}");
        }
        for target in [&formula, &opaque] {
            let refusal = of(target, Some(2.9)).unwrap_err().to_string();
            assert!(refusal.starts_with("lipschitz: 2.9 is refuted, for the function is steeper"), "{refusal}");
        }
    }

    #[test]
    fn constants_in_many_dimensions() {
        use std::f64::consts::TAU;
        for d in [3, 6, 8] {
            // Zero at both ends and in the middle of the first axis; steepest at its end.
            for (f, slope, bend) in [
                (Box::new(|x: &[f64]| vec![(TAU * x[0]).sin()]) as Box<dyn Fn(&[f64]) -> Vec<f64>>, TAU, TAU * TAU),
                (Box::new(|x: &[f64]| vec![x[0] * x[0]]), 2.0, 2.0),
                (Box::new(|x: &[f64]| vec![x.iter().sum::<f64>().powi(2) / 2.0]), (d as f64).powf(1.5), d as f64),
            ] {
                let found = Seen::on_cube(&f, d, [0.0, 1.0]);
                let [l, m] = [found.slope, found.bend];
                // The last function is steepest at one corner out of 256.
                assert!((0.8..1.01).contains(&(l / slope)), "{d}: slope {slope}, {found:?}");
                assert!((0.99..1.01).contains(&(m / bend)), "{d}: bend {bend}, {found:?}");
            }
        }
    }

    #[test]
    fn no_point_is_far_from_the_lattice() {
        let (step, far) = (0.11, 0.11 * std::f64::consts::FRAC_1_SQRT_2);
        let lattice = sphere_lattice(3, step);
        for x in sphere_lattice(3, 0.0317) {
            let near = lattice.iter().map(|l| l.iter().zip(&x).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt());
            let nearest = near.fold(f64::INFINITY, f64::min);
            assert!(nearest <= far, "{x:?}: {nearest} from the lattice, beyond {far}");
        }
    }
}
