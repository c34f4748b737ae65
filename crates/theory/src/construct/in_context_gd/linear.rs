//! E1: softmax is linear at small scores, and mirrored examples cancel its mean.
//!
//! Rows: N examples (x_i, y_i), the query, N mirrored examples (−x_i, −y_i), and the state twice, w and −w. The first
//! layer copies the mirrored examples, by a head with output −1; the state starts at 0. In the layer of a step the
//! state's query is δ (w, −1), and the examples have key (x, y) and value x; all other rows are silenced:
//!
//! Σ_j x_j 2 sinh(δ r_j) / Σ_j 2 cosh(δ r_j) = δ (mean of r x) (1 + O(δ²)),   W_O = −η/δ.
//!
//! The query reads the state (`readout.rs`) at the end. There are k + 2 layers. A penalty λ₂ makes the head that carries w give (1 − η λ₂) w.
//! Other losses need two layers (`slopes.rs`) before that of a step, whose state then has the query δ for keys ℓ'; the
//! Lasso takes one layer (`threshold.rs`) after it.
//!
//! # Bound
//! With f = sinh(z)/z − 1 ≤ z² cosh(z)/6 at z = δ r_j and D = mean of cosh(δ r_j) − 1 ≤ δ² ρ² cosh(δ M)/2, the error of one step is η Xᵀv/N
//! with |v_j| ≤ |r_j| max(f, D), so that |v|/√N ≤ V = ρ δ² max(M²/6, ρ²/2) cosh(δ M); M bounds the slopes and ρ their root mean square,
//! both for the actual state, error included. After s further steps its length is at most V g_s: with g_s the maximum of η √h |1 − η (h + λ₂)|^s
//! over h ≤ λ for squares, and η √λ q^s else (`iterates.rs`). So |w̃_t − w_t| ≤ E_t = Σ_s V_{t−1−s} g_s, which is computed step by
//! step; what slopes are off by joins V, and what S is off by, times √d, joins with q^s.

use headway_plain::Readout;

use super::{InContextGd, chain, parts::Parts, power, readout, slopes::Slopes, steps, threshold};
use crate::{
    bound::Bound,
    construct::{Construction, Cost, Request, Temperature, choose},
    interpolation::F32_ROUNDOFF,
    network::Network,
    places::GAP,
    prove::Provable,
    refusal::Refusal,
    space::Space,
};

/// Errors of the last state, by what they come from.
#[derive(Clone, Copy, Debug, Default)]
struct Drift {
    /// Softmax that is not quite linear.
    linear: f64,
    /// Predictions of examples.
    predictions: f64,
    /// Slopes of the loss.
    slopes: f64,
    /// S.
    threshold: f64,
    /// The largest |ℓ'| of any example, error included.
    largest: f64,
}

impl Drift {
    fn total(&self) -> f64 {
        self.linear + self.predictions + self.slopes + self.threshold
    }
}

/// Scales of scores, and the errors that follow from them.
#[derive(Clone)]
struct MirrorPlan<'a> {
    parts: &'a Parts,
    /// δ, the scale of scores in the steps.
    delta: f64,
    /// δ', the scale of scores in the readout.
    readout: f64,
    /// E_k, the bound on the error of the last state, in parts.
    drift: Drift,
}

