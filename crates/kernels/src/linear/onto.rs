//! Affine maps that are added to what there is: the bias and the rest in one launch, and gradients that are the same in no further one.

use burn::{
    backend::{
        Autodiff, Backend,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::Shape,
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::zspace::metadata::Metadata;

use super::gpu::{backward, map_onto};
use crate::{
    Precision,
    gpu::{column_sums, dense},
    product::Multiply,
};

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait AffineOnto: Backend {
    /// See [`linear_onto`](crate::linear_onto).
    fn affine_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// Both passes on a backend that computes.
pub trait AffineOntoPasses: Multiply {
    /// The output, from operands; with the shape of what it was added to.
    fn affine_onto_forward(
        onto: FloatTensor<Self>,
        operands: (FloatTensor<Self>, FloatTensor<Self>),
        bias: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, Shape);

    /// Gradients of what the map was added to, x, weight and bias; all but that of the weight only if they are needed.
    fn affine_onto_backward(
        onto: &Shape,
        operands: (FloatTensor<Self>, FloatTensor<Self>),
        d_output: FloatTensor<Self>,
        wanted: [bool; 4],
        precision: Precision,
    ) -> [Option<FloatTensor<Self>>; 4];
}

impl AffineOnto for CubeBackend {
    fn affine_onto(
        onto: CubeTensor,
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        precision: Precision,
    ) -> CubeTensor {
        let [x, weight] = [x, weight].map(|tensor| Self::operand(tensor, precision));
        Self::affine_onto_forward(onto, (x, weight), bias, precision).0
    }
}

impl AffineOntoPasses for CubeBackend {
    fn affine_onto_forward(
        onto: CubeTensor,
        (x, weight): (CubeTensor, CubeTensor),
        bias: CubeTensor,
        precision: Precision,
    ) -> (CubeTensor, Shape) {
        let (onto, bias) = (dense(onto), dense(bias));
        (map_onto(x, &weight, &[bias], Some(&onto), precision), onto.meta.shape().clone())
    }

    fn affine_onto_backward(
        onto: &Shape,
        (x, weight): (CubeTensor, CubeTensor),
        d_output: CubeTensor,
        [wants_onto, wants_x, _, wants_bias]: [bool; 4],
        precision: Precision,
    ) -> [Option<CubeTensor>; 4] {
        let d_output = dense(d_output);
        let d_onto = wants_onto.then(|| over_repeats(&d_output, onto));
        // The sum over all rows goes on from that over the repeats.
        let d_bias = wants_bias.then(|| {
            let from = d_onto.as_ref().unwrap_or(&d_output).clone();
            column_sums(from, &[weight.meta.shape()[1]]).remove(0)
        });
        let (d_x, d_weight) = backward(x, &weight, d_output, wants_x, precision);
        [d_onto, d_x, Some(d_weight), d_bias]
    }
}

/// The sum over what repeats a shape.
fn over_repeats(of: &CubeTensor, shape: &Shape) -> CubeTensor {
    let period = shape.num_elements();
    if of.meta.shape().num_elements() == period {
        return of.clone();
    }
    let mut sums = column_sums(of.clone(), &[period]).remove(0);
    let [one, rows, width] = shape.dims();
    *sums.meta = Metadata::new([one, rows, width], [rows * width, width, 1]);
    sums
}

#[derive(Debug)]
struct Node;

impl<B: AffineOntoPasses> Backward<B, 4> for Node {
    /// The shape of what the map was added to, and both operands.
    type State = (Shape, FloatTensor<B>, FloatTensor<B>, Precision);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut grads::Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let (onto, x, weight, precision) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let all = B::affine_onto_backward(&onto, (x, weight), d_output, wanted, precision);
        for (parent, gradient) in ops.parents.into_iter().zip(all) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: AffineOntoPasses, C: CheckpointStrategy> AffineOnto for Autodiff<B, C> {
    fn affine_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let [(onto, onto_node), (x, x_node), (weight, weight_node), (bias, bias_node)] =
            [onto, x, weight, bias].map(FloatTensor::<Self>::into_parts);
        let [x, weight] = [x, weight].map(|tensor| B::operand(tensor, precision));
        let (output, shape) = B::affine_onto_forward(onto, (x.clone(), weight.clone()), bias, precision);
        let nodes = [onto_node, x_node, weight_node, bias_node];
        match Backward::<B, 4>::prepare::<C>(Node, nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((shape, x, weight, precision), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}
