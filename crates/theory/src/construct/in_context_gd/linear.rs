//! E1: softmax is linear at small scores, and mirrored examples cancel its mean.
//!
//! Rows: N examples (x_i, y_i), the query, N mirrored examples (−x_i, −y_i), and the state twice, w and −w. The first
//! layer copies the mirrored examples, by a head with output −1; the state starts at 0. In the layer of a step the
//! state's query is δ (w, −1), and the examples have key (x, y) and value x; all other rows are silenced:
//!
//! Σ_j x_j 2 sinh(δ r_j) / Σ_j 2 cosh(δ r_j) = δ (mean of r x) (1 + O(δ²)),   W_O = −η/δ.
//!
//! The query reads the state with four empty rows beside it, which also cancels the next order: (3/δ') sinh(δ' u) / (2
//! + cosh(δ' u)) = u − …, u = w · x_q, with an error of at most δ'⁴ |u|⁵ / 180. There are k + 2 layers.
//!
//! # Bound
//! With f = sinh(z)/z − 1 ≤ z² cosh(z)/6 at z = δ r_j and D = mean of cosh(δ r_j) − 1 ≤ δ² ρ² cosh(δ M)/2, the error of
//! one step is Xᵀv/N with
//! v_j| ≤ |r_j| max(f, D), so that |v|/√N ≤ V = ρ δ² max(M²/6, ρ²/2) cosh(δ M); M bounds the residuals and ρ their root mean square, both for
//! the actual state, error included. After s further steps the error has become (I − ηH)^s η Xᵀv/N, of length V a_s,
//! with a_s the maximum of η √h |1 − η h|^s over h ≤ λ. So |w̃_t − w_t| ≤ E_t = Σ_s V_{t−1−s} a_s, which is computed
//! step by step.

use headway_plain::{
    Readout,
    network::{Head, InputMap},
};

use crate::{
    bound::Bound,
    construct::{
        Construction, Cost, Request, Temperature, choose,
        in_context_gd::{InContextGd, power},
    },
    interpolation::F32_ROUNDOFF,
    network::{Layer, Network},
    places::{GAP, carrying, keeping, layer_size, mark_places, places},
    refusal::Refusal,
    space::Space,
};

/// Number of empty rows that the query sees besides the two of the state.
const NOTHING: usize = 4;

/// Scales of scores, and the errors that follow from them.
#[derive(Clone, Copy)]
struct MirrorPlan {
    /// δ, the scale of scores in the steps.
    delta: f64,
    /// δ', the scale of scores in the readout.
    readout: f64,
    /// E_k, the bound on the error of the last state.
    drift: f64,
}

pub(super) fn build(gd: &InContextGd, delta: Option<f64>, request: Request) -> Result<Construction, Refusal> {
    gd.check_rows(rows(gd))?;
    if delta.is_some_and(|delta| !(delta > 0.0 && delta.is_finite())) {
        return Err(Refusal::invalid("delta", "must be a positive number"));
    }
    let error = |plan: &MirrorPlan| {
        let error = plan.bound(gd).value + plan.rounding(gd).value;
        if error.is_nan() { f64::INFINITY } else { error }
    };
    if let Some(delta) = delta
        && !error(&MirrorPlan::of(gd, delta)).is_finite()
    {
        return Err(Refusal::invalid("delta", format!("{delta} is so large that nothing can be said about the error")));
    }
    let plan = match delta {
        Some(delta) => MirrorPlan::of(gd, delta),
        // Every δ needs the same number of parameters, so the best is taken, to within 2 per cent.
        None => (0..1400)
            .map(|step| MirrorPlan::of(gd, 10.0 * 0.98_f64.powi(step)))
            .min_by(|a, b| error(a).total_cmp(&error(b)))
            .unwrap_or_else(|| MirrorPlan::of(gd, 1e-2)),
    };
    let cost = |plan: &MirrorPlan| Cost { error: error(plan), exact: plan.bound(gd).value, parameters: parameters(gd) };
    let hint =
        if delta.is_some() { "; another delta may do better" } else { "; fewer steps or a smaller rate reach further" };
    let plan = choose(request, [plan], cost, hint)?;
    Ok(plan.write(gd))
}

/// Number of rows: examples, query, mirrored examples, two states.
fn rows(gd: &InContextGd) -> usize {
    2 * gd.points + 3
}

fn parameters(gd: &InContextGd) -> f64 {
    let (d, rows) = (gd.d, rows(gd));
    let mirror = layer_size(d + 1, [rows, prompt_space(d).width(), d + 1], &[[2, 2, d + 1]]);
    let step =
        |d_in: usize| layer_size(d_in, [rows, step_space(d).width(), 2 * d + 1], &[[1, 2, 2 * d + 1], [1, d + 2, d]]);
    let read = layer_size(2 * d + 1, [rows + NOTHING, read_space(d).width(), 1], &[[1, d, 1]]);
    mirror + step(d + 1) + (gd.steps as f64 - 1.0) * step(2 * d + 1) + read
}

