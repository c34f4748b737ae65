//! The squared error: one or two launches forward, one backward.

use burn::{
    backend::{
        Autodiff, Backend, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::DType,
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::attention::MaybeFloat;
use crate::gpu::{UNITS, buffer, column_sums, dense, empty_like, sum_over_cube};

/// Numbers that one cube sums at least, and that it sums alone.
const LEAST_NUMBERS: usize = 1 << 12;
/// Cubes that share the sum at most.
const MOST_CUBES: usize = 256;

/// prediction − target at a channel of a row, counted over all sequences, and what its square counts; targets are zero in
/// channels that are not given.
#[cube]
fn error(
    prediction: &Tensor<f32>,
    target: &[f32],
    weight: &ComptimeOption<&Tensor<f32>>,
    row: usize,
    channel: usize,
    #[comptime] given: usize,
) -> (f32, f32) {
    let (sequence, place) = (row / prediction.shape(1), row % prediction.shape(1));
    let at = sequence * prediction.stride(0) + place * prediction.stride(1) + channel * prediction.stride(2);
    let mut error = prediction[at];
    if channel < given {
        error -= target[row * given + channel];
    }
    #[comptime]
    let share = match weight {
        ComptimeOption::Some(weight) => weight[row],
        ComptimeOption::None => 1.0f32,
    };
    (error, share)
}

#[cube(launch)]
fn sum_kernel(
    prediction: &Tensor<f32>,
    target: &[f32],
    weight: ComptimeOption<&Tensor<f32>>,
    sums: &mut [f32],
    numbers: usize,
    per_cube: usize,
    factor: f32,
    #[comptime] channels: usize,
    #[comptime] given: usize,
) {
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    let first = CUBE_POS_X as usize * per_cube;
    let mut end = first + per_cube;
    if end > numbers {
        end = numbers;
    }
    let mut total = f32::new(0.0);
    let mut at = first + UNIT_POS_X as usize;
    while at < end {
        let (row, channel) = (at / channels, at % channels);
        let (error, share) = error(prediction, target, &weight, row, channel, given);
        total += share * error * error;
        at += UNITS;
    }
    let sum = sum_over_cube(&mut shares, total, UNITS);
    if UNIT_POS_X == 0 {
        sums[CUBE_POS_X as usize] = sum * factor;
    }
}

#[cube(launch)]
fn gradient_kernel(
    prediction: &Tensor<f32>,
    target: &[f32],
    weight: ComptimeOption<&Tensor<f32>>,
    d_output: &[f32],
    d_prediction: &mut [f32],
    numbers: usize,
    factor: f32,
    #[comptime] width: usize,
    #[comptime] channels: usize,
    #[comptime] given: usize,
) {
    let at = ABSOLUTE_POS;
    if at < numbers {
        let (row, channel) = (at / width, at % width);
        let mut slope = f32::new(0.0);
        if channel < channels {
            let (error, share) = error(prediction, target, &weight, row, channel, given);
            slope = 2.0f32 * factor * d_output[0] * share * error;
        }
        d_prediction[at] = slope;
    }
}

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait SquaredError: Backend {
    /// See [`squared_error`](crate::squared_error::squared_error).
    fn squared_error(
        prediction: FloatTensor<Self>,
        target: FloatTensor<Self>,
        #[extension_type] weight: MaybeFloat<Self>,
        channels: usize,
        count: usize,
    ) -> FloatTensor<Self>;
}

/// A backend that computes both passes.
pub trait SquaredErrorPasses: Backend {
    /// The error.
    fn forward(parts: &Parts<Self>) -> FloatTensor<Self>;

    /// Gradient of the prediction.
    fn backward(parts: Parts<Self>, d_output: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Parts<B: Backend> {
    prediction: FloatTensor<B>,
    target: FloatTensor<B>,
    weight: Option<FloatTensor<B>>,
    channels: usize,
    count: usize,
}

impl Parts<CubeBackend> {
    /// Dense but for the prediction, which may be a part of what the network made.
    fn prepared(&self) -> Self {
        let Self { prediction, target, weight, channels, count } = self.clone();
        Self { prediction, target: dense(target), weight: weight.map(dense), channels, count }
    }

    /// Channels of the targets.
    fn given(&self) -> usize {
        self.target.meta.shape()[2]
    }
}

impl SquaredErrorPasses for CubeBackend {
    fn forward(parts: &Parts<Self>) -> CubeTensor {
        let parts = parts.prepared();
        let (prediction, given) = (&parts.prediction, parts.given());
        let [batch, rows, _] = prediction.meta.shape().dims();
        let numbers = batch * rows * parts.channels;
        let cubes = numbers.div_ceil(LEAST_NUMBERS).min(MOST_CUBES);
        let sums = empty_like(prediction, [cubes], DType::F32);
        sum_kernel::launch(
            &prediction.client,
            CubeCount::Static(cubes as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            prediction.clone().into_tensor_arg(),
            buffer(&parts.target),
            parts.weight.clone().map(CubeTensor::into_tensor_arg).into(),
            buffer(&sums),
            numbers,
            numbers.div_ceil(cubes),
            1.0 / parts.count as f32,
            parts.channels,
            given,
        );
        if cubes == 1 { sums } else { column_sums(sums, &[1]).remove(0) }
    }

    fn backward(parts: Parts<Self>, d_output: CubeTensor) -> CubeTensor {
        let parts = parts.prepared();
        let (prediction, given) = (&parts.prediction, parts.given());
        let d_prediction = empty_like(prediction, prediction.shape(), DType::F32);
        let numbers = prediction.meta.shape().num_elements();
        let units = CubeDim::new_1d(UNITS as u32);
        gradient_kernel::launch(
            &prediction.client,
            calculate_cube_count_elemwise(&prediction.client, numbers, units),
            units,
            prediction.clone().into_tensor_arg(),
            buffer(&parts.target),
            parts.weight.clone().map(CubeTensor::into_tensor_arg).into(),
            buffer(&dense(d_output)),
            buffer(&d_prediction),
            numbers,
            1.0 / parts.count as f32,
            prediction.meta.shape()[2],
            parts.channels,
            given,
        );
        d_prediction
    }
}

impl SquaredError for CubeBackend {
    fn squared_error(
        prediction: CubeTensor,
        target: CubeTensor,
        weight: MaybeFloat<Self>,
        channels: usize,
        count: usize,
    ) -> CubeTensor {
        Self::forward(&Parts { prediction, target, weight: weight.given(), channels, count })
    }
}

#[derive(Debug)]
struct Node;

impl<B: SquaredErrorPasses> Backward<B, 1> for Node {
    type State = Parts<B>;

    fn backward(self, ops: Ops<Parts<B>, 1>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            gradients.register::<B>(parent.id, B::backward(ops.state, d_output));
        }
    }
}

impl<B: SquaredErrorPasses, C: CheckpointStrategy> SquaredError for Autodiff<B, C> {
    fn squared_error(
        prediction: FloatTensor<Self>,
        target: FloatTensor<Self>,
        weight: MaybeFloat<Self>,
        channels: usize,
        count: usize,
    ) -> FloatTensor<Self> {
        let (prediction, node) = prediction.into_parts();
        let (target, _) = target.into_parts();
        let weight = weight.given().map(|weight| weight.into_parts().0);
        let parts = Parts { prediction, target, weight, channels, count };
        let output = B::forward(&parts);
        match Backward::<B, 1>::prepare::<C>(Node, [node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(parts, output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
