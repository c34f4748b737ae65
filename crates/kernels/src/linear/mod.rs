//! Affine maps over all rows of a batch at once, with the bias added in the same pass.
//!
//! burn-flex multiplies each sequence of a batch separately, writes the product to memory that it has zeroed first,
//! copies it, and adds the bias in another pass. Here a block of rows is multiplied, gets its bias while it is in
//! cache, and is written once.

#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(feature = "gpu")]
mod onto;

use burn::{
    backend::{
        Autodiff, Backend, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, NodeGuard, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Shape, Tensor, module},
};
use burn_flex::FlexTensor;
use gemm::Parallelism;
use rayon::prelude::*;

use crate::{
    Precision,
    attention::MaybeFloat,
    flex::{self, densified, numbers},
    is_cube, is_flex,
    product::Multiply,
};

/// x W + b, or x W if there is no bias, with x and W rounded to the precision and everything summed in f32.
///
/// The gradients are the products dX = dY Wᵀ and dW = Xᵀ dY of what was rounded, dY as well, and db = Σ dY of what was not.
///
/// # Shapes
/// x `[…, d_in]`, weight `[d_in, d_out]`, bias `[d_out]` -> `[…, d_out]`
///
/// # Panics
/// If the sizes disagree, or the device does not [have](Precision::is_available) the precision.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<D> {
    let [d_in, d_out] = weight.dims();
    assert_eq!(x.dims()[D - 1], d_in, "the last axis of x is d_in");
    assert!(bias.as_ref().is_none_or(|bias| bias.dims() == [d_out]), "bias is [d_out]");
    let is_f32 =
        [x.dtype(), weight.dtype()] == [DType::F32; 2] && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32);
    let device = x.device();
    assert!(precision.is_available(&device), "the device has no {}", precision.name());
    if !(is_flex(&device) || is_cube(&device)) || !is_f32 {
        return module::linear(x, weight, bias);
    }
    let bias = bias.map_or(MaybeFloat::Absent, |bias| MaybeFloat::Given(bias.into_dispatch()));
    let [x, weight] = [x.into_dispatch(), weight.into_dispatch()];
    Tensor::from_dispatch(burn::backend::Dispatch::affine(x, weight, bias, precision))
}

/// onto + (x W + b), with what a map is added to either for each sequence or the same for all of them. Precision and gradients are
/// those of [`linear`].
///
/// On a GPU the sum costs nothing beside the bias.
///
/// # Shapes
/// onto `[batch, rows, d_out]` or `[1, rows, d_out]`, x `[batch, rows, d_in]`, weight `[d_in, d_out]`, bias `[d_out]` ->
/// `[batch, rows, d_out]`
///
/// # Panics
/// As [`linear`].
pub fn linear_onto(
    onto: Tensor<3>,
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    precision: Precision,
) -> Tensor<3> {
    let ([batch, rows, d_in], [before, d_out]) = (x.dims(), weight.dims());
    assert!(d_in == before && bias.dims() == [d_out], "x is [batch, rows, d_in], bias [d_out]");
    let [repeated, ..] = onto.dims();
    assert!(
        [1, batch].contains(&repeated) && onto.dims() == [repeated, rows, d_out],
        "onto is [batch or 1, rows, d_out]"
    );
    #[cfg(feature = "gpu")]
    if is_cube(&x.device())
        && [onto.dtype(), x.dtype(), weight.dtype(), bias.dtype()].iter().all(|dtype| *dtype == DType::F32)
    {
        assert!(precision.is_available(&x.device()), "the device has no {}", precision.name());
        let [onto, x] = [onto, x].map(Tensor::into_dispatch);
        let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
        let output = <burn::backend::Dispatch as onto::AffineOnto>::affine_onto(onto, x, weight, bias, precision);
        return Tensor::from_dispatch(output);
    }
    onto + linear(x, weight, Some(bias), precision)
}

/// The operation on the backends that have one of their own.
#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub trait Affine: Backend {
    /// See [`linear`].
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: MaybeFloat<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// Implements [`Affine`] for a backend as the output of its forward pass.
macro_rules! computes {
    ($backend:ty) => {
        impl Affine for $backend {
            fn affine(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: MaybeFloat<Self>,
                precision: Precision,
            ) -> FloatTensor<Self> {
                let [x, weight] = [x, weight].map(|tensor| Self::operand(tensor, precision));
                Self::affine_forward(x, weight, bias, precision)
            }
        }
    };
}

computes!(Flex);
#[cfg(feature = "gpu")]
computes!(burn_cubecl::CubeBackend);

