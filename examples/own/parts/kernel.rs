//! An attention kernel: what stands in the place of the softmax.

use burn::{
    module::Module,
    tensor::{FloatDType, Tensor},
};
use headway_keys::{Described, Form};
use headway_model::{
    AttentionKernel, Buffer, ConfigError, Demand, Initializer, Kernel, KernelKind, KernelSizes, KernelSpec, View,
    parameters::{Key, Rule},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// The pattern of a query is proportional to 1 + s + s²/2, Taylor's beginning of exp(s), with s = Σ_c g_c q_c k_c / sqrt(d) + bias and
/// gains g drawn once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct Taylor {
    /// How far gains are drawn from 1, from 0 to below 1. Default 0.5.
    pub spread: f64,
}

impl Default for Taylor {
    fn default() -> Self {
        Self { spread: 0.5 }
    }
}

impl headway_model::Listed for Taylor {
    const NAME: &'static str = "taylor";
    const SUMMARY: &'static str = "1 + s + s^2/2 in the place of exp(s)";

    /// By the doc comments above.
    fn keys() -> Option<Form> {
        Some(Self::form())
    }
}

/// What is built from [`Taylor`].
#[derive(Module, Debug)]
pub struct TaylorKernel {
    gains: Buffer,
}

impl Kernel for TaylorKernel {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let [q, k] = [q, k].map(|x| x.cast(FloatDType::F32));
        let ([batch, n_heads, q_len, d_key], k_len) = (q.dims(), k.dims()[2]);
        let gained = q * self.gains.val().reshape([1, 1, 1, d_key]);
        let scores = view.product(gained, k.swap_dims(2, 3)).div_scalar((d_key as f64).sqrt());
        let scores = match &view.bias {
            Some(bias) => scores + bias.pairs(q_len, k_len).unsqueeze(),
            None => scores,
        };
        let terms = scores.clone().powi_scalar(2).mul_scalar(0.5) + scores.add_scalar(1.0);
        let terms = match view.mask.hidden(q_len, k_len, &terms.device()) {
            Some(hidden) => {
                terms.mask_fill(hidden.reshape([1, 1, q_len, k_len]).expand([batch, n_heads, q_len, k_len]), 0.0)
            }
            None => terms,
        };
        terms.clone() / terms.sum_dim(3)
    }
}

impl KernelSpec for Taylor {
    fn validate(&self) -> Vec<ConfigError> {
        let good = (0.0..1.0).contains(&self.spread);
        (!good).then(|| ConfigError::new("spread", "must be from 0 to below 1")).into_iter().collect()
    }

    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel {
        let spread = self.spread as f32;
        let draw =
            |rng: &mut dyn rand::Rng| (0..d_key).map(|_| 1.0 + spread * (2.0 * rng.random::<f32>() - 1.0)).collect();
        AttentionKernel::registered(TaylorKernel { gains: init.buffer([1, d_key], draw) })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        match demand {
            Demand::AnyMask => Err("needs a key for every query"),
            Demand::Bias => Ok(()),
            Demand::Weights => Err("has no scores to weigh"),
        }
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        2.0 * sizes.q_len * sizes.k_len * sizes.n_heads * (sizes.d_key + sizes.d_value)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        4.0 * sizes.n_heads * sizes.q_len * sizes.k_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::registered(self.clone())
    }

    fn rules(&self) -> &'static [Rule] {
        const SIZES: &[Key] =
            &[Key::Model("kernel"), Key::Model("d_model"), Key::Model("n_heads"), Key::Model("d_head")];
        &[("*.kernel.gains", SIZES, &[Key::Model("kernel")])]
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::registered(self.clone())]
    }
}
