//! MEP: the logarithm of a mean of kernels of the distance.

use std::f64::consts::LN_2;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{
    Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme,
    alibi::slopes,
    distance::ByDistance,
    kerple::KerpleBias,
    t5::{T5Bias, T5Config},
};
use crate::{
    budget::size,
    config::ConfigError,
    init::Initializer,
    parameters::{Key::Model as Own, Rule},
};

/// Adds the logarithm of a mean of kernels of the distance d = |i − j| to the score of query i and key j, which multiplies the weight after the
/// softmax by that mean. With the slopes s of ALiBi,
///
/// ```text
/// without parameters   log( (exp(−s d) + exp(−s d/2) + exp(−s d²)) / 3 )
/// learned              log( (exp(−s d) + exp(−s d²) + exp(sqrt(d_head) t[bucket(d)]) + (1 + r₂ d)^(−r₁)) / 4 )
/// ```
///
/// with the buckets of T5 and the two numbers of KERPLE, which all layers share. The source's model is causal; without a mask the same bias
/// applies in both directions. Sequences may be longer than those the model was built for.
///
/// # References
/// Gao 2024, arXiv 2403.17698; formulas and initial values as in the author's code, which merges these kernels of the ones it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct MepConfig {
    /// The learned form, with these buckets (`learned = {}`: T5's own). Default: the form without parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<T5Config>,
    /// What becomes of distances whose kernels are too small for f32: `none` or `official`. Default `none`.
    pub window: Window,
}

/// How the mean of kernels is computed where they are too small for f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// By its logarithm, which is finite at every distance.
    #[default]
    None,
    /// As in the author's code, in f32: without parameters, the mean is 0 from a distance of about 206 / s on (291 for the steepest of
    /// twelve heads), and the head sees nothing beyond. The bias there is −10³⁰ in the place of −∞.
    Official,
}

/// Stands for the logarithm of 0: no key with it keeps any weight.
const NOTHING: f32 = -1e30;

/// A kernel exp(−factor · s · d^power) of the distance.
#[derive(Clone, Copy)]
struct Decay {
    factor: f64,
    power: i32,
}

const EXPONENTIAL: Decay = Decay { factor: 1.0, power: 1 };
const SLOWER: Decay = Decay { factor: 0.5, power: 1 };
const GAUSSIAN: Decay = Decay { factor: 1.0, power: 2 };

/// Of the form without parameters.
const FIXED: &[Decay] = &[EXPONENTIAL, SLOWER, GAUSSIAN];
/// Of the learned form, beside its learned kernels.
const BESIDE_LEARNED: &[Decay] = &[GAUSSIAN, EXPONENTIAL];

impl Decay {
    fn exponent(self, slope: f64, distance: usize) -> f64 {
        -self.factor * slope * (distance as f64).powi(self.power)
    }
}

/// log Σ exp of the kernels' exponents.
fn log_sum(kernels: &[Decay], slope: f64, distance: usize) -> f64 {
    let exponents = kernels.iter().map(|kernel| kernel.exponent(slope, distance));
    let top = exponents.clone().fold(f64::NEG_INFINITY, f64::max);
    top + exponents.map(|exponent| (exponent - top).exp()).sum::<f64>().ln()
}

/// Σ exp of the kernels' exponents in f32.
fn sum_in_f32(kernels: &[Decay], slope: f64, distance: usize) -> f32 {
    let kernel = |kernel: &Decay| {
        let (slope, distance) = (kernel.factor as f32 * slope as f32, distance as f32);
        (-slope * distance.powi(kernel.power)).exp()
    };
    kernels.iter().map(kernel).sum()
}

/// The biases of a model.
#[derive(Module, Debug)]
pub struct MepBias {
    /// r₁ and r₂ of the learned form.
    pub log: Option<KerpleBias>,
    /// The buckets of the learned form.
    pub buckets: Option<T5Bias>,
    #[module(skip)]
    window: Window,
    /// sqrt(`d_head`)
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    by_distance: ByDistance,
}