/// Largest number of blocks of rows that the work is split into. It is fixed, so that results do not depend on the
/// number of threads.
const MOST_BLOCKS: usize = 8;
/// Least number of rows in a block.
const LEAST_ROWS: usize = 128;

fn rows_per_block(rows: usize) -> usize {
    rows.div_ceil(MOST_BLOCKS).max(LEAST_ROWS)
}

/// A matrix for gemm: its entries and the strides of its rows and columns.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    entries: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// A dense matrix with rows of `width` entries.
    fn of(entries: &'a [f32], width: usize) -> Self {
        Self { entries, row: width, column: 1 }
    }

    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// C = A B on the current thread; A `[m, k]`, B `[k, n]`, and C `[m, n]`, dense.
fn product([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32]) {
    let reach =
        |matrix: Matrix<'_>, rows: usize, columns: usize| (rows - 1) * matrix.row + (columns - 1) * matrix.column;
    assert!(a.entries.len() > reach(a, m, k) && b.entries.len() > reach(b, k, n) && c.len() == m * n);
    let stride = |stride: usize| stride.cast_signed();
    // SAFETY: the assertion keeps every entry that the sizes and strides can reach inside its slice; C is not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            false,
            a.entries.as_ptr(),
            stride(a.column),
            stride(a.row),
            b.entries.as_ptr(),
            stride(b.column),
            stride(b.row),
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Number of rows of a tensor whose last axis has the given width.
fn rows_of(x: &FlexTensor, width: usize) -> usize {
    x.layout().num_elements() / width
}

/// Gradients of x, weight and bias: dX = dY Wᵀ, dW = Xᵀ dY, db = Σ dY; those of x and bias only if they are needed. dY comes as the
/// operand of the products, and as what the bias sums.
fn backward(
    (x, weight): (FlexTensor, FlexTensor),
    d_outputs: [FlexTensor; 2],
    (wants_x, wants_bias): (bool, bool),
) -> (Option<FlexTensor>, FlexTensor, Option<FlexTensor>) {
    let shape = x.layout().shape().clone();
    let [d_in, d_out] = weight.layout().shape().dims();
    let ([x, weight], [rounded, exact]) = ([x, weight].map(densified), d_outputs.map(densified));
    let rows = rows_of(&x, d_in);
    let (x, weight, rounded, exact) = (numbers(&x), numbers(&weight), numbers(&rounded), numbers(&exact));
    let block = rows_per_block(rows);
    let part = |((x, rounded), exact): ((&[f32], &[f32]), &[f32]), d_x: Option<&mut [f32]>| {
        let rows = x.len() / d_in;
        let d_y = Matrix::of(rounded, d_out);
        if let Some(d_x) = d_x {
            product([rows, d_out, d_in], d_y, Matrix::of(weight, d_out).transposed(), d_x);
        }
        let shape = [d_in, rows, d_out];
        // SAFETY: `product` writes the whole slice without reading it.
        let d_weight =
            unsafe { flex::filled(d_in * d_out, |to| product(shape, Matrix::of(x, d_in).transposed(), d_y, to)) };
        let mut d_bias = vec![0.0; if wants_bias { d_out } else { 0 }];
        if wants_bias {
            for row in exact.chunks_exact(d_out) {
                d_bias.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
            }
        }
        (d_weight, d_bias)
    };
    let blocks = x.par_chunks(block * d_in).zip(rounded.par_chunks(block * d_out)).zip(exact.par_chunks(block * d_out));
    let mut parts: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
    let d_x = if wants_x {
        let fill = |d_x: &mut [f32]| {
            let blocks = blocks.zip(d_x.par_chunks_mut(block * d_in));
            parts = blocks.map(|(block, d_x)| part(block, Some(d_x))).collect();
        };
        // SAFETY: the blocks cover the gradient, and `product` writes a whole block without reading it.
        Some(flex::dense(unsafe { flex::filled(rows * d_in, fill) }, shape))
    } else {
        parts = blocks.map(|block| part(block, None)).collect();
        None
    };
    let total = parts.into_iter().reduce(|(mut d_weight, mut d_bias), (weight, bias)| {
        d_weight.iter_mut().zip(weight).for_each(|(sum, d)| *sum += d);
        d_bias.iter_mut().zip(bias).for_each(|(sum, d)| *sum += d);
        (d_weight, d_bias)
    });
    let (d_weight, d_bias) = total.unwrap_or_else(|| (vec![0.0; d_in * d_out], vec![0.0; d_out]));
    let d_bias = wants_bias.then(|| flex::dense(d_bias, Shape::new([d_out])));
    (d_x, flex::dense(d_weight, Shape::new([d_in, d_out])), d_bias)
}

/// A backend that implements the forward and the backward pass.
pub trait AffinePasses: Multiply {
    /// The output, from operands.
    fn affine_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: MaybeFloat<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;

    /// Gradients of x, weight and bias; those of x and bias only if they are needed.
    fn affine_backward(
        operands: (FloatTensor<Self>, FloatTensor<Self>),
        d_output: FloatTensor<Self>,
        wants_x_and_bias: (bool, bool),
        precision: Precision,
    ) -> (Option<FloatTensor<Self>>, FloatTensor<Self>, Option<FloatTensor<Self>>);
}

impl AffinePasses for Flex {
    fn affine_forward(x: FlexTensor, weight: FlexTensor, bias: MaybeFloat<Self>, _: Precision) -> FlexTensor {
        let mut shape: Vec<usize> = x.layout().shape().iter().copied().collect();
        let [d_in, d_out] = weight.layout().shape().dims();
        let [x, weight] = [x, weight].map(densified);
        let bias = match bias {
            MaybeFloat::Given(bias) => Some(densified(bias)),
            MaybeFloat::Absent => None,
        };
        let rows = rows_of(&x, d_in);
        let (x, weight, bias) = (numbers(&x), numbers(&weight), bias.as_ref().map(numbers));
        let block = rows_per_block(rows);
        let fill = |output: &mut [f32]| {
            output.par_chunks_mut(block * d_out).zip(x.par_chunks(block * d_in)).for_each(|(output, x)| {
                let shape = [output.len() / d_out, d_in, d_out];
                product(shape, Matrix::of(x, d_in), Matrix::of(weight, d_out), output);
                match bias {
                    Some(bias) => output
                        .chunks_exact_mut(d_out)
                        .for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b)),
                    // Turns −0 into 0, as adding a bias of zeros would.
                    None => output.iter_mut().for_each(|y| *y += 0.0),
                }
            });
        };
        // SAFETY: the blocks cover the output, and `product` writes a whole block without reading it.
        let output = unsafe { flex::filled(rows * d_out, fill) };
        if let Some(width) = shape.last_mut() {
            *width = d_out;
        }
        flex::dense(output, Shape::from(shape))
    }

    fn affine_backward(
        operands: (FlexTensor, FlexTensor),
        d_output: FlexTensor,
        (wants_x, wants_bias): (bool, bool),
        precision: Precision,
    ) -> (Option<FlexTensor>, FlexTensor, Option<FlexTensor>) {
        let rounded = Self::operand(d_output.clone(), precision);
        backward(operands, [rounded, d_output], (wants_x, wants_bias))
    }
}

