//! Intervals and tests agree with SciPy's, from the same random numbers.

use headway_plain::{
    convergence::exponent_interval,
    statistics::{Interval, bca, correlation, mean, mean_interval, ratio, sign_flip_test, t_interval},
};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

/// Written by `fixtures/make_statistics.py`, which says what each field holds.
#[derive(Deserialize)]
struct Fixtures {
    level: f64,
    means: Vec<MeanCase>,
    exponents: Vec<ExponentCase>,
    sign_flips: Vec<SignFlipCase>,
    random_exactly: f64,
}

#[derive(Deserialize)]
struct MeanCase {
    name: String,
    values: Vec<f64>,
    resamples: Vec<String>,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct ExponentCase {
    name: String,
    x: Vec<f64>,
    values: Vec<Vec<f64>>,
    resamples: Vec<String>,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct SignFlipCase {
    name: String,
    differences: Vec<f64>,
    flips: Vec<String>,
    p: f64,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../fixtures/statistics.json")).unwrap()
}

fn digits(rows: &[String]) -> Vec<Vec<usize>> {
    let digits = |row: &String| row.chars().map(|digit| digit.to_digit(36).unwrap() as usize).collect();
    rows.iter().map(digits).collect()
}

fn flips(rows: &[String]) -> Vec<Vec<bool>> {
    rows.iter().map(|row| row.chars().map(|digit| digit == '1').collect()).collect()
}

fn assert_close(name: &str, found: Option<Interval>, low: f64, high: f64) {
    let Interval { low: found_low, high: found_high } = found.unwrap();
    let case = format!("{name}: [{found_low}, {found_high}], SciPy [{low}, {high}]");
    assert!((found_low - low).abs() < TOLERANCE && (found_high - high).abs() < TOLERANCE, "{case}");
}

/// Every resample of n observations, nⁿ of them.
fn all_resamples(n: usize) -> Vec<Vec<usize>> {
    let digit = |number: usize, place: usize| number / n.pow(place as u32) % n;
    (0..n.pow(n as u32)).map(|number| (0..n).map(|place| digit(number, place)).collect()).collect()
}

#[test]
fn the_correlation_of_a_line_is_one_and_of_a_constant_unknown() {
    let of = |f: fn(f64) -> f64| correlation(&[1.0, 2.0, 4.0].map(|x| (x, f(x))));
    assert!((of(|x| 3.0 * x - 1.0).expect("a line") - 1.0).abs() < 1e-12);
    assert!((of(|x| -x).expect("a line") + 1.0).abs() < 1e-12);
    assert_eq!(of(|_| 2.0), None);
    // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / 2.
    assert!((correlation(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)]).expect("it varies") - 0.5).abs() < 1e-12);
}

#[test]
fn intervals_of_means_are_scipys() {
    let Fixtures { level, means, .. } = fixtures();
    for MeanCase { name, values, resamples, low, high } in means {
        assert_close(&name, mean_interval(&values, &digits(&resamples), level), low, high);
    }
}

/// The quantiles are those of tables: 2.776445 for 4 degrees of freedom, 4.302653 for 2. The values' deviations are 0.3010399 and 1.
#[test]
fn intervals_of_few_gaussians_are_students() {
    let half = 2.776_445_105_2 * 0.090_625_f64.sqrt() / 5.0_f64.sqrt();
    let found = t_interval(&[0.925, 1.175, 0.8, 1.425, 0.675], 0.95);
    assert_close("five", found, 1.0 - half, 1.0 + half);
    let half = 4.302_652_729_7 / 3.0_f64.sqrt();
    assert_close("three", t_interval(&[1.0, 2.0, 3.0], 0.95), 2.0 - half, 2.0 + half);
    assert!(t_interval(&[1.0], 0.95).is_none() && t_interval(&[1.0, f64::NAN], 0.95).is_none());
}

#[test]
fn intervals_of_exponents_are_scipys() {
    let Fixtures { level, exponents, .. } = fixtures();
    for ExponentCase { name, x, values, resamples, low, high } in exponents {
        assert_close(&name, exponent_interval(&x, &values, &digits(&resamples), level), low, high);
    }
}

#[test]
fn sign_flip_tests_are_scipys() {
    for SignFlipCase { name, differences, flips: rows, p } in fixtures().sign_flips {
        let found = sign_flip_test(&differences, &flips(&rows)).unwrap();
        assert!((found - p).abs() < TOLERANCE, "{name}: {found}, SciPy {p}");
    }
}

#[test]
fn drawn_flips_approach_all_flips() {
    let Fixtures { sign_flips, random_exactly: exactly, .. } = fixtures();
    let case = sign_flips.into_iter().find(|case| !case.flips.is_empty()).unwrap();
    let found = sign_flip_test(&case.differences, &flips(&case.flips)).unwrap();
    // p is twice a share of K draws.
    let deviation = 2.0 * (exactly / 2.0 * (1.0 - exactly / 2.0) / case.flips.len() as f64).sqrt();
    assert!((found - exactly).abs() < 3.0 * deviation && exactly > 0.0, "{found}, exactly {exactly} ± {deviation}");
}

