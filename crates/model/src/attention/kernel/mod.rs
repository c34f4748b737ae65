//! Attention kernels, which mix values by queries and keys. One file each, and one row in the list below.
//!
//! A file contains a config, which is a [`KernelSpec`], and the kernel built from it, which is a [`Kernel`].

mod by_features;
mod combiner;
mod favor;
mod linear;
mod naive;
mod relu_over_n;
mod sigmoid;
mod softmax;
mod temperature;
mod top_k;
mod window;

use std::num::NonZeroU64;

use burn::tensor::{Device, FloatDType, Tensor};
use rand::Rng;

use super::view::View;
use crate::{budget::Count, config::ConfigError, init::Initializer, parameters::Rule, registry::open_list};

pub use combiner::{Combiner, CombinerBlocks, CombinerConfig};
pub use favor::{Directions, Favor, FavorConfig, FavorFeatures};
pub use linear::LinearAttention;
pub use naive::Naive;
pub use relu_over_n::ReluOverN;
pub use sigmoid::Sigmoid;
pub use softmax::Softmax;
pub use temperature::{Temperature, TemperatureConfig};
pub use top_k::{TopK, TopKConfig};
pub use window::{Window, WindowConfig};

/// An attention kernel as it is built. The laws that it obeys are `headway_testkit::laws::kernel`.
pub trait Kernel {
    /// Attention pattern in f32; each row is a probability vector over the visible keys, or zero if there are none, but for what
    /// [`KernelSpec::lacks`] names. Queries and keys may have half precision.
    ///
    /// # Shapes
    /// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]` -> `[batch, n_heads, q_len, k_len]`
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4>;

    /// pattern(q, k) · v. Implementations may avoid building the pattern.
    ///
    /// # Shapes
    /// as [`Kernel::pattern`], v `[batch, n_heads, k_len, d_value]` -> `[batch, n_heads, q_len, d_value]`
    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        view.product(self.pattern(q, k, view), v.cast(FloatDType::F32))
    }
}

/// What a layer may require of a kernel besides attention to all keys or, causally, to keys up to the query's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Hiding any pairs of queries and keys.
    AnyMask,
    /// Adding a bias by distance to the scores.
    Bias,
    /// Weighting scores by their keys.
    Weights,
}

/// A property of the patterns of softmax attention that those of another kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// The weights of a query add up to one. Without it each key is weighed by itself: its weight does not change with the other keys.
    RowsSumToOne,
    /// No weight is negative.
    NonNegative,
    /// Every visible key has a weight other than zero, as far as numbers of f32 reach.
    FullSupport,
    /// Keys with their values, and queries, may be put in another order.
    AnyOrder,
    /// The output of a query does not depend on the other queries. Without it, with a causal mask, it depends on earlier ones alone.
    QueriesApart,
    /// There is a gradient everywhere, and it has no kinks. Without it there is one almost everywhere.
    Smooth,
}

/// Sizes of one group of heads on one sequence, as f64 for the budget.
#[derive(Clone, Copy, Debug)]
pub struct KernelSizes {
    /// Number of heads.
    pub n_heads: f64,
    /// Number of queries.
    pub q_len: f64,
    /// Number of keys.
    pub k_len: f64,
    /// Width of queries and keys.
    pub d_key: f64,
    /// Width of values.
    pub d_value: f64,
    /// Whether queries see only keys up to their own.
    pub causal: bool,
}

/// Draws the numbers of a buffer of a shape, row-major.
pub type Draw = dyn Fn([usize; 2], &mut dyn Rng) -> Vec<f32>;

/// How the buffers of a kernel are drawn anew while training.
pub struct Redraw {
    /// Number of updates after which they are.
    pub every: NonZeroU64,
    /// How.
    pub draw: Box<Draw>,
}

/// Config of an attention kernel: its settings, and its properties for other modules.
pub trait KernelSpec {
    /// Problems of its settings, by their key below `kernel`.
    fn validate(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    /// Builds the kernel for queries and keys of width `d_key`.
    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel;

    /// Whether the kernel can do what a layer requires.
    ///
    /// # Errors
    /// The reason why it cannot, as the end of a sentence that begins with the kernel's name.
    fn supports(&self, demand: Demand) -> Result<(), &'static str>;

    /// What its patterns lack of those of softmax attention, for the law tests.
    fn lacks(&self) -> &'static [Law] {
        &[]
    }

