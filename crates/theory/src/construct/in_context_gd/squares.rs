//! E2: products as differences of squares, r x = ((r + x)² − (r − x)²)/4, with squares interpolated between p + 1
//! anchors.
//!
//! Rows: N examples, the query, an empty row, and p + 1 anchors L_k on [−R, R], Δ apart. The query's row holds the
//! state w besides x_q; the anchors' rows hold L_k w. Each step takes two layers.
//! - Products: head (c, ±) has queries β (x_i, y_i, 1) and, at the anchors, keys (2 α L_k w ± 2 L_k e_c/α, −2 α L_k,
//!   −L_k²), which gives scores
//!   −β (u − L_k)² for u = α r_i ± x_ic/α, and values ±L_k²/4. The smoothing 1/(8β) is the same in both heads and
//!   cancels. The balance α makes
//!   both parts of u equally large, which keeps R small.
//! - Average: every row needs a_r (w − η mean of r x), a_r = 1 for the state and L_k for anchors. Attention with
//!   log-weights gives that exactly:
//!   m rows with score 0 beside an empty row with score ln(m (S/|a_r| − 1)) get the weight |a_r|/S together; the output
//!   weight is ±S, with two
//!   heads for the two signs of a_r, and as many for w.
//!
//! At the end the query is β (σ x_q, 1), and anchors have keys (2 L_k w, −L_k²) and values L_k/σ, which interpolates w
//! · x_q; σ stretches its range to that of the anchors. There are 2k + 1 layers.
//!
//! # Bound
//! If u has several anchors between itself and both ends, attention to the anchors has mean u + Δ μ and mean square
//! distance from u of Δ² (1/(2c) + ν), with |μ|, |ν| from Poisson's formula ([`Ripple`]). So the error of one product
//! is ε = (2 U Δ |μ| + Δ² |ν|)/2, with U the largest |u|; after k contractions the error of w is E_k = η k √d ε. U
//! depends on the residuals of the actual state, so both are solved for together. The readout adds Δ |μ|/σ.
//!
//! In the hard regime |μ| is 1/2 and the error falls as 1/p; for c ≤ 1 it is at most 3e-4.
//!
//! # References
//! Products by anchors that hold L_k w: the constructions behind arXiv 2508.17550. There nothing cancels; here the bias
//! does.

mod chain;

use headway_plain::{
    Readout,
    network::{Head, InputMap},
};

use crate::{
    bound::Bound,
    construct::{Construction, Cost, Request, Temperature, choose, in_context_gd::InContextGd},
    interpolation::{Anchors, F32_ROUNDOFF, Ripple},
    network::{Layer, Network},
    places::{GAP, carrying, keeping, layer_size, mark_places, places},
    prove::Provable,
    refusal::Refusal,
    space::Space,
};

/// Values of c that are tried if none is given: below 0.4, the anchors needed beyond the ends cost more than the
/// smaller ripple gains.
const SHARPNESS: [f64; 7] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Allowed range of c.
const SHARPNESS_ENDS: [f64; 2] = [0.25, 1e4];
/// Largest number of intervals that is tried.
const MOST_INTERVALS: usize = 900;

/// Sizes, and the errors that follow from them.
#[derive(Clone, Copy)]
struct SquaresPlan {
    intervals: usize,
    sharpness: f64,
    padding: usize,
    ripple: Ripple,
    /// U, the largest |u| at which the anchors are evaluated.
    reach: f64,
    /// α, the balance between residual and input.
    balance: f64,
    /// σ, the stretch of the readout.
    stretch: f64,
    /// ε, the bound on the error of one product.
    product: f64,
    /// E_k, the bound on the error of the last state.
    drift: f64,
}

