//! FAVOR+: softmax attention by random features, linear in the length.

use burn::{
    module::Module,
    tensor::{FloatDType, Tensor},
};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec};
use crate::{
    attention::view::View,
    config::{ConfigError, LARGEST_WIDTH},
    init::Initializer,
    mask::Mask,
    parameter::Buffer,
    parameters::{Key, Rule},
};

/// mix(q, k, v)_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j) over the visible keys, with
///
/// φ(x) = exp(W x' − |x'|²/2 − c) + ε, x' = x / d^(1/4), c the largest entry of W x' − |x'|²/2 in the row.
///
/// If the rows of W are from N(0, I) and ε = 0, φ(q)·φ(k) e^(c_q + c_k) / m has mean exp(q·k / sqrt(d)), m being the
/// number of features: softmax attention in expectation, in time and memory linear in the length. A causal mask is
/// computed as a running sum over chunks of keys.
///
/// W is drawn once, saved with the weights, and not trained. For keys, other implementations take c to be the largest
/// entry over all positions, so that ε carries a trace of later keys; here each key has its own c, and its weight is
/// multiplied by e^c relative to the largest among the visible keys.
///
/// # References
/// Choromanski et al. 2020, arXiv 2009.14794, lemma 1 and section 2.4. Their orthogonal blocks come from a QR
/// decomposition with arbitrary signs, which is not uniform over orthogonal matrices and is biased for narrow heads;
/// here R has a positive diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FavorConfig {
    /// Number of random features m per head. Default 256.
    pub n_features: usize,
    /// How the rows of W are drawn: `orthogonal` or `iid`. Default `orthogonal`.
    pub directions: Directions,
    /// ε, above 0 and at most 1. Default 1e-9. It is relative to the largest feature of each row, which is 1; the 1e-6
    /// and 1e-4 of other programs are not.
    pub epsilon: f64,
}

/// How the rows of W are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directions {
    /// Blocks of `d_key` orthogonal rows with the lengths of independent ones: the same mean and at most the same
    /// variance.
    #[default]
    Orthogonal,
    /// Independent rows from N(0, I).
    Iid,
}

impl Default for FavorConfig {
    fn default() -> Self {
        Self { n_features: 256, directions: Directions::default(), epsilon: 1e-9 }
    }
}

/// FAVOR+ of one layer.
#[derive(Module, Debug)]
pub struct Favor {
    /// W, shared by all heads. `[n_features, d_key]`
    pub features: Buffer,
    #[module(skip)]
    epsilon: f64,
}

/// Features of rows, divided by e^c for the largest exponent c of each row.
struct Features {
    /// `[batch, n_heads, rows, n_features]`
    phi: Tensor<4>,
    /// c. `[batch, n_heads, rows, 1]`
    level: Tensor<4>,
}

impl Features {
    fn rows(&self, start: usize, length: usize) -> Self {
        Self { phi: self.phi.clone().narrow(2, start, length), level: self.level.clone().narrow(2, start, length) }
    }
}

/// Sums over the keys so far, relative to the largest level c among them.
struct Sums {
    /// Σ_j φ(k_j) v_jᵀ. `[batch, n_heads, n_features, d_value]`
    mixed: Tensor<4>,
    /// Σ_j φ(k_j). `[batch, n_heads, n_features, 1]`
    mass: Tensor<4>,
    /// `[batch, n_heads, 1, 1]`
    level: Tensor<4>,
}

impl Sums {
    fn of(keys: &Features, values: Tensor<4>, view: &View) -> Self {
        let level = keys.level.clone().max_dim(2);
        let phi = keys.phi.clone() * (keys.level.clone() - level.clone()).exp();
        let phi = phi.swap_dims(2, 3); // [batch, n_heads, n_features, rows]
        Self { mixed: view.product(phi.clone(), values), mass: phi.sum_dim(3), level }
    }

    fn and(self, more: Self) -> Self {
        let level = self.level.clone().max_pair(more.level.clone());
        let [old, new] = [self.level, more.level].map(|of| (of - level.clone()).exp());
        Self {
            mixed: self.mixed * old.clone() + more.mixed * new.clone(),
            mass: self.mass * old + more.mass * new,
            level,
        }
    }
}

/// Number of keys in one chunk of a causal pass.
const CHUNK: usize = 64;
/// Level of a hidden key.
const HIDDEN: f32 = -1e30;
/// Smaller than every sum of weights of a query that sees a key; keeps the division finite if it sees none.
const NOTHING: f64 = 1e-30;

