//! The stochastic l1 algorithm on two time scales.

use nalgebra::{DMatrix, DVector, DVectorView};

use super::agents::Estimator;

/// The state of the algorithm. At step n = 1, 2, … one agent i is active and observes o, and
///
/// ```text
/// y_i <- y_i + beta_n (o - y_i)                       beta_n = n^-0.6
/// x   <- x + alpha_n sign(y_i - a_i . x) a_i          alpha_n = 10 n^-0.95
/// ```
///
/// with all numbers 0 at first. As alpha_n / beta_n -> 0, the averages y_i are settled long before x, which descends
/// sum_i |y_i - a_i . x|. No agent's number is ever shown to x beyond its sign, so a lie moves x no further than a truth.
/// Exponents and factor are our choice.
#[derive(Clone, Debug)]
pub struct Descent {
    /// The estimate of μ. `[d]`
    pub x: DVector<f64>,
    /// The average of each agent's observations. `[n_agents]`
    pub y: DVector<f64>,
    step: u64,
}

impl Descent {
    /// The state before the first step.
    pub fn new(d: usize, n_agents: usize) -> Self {
        Self { x: DVector::zeros(d), y: DVector::zeros(n_agents), step: 0 }
    }

    /// One step: what this agent observes.
    ///
    /// # Shapes
    /// a_i `[d]`
    pub fn observe(&mut self, agent: usize, a: DVectorView<f64>, observed: f64) {
        self.step += 1;
        let n = self.step as f64;
        let (alpha, beta) = (10.0 * libm::pow(n, -0.95), libm::pow(n, -0.6));
        let average = &mut self.y[agent];
        *average += beta * (observed - *average);
        let rest = *average - a.dot(&self.x);
        if rest != 0.0 {
            self.x.axpy(alpha * rest.signum(), &a, 1.0);
        }
    }
}

/// [`Descent`] where agent i reports the same y_i whenever it is active, and agents are active in turn, 10,000 steps in
/// all: an approximation of [`L1`](super::l1::L1).
pub struct TwoTimescale;

const STEPS: usize = 10_000;

impl Estimator for TwoTimescale {
    fn name(&self) -> &'static str {
        "two_timescale_l1"
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        let mut descent = Descent::new(a.nrows(), a.ncols());
        for agent in (0..a.ncols()).cycle().take(STEPS) {
            descent.observe(agent, a.column(agent), y[agent]);
        }
        descent.x
    }
}
