//! Tensor representations: means of outer products, with power normalisation of their spectrum.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use headway_kernels::{Precision, matmul};
use headway_keys::Described;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::power::{core_power, matrix_power, signed_power};
use crate::{
    budget::{Count, size},
    config::ConfigError,
    init::Initializer,
    linear::Projection,
};

/// Sizes and powers of a [`TensorPool`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct TensorPoolConfig {
    /// Number of factors of an outer product, 2 or 3. Default 2.
    pub order: usize,
    /// Number of features of a hidden state. Default 16.
    pub features: usize,
    /// Number of channels that say when, so that the order of positions counts. Default 0.
    pub time: usize,
    /// Exponent γ of the spectrum, above 0 and at most 1; 1 leaves it as it is. Default 0.5.
    pub gamma: f64,
    /// Exponent of every entry afterwards, above 0 and at most 1; 1 leaves it as it is. Default 1.
    pub power: f64,
}

impl Default for TensorPoolConfig {
    fn default() -> Self {
        Self { order: 2, features: 16, time: 0, gamma: 0.5, power: 1.0 }
    }
}

/// Largest number of entries of a tensor: decomposing it takes the host milliseconds for every sequence.
const MOST_ENTRIES: usize = 1 << 15;

impl TensorPoolConfig {
    /// Length of each axis of V.
    fn width(&self) -> usize {
        self.features.saturating_add(self.time).saturating_add(1)
    }

    /// Number of entries of V that are not equal to others by symmetry.
    pub(super) fn entries(&self) -> usize {
        let factors = (0..if self.order == 3 { 3 } else { 2 }).map(|more| self.width().saturating_add(more));
        factors.fold(1, usize::saturating_mul) / if self.order == 3 { 6 } else { 2 }
    }

    pub(super) fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !(2..=3).contains(&self.order) {
            problems.push(ConfigError::new("pool.tensor.order", format!("{} must be 2 or 3", self.order)));
        }
        if self.features == 0 {
            problems.push(ConfigError::new("pool.tensor.features", "must be at least 1"));
        }
        for (key, value) in [("pool.tensor.gamma", self.gamma), ("pool.tensor.power", self.power)] {
            if !(value > 0.0 && value <= 1.0) {
                problems.push(ConfigError::new(key, format!("{value} must be above 0 and at most 1")));
            }
        }
        let (width, order) = (self.width(), self.order.clamp(2, 3));
        if width.saturating_pow(order as u32) > MOST_ENTRIES {
            let fits = |width: &usize| width.pow(order as u32) <= MOST_ENTRIES;
            let most = (1..=MOST_ENTRIES.isqrt()).take_while(fits).last().unwrap_or(1);
            let problem = format!(
                "features and time codes and 1 are {width} channels, and their products of order {order} are more than \
                 {MOST_ENTRIES} numbers; give {} or fewer together",
                most - 1
            );
            problems.push(ConfigError::new("pool.tensor", problem));
        }
        problems
    }

    /// Adds the pooling of one sequence to a budget; returns the number of numbers that the last map reads.
    pub(super) fn count(&self, n: f64, d_model: f64, count: &mut Count) -> f64 {
        let (f, w) = (size(self.features), size(self.width()));
        count.projection(n, d_model, f);
        // The hidden state, the rows of which products are made, and those divided by their number.
        count.keep(n * d_model + 2.0 * n * w);
        let is_changed = self.gamma < 1.0;
        if self.order == 3 {
            let all = w.powi(3);
            count.flops += 2.0 * n * all;
            count.keep(n * w * w);
            if is_changed {
                // To the core and back along each axis; U, the core, what its power is taken of and multiplied by.
                count.flops += 6.0 * 2.0 * w.powi(4);
                count.keep(w * w + 3.0 * all);
            }
        } else {
            count.flops += 2.0 * n * w * w;
            if is_changed {
                // The derivative of the power: four products with U, and slopes.
                count.flops += 4.0 * 2.0 * w.powi(3);
                count.keep(2.0 * w * w);
            }
        }
        let entries = size(self.entries());
        // Where they stand.
        count.keep(entries);
        if self.power < 1.0 {
            count.keep(3.0 * entries);
        }
        entries
    }

    /// Gaussian bumps of width 1 / `time` around evenly spaced times between 0, the first position, and 1, the last; then
    /// a 1. `[n, time + 1]`
    fn constants(&self, n: usize) -> Vec<f32> {
        let place = |at: usize, of: usize| if of > 1 { at as f64 / (of - 1) as f64 } else { 0.5 };
        let row = |t: usize| {
            let bump = move |k: usize| {
                let distance = (place(t, n) - place(k, self.time)) * self.time as f64;
                (-distance * distance / 2.0).exp() as f32
            };
            (0..self.time).map(bump).chain([1.0])
        };
        (0..n).flat_map(row).collect()
    }

    /// Places of the entries of V with i ≤ j (≤ k), row-major.
    fn distinct(&self) -> Vec<i32> {
        // At most 2^15 places.
        let w = i32::try_from(self.width()).unwrap_or(i32::MAX);
        let pairs = (0..w).flat_map(|i| (i..w).map(move |j| [i, j]));
        if self.order == 3 {
            pairs.flat_map(|[i, j]| (j..w).map(move |k| (i * w + j) * w + k)).collect()
        } else {
            pairs.map(|[i, j]| i * w + j).collect()
        }
    }
}

