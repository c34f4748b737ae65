//! The error of E2 as a chain of inequalities, from what its anchors are to the bounds.

use super::{InContextGd, SquaresPlan};
use crate::{
    interpolation::F32_ROUNDOFF,
    places::GAP,
    prove::chain::{Chain, Steps},
};

/// What is known before the iterates; claimed.
struct Known {
    label: f64,
    far: f64,
    root_d: f64,
    weight: f64,
    residual: f64,
    /// α and 1/α.
    balance: [f64; 2],
    /// σ and 1/σ.
    stretch: [f64; 2],
    /// Δ.
    spacing: f64,
    beta: f64,
    /// R.
    end: f64,
    sharpness: f64,
    mean: f64,
    square: f64,
}

/// The state after the last step, and how far u reaches; claimed.
#[derive(Clone, Copy)]
struct Reached {
    drift: f64,
    /// U.
    reach: f64,
    /// A, above the sum of the terms of u.
    form: f64,
}

impl SquaresPlan {
    /// Every step, from which bound and rounding follow.
    pub(super) fn chain(&self, gd: &InContextGd) -> Chain {
        let mut steps = Steps::default();
        let known = self.known(gd, &mut steps);
        let reached = self.reached(gd, &known, &mut steps);
        let bound = self.bound(gd).with_values(&self.errors(gd, &known, reached, &mut steps));
        let rounding = self.rounding(gd).with_values(&self.roundings(gd, &known, reached, &mut steps));
        steps.end(bound, rounding)
    }

    fn known(&self, gd: &InContextGd, steps: &mut Steps) -> Known {
        let (d, n, anchors) = (gd.d as f64, gd.points as f64, self.anchors());
        let end = steps.stands("R", "the last anchor", anchors.high);
        let spacing = steps.stands("Delta", "2 R / p", anchors.spacing());
        let beta = steps.stands("beta", "inverse temperature", anchors.inverse_temperature(self.sharpness));
        let sharpness = steps.stands("c", "beta Delta^2", self.sharpness);
        let both = |steps: &mut Steps, name: &str, says: &str, value: f64| {
            let up = steps.stands(name, says, value);
            [up, steps.stands(format!("1/{name}"), "", 1.0 / value)]
        };
        let balance = both(steps, "alpha", "balance between residual and input", self.balance);
        let stretch = both(steps, "sigma", "stretch of the readout", self.stretch);
        let mean = steps.read("mu", "2 pi / c sum m q^(m^2) / theta, and what ends leave out", self.ripple.mean);
        let square =
            steps.read("nu", "2 (pi / c)^2 sum m^2 q^(m^2) / theta, and what ends leave out", self.ripple.square);
        let label = steps.follows("y", "30 times the noise of the task's labels", gd.y_max);
        let far = steps.follows("sqrt(d) x", "above the length of any input", gd.input_norm());
        let root_d = steps.follows("sqrt(d)", "", d.sqrt());
        let root_n = steps.follows("sqrt(N)", "", n.sqrt());
        // No formula grows faster than the product of what is claimed of labels and inputs.
        let up = (label / gd.y_max) * (far / gd.input_norm());
        let says = "one of eta k sqrt(d) x y, (1 or sqrt(2)) sqrt(eta k) y";
        let weight = steps.follows("|w|", says, gd.weight_norm() * up * up);
        let residual = (0..gd.steps).map(|t| gd.largest_residual(t)).fold(0.0, f64::max);
        let says = "max over t of ((1 + l) / 2 + (1 - l) / 2 sqrt(N)) y, l = min (1 - eta h)^t";
        let residual = steps.follows("residual", says, residual * up * (root_n / n.sqrt()));
        Known { label, far, root_d, weight, residual, balance, stretch, spacing, beta, end, sharpness, mean, square }
    }

    /// E_k such that a state that is off by it is off by no more after another step, with the numbers that are claimed.
    fn reached(&self, gd: &InContextGd, known: &Known, steps: &mut Steps) -> Reached {
        let &Known { far, root_d, weight, residual, balance: [balance, coarse], spacing, mean, square, label, .. } =
            known;
        let time = gd.rate * gd.steps as f64 * root_d;
        let reach = |drift: f64| balance * (residual + far * drift) + gd.x_max * coarse;
        let product = |reach: f64| reach * spacing * mean + 0.5 * spacing.powi(2) * square;
        let mut drift = self.drift;
        for _ in 0..200 {
            let after = time * product(reach(drift)) * (1.0 + 1e-8);
            if after <= drift {
                break;
            }
            drift = after;
        }
        let drift = steps.follows("drift", "E, at least eta k sqrt(d) (product)", drift);
        let reach = steps.follows("U", "alpha ((residual) + sqrt(d) x E) + x / alpha", reach(drift));
        steps.follows("product", "(2 U Delta mu + Delta^2 nu) / 2", product(reach));
        let form = balance * (far * (weight + drift) + label) + gd.x_max * coarse;
        let form = steps.follows("A", "alpha (sqrt(d) x (|w| + E) + y) + x / alpha", form);
        Reached { drift, reach, form }
    }

