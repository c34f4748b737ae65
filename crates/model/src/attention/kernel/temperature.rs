//! Softmax attention at another temperature.

use burn::{module::Module, tensor::Tensor};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Softmax};
use crate::{attention::view::View, config::ConfigError, init::Initializer};

/// mix(q, k, v) = softmax(q kᵀ / (T sqrt(`d_key`)) + bias) v with a fixed temperature T: below 1 patterns are sharper than those of
/// `softmax`, above 1 they are flatter.
///
/// # References
/// Hinton, Vinyals, Dean 2015, arXiv 1503.02531, equation 1, where it softens the softmax of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct TemperatureConfig {
    /// T, from 0.001 to 1000. Default 1, which is softmax attention.
    pub temperature: f64,
}

impl Default for TemperatureConfig {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

/// Softmax attention at a temperature.
#[derive(Module, Debug)]
pub struct Temperature {
    #[module(skip)]
    inverse: f64,
}

impl Kernel for Temperature {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        Softmax.pattern(q.mul_scalar(self.inverse), k, view)
    }

    /// Dividing the queries divides the scores, also those of weighted keys.
    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        Softmax.mix(q.mul_scalar(self.inverse), k, v, view)
    }
}

impl KernelSpec for TemperatureConfig {
    fn validate(&self) -> Vec<ConfigError> {
        let sound = (1e-3..=1e3).contains(&self.temperature);
        let problem = || ConfigError::new("temperature", "must be from 0.001 to 1000");
        (!sound).then(problem).into_iter().collect()
    }

    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Temperature(Temperature { inverse: 1.0 / self.temperature })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        Softmax.supports(demand)
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        Softmax.flops(sizes)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        Softmax.kept_floats(sizes)
    }

    fn function(&self) -> KernelKind {
        if (self.temperature - 1.0).abs() > 0.0 { KernelKind::Temperature(*self) } else { KernelKind::Softmax }
    }

    fn examples(&self) -> Vec<KernelKind> {
        [0.5, 3.0].map(|temperature| KernelKind::Temperature(Self { temperature })).into()
    }
}
