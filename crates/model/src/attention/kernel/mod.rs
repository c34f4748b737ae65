//! Attention kernels: how queries, keys and values become a mixture. One file each, and one row in the list below.
//!
//! A file holds a config, which is a [`KernelSpec`], and what is built from it, which is a [`Kernel`].

mod favor;
mod naive;
mod softmax;

use burn::tensor::{Device, FloatDType, Tensor};
use rand::Rng;

use super::view::View;
use crate::{budget::Count, config::ConfigError, init::Initializer, parameters::Rule, registry::open_list};

pub use favor::{Directions, Favor, FavorConfig};
pub use naive::Naive;
pub use softmax::Softmax;

/// An attention kernel as it is built. The laws that it obeys are `headway_testkit::laws::kernel`.
pub trait Kernel {
    /// Attention pattern in f32; each row is a probability vector over the visible keys, or zero where there are none. Queries
    /// and keys may come in half precision.
    ///
    /// # Shapes
    /// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]` -> `[batch, n_heads, q_len, k_len]`
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4>;

    /// pattern(q, k) · v, free to avoid building the pattern.
    ///
    /// # Shapes
    /// as [`Kernel::pattern`], v `[batch, n_heads, k_len, d_value]` -> `[batch, n_heads, q_len, d_value]`
    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        self.pattern(q, k, view).matmul(v.cast(FloatDType::F32))
    }
}

/// What a layer may ask of a kernel beside mixing all keys or, causally, those up to its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Hides any pairs of queries and keys.
    AnyMask,
    /// Adds a bias by distance to the scores.
    Bias,
}

/// Sizes of one group of heads on one sequence, in f64 as the budget counts.
#[derive(Clone, Copy, Debug)]
pub struct KernelSizes {
    /// Heads.
    pub n_heads: f64,
    /// Rows that attend.
    pub q_len: f64,
    /// Rows that are attended to.
    pub k_len: f64,
    /// Width of queries and keys.
    pub d_key: f64,
    /// Width of values.
    pub d_value: f64,
    /// Whether queries see keys up to their own alone.
    pub causal: bool,
}

/// An attention kernel's config: its settings, and all that others ask about it.
pub trait KernelSpec {
    /// Settings that make no sense, by their key below `kernel`.
    fn validate(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    /// The kernel for queries and keys of a width.
    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel;

    /// What it cannot do, with the reason.
    ///
    /// # Errors
    /// The reason, as the end of a sentence that begins with the kernel's name.
    fn supports(&self, demand: Demand) -> Result<(), &'static str>;

    /// Floating-point operations of [`Kernel::mix`], two per multiply–add, matrix products only.
    fn flops(&self, sizes: &KernelSizes) -> f64;

    /// Numbers that [`Kernel::mix`] keeps for the backward pass on the CPU beside q, k, v and its result.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64;

    /// The kernel whose function of queries, keys and values this is another way to compute.
    fn function(&self) -> KernelKind;

    /// What its buffers follow, by their names below the attention layer; empty for a kernel that has none.
    fn rules(&self) -> &'static [Rule] {
        &[]
    }

    /// Configs for the law tests, one for every way in which it computes.
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
}

impl KernelKind {
    /// [`KernelSpec::examples`] of every entry.
    pub fn examples() -> Vec<Self> {
        Self::defaults().iter().flat_map(|kind| kind.spec().examples()).collect()
    }

    /// Builds the kernel for queries and keys of a width, its buffers drawn from `rng` on the host.
    pub fn init(&self, d_key: usize, rng: &mut dyn Rng, device: &Device) -> AttentionKernel {
        self.spec().build(d_key, &mut Initializer::new(rng, device))
    }

    /// Adds what the kernel does and keeps to a budget.
    pub fn count(&self, sizes: &KernelSizes, count: &mut Count) {
        count.flops += self.spec().flops(sizes);
        count.keep(self.spec().kept_floats(sizes));
    }

    /// Settings that make no sense, by key, as those of a model.
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
