//! H heads that clamp a linear form together, each on a part of the range: y_i = clamp(w_i · x_i + t_i, a, b).
//!
//! [a, b] is split into H parts [a_h, b_h] of n − 1 intervals each; head h gives clamp(u, a_h, b_h) − a_h, and
//!
//! clamp(u, a, b) = a + Σ_h (clamp(u, a_h, b_h) − a_h)
//!
//! exactly. The map is token-wise: z_i = (x_i, e_i), or (e_i ⊗ x_i, e_i) if positions have different w. The n positions
//! are the n anchors of every head; the rows e_k of W_K and W_V hold their keys and values. The anchors of each head
//! are taken relative to their own mean, which keeps float32 exact where a single head with as many anchors loses
//! digits. The error is κ(c) (b − a)/((n − 1) H).
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, multi-head theorem. There a head outside its part is silenced; here it saturates.

use headway_plain::{
    Readout,
    network::{Head, InputMap, Linear},
};
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::{
        Construction, Cost, Request, Temperature, choose,
        options::{File, Given, Options, Planned},
        truncated_linear::{Clamp, ClampConfig, hard_points, score_rounding},
    },
    domain::Domain,
    interpolation::{Anchors, F32_ROUNDOFF, Mode, Profile, profile, tail},
    network::{Layer, Network},
    refusal::Refusal,
    space::Space,
};

/// Options of [`TruncatedLinearHeads`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The clamp and the temperature.
    pub clamp: ClampConfig,
    /// Uses the w and t of the first position at every position, so that the map before attention is token-wise.
    /// Default false.
    pub shared: bool,
    /// H, number of heads; if `None`, the fewest that meet the tolerance.
    pub heads: Option<usize>,
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("heads", self.heads.is_some())]
    }

    fn file(&self) -> Option<File<'_>> {
        self.clamp.file()
    }

    fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let (clamp, task) = self.clamp.plan(self.shared, given, max_parameters)?;
        let heads = TruncatedLinearHeads { clamp, mode: self.clamp.mode, heads: self.heads };
        Ok(Planned::new(task, self.clamp.seed, move |request| heads.build(request)))
    }
}

/// The construction that clamps by several heads.
#[derive(Clone, Debug, PartialEq)]
pub struct TruncatedLinearHeads {
    /// The clamp to compute.
    pub clamp: Clamp,
    /// Temperature.
    pub mode: Mode,
    /// H, number of heads; if `None`, the fewest that meet the tolerance.
    pub heads: Option<usize>,
}

/// Largest number of heads that is tried.
const MOST_HEADS: usize = 1 << 16;