/// V = mean over positions t of `x_t` ⊗ `x_t` (⊗ `x_t`), with `x_t` = [`h_t` W, time code of t, 1] and `h_t` the hidden state; then
/// the power γ of its spectrum, then a power of every entry, and of the entries those with i ≤ j (≤ k):
///
/// - of order 2, V = U Λ Uᵀ becomes U Λ^γ Uᵀ;
/// - of order 3, V = core ×₁ U ×₂ U ×₃ U, U the eigenvectors of the Gram matrix of an unfolding (HOSVD; V is symmetric, so
///   that one U serves all axes), and every entry c of the core becomes sign(c) |c|^γ.
///
/// The power of a number c is c (c² + 1e-8)^((γ−1)/2), which is sign(c) |c|^γ for all but small |c|, and has a finite slope
/// at 0. Of order 2 the gradient is that of the matrix function, finite at equal eigenvalues too; of order 3 it takes U as
/// constant, since U is not unique at equal eigenvalues and turns without bound near them.
///
/// # References
/// Koniusz, Wang, Cherian 2020, arXiv 2012.14371, for tensors and the normalisation of their eigenvalues; the time code
/// and the projection are our reading.
#[derive(Module, Debug)]
pub struct TensorPool {
    /// W. `d_model` -> `features`
    pub project: Projection,
    #[module(skip)]
    config: TensorPoolConfig,
}

impl TensorPoolConfig {
    /// The head with fresh weights, for hidden states of this width. The config must be valid.
    pub fn init(&self, d_model: usize, rng: &mut dyn Rng, device: &Device) -> TensorPool {
        TensorPool::new(self, d_model, &mut Initializer::new(rng, device))
    }
}

impl TensorPool {
    pub(super) fn new(config: &TensorPoolConfig, d_model: usize, init: &mut Initializer<'_>) -> Self {
        Self { project: init.projection(d_model, config.features), config: config.clone() }
    }

    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, entries]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let TensorPoolConfig { order, time, gamma, power, .. } = self.config;
        let [batch, n, _] = x.dims();
        let (width, device) = (self.config.width(), x.device());
        let constants = TensorData::new(self.config.constants(n), [1, n, time + 1]);
        let constants = Tensor::<3>::from_data(constants, &device).expand([batch, n, time + 1]);
        let rows = Tensor::cat(vec![self.project.forward(x), constants], 2); // [batch, n, width]
        let of_mean = rows.clone().div_scalar(n as f64);
        let v = if order == 3 {
            let pairs: Tensor<4> = rows.clone().unsqueeze_dim::<4>(3) * rows.unsqueeze_dim::<4>(2); // [batch, n, width, width]
            let pairs = pairs.reshape([batch, n, width * width]);
            let v = matmul(of_mean.transpose(), pairs, Precision::F32); // [batch, width, width²]
            core_power(v, gamma)
        } else {
            matrix_power(matmul(of_mean.transpose(), rows, Precision::F32), gamma) // [batch, width, width]
        };
        let distinct = self.config.distinct();
        let distinct = Tensor::<1, Int>::from_data(TensorData::new(distinct, [self.config.entries()]), &device);
        let v = v.reshape([batch, width.pow(order as u32)]).select(1, distinct);
        if power < 1.0 { signed_power(v, power) } else { v }
    }
}
