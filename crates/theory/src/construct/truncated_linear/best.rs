//! Values of a clamp's anchors by linear program ([`crate::minimax`]): the constant falls from 0.0622 to 0.0461.
//!
//! With V_k = L_k the error is the ripple between anchors and the rounding of the two kinks, and c = 2.725 balances them. Other values
//! of the four anchors next to a kink sharpen it, so that a smaller c pays, whose ripple is smaller. The bound is a proof over boxes.

use std::time::Duration;

use super::{MOST_INTERVALS, TruncatedLinear};
use crate::{
    bound::Bound,
    construct::{Construction, Cost, Request, choose},
    interpolation::{Mode, profile},
    minimax::{Best, best_first_values, best_values},
    refusal::{Limit, Refusal},
};

/// The c at which the best values have the smallest error.
const SHARPNESS: f64 = 2.36;
/// Anchors next to a kink whose values are not their places.
const NEAR: usize = 4;
/// From so many intervals on, the kinks at both ends know nothing of each other.
const APART: usize = 12;
/// Points per interval at which values are best.
const PER_CELL: usize = 48;
/// Longest time for the proof of one size.
const PROOF_TIME: Duration = Duration::from_mins(1);

/// Values in units of anchors, 0 … p, and the error below which no others are.
fn values(c: f64, intervals: usize) -> Option<Best> {
    let places = |count: usize| (0..=count).map(|k| k as f64).collect::<Vec<f64>>();
    let points = |low: f64, high: f64, top: f64| -> Vec<(f64, f64)> {
        let count = (high - low) as usize * PER_CELL;
        (0..=count).map(|at| low + at as f64 / PER_CELL as f64).map(|u| (u, u.clamp(0.0, top))).collect()
    };
    if intervals < APART {
        let top = intervals as f64;
        return best_values(c, &points(-5.0, top + 5.0, top), &places(intervals), 2.0 * top);
    }
    let Best { values, least } = best_first_values(c, &points(-5.0, 12.0, f64::INFINITY), &places(20), 40.0, NEAR)?;
    let mut all = places(intervals);
    for k in 0..NEAR {
        all[k] = values[k];
        all[intervals - k] = intervals as f64 - values[k];
    }
    Some(Best { values: all, least })
}

impl TruncatedLinear {
    /// The head with the best values, of the given size or of the smallest that is proved to meet the tolerance.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build_best(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let c = if self.mode == Mode::Minimax { SHARPNESS } else { self.mode.sharpness() };
        let refused = || {
            Refusal::invalid(
                "values",
                "by linear program cannot be had here: it is too badly conditioned; give --values function",
            )
        };
        let shape = profile(c, MOST_INTERVALS, 1);
        let constant = values(c, APART).ok_or_else(refused)?.least;
        // What a size is likely to reach, which its proof decides.
        let cost = |intervals: &usize| {
            let about = Bound::default().and("about", "", constant * self.anchors(*intervals).spacing());
            let likely = self.clamp.no_more_than_range(about);
            Cost::of(&likely, &self.rounding_at(*intervals, c, shape), self.parameters_of_width(*intervals, 5.0))
        };
        let hint = "; truncated-linear-heads splits the range and reaches further";
        // A given size reaches what it reaches.
        let first = match self.intervals {
            Some(intervals) => intervals,
            None => choose(request, self.candidates(), cost, hint)?,
        };
        let mut best = f64::INFINITY;
        let sizes = first..=if self.intervals.is_some() { first } else { first + first / 8 + 4 };
        for intervals in sizes.step_by(1 + first / 64) {
            let Best { values, least } = values(c, intervals).ok_or_else(refused)?;
            let reason = format!(
                "c = beta Delta^2 = {c}, with values by linear program: at this c no values of the anchors next to the ends have an error \
                 below {least:.4} Delta"
            );
            let anchors = self.anchors(intervals);
            let values: Vec<f64> = values.iter().map(|v| anchors.low + anchors.spacing() * v).collect();
            let network = self.network(intervals, c, Some(&values));
            let arrays = network.arrays();
            let empty = Bound::default().and("range", "not yet proved", f64::MAX / 4.0);
            let built =
                self.construction(intervals, network, self.temperature(intervals, c, &reason), (empty.clone(), empty));
            let proof = built.prove(&arrays, PROOF_TIME, |_| {})?;
            let built = built.proved(&proof);
            let error = built.bound.value + built.rounding.value;
            if error <= request.tolerance {
                return built.in_float32("low", "input");
            }
            best = best.min(error);
        }
        Err(Refusal::Unreachable {
            wanted: request.tolerance,
            reachable: best,
            with_more: best,
            allowed: request.max_parameters,
            why: if self.intervals.is_some() { Limit::Given } else { Limit::Rounding },
            hint: hint.to_owned(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// With many anchors as with few, no error is above the constant, between anchors, at kinks and beyond the ends.
    #[test]
    fn the_constant_holds_at_every_size() {
        for intervals in [3, 5, 11, 12, 13, 40] {
            let Best { values, .. } = values(SHARPNESS, intervals).unwrap();
            let top = intervals as f64;
            let head = |u: f64| {
                let score = |k: usize| -SHARPNESS * (u - k as f64).powi(2);
                let most = (0..=intervals).map(score).fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = (0..=intervals).map(|k| (score(k) - most).exp()).collect();
                weights.iter().zip(&values).map(|(w, v)| w * v).sum::<f64>() / weights.iter().sum::<f64>()
            };
            let worst = (-8000..=1000 * (i32::try_from(intervals).unwrap() + 8))
                .map(|at| f64::from(at) / 1000.0)
                .map(|u| (head(u) - u.clamp(0.0, top)).abs())
                .fold(0.0, f64::max);
            // Found by scipy's HiGHS as well: 0.0460 at c = 2.36; V_k = L_k has 0.0622 at best.
            assert!(worst < 0.0464, "p = {intervals}: {worst}");
        }
    }
}