impl Favor {
    fn features(&self, x: Tensor<4>, view: &View) -> Features {
        let d_key = x.dims()[3] as f64;
        let x = x.cast(FloatDType::F32).mul_scalar(d_key.powf(-0.25));
        let half_square = (x.clone() * x.clone()).sum_dim(3).mul_scalar(0.5); // [batch, n_heads, rows, 1]
        let exponents = view.product(x, self.features.val().transpose().unsqueeze()) - half_square;
        // A factor on a query's features cancels, and that on a key's is put back; except for ε, neither has a
        // gradient.
        let level = exponents.clone().detach().max_dim(3);
        Features { phi: (exponents - level.clone()).exp().add_scalar(self.epsilon), level }
    }
}

/// Unnormalised weights of the keys for each query, and the level that they are relative to.
///
/// # Shapes
/// weights `[batch, n_heads, q_len, k_len]`, level `[batch, n_heads, q_len, 1]`
fn pair_weights(q: &Features, k: &Features, view: &View, before: Option<&Sums>) -> (Tensor<4>, Tensor<4>) {
    let [batch, n_heads, q_len, _] = q.phi.dims();
    let k_len = k.phi.dims()[2];
    let pairs = [batch, n_heads, q_len, k_len];
    let levels = k.level.clone().swap_dims(2, 3).expand(pairs);
    let hidden = view.mask.hidden(q_len, k_len, &levels.device());
    let levels = match hidden {
        Some(hidden) => levels.mask_fill(hidden.reshape([1, 1, q_len, k_len]).expand(pairs), HIDDEN),
        None => levels,
    };
    let own = levels.clone().max_dim(3); // [batch, n_heads, q_len, 1]
    let level = match before {
        Some(sums) => own.max_pair(sums.level.clone().expand([batch, n_heads, q_len, 1])),
        None => own,
    };
    // Relative to any visible key, the factor of a hidden one is zero; if all are hidden it would be one.
    let seen = levels.clone().greater_elem(HIDDEN).float();
    let factors = (levels - level.clone()).exp() * seen;
    (view.product(q.phi.clone(), k.phi.clone().swap_dims(2, 3)) * factors, level)
}

/// Attention without a mask.
fn mix_all(q: &Features, k: &Features, v: Tensor<4>, view: &View) -> Tensor<4> {
    let sums = Sums::of(k, v, view);
    view.product(q.phi.clone(), sums.mixed) / view.product(q.phi.clone(), sums.mass)
}

/// Attention under a causal mask, in which query i sees keys 0 … i + (`k_len` − `q_len`).
fn mix_causally(q: &Features, k: &Features, v: &Tensor<4>, view: &View) -> Tensor<4> {
    let ([batch, n_heads, q_len, _], [_, _, k_len, d_value]) = (q.phi.dims(), v.dims());
    // Number of first queries that see nothing, and of first keys that all queries see.
    let (blind, common) = (q_len.saturating_sub(k_len), k_len.saturating_sub(q_len));
    let mut mixed = Vec::new();
    if blind > 0 {
        mixed.push(Tensor::zeros([batch, n_heads, blind, d_value], &v.device()));
    }
    let mut sums = (common > 0).then(|| Sums::of(&k.rows(0, common), v.clone().narrow(2, 0, common), view));
    for start in (0..q_len - blind).step_by(CHUNK) {
        let length = CHUNK.min(q_len - blind - start);
        let (queries, keys) = (q.rows(blind + start, length), k.rows(common + start, length));
        let values = v.clone().narrow(2, common + start, length);
        let (weights, level) = pair_weights(&queries, &keys, view, sums.as_ref());
        let (mut mixture, mut mass) = (view.product(weights.clone(), values.clone()), weights.sum_dim(3));
        if let Some(Sums { mixed, mass: before, level: below }) = &sums {
            let factor = (below.clone() - level).exp(); // [batch, n_heads, length, 1]
            mixture = mixture + view.product(queries.phi.clone(), mixed.clone()) * factor.clone();
            mass = mass + view.product(queries.phi.clone(), before.clone()) * factor;
        }
        mixed.push(mixture / mass);
        let chunk = Sums::of(&keys, values, view);
        sums = Some(match sums {
            Some(before) => before.and(chunk),
            None => chunk,
        });
    }
    Tensor::cat(mixed, 2)
}

impl Kernel for Favor {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let (weights, _) = pair_weights(&self.features(q, view), &self.features(k, view), view, None);
        let mass = weights.clone().sum_dim(3).clamp_min(NOTHING);
        weights / mass
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        let v = v.cast(FloatDType::F32);
        match view.mask {
            Mask::Full => mix_all(&self.features(q, view), &self.features(k, view), v, view),
            Mask::Causal => mix_causally(&self.features(q, view), &self.features(k, view), &v, view),
            Mask::Hidden(_) => view.product(self.pattern(q, k, view), v),
        }
    }
}

