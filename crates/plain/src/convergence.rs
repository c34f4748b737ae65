//! Power laws: how fast one quantity falls or grows with another.

use crate::statistics::{Interval, bca};

/// Exponent b of the power law y = a xᵇ closest to the points, by least squares of log y against log x. `None` if there
/// are fewer than two different x, or if a number is not positive.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    if points.iter().any(|(x, y)| !(*x > 0.0 && *y > 0.0)) {
        return None;
    }
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let product: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let square: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (square > 0.0).then(|| product / square)
}

/// [`bca`] of the [`exponent`] of the mean over seeds.
///
/// `values` has a row per x and a column per seed. Runs with the same seed share data and initial weights and so are
/// not independent; therefore whole columns are resampled. Resampling each row by itself would give a wrong interval.
///
/// `None` if `bca` returns `None`, or if a mean curve has no exponent.
///
/// # Panics
/// If there is not one row per x, if rows differ in length, and as [`bca`] does, `n` being the number of seeds.
pub fn exponent_interval(x: &[f64], values: &[Vec<f64>], resamples: &[Vec<usize>], level: f64) -> Option<Interval> {
    let n_seeds = values.first().map_or(0, Vec::len);
    assert!(values.len() == x.len() && values.iter().all(|row| row.len() == n_seeds), "a value per x and seed");
    let mean_over = |row: &[f64], seeds: &[usize]| seeds.iter().map(|s| row[*s]).sum::<f64>() / seeds.len() as f64;
    let curve = |seeds: &[usize]| x.iter().zip(values).map(|(x, row)| (*x, mean_over(row, seeds))).collect::<Vec<_>>();
    bca(n_seeds, |seeds| exponent(&curve(seeds)).unwrap_or(f64::NAN), resamples, level)
}

#[cfg(test)]
mod tests {
    use super::exponent;

    #[test]
    fn exact_laws_and_what_has_none() {
        let law = |b: f64| [1.0, 2.0, 5.0, 11.0].map(|x: f64| (x, 3.0 * x.powf(b)));
        for b in [-1.0, 0.0, 0.5, 2.0] {
            assert!((exponent(&law(b)).unwrap_or(f64::NAN) - b).abs() < 1e-12, "{b}");
        }
        // Slopes of 1 and 3 between neighbours at equal distances: 2 in the middle.
        assert!((exponent(&[(1.0, 1.0), (10.0, 10.0), (100.0, 1e4)]).unwrap_or(f64::NAN) - 2.0).abs() < 1e-12);
        assert_eq!(exponent(&[(2.0, 3.0)]), None);
        assert_eq!(exponent(&[(2.0, 3.0), (2.0, 4.0)]), None);
        assert_eq!(exponent(&[(1.0, 0.0), (2.0, 4.0)]), None);
        assert_eq!(exponent(&[]), None);
    }
}