    /// Floating-point operations of [`Kernel::mix`], two per multiply–add; matrix products only.
    fn flops(&self, sizes: &KernelSizes) -> f64;

    /// Number of floats that [`Kernel::mix`] keeps for the backward pass on the CPU, besides q, k, v and its result.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64;

    /// A canonical kernel with the same function of queries, keys and values, for comparing configs; most kernels
    /// return themselves.
    fn function(&self) -> KernelKind;

    /// The same kernel with another number of random features; `None` if it has none.
    fn with_features(&self, _n_features: usize) -> Option<KernelKind> {
        None
    }

    /// How its buffers are drawn anew while training; `None` if they are drawn once.
    fn redraw(&self) -> Option<Redraw> {
        None
    }

    /// Rules for its buffers, by their names below the attention layer; empty if it has none.
    fn rules(&self) -> &'static [Rule] {
        &[]
    }

    /// Configs for the law tests, one for each way in which it computes.
    fn examples(&self) -> Vec<KernelKind>;
}

open_list! {
    /// An attention kernel by its name in a config file (`kernel = "softmax"`), with its settings if it has any.
    #[derive(Clone, Debug, Default, PartialEq)]
    config KernelKind: KernelSpec, spec, KERNELS;
    /// A built kernel.
    built AttentionKernel: Kernel, kernel, kernel_mut;
    #[default] "softmax" = Softmax as Softmax => Softmax, "softmax(q k^T / sqrt(d_head)) v, exact, fused: memory linear in the length";
    "naive" = Naive as Naive => Naive, "the same from plain tensor operations: the readable reference, memory quadratic in the length";
    "favor" = Favor(FavorConfig) => Favor, "FAVOR+: softmax attention in the mean over positive random features, time and memory linear in the length";
    "linear" = Linear as LinearAttention => LinearAttention, "features elu(x) + 1 of queries and keys, time and memory linear in the length";
    "combiner" = Combiner(CombinerConfig) => Combiner, "near keys one by one, far keys through a summary of their block: full support below quadratic cost";
    "temperature" = Temperature(TemperatureConfig) => Temperature, "softmax of the scores divided by a fixed temperature";
    "window" = Window(WindowConfig) => Window, "softmax over near keys alone, time and memory linear in the length";
    "top_k" = TopK(TopKConfig) => TopK, "softmax over the keys with the largest scores of each query";
    "sigmoid" = Sigmoid as Sigmoid => Sigmoid, "sigmoid(score - ln n) for each key, n the number of visible keys: rows do not sum to one";
    "relu_over_n" = ReluOverN as ReluOverN => ReluOverN, "max(score, 0) / n for each key, n the number of visible keys: rows do not sum to one";
}

impl KernelKind {
    /// [`KernelSpec::examples`] of every entry.
    pub fn examples() -> Vec<Self> {
        Self::defaults().iter().flat_map(|kind| kind.spec().examples()).collect()
    }

    /// Builds the kernel for queries and keys of width `d_key`, with buffers drawn from `rng` on the host.
    pub fn init(&self, d_key: usize, rng: &mut dyn Rng, device: &Device) -> AttentionKernel {
        self.spec().build(d_key, &mut Initializer::new(rng, device))
    }

    /// Adds the kernel's operations and memory to a budget.
    pub fn count(&self, sizes: &KernelSizes, count: &mut Count) {
        count.flops += self.spec().flops(sizes);
        count.keep(self.spec().kept_floats(sizes));
    }

    /// Problems of its settings, by key of the model's table.
    pub fn problems(&self) -> impl Iterator<Item = ConfigError> {
        let name = self.name();
        let place = move |ConfigError { key, problem }| ConfigError::new("kernel", format!("{name}.{key} {problem}"));
        self.spec().validate().into_iter().map(place)
    }
}

impl Default for AttentionKernel {
    fn default() -> Self {
        Self::Softmax(Softmax)
    }
}

impl Kernel for AttentionKernel {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        self.kernel().pattern(q, k, view)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        self.kernel().mix(q, k, v, view)
    }
}