pub(super) fn build(gd: &InContextGd, delta: Option<f64>, request: Request) -> Result<Construction, Refusal> {
    gd.check_rows(steps::rows(gd))?;
    if delta.is_some_and(|delta| !(delta > 0.0 && delta.is_finite())) {
        return Err(Refusal::invalid("delta", "must be a positive number"));
    }
    let parts = Parts::of(gd);
    if parts.has_gates() && steps::rows(gd) > threshold::MOST_ROWS {
        let most = (threshold::MOST_ROWS - 3) / 2;
        let problem = format!(
            "must be at most {most} with Huber's loss or the Lasso, not {}: gates tell no more rows apart in float32",
            gd.points
        );
        return Err(Refusal::invalid("points", problem));
    }
    let error = |plan: &MirrorPlan| {
        let error = plan.bound(gd).value + plan.rounding(gd).value;
        if error.is_nan() { f64::INFINITY } else { error }
    };
    if let Some(delta) = delta
        && !error(&MirrorPlan::of(gd, &parts, delta)).is_finite()
    {
        return Err(Refusal::invalid("delta", format!("{delta} is so large that nothing can be said about the error")));
    }
    let plan = match delta {
        Some(delta) => MirrorPlan::of(gd, &parts, delta),
        // Every δ needs the same number of parameters, so the best is taken, to within 2 per cent.
        None => (0..1400)
            .map(|step| MirrorPlan::of(gd, &parts, 10.0 * 0.98_f64.powi(step)))
            .min_by(|a, b| error(a).total_cmp(&error(b)))
            .unwrap_or_else(|| MirrorPlan::of(gd, &parts, 1e-2)),
    };
    let needed = parameters(gd, &parts);
    let cost = |plan: &MirrorPlan| Cost { error: error(plan), exact: plan.bound(gd).value, parameters: needed };
    let hint =
        if delta.is_some() { "; another delta may do better" } else { "; fewer steps or a smaller rate reach further" };
    let plan = choose(request, [plan], cost, hint)?;
    Ok(plan.write(gd))
}

fn parameters(gd: &InContextGd, parts: &Parts) -> f64 {
    let (d, rows) = (gd.d, steps::rows(gd));
    let state = 2 * d + 1;
    let step = |d_in: usize| match &parts.slopes {
        None => steps::parameters(rows, d, d_in),
        Some(slopes) => slopes.parameters(d, rows, d_in) + steps::sloped_parameters(rows, d),
    };
    let threshold = if parts.threshold.is_some() { threshold::parameters(rows, d) } else { 0.0 };
    let k = gd.steps as f64;
    steps::mirror_parameters(rows, d)
        + step(d + 1)
        + (k - 1.0) * step(state)
        + k * threshold
        + readout::last_parameters(d, rows)
}

impl<'a> MirrorPlan<'a> {
    fn of(gd: &InContextGd, parts: &'a Parts, delta: f64) -> Self {
        let drift = drift(gd, parts, delta);
        let readout = readout::scale(gd.input_norm() * (gd.weight_norm() + drift.total()));
        Self { parts, delta, readout, drift }
    }

    /// Upper bound on |w̃_t|.
    fn weight(&self, gd: &InContextGd) -> f64 {
        gd.weight_norm() + self.drift.total()
    }

    fn bound(&self, gd: &InContextGd) -> Bound {
        let Drift { linear, predictions, slopes, threshold, .. } = self.drift;
        let far = gd.input_norm();
        let is_alone = self.parts.depth() == 1;
        let formula =
            if is_alone { "sqrt(d) x E_k, E_k = sum_s V_(k-1-s) a_s" } else { "sqrt(d) x sum_s V_(k-1-s) g_s" };
        let mut bound = Bound::default().and("softmax is not quite linear", formula, far * linear);
        if let Some(of) = &self.parts.slopes {
            bound = of.terms(bound, [far * predictions, far * slopes]);
        }
        if self.parts.threshold.is_some() {
            bound = bound.and("soft threshold", "sqrt(d) x sum_s q^s sqrt(d) 2 x 0.2785 / beta", far * threshold);
        }
        bound
            .and(
                "readout",
                "delta'^4 (sqrt(d) x (|w| + E_k))^5 / 180",
                readout::error(self.readout, far * self.weight(gd)),
            )
            .and("rows attended to by mistake", "see `leak`", self.leak(gd))
    }

