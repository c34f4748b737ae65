//! FAVOR+: softmax attention by random features, linear in the length.

use std::num::NonZeroU64;

use burn::{module::Module, tensor::Tensor};
use headway_kernels::FeatureMap;
use headway_keys::Described;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, Redraw, by_features};
use crate::{
    attention::view::View,
    config::{ConfigError, LARGEST_WIDTH},
    init::Initializer,
    parameter::Buffer,
    parameters::{Key, Rule},
};

/// mix(q, k, v)_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j) over the visible keys, with x' = x / d^(1/4) and one of
///
/// - positive: φ(x) = e^(W x' − |x'|²/2) + ε e^c, c the largest exponent of the row;
/// - trigonometric: φ(x) = e^(|x'|²/2) (cos W x', sin W x');
/// - relu: φ(x) = max(W x', 0) + ε.
///
/// If the rows of W are from N(0, I) and ε = 0, φ(q)·φ(k) / m has mean exp(q·k / sqrt(d)) for the first two, m being the number of rows:
/// softmax attention in expectation, in time and memory linear in the length. Trigonometric features are the better the larger the
/// weight, and give some keys a negative weight; the third is another function.
///
/// W is drawn once, saved with the weights, and not trained; with `redraw_every` it is drawn anew while training. For keys, other
/// implementations take c to be the largest entry over all positions, so that ε carries a trace of later keys; here each key has its own c.
///
/// # References
/// Choromanski et al. 2020, arXiv 2009.14794, lemma 1 and section 2.4. Their orthogonal blocks come from a QR
/// decomposition with arbitrary signs, which is not uniform over orthogonal matrices and is biased for narrow heads;
/// `orthogonal` gives R a positive diagonal, and `plain_qr` is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct FavorConfig {
    /// Number of random directions m per head, the rows of W. Default 256. There are as many features, or twice as many if they are
    /// trigonometric.
    pub n_features: usize,
    /// How the rows of W are drawn: `orthogonal`, `plain_qr` or `iid`. Default `orthogonal`.
    pub directions: Directions,
    /// ε, above 0 and at most 1. Default 1e-9. For positive features it is relative to the largest feature of each row, which is 1; the 1e-6
    /// and 1e-4 of other programs are not. For `relu` they take 1e-3. Trigonometric features have none.
    pub epsilon: f64,
    /// φ: `positive`, `relu` or `trigonometric`. Default `positive`.
    #[serde(skip_serializing_if = "FavorFeatures::is_default")]
    pub features: FavorFeatures,
    /// Number of updates of training after which W is drawn anew, from the seed of the run. Default 0: it is drawn once.
    #[serde(skip_serializing_if = "is_zero")]
    pub redraw_every: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

/// The features of FAVOR+.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum FavorFeatures {
    /// Exponentials.
    #[default]
    Positive,
    /// Positive parts.
    Relu,
    /// Cosines and sines.
    Trigonometric,
}

impl FavorFeatures {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the rows of W are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Directions {
    /// Blocks of `d_key` orthogonal rows with the lengths of independent ones: the same mean and at most the same
    /// variance.
    #[default]
    Orthogonal,
    /// The same with the signs of Householder's QR decomposition, as LAPACK computes it and other programs use it: biased.
    PlainQr,
    /// Independent rows from N(0, I).
    Iid,
}

impl Default for FavorConfig {
    fn default() -> Self {
        Self {
            n_features: 256,
            directions: Directions::default(),
            epsilon: 1e-9,
            features: FavorFeatures::default(),
            redraw_every: 0,
        }
    }
}

/// FAVOR+ of one layer.
#[derive(Module, Debug)]
pub struct Favor {
    /// W, shared by all heads. `[n_features, d_key]`
    pub features: Buffer,
    #[module(skip)]
    map: FeatureMap,
}

impl Kernel for Favor {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        by_features::pattern(self.map, Some(&self.features), q, k, view)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        by_features::mix(self.map, Some(&self.features), [q, k, v], view)
    }
}