pub(super) fn build(
    gd: &InContextGd,
    intervals: Option<usize>,
    sharpness: Option<f64>,
    request: Request,
) -> Result<Construction, Refusal> {
    let [least, most] = SHARPNESS_ENDS;
    if let Some(c) = sharpness.filter(|c| !(least..=most).contains(c)) {
        return Err(Refusal::invalid("sharpness", format!("must be from {least} to {most}, not {c}")));
    }
    gd.check_rows(gd.points + 12)?;
    let known = sharpness.map_or_else(|| SHARPNESS.to_vec(), |c| vec![c]);
    let most = MOST_INTERVALS.min(super::MOST_ROWS - gd.points - 3);
    let sizes: Vec<usize> = intervals.map_or_else(|| (1..=most).collect(), |p| vec![p]);
    let error = |plan: &SquaresPlan| plan.bound(gd).value + plan.rounding(gd).value;
    let best = |p: &usize| {
        let plans = known.iter().filter_map(|c| SquaresPlan::of(gd, *p, *c));
        plans.min_by(|a, b| error(a).total_cmp(&error(b)))
    };
    if let Some(p) = intervals
        && (p > most || best(&p).is_none())
    {
        let fewest = (1..=most).find(|p| best(p).is_some());
        let problem = match fewest {
            Some(fewest) => format!("must be from {fewest} to {most}, not {p}: fewer do not hold the residuals"),
            None => format!("no number up to {most} holds the residuals at this sharpness"),
        };
        return Err(Refusal::invalid("intervals", problem));
    }
    let plans: Vec<SquaresPlan> = sizes.iter().filter_map(best).collect();
    if plans.is_empty() {
        let problem = format!("{} leave {most} rows for anchors, too few to hold the residuals", gd.points);
        return Err(Refusal::invalid("points", problem));
    }
    let cost = |plan: &SquaresPlan| Cost::of(&plan.bound(gd), &plan.rounding(gd), plan.parameters(gd));
    Ok(choose(request, plans, cost, "; fewer steps or a smaller rate reach further")?.write(gd))
}

fn product_space(d: usize) -> Space {
    let columns = [("x", d), ("y", 1), ("w", d), ("anchor", 1), ("anchor_square", 1), ("value", 1)];
    Space::new(&[columns.as_slice(), &PLACE].concat())
}

fn average_space(d: usize) -> Space {
    let data = [("x", d), ("y", 1), ("w", d), ("product", d)];
    let silence = [("nothing", 1), ("no_product", 1), ("no_state", 1)];
    let wanted = WANTED.map(|name| (name, 1));
    Space::new(&[data.as_slice(), &silence, &wanted, &PLACE].concat())
}

fn read_space(d: usize) -> Space {
    Space::new(&[("x", d), ("w", d), ("anchor", 1), ("anchor_square", 1), ("one", 1)])
}

const PLACE: [(&str, usize); 3] = [("one", 1), ("place", 1), ("square", 1)];
/// Columns with the scores of the empty row, which set a row's share of products and of the state, for either sign.
const WANTED: [&str; 4] = ["product_plus", "product_minus", "state_plus", "state_minus"];

impl SquaresPlan {
    /// The plan for p intervals at sharpness c; `None` if the anchors cannot cover the residuals.
    fn of(gd: &InContextGd, intervals: usize, sharpness: f64) -> Option<Self> {
        // Missing anchors beyond the ends weigh at most 1e-16.
        let padding = (((37.0 / sharpness + 0.25).sqrt().ceil() - 1.0) as usize).max(1);
        let inner = intervals.checked_sub(2 * padding).filter(|inner| *inner > 0)? as f64;
        let ripple = Ripple::of(sharpness, padding);
        let residual = (0..gd.steps).map(|t| gd.largest_residual(t)).fold(0.0, f64::max);
        let balance = (gd.x_max / residual).sqrt();
        let time = gd.rate * gd.steps as f64 * (gd.d as f64).sqrt();
        let at = |drift: f64| {
            let reach = balance * (residual + gd.input_norm() * drift) + gd.x_max / balance;
            let stretch = reach / (gd.input_norm() * (gd.weight_norm() + drift));
            let spacing = 2.0 * reach / inner;
            let product = reach * spacing * ripple.mean + 0.5 * spacing.powi(2) * ripple.square;
            Self { intervals, sharpness, padding, ripple, reach, balance, stretch, product, drift }
        };
        // Beyond this the drift does not converge.
        let most = 1e6 * gd.weight_norm();
        let mut drift = 0.0;
        for _ in 0..200 {
            let after = time * at(drift).product;
            // Slightly above the fixed point, so that the inequality holds there.
            if after <= drift {
                return Some(at(drift));
            }
            drift = after * (1.0 + 1e-6);
            if !drift.is_finite() || drift > most {
                return None;
            }
        }
        None
    }

