//! The model with its objective, in the form that burn-train expects.

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

use crate::{loss::Loss, on_device::OnDevice};

/// A model together with its training loss.
#[derive(Module, Debug)]
pub(crate) struct TrainableModel {
    pub(crate) model: Model,
    #[module(skip)]
    pub(crate) loss: Loss,
}

/// Loss of one batch, still on the device.
#[derive(Clone)]
pub(crate) struct BatchLoss(pub(crate) Tensor<1>);

impl TrainableModel {
    /// A batch where the model is.
    pub(crate) fn upload(&self, batch: &Batch) -> OnDevice {
        OnDevice::new(batch, &self.devices().first().cloned().unwrap_or_default())
    }

    fn batch_loss(&self, batch: &OnDevice) -> Tensor<1> {
        self.loss.forward(self.model.forward(batch.input()), batch)
    }

    /// The loss of a micro-batch, and its gradient times `share`, the micro-batch's share of the scored positions of an
    /// update.
    pub(crate) fn micro_batch(&self, batch: &OnDevice, share: f64) -> TrainOutput<BatchLoss> {
        let loss = self.batch_loss(batch);
        // Times one is a launch for nothing.
        let weighed = if share >= 1.0 { loss.clone() } else { loss.clone().mul_scalar(share) };
        let gradients = weighed.backward();
        TrainOutput::new(self, gradients, BatchLoss(loss.inner()))
    }
}

impl TrainStep for TrainableModel {
    type Input = Batch;
    type Output = BatchLoss;

    fn step(&self, batch: Batch) -> TrainOutput<BatchLoss> {
        self.micro_batch(&self.upload(&batch), 1.0)
    }
}

impl InferenceStep for TrainableModel {
    type Input = Batch;
    type Output = BatchLoss;

    fn step(&self, batch: Batch) -> BatchLoss {
        BatchLoss(self.batch_loss(&self.upload(&batch)))
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
