//! Distribution shifts: evaluation prompts that differ from training prompts.

use std::ops::Range;

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{distribution::Distribution, error::TaskError, prompt::Size, seed::SampleRng};

/// How evaluation prompts differ from training prompts.
///
/// Some shifts treat the query differently from the examples before it, its context. Then one point of each prompt,
/// drawn uniformly, is the query and the only one scored; the points after it have the distribution of the context, and
/// a causal model cannot see them. An evaluation set thus covers every number of examples, with about 1 / n_points of
/// its prompts each. Under the other shifts all points are scored, as without a shift.
///
/// # References
/// Garg et al. 2022, arXiv 2208.01066. There the directions of half_subspace and skewed are drawn once, here for every
/// prompt; there noisy answers are divided by their standard deviation over a batch, here by its exact value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shift {
    /// The context lies in one random orthant, s_j |x_j| with random signs s; the query is unrestricted.
    RandomQuadrant,
    /// The query is made orthogonal to every x of its context, with its norm kept. It has at most d - 1 examples before
    /// it.
    OrthogonalQuery,
    /// The query is the x of a random earlier example; it has at least one example before it.
    RepeatedQuery,
    /// x is projected onto a random subspace of floor(d / 2) dimensions, then scaled so that E|x|^2 stays the same.
    HalfSubspace,
    /// x is multiplied by 1/j along the j-th of d random orthogonal directions, then scaled so that E|x|^2 stays the
    /// same.
    Skewed,
    /// x is multiplied by this factor before f is applied.
    ScaleX(f64),
    /// y is multiplied by this factor.
    ScaleY(f64),
    /// Noise of this standard deviation, in units of y, is added to y, which is then scaled so that E[y^2] stays the
    /// same. Predictions are scored against the noisy y.
    NoisyY(f64),
}

/// The shifts for evaluating a model: name, one-line summary, and value.
pub const SHIFTS: &[(&str, &str, Shift)] = &[
    ("random_quadrant", "the context lies in one random orthant, the query is free", Shift::RandomQuadrant),
    ("orthogonal_query", "the query is orthogonal to its context", Shift::OrthogonalQuery),
    ("repeated_query", "the query is the x of an earlier example", Shift::RepeatedQuery),
    ("half_subspace", "x lies in a random subspace of half the dimensions", Shift::HalfSubspace),
    ("skewed", "x shrinks by 1/j along random direction j", Shift::Skewed),
    ("scale_x=1/3", "x is a third as long", Shift::ScaleX(1.0 / 3.0)),
    ("scale_x=1/2", "x is half as long", Shift::ScaleX(0.5)),
    ("scale_x=2", "x is twice as long", Shift::ScaleX(2.0)),
    ("scale_x=3", "x is three times as long", Shift::ScaleX(3.0)),
    ("scale_y=1/3", "y is a third as large", Shift::ScaleY(1.0 / 3.0)),
    ("scale_y=1/2", "y is half as large", Shift::ScaleY(0.5)),
    ("scale_y=2", "y is twice as large", Shift::ScaleY(2.0)),
    ("scale_y=3", "y is three times as large", Shift::ScaleY(3.0)),
    ("noisy_y=1", "y carries noise of standard deviation 1", Shift::NoisyY(1.0)),
];

/// Largest factor on x or y.
const LARGEST_FACTOR: f64 = 1e8;

/// Largest number of dimensions of a rotation.
const MOST_ROTATED: usize = 1 << 10;

impl Shift {
    /// Range of the points that can be the query; `None` if all points are treated alike.
    pub fn queries(&self, Size { d, n_points }: Size) -> Option<Range<usize>> {
        match self {
            Self::RandomQuadrant => Some(0..n_points),
            // d examples span the whole space, and nothing is orthogonal to them.
            Self::OrthogonalQuery => Some(0..n_points.min(d)),
            Self::RepeatedQuery => Some(1..n_points),
            Self::HalfSubspace | Self::Skewed | Self::ScaleX(_) | Self::ScaleY(_) | Self::NoisyY(_) => None,
        }
    }

