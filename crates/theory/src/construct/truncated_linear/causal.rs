//! The clamp under a causal mask: every map is token-wise, and no position sees a later one.
//!
//! A map that treats positions alike cannot multiply x_i by a w_i of its own. [Mixing](crate::mixing) can, by the diagonal matrices
//! diag(w_1f, …, w_nf) for f = 1 … d: a first layer gives u_i = w_i · x_i + t_i − m in row i. In a second one the head of the sequence-wise form
//! interpolates, with the anchors in rows of their own, which belong to no position and which every position sees, as a prompt before the
//! sequence. An error of u moves what the head is compared with, clamp(u), by no more, so that it adds to the bound as it is.

use headway_plain::{
    Readout,
    network::{Head, InputMap, Matrix},
};

use super::{Clamp, TruncatedLinear, score_rounding};
use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::{Construction, Cost, Request, choose},
    interpolation::{Anchors, Profile, profile},
    mixing::{Channel, Mix, Mixing, Noise},
    network::{Layer, Network},
    refusal::Refusal,
    space::Space,
};

/// Score of a position's own row below that of the nearest anchor, at least: e⁻¹⁶⁰ is nothing.
const NOBODY: f64 = 160.0;

/// The first layer, with what it is off by.
struct Forms {
    mixing: Mixing,
    mixes: Vec<Mix>,
    leak: f64,
    rounding: f64,
}

impl Forms {
    fn of(clamp: &Clamp) -> Self {
        let (n, d) = (clamp.seq_len(), clamp.d_in());
        let (m, reach) = (f64::midpoint(clamp.low, clamp.high), clamp.input);
        let mixing = Mixing { queries: n, keys: n };
        let mixes = (0..d).map(|f| Mix {
            matrix: Matrix::from_fn(n, n, |i, j| if i == j { clamp.weights[i][f] } else { 0.0 }),
            // The row that adds constants has a value as large as inputs are.
            bias: clamp.offsets.iter().map(|t| if f == 0 { (t - m) / reach } else { 0.0 }).collect(),
            channels: vec![Channel { from: f, to: 0, bias: if f == 0 { reach } else { 0.0 } }],
        });
        let mixes: Vec<Mix> = mixes.collect();
        let noise = mixing.rounding(&mixes, 1, |_| (-reach, reach));
        let rounding = noise.iter().flatten().map(|Noise { most, .. }| *most).fold(0.0, f64::max);
        Self { leak: mixing.leak(&mixes, mixing.rows(), reach), mixing, mixes, rounding }
    }

    fn space(&self, d: usize) -> Space {
        let [query, key, dead] = self.mixing.parts();
        Space::new(&[("x", d), query, key, dead])
    }

    fn layer(&self, clamp: &Clamp) -> Layer {
        let (n, d) = (clamp.seq_len(), clamp.d_in());
        let space = self.space(d);
        let mut map = InputMap::token_wise(d, self.mixing.rows(), space.width());
        (0..d).for_each(|f| map.linear.weight_mut()[(f, space.nth("x", f))] = 1.0);
        self.mixing.label(&space, &mut map.constant);
        let heads = self.mixing.heads(&space, &self.mixes, 1);
        Layer { space, map: InputMap { queries: n, ..map }, heads }
    }

    fn parameters(&self, d: usize) -> f64 {
        let (heads, values) = self.mixing.count(&self.mixes);
        let width = self.space(d).width() as f64;
        let map = (d + self.mixing.rows()) as f64 * width;
        map + heads as f64 * 2.0 * width * self.mixing.queries as f64 + values as f64 * (width + 1.0)
    }
}