/// Chunks of a causal pass, for the budget.
struct Chunks {
    /// Number of pairs of a query and a key in the same chunk.
    pairs: f64,
    /// Number of rows in the last chunk.
    last: f64,
    /// Number of chunks.
    count: f64,
}

impl Chunks {
    fn of(rows: f64) -> Self {
        let chunk = CHUNK as f64;
        let count = (rows / chunk).ceil();
        let last = rows - (count - 1.0) * chunk;
        Self { pairs: (count - 1.0) * chunk * chunk + last * last, last, count }
    }
}

impl KernelSpec for FavorConfig {
    fn validate(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !(1..=LARGEST_WIDTH).contains(&self.n_features) {
            problems.push(ConfigError::new("n_features", format!("must be from 1 to {LARGEST_WIDTH}")));
        }
        if !(self.epsilon > 0.0 && self.epsilon <= 1.0) {
            problems.push(ConfigError::new("epsilon", "must be above 0 and at most 1"));
        }
        problems
    }

    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel {
        let Self { n_features, directions, epsilon } = *self;
        let features = init.buffer([n_features, d_key], |rng| directions.draw(n_features, d_key, rng));
        AttentionKernel::Favor(Favor { features, epsilon })
    }

    /// Any pairs can be hidden, with memory quadratic in the length.
    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        match demand {
            Demand::AnyMask => Ok(()),
            Demand::Bias | Demand::Weights => Err("sums keys before it meets a query, and has no scores"),
        }
    }

    /// Features of queries and keys, sums over keys, and their products with queries; in a causal pass also the pairs
    /// within a chunk.
    fn flops(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, q_len, k_len, d_key, d_value, causal } = *sizes;
        let m = self.n_features as f64;
        let features = 2.0 * (q_len + k_len) * d_key * m;
        let sums = 2.0 * k_len * m * d_value + 2.0 * q_len * m * (d_value + 1.0);
        let within = if causal { 2.0 * Chunks::of(q_len).pairs * (m + d_value) } else { 0.0 };
        n_heads * (features + sums + within)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, q_len, k_len, d_value, causal, .. } = *sizes;
        let m = self.n_features as f64;
        // Exponentials and features; the rows are kept scaled, instead of the given ones. Both sides of the final
        // division.
        let each = 2.0 * (q_len + k_len) * m + q_len * (d_value + 1.0);
        let state = m * (d_value + 1.0);
        // Sums over keys, whose weighted features replace the unweighted ones unless pairs need those.
        let sums = if causal {
            let Chunks { pairs, last, count } = Chunks::of(q_len);
            2.0 * pairs + (k_len - last) * m + (count - 1.0) * state
        } else {
            state
        };
        n_heads * (each + sums)
    }

    fn function(&self) -> KernelKind {
        KernelKind::Favor(*self)
    }

    fn rules(&self) -> &'static [Rule] {
        const SIZES: &[Key] = &[
            Key::Model("kernel"),
            Key::Model("d_model"),
            Key::Model("n_heads"),
            Key::Model("d_head"),
            Key::Model("layers"),
        ];
        const PRESENCE: &[Key] = &[Key::Model("kernel"), Key::Model("n_layers"), Key::Model("layers")];
        &[("*.kernel.features", SIZES, PRESENCE)]
    }

    fn examples(&self) -> Vec<KernelKind> {
        [Directions::Orthogonal, Directions::Iid]
            .map(|directions| KernelKind::Favor(Self { n_features: 29, directions, ..Self::default() }))
            .into()
    }
}

impl Directions {
    /// W, row-major. `[n_features, d]`
    fn draw(self, n_features: usize, d: usize, mut rng: &mut dyn Rng) -> Vec<f32> {
        let mut normal = || -> Vec<f64> { (0..d).map(|_| StandardNormal.sample(&mut rng)).collect() };
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n_features);
        while rows.len() < n_features {
            let row = normal();
            if self == Self::Iid {
                rows.push(row);
                continue;
            }
            // Gram–Schmidt gives the rows of a QR decomposition whose R has a positive diagonal.
            let block = rows.len() / d * d;
            let direction = orthogonal_to(&rows[block..], row);
            let length = norm(&normal()) / norm(&direction);
            rows.push(direction.into_iter().map(|x| x * length).collect());
        }
        rows.into_iter().flatten().map(|x| x as f32).collect()
    }
}

/// The part of a vector that is orthogonal to other vectors, which are orthogonal to each other. Projected twice,
/// because the first time leaves rounding errors.
fn orthogonal_to(others: &[Vec<f64>], vector: Vec<f64>) -> Vec<f64> {
    let minus = |vector: Vec<f64>, other: &Vec<f64>| {
        let share = dot(&vector, other) / dot(other, other);
        vector.iter().zip(other).map(|(x, y)| x - share * y).collect()
    };
    [others, others].concat().iter().fold(vector, minus)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}
