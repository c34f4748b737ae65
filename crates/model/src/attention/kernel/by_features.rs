//! Attention by features: weights φ(q)·φ(k) in the place of exponentials of scores, in time and memory linear in the length.

use burn::tensor::{FloatDType, Tensor, activation};
use headway_kernels::{FeatureMap, FeatureOptions, feature_attention, is_flex};

use super::{Demand, KernelSizes};
use crate::{attention::view::View, mask::Mask, parameter::Buffer};

/// mix(q, k, v)_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j) over the visible keys. A causal mask is computed as a running sum over
/// chunks of keys; any other mask by writing out the pattern.
///
/// On the CPU it is an operation of its own, which keeps no features; elsewhere plain operations compute the same.
///
/// # Shapes
/// as [`Kernel::mix`](super::Kernel::mix)
pub(super) fn mix(map: FeatureMap, directions: Option<&Buffer>, [q, k, v]: [Tensor<4>; 3], view: &View) -> Tensor<4> {
    let v = v.cast(FloatDType::F32);
    let causal = match view.mask {
        Mask::Full => false,
        Mask::Causal => true,
        Mask::Hidden(_) => return view.product(pattern(map, directions, q, k, view), v),
    };
    if is_flex(&q.device()) {
        let [q, k] = [q, k].map(|x| x.cast(FloatDType::F32));
        let directions = directions.map(|directions| directions.val());
        return feature_attention(q, k, v, directions, FeatureOptions { map, causal });
    }
    let [q, k] = [q, k].map(|x| Features::of(map, directions, x, view));
    if causal { mix_causally(&q, &k, &v, view) } else { mix_all(&q, &k, v, view) }
}

/// The weights, each row divided by its sum.
///
/// # Shapes
/// as [`Kernel::pattern`](super::Kernel::pattern)
pub(super) fn pattern(
    map: FeatureMap,
    directions: Option<&Buffer>,
    q: Tensor<4>,
    k: Tensor<4>,
    view: &View,
) -> Tensor<4> {
    let [q, k] = [q, k].map(|x| Features::of(map, directions, x, view));
    let (weights, _) = pair_weights(&q, &k, view, None);
    let mass = weights.clone().sum_dim(3);
    divided(weights, mass)
}

/// Number of keys in one chunk of a causal pass.
const CHUNK: usize = 64;
/// Level of a hidden key.
const HIDDEN: f32 = -1e30;
/// A smaller sum of weights is that of a query that sees no key; its row is zero.
const NOTHING: f32 = 1e-30;

/// Numerators divided by sums of weights, zero where these are nothing.
fn divided(of: Tensor<4>, mass: Tensor<4>) -> Tensor<4> {
    let nothing = mass.clone().abs().lower_elem(NOTHING);
    let shape = of.dims();
    of.mask_fill(nothing.clone().expand(shape), 0.0) / mass.mask_fill(nothing, 1.0)
}

/// Features of rows, divided by e^c.
struct Features {
    /// `[batch, n_heads, rows, n_features]`
    phi: Tensor<4>,
    /// c. `[batch, n_heads, rows, 1]`
    level: Tensor<4>,
}

impl Features {
    fn of(map: FeatureMap, directions: Option<&Buffer>, x: Tensor<4>, view: &View) -> Self {
        let x = x.cast(FloatDType::F32);
        let [batch, n_heads, rows, d_key] = x.dims();
        let none = || Tensor::zeros([batch, n_heads, rows, 1], &x.device());
        let Some(directions) = directions else {
            // One of both terms is 1 or 0. An exponential of large numbers would have no gradient, even where it is not chosen.
            let phi = x.clone().clamp_max(0.0).exp() + activation::relu(x.clone());
            return Self { level: none(), phi };
        };
        let scaled = x.clone().mul_scalar((d_key as f64).powf(-0.25));
        let half_square = (scaled.clone() * scaled.clone()).sum_dim(3).mul_scalar(0.5); // [batch, n_heads, rows, 1]
        let arguments = view.product(scaled, directions.val().transpose().unsqueeze());
        match map {
            FeatureMap::Elu => unreachable!("it has no directions"),
            FeatureMap::Exponential { epsilon } => {
                let exponents = arguments - half_square;
                // A factor on a query's features cancels, and that on a key's is put back; except for ε, neither has a
                // gradient.
                let level = exponents.clone().detach().max_dim(3);
                Self { phi: (exponents - level.clone()).exp().add_scalar(epsilon), level }
            }
            FeatureMap::Relu { epsilon } => {
                Self { level: none(), phi: activation::relu(arguments).add_scalar(epsilon) }
            }
            FeatureMap::Trigonometric => {
                Self { phi: Tensor::cat(vec![arguments.clone().cos(), arguments.sin()], 3), level: half_square }
            }
        }
    }

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
    divided(view.product(q.phi.clone(), sums.mixed), view.product(q.phi.clone(), sums.mass))
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
        mixed.push(divided(mixture, mass));
        let chunk = Sums::of(&keys, values, view);
        sums = Some(match sums {
            Some(before) => before.and(chunk),
            None => chunk,
        });
    }
    Tensor::cat(mixed, 2)
}

/// What such a kernel can do.
pub(super) fn supports(demand: Demand) -> Result<(), &'static str> {
    match demand {
        Demand::AnyMask => Ok(()),
        Demand::Bias | Demand::Weights => Err("sums keys before it meets a query, and has no scores"),
    }
}

/// Operations of [`mix`] with `n_features` features that are made of products with so many directions: features of queries and keys,
/// sums over keys, and their products with queries; in a causal pass also the pairs within a chunk.
pub(super) fn flops(sizes: &KernelSizes, n_directions: usize, n_features: f64) -> f64 {
    let KernelSizes { n_heads, q_len, k_len, d_key, d_value, causal } = *sizes;
    let features = 2.0 * (q_len + k_len) * d_key * n_directions as f64;
    let sums = 2.0 * k_len * n_features * d_value + 2.0 * q_len * n_features * (d_value + 1.0);
    let within = if causal { 2.0 * pairs_in_chunks(q_len) * (n_features + d_value) } else { 0.0 };
    n_heads * (features + sums + within)
}

/// Number of pairs of a query and a key in the same chunk.
fn pairs_in_chunks(rows: f64) -> f64 {
    let chunk = CHUNK as f64;
    let whole = (rows / chunk).floor();
    whole * chunk * chunk + (rows - whole * chunk).powi(2)
}

/// Floats that [`mix`] keeps on the CPU: for each query the sum of its weights, and what that is relative to.
pub(super) fn kept_floats(sizes: &KernelSizes) -> f64 {
    2.0 * sizes.n_heads * sizes.q_len
}
