//! Several affine maps of one input as one node of burn's autodiff graph.

use burn::backend::{
    Autodiff, Backend, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn::tensor::DType;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::{
    Precision,
    gpu::{UNITS, buffer, column_sums, dense, empty_like},
    linear::gpu::{backward, map},
    product::Multiply,
};

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait Joined: Backend {
    /// See [`joined`](crate::joined()).
    #[allow(clippy::too_many_arguments, reason = "one for each tensor")]
    fn joined(
        x: FloatTensor<Self>,
        w_1: FloatTensor<Self>,
        w_2: FloatTensor<Self>,
        w_3: FloatTensor<Self>,
        b_1: FloatTensor<Self>,
        b_2: FloatTensor<Self>,
        b_3: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// Both passes on a backend that computes.
pub trait JoinedPasses: Multiply {
    /// Output, and the weights side by side, as an operand like x.
    fn joined_forward(
        x: FloatTensor<Self>,
        weights: [FloatTensor<Self>; 3],
        biases: [FloatTensor<Self>; 3],
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of x, if it is wanted, of the weights and of the biases, from the operands of the forward pass.
    #[allow(clippy::type_complexity, reason = "one gradient for each input")]
    fn joined_backward(
        operands: (FloatTensor<Self>, FloatTensor<Self>),
        widths: [usize; 3],
        d_output: FloatTensor<Self>,
        wants_x: bool,
        precision: Precision,
    ) -> (Option<FloatTensor<Self>>, [FloatTensor<Self>; 3], [FloatTensor<Self>; 3]);
}

impl Joined for CubeBackend {
    #[allow(clippy::too_many_arguments, reason = "one for each tensor")]
    fn joined(
        x: FloatTensor<Self>,
        w_1: FloatTensor<Self>,
        w_2: FloatTensor<Self>,
        w_3: FloatTensor<Self>,
        b_1: FloatTensor<Self>,
        b_2: FloatTensor<Self>,
        b_3: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        Self::joined_forward(Self::operand(x, precision), [w_1, w_2, w_3], [b_1, b_2, b_3], precision).0
    }
}

#[derive(Debug)]
struct Node;

impl<B: JoinedPasses> Backward<B, 7> for Node {
    /// The input, the weights side by side, and their widths.
    type State = (FloatTensor<B>, FloatTensor<B>, [usize; 3], Precision);

    fn backward(self, ops: Ops<Self::State, 7>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let (x, joined, widths, precision) = ops.state;
        let wants_x = ops.parents[0].is_some();
        let (d_x, d_weights, d_biases) = B::joined_backward((x, joined), widths, d_output, wants_x, precision);
        let all = [d_x].into_iter().chain(d_weights.into_iter().chain(d_biases).map(Some));
        for (parent, gradient) in ops.parents.into_iter().zip(all) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: JoinedPasses, C: CheckpointStrategy> Joined for Autodiff<B, C> {
    #[allow(clippy::too_many_arguments, reason = "one for each tensor")]
    fn joined(
        x: FloatTensor<Self>,
        w_1: FloatTensor<Self>,
        w_2: FloatTensor<Self>,
        w_3: FloatTensor<Self>,
        b_1: FloatTensor<Self>,
        b_2: FloatTensor<Self>,
        b_3: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let [(w_1, w_1_node), (w_2, w_2_node), (w_3, w_3_node)] = [w_1, w_2, w_3].map(FloatTensor::<Self>::into_parts);
        let [(b_1, b_1_node), (b_2, b_2_node), (b_3, b_3_node)] = [b_1, b_2, b_3].map(FloatTensor::<Self>::into_parts);
        let widths = [&b_1, &b_2, &b_3].map(|bias| bias.shape()[0]);
        let x = B::operand(x, precision);
        let (output, joined) = B::joined_forward(x.clone(), [w_1, w_2, w_3], [b_1, b_2, b_3], precision);
        let nodes = [x_node, w_1_node, w_2_node, w_3_node, b_1_node, b_2_node, b_3_node];
        match Backward::<B, 7>::prepare::<C>(Node, nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((x, joined, widths, precision), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}

/// Puts matrices of as many rows side by side.
#[cube(launch)]
fn join_kernel(pieces: &Sequence<Box<[f32]>>, to: &mut [f32], numbers: usize, #[comptime] widths: Vec<usize>) {
    let width = comptime!(widths.iter().sum::<usize>());
    let at = ABSOLUTE_POS;
    if at < numbers {
        let (row, column) = (at / width, at % width);
        #[unroll]
        for k in 0..comptime!(widths.len()) {
            let begin = comptime!(widths[..k].iter().sum::<usize>());
            let own = comptime!(widths[k]);
            if column >= begin && column < begin + own {
                let piece = pieces.index(k);
                to[at] = piece[row * own + column - begin];
            }
        }
    }
}

/// Takes a matrix apart into matrices of as many rows.
#[cube(launch)]
fn split_kernel(from: &[f32], pieces: &mut Sequence<Box<[f32]>>, numbers: usize, #[comptime] widths: Vec<usize>) {
    let width = comptime!(widths.iter().sum::<usize>());
    let at = ABSOLUTE_POS;
    if at < numbers {
        let (row, column) = (at / width, at % width);
        #[unroll]
        for k in 0..comptime!(widths.len()) {
            let begin = comptime!(widths[..k].iter().sum::<usize>());
            let own = comptime!(widths[k]);
            if column >= begin && column < begin + own {
                let piece = pieces.index_mut(k);
                piece[row * own + column - begin] = from[at];
            }
        }
    }
}

/// Widths of matrices.
fn widths_of(weights: &[CubeTensor]) -> Vec<usize> {
    weights.iter().map(|weight| weight.meta.shape()[1]).collect()
}

impl JoinedPasses for CubeBackend {
    fn joined_forward(
        x: CubeTensor,
        weights: [CubeTensor; 3],
        biases: [CubeTensor; 3],
        precision: Precision,
    ) -> (CubeTensor, CubeTensor) {
        let (weights, biases) = (weights.map(dense), biases.map(dense));
        let widths = widths_of(&weights);
        let (d_in, d_out) = (weights[0].meta.shape()[0], widths.iter().sum::<usize>());
        let joined = empty_like(&x, [d_in, d_out], DType::F32);
        let units = CubeDim::new_1d(UNITS as u32);
        join_kernel::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, d_in * d_out, units),
            units,
            weights.iter().map(buffer).collect(),
            buffer(&joined),
            d_in * d_out,
            widths,
        );
        let joined = Self::operand(joined, precision);
        (map(x, &joined, &biases, precision), joined)
    }

    fn joined_backward(
        (x, joined): (CubeTensor, CubeTensor),
        widths: [usize; 3],
        d_output: CubeTensor,
        wants_x: bool,
        precision: Precision,
    ) -> (Option<CubeTensor>, [CubeTensor; 3], [CubeTensor; 3]) {
        let d_in = joined.meta.shape()[0];
        let (d_x, d_joined) = backward(x, &joined, d_output.clone(), wants_x, precision);
        let d_biases = column_sums(d_output, &widths);
        let d_weights = widths.map(|width| empty_like(&joined, [d_in, width], DType::F32));
        let (units, numbers) = (CubeDim::new_1d(UNITS as u32), d_in * widths.iter().sum::<usize>());
        split_kernel::launch(
            &joined.client,
            calculate_cube_count_elemwise(&joined.client, numbers, units),
            units,
            buffer(&d_joined),
            d_weights.iter().map(buffer).collect(),
            numbers,
            widths.to_vec(),
        );
        let Ok(d_biases) = d_biases.try_into() else { unreachable!("one sum per width") };
        (d_x, d_weights, d_biases)
    }
}
