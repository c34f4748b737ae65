//! The cross-entropy: two or three launches forward, one backward.

use burn::{
    backend::{
        Autodiff, Backend, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::DType,
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::attention::MaybeFloat;
use crate::gpu::{UNITS, buffer, column_sums, cube_each, dense, empty_like, rows_of, sum_over_cube};

/// Units of a cube, which works on a row.
const UNITS_A_ROW: usize = 64;
/// Where a running maximum begins. WGSL has no literal for −∞.
const LOWEST: f32 = -1e30;

/// How much a row counts.
#[cube]
fn share_of(weight: &ComptimeOption<&Tensor<f32>>, row: usize) -> f32 {
    #[comptime]
    match weight {
        ComptimeOption::Some(weight) => weight[row],
        ComptimeOption::None => f32::new(1.0),
    }
}

/// Of each row the logarithm of the sum of its exponentials, and its part of the entropy.
#[cube(launch)]
fn rows_kernel(
    prediction: &[f32],
    classes: &[i32],
    weight: ComptimeOption<&Tensor<f32>>,
    log_sums: &mut [f32],
    parts: &mut [f32],
    rows: usize,
    n_classes: usize,
    factor: f32,
) {
    let row = CUBE_POS;
    let unit = UNIT_POS_X as usize;
    let mut shares = Shared::<[f32]>::new_slice(UNITS_A_ROW);
    // All units of a cube leave, or none.
    if row >= rows {
        terminate!();
    }
    let mut top = f32::new(LOWEST);
    let mut total = f32::new(0.0);
    let mut c = unit;
    while c < n_classes {
        let score = prediction[row * n_classes + c];
        if score > top {
            total *= (top - score).exp();
            top = score;
        }
        total += (score - top).exp();
        c += UNITS_A_ROW;
    }
    shares[unit] = top;
    sync_cube();
    let mut highest = shares[0];
    for other in 1..UNITS_A_ROW {
        if shares[other] > highest {
            highest = shares[other];
        }
    }
    let sum = sum_over_cube(&mut shares, total * (top - highest).exp(), UNITS_A_ROW);
    if unit == 0 {
        let log_sum = highest + sum.ln();
        log_sums[row] = log_sum;
        let score = prediction[row * n_classes + classes[row] as usize];
        parts[row] = share_of(&weight, row) * (log_sum - score) * factor;
    }
}

#[cube(launch)]
fn gradient_kernel(
    prediction: &[f32],
    classes: &[i32],
    weight: ComptimeOption<&Tensor<f32>>,
    log_sums: &[f32],
    d_output: &[f32],
    d_prediction: &mut [f32],
    numbers: usize,
    n_classes: usize,
    factor: f32,
) {
    let at = ABSOLUTE_POS;
    if at < numbers {
        let row = at / n_classes;
        let mut slope = (prediction[at] - log_sums[row]).exp();
        if at % n_classes == classes[row] as usize {
            slope -= 1.0f32;
        }
        d_prediction[at] = slope * share_of(&weight, row) * factor * d_output[0];
    }
}

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait CrossEntropy: Backend {
    /// See [`cross_entropy`](crate::cross_entropy::cross_entropy).
    fn cross_entropy(
        prediction: FloatTensor<Self>,
        classes: IntTensor<Self>,
        #[extension_type] weight: MaybeFloat<Self>,
        count: usize,
    ) -> FloatTensor<Self>;
}

/// A backend that computes both passes.
pub trait CrossEntropyPasses: Backend {
    /// The entropy, and what the backward pass needs of the rows.
    fn forward(scored: &Scored<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the prediction.
    fn backward(scored: Scored<Self>, log_sums: FloatTensor<Self>, d_output: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What is scored.
#[derive(Clone, Debug)]
pub struct Scored<B: Backend> {
    prediction: FloatTensor<B>,
    classes: IntTensor<B>,
    weight: Option<FloatTensor<B>>,
    count: usize,
}

impl Scored<CubeBackend> {
    fn new(prediction: CubeTensor, classes: CubeTensor, weight: Option<CubeTensor>, count: usize) -> Self {
        Self { prediction: dense(prediction), classes: dense(classes), weight: weight.map(dense), count }
    }

    fn n_classes(&self) -> usize {
        self.prediction.meta.shape()[2]
    }

    fn factor(&self) -> f32 {
        1.0 / self.count as f32
    }
}

impl CrossEntropyPasses for CubeBackend {
    fn forward(scored: &Scored<Self>) -> (CubeTensor, CubeTensor) {
        let Scored { prediction, classes, weight, count } = scored.clone();
        let scored = Scored::new(prediction, classes, weight, count);
        let (prediction, n_classes) = (&scored.prediction, scored.n_classes());
        let rows = rows_of(prediction, n_classes);
        let [log_sums, parts] = [(); 2].map(|()| empty_like(prediction, [rows], DType::F32));
        rows_kernel::launch(
            &prediction.client,
            cube_each(rows),
            CubeDim::new_1d(UNITS_A_ROW as u32),
            buffer(prediction),
            buffer(&scored.classes),
            scored.weight.clone().map(CubeTensor::into_tensor_arg).into(),
            buffer(&log_sums),
            buffer(&parts),
            rows,
            n_classes,
            scored.factor(),
        );
        (column_sums(parts, &[1]).remove(0), log_sums)
    }

    fn backward(scored: Scored<Self>, log_sums: CubeTensor, d_output: CubeTensor) -> CubeTensor {
        let Scored { prediction, classes, weight, count } = scored;
        let scored = Scored::new(prediction, classes, weight, count);
        let prediction = &scored.prediction;
        let d_prediction = empty_like(prediction, prediction.shape(), DType::F32);
        let (numbers, units) = (prediction.meta.shape().num_elements(), CubeDim::new_1d(UNITS as u32));
        gradient_kernel::launch(
            &prediction.client,
            calculate_cube_count_elemwise(&prediction.client, numbers, units),
            units,
            buffer(prediction),
            buffer(&scored.classes),
            scored.weight.clone().map(CubeTensor::into_tensor_arg).into(),
            buffer(&log_sums),
            buffer(&dense(d_output)),
            buffer(&d_prediction),
            numbers,
            scored.n_classes(),
            scored.factor(),
        );
        d_prediction
    }
}

impl CrossEntropy for CubeBackend {
    fn cross_entropy(
        prediction: CubeTensor,
        classes: CubeTensor,
        weight: MaybeFloat<Self>,
        count: usize,
    ) -> CubeTensor {
        Self::forward(&Scored { prediction, classes, weight: weight.given(), count }).0
    }
}

#[derive(Debug)]
struct Node;

impl<B: CrossEntropyPasses> Backward<B, 1> for Node {
    type State = (Scored<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let ([parent], (scored, log_sums)) = (ops.parents, ops.state);
        if let Some(parent) = parent {
            gradients.register::<B>(parent.id, B::backward(scored, log_sums, d_output));
        }
    }
}

impl<B: CrossEntropyPasses, C: CheckpointStrategy> CrossEntropy for Autodiff<B, C> {
    fn cross_entropy(
        prediction: FloatTensor<Self>,
        classes: IntTensor<Self>,
        weight: MaybeFloat<Self>,
        count: usize,
    ) -> FloatTensor<Self> {
        let (prediction, node) = prediction.into_parts();
        let weight = weight.given().map(|weight| weight.into_parts().0);
        let scored = Scored { prediction, classes, weight, count };
        let (output, log_sums) = B::forward(&scored);
        match Backward::<B, 1>::prepare::<C>(Node, [node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((scored, log_sums), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