    fn anchors(&self) -> Anchors {
        let spacing = 2.0 * self.reach / (self.intervals - 2 * self.padding) as f64;
        let end = self.reach + spacing * self.padding as f64;
        Anchors { low: -end, high: end, intervals: self.intervals }
    }

    fn rows(&self, gd: &InContextGd) -> usize {
        gd.points + 2 + self.intervals + 1
    }

    fn parameters(&self, gd: &InContextGd) -> f64 {
        let (d, rows) = (gd.d, self.rows(gd));
        let state = 2 * d + 1;
        let products = |d_in: usize| {
            layer_size(d_in, [rows, product_space(d).width(), 3 * d + 1], &[[1, 2, state], [2 * d, d + 2, 1]])
        };
        let average = layer_size(3 * d + 1, [rows, average_space(d).width(), state], &[[1, 2, d + 1], [4, 2, d]]);
        let read = layer_size(state, [rows, read_space(d).width(), 1], &[[1, d + 1, 1]]);
        let k = gd.steps as f64;
        products(d + 1) + (k - 1.0) * products(state) + k * average + read
    }

    fn bound(&self, gd: &InContextGd) -> Bound {
        let spacing = self.anchors().spacing();
        Bound::default()
            .and(
                "interpolation of squares",
                "sqrt(d) x eta k sqrt(d) (2 U Delta mu + Delta^2 nu) / 2",
                gd.input_norm() * self.drift,
            )
            .and("interpolation of the prediction", "Delta mu / sigma", spacing * self.ripple.mean / self.stretch)
            .and("rows attended to by mistake", "see `leak`", self.leak(gd))
    }

    /// Every carried number, and every mean by log-weights, has an error of at most ζ = 2 T e⁻⁶⁰ S B, B being the
    /// largest of x, y, |w| and products; after k steps the error of the prompt is at most (2k + 1) ζ. The slope of a
    /// product in its u is at most c (|u| + Δ)/2, and u moves by √d α (x + |w| + 1) + 1/α times as much.
    fn leak(&self, gd: &InContextGd) -> f64 {
        let (k, d, weight) = (gd.steps as f64, gd.d as f64, gd.weight_norm() + self.drift);
        let largest = gd.x_max.max(gd.y_max).max(weight).max(self.anchors().high * gd.x_max);
        let shift = (2.0 * k + 1.0) * 2.0 * self.rows(gd) as f64 * (-GAP).exp() * self.scale() * largest;
        let moves = d.sqrt() * self.balance * (gd.x_max + weight + 1.0) + 1.0 / self.balance;
        let slope = (self.sharpness + 1.0) * (self.reach + self.anchors().spacing()) * moves;
        let step = gd.rate * d.sqrt() * 2.0 * slope + 1.0;
        let prediction = (self.sharpness + 1.0) * d.sqrt() * (gd.x_max + weight);
        (gd.input_norm() * k * step + prediction) * shift
    }

    /// A, an upper bound on the sum of the absolute terms of u.
    fn form(&self, gd: &InContextGd) -> f64 {
        let residual = gd.input_norm() * (gd.weight_norm() + self.drift) + gd.y_max;
        self.balance * residual + gd.x_max / self.balance
    }

    /// S, an upper bound on every |a_r|.
    fn scale(&self) -> f64 {
        1.125 * self.anchors().high.max(1.0)
    }

