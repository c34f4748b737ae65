//! The training objective.

use burn::tensor::{Device, Int, Tensor, TensorData};
use headway_kernels::{cross_entropy, squared_error};
use headway_model::Input;
use headway_tasks::{Batch, Inputs, Targets, TaskDims, TaskInput};
use serde::{Deserialize, Serialize};

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
    input(&batch.inputs, batch.size, batch.dims, device)
}

/// Inputs of `n` examples of these sizes on a device.
pub(crate) fn input(inputs: &Inputs, n: usize, dims: TaskDims, device: &Device) -> Input {
    let seq_len = dims.seq_len;
    match (inputs, dims.input) {
        (Inputs::Continuous(values), TaskInput::Continuous { d_in }) => {
            Input::Continuous(Tensor::from_data(TensorData::new(values.clone(), [n, seq_len, d_in]), device))
        }
        (Inputs::Tokens(tokens), _) => {
            let ids: Vec<i32> = tokens.iter().map(|&id| id.cast_signed()).collect();
            Input::Tokens(Tensor::from_data(TensorData::new(ids, [n, seq_len]), device))
        }
        (Inputs::Continuous(_), TaskInput::Tokens { .. }) => unreachable!("a batch holds the input its dims name"),
    }
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
    pub fn forward(self, prediction: Tensor<3>, batch: &Batch) -> Tensor<1> {
        let [n, seq_len, width] = prediction.dims();
        let device = prediction.device();
        let scored = scored_positions(batch).max(1);
        let weight = (scored < n * seq_len).then(|| {
            let weight: Vec<f32> = batch.loss_mask.iter().map(|&s| f32::from(u8::from(s))).collect();
            Tensor::<3>::from_data(TensorData::new(weight, [n, seq_len, 1]), &device)
        });
        match &batch.targets {
            Targets::Continuous(targets) => {
                let d_out = batch.dims.d_out;
                let channels = self.channels(width, d_out);
                let targets = zero_padded(targets, d_out, channels);
                let target = Tensor::<3>::from_data(TensorData::new(targets, [n, seq_len, channels]), &device);
                squared_error(prediction, target, weight, scored * channels)
            }
            Targets::Classes(classes) => {
                let ids: Vec<i32> = classes.iter().map(|&class| class.cast_signed()).collect();
                let ids = Tensor::<3, Int>::from_data(TensorData::new(ids, [n, seq_len, 1]), &device);
                cross_entropy(prediction, ids, weight, scored)
            }
        }
    }
}

/// Number of positions of a batch that are scored.
pub(crate) fn scored_positions(batch: &Batch) -> usize {
    batch.loss_mask.iter().filter(|scored| **scored).count()
}

/// Rows of `d_out` numbers padded with zeros to `channels` numbers.
pub(crate) fn zero_padded(targets: &[f32], d_out: usize, channels: usize) -> Vec<f32> {
    let mut padded = vec![0.0; targets.len() / d_out * channels];
    for (row, target) in padded.chunks_exact_mut(channels).zip(targets.chunks_exact(d_out)) {
        row[..d_out].copy_from_slice(target);
    }
    padded
}
