//! The training objective.

use burn::tensor::{Device, Tensor};
use headway_kernels::{cross_entropy, squared_error};
use headway_model::Input;
use headway_tasks::Batch;
use serde::{Deserialize, Serialize};

use crate::on_device::{self, OnDevice, Target};

/// The objective to minimise. If targets are classes it is always the cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error over scored positions and the task's d_out channels.
    #[default]
    Plain,
    /// The loss of the paper's code: targets are padded with zeros to the width of the model's output, and the squared
    /// error is averaged over all channels. With one meaningful channel out of 32 it is about 1/32 of the plain loss.
    Padded,
}

/// The inputs of a batch, on a device.
pub fn inputs(batch: &Batch, device: &Device) -> Input {
    on_device::input(&batch.inputs, batch.size, batch.dims, device)
}

impl Loss {
    /// Number of channels in the loss, for a model output of width `width`.
    pub fn channels(self, width: usize, d_out: usize) -> usize {
        match self {
            Self::Plain => d_out,
            Self::Padded => width,
        }
    }

    /// The loss of a prediction, on the device, for the backward pass.
    ///
    /// Squared error: Σ scored (prediction − target)² / (scored positions · channels). Cross-entropy:
    /// −Σ scored log softmax(prediction) at the class / scored positions.
    ///
    /// # Shapes
    /// prediction `[batch, seq_len, width]` -> `[1]`
    pub fn forward(self, prediction: Tensor<3>, batch: &OnDevice) -> Tensor<1> {
        let [.., width] = prediction.dims();
        let scored = batch.layout().scored().max(1);
        match batch.wanted() {
            (Target::Continuous(target), weight) => {
                let channels = self.channels(width, target.dims()[2]);
                squared_error(prediction, target, weight, channels, scored * channels)
            }
            (Target::Classes(classes), weight) => cross_entropy(prediction, classes, weight, scored),
        }
    }
}

/// Rows of `d_out` numbers padded with zeros to `channels` numbers.
pub(crate) fn zero_padded(targets: &[f32], d_out: usize, channels: usize) -> Vec<f32> {
    let mut padded = vec![0.0; targets.len() / d_out * channels];
    for (row, target) in padded.chunks_exact_mut(channels).zip(targets.chunks_exact(d_out)) {
        row[..d_out].copy_from_slice(target);
    }
    padded
}
