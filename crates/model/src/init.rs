//! Initial parameter values, drawn on the host so that every device starts from the same bits.

use burn::{
    module::{Param, ParamId},
    nn::Embedding,
    tensor::{Device, Shape, Tensor, TensorData},
};
use headway_kernels::Precision;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

use crate::{
    linear::{Linear, Projection},
    parameter::Buffer,
};

/// Makes parameters in the order in which a model is built: either draws them, or only declares their shapes.
///
/// Linear maps follow PyTorch's default: weight and bias from U(−k, k), k = 1/sqrt(`d_in`).
pub struct Initializer<'a> {
    /// `None` if parameters are only declared.
    rng: Option<&'a mut dyn Rng>,
    device: &'a Device,
    /// Precision of affine maps.
    maps: Precision,
    /// Precision inside attention.
    pub(crate) attention: Precision,
}

/// Standard deviation of token and position embeddings, as in GPT-2.
const EMBEDDING_STD: f32 = 0.02;

impl<'a> Initializer<'a> {
    /// One that draws.
    pub fn new(rng: &'a mut dyn Rng, device: &'a Device) -> Self {
        Self { rng: Some(rng), device, maps: Precision::F32, attention: Precision::F32 }
    }

    /// An initializer whose parameters take no memory until their values, which are zeros, are used.
    pub fn uninitialized(device: &'a Device) -> Self {
        Self { rng: None, device, maps: Precision::F32, attention: Precision::F32 }
    }

    /// The same, for networks whose affine maps and attention have these precisions; without it both have f32.
    pub fn with_precision(self, maps: Precision, attention: Precision) -> Self {
        Self { maps, attention, ..self }
    }

    /// Precision of affine maps.
    pub(crate) fn maps(&self) -> Precision {
        self.maps
    }

    /// A parameter with this shape and these row-major values; trainable on a device with autodiff.
    pub fn param<const D: usize>(
        &mut self,
        shape: [usize; D],
        values: impl FnOnce(&mut dyn Rng) -> Vec<f32>,
    ) -> Param<Tensor<D>> {
        let trainable = self.device.is_autodiff();
        let Some(rng) = &mut self.rng else {
            let zeros = move |device: &Device, trainable| Tensor::zeros(shape, device).set_require_grad(trainable);
            return Param::uninitialized(ParamId::new(), zeros, self.device.clone(), trainable, Shape::from(shape));
        };
        let tensor = Tensor::from_data(TensorData::new(values(*rng), shape), self.device);
        Param::initialized(ParamId::new(), tensor.set_require_grad(trainable))
    }

    /// Numbers that are never trained, given row-major.
    pub fn buffer(&mut self, shape: [usize; 2], values: impl FnOnce(&mut dyn Rng) -> Vec<f32>) -> Buffer {
        self.param(shape, values).set_require_grad(false).into()
    }

    fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f32) -> Param<Tensor<D>> {
        self.param(shape, |rng| (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect())
    }

    /// Entries from N(0, 0.02²).
    pub fn embedding_table(&mut self, shape: [usize; 2]) -> Param<Tensor<2>> {
        self.gaussian(shape, EMBEDDING_STD)
    }

    /// Entries from N(0, 1).
    pub fn normal(&mut self, shape: [usize; 2]) -> Param<Tensor<2>> {
        self.gaussian(shape, 1.0)
    }

    /// Entries from N(0, `std`²), of a finite `std`.
    pub(crate) fn gaussian(&mut self, shape: [usize; 2], std: f32) -> Param<Tensor<2>> {
        let distribution = Normal::new(0.0, std).unwrap_or_else(|_| unreachable!("a finite deviation"));
        self.param(shape, |mut rng| (0..shape[0] * shape[1]).map(|_| distribution.sample(&mut rng)).collect())
    }

    /// A table of tokens. `[vocab, d_model]`
    pub fn embedding(&mut self, vocab: usize, d_model: usize) -> Embedding {
        Embedding { weight: self.embedding_table([vocab, d_model]) }
    }

    /// A map with bias.
    pub fn linear(&mut self, d_in: usize, d_out: usize) -> Linear {
        let bound = 1.0 / (d_in as f32).sqrt();
        let (weight, bias) = (self.uniform([d_in, d_out], bound).into(), self.uniform([d_out], bound));
        Linear { weight, bias, low_rank: None, precision: self.maps }
    }

    /// A map without bias.
    pub fn projection(&mut self, d_in: usize, d_out: usize) -> Projection {
        let weight = self.uniform([d_in, d_out], 1.0 / (d_in as f32).sqrt()).into();
        Projection { weight, low_rank: None, precision: self.maps }
    }
}
