//! When a comparison is decided: by an interval that may be looked at after every seed, against a noise floor.

use std::collections::BTreeMap;

use headway_plain::{sequential, statistics::t_interval};
use serde::Serialize;

use crate::results::{LEVEL, paired};

/// What the paired differences between a row and the reference say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies outside ± the noise floor: the methods differ by more than two ways to write one function do.
    Finding,
    /// The interval lies inside ± the noise floor: whatever difference there is, it is no larger than that.
    Tie,
    /// Neither.
    Undecided,
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The noise floor; `None` if its rows have no scores to tell it from, and nothing can be decided.
    pub floor: Option<f64>,
    /// 95 % interval of the mean paired difference: that of Student's t for a number of seeds that is given, and for one that depends on
    /// the scores one that holds after every seed at once ([`sequential::mean_interval`]). `None` while it has no bound.
    pub interval: Option<[f64; 2]>,
    /// Seeds still expected until a decision, if mean and variance of the differences stay what they are; `None` if
    /// there is a decision, or no estimate.
    pub still_expected: Option<usize>,
}

/// Largest number of further seeds that an estimate names.
const MOST_EXPECTED: usize = 1000;

impl Decision {
    /// What paired differences, in the order of the seeds, say with this noise floor. If seeds are added until they say something
    /// (`grows`), the interval holds after every one of them.
    pub fn of(differences: &[f64], floor: Option<f64>, grows: bool) -> Self {
        let interval =
            if grows { sequential::mean_interval(differences, LEVEL) } else { t_interval(differences, LEVEL) };
        let interval = interval.map(|interval| [interval.low, interval.high]);
        let verdict = match (interval, floor) {
            (Some([low, high]), Some(floor)) if low > floor || high < -floor => Verdict::Finding,
            (Some([low, high]), Some(floor)) if low >= -floor && high <= floor => Verdict::Tie,
            _ => Verdict::Undecided,
        };
        let still_expected = floor
            .filter(|_| grows && verdict == Verdict::Undecided)
            .and_then(|floor| sequential::still_expected(differences, floor, LEVEL, MOST_EXPECTED));
        Self { verdict, floor, interval, still_expected }
    }
}

/// The noise floor of a score: the mean absolute difference Σ |a_s − b_s| / n, over the seeds s that both have, between
/// two parametrisations of one function. They differ by rounding and by the optimiser's path alone, so a difference of
/// that size between two methods says nothing about the methods. `None` if they have no seed in common.
pub fn noise_floor(of: &BTreeMap<u64, f64>, twin: &BTreeMap<u64, f64>) -> Option<f64> {
    let differences = paired(of, twin);
    let sum: f64 = differences.iter().map(|difference| difference.abs()).sum();
    (!differences.is_empty()).then(|| sum / differences.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_across_the_floor_decides_nothing() {
        // Mean 1 and a half width of 0.7213 for these five, as the fixture of the interval has it.
        let differences = [0.925, 1.175, 0.8, 1.425, 0.675];
        let verdict = |floor: f64| Decision::of(&differences, Some(floor), true).verdict;
        assert_eq!([0.0, 0.25, 0.5, 1.0, 1.5, 1.75].map(verdict), {
            use Verdict::{Finding, Tie, Undecided};
            [Finding, Finding, Undecided, Undecided, Undecided, Tie]
        });
        let mirrored = differences.map(|difference| -difference);
        assert_eq!(Decision::of(&mirrored, Some(0.25), true).verdict, Verdict::Finding);
        let open = Decision::of(&differences, Some(0.5), true);
        assert!(open.still_expected.is_some_and(|more| (1..20).contains(&more)), "{open:?}");
        assert_eq!(Decision::of(&differences, None, true).verdict, Verdict::Undecided);
        assert_eq!(Decision::of(&differences[..3], Some(0.0), true).interval, None);
        // Where the number of seeds was given beforehand, the interval of Student's t: half of it is 0.3738.
        let given = |floor: f64| Decision::of(&differences, Some(floor), false);
        assert_eq!(
            [0.5, 0.7, 1.5].map(|floor| given(floor).verdict),
            [Verdict::Finding, Verdict::Undecided, Verdict::Tie]
        );
        assert_eq!(given(0.7).still_expected, None);
    }

    #[test]
    fn the_floor_is_the_mean_size_of_a_difference_with_the_same_seed() {
        let [a, b] = [[(0, 1.0), (1, 2.0), (3, 5.0)], [(0, 1.5), (1, 1.0), (2, 9.0)]].map(BTreeMap::from);
        assert_eq!(noise_floor(&a, &b), Some(0.75));
        assert_eq!(noise_floor(&a, &BTreeMap::new()), None);
    }
}
