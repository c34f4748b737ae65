//! Softmax attention on a GPU, through CubeCL: wgpu (Vulkan, Metal, DX12) and CUDA.
//!
//! A [`Call`] is attention in the layout that kernels read; [`forward`] and [`backward`] choose the form of the kernels that
//! compute it.

#![allow(
    clippy::assign_op_pattern,
    clippy::collapsible_else_if,
    clippy::collapsible_if,
    clippy::manual_div_ceil,
    clippy::manual_is_multiple_of,
    clippy::range_plus_one,
    clippy::too_many_lines,
    clippy::trivially_copy_pass_by_ref,
    clippy::used_underscore_binding,
    reason = "kernels are written in the part of Rust that their macro knows, and what is tested when one is compiled stands apart from \
              what is tested when it runs"
)]

mod bias;
mod merge;
mod parts;
mod plan;
mod rows;
mod simt;
mod tensor;
mod tiles;
#[cfg(any(feature = "autotune", test))]
mod tune;

use burn::{
    backend::{TensorMetadata, tensor::FloatTensor},
    tensor::DType,
};
use burn_cubecl::{CubeBackend, CubeDevice, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{ir::ElemType, zspace::metadata::Metadata};

use crate::{Precision, gpu::empty_like};

use super::{
    AttentionPasses, FusedAttention, Gradients, Inputs, MaybeBool, MaybeFloat, Options, Sizes, computes,
    packed::PackedPasses,
};

/// What the kernels compute, and from what. The last axis of each tensor is dense.
#[derive(Clone)]
struct Call {
    inputs: Inputs<CubeBackend>,
    sizes: Sizes,
    options: Options,
    /// Numbers in front of the first query, key and value in the memory of their tensors, and of their gradients in theirs.
    firsts: [usize; 3],
}

impl Call {
    fn new(inputs: Inputs<CubeBackend>, options: Options, firsts: [usize; 3]) -> Self {
        let Inputs { q, k, v, bias, hidden } = inputs;
        let [q, k, v] = [q, k, v].map(readable);
        let (bias, hidden) = (bias.map(into_contiguous), hidden.map(into_contiguous));
        let sizes = Sizes::of([&q.shape(), &k.shape(), &v.shape()]);
        Self { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, firsts }
    }

    /// Types of the numbers and of the flags of hidden pairs.
    fn types(&self) -> [ElemType; 2] {
        let flags = self.inputs.hidden.as_ref().map_or(DType::U32, |hidden| hidden.dtype);
        [self.inputs.q.dtype, flags].map(burn::backend::cubecl::dtype_to_storage_type)
    }
}

/// Writes the output, and the natural logarithm of each query's sum of exponentials, which is 10³⁰ for a query that sees no key.
fn forward(call: &Call, output: &CubeTensor, log_sums: &CubeTensor) {
    match tensor::choose(call) {
        Some(choice) => tensor::forward(call, &choice, output, log_sums),
        None => simt::forward(call, output, log_sums),
    }
}

/// Writes the gradients of queries, keys and values; returns that of the bias.
fn backward(
    call: &Call,
    output: &CubeTensor,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    gradients: [&CubeTensor; 3],
) -> Option<CubeTensor> {
    match tensor::choose(call) {
        Some(choice) => {
            let deltas = tensor::backward(call, &choice, output, log_sums, d_output, gradients);
            simt::backward_of_bias(call, log_sums, d_output, &deltas)
        }
        None => simt::backward(call, output, log_sums, d_output, gradients),
    }
}

/// Whether inputs of a precision, with channels `[d_key, d_value]`, are computed on the device's matrix units.
pub(super) fn is_on_matrix_units(device: &CubeDevice, precision: Precision, widths: [usize; 2]) -> bool {
    let client = device.client();
    tensor::Choice::new(client.properties(), precision.dtype().into(), precision, widths, false, [0; 3]).is_some()
}

/// The tensor with a dense last axis, which the kernels need.
fn readable(tensor: CubeTensor) -> CubeTensor {
    if tensor.meta.strides().last() == Some(&1) && !tensor.meta.is_tiled() { tensor } else { into_contiguous(tensor) }
}

impl AttentionPasses for CubeBackend {
    fn forward(inputs: Inputs<Self>, options: Options) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let Sizes { batch, heads, q_len, d_value, .. } =
            Sizes::of([&inputs.q, &inputs.k, &inputs.v].map(|t| t.meta.shape()));
        let output = empty_like(&inputs.q, [batch, heads, q_len, d_value], inputs.q.dtype);
        let log_sums = empty_like(&inputs.q, [batch, heads, q_len], DType::F32);
        forward(&Call::new(inputs, options, [0; 3]), &output, &log_sums);
        (output, log_sums)
    }

    fn backward(
        inputs: Inputs<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        options: Options,
    ) -> Gradients<Self> {
        let like = |tensor: &CubeTensor| empty_like(tensor, tensor.shape(), tensor.dtype);
        let (q, k, v) = (like(&inputs.q), like(&inputs.k), like(&inputs.v));
        let (call, output, d_output) = (Call::new(inputs, options, [0; 3]), readable(output), readable(d_output));
        let bias = backward(&call, &output, &log_sums, &d_output, [&q, &k, &v]);
        Gradients { q, k, v, bias }
    }
}

