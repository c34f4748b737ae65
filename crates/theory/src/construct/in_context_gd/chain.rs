//! The error of E1 for squares as a chain of inequalities: what is known of every iterate, the error of each step, what later steps leave
//! of it, and what float32 adds. The formulas are those of `linear.rs` and `iterates.rs`.

use super::InContextGd;
use crate::{
    bound::Bound,
    interpolation::F32_ROUNDOFF,
    places::GAP,
    prove::chain::{Chain, Steps},
};

/// The chain for scales δ and δ' of scores, on so many rows; `None` for other losses and the Lasso, whose steps take more layers.
pub(super) fn chain(gd: &InContextGd, [delta, readout]: [f64; 2], rows: usize) -> Option<Chain> {
    if !gd.loss.is_squared() || gd.lasso > 0.0 {
        return None;
    }
    let (k, d, n) = (gd.steps as f64, gd.d as f64, gd.points as f64);
    let mut steps = Steps::default();
    let label = steps.follows("y", "30 times the noise of the task's labels", gd.y_max);
    let far = steps.follows("sqrt(d) x", "above the length of any input", gd.input_norm());
    let root_d = steps.follows("sqrt(d)", "", d.sqrt());
    let root_n = steps.follows("sqrt(N)", "", n.sqrt());
    let coarse = steps.stands("1/delta", "", 1.0 / delta);
    let delta = steps.stands("delta", "scale of scores of a step, off its query and its output", delta);
    let coarse_readout = steps.stands("1/delta'", "", 1.0 / readout);
    let readout = steps.stands("delta'", "scale of scores of the readout", readout);
    let says = "one of eta k sqrt(d) x y, (1 or sqrt(2)) sqrt(eta k) y, y / sqrt(ridge)";
    let weight = steps.follows("|w|", says, gd.weight_norm() * (label / gd.y_max) * (far / gd.input_norm()));
    let plain = gd.ridge == 0.0;
    let residuals: Vec<f64> = (0..gd.steps)
        .map(|t| {
            let says = if plain {
                "((1 + l) / 2 + (1 - l) / 2 sqrt(N)) y, l = min (1 - eta h)^t"
            } else {
                "min(sqrt(N) y, sqrt(d) x |w| + y)"
            };
            let value = if plain {
                gd.largest_residual(t) * (label / gd.y_max) * (root_n / n.sqrt())
            } else {
                (root_n * label).min(far * weight + label)
            };
            steps.follows(format!("residual {t}"), says, value)
        })
        .collect();
    let gains: Vec<f64> = (0..gd.steps)
        .map(|s| steps.follows(format!("gain {s}"), "max over h of eta sqrt(h) |1 - eta (h + ridge)|^s", gd.gain(s)))
        .collect();
    let (mut errors, mut drift) = (Vec::new(), 0.0);
    for (t, residual) in residuals.iter().enumerate() {
        let (largest, mean) = (residual + far * drift, label + far * drift);
        let curve = (largest.powi(2) / 6.0).max(mean.powi(2) / 2.0);
        let says = "R delta^2 max(M^2 / 6, R^2 / 2) cosh(delta M), M = (residual t) + sqrt(d) x (drift t), R = y + sqrt(d) x (drift t)";
        let value = mean * delta.powi(2) * curve * (delta * largest).cosh();
        errors.push(steps.follows(format!("step {t}"), says, value));
        let sum: f64 = errors.iter().rev().zip(&gains).map(|(error, gain)| error * gain).sum();
        drift = steps.follows(format!("drift {}", t + 1), "sum over s of (step t - s) (gain s)", sum);
    }
    let reach = far * (weight + drift);

    let linear = steps.follows("softmax is not quite linear", "sqrt(d) x (drift k)", far * drift);
    let says = "delta'^4 (sqrt(d) x (|w| + drift k))^5 / 180";
    let last = steps.follows("readout", says, readout.powi(4) * reach.powi(5) / 180.0);
    let largest = gd.x_max.max(label).max(weight + drift);
    let shift = (k + 1.0) * 2.0 * rows as f64 * (-GAP).exp() * largest;
    let gain = 1.0 + 2.0 * delta * gd.x_max * (root_d * (weight + drift) + 1.0);
    let step = gd.rate * coarse * root_d * (gain + 1.0) * 2.0 + 1.0;
    let says = "(sqrt(d) x k (2 eta / delta sqrt(d) (g + 1) + 1) + sqrt(d) W) 2 (k + 1) rows exp(-60) max(x, y, W), W = |w| + drift k, \
                g = 1 + 2 delta x (sqrt(d) W + 1)";
    let leak = steps.follows("rows attended to by mistake", says, (far * k * step + root_d * (weight + drift)) * shift);

    let eps = F32_ROUNDOFF;
    let each = k * gd.rate * gd.curvature() * eps;
    let says = "k eta d x^2 (N / 2 + 10) eps / delta";
    let mean = steps.follows("mean of mirrored inputs", says, each * (n / 2.0 + 10.0) * coarse);
    let says = "k eta d x^2 (d + 12) eps (sqrt(d) x W + y)";
    let scores = steps.follows("scores", says, each * (d + 12.0) * (reach + label));
    let factors = if plain { 0.0 } else { k };
    let says = "(4 k + d + 8, and k more with a ridge) eps sqrt(d) x W";
    let state = steps.follows("state", says, (4.0 * k + factors + d + 8.0) * eps * reach);
    let read = steps.follows("rounding of the readout", "12 eps / delta'", 12.0 * eps * coarse_readout);
    let bound = Bound::default()
        .and("softmax is not quite linear", "sqrt(d) x E_k, E_k = sum_s V_(k-1-s) a_s", linear)
        .and("readout", "delta'^4 (sqrt(d) x (|w| + E_k))^5 / 180", last)
        .and("rows attended to by mistake", "see `leak`", leak);
    let rounding = Bound::default()
        .and("mean of mirrored inputs", "k eta d x^2 (N/2 + 10) eps / delta", mean)
        .and("scores", "k eta d x^2 (d + 12) eps (sqrt(d) x |w| + y)", scores)
        .and("state", "(4 k, k more with a ridge, + d + 8) eps sqrt(d) x |w|", state)
        .and("readout", "12 eps / delta'", read);
    Some(steps.end(bound, rounding))
}
