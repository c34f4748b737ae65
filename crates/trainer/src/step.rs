//! The model with its objective, as burn-train sees it.

use burn::{
    module::Module,
    tensor::{ExecutionError, Tensor},
    train::{
        InferenceStep, ItemLazy, TrainOutput, TrainStep,
        metric::{Adaptor, LossInput},
    },
};
use headway_model::Model;
use headway_tasks::Batch;

use crate::loss::{self, Loss};

/// A model together with the loss it is trained on.
#[derive(Module, Debug)]
pub(crate) struct Trainee {
    pub(crate) model: Model,
    #[module(skip)]
    pub(crate) loss: Loss,
    /// Factor on the gradient: 1 / micro-batches per step.
    #[module(skip)]
    pub(crate) gradient_scale: f64,
}

/// Loss of one batch, still on the device.
#[derive(Clone)]
pub(crate) struct BatchLoss(pub(crate) Tensor<1>);

impl Trainee {
    fn batch_loss(&self, batch: &Batch) -> Tensor<1> {
        let device = self.devices().first().cloned().unwrap_or_default();
        self.loss.forward(self.model.forward(loss::inputs(batch, &device)), batch)
    }
}

impl TrainStep for Trainee {
    type Input = Batch;
    type Output = BatchLoss;

    fn step(&self, batch: Batch) -> TrainOutput<BatchLoss> {
        let loss = self.batch_loss(&batch);
        let gradients = loss.clone().mul_scalar(self.gradient_scale).backward();
        TrainOutput::new(self, gradients, BatchLoss(loss.inner()))
    }
}

impl InferenceStep for Trainee {
    type Input = Batch;
    type Output = BatchLoss;

    fn step(&self, batch: Batch) -> BatchLoss {
        BatchLoss(self.batch_loss(&batch))
    }
}

impl ItemLazy for BatchLoss {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for BatchLoss {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.0.clone())
    }
}