    fn rounding(&self, gd: &InContextGd) -> Bound {
        let (d, points, c, eps) = (gd.d as f64, gd.points as f64, self.sharpness, F32_ROUNDOFF);
        let (anchors, weight) = (self.anchors(), gd.weight_norm() + self.drift);
        let (input, reach, spacing) = (gd.input_norm(), self.reach, anchors.spacing());
        let data = gd.x_max * gd.y_max;
        let beta = anchors.inverse_temperature(c);
        // s', attention's root mean square distance from u, and the root of its fourth moment: a Gaussian's is 3 s'⁴, and 3.24 s'⁴ holds that
        // of anchors, unless ripples are large.
        let width = spacing * (0.5 / c + self.ripple.square).sqrt();
        let fourth = (1.8 * width.powi(2)).max(spacing.powi(2) * self.ripple.fourth.sqrt());
        // A score's terms, each rounded, and the error of L_k w in its row: logarithms, exponentials, the mean over N.
        let copies = 14.0 * weight + (points + 14.0) * gd.rate * d.sqrt() * data;
        let noise = |form: f64, factor: f64, l: f64| {
            beta * eps * ((d + 6.0) * (2.0 * l * form + l * l) + 2.0 * factor * input * anchors.high * copies)
        };
        let noise_of_products = |l: f64| noise(self.form(gd), self.balance, l);
        let noise_of_readout = |l: f64| noise(self.stretch * input * weight, self.stretch, l);
        let worst = |noise: f64| (2.0 * noise).exp();
        let near = reach + (1.4 * width).max(fourth.sqrt());
        // Cauchy–Schwarz inequality for the spread of values and the noise of scores.
        let squares = (reach * width + fourth / 2.0) * noise_of_products(near) * worst(noise_of_products(anchors.high));
        // Anchors whose weight is visible in float32 beside the largest, and eight roundings of each.
        let terms = (2.0 * (16.7 / c).sqrt() + 1.0).min(self.intervals as f64 + 1.0) + 8.0;
        let sums = 2.0 * terms * eps * (reach + width).powi(2) / 4.0;
        let mean = (points + 14.0) * eps * data;
        let steps = gd.steps as f64;
        let gain = input * steps * gd.rate * d.sqrt();
        let prediction = width * noise_of_readout(near) * worst(noise_of_readout(anchors.high));
        let prediction = (prediction + terms * eps * (reach + width)) / self.stretch;
        Bound::default()
            .and(
                "scores of products",
                "sqrt(d) x eta k sqrt(d) (U s' + 0.9 s'^2) gamma, s'^2 = Delta^2 (1/(2c) + nu), \
                 gamma = beta eps ((d + 6) (2 L A + L^2) + 2 alpha sqrt(d) x R (14 |w| + (N + 14) eta sqrt(d) x y)), \
                 L = U + 1.4 s', A = alpha (sqrt(d) x |w| + y) + x/alpha",
                gain * squares,
            )
            .and("sums of squares", format!("sqrt(d) x eta k sqrt(d) {terms:.0} eps (U + s')^2 / 2"), gain * sums)
            .and("averages", "sqrt(d) x eta k sqrt(d) (N + 14) eps x y", gain * mean)
            .and("state", "14 k eps sqrt(d) x |w|", 14.0 * steps * eps * input * weight)
            .and(
                "prediction",
                format!("(s' gamma' + {terms:.0} eps (U + s')) / sigma, gamma' as gamma, with sigma for alpha"),
                prediction,
            )
    }