fn prompt_space(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("one", 1), ("place", 1), ("square", 1), ("self", 1), ("mirrored", 1)])
}

fn step_space(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("w", d), ("sign", 1), ("silent", 1), ("one", 1), ("place", 1), ("square", 1)])
}

fn read_space(d: usize) -> Space {
    Space::new(&[("x", d), ("w", d), ("sign", 1)])
}

impl MirrorPlan {
    fn of(gd: &InContextGd, delta: f64) -> Self {
        let drift = drift(gd, delta);
        // Minimises a δ'⁴ + b / δ'.
        let reach = gd.input_norm() * (gd.weight_norm() + drift);
        let readout = (READ_ROUNDINGS * F32_ROUNDOFF * 45.0 / reach.powi(5)).powf(0.2);
        Self { delta, readout, drift }
    }

    fn bound(&self, gd: &InContextGd) -> Bound {
        let reach = gd.input_norm() * (gd.weight_norm() + self.drift);
        Bound::default()
            .and(
                "softmax is not quite linear",
                "sqrt(d) x E_k, E_k = sum_s V_(k-1-s) a_s",
                gd.input_norm() * self.drift,
            )
            .and("readout", "delta'^4 (sqrt(d) x (|w| + E_k))^5 / 180", self.readout.powi(4) * reach.powi(5) / 180.0)
            .and("rows attended to by mistake", "see `leak`", self.leak(gd))
    }

    /// Every number that is carried through a layer has an error of at most ζ = 2 T e⁻⁶⁰ B, B being the largest of x, y
    /// and |w|; after k + 1 layers the error of the prompt is (k + 1) ζ. A step multiplies that by (η/δ) (1 + 2 δ x (√d
    /// |w| + 1)) in every channel, the silenced rows add (η/δ) T e⁻⁶⁰ x, and the readout multiplies by √d x, or by |w|
    /// for the query.
    fn leak(&self, gd: &InContextGd) -> f64 {
        let (k, weight) = (gd.steps as f64, gd.weight_norm() + self.drift);
        let largest = gd.x_max.max(gd.y_max).max(weight);
        let shift = (k + 1.0) * 2.0 * rows(gd) as f64 * (-GAP).exp() * largest;
        let gain = 1.0 + 2.0 * self.delta * gd.x_max * ((gd.d as f64).sqrt() * weight + 1.0);
        let step = gd.rate / self.delta * (gd.d as f64).sqrt() * (gain + 1.0) * 2.0 + 1.0;
        (gd.input_norm() * k * step + (gd.d as f64).sqrt() * weight) * shift
    }

    fn rounding(&self, gd: &InContextGd) -> Bound {
        let (k, d, n) = (gd.steps as f64, gd.d as f64, gd.points as f64);
        let (weight, eps) = (gd.weight_norm() + self.drift, F32_ROUNDOFF);
        let form = gd.input_norm() * weight + gd.y_max;
        // Terms are x/(2N) and cancel, so that m of the 2N sum to at most min(m, 2N − m) x/(2N): N/2 roundings of x in
        // any order. Weights have eight more, six of them from the exponential.
        let gradient = k * gd.rate * gd.curvature() * (n / 2.0 + 10.0) * eps / self.delta;
        let scores = k * gd.rate * gd.curvature() * (d + 12.0) * eps * form;
        let state = (4.0 * k + d + 8.0) * eps * gd.input_norm() * weight;
        Bound::default()
            .and("mean of mirrored inputs", "k eta d x^2 (N/2 + 10) eps / delta", gradient)
            .and("scores", "k eta d x^2 (d + 12) eps (sqrt(d) x |w| + y)", scores)
            .and("state", "(4 k + d + 8) eps sqrt(d) x |w|", state)
            .and("readout", format!("{READ_ROUNDINGS} eps / delta'"), READ_ROUNDINGS * eps / self.readout)
    }

    fn write(&self, gd: &InContextGd) -> Construction {
        let (d, n, rows) = (gd.d, gd.points, rows(gd));
        let prompt = Space::new(&[("x", d), ("y", 1)]);
        let carried = Space::new(&[("x", d), ("y", 1), ("w", d)]);
        let mut layers = vec![mirror_layer(gd, &prompt)];
        for step in 0..gd.steps {
            let (from, names): (&Space, &[&str]) =
                if step == 0 { (&prompt, &["x", "y"]) } else { (&carried, &["x", "y", "w"]) };
            layers.push(self.step_layer(gd, from, names, &carried));
        }
        layers.push(self.read_layer(gd, &carried));
        Construction {
            name: InContextGd::NAME,
            target: gd.target(),
            domain: gd.domain(),
            network: Network { seq_len: n + 1, d_in: d + 1, d_out: 1, layers, readout: Readout::Rows },
            scored: Some(gd.scored()),
            sizes: vec![
                ("delta".to_owned(), self.delta),
                ("delta'".to_owned(), self.readout),
                ("rows".to_owned(), rows as f64),
                ("layers".to_owned(), gd.steps as f64 + 2.0),
            ],
            temperature: Temperature {
                beta: self.delta,
                reason: "delta scales the scores of a step: larger ones leave the range where softmax is linear, smaller ones \
                         lose the gradient in float32"
                    .to_owned(),
            },
            bound: self.bound(gd),
            rounding: self.rounding(gd),
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            hard: gd.hard(),
        }
    }