    /// The terms of the bound.
    fn errors(&self, gd: &InContextGd, known: &Known, reached: Reached, steps: &mut Steps) -> Vec<f64> {
        let &Known { label, far, root_d, balance, stretch, spacing, end, sharpness, mean, .. } = known;
        let (k, weight) = (gd.steps as f64, known.weight + reached.drift);
        let squares = steps.follows("interpolation of squares", "sqrt(d) x E", far * reached.drift);
        let says = "Delta mu / sigma";
        let prediction = steps.follows("interpolation of the prediction", says, spacing * mean * stretch[1]);
        let largest = [label, weight, end * gd.x_max].into_iter().fold(gd.x_max, f64::max);
        let scale = 1.125 * end.max(1.0);
        let shift = (2.0 * k + 1.0) * 2.0 * self.rows(gd) as f64 * (-GAP).exp() * scale * largest;
        let moves = root_d * balance[0] * (gd.x_max + weight + 1.0) + balance[1];
        let slope = (sharpness + 1.0) * (reached.reach + spacing) * moves;
        let step = gd.rate * root_d * 2.0 * slope + 1.0;
        let says = "(sqrt(d) x k (2 eta sqrt(d) (c + 1) (U + Delta) (sqrt(d) alpha (x + W + 1) + 1 / alpha) + 1) + (c + 1) sqrt(d) (x + W)) \
                    2 (2 k + 1) rows exp(-60) 1.125 max(R, 1) max(x, y, W, R x), W = |w| + E";
        let mistakes = (far * k * step + (sharpness + 1.0) * root_d * (gd.x_max + weight)) * shift;
        vec![squares, prediction, steps.follows("rows attended to by mistake", says, mistakes)]
    }

    /// The terms of the rounding.
    fn roundings(&self, gd: &InContextGd, known: &Known, reached: Reached, steps: &mut Steps) -> Vec<f64> {
        let &Known { label, far, root_d, balance, stretch, spacing, beta, end, square, .. } = known;
        let (d, n, k, eps) = (gd.d as f64, gd.points as f64, gd.steps as f64, F32_ROUNDOFF);
        let (reach, weight) = (reached.reach, known.weight + reached.drift);
        let blunt = steps.stands("1/c", "", 1.0 / self.sharpness);
        let width = steps.follows("width", "Delta sqrt(1 / (2 c) + nu)", spacing * (blunt / 2.0 + square).sqrt());
        let says =
            "sup E (k - u)^4: 3/(4 c^2) + 6 pi^2 / c^3 sum m^2 q^(m^2) / theta + 2 pi^4 / c^4 sum m^4 q^(m^2) / theta";
        let fourth = steps.read("fourth moment", says, self.ripple.fourth);
        let says = "max(1.8 width^2, Delta^2 sqrt(fourth moment))";
        let spread = (1.8 * width.powi(2)).max(spacing.powi(2) * fourth.sqrt());
        let spread = steps.follows("spread of squares", says, spread);
        let says = "U + max(1.4 width, sqrt(spread of squares))";
        let near = steps.follows("L", says, reach + (1.4 * width).max(spread.sqrt()));
        let says = "min(2 sqrt(16.7 / c) + 1, p + 1) + 8";
        let terms = (2.0 * (16.7 * blunt).sqrt() + 1.0).min(self.intervals as f64 + 1.0) + 8.0;
        let terms = steps.follows("anchors felt", says, terms);
        let data = gd.x_max * label;
        let copies = 14.0 * weight + (n + 14.0) * gd.rate * root_d * data;
        let noise = |form: f64, factor: f64, l: f64| {
            beta * eps * ((d + 6.0) * (2.0 * l * form + l * l) + 2.0 * factor * far * end * copies)
        };
        let says = "beta eps ((d + 6) (2 L A + L^2) + 2 alpha sqrt(d) x R (14 W + (N + 14) eta sqrt(d) x y)) exp(2 of it with R for L)";
        let of = |form: f64, factor: f64| noise(form, factor, near) * (2.0 * noise(form, factor, end)).exp();
        let products = steps.follows("noise of products", says, of(reached.form, balance[0]));
        let says = "the same with sigma for alpha, and sigma sqrt(d) x W for A";
        let read = steps.follows("noise of the readout", says, of(stretch[0] * far * weight, stretch[0]));
        let gain = far * k * gd.rate * root_d;
        let scores = gain * (reach * width + spread / 2.0) * products;
        let sums = gain * 2.0 * terms * eps * (reach + width).powi(2) / 4.0;
        let prediction = (width * read + terms * eps * (reach + width)) * stretch[1];
        vec![
            steps.follows(
                "scores of products",
                "eta k d x (U width + (spread of squares) / 2) (noise of products)",
                scores,
            ),
            steps.follows("sums of squares", "eta k d x (anchors felt) eps (U + width)^2 / 2", sums),
            steps.follows("averages", "eta k d x (N + 14) eps x y", gain * (n + 14.0) * eps * data),
            steps.follows("state", "14 k eps sqrt(d) x W", 14.0 * k * eps * far * weight),
            steps.follows(
                "prediction",
                "(width (noise of the readout) + (anchors felt) eps (U + width)) / sigma",
                prediction,
            ),
        ]
    }
}
