//! Products of operands that were rounded as a precision says, and their backward pass, beneath [`matmul`](crate::matmul) and
//! [`linear`](crate::linear).

#[cfg(feature = "gpu")]
pub(crate) mod gpu;

use burn::{
    backend::{
        Autodiff, Backend, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        ops::FloatTensorOps,
        tensor::FloatTensor,
    },
    tensor::FloatDType,
};
use burn_flex::FlexTensor;

use crate::Precision;

/// The operation on the backends that have one of their own.
#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub trait Product: Backend {
    /// See [`matmul`](crate::matmul).
    fn product(a: FloatTensor<Self>, b: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;
}

/// A backend that multiplies.
pub trait Multiply: Backend {
    /// The tensor as a product of this precision sees it.
    fn operand(tensor: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;

    /// A B of operands, in f32.
    fn multiply(a: FloatTensor<Self>, b: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;
}

impl Multiply for Flex {
    /// Rounded, but stored in f32, in which the CPU computes.
    fn operand(tensor: FlexTensor, precision: Precision) -> FlexTensor {
        match precision {
            Precision::F32 | Precision::Tf32 => tensor,
            half @ (Precision::Bf16 | Precision::F16) => {
                Self::float_cast(Self::float_cast(tensor, half.dtype()), FloatDType::F32)
            }
        }
    }

    fn multiply(a: FlexTensor, b: FlexTensor, _: Precision) -> FlexTensor {
        Self::float_matmul(a, b)
    }
}

impl Product for Flex {
    fn product(a: FlexTensor, b: FlexTensor, precision: Precision) -> FlexTensor {
        let [a, b] = [a, b].map(|tensor| Self::operand(tensor, precision));
        Self::multiply(a, b, precision)
    }
}

/// The autodiff node, whose parents are A and B.
#[derive(Debug)]
struct Node;

impl<B: Multiply> Backward<B, 2> for Node {
    /// Both operands.
    type State = (FloatTensor<B>, FloatTensor<B>, Precision);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (a, b, precision) = ops.state;
        let d_output = B::operand(gradients.consume::<B>(&ops.node), precision);
        let last = d_output.shape().num_dims() - 1;
        let transposed = |tensor| B::float_swap_dims(tensor, last - 1, last);
        let [of_a, of_b] = ops.parents;
        if let Some(parent) = of_a {
            gradients.register::<B>(parent.id, B::multiply(d_output.clone(), transposed(b), precision));
        }
        if let Some(parent) = of_b {
            gradients.register::<B>(parent.id, B::multiply(transposed(a), d_output, precision));
        }
    }
}

impl<B: Multiply, C: CheckpointStrategy> Product for Autodiff<B, C> {
    fn product(a: FloatTensor<Self>, b: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        let [(a, a_node), (b, b_node)] = [a, b].map(FloatTensor::<Self>::into_parts);
        let [a, b] = [a, b].map(|tensor| B::operand(tensor, precision));
        let output = B::multiply(a.clone(), b.clone(), precision);
        match Backward::<B, 2>::prepare::<C>(Node, [a_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((a, b, precision), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
