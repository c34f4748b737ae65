//! The values of anchors with the smallest largest error, by a linear program.
//!
//! A head with given scores is linear in its values: h(x_i) = Σ_k P_k(x_i) V_k. So the least e with |h(x_i) − g(x_i)| ≤ e at
//! points x_i is a linear program in (V, e), and no values of the same anchors at the same temperature have a smaller error
//! over a domain that contains the points. For V_k = g(L_k) the error is the smoothing bias g'' Δ²/(4c); the program
//! removes it, so that what is left at a small c is the ripple between anchors and the rounding of kinks.

use headway_tasks::linear_program::LinearProgram;
use nalgebra::{DMatrix, DVector};

/// Values of anchors, and a lower bound on the error of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// V.
    pub values: Vec<f64>,
    /// No values within the limits have a smaller error at the points: the optimum of the program, as its dual proves it.
    pub least: f64,
}

/// The values with |V_k| ≤ `most` of anchors 0, 1, … with scores −c (u − k)² whose largest error at `points` is least.
/// `start` are values that are nearly right: the program is solved for what is left, relative to its size. `None` if it is
/// too badly conditioned.
pub fn best_values(c: f64, points: &[(f64, f64)], start: &[f64], most: f64) -> Option<Best> {
    best_first_values(c, points, start, most, start.len())
}

/// The same where only the first `n` anchors may have other values than `start`.
pub fn best_first_values(c: f64, points: &[(f64, f64)], start: &[f64], most: f64, n: usize) -> Option<Best> {
    let mut patterns: Vec<Vec<(usize, f64)>> = points.iter().map(|(u, _)| pattern(c, *u, start.len())).collect();
    let rest: Vec<f64> = points
        .iter()
        .zip(&patterns)
        .map(|((_, wanted), pattern)| wanted - pattern.iter().map(|(k, p)| p * start[*k]).sum::<f64>())
        .collect();
    for pattern in &mut patterns {
        pattern.retain(|(k, _)| *k < n);
    }
    let unit = rest.iter().fold(0.0_f64, |top, r| top.max(r.abs()));
    if unit == 0.0 || !unit.is_finite() {
        return (unit == 0.0).then(|| Best { values: start.to_vec(), least: 0.0 });
    }
    // Unknowns: what is added to each value, then the error, all in this unit.
    let m = points.len();
    let mut left = DMatrix::zeros(2 * m + 2 * n, n + 1);
    let mut limits = DVector::zeros(2 * m + 2 * n);
    for (row, (pattern, rest)) in patterns.iter().zip(&rest).enumerate() {
        for (k, p) in pattern {
            left[(row, *k)] = *p;
            left[(m + row, *k)] = -p;
        }
        left[(row, n)] = -1.0;
        left[(m + row, n)] = -1.0;
        limits[row] = rest / unit;
        limits[m + row] = -rest / unit;
    }
    for (k, value) in start.iter().take(n).enumerate() {
        left[(2 * m + k, k)] = 1.0;
        left[(2 * m + n + k, k)] = -1.0;
        limits[2 * m + k] = (most - value) / unit;
        limits[2 * m + n + k] = (most + value) / unit;
    }
    let mut cost = DVector::zeros(n + 1);
    cost[n] = 1.0;
    let program = LinearProgram { cost, equal: (DMatrix::zeros(0, n + 1), DVector::zeros(0)), at_most: (left, limits) };
    let optimum = program.solve().ok()?;
    let moved = start.iter().take(n).enumerate().map(|(k, value)| (value + unit * optimum.x[k]).clamp(-most, most));
    let values = moved.chain(start[n..].iter().copied());
    let steps: Vec<f64> = start[..n].iter().map(|value| most + value.abs()).collect();
    let least = least(&patterns, &rest, &optimum.at_most.as_slice()[..2 * m], &steps);
    Some(Best { values: values.collect(), least: least.max(0.0) })
}

