//! What liars report, and how much the worst of them can do.

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, seq::index};
use serde::{Deserialize, Serialize};

use crate::{distribution::Distribution, seed::SampleRng, subsets::subsets};

/// What liars report in the place of a_i · μ; noise is added as to the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Attack {
    /// The agents that can do most harm together report a_i · p with p at this distance from μ, in the direction in which
    /// they weigh most: see [`worst`].
    WorstCase {
        /// |p - μ|. Default 5.
        #[serde(default = "default_distance")]
        distance: f64,
    },
    /// Agents drawn by chance report a_i · p with p at this distance from μ in a direction drawn by chance.
    Collusion {
        /// |p - μ|. Default 5.
        #[serde(default = "default_distance")]
        distance: f64,
    },
    /// Agents drawn by chance all report this number.
    Constant {
        /// The number. Default 5.
        #[serde(default = "default_distance")]
        value: f64,
    },
}

fn default_distance() -> f64 {
    5.0
}

impl Default for Attack {
    fn default() -> Self {
        Self::WorstCase { distance: default_distance() }
    }
}

/// The agents that can do most harm together.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// The largest sum_S |a_i · x| / sum_notS |a_i · x| over all x and all sets S of m agents; infinite if the agents
    /// outside of a set do not span the space.
    pub ratio: f64,
    /// The x at which it is reached, of length 1. `[d]`
    pub direction: DVector<f64>,
    /// The set S at which it is reached, in ascending order.
    pub liars: Vec<usize>,
}

/// A share of the whole that counts as none: what rounding leaves of a sum of zeros.
const NOTHING: f64 = 1e-12;

/// The worst ratio of m liars, exactly.
///
/// Given x, the worst S holds the m largest |a_i · x|. Given S and the signs of all a_i · x, the ratio is one
/// linear form over another, so that it is largest at an edge of the cone of those signs; and an edge is a direction
/// orthogonal to d - 1 of the a_i. So all sets of d - 1 agents are gone through.
///
/// # Shapes
/// a `[d, n_agents]`
///
/// # Panics
/// If there are fewer than m agents, or no dimensions.
pub fn worst(a: &DMatrix<f64>, m: usize) -> Worst {
    let (d, n) = a.shape();
    assert!(m <= n && d > 0, "{m} of {n} agents in {d} dimensions");
    let mut worst = Worst { ratio: 0.0, direction: DVector::zeros(d), liars: Vec::new() };
    if m == 0 {
        if a.clone().rank(NOTHING * a.norm()) < d {
            let all: Vec<usize> = (0..n).collect();
            return Worst { ratio: f64::INFINITY, direction: orthogonal(a, &all), ..worst };
        }
        worst.direction[0] = 1.0;
        return worst;
    }
    for others in subsets(n, d - 1) {
        let direction = orthogonal(a, &others);
        let mut weights: Vec<(f64, usize)> =
            a.column_iter().map(|column| column.dot(&direction).abs()).zip(0..).collect();
        // Of equal weights the first agents come first.
        weights.sort_unstable_by(|(u, i), (v, j)| v.total_cmp(u).then(i.cmp(j)));
        let sum = |weights: &[(f64, usize)]| weights.iter().map(|(weight, _)| weight).sum::<f64>();
        let (inside, outside) = (sum(&weights[..m]), sum(&weights[m..]));
        let ratio = if outside > NOTHING * inside { inside / outside } else { f64::INFINITY };
        if ratio > worst.ratio {
            let mut liars: Vec<usize> = weights[..m].iter().map(|(_, agent)| *agent).collect();
            liars.sort_unstable();
            worst = Worst { ratio, direction, liars };
        }
    }
    worst
}

/// A direction of length 1 that is orthogonal to some columns, which do not span the space.
fn orthogonal(a: &DMatrix<f64>, columns: &[usize]) -> DVector<f64> {
    let d = a.nrows();
    let mut basis: Vec<DVector<f64>> = Vec::with_capacity(d);
    // Twice, because the first time leaves rounding errors of vectors that nearly lie in the span of the basis.
    let rest = |mut vector: DVector<f64>, basis: &[DVector<f64>]| {
        for direction in basis.iter().chain(basis) {
            vector.axpy(-direction.dot(&vector), direction, 1.0);
        }
        vector
    };
    for &column in columns {
        let rest = rest(a.column(column).into_owned(), &basis);
        if rest.norm() > NOTHING * a.column(column).norm() {
            basis.push(rest.normalize());
        }
    }
    // The axis that the span holds least of.
    let held = |axis: usize| basis.iter().map(|direction| direction[axis].powi(2)).sum::<f64>();
    let axis = (0..d).min_by(|&i, &j| held(i).total_cmp(&held(j))).unwrap_or(0);
    let unit = DVector::from_fn(d, |at, _| if at == axis { 1.0 } else { 0.0 });
    rest(unit, &basis).normalize()
}

/// What the liars of one example report.
#[derive(Clone, Debug, PartialEq)]
pub enum Lie {
    /// a_i · p for this p. `[d]`
    Point(DVector<f64>),
    /// This number.
    Value(f64),
}

/// What every agent reports without noise: a_i · μ, or the lie.
///
/// # Shapes
/// a `[d, n_agents]`, mu `[d]` -> `[n_agents]`
pub fn reports(a: &DMatrix<f64>, mu: &DVector<f64>, liars: &[usize], lie: &Lie) -> DVector<f64> {
    let mut reports = a.tr_mul(mu);
    for &agent in liars {
        reports[agent] = match lie {
            Lie::Point(point) => a.column(agent).dot(point),
            Lie::Value(value) => *value,
        };
    }
    reports
}

impl Attack {
    /// Size of the lie, and the key under which it stands.
    pub(super) fn size(&self) -> (&'static str, f64) {
        match *self {
            Self::WorstCase { distance } => ("attack.worst_case.distance", distance),
            Self::Collusion { distance } => ("attack.collusion.distance", distance),
            Self::Constant { value } => ("attack.constant.value", value),
        }
    }

    /// Who lies, and what they report.
    ///
    /// # Shapes
    /// a `[d, n_agents]`, mu `[d]`
    pub fn draw(&self, a: &DMatrix<f64>, mu: &DVector<f64>, m: usize, rng: &mut SampleRng) -> (Vec<usize>, Lie) {
        let by_chance = |rng: &mut SampleRng| index::sample(rng, a.ncols(), m).into_vec();
        match *self {
            Self::WorstCase { distance } => {
                let Worst { direction, liars, .. } = worst(a, m);
                // Both ways along the direction are as bad.
                let way = if rng.random() { distance } else { -distance };
                (liars, Lie::Point(mu + direction * way))
            }
            Self::Collusion { distance } => {
                let liars = by_chance(rng);
                let direction = directions(a.nrows(), 1, rng).column(0).map(f64::from);
                (liars, Lie::Point(mu + direction * distance))
            }
            Self::Constant { value } => (by_chance(rng), Lie::Value(value)),
        }
    }
}

/// Directions uniform on the sphere, one per column. `[d, n]`
pub fn directions(d: usize, n: usize, rng: &mut SampleRng) -> DMatrix<f32> {
    let mut drawn = DMatrix::from_vec(d, n, Distribution::STANDARD_NORMAL.vector(d * n, rng));
    for mut column in drawn.column_iter_mut() {
        let length = column.map(f64::from).norm();
        column.apply(|value| *value = (f64::from(*value) / length) as f32);
    }
    drawn
}
