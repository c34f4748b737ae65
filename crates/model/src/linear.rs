//! Affine maps of the last axis.

use std::ops::Deref;

use burn::{
    module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};

use crate::adapter::{LowRank, ProjectionPlace};

/// The matrix W of a map x W: `[d_in, d_out]` in memory, where the kernels read it, and `[d_out, d_in]` in files, as PyTorch has it.
///
/// A layer says by this type that its parameter is turned on the way; every other parameter is in files what it is in memory.
#[derive(Clone, Debug)]
pub struct Matrix(Param<Tensor<2>>);

impl Matrix {
    /// What a traversal is told when it enters one. It is no part of a parameter's name.
    pub(crate) const CONTAINER: &'static str = "Matrix";
}

impl From<Param<Tensor<2>>> for Matrix {
    fn from(param: Param<Tensor<2>>) -> Self {
        Self(param)
    }
}

impl Deref for Matrix {
    type Target = Param<Tensor<2>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Module for Matrix {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module("", Self::CONTAINER);
        self.0.visit(visitor);
        visitor.exit_module("", Self::CONTAINER);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        mapper.enter_module("", Self::CONTAINER);
        let param = Module::map(self.0, mapper);
        mapper.exit_module("", Self::CONTAINER);
        Self(param)
    }
}

impl ModuleDisplayDefault for Matrix {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl ModuleDisplay for Matrix {}

/// y = x W + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// b. `[d_out]`
    pub bias: Param<Tensor<1>>,
    /// What fine-tuning learns beside W.
    pub low_rank: Option<LowRank>,
}

/// y = x W.
#[derive(Module, Debug)]
pub struct Projection {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// What fine-tuning learns beside W.
    pub low_rank: Option<LowRank>,
}

impl Projection {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        let zeros = Tensor::zeros([weight.dims()[1]], &x.device());
        forward(x, weight, zeros, self.low_rank.as_ref())
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

impl Linear {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), self.bias.val(), self.low_rank.as_ref())
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

fn forward(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>, low_rank: Option<&LowRank>) -> Tensor<3> {
    match low_rank {
        Some(low_rank) => headway_kernels::linear(x.clone(), weight, bias) + low_rank.forward(x),
        None => headway_kernels::linear(x, weight, bias),
    }
}