impl TruncatedLinear {
    /// Chooses the size, then writes the two layers.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build_causal(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let profile = profile(self.mode.sharpness(), super::MOST_INTERVALS, 1);
        let forms = Forms::of(&self.clamp);
        let before = forms.parameters(self.clamp.d_in());
        let cost = |intervals: &usize| {
            let (bound, rounding) = self.causal_errors(*intervals, profile, &forms);
            let rows = (self.clamp.seq_len() + intervals + 1) as f64;
            Cost::of(&bound, &rounding, before + (1.0 + rows) * 4.0 + 21.0)
        };
        let intervals = choose(request, self.candidates(), cost, "")?;
        let c = self.mode.sharpness();
        let layers = vec![forms.layer(&self.clamp), self.causal_layer(intervals, c)];
        let (seq_len, d_in) = (self.clamp.seq_len(), self.clamp.d_in());
        let network = Network { seq_len, d_in, d_out: 1, layers, readout: Readout::Rows, causal: true };
        let errors = self.causal_errors(intervals, profile, &forms);
        let temperature = self.temperature(intervals, c, self.mode.reason());
        let rows = network.layers.iter().map(Layer::rows).max().unwrap_or(0);
        let built = self.construction(intervals, network, temperature, errors);
        let sizes = vec![("p".to_owned(), intervals as f64), ("rows".to_owned(), rows as f64)];
        Construction { sizes, provable: None, ..built }.in_float32("low", "input")
    }

    fn causal_errors(&self, intervals: usize, profile: Profile, forms: &Forms) -> (Bound, Bound) {
        let Anchors { low, high, .. } = self.anchors(intervals);
        let c = self.mode.sharpness();
        let lost = forms.leak + self.clamp.seq_len() as f64 * (-NOBODY).exp() * (high - low);
        let bound = self.bound(intervals, profile).and(
            "weights of zero",
            "exp(-80) 2 rows scale X, summed over the heads of the first layer; n (b - a) exp(-160)",
            lost,
        );
        let rounding = score_rounding(self.anchors(intervals), c, profile)
            .and(
                "linear form",
                "w_i . x_i + t_i - m mixed by log weights, sums in any order; 4 eps (sum |w| |x| + |t| + |m|) as a query",
                forms.rounding + 4.0 / (self.clamp.d_in() as f64 + 3.0) * self.clamp.form_noise(),
            )
            .and(
                "values",
                "(2 keys felt + 8) eps max(|a|, |b|)",
                value_noise(felt(c), low.abs().max(high.abs())),
            );
        (bound, rounding)
    }

    /// Rows (u, 1, L̃, L̃²): positions, then anchors.
    fn causal_layer(&self, intervals: usize, c: f64) -> Layer {
        let (n, anchors) = (self.clamp.seq_len(), self.anchors(intervals));
        let (m, beta) = (anchors.centre(), anchors.inverse_temperature(c));
        let z = Space::new(&[("u", 1), ("one", 1), ("anchor", 1), ("square", 1)]);
        let mut map = InputMap::token_wise(1, n + intervals + 1, z.width());
        map.linear.weight_mut()[(0, z.at("u"))] = 1.0;
        for row in 0..=n + intervals {
            let (anchor, square) = match row.checked_sub(n) {
                Some(k) => (anchors.at(k) - m, (anchors.at(k) - m).powi(2)),
                // The best anchor's score is at least −β (b − a)²/4.
                None => (0.0, (anchors.high - anchors.low).powi(2) + NOBODY / beta),
            };
            map.constant[(row, z.at("one"))] = 1.0;
            map.constant[(row, z.at("anchor"))] = anchor;
            map.constant[(row, z.at("square"))] = square;
        }
        let mut head = Head::zeros(z.width(), 2, 1, 1);
        head.query.weight[(z.at("u"), 0)] = 2.0 * beta;
        head.query.weight[(z.at("one"), 1)] = beta;
        head.key.weight[(z.at("anchor"), 0)] = 1.0;
        head.key.weight[(z.at("square"), 1)] = -1.0;
        head.value.weight[(z.at("anchor"), 0)] = 1.0;
        head.value.weight[(z.at("one"), 0)] = m;
        head.output[(0, 0)] = 1.0;
        Layer { space: z, map: InputMap { queries: n, ..map }, heads: vec![head] }
    }
}
