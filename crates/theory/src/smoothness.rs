//! How smooth a function is: constants that are given, or else measured, and marked as such in every formula.

use std::fmt;

use rand::{Rng, RngExt};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::bound::Basis;

/// A bound on a derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// Its value.
    pub value: f64,
    /// Given, or read off differences.
    pub basis: Basis,
}

impl Constant {
    fn of(given: Option<f64>, measured: f64) -> Self {
        given.map_or(Self { value: measured, basis: Basis::Measured }, |value| Self { value, basis: Basis::Given })
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.4e} ({})",
            self.value,
            if self.basis == Basis::Measured { "measured, not proved" } else { "given" }
        )
    }
}

/// Bounds for each output number of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothness {
    /// Length of the gradient at most.
    pub lipschitz: Constant,
    /// Second derivative along any line at most; where a function has a kink, differences make this large.
    pub curvature: Constant,
    /// Absolute value at most.
    pub largest: f64,
}

/// What slopes are multiplied by that a fine lattice shows.
pub const SLOPE_SAFETY: f64 = 1.05;
/// What second derivatives are multiplied by that a fine lattice shows.
pub const CURVATURE_SAFETY: f64 = 1.25;
/// What both are multiplied by where only some points of a wide space are looked at.
pub const SPARSE_SAFETY: f64 = 1.5;
/// Points of a lattice, about.
const POINTS: usize = 1 << 15;
/// Random points beside it.
const PROBES: usize = 2048;
/// Axes of which a lattice of so many points is fine.
const FINE_AXES: usize = 2;

/// The constants that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// Length of the gradient at most.
    pub lipschitz: Option<f64>,
    /// Second derivative along any line at most.
    pub curvature: Option<f64>,
}

/// Whether a value has this width, and is finite.
fn sound(value: &[f64], width: usize) -> bool {
    value.len() == width && value.iter().all(|value| value.is_finite())
}

impl Smoothness {
    /// Of a function that is not finite everywhere, or not always of the same width: no size has a bound.
    fn nowhere() -> Self {
        let endless = Constant { value: f64::INFINITY, basis: Basis::Measured };
        Self { lipschitz: endless, curvature: endless, largest: f64::INFINITY }
    }

    /// On [low, high]^d, from differences between the neighbours of a lattice of about 2¹⁵ points, and between points a thousandth of
    /// the cube apart around 2048 random ones, many of them on faces and edges: a lattice of many axes has few points on each. Up to two axes
    /// slopes count 1.05 times and second differences 1.25 times, from three on both 1.5 times. Neighbours of a lattice touch, so no kink
    /// falls between them.
    pub fn on_cube(function: &dyn Fn(&[f64]) -> Vec<f64>, d: usize, [low, high]: [f64; 2], given: Given) -> Self {
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
            // Those that have neighbours on both sides.
            if (0..d).all(|axis| (1..per_axis - 1).contains(&place(at, axis))) {
                let moved = |axis: usize, up: bool, at: usize| if up { at + strides[axis] } else { at - strides[axis] };
                seen.look(d, step, |ways| {
                    Some(values[ways.iter().fold(at, |at, (axis, up)| moved(*axis, *up, at))].as_slice())
                });
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0x51_0be5);
        let probe = 1e-3 * (high - low);
        for at in 0..PROBES {
            // So near to an end that differences reach it, on some axes or on all.
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
        let lipschitz = Constant::of(given.lipschitz, safety[0] * seen.slope);
        let curvature = Constant::of(given.curvature, safety[1] * seen.bend);
        // No point is farther from the lattice than half a diagonal of its cells.
        Self { lipschitz, curvature, largest: seen.largest + lipschitz.value * step * (d as f64).sqrt() / 2.0 }
    }

    /// On the circle or the sphere, derivatives being taken along great circles: differences between points of a lattice and their
    /// neighbours one step away, times 1.05 and 1.25 as on a cube.
    pub fn on_sphere(function: &dyn Fn(&[f64]) -> Vec<f64>, d: usize, given: Given) -> Self {
        let step = if d == 2 { std::f64::consts::TAU / POINTS as f64 } else { (12.6 / POINTS as f64).sqrt() };
        let (mut slope, mut bend, mut largest) = (0.0_f64, 0.0_f64, 0.0_f64);
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
        let lipschitz = Constant::of(given.lipschitz, SLOPE_SAFETY * slope);
        let curvature = Constant::of(given.curvature, CURVATURE_SAFETY * bend);
        Self { lipschitz, curvature, largest: largest + lipschitz.value * step * std::f64::consts::FRAC_1_SQRT_2 }
    }
}

/// A number on an interval: one of its ends as often as `share` says.
fn ends_or_between(rng: &mut impl Rng, share: f64, [low, high]: [f64; 2]) -> f64 {
    match (rng.random::<f64>() < share, rng.random::<f64>()) {
        (false, t) => low + (high - low) * t,
        (true, t) if t < 0.5 => low,
        (true, _) => high,
    }
}

/// The largest differences so far.
#[derive(Default)]
struct Steepest {
    slope: f64,
    bend: f64,
    largest: f64,
}

impl Steepest {
    /// Differences around one point, from values one step up or down along none, one or two axes; nothing where such a value is nothing.
    fn look<V: AsRef<[f64]>>(&mut self, d: usize, step: f64, at: impl Fn(&[(usize, bool)]) -> Option<V>) -> Option<()> {
        let here = at(&[])?;
        let sides = (0..d).map(|a| Some([at(&[(a, true)])?, at(&[(a, false)])?])).collect::<Option<Vec<[V; 2]>>>()?;
        // Σ ± of the four corners, for a < b.
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
                gradient += f64::max((up - here).abs(), (here - down).abs()).powi(2);
                for b in 0..d {
                    let second = if a == b { up - 2.0 * here + down } else { mixed[a.min(b) * d + a.max(b)][o] };
                    square += second.powi(2);
                    rows[a] += second.abs();
                }
            }
            self.slope = self.slope.max(gradient.sqrt() / step);
            // Both are at least the largest eigenvalue.
            let norm = f64::min(square.sqrt(), rows.iter().copied().fold(0.0, f64::max));
            self.bend = self.bend.max(norm / step.powi(2));
        }
        Some(())
    }
}

