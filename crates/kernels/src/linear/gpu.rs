//! Affine maps: the product of burn, then the bias in place; and several maps of one input as one product.

use burn::{backend::TensorMetadata, tensor::Shape};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*, zspace::metadata::Metadata};

use super::AffinePasses;
use crate::{
    Precision,
    attention::MaybeFloat,
    gpu::{UNITS, buffer, column_sums, dense, rows_of},
    product::{Multiply, gpu::product},
};

/// Adds a row to each row of a matrix, and then what further numbers there are, over and over. The row comes in pieces.
#[cube(launch)]
fn add_row_kernel(
    to: &mut [f32],
    pieces: &Sequence<Box<[f32]>>,
    further: ComptimeOption<&Tensor<f32>>,
    numbers: usize,
    period: usize,
    #[comptime] widths: Vec<usize>,
) {
    let width = comptime!(widths.iter().sum::<usize>());
    let at = ABSOLUTE_POS;
    if at < numbers {
        let column = at % width;
        #[unroll]
        for k in 0..comptime!(widths.len()) {
            let begin = comptime!(widths[..k].iter().sum::<usize>());
            if column >= begin && column < begin + comptime!(widths[k]) {
                let piece = pieces.index(k);
                let sum = to[at] + piece[column - begin];
                #[comptime]
                match further {
                    ComptimeOption::Some(further) => to[at] = sum + further[at % period],
                    ComptimeOption::None => to[at] = sum,
                }
            }
        }
    }
}

/// Adds a row that comes in pieces to each row of a dense matrix, where it is, and then dense further numbers, which are repeated.
fn add_row(to: &CubeTensor, pieces: &[CubeTensor], further: Option<&CubeTensor>) {
    let numbers = to.meta.shape().num_elements();
    let units = CubeDim::new_1d(UNITS as u32);
    add_row_kernel::launch(
        &to.client,
        calculate_cube_count_elemwise(&to.client, numbers, units),
        units,
        buffer(to),
        pieces.iter().map(buffer).collect(),
        further.cloned().map(CubeTensor::into_tensor_arg).into(),
        numbers,
        further.map_or(numbers, |further| further.meta.shape().num_elements()),
        pieces.iter().map(|piece| piece.meta.shape().num_elements()).collect(),
    );
}

/// The same numbers as a matrix.
fn as_matrix(tensor: &CubeTensor, width: usize) -> CubeTensor {
    let mut matrix = tensor.clone();
    *matrix.meta = Metadata::new(Shape::new([rows_of(tensor, width), width]), [width, 1]);
    matrix
}

/// The transposed matrix, without moving a number.
fn transposed(matrix: &CubeTensor) -> CubeTensor {
    let [rows, columns] = matrix.meta.shape().dims();
    let strides = matrix.meta.strides();
    let strides = [strides[1], strides[0]];
    let mut matrix = matrix.clone();
    *matrix.meta = Metadata::new(Shape::new([columns, rows]), strides);
    matrix
}

/// `[…, width]` instead of the last axis of another tensor.
fn shape_with(tensor: &CubeTensor, width: usize) -> Shape {
    let mut shape: Vec<usize> = tensor.shape().iter().copied().collect();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    Shape::from(shape)
}

/// x W of operands and then the bias, which comes in pieces.
pub(crate) fn map(x: CubeTensor, weight: &CubeTensor, bias: &[CubeTensor], precision: Precision) -> CubeTensor {
    map_onto(x, weight, bias, None, precision)
}

/// [`map`], and with a bias what it is added to, which is repeated.
pub(crate) fn map_onto(
    x: CubeTensor,
    weight: &CubeTensor,
    bias: &[CubeTensor],
    onto: Option<&CubeTensor>,
    precision: Precision,
) -> CubeTensor {
    let [d_in, d_out] = weight.meta.shape().dims();
    let x = dense(x);
    let y = product(&as_matrix(&x, d_in), weight, precision);
    if !bias.is_empty() {
        add_row(&y, bias, onto);
    }
    CubeTensor::new_contiguous(y.client, y.device, shape_with(&x, d_out), y.handle, y.dtype)
}

/// Gradients of x, if it is wanted, and of the weight, from the operands of the forward pass.
pub(crate) fn backward(
    x: CubeTensor,
    weight: &CubeTensor,
    d_output: CubeTensor,
    wants_x: bool,
    precision: Precision,
) -> (Option<CubeTensor>, CubeTensor) {
    let [d_in, d_out] = weight.meta.shape().dims();
    let (x, d_output) = (dense(x), dense(CubeBackend::operand(d_output, precision)));
    let d_rows = as_matrix(&d_output, d_out);
    let d_x = wants_x.then(|| {
        let d_x = product(&d_rows, &transposed(weight), precision);
        CubeTensor::new_contiguous(d_x.client, d_x.device, x.shape(), d_x.handle, d_x.dtype)
    });
    let d_weight = product(&transposed(&as_matrix(&x, d_in)), &d_rows, precision);
    (d_x, d_weight)
}

impl AffinePasses for CubeBackend {
    fn affine_forward(x: CubeTensor, weight: CubeTensor, bias: MaybeFloat<Self>, precision: Precision) -> CubeTensor {
        map(x, &weight, bias.given().map(dense).as_slice(), precision)
    }

    fn affine_backward(
        (x, weight): (CubeTensor, CubeTensor),
        d_output: CubeTensor,
        (wants_x, wants_bias): (bool, bool),
        precision: Precision,
    ) -> (Option<CubeTensor>, CubeTensor, Option<CubeTensor>) {
        let [_, d_out] = weight.meta.shape().dims();
        let (d_x, d_weight) = backward(x, &weight, d_output.clone(), wants_x, precision);
        let d_bias = wants_bias.then(|| column_sums(d_output, &[d_out]).remove(0));
        (d_x, d_weight, d_bias)
    }
}
