//! Learning-rate schedules: pure functions of the step, so no state has to be saved.

use std::f64::consts::PI;

use headway_keys::Described;
use serde::{Deserialize, Serialize};

/// How the learning rate changes: rate(step) = base · warmup · decay, with a linear warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate at all steps.
    Constant {
        /// Steps of linear warm-up from zero. Default 0.
        #[serde(default)]
        warmup_steps: u64,
    },
    /// Falls linearly from the base rate to `final_fraction` of it at the last step.
    Linear {
        /// Steps of linear warm-up from zero. Default 0.
        #[serde(default)]
        warmup_steps: u64,
        /// Share of the base rate at the last step. Default 0.
        #[serde(default)]
        final_fraction: f64,
    },
    /// Falls along half a cosine from the base rate to `final_fraction` of it at the last step.
    Cosine {
        /// Steps of linear warm-up from zero. Default 0.
        #[serde(default)]
        warmup_steps: u64,
        /// Share of the base rate at the last step. Default 0.
        #[serde(default)]
        final_fraction: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant { warmup_steps: 0 }
    }
}

impl Schedule {
    /// Number of steps of linear warm-up.
    pub fn warmup_steps(&self) -> u64 {
        match *self {
            Self::Constant { warmup_steps } | Self::Linear { warmup_steps, .. } | Self::Cosine { warmup_steps, .. } => {
                warmup_steps
            }
        }
    }

    /// Factor on the base rate for the update that completes `step` (counted from 1) of `steps`.
    ///
    /// Warm-up: step / warmup_steps. Then, with t ∈ [0, 1] from the end of warm-up to the last step and f the final fraction:
    /// 1 (constant), 1 − (1 − f) t (linear), f + (1 − f)(1 + cos πt)/2 (cosine).
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup_steps();
        if step <= warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Linear { final_fraction, .. } => 1.0 - (1.0 - final_fraction) * progress,
            Self::Cosine { final_fraction, .. } => {
                final_fraction + (1.0 - final_fraction) * (1.0 + (PI * progress).cos()) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &Schedule, at: &[u64]) -> Vec<f64> {
        at.iter().map(|&step| schedule.factor(step, 110)).collect()
    }

    #[test]
    fn each_shape_at_its_corners() {
        let at = [1, 5, 10, 60, 110];
        assert_eq!(factors(&Schedule::Constant { warmup_steps: 10 }, &at), [0.1, 0.5, 1.0, 1.0, 1.0]);
        let linear = Schedule::Linear { warmup_steps: 10, final_fraction: 0.2 };
        for (got, want) in factors(&linear, &at).iter().zip([0.1, 0.5, 1.0, 0.6, 0.2]) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        let cosine = Schedule::Cosine { warmup_steps: 10, final_fraction: 0.2 };
        for (got, want) in
            factors(&cosine, &[10, 35, 60, 110]).iter().zip([1.0, 0.2 + 0.8 * 0.853_553_390_593, 0.6, 0.2])
        {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
    }

    #[test]
    fn no_warmup_starts_at_the_base_rate() {
        assert!((Schedule::default().factor(1, 10) - 1.0).abs() < 1e-12);
    }
}