    fn write(&self, gd: &InContextGd) -> Construction {
        let (d, n) = (gd.d, gd.points);
        let prompt = Space::new(&[("x", d), ("y", 1)]);
        let carried = Space::new(&[("x", d), ("y", 1), ("w", d)]);
        let with_products = Space::new(&[("x", d), ("y", 1), ("w", d), ("product", d)]);
        let mut layers = Vec::with_capacity(2 * gd.steps + 1);
        for step in 0..gd.steps {
            let (from, names): (&Space, &[&str]) =
                if step == 0 { (&prompt, &["x", "y"]) } else { (&carried, &["x", "y", "w"]) };
            layers.push(self.product_layer(gd, from, names, &with_products));
            layers.push(self.average_layer(gd, &with_products, &carried));
        }
        layers.push(self.read_layer(gd, &carried));
        Construction {
            name: InContextGd::NAME,
            target: gd.target(),
            domain: gd.domain(),
            network: Network { seq_len: n + 1, d_in: d + 1, d_out: 1, layers, readout: Readout::Rows, causal: false },
            scored: Some(gd.scored()),
            sizes: vec![
                ("p".to_owned(), self.intervals as f64),
                ("padding".to_owned(), self.padding as f64),
                ("c".to_owned(), self.sharpness),
                ("R".to_owned(), self.anchors().high),
                ("rows".to_owned(), self.rows(gd) as f64),
                ("layers".to_owned(), 2.0 * gd.steps as f64 + 1.0),
            ],
            temperature: Temperature {
                beta: self.anchors().inverse_temperature(self.sharpness),
                reason: format!(
                    "c = beta Delta^2 = {}: the smoothing of squares cancels between the two signs, so that only the ripple \
                     between anchors counts, (2 pi / c) exp(-pi^2 / c)",
                    self.sharpness
                ),
            },
            bound: self.bound(gd),
            rounding: self.rounding(gd),
            likely: None,
            provable: Some(Provable::Chain(self.chain(gd))),
            proof: None,
            truth: None,
            norm: None,
            hard: gd.hard().into_iter().chain([("ties", self.ties(gd))]).collect(),
        }
    }

    /// Identical examples, with labels that put u between anchors, where the ripple of the first step is largest, or at
    /// a tie.
    fn ties(&self, gd: &InContextGd) -> Vec<Vec<f64>> {
        let anchors = self.anchors();
        let values =
            anchors.all().flat_map(|at| [0.0, 0.25, 0.48, 0.52, 0.75].map(|part| at + part * anchors.spacing()));
        // u = x/α − α y.
        let labels = values.map(|u| (gd.x_max / self.balance - u) / self.balance).filter(|y| y.abs() <= gd.y_max);
        let labels: Vec<f64> = labels.collect();
        let labels = labels.iter().step_by(labels.len().div_ceil(256).max(1));
        labels.map(|y| gd.prompt(|_| (vec![gd.x_max; gd.d], *y), vec![gd.x_max; gd.d])).collect()
    }

    /// Writes the anchors after examples, query and empty row; all other rows are too far from every u to be attended
    /// to.
    fn lay_anchors(&self, gd: &InContextGd, map: &mut InputMap, z: &Space) {
        let (first, rows) = (gd.points + 2, self.rows(gd));
        let beta = self.anchors().inverse_temperature(self.sharpness);
        let far = 2.0 * self.form(gd) + (2.0 * GAP + self.sharpness) / beta;
        for row in 0..first {
            map.constant[(row, z.at("anchor_square"))] = far;
        }
        for (row, anchor) in (first..rows).zip(self.anchors().all()) {
            map.constant[(row, z.at("anchor"))] = anchor;
            map.constant[(row, z.at("anchor_square"))] = anchor * anchor;
        }
    }

    fn product_layer(&self, gd: &InContextGd, from: &Space, names: &[&str], out: &Space) -> Layer {
        let (d, rows) = (gd.d, self.rows(gd));
        let beta = self.anchors().inverse_temperature(self.sharpness);
        let z = product_space(d);
        let mut map = keeping(from, &z, names, rows);
        mark_places(&mut map, &z, &places(rows));
        self.lay_anchors(gd, &mut map, &z);
        for (row, anchor) in (gd.points + 2..rows).zip(self.anchors().all()) {
            map.constant[(row, z.at("value"))] = anchor * anchor / 4.0;
        }
        let mut heads = vec![carrying(&z, out, "place", &["x", "y", "w"], 1.0)];
        for (channel, sign) in (0..d).flat_map(|channel| [(channel, 1.0), (channel, -1.0)]) {
            let mut head = Head::zeros(z.width(), d + 2, 1, out.width());
            for j in 0..d {
                head.query.weight[(z.nth("x", j), j)] = beta;
                head.key.weight[(z.nth("w", j), j)] = 2.0 * self.balance;
            }
            head.key.weight[(z.at("anchor"), channel)] = 2.0 * sign / self.balance;
            head.query.weight[(z.at("y"), d)] = beta;
            head.key.weight[(z.at("anchor"), d)] = -2.0 * self.balance;
            head.query.weight[(z.at("one"), d + 1)] = beta;
            head.key.weight[(z.at("anchor_square"), d + 1)] = -1.0;
            head.value.weight[(z.at("value"), 0)] = 1.0;
            head.output[(0, out.nth("product", channel))] = sign;
            heads.push(head);
        }
        Layer { space: z, map, heads }
    }

