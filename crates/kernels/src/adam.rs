//! Adam's update in one pass over each parameter.

use burn::{
    backend::{Backend, Flex, backend_extension, tensor::FloatTensor},
    tensor::{DType, Tensor},
};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::{
    flex::{self, densified},
    is_flex,
};

/// Hyperparameters and step count of one Adam update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Decay of the first moment β₁.
    pub beta_1: f64,
    /// Decay of the second moment β₂.
    pub beta_2: f64,
    /// Added to the denominator, ε.
    pub epsilon: f64,
    /// Learning rate η.
    pub rate: f64,
    /// Number of updates including this one, t.
    pub updates: u64,
    /// L2 penalty λ added to the gradient.
    pub penalty: f64,
    /// Decoupled weight decay λ'.
    pub decay: f64,
}

impl AdamStep {
    /// 1 − β₁ᵗ and sqrt(1 − β₂ᵗ).
    pub(crate) fn corrections(&self) -> [f64; 2] {
        let updates = self.updates as f64;
        [1.0 - self.beta_1.powf(updates), (1.0 - self.beta_2.powf(updates)).sqrt()]
    }
}

/// g ← g + λ w, m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²,
/// w ← (1 − η λ') w − η / (1 − β₁ᵗ) · m / (sqrt(v) / sqrt(1 − β₂ᵗ) + ε). Returns w, m and v.
///
/// # Shapes
/// all of the same length, none tracked by autodiff
///
/// # Panics
/// If the lengths differ.
///
/// # References
/// Kingma, Ba 2014, arXiv 1412.6980; decoupled decay: Loshchilov, Hutter 2017, arXiv 1711.05101.
pub fn adam(weight: Tensor<1>, gradient: Tensor<1>, moments: [Tensor<1>; 2], step: AdamStep) -> [Tensor<1>; 3] {
    let [first, second] = &moments;
    assert!([&gradient, first, second].iter().all(|tensor| tensor.dims() == weight.dims()), "all are of one length");
    let types = [weight.dtype(), gradient.dtype(), first.dtype(), second.dtype()];
    if is_flex(&weight.device()) && types == [DType::F32; 4] {
        let [first, second] = moments.map(Tensor::into_dispatch);
        let (weight, gradient) = (weight.into_dispatch(), gradient.into_dispatch());
        let (weight, first, second) = burn::backend::Dispatch::adam(weight, gradient, first, second, step);
        return [weight, first, second].map(Tensor::from_dispatch);
    }
    let AdamStep { beta_1, beta_2, epsilon, rate, penalty, decay, .. } = step;
    let [first_correction, second_correction] = step.corrections();
    let gradient = if penalty == 0.0 { gradient } else { gradient + weight.clone().mul_scalar(penalty) };
    let [first, second] = moments;
    let first = first.mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
    let second = second.mul_scalar(beta_2) + (gradient.clone() * gradient).mul_scalar(1.0 - beta_2);
    let denominator = second.clone().sqrt().div_scalar(second_correction).add_scalar(epsilon);
    let change = (first.clone() / denominator).mul_scalar(rate / first_correction);
    let weight = if decay == 0.0 { weight } else { weight.mul_scalar(1.0 - rate * decay) };
    [weight - change, first, second]
}

/// The operation for backends that implement it themselves.
#[backend_extension(Flex)]
pub trait Adam: Backend {
    /// See [`adam`].
    fn adam(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Least number of entries worth a thread of its own.
const BLOCK: usize = 1 << 15;

impl Adam for Flex {
    fn adam(
        weight: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [mut weight, gradient, mut first, mut second] = [weight, gradient, first, second].map(densified);
        let [first_correction, second_correction] = step.corrections();
        let [beta_1, beta_2, epsilon, penalty] =
            [step.beta_1, step.beta_2, step.epsilon, step.penalty].map(|number| number as f32);
        let [new_1, new_2] = [1.0 - step.beta_1, 1.0 - step.beta_2].map(|number| number as f32);
        let rate = (step.rate / first_correction) as f32;
        let (correction, keep) = (second_correction as f32, (1.0 - step.rate * step.decay) as f32);
        let gradient = flex::numbers(&gradient);
        // The moments belong to the optimiser alone and are changed in place; a weight that the model still shares is
        // copied.
        let weights = flex::numbers_mut(&mut weight).par_chunks_mut(BLOCK);
        let moments = flex::numbers_mut(&mut first)
            .par_chunks_mut(BLOCK)
            .zip(flex::numbers_mut(&mut second).par_chunks_mut(BLOCK));
        weights.zip(gradient.par_chunks(BLOCK)).zip(moments).for_each(|((weights, gradient), (first, second))| {
            for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                let gradient = gradient + penalty * *weight;
                *first = beta_1 * *first + new_1 * gradient;
                *second = beta_2 * *second + new_2 * (gradient * gradient);
                *weight = keep * *weight - *first / (second.sqrt() / correction + epsilon) * rate;
            }
        });
        (weight, first, second)
    }
}
