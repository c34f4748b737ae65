//! The least sum of absolute deviations, exactly.

use nalgebra::{DMatrix, DVector};

use super::{agents::Estimator, least_squares::LeastSquares};
use crate::linear_program::LinearProgram;

/// The x with the least sum_i |y_i - a_i · x|.
///
/// Its dual is the linear program: the largest y · λ with sum_i λ_i a_i = 0 and |λ_i| <= 1, whose multipliers are x. The
/// x of the interior-point method is then moved to the corner beside it, where d agents are met exactly. It withstands m
/// liars, whatever they report, if and only if sum_S |a_i · x| < sum_notS |a_i · x| for every x and every set S of
/// m agents; see [`worst`](crate::robust_mean::attack::worst).
pub struct L1;

/// The minimiser with a proof of how good it is.
#[derive(Clone, Debug)]
pub struct L1Fit {
    /// x. `[d]`
    pub x: DVector<f64>,
    /// sum_i |y_i - a_i · x|
    pub deviation: f64,
    /// No x has a sum of deviations below `deviation - gap`: `deviation - gap` is y · λ for a λ with
    /// sum_i λ_i a_i = 0 and |λ_i| <= 1.
    pub gap: f64,
}

/// An a_i whose distance from the span of others is a smaller share of its length counts as one of them.
const SPANNED: f64 = 1e-8;

impl L1 {
    /// The minimiser with its proof.
    ///
    /// # Shapes
    /// a `[d, n_agents]`, an agent per column; y `[n_agents]`
    pub fn fit(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> L1Fit {
        let (d, agents) = a.shape();
        let scale = y.amax();
        if scale == 0.0 {
            return L1Fit { x: DVector::zeros(d), deviation: 0.0, gap: 0.0 };
        }
        let scaled = y / scale;
        let (one, mut most) = (DMatrix::identity(agents, agents), DMatrix::zeros(2 * agents, agents));
        most.rows_mut(0, agents).copy_from(&one);
        most.rows_mut(agents, agents).copy_from(&-one);
        let program = LinearProgram {
            cost: -&scaled,
            equal: (a.clone(), DVector::zeros(d)),
            at_most: (most, DVector::repeat(2 * agents, 1.0)),
        };
        // The program always has a solution; should it not be found, least squares is a start whose gap says so.
        let (mut x, mut weights) = match program.solve() {
            Ok(optimum) => (optimum.equal, vec![optimum.x]),
            Err(_) => (LeastSquares.estimate(a, &scaled), Vec::new()),
        };
        let deviation = |x: &DVector<f64>| (&scaled - a.tr_mul(x)).lp_norm(1);
        if let Some((corner, signs)) = corner(a, &scaled, &x)
            && deviation(&corner) <= deviation(&x) * (1.0 + f64::EPSILON)
        {
            x = corner;
            weights.push(signs);
        }
        let least = deviation(&x);
        let proved = weights.into_iter().map(|weights| scaled.dot(&allowed(a, weights))).fold(0.0, f64::max);
        L1Fit { deviation: scale * least, gap: scale * (least - proved).max(0.0), x: x * scale }
    }
}

/// The corner nearest to x, which meets exactly the d agents of smallest deviation that span the space, and the weights
/// λ that prove it to be optimal if all are at most 1. `None` if the a_i do not span the space.
fn corner(a: &DMatrix<f64>, y: &DVector<f64>, x: &DVector<f64>) -> Option<(DVector<f64>, DVector<f64>)> {
    let (d, agents) = a.shape();
    let deviations = y - a.tr_mul(x);
    let mut order: Vec<usize> = (0..agents).collect();
    order.sort_by(|&one, &other| deviations[one].abs().total_cmp(&deviations[other].abs()));
    let (mut met, mut basis) = (Vec::new(), Vec::<DVector<f64>>::new());
    for agent in order {
        let mut rest = a.column(agent).into_owned();
        for direction in &basis {
            rest -= direction * direction.dot(&rest);
        }
        if met.len() < d && rest.norm() > SPANNED * a.column(agent).norm() {
            basis.push(rest.normalize());
            met.push(agent);
        }
    }
    if met.len() < d {
        return None;
    }
    let square = a.select_columns(&met); // [d, d]
    let corner = square.transpose().lu().solve(&y.select_rows(&met))?;
    let mut weights = (y - a.tr_mul(&corner)).map(f64::signum);
    for &agent in &met {
        weights[agent] = 0.0;
    }
    let rest = square.lu().solve(&-(a * &weights))?;
    met.iter().zip(&rest).for_each(|(&agent, &weight)| weights[agent] = weight);
    Some((corner, weights))
}

/// Weights near these with sum_i λ_i a_i = 0 and |λ_i| <= 1.
fn allowed(a: &DMatrix<f64>, weights: DVector<f64>) -> DVector<f64> {
    let q = a.transpose().qr().q(); // [n_agents, d], an orthonormal basis of what must be 0
    let inside = &weights - &q * q.tr_mul(&weights);
    let largest = inside.amax().max(1.0);
    inside / largest
}

impl Estimator for L1 {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        self.fit(a, y).x
    }
}