impl Scheme for MepBias {
    fn bias(&self, n_heads: usize, lengths: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let slopes = slopes(n_heads);
        let of_kernels = |value: &dyn Fn(f64, usize) -> f32| {
            let value = |head: usize, offset: isize| value(slopes[head], offset.unsigned_abs());
            self.by_distance.rows(lengths, device, n_heads, value)
        };
        let learned = |part: Option<Tensor<2>>| part.unwrap_or_else(|| unreachable!("a bias is its hand"));
        let (Some(log), Some(buckets)) = (&self.log, &self.buckets) else {
            return Some(match self.window {
                Window::None => of_kernels(&|slope, distance| (log_sum(FIXED, slope, distance) - 3_f64.ln()) as f32),
                Window::Official => {
                    of_kernels(&|slope, distance| (sum_in_f32(FIXED, slope, distance) / 3.0).ln().max(NOTHING))
                }
            });
        };
        let log = learned(log.bias(n_heads, lengths, device));
        let buckets = learned(buckets.bias(n_heads, lengths, device)).mul_scalar(self.scale);
        Some(match self.window {
            Window::None => {
                let fixed = of_kernels(&|slope, distance| log_sum(BESIDE_LEARNED, slope, distance) as f32);
                let top = fixed.clone().max_pair(log.clone()).max_pair(buckets.clone()).detach();
                let sum = [fixed, log, buckets].map(|exponent| (exponent - top.clone()).exp());
                let [fixed, log, buckets] = sum;
                (fixed + log + buckets).log() + top.sub_scalar(2.0 * LN_2)
            }
            Window::Official => {
                let fixed = of_kernels(&|slope, distance| sum_in_f32(BESIDE_LEARNED, slope, distance));
                (fixed + log.exp() + buckets.exp()).div_scalar(4.0).log()
            }
        })
    }
}

impl PositionSpec for MepConfig {
    fn validate(&self, _sizes: &PositionSizes) -> Vec<ConfigError> {
        let place = |ConfigError { key, problem }| {
            ConfigError::new(if key == "buckets" { "learned.buckets" } else { "learned.max_distance" }, problem)
        };
        self.learned.map_or_else(Vec::new, |buckets| buckets.problems(false).into_iter().map(place).collect())
    }

    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        let log = self.learned.map(|_| KerpleBias::log(sizes, init));
        // Xavier's.
        let std = |buckets: T5Config| (2.0 / (buckets.buckets + sizes.n_heads) as f64).sqrt();
        let buckets = self.learned.map(|buckets| buckets.bias(false, std(buckets), sizes, init));
        Position::Mep(MepBias {
            log,
            buckets,
            window: self.window,
            scale: (sizes.d_head as f64).sqrt(),
            by_distance: ByDistance::new(sizes.seq_len),
        })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, sizes: &PositionSizes) -> f64 {
        self.learned.map_or(0.0, |buckets| 2.0 * size(sizes.n_heads) + buckets.count(false, sizes))
    }

    fn rules(&self) -> &'static [Rule] {
        &[
            ("position.log.*", &[Own("n_heads")], &[Own("position")]),
            ("position.buckets.*", &[Own("n_heads"), Own("position")], &[Own("position")]),
        ]
    }

    fn examples(&self) -> Vec<PositionKind> {
        let learned = Some(T5Config { buckets: 4, max_distance: 5 });
        let forms =
            [(None, Window::None), (None, Window::Official), (learned, Window::None), (learned, Window::Official)];
        forms.map(|(learned, window)| PositionKind::Mep(Self { learned, window })).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exponential_is_alibi() {
        for slope in slopes(12) {
            for distance in [0, 1, 7, 291, 100_000] {
                let alibi = -slope * distance as f64;
                assert!((log_sum(&[EXPONENTIAL], slope, distance) - alibi).abs() <= 1e-15 * alibi.abs());
            }
        }
    }

    /// A mean of n lies between a largest kernel's share of it and that kernel.
    #[test]
    fn the_largest_kernel_bounds_the_mean() {
        for (slope, distance) in slopes(12).into_iter().flat_map(|slope| [0, 1, 3, 500].map(|d| (slope, d))) {
            let top = FIXED.iter().map(|kernel| kernel.exponent(slope, distance)).fold(f64::NEG_INFINITY, f64::max);
            let mean = log_sum(FIXED, slope, distance) - 3_f64.ln();
            assert!((top - 3_f64.ln()..=top).contains(&mean), "{slope} {distance}: {mean} of {top}");
        }
    }
}