    fn average_layer(&self, gd: &InContextGd, from: &Space, out: &Space) -> Layer {
        let (d, n, rows, scale) = (gd.d, gd.points, self.rows(gd), self.scale());
        let z = average_space(d);
        let mut map = keeping(from, &z, &["x", "y", "w", "product"], rows);
        mark_places(&mut map, &z, &places(rows));
        let factors = [vec![0.0; n], vec![1.0, 0.0], self.anchors().all().collect()].concat();
        for (row, factor) in factors.into_iter().enumerate() {
            let mut mark = |column: &str, value: f64| map.constant[(row, z.at(column))] = value;
            mark("nothing", f64::from(row == n + 1));
            mark("no_product", f64::from(row == n || row > n + 1));
            mark("no_state", f64::from(row < n || row > n + 1));
            // Score of the empty row beside `members` rows with score 0; e⁻⁸⁰ counts as no weight.
            let score = |factor: f64, members: usize| {
                if factor > 0.0 { (members as f64 * (scale / factor - 1.0)).ln().min(2.0 * GAP) } else { 2.0 * GAP }
            };
            for (column, value) in
                WANTED.into_iter().zip([score(factor, n), score(-factor, n), score(factor, 1), score(-factor, 1)])
            {
                mark(column, value);
            }
        }
        let mut heads = vec![carrying(&z, out, "place", &["x", "y"], 1.0)];
        for (wanted, (source, silent, factor)) in WANTED.into_iter().zip([
            ("product", "no_product", -gd.rate * scale),
            ("product", "no_product", gd.rate * scale),
            ("w", "no_state", scale),
            ("w", "no_state", -scale),
        ]) {
            let mut head = Head::zeros(z.width(), 2, d, out.width());
            head.query.weight[(z.at(wanted), 0)] = 1.0;
            head.key.weight[(z.at("nothing"), 0)] = 1.0;
            head.query.weight[(z.at("one"), 1)] = -2.0 * GAP;
            head.key.weight[(z.at(silent), 1)] = 1.0;
            for j in 0..d {
                head.value.weight[(z.nth(source, j), j)] = 1.0;
                head.output[(j, out.nth("w", j))] = factor;
            }
            heads.push(head);
        }
        Layer { space: z, map, heads }
    }

    fn read_layer(&self, gd: &InContextGd, from: &Space) -> Layer {
        let (d, rows) = (gd.d, self.rows(gd));
        let beta = self.anchors().inverse_temperature(self.sharpness);
        let z = read_space(d);
        let mut map = keeping(from, &z, &["x", "w"], rows);
        self.lay_anchors(gd, &mut map, &z);
        let mut head = Head::zeros(z.width(), d + 1, 1, 1);
        for j in 0..d {
            head.query.weight[(z.nth("x", j), j)] = beta * self.stretch;
            head.key.weight[(z.nth("w", j), j)] = 2.0;
        }
        for row in 0..rows {
            map.constant[(row, z.at("one"))] = 1.0;
        }
        head.query.weight[(z.at("one"), d)] = beta;
        head.key.weight[(z.at("anchor_square"), d)] = -1.0;
        head.value.weight[(z.at("anchor"), 0)] = 1.0;
        head.output[(0, 0)] = 1.0 / self.stretch;
        Layer { space: z, map: InputMap { queries: gd.points + 1, keys: self.intervals + 1, ..map }, heads: vec![head] }
    }
}