    /// Every number that is carried through a layer has an error of at most ζ = 2 T e⁻⁶⁰ B, B being the largest of a row's numbers; after
    /// n layers that of the prompt is n ζ. A step multiplies that by (η/δ) (1 + 2 δ x (√d |w| + 1)) in every channel, the
    /// silenced rows add (η/δ) T e⁻⁶⁰ x, and the readout multiplies by √d x, or by |w| for the query. Predictions of examples
    /// multiply by 1 + 3/δ', and slopes once more.
    fn leak(&self, gd: &InContextGd) -> f64 {
        let (k, weight) = (gd.steps as f64, self.weight(gd));
        let (largest, through) = match &self.parts.slopes {
            None => (0.0, 1.0),
            Some(of) => (of.largest(), (1.0 + 3.0 / of.scale) * (1.0 + of.steepness())),
        };
        let of_threshold = self.parts.threshold.map_or(0.0, |of| of.reach + of.threshold);
        let largest = [gd.y_max, weight, largest, of_threshold].into_iter().fold(gd.x_max, f64::max);
        let all = steps::rows(gd) + self.parts.slopes.as_ref().map_or(0, Slopes::anchors);
        let shift = (k * self.parts.depth() as f64 + 1.0) * 2.0 * all as f64 * (-GAP).exp() * largest;
        let gain = 1.0 + 2.0 * self.delta * gd.x_max * ((gd.d as f64).sqrt() * weight + 1.0);
        let step = gd.rate / self.delta * (gd.d as f64).sqrt() * (gain + 1.0) * 2.0 + 1.0;
        (gd.input_norm() * k * step * through + (gd.d as f64).sqrt() * weight) * shift
    }

    fn rounding(&self, gd: &InContextGd) -> Bound {
        let (k, d, n) = (gd.steps as f64, gd.d as f64, gd.points as f64);
        let (weight, eps) = (self.weight(gd), F32_ROUNDOFF);
        let form = gd.input_norm() * weight + gd.y_max;
        let each = k * gd.rate * gd.curvature();
        // Terms are x/(2N) and cancel, so that m of the 2N sum to at most min(m, 2N − m) x/(2N): N/2 roundings of x in
        // any order. Weights have eight more, six of them from the exponential.
        let gradient = each * (n / 2.0 + 10.0) * eps / self.delta;
        let mut rounding =
            Bound::default().and("mean of mirrored inputs", "k eta d x^2 (N/2 + 10) eps / delta", gradient);
        rounding = match &self.parts.slopes {
            None => {
                rounding.and("scores", "k eta d x^2 (d + 12) eps (sqrt(d) x |w| + y)", each * (d + 12.0) * eps * form)
            }
            Some(of) => {
                let [prediction, own] = of.rounding(gd, steps::rows(gd), gd.input_norm() * weight);
                rounding
                    .and("scores", "k eta d x^2 14 eps M", each * 14.0 * eps * self.drift.largest)
                    .and(
                        "predictions of examples",
                        "k eta d x^2 sup |slope'| (12 eps / delta' + (d + 12) eps sqrt(d) x |w|)",
                        each * prediction,
                    )
                    .and("slopes of the loss", "k eta d x^2 times what gates or anchors are off by", each * own)
            }
        };
        let layers = k * self.parts.depth() as f64;
        if self.parts.depth() > 1 {
            let carried = each * 4.0 * (layers - k) * eps * (form + self.drift.largest);
            rounding =
                rounding.and("carried examples", "k eta d x^2 4 (layers - k) eps (sqrt(d) x |w| + y + M)", carried);
        }
        if let Some(of) = &self.parts.threshold {
            let own = of.noise(steps::rows(gd)) + 10.0 * eps * (of.reach + of.threshold);
            rounding = rounding.and(
                "soft threshold",
                "k d x (2 (720 rows^2 + 16) eps / beta + 10 eps (|u| + tau))",
                k * gd.input_norm() * d.sqrt() * own,
            );
        }
        let (factors, formula) = if gd.ridge > 0.0 || layers > k {
            (k, "(4 layers + k + d + 8) eps sqrt(d) x |w|")
        } else {
            (0.0, "(4 k + d + 8) eps sqrt(d) x |w|")
        };
        let state = (4.0 * layers + factors + d + 8.0) * eps * gd.input_norm() * weight;
        rounding.and("state", formula, state).and(
            "readout",
            format!("{} eps / delta'", readout::ROUNDINGS),
            readout::ROUNDINGS * eps / self.readout,
        )
    }