/// The autodiff node, whose parents are x, weight and, if there is one, bias.
#[derive(Debug)]
struct Node;

impl<B: AffinePasses, const N: usize> Backward<B, N> for Node {
    /// Both operands.
    type State = (FloatTensor<B>, FloatTensor<B>, Precision);

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let (x, weight, precision) = ops.state;
        let is_wanted = |parent: usize| ops.parents.get(parent).is_some_and(Option::is_some);
        let (d_x, d_weight, d_bias) =
            B::affine_backward((x, weight), d_output, (is_wanted(0), is_wanted(2)), precision);
        for (parent, gradient) in ops.parents.into_iter().zip([d_x, Some(d_weight), d_bias]) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn record<B: AffinePasses, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    saved: (FloatTensor<B>, FloatTensor<B>, Precision),
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match Backward::<B, N>::prepare::<C>(Node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish(saved, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

impl<B: AffinePasses, C: CheckpointStrategy> Affine for Autodiff<B, C> {
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: MaybeFloat<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let [(x, x_node), (weight, weight_node)] = [x, weight].map(FloatTensor::<Self>::into_parts);
        let [x, weight] = [x, weight].map(|tensor| B::operand(tensor, precision));
        let saved = (x.clone(), weight.clone(), precision);
        match bias {
            MaybeFloat::Absent => {
                let output = B::affine_forward(x, weight, MaybeFloat::Absent, precision);
                record::<B, C, 2>([x_node, weight_node], saved, output)
            }
            MaybeFloat::Given(bias) => {
                let (bias, bias_node) = bias.into_parts();
                let output = B::affine_forward(x, weight, MaybeFloat::Given(bias), precision);
                record::<B, C, 3>([x_node, weight_node, bias_node], saved, output)
            }
        }
    }
}