impl TruncatedLinearHeads {
    /// Name on the command line.
    pub const NAME: &str = "truncated-linear-heads";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.clamp.check()?;
        if self.clamp.seq_len() < 2 {
            return Err(Refusal::invalid("seq-len", "must be at least 2: the positions are the anchors"));
        }
        if !self.heads.is_none_or(|heads| (1..=MOST_HEADS).contains(&heads)) {
            return Err(Refusal::invalid("heads", format!("must be from 1 to {MOST_HEADS}")));
        }
        let candidates: Vec<usize> = match self.heads {
            Some(heads) => vec![heads],
            // Every number up to 64, then steps of a few per cent.
            None => {
                let next = |heads: &usize| Some((heads + heads / 64).max(heads + 1));
                std::iter::successors(Some(1), next).take_while(|heads| *heads <= MOST_HEADS).collect()
            }
        };
        // With more than a few heads the profile stays the same.
        let chain = |heads: usize| profile(self.mode.sharpness(), self.intervals(), heads.min(9));
        let profiles: Vec<Profile> = (1..=9).map(chain).collect();
        let known = |heads: usize| profiles[heads.min(9) - 1];
        let cost = |heads: &usize| {
            let (bound, rounding) = (self.bound(*heads, known(*heads)), self.rounding(*heads, known(*heads)));
            Cost::of(&bound, &rounding, self.parameters(*heads))
        };
        let heads = choose(request, candidates, cost, "; longer sequences have more anchors")?;
        self.write(heads, known(heads)).in_float32("low", "input")
    }

    /// Number of intervals of one head.
    fn intervals(&self) -> usize {
        self.clamp.seq_len() - 1
    }

    /// Whether all positions share one linear form.
    fn is_shared(&self) -> bool {
        let Clamp { weights, offsets, .. } = &self.clamp;
        weights.iter().all(|w| *w == weights[0]) && offsets.iter().all(|t| t.to_bits() == offsets[0].to_bits())
    }

    fn space(&self) -> Space {
        let (n, d) = (self.clamp.seq_len(), self.clamp.d_in());
        Space::new(&[("x", if self.is_shared() { d } else { n * d }), ("position", n)])
    }

    fn part(&self, heads: usize, head: usize) -> Anchors {
        let whole = Anchors { low: self.clamp.low, high: self.clamp.high, intervals: heads * self.intervals() };
        let first = head * self.intervals();
        Anchors { low: whole.at(first), high: whole.at(first + self.intervals()), intervals: self.intervals() }
    }

    fn parameters(&self, heads: usize) -> f64 {
        let (n, d, width) = (self.clamp.seq_len() as f64, self.clamp.d_in() as f64, self.space().width() as f64);
        let map = if self.is_shared() { d * width + n * width } else { (n * d + 1.0) * n * width };
        map + heads as f64 * (width * 5.0 + 1.0)
    }

    fn bound(&self, heads: usize, profile: Profile) -> Bound {
        let (c, spacing) = (self.mode.sharpness(), self.part(heads, 0).spacing());
        let anyway = (0.5 + tail(c)) * spacing;
        let formula = format!(
            "kappa(c) (b - a) / ((n - 1) H), kappa({c}) = {:.4}; for any c one head is off by (1/2 + tau(c)) Delta = {anyway:.3e} at most",
            profile.error
        );
        let bound = Bound::default().and("interpolation", formula, profile.error * spacing);
        self.clamp.no_more_than_range(bound)
    }

    fn rounding(&self, heads: usize, profile: Profile) -> Bound {
        let part = self.part(heads, 0);
        let range = self.clamp.high - self.clamp.low;
        let largest = self.clamp.low.abs().max(self.clamp.high.abs());
        score_rounding(part, self.mode.sharpness(), profile)
            .and(
                "linear form",
                "(d + 3) eps (sum |w| |x| + |t| + |m|), once per head that sees it: two",
                2.0 * self.clamp.form_noise(),
            )
            .and(
                "values",
                "(2 keys felt + 8) eps (max(|a|, |b|) + b - a)",
                value_noise(felt(self.mode.sharpness()), largest + range),
            )
            // Saturated heads add the same number again and again, which is rounded in the same way while the exponent
            // stays the same.
            .and(
                "sum over heads",
                "(H - 1) eps max(|a|, |b|, b - a), in whatever order",
                (heads as f64 - 1.0) * F32_ROUNDOFF * largest.max(range),
            )
    }

    fn write(&self, heads: usize, profile: Profile) -> Construction {
        let Clamp { weights, offsets, low, .. } = &self.clamp;
        let (n, d) = (self.clamp.seq_len(), self.clamp.d_in());
        let z = self.space();
        let shared = self.is_shared();
        let mut map =
            if shared { InputMap::token_wise(d, n, z.width()) } else { InputMap::sequence_wise(n * d, n, z.width()) };
        match &mut map.linear {
            Linear::TokenWise(weight) => (0..d).for_each(|j| weight[(j, z.nth("x", j))] = 1.0),
            // Row i holds x_i in its i-th block: a map that differs from position to position.
            Linear::SequenceWise(weight) => {
                (0..n * d).for_each(|at| weight[(at, at / d * z.width() + z.nth("x", at))] = 1.0);
            }
        }
        for i in 0..n {
            map.constant[(i, z.nth("position", i))] = 1.0;
        }

        let mut all = Vec::with_capacity(heads);
        let parts: Vec<Anchors> = (0..heads).map(|head| self.part(heads, head)).collect();
        for (at, part) in parts.iter().enumerate() {
            let m = part.centre();
            let beta = part.inverse_temperature(self.mode.sharpness());
            let mut head = Head::zeros(z.width(), 2, 1, 1);
            for (column, w) in z.part("x").zip(weights.iter().flatten()) {
                head.query.weight[(column, 0)] = 2.0 * beta * w;
            }
            for (i, (t, anchor)) in offsets.iter().zip(part.all()).enumerate() {
                let position = z.nth("position", i);
                head.query.weight[(position, 0)] = 2.0 * beta * (t - m);
                head.query.weight[(position, 1)] = beta;
                head.key.weight[(position, 0)] = anchor - m;
                head.key.weight[(position, 1)] = -(anchor - m).powi(2);
                // The first head adds a as well.
                head.value.weight[(position, 0)] = anchor - part.low + if at == 0 { *low } else { 0.0 };
            }
            head.output[(0, 0)] = 1.0;
            all.push(head);
        }
        let beta = parts[0].inverse_temperature(self.mode.sharpness());
        let layer = Layer { space: z, map: InputMap { queries: n, keys: n, ..map }, heads: all };
        Construction {
            name: Self::NAME,
            target: self.clamp.target(),
            domain: self.domain(),
            network: Network {
                seq_len: n,
                d_in: d,
                d_out: 1,
                layers: vec![layer],
                readout: Readout::Rows,
                causal: false,
            },
            scored: None,
            sizes: vec![("n".to_owned(), n as f64), ("H".to_owned(), heads as f64)],
            temperature: Temperature { beta, reason: self.mode.reason().to_owned() },
            bound: self.bound(heads, profile),
            rounding: self.rounding(heads, profile),
            likely: None,
            provable: Some(self.clamp.provable(f64::midpoint(*low, self.clamp.high), true)),
            proof: None,
            truth: None,
            norm: None,
            hard: hard_points(&self.clamp, &parts),
        }
    }

    fn domain(&self) -> Domain {
        self.clamp.domain()
    }
}