    /// Shifts the points of a prompt, and returns the query if there is only one.
    ///
    /// # Shapes
    /// x `[d, n_points]`
    pub(crate) fn move_x(&self, x: &mut DMatrix<f32>, rng: &mut SampleRng) -> Option<usize> {
        let (d, n_points) = x.shape();
        let query = self.queries(Size { d, n_points }).map(|points| rng.random_range(points));
        match (self, query) {
            (Self::RandomQuadrant, Some(query)) => {
                let kept = x.column(query).into_owned();
                for mut coordinate in x.row_iter_mut() {
                    let sign = if rng.random() { 1.0 } else { -1.0 };
                    coordinate.apply(|value| *value = sign * value.abs());
                }
                x.set_column(query, &kept);
            }
            (Self::OrthogonalQuery, Some(query)) => {
                let context = x.columns(0, query).map(f64::from);
                let free = x.column(query).map(f64::from);
                let q = context.qr().q(); // [d, query], an orthonormal basis of the context
                // Projected twice, because the first time leaves rounding errors if the query nearly lies in the span
                // of the context.
                let once = &free - &q * q.tr_mul(&free);
                let rest = &once - &q * q.tr_mul(&once);
                x.set_column(query, &(&rest * (free.norm() / rest.norm())).map(|value| value as f32));
            }
            (Self::RepeatedQuery, Some(query)) => {
                let earlier = x.column(rng.random_range(0..query)).into_owned();
                x.set_column(query, &earlier);
            }
            (Self::HalfSubspace, _) => stretch(x, |axis| if axis < d / 2 { 1.0 } else { 0.0 }, rng),
            (Self::Skewed, _) => stretch(x, |axis| 1.0 / (axis as f64 + 1.0), rng),
            (Self::ScaleX(factor), _) => *x *= *factor as f32,
            _ => {}
        }
        query
    }

    /// Shifts the answers of a prompt, given their mean square.
    ///
    /// # Shapes
    /// y `[n_points]`
    pub(crate) fn move_y(&self, y: &mut DVector<f32>, mean_square: f64, rng: &mut SampleRng) {
        match self {
            Self::ScaleY(factor) => *y *= *factor as f32,
            Self::NoisyY(std) => {
                let noise = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(y.len(), rng));
                *y += noise * *std as f32;
                *y *= (mean_square / (mean_square + std.powi(2))).sqrt() as f32;
            }
            _ => {}
        }
    }

    /// What is wrong for prompts of this size, with the key to change; `None` if nothing is.
    pub(crate) fn problem(&self, Size { d, n_points }: Size) -> Option<TaskError> {
        let few = |what: &str| TaskError::Key { key: "shift", problem: format!("needs {what} = 2 or more") };
        match *self {
            Self::OrthogonalQuery | Self::HalfSubspace if d < 2 => Some(few("d")),
            Self::RepeatedQuery if n_points < 2 => Some(few("n_points")),
            // A random rotation is drawn for every prompt.
            Self::HalfSubspace | Self::Skewed if d > MOST_ROTATED => {
                let problem = format!("turns d = {d} dimensions; give {MOST_ROTATED} or fewer");
                Some(TaskError::Key { key: "shift", problem })
            }
            Self::ScaleX(size) | Self::ScaleY(size) | Self::NoisyY(size) if !(size.is_finite() && size > 0.0) => {
                Some(TaskError::Key { key: "shift", problem: format!("{size} must be finite and above 0") })
            }
            Self::ScaleX(size) | Self::ScaleY(size) | Self::NoisyY(size) if size > LARGEST_FACTOR => {
                let problem = format!("{size:e} is beyond {LARGEST_FACTOR:e}, where squares overflow single precision");
                Some(TaskError::Key { key: "shift", problem })
            }
            _ => None,
        }
    }
}

/// x -> c U diag(e) U^T x with a uniformly random rotation U, and c^2 = d / sum_j e_j^2, so that E|x|^2 stays the same
/// if coordinates are independent and identically distributed.
fn stretch(x: &mut DMatrix<f32>, factor: impl Fn(usize) -> f64, rng: &mut SampleRng) {
    let d = x.nrows();
    let factors = DVector::from_fn(d, |axis, _| factor(axis));
    // The Q of a Gaussian matrix is uniform up to the signs of its columns, which cancel here.
    let rotation = DMatrix::from_vec(d, d, Distribution::STANDARD_NORMAL.vector(d * d, rng)).map(f64::from).qr().q();
    let keep = (d as f64).sqrt() / factors.norm();
    let map = &rotation * DMatrix::from_diagonal(&(factors * keep)) * rotation.transpose(); // [d, d]
    *x = (map * x.map(f64::from)).map(|value| value as f32);
}