/// A lower bound on max_i |r_i − P_i · d| over all d with |d_k| ≤ `steps`_k, from multipliers y ≥ 0 of the conditions P d − e ≤ r and then of
/// −P d − e ≤ −r. With Σ y = 1 and g = Σ ±y_i P_i it is −Σ ±y_i r_i − Σ_k |g_k| steps_k, whatever y is. The solver leaves g near 0, but d is far
/// larger than e, so y is first moved to where g = 0.
fn least(patterns: &[Vec<(usize, f64)>], rest: &[f64], multipliers: &[f64], steps: &[f64]) -> f64 {
    let (m, n) = (rest.len(), steps.len());
    let top = multipliers.iter().fold(0.0_f64, |top, y| top.max(*y));
    let active: Vec<usize> = (0..2 * m).filter(|row| multipliers[*row] > 1e-7 * top).collect();
    let sign = |row: usize| if row < m { 1.0 } else { -1.0 };
    let mut conditions = DMatrix::zeros(n + 1, active.len());
    for (column, row) in active.iter().enumerate() {
        for (k, p) in &patterns[row % m] {
            conditions[(*k, column)] = sign(*row) * p;
        }
        conditions[(n, column)] = 1.0;
    }
    let mut y = DVector::from_iterator(active.len(), active.iter().map(|row| multipliers[*row]));
    let mut wanted = DVector::zeros(n + 1);
    wanted[n] = 1.0;
    for _ in 0..3 {
        // In proportion to what is there, so that small multipliers keep their sign; anchors that weigh little are left as they are.
        let off = &wanted - &conditions * &y;
        let mut scaled = conditions.clone();
        scaled.column_iter_mut().zip(y.iter()).for_each(|(mut column, y)| column *= *y);
        let Ok(share) = scaled.svd(true, true).solve(&off, 1e-8) else { break };
        y.component_mul_assign(&share.map(|share| (1.0 + share).max(0.0)));
    }
    y /= y.sum();
    let g = &conditions * &y;
    let gained: f64 = active.iter().zip(y.iter()).map(|(row, y)| -sign(*row) * y * rest[row % m]).sum();
    gained - g.iter().zip(steps).map(|(g, step)| g.abs() * step).sum::<f64>()
}

/// softmax_k(−c (u − k)²) over anchors 0 … n − 1, without weights below 1e-18.
fn pattern(c: f64, u: f64, n: usize) -> Vec<(usize, f64)> {
    let nearest = u.round().clamp(0.0, (n - 1) as f64);
    let score = |k: usize| -c * ((u - k as f64).powi(2) - (u - nearest).powi(2));
    let weights: Vec<(usize, f64)> = (0..n).map(|k| (k, score(k).exp())).filter(|(_, w)| *w > 1e-18).collect();
    let total: f64 = weights.iter().map(|(_, w)| w).sum();
    weights.into_iter().map(|(k, w)| (k, w / total)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// The best values are those of scipy's HiGHS on the same points: x² over anchors −6 … 16 at c = 1, and the clamp to [0, 16] at
    /// c = 2.4, computed by crates/theory/tests/it/fixtures/minimax.py.
    #[test]
    fn optima_are_those_of_another_solver() {
        let lattice = |ends: [f64; 2], count: usize| {
            (0..=count).map(move |i| ends[0] + (ends[1] - ends[0]) * i as f64 / count as f64)
        };
        let square: Vec<(f64, f64)> = lattice([6.0, 16.0], 400).map(|u| (u, ((u - 11.0) / 5.0).powi(2))).collect();
        let start: Vec<f64> = (0..23).map(|k| ((f64::from(k) - 11.0) / 5.0).powi(2)).collect();
        let found = best_values(1.0, &square, &start, 10.0).unwrap();
        // What the dual proves is never above the optimum. Anchors that weigh little at all points cost it some thousandths.
        assert!(found.least <= SQUARE * (1.0 + 1e-6) && found.least > 0.99 * SQUARE, "{}, not {SQUARE}", found.least);
        let clamp: Vec<(f64, f64)> = lattice([-4.0, 20.0], 1920).map(|u| (u, u.clamp(0.0, 16.0))).collect();
        let start: Vec<f64> = (0..17).map(f64::from).collect();
        let found = best_values(2.4, &clamp, &start, 100.0).unwrap();
        assert!(found.least <= CLAMP * (1.0 + 1e-6) && found.least > 0.9999 * CLAMP, "{}, not {CLAMP}", found.least);
        // The values do what the optimum says.
        let miss = |(u, wanted): &(f64, f64)| {
            let h: f64 = pattern(2.4, *u, 17).iter().map(|(k, p)| p * found.values[*k]).sum();
            (h - wanted).abs()
        };
        let worst = clamp.iter().map(miss).fold(0.0, f64::max);
        assert!((worst - found.least).abs() < 1e-6, "{worst} at points, {} proved", found.least);
    }

    const SQUARE: f64 = 8.758_689e-5;
    const CLAMP: f64 = 0.046_962_88;
}