impl FavorConfig {
    fn map(&self) -> FeatureMap {
        let epsilon = self.epsilon as f32;
        match self.features {
            FavorFeatures::Positive => FeatureMap::Exponential { epsilon },
            FavorFeatures::Relu => FeatureMap::Relu { epsilon },
            FavorFeatures::Trigonometric => FeatureMap::Trigonometric,
        }
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
        let default = Self::default().epsilon;
        if self.features == FavorFeatures::Trigonometric && (self.epsilon - default).abs() > 0.0 {
            problems.push(ConfigError::new("epsilon", "is no part of trigonometric features; leave it out"));
        }
        problems
    }

    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel {
        let Self { n_features, directions, .. } = *self;
        let features = init.buffer([n_features, d_key], |rng| directions.draw(n_features, d_key, rng));
        AttentionKernel::Favor(Favor { features, map: self.map() })
    }

    /// Any pairs can be hidden, with memory quadratic in the length.
    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        by_features::supports(demand)
    }

    fn lacks(&self) -> &'static [Law] {
        match self.features {
            FavorFeatures::Positive => &[],
            FavorFeatures::Relu => &[Law::Smooth],
            FavorFeatures::Trigonometric => &[Law::NonNegative],
        }
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        let per_direction = if self.features == FavorFeatures::Trigonometric { 2.0 } else { 1.0 };
        by_features::flops(sizes, self.n_features, per_direction * self.n_features as f64)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        by_features::kept_floats(sizes)
    }

    /// Drawing anew changes how it is trained, and not what it computes.
    fn function(&self) -> KernelKind {
        KernelKind::Favor(Self { redraw_every: 0, ..*self })
    }

    fn with_features(&self, n_features: usize) -> Option<KernelKind> {
        Some(Self { n_features, ..*self }.into())
    }

    fn redraw(&self) -> Option<Redraw> {
        let directions = self.directions;
        let every = NonZeroU64::new(self.redraw_every)?;
        Some(Redraw { every, draw: Box::new(move |[m, d]: [usize; 2], rng: &mut dyn Rng| directions.draw(m, d, rng)) })
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
        let small = Self { n_features: 29, ..Self::default() };
        let relu = Self { features: FavorFeatures::Relu, epsilon: 1e-3, ..small };
        let iid = Self { directions: Directions::Iid, ..small };
        let trigonometric = Self { features: FavorFeatures::Trigonometric, n_features: 997, ..small };
        [small, iid, relu, trigonometric].map(KernelKind::Favor).into()
    }
}

impl Directions {
    /// W, row-major. `[n_features, d]`
    fn draw(self, n_features: usize, d: usize, mut rng: &mut dyn Rng) -> Vec<f32> {
        let mut normal = || -> Vec<f64> { (0..d).map(|_| StandardNormal.sample(&mut rng)).collect() };
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n_features);
        let mut reflections = Reflections::default();
        while rows.len() < n_features {
            let row = normal();
            if self == Self::Iid {
                rows.push(row);
                continue;
            }
            // Gram–Schmidt gives the rows of a QR decomposition whose R has a positive diagonal.
            let block = rows.len() / d * d;
            if rows.len() == block {
                reflections = Reflections::default();
            }
            let sign = if self == Self::PlainQr { reflections.sign_of(row.clone()) } else { 1.0 };
            let direction = orthogonal_to(&rows[block..], row);
            let length = sign * norm(&normal()) / norm(&direction);
            rows.push(direction.into_iter().map(|x| x * length).collect());
        }
        rows.into_iter().flatten().map(|x| x as f32).collect()
    }
}

/// The reflections of a QR decomposition by Householder's method, one for each column so far.
#[derive(Default)]
struct Reflections {
    /// Vectors v of unit length, of x − 2 v (v·x).
    vectors: Vec<Vec<f64>>,
}

impl Reflections {
    /// The sign of the next entry of R's diagonal: opposite to that of the entry it is made of, so that nothing cancels; the last column
    /// is not reflected.
    fn sign_of(&mut self, mut column: Vec<f64>) -> f64 {
        for v in &self.vectors {
            let share = 2.0 * dot(v, &column);
            column.iter_mut().zip(v).for_each(|(x, v)| *x -= share * v);
        }
        let at = self.vectors.len();
        if at + 1 >= column.len() {
            return column.last().map_or(1.0, |last| last.signum());
        }
        column[..at].fill(0.0);
        let diagonal = -column[at].signum() * norm(&column);
        column[at] -= diagonal;
        let length = norm(&column);
        self.vectors.push(column.into_iter().map(|x| x / length).collect());
        diagonal.signum()
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