/// Queries, keys and values that lie side by side in the rows of one tensor `[batch, rows, 3 · heads · d_head]`.
struct Packed {
    /// The tensor as `[batch, heads, rows, d_head]`, which are the queries; the others begin further on.
    heads: CubeTensor,
    firsts: [usize; 3],
}

impl Packed {
    /// A dense tensor's queries.
    fn new(tensor: &CubeTensor, n_heads: usize) -> Self {
        let width = tensor.meta.shape()[2] / 3;
        Self { heads: by_head(tensor, n_heads, width / n_heads), firsts: [0, width, 2 * width] }
    }

    fn call(&self, options: Options) -> Call {
        let tensor = || self.heads.clone();
        let inputs = Inputs { q: tensor(), k: tensor(), v: tensor(), bias: None, hidden: None };
        Call::new(inputs, options, self.firsts)
    }
}

/// The first heads of the rows of a dense `[batch, rows, width]`, as `[batch, n_heads, rows, d_head]`.
fn by_head(tensor: &CubeTensor, n_heads: usize, d_head: usize) -> CubeTensor {
    let [batch, rows, width] = tensor.meta.shape().dims();
    let mut heads = tensor.clone();
    *heads.meta = Metadata::new([batch, n_heads, rows, d_head], [rows * width, d_head, width, 1]);
    heads
}

impl PackedPasses for CubeBackend {
    fn packed_forward(qkv: CubeTensor, n_heads: usize, options: Options) -> (CubeTensor, CubeTensor) {
        let qkv = into_contiguous(qkv);
        let [batch, rows, width] = qkv.meta.shape().dims();
        let output = empty_like(&qkv, [batch, rows, width / 3], qkv.dtype);
        let log_sums = empty_like(&qkv, [batch, n_heads, rows], DType::F32);
        let packed = Packed::new(&qkv, n_heads);
        let mixed = by_head(&output, n_heads, width / 3 / n_heads);
        forward(&packed.call(options), &mixed, &log_sums);
        (output, log_sums)
    }

    fn packed_backward(
        qkv: CubeTensor,
        n_heads: usize,
        output: CubeTensor,
        log_sums: CubeTensor,
        d_output: CubeTensor,
        options: Options,
    ) -> CubeTensor {
        let (qkv, d_output) = (into_contiguous(qkv), into_contiguous(d_output));
        let d_qkv = empty_like(&qkv, qkv.shape(), qkv.dtype);
        let (packed, to) = (Packed::new(&qkv, n_heads), Packed::new(&d_qkv, n_heads));
        let d_head = output.meta.shape()[2] / n_heads;
        let [output, d_output] = [output, d_output].map(|rows| by_head(&rows, n_heads, d_head));
        let to = &to.heads;
        backward(&packed.call(options), &output, &log_sums, &d_output, [to, to, to]);
        d_qkv
    }
}

computes!(CubeBackend);
