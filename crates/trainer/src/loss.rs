//! The training objective.

use burn::tensor::{Device, Tensor};
use headway_kernels::{cross_entropy, squared_error};
use headway_keys::Described;
use headway_model::Input;
use headway_tasks::Batch;
use serde::{Deserialize, Serialize};

use crate::on_device::{self, OnDevice, Target};

/// The objective to minimise, over the numbers that have a target. If targets are classes it is always the cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error over scored positions and the task's d_out channels.
    #[default]
    Plain,
    /// The loss of the paper's code: targets are padded with zeros to the width of the model's output, and the squared
    /// error is averaged over all channels. With one meaningful channel out of 32 it is about 1/32 of the plain loss.
    Padded,
    /// Mean absolute error over scored positions and the task's d_out channels.
    Absolute,
}

/// The inputs of a batch, on a device.
pub fn inputs(batch: &Batch, device: &Device) -> Input {
    on_device::input(&batch.inputs, batch.size, batch.dims, device)
}

impl Loss {
    /// Number of channels in the loss, for a model output of width `width`.
    pub fn channels(self, width: usize, d_out: usize) -> usize {
        match self {
            Self::Plain | Self::Absolute => d_out,
            Self::Padded => width,
        }
    }

    /// What an error of one number counts.
    pub fn of_error(self, error: f64) -> f64 {
        match self {
            Self::Plain | Self::Padded => error.powi(2),
            Self::Absolute => error.abs(),
        }
    }

    /// The loss of a prediction, on the device, for the backward pass.
    ///
    /// Squared error: Σ scored (prediction − target)² / (scored positions · channels), and so for the absolute one; numbers
    /// without a target count nowhere. Cross-entropy: −Σ scored log softmax(prediction) at the class / scored positions.
    ///
    /// # Shapes
    /// prediction where the loss looks, `[batch, asked, width]` or `[1, scored, width]` -> `[1]`
    pub fn forward(self, prediction: Tensor<3>, batch: &OnDevice) -> Tensor<1> {
        let [.., width] = prediction.dims();
        let scored = batch.layout().scored().max(1);
        match batch.wanted() {
            (Target::Continuous(target), weight) => {
                let channels = self.channels(width, target.dims()[2]);
                let count = (scored * channels).saturating_sub(batch.layout().missing()).max(1);
                // Where there is no target, zero is predicted to be zero.
                let prediction = match batch.known() {
                    Some(known) => prediction * over_all_channels(known, width),
                    None => prediction,
                };
                match self {
                    Self::Plain | Self::Padded => squared_error(prediction, target, weight, channels, count),
                    Self::Absolute => absolute_error(prediction.narrow(2, 0, channels), target, weight, count),
                }
            }
            (Target::Classes(classes), weight) => cross_entropy(prediction, classes, weight, scored),
        }
    }
}

/// Which numbers have a target, for outputs of width `width`, of which those beyond the targets' are padding.
///
/// # Shapes
/// `[batch, seq_len, d_out]` -> `[batch, seq_len, width]`
fn over_all_channels(known: Tensor<3>, width: usize) -> Tensor<3> {
    let [batch, seq_len, d_out] = known.dims();
    if d_out == width {
        return known;
    }
    let padding = Tensor::ones([batch, seq_len, width - d_out], &known.device());
    Tensor::cat(vec![known, padding], 2)
}

/// Σ w |prediction − target| / count.
///
/// # Shapes
/// prediction and target `[batch, seq_len, d_out]`, weight w `[batch, seq_len, 1]`, one where it is missing -> `[1]`
fn absolute_error(prediction: Tensor<3>, target: Tensor<3>, weight: Option<Tensor<3>>, count: usize) -> Tensor<1> {
    let error = (prediction - target).abs();
    let error = match weight {
        Some(weight) => error * weight,
        None => error,
    };
    error.sum().div_scalar(count as f64)
}

/// Rows of `d_out` numbers padded with zeros to `channels` numbers.
pub(crate) fn zero_padded(targets: &[f32], d_out: usize, channels: usize) -> Vec<f32> {
    let mut padded = vec![0.0; targets.len() / d_out * channels];
    for (row, target) in padded.chunks_exact_mut(channels).zip(targets.chunks_exact(d_out)) {
        row[..d_out].copy_from_slice(target);
    }
    padded
}