    /// The state attends to examples and their mirror images.
    fn step_layer(&self, gd: &InContextGd, from: &Space, names: &[&str], out: &Space) -> Layer {
        let (d, n, rows) = (gd.d, gd.points, rows(gd));
        let z = step_space(d);
        let mut map = keeping(from, &z, names, rows);
        mark_places(&mut map, &z, &places(rows));
        for row in (0..rows).filter(|row| *row == n || *row > 2 * n) {
            map.constant[(row, z.at("silent"))] = 1.0;
        }
        map.constant[(rows - 2, z.at("sign"))] = 1.0;
        map.constant[(rows - 1, z.at("sign"))] = -1.0;
        let mut head = Head::zeros(z.width(), d + 2, d, out.width());
        for j in 0..d {
            head.query.weight[(z.nth("w", j), j)] = self.delta;
            head.key.weight[(z.nth("x", j), j)] = 1.0;
            head.value.weight[(z.nth("x", j), j)] = 1.0;
            head.output[(j, out.nth("w", j))] = -gd.rate / self.delta;
        }
        head.query.weight[(z.at("sign"), d)] = -self.delta;
        head.key.weight[(z.at("y"), d)] = 1.0;
        head.query.weight[(z.at("one"), d + 1)] = -2.0 * GAP;
        head.key.weight[(z.at("silent"), d + 1)] = 1.0;
        let carry = carrying(&z, out, "place", &["x", "y", "w"], 1.0);
        Layer { space: z, map, heads: vec![carry, head] }
    }

    /// The query attends to w, −w and empty rows.
    fn read_layer(&self, gd: &InContextGd, from: &Space) -> Layer {
        let (d, rows) = (gd.d, rows(gd));
        let z = read_space(d);
        let mut map = keeping(from, &z, &["x", "w"], rows + NOTHING);
        map.constant[(rows - 2, z.at("sign"))] = 1.0;
        map.constant[(rows - 1, z.at("sign"))] = -1.0;
        let mut head = Head::zeros(z.width(), d, 1, 1);
        for j in 0..d {
            head.query.weight[(z.nth("x", j), j)] = self.readout;
            head.key.weight[(z.nth("w", j), j)] = 1.0;
        }
        head.value.weight[(z.at("sign"), 0)] = 1.0;
        head.output[(0, 0)] = 3.0 / self.readout;
        Layer { space: z, map: InputMap { queries: gd.points + 1, keys: 2 + NOTHING, ..map }, heads: vec![head] }
    }
}

/// Roundings of 1 in the readout: three of each sixth, plus the eight of its two weights.
const READ_ROUNDINGS: f64 = 12.0;

/// E_k, the bound on the error of the last state.
fn drift(gd: &InContextGd, delta: f64) -> f64 {
    let lambda = gd.curvature();
    let gain = |s: usize| {
        let at = |h: f64| gd.rate * h.sqrt() * power((1.0 - gd.rate * h).abs(), s);
        at(lambda).max(at(lambda.min(1.0 / (gd.rate * (2.0 * s as f64 + 1.0)))))
    };
    let gains: Vec<f64> = (0..gd.steps).map(gain).collect();
    let mut each: Vec<f64> = Vec::with_capacity(gd.steps);
    let after = |each: &[f64]| each.iter().rev().zip(&gains).map(|(v, gain)| v * gain).sum::<f64>();
    for t in 0..gd.steps {
        let drift = after(&each);
        let largest = gd.largest_residual(t) + gd.input_norm() * drift;
        let mean = gd.y_max + lambda.sqrt() * drift;
        let curve = (largest.powi(2) / 6.0).max(mean.powi(2) / 2.0);
        each.push(mean * delta.powi(2) * curve * (delta * largest).cosh());
    }
    after(&each)
}

/// Copies examples and query, and adds the mirror images. A row that copies nothing attends to empty rows, which share
/// a place.
fn mirror_layer(gd: &InContextGd, prompt: &Space) -> Layer {
    let (n, rows) = (gd.points, rows(gd));
    let z = prompt_space(gd.d);
    let mut map = keeping(prompt, &z, &["x", "y"], rows);
    let known = places(n + 2);
    let place = |row: usize| known[row.min(n + 1)];
    mark_places(&mut map, &z, &(0..rows).map(place).collect::<Vec<_>>());
    for row in 0..rows {
        let mirrored = if (n + 1..=2 * n).contains(&row) { place(row - n - 1) } else { place(n + 1) };
        map.constant[(row, z.at("self"))] = place(row);
        map.constant[(row, z.at("mirrored"))] = mirrored;
    }
    let take = |target: &str, sign: f64| carrying(&z, prompt, target, &["x", "y"], sign);
    let heads = vec![take("self", 1.0), take("mirrored", -1.0)];
    Layer { space: z, map, heads }
}
