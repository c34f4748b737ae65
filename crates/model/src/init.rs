//! Initial parameter values, drawn on the host so that every device starts from the same bits.

use burn::{
    module::{Param, ParamId},
    nn::Embedding,
    tensor::{Device, Shape, Tensor, TensorData},
};
use headway_kernels::Precision;
use headway_keys::Described;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

use crate::{
    linear::{Linear, Projection},
    parameter::Buffer,
};

/// How weights and biases of linear maps begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// PyTorch's default: weight and bias from U(−k, k), k = 1/sqrt(`d_in`).
    #[default]
    Pytorch,
    /// GPT-2's: weights from N(0, 0.02²), those of maps whose output is added to the hidden state from N(0, (0.02/√(2 `n_layers`))²), biases
    /// zero. Radford et al. 2019, section 2.3; arXiv 2607.18363.
    Gpt2,
}

impl Initialization {
    /// Whether it is PyTorch's.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes parameters in the order in which a model is built: either draws them, or only declares their shapes.
///
/// Linear maps begin as PyTorch's do and have a bias, unless a family says otherwise.
pub struct Initializer<'a> {
    /// `None` if parameters are only declared.
    rng: Option<&'a mut dyn Rng>,
    device: &'a Device,
    /// Precision of affine maps.
    maps: Precision,
    /// Standard deviations of maps that do not begin as PyTorch's do: of those whose output is added to the hidden state, and of others.
    std: Option<[f32; 2]>,
    /// Whether maps have a bias.
    biased: bool,
    /// Precision inside attention.
    pub(crate) attention: Precision,
}

/// Standard deviation of token and position embeddings, and of GPT-2's maps.
const GPT2_STD: f32 = 0.02;

impl<'a> Initializer<'a> {
    /// One that draws.
    pub fn new(rng: &'a mut dyn Rng, device: &'a Device) -> Self {
        Self::of(Some(rng), device)
    }

    /// An initializer whose parameters take no memory until their values, which are zeros, are used.
    pub fn uninitialized(device: &'a Device) -> Self {
        Self::of(None, device)
    }

    fn of(rng: Option<&'a mut dyn Rng>, device: &'a Device) -> Self {
        Self { rng, device, maps: Precision::F32, std: None, biased: true, attention: Precision::F32 }
    }

    /// The same for the maps of a network of so many layers, which have a bias or not, and begin like this.
    pub(crate) fn with_maps(&mut self, biased: bool, begin: Initialization, n_layers: usize) -> &mut Self {
        let added = GPT2_STD / (2.0 * n_layers as f32).sqrt();
        self.std = (begin == Initialization::Gpt2).then_some([added, GPT2_STD]);
        self.biased = biased;
        self
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
        self.gaussian(shape, GPT2_STD)
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

    /// An affine map.
    pub fn linear(&mut self, d_in: usize, d_out: usize) -> Linear {
        self.affine(d_in, d_out, self.std.map(|[_, std]| std))
    }

    /// An affine map whose output is added to the hidden state.
    pub(crate) fn linear_of_residual(&mut self, d_in: usize, d_out: usize) -> Linear {
        self.affine(d_in, d_out, self.std.map(|[added, _]| added))
    }

    fn affine(&mut self, d_in: usize, d_out: usize, std: Option<f32>) -> Linear {
        let weight = self.matrix(d_in, d_out, std).into();
        let bias = self.biased.then(|| match std {
            Some(_) => self.param([d_out], |_| vec![0.0; d_out]),
            None => self.uniform([d_out], 1.0 / (d_in as f32).sqrt()),
        });
        Linear { weight, bias, low_rank: None, precision: self.maps }
    }

    /// A map without bias.
    pub fn projection(&mut self, d_in: usize, d_out: usize) -> Projection {
        let weight = self.matrix(d_in, d_out, self.std.map(|[_, std]| std)).into();
        Projection { weight, low_rank: None, precision: self.maps }
    }

    fn matrix(&mut self, d_in: usize, d_out: usize, std: Option<f32>) -> Param<Tensor<2>> {
        match std {
            Some(std) => self.gaussian([d_in, d_out], std),
            None => self.uniform([d_in, d_out], 1.0 / (d_in as f32).sqrt()),
        }
    }
}