/// Points of the circle or the sphere, no point of which is farther from them than `step` / √2: rows of latitude `step` apart, and
/// points `step` apart on them.
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

/// Unit vectors at right angles to x and to each other.
fn tangents(x: &[f64]) -> Vec<Vec<f64>> {
    if let [a, b] = *x {
        return vec![vec![-b, a]];
    }
    let (x, y, z) = (x[0], x[1], x[2]);
    // Away from the axis that x is nearest to.
    let [a, b, c] = if z.abs() < 0.8 { [-y, x, 0.0] } else { [0.0, -z, y] };
    let length = (a * a + b * b + c * c).sqrt();
    let first = [a / length, b / length, c / length];
    let second = [y * first[2] - z * first[1], z * first[0] - x * first[2], x * first[1] - y * first[0]];
    vec![first.to_vec(), second.to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_known_functions() {
        let f = |x: &[f64]| vec![(3.0 * x[0]).sin(), x[0] * x[1]];
        let found = Smoothness::on_cube(&f, 2, [-1.0, 1.0], Given::default());
        assert!((found.lipschitz.value / SLOPE_SAFETY - 3.0).abs() < 0.03, "{found:?}");
        assert!((found.curvature.value / CURVATURE_SAFETY - 9.0).abs() < 0.1, "{found:?}");
        assert!(found.largest >= 1.0 && found.largest < 1.1 && found.lipschitz.basis == Basis::Measured);
        // On the sphere x² has slope sin 2θ and second derivative 2 cos 2θ; z has slope and second derivative 1 at most.
        let f = |x: &[f64]| vec![x[0] * x[0], x[2]];
        let found = Smoothness::on_sphere(&f, 3, Given { lipschitz: Some(1.0), curvature: None });
        assert!((found.curvature.value / CURVATURE_SAFETY - 2.0).abs() < 0.02, "{found:?}");
        assert!(found.lipschitz.basis == Basis::Given && found.lipschitz.value.to_bits() == 1.0_f64.to_bits());
        let found = Smoothness::on_sphere(&|x: &[f64]| vec![x[0].abs()], 2, Given::default());
        assert!(
            (found.lipschitz.value / SLOPE_SAFETY - 1.0).abs() < 0.01 && found.curvature.value > 1000.0,
            "{found:?}"
        );
    }

    #[test]
    fn constants_in_many_dimensions() {
        use std::f64::consts::TAU;
        for d in [3, 6, 8] {
            // Zero at both ends and in the middle of the first axis; steepest at the end of it.
            for (f, slope, bend) in [
                (Box::new(|x: &[f64]| vec![(TAU * x[0]).sin()]) as Box<dyn Fn(&[f64]) -> Vec<f64>>, TAU, TAU * TAU),
                (Box::new(|x: &[f64]| vec![x[0] * x[0]]), 2.0, 2.0),
                (Box::new(|x: &[f64]| vec![x.iter().sum::<f64>().powi(2) / 2.0]), (d as f64).powf(1.5), d as f64),
            ] {
                let found = Smoothness::on_cube(&f, d, [0.0, 1.0], Given::default());
                let [l, m] = [found.lipschitz.value, found.curvature.value].map(|value| value / SPARSE_SAFETY);
                // The corner at which the last is steepest is one of 256.
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
