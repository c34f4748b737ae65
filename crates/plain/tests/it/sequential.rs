//! The interval that may be looked at after every observation: its ends, and how often it errs.

use headway_plain::sequential::{mean_interval, still_expected};
use serde::Deserialize;

use crate::random::Random;

/// Written by `fixtures/make_sequential.py`, from the integrals that define the interval.
#[derive(Deserialize)]
struct Fixtures {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    level: f64,
    values: Vec<f64>,
    low: f64,
    high: f64,
}

fn cases() -> Vec<Case> {
    serde_json::from_str::<Fixtures>(include_str!("../fixtures/sequential.json")).unwrap().cases
}

#[test]
fn its_ends_are_those_of_the_mixture_of_likelihoods() {
    for Case { name, level, values, low, high } in cases() {
        let interval = mean_interval(&values, level).unwrap();
        // The integrals are sums over a grid, and the ends 48 bisections.
        let tolerance = 1e-10 * (high - low);
        assert!((interval.low - low).abs() < tolerance && (interval.high - high).abs() < tolerance, "{name}");
    }
}

#[test]
fn few_observations_say_nothing_and_equal_ones_everything() {
    assert_eq!(mean_interval(&[], 0.95), None);
    assert_eq!(mean_interval(&[1.0, 2.0, 1.5], 0.95), None);
    assert_eq!(mean_interval(&[1.0, 2.0, 1.5, f64::NAN], 0.95), None);
    let equal = mean_interval(&[0.5; 4], 0.95).unwrap();
    assert!((equal.low, equal.high) == (0.5, 0.5));
    assert_eq!(still_expected(&[0.0; 4], 0.0, 0.95, 9), Some(0), "no difference at all is a tie with any floor");
}

/// How a synthetic comparison of 5 to 40 seeds ends: outside ±floor, inside, or neither; and after how many seeds.
fn compared(random: &mut Random, effect: f64, floor: f64) -> (Option<bool>, usize) {
    let mut values = Vec::new();
    for n in 1..=40 {
        values.push(effect + random.normal());
        let Some(interval) = mean_interval(&values, 0.95).filter(|_| n >= 5) else { continue };
        if interval.low > floor || interval.high < -floor {
            return (Some(true), n);
        }
        if interval.low >= -floor && interval.high <= floor {
            return (Some(false), n);
        }
    }
    (None, 40)
}

fn share(effect: f64, floor: f64, seed: u64, end: Option<bool>) -> (f64, f64) {
    const COMPARISONS: usize = 2000;
    let mut random = Random(seed);
    let ends: Vec<_> = (0..COMPARISONS).map(|_| compared(&mut random, effect, floor)).collect();
    let share = ends.iter().filter(|(found, _)| *found == end).count() as f64 / COMPARISONS as f64;
    (share, ends.iter().map(|(_, n)| *n as f64).sum::<f64>() / COMPARISONS as f64)
}

#[test]
fn a_finding_is_false_in_five_of_a_hundred_comparisons_at_most() {
    // Three standard errors of a share of 5 % in 2,000 comparisons.
    let most = 0.05 + 3.0 * (0.05 * 0.95 / 2000.0_f64).sqrt();
    for (effect, floor, seed) in [(0.0, 0.0, 1), (0.3, 0.3, 2), (-1.0, 1.0, 3)] {
        let (found, _) = share(effect, floor, seed, Some(true));
        assert!(found <= most, "{effect} {floor}: {found}");
    }
    // Nor is a difference at the floor called a tie.
    let (tied, _) = share(1.0, 1.0, 4, Some(false));
    assert!(tied <= most, "{tied}");
}

#[test]
fn differences_are_found_and_ties_told_with_few_seeds() {
    let (found, seeds) = share(1.5, 0.0, 5, Some(true));
    assert!(found > 0.99 && seeds < 10.0, "{found} after {seeds}");
    let (found, seeds) = share(1.0, 0.0, 6, Some(true));
    assert!(found > 0.98 && seeds < 16.0, "{found} after {seeds}");
    let (tied, seeds) = share(0.0, 1.0, 7, Some(false));
    assert!(tied > 0.97 && seeds < 21.0, "{tied} after {seeds}");
}

#[test]
fn the_number_of_seeds_still_expected_is_what_the_same_values_repeated_need() {
    // Mean 1 and variance 4/3; further pairs of 1 ± sqrt(4/3) keep both, up to the n − 1 of the variance.
    let values = [0.0, 2.0, 0.0, 2.0];
    let more = still_expected(&values, 0.0, 0.95, 100).unwrap();
    let longer = |more: usize| -> Vec<f64> {
        let n = values.len() + more;
        // Alternating values whose sum of squares is 4/3 (n − 1).
        let far = (4.0 / 3.0 * (n as f64 - 1.0) / n as f64).sqrt();
        (0..n).map(|index| if index % 2 == 0 { 1.0 - far } else { 1.0 + far }).collect()
    };
    let even = more + more % 2;
    assert!(mean_interval(&longer(even), 0.95).unwrap().low > 0.0, "{more}");
    assert!(mean_interval(&longer(even - 2), 0.95).unwrap().low <= 0.0, "{more}");
    assert_eq!(still_expected(&values, 0.0, 0.95, more - 1), None);
    assert_eq!(still_expected(&values, 1.0, 0.95, 1000), None, "a mean at the floor is never decided");
}