    fn write(&self, gd: &InContextGd) -> Construction {
        let (d, n, rows) = (gd.d, gd.points, steps::rows(gd));
        let prompt = Space::new(&[("x", d), ("y", 1)]);
        let carried = Space::new(&[("x", d), ("y", 1), ("w", d)]);
        let mut layers = vec![steps::mirror_layer(gd, &prompt)];
        for step in 0..gd.steps {
            let (from, names): (&Space, &[&str]) =
                if step == 0 { (&prompt, &["x", "y"]) } else { (&carried, &["x", "y", "w"]) };
            match &self.parts.slopes {
                None => layers.push(steps::layer(gd, self.delta, from, names, &carried)),
                Some(slopes) => {
                    layers.extend(slopes.layers(gd, rows, from, names));
                    layers.push(steps::sloped_layer(gd, self.delta, &carried));
                }
            }
            layers.extend(self.parts.threshold.as_ref().map(|of| threshold::layer(of, rows, &carried)));
        }
        layers.push(readout::last_layer(gd, rows, self.readout, &carried));
        let mut sizes = vec![
            ("delta".to_owned(), self.delta),
            ("delta'".to_owned(), self.readout),
            ("rows".to_owned(), rows as f64),
            ("layers".to_owned(), layers.len() as f64),
        ];
        let anchors = self.parts.slopes.as_ref().map_or(0, Slopes::anchors);
        if anchors > 0 {
            sizes.push(("anchors".to_owned(), anchors as f64));
        }
        Construction {
            name: InContextGd::NAME,
            target: gd.target(),
            domain: gd.domain(),
            network: Network { seq_len: n + 1, d_in: d + 1, d_out: 1, layers, readout: Readout::Rows, causal: false },
            scored: Some(gd.scored()),
            sizes,
            temperature: Temperature {
                beta: self.delta,
                reason: "delta scales the scores of a step: larger ones leave the range where softmax is linear, smaller ones \
                         lose the gradient in float32"
                    .to_owned(),
            },
            bound: self.bound(gd),
            rounding: self.rounding(gd),
            likely: None,
            provable: Some(Provable::Chain(chain::chain(
                gd,
                self.parts,
                [self.delta, self.readout],
                [self.bound(gd), self.rounding(gd)],
            ))),
            proof: None,
            truth: None,
            norm: None,
            hard: gd.hard(),
        }
    }
}

/// E_k, the bound on the error of the last state, in parts; not finite where it is beyond what parts were made for.
fn drift(gd: &InContextGd, parts: &Parts, delta: f64) -> Drift {
    let (far, bend) = (gd.input_norm(), gd.loss.bend());
    let gains: Vec<f64> = (0..gd.steps).map(|s| gd.gain(s)).collect();
    let left: Vec<f64> = (0..gd.steps).map(|s| power(gd.contraction(), s)).collect();
    let (mut linear, mut predictions, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    let by_threshold = parts.threshold.as_ref().map_or(0.0, |of| (gd.d as f64).sqrt() * of.error());
    let mut largest_of_all = 0.0_f64;
    let mut drift = Drift::default();
    for t in 0..gd.steps {
        let e = drift.total();
        let of_prediction = parts.slopes.as_ref().map_or(0.0, |of| {
            let z = far * (gd.weight_norm() + e);
            if z + of.of_prediction(z) <= of.reach { of.steepness() * of.of_prediction(z) } else { f64::INFINITY }
        });
        let of_slope = parts.slopes.as_ref().map_or(0.0, Slopes::error);
        let actual = |exact: f64| (exact + bend * far * e).min(gd.slope_limit()) + of_prediction + of_slope;
        let (largest, mean) = (actual(gd.largest_slope(t)), actual(gd.mean_slope()));
        let curve = (largest.powi(2) / 6.0).max(mean.powi(2) / 2.0);
        linear.push(mean * delta.powi(2) * curve * (delta * largest).cosh());
        predictions.push(of_prediction);
        slopes.push(of_slope);
        largest_of_all = largest_of_all.max(largest);
        let after = |each: &[f64]| each.iter().rev().zip(&gains).map(|(v, gain)| v * gain).sum::<f64>();
        drift = Drift {
            linear: after(&linear),
            predictions: after(&predictions),
            slopes: after(&slopes),
            threshold: by_threshold * left[..=t].iter().sum::<f64>(),
            largest: largest_of_all,
        };
        if let Some(of) = &parts.threshold {
            let step = gd.rate * far * (mean + linear[t]);
            if gd.weight_norm() + e + step > of.reach {
                drift.threshold = f64::INFINITY;
            }
        }
    }
    drift
}
