//! The model with its objective, in the form that burn-train expects.

use burn::{
    module::Module,
    optim::GradientsAccumulator,
    tensor::{ExecutionError, Tensor},
    train::{
        InferenceStep, ItemLazy, TrainOutput, TrainStep,
        metric::{Adaptor, LossInput},
    },
};
use headway_kernels::DropSeed;
use headway_model::Model;
use headway_tasks::Batch;

use crate::{
    loss::Loss,
    micro_batch::MicroBatch,
    on_device::{Layout, OnDevice},
    optimizer::Optimizer,
};

/// A model together with its training loss.
#[derive(Module, Debug)]
pub(crate) struct TrainableModel {
    pub(crate) model: Model,
    #[module(skip)]
    pub(crate) loss: Loss,
}

/// What an update is made from: for each micro-batch what it counts and the loss, still on the device. A captured
/// step writes the losses of the next update into the same memory.
pub(crate) type Losses = Vec<(f64, Tensor<1>)>;

/// One update in the making.
///
/// Its loss is the mean over the scored positions of all its micro-batches: micro-batch i with n_i of them has the weight n_i / Σ n. A
/// position with missing targets counts by the share of those that it has.
pub(crate) struct Update {
    all: f64,
    losses: Losses,
    gradients: GradientsAccumulator<TrainableModel>,
}

impl Update {
    /// From micro-batches of these layouts, all of which must be known, since Σ n is.
    pub(crate) fn of(layouts: impl Iterator<Item = Layout>) -> Self {
        let all = layouts.map(|layout| layout.share()).sum::<f64>();
        let all = if all > 0.0 { all } else { 1.0 };
        Self { all, losses: Vec::new(), gradients: GradientsAccumulator::new() }
    }

    /// Adds the gradients of a micro-batch, with inputs of adapters dropped by a seed if there is one.
    pub(crate) fn add(&mut self, trainable: &TrainableModel, batch: &OnDevice, seed: Option<&DropSeed>) {
        let share = batch.layout().share();
        let output = match seed {
            Some(_) => trainable.dropping(seed).micro_batch(batch, share / self.all),
            None => trainable.micro_batch(batch, share / self.all),
        };
        self.losses.push((share, output.item.0));
        self.gradients.accumulate(trainable, output.grads);
    }

    /// Updates the model by an optimiser at which it [began](Optimizer::begin).
    pub(crate) fn apply(
        mut self,
        trainable: &mut TrainableModel,
        optimizer: &mut Optimizer,
        clip_norm: Option<f64>,
    ) -> Losses {
        optimizer.update(&mut trainable.model, self.gradients.grads(), clip_norm);
        self.losses
    }
}

/// Loss of one batch, still on the device.
#[derive(Clone)]
pub(crate) struct BatchLoss(pub(crate) Tensor<1>);

impl TrainableModel {
    /// A batch where the model is.
    pub(crate) fn upload(&self, batch: &MicroBatch) -> OnDevice {
        batch.upload(&self.devices().first().cloned().unwrap_or_default())
    }

    /// The same model, which drops inputs of its adapters.
    fn dropping(&self, seed: Option<&DropSeed>) -> Self {
        Self { model: self.model.clone().with_dropout(seed), loss: self.loss }
    }

    fn batch_loss(&self, batch: &OnDevice) -> Tensor<1> {
        let (input, asked) = (batch.input(), batch.layout().asked());
        let prediction = match batch.picked() {
            Some(rows) => self.model.forward_picked(input, asked, rows),
            None => self.model.forward_last(input, asked),
        };
        self.loss.forward(prediction, batch)
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
    type Input = MicroBatch;
    type Output = BatchLoss;

    fn step(&self, batch: MicroBatch) -> TrainOutput<BatchLoss> {
        self.micro_batch(&self.upload(&batch), 1.0)
    }
}

impl InferenceStep for TrainableModel {
    type Input = Batch;
    type Output = BatchLoss;

    fn step(&self, batch: Batch) -> BatchLoss {
        BatchLoss(self.batch_loss(&self.upload(&MicroBatch::Made(batch))))
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