#[test]
fn observations_all_alike_have_no_width() {
    for value in [0.0, 0.1, -3.7e9, 1e-200] {
        let Interval { low, high } = mean_interval(&[value; 3], &all_resamples(3), 0.95).unwrap();
        assert!(
            low.to_bits() == high.to_bits() && (low - value).abs() <= 1e-15 * value.abs(),
            "{value}: [{low}, {high}]"
        );
    }
}

#[test]
fn an_interval_holds_the_mean_and_grows_with_its_level() {
    let values = [0.1, 0.3, 0.2, 0.9];
    let centre = mean(&values).unwrap();
    let widths = [0.5, 0.8, 0.95].map(|level| {
        let Interval { low, high } = mean_interval(&values, &all_resamples(4), level).unwrap();
        assert!(low < centre && centre < high && 0.1 <= low && high <= 0.9, "[{low}, {high}]");
        high - low
    });
    assert!(widths.is_sorted_by(|a, b| a < b), "{widths:?}");
}

#[test]
fn the_order_of_a_sum_breaks_no_tie() {
    // 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 by rounding; the six resamples that permute the values must count as
    // ties.
    let values = [0.1, 0.2, 0.3];
    let backwards: Vec<f64> = values.iter().rev().copied().collect();
    let interval = |values: &[f64]| mean_interval(values, &all_resamples(3), 0.95).unwrap();
    let (one, other) = (interval(&values), interval(&backwards));
    assert!((one.low - other.low).abs() < 1e-12 && (one.high - other.high).abs() < 1e-12, "{one:?} {other:?}");
}

#[test]
fn where_there_is_no_interval() {
    assert_eq!(mean(&[]), None);
    assert_eq!(mean_interval(&[], &[], 0.95), None);
    assert_eq!(mean_interval(&[1.0], &[vec![0]], 0.95), None);
    assert_eq!(mean_interval(&[1.0, 2.0], &[], 0.95), None);
    assert_eq!(mean_interval(&[1.0, f64::NAN], &all_resamples(2), 0.95), None);
    assert_eq!(mean_interval(&[1.0, 2.0], &[vec![0, 0]], 0.95), None, "every resample is below the estimate");
    assert_eq!(bca(3, |_| f64::INFINITY, &all_resamples(3), 0.95), None);
    assert_eq!(exponent_interval(&[], &[], &[], 0.95), None);
    assert_eq!(exponent_interval(&[1.0, 1.0], &vec![vec![1.0, 2.0, 4.0]; 2], &all_resamples(3), 0.95), None);
}

#[test]
fn an_exact_power_law_has_its_exponent_for_every_seed() {
    let x = [2.0, 3.0, 7.0];
    let values: Vec<Vec<f64>> = x.map(|x: f64| [1.0, 2.0, 5.0].map(|scale| scale * x.powf(-1.5)).to_vec()).to_vec();
    let Interval { low, high } = exponent_interval(&x, &values, &all_resamples(3), 0.95).unwrap();
    assert!((low + 1.5).abs() < 1e-12 && (high + 1.5).abs() < 1e-12, "[{low}, {high}]");
}

#[test]
fn where_there_is_no_test_and_where_it_is_extreme() {
    assert_eq!(sign_flip_test(&[], &[]), None);
    assert_eq!(sign_flip_test(&[1.0], &[]), None);
    assert_eq!(sign_flip_test(&[1.0, f64::NAN], &[]), None);
    assert_eq!(sign_flip_test(&[1.0; 17], &[]), None);
    assert_eq!(sign_flip_test(&[0.0; 5], &[]), Some(1.0));
    assert_eq!(sign_flip_test(&[0.3; 5], &[]), Some(0.0625), "five of five: 2 · 2⁻⁵");
    assert_eq!(sign_flip_test(&[-0.3; 5], &[]), Some(0.0625));
    assert_eq!(
        sign_flip_test(&[0.3; 17], &vec![[true, false].repeat(9)[..17].to_vec(); 99]),
        Some(0.02),
        "2 · 1 / 100"
    );
}

#[test]
#[should_panic(expected = "3 indices")]
fn a_resample_of_the_wrong_size_is_refused() {
    mean_interval(&[1.0, 2.0, 3.0], &[vec![0, 1]], 0.95);
}

#[test]
fn a_ratio_with_equal_counts_is_a_mean_with_its_error() {
    // Means 1, 2 and 6: mean 3, deviation sqrt(7), error sqrt(7/3).
    let (value, error) = ratio(&[(2.0, 2.0), (4.0, 2.0), (12.0, 2.0)]);
    assert!((value.unwrap() - 3.0).abs() < 1e-15 && (error.unwrap() - (7.0_f64 / 3.0).sqrt()).abs() < 1e-14);
    // With unequal counts, the larger one has more weight; proportional sums have no error.
    assert_eq!(ratio(&[(1.0, 2.0), (3.0, 6.0)]), (Some(0.5), Some(0.0)));
    assert_eq!(ratio(&[(3.0, 1.0), (1.0, 3.0)]).0, Some(1.0));
    assert_eq!(
        (ratio(&[]), ratio(&[(0.0, 0.0)]), ratio(&[(2.0, 1.0)])),
        ((None, None), (None, None), (Some(2.0), None))
    );
    assert_eq!(ratio(&[(f64::NAN, 1.0), (1.0, 1.0)]), (None, None));
}
