//! Distributions that numbers are drawn from, by name in a config file.

use std::f64::consts::PI;

use headway_keys::Described;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::seed::SampleRng;

/// Distribution of one number; the entries of a vector are independent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// U(low, high).
    Uniform {
        /// Lower end, inclusive.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// N(mean, std^2).
    Normal {
        /// Mean. Default 0.
        #[serde(default = "default_mean")]
        mean: f64,
        /// Standard deviation. Default 1.
        #[serde(default = "default_std")]
        std: f64,
    },
}

fn default_mean() -> f64 {
    0.0
}

fn default_std() -> f64 {
    1.0
}

impl Distribution {
    /// N(0, 1).
    pub const STANDARD_NORMAL: Self = Self::Normal { mean: 0.0, std: 1.0 };

    /// One number, drawn in double precision and rounded to single precision, as a model sees it.
    pub fn sample(&self, rng: &mut SampleRng) -> f32 {
        let drawn = match *self {
            Self::Uniform { low, high } => low + (high - low) * rng.random::<f64>(),
            Self::Normal { mean, std } => mean + std * rng.sample::<f64, _>(StandardNormal),
        };
        drawn as f32
    }

    /// `len` independent numbers.
    pub fn vector(&self, len: usize, rng: &mut SampleRng) -> Vec<f32> {
        (0..len).map(|_| self.sample(rng)).collect()
    }

    /// E[x^order], exactly.
    pub fn moment(&self, order: i32) -> f64 {
        match *self {
            Self::Uniform { low, high } => {
                (high.powi(order + 1) - low.powi(order + 1)) / (f64::from(order + 1) * (high - low))
            }
            // By parts: m_n = mean m_(n-1) + (n-1) std^2 m_(n-2), with m_0 = 1.
            Self::Normal { mean, std } => {
                let next = |(before, last), n| (last, mean * last + f64::from(n) * std.powi(2) * before);
                (0..order).fold((0.0, 1.0), next).1
            }
        }
    }

    /// E[exp(-t x^2)] for t >= 0, exactly.
    pub fn laplace_of_square(&self, t: f64) -> f64 {
        match *self {
            Self::Uniform { low, high } => {
                let root = t.sqrt();
                let (low, high) = (root * low, root * high);
                // Where the exponent hardly moves, the difference below would lose its digits.
                if low.abs().max(high.abs()) < 1e-4 {
                    return 1.0 - t * self.moment(2);
                }
                PI.sqrt() / 2.0 * (libm::erf(high) - libm::erf(low)) / (high - low)
            }
            Self::Normal { mean, std } => {
                let spread = 2.0f64.mul_add(t * std.powi(2), 1.0);
                (-t * mean.powi(2) / spread).exp() / spread.sqrt()
            }
        }
    }

    /// What is wrong with the parameters, and what would be right; `None` if nothing is.
    pub fn validate(&self) -> Option<String> {
        match *self {
            Self::Uniform { low, high } if !is_finite_f32(low) || !is_finite_f32(high) => {
                Some(format!("uniform needs finite single-precision ends, not low = {low}, high = {high}"))
            }
            // A model sees the ends in single precision.
            Self::Uniform { low, high } if low as f32 >= high as f32 => {
                let rounded = if low < high { " in single precision" } else { "" };
                Some(format!("uniform.low = {low} must be below uniform.high = {high}{rounded}"))
            }
            Self::Normal { mean, std } if !is_finite_f32(mean) || !is_finite_f32(std) => {
                Some(format!("normal needs finite single-precision parameters, not mean = {mean}, std = {std}"))
            }
            Self::Normal { std, .. } if std <= 0.0 => {
                Some(format!("normal.std = {std} must be above 0, or every number is the same"))
            }
            Self::Normal { mean, std } if (mean - std) as f32 >= (mean + std) as f32 => {
                Some(format!("normal.std = {std} is lost beside normal.mean = {mean} in single precision"))
            }
            Self::Uniform { low, high } if low.abs().max(high.abs()) > LARGEST => {
                Some(format!("uniform reaches beyond {LARGEST:e}, where squares overflow single precision"))
            }
            Self::Normal { mean, std } if mean.abs() + 6.0 * std > LARGEST => {
                Some(format!("normal reaches beyond {LARGEST:e}, where squares overflow single precision"))
            }
            Self::Uniform { .. } | Self::Normal { .. } => None,
        }
    }
}

/// Largest absolute value of parameters: attention computes products of two such numbers.
const LARGEST: f64 = 1e18;

/// Whether a number is still finite once rounded to single precision.
fn is_finite_f32(value: f64) -> bool {
    (value as f32).is_finite()
}
