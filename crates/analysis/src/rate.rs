//! How fast one quantity grows with another.

/// Exponent b of the power law y = a xᵇ closest to the points, by least squares of log y against log x; nothing for fewer than
/// two different x, or where a number is not positive.
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
