//! The mask and its use in one launch, forward and backward.

use burn::{
    backend::{
        Autodiff, Backend, BackendTensor, Dispatch, DispatchTensorKind, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Int, Tensor},
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::gpu::{UNITS, buffer, dense, empty_like};

/// First word of pcg4d.
#[cube]
fn noise(x: u32, y: u32, z: u32, w: u32) -> u32 {
    let mut x = x * 1_664_525u32 + 1_013_904_223u32;
    let mut y = y * 1_664_525u32 + 1_013_904_223u32;
    let mut z = z * 1_664_525u32 + 1_013_904_223u32;
    let mut w = w * 1_664_525u32 + 1_013_904_223u32;
    x += y * w;
    y += z * x;
    z += x * y;
    w += y * z;
    x = x ^ (x >> 16u32);
    y = y ^ (y >> 16u32);
    w = w ^ (w >> 16u32);
    x + y * w
}

#[cube(launch)]
fn drop_kernel(x: &[f32], seed: &[u32], to: &mut [f32], numbers: usize, number: u32, least: u32, factor: f32) {
    let at = ABSOLUTE_POS;
    if at < numbers {
        let mut kept = f32::new(0.0);
        if noise(at as u32, number, seed[0], seed[1]) >= least {
            kept = x[at] * factor;
        }
        to[at] = kept;
    }
}

/// Which numbers are dropped.
#[derive(Clone, Debug)]
pub struct Mask {
    seed: CubeTensor,
    number: u32,
    probability: f64,
}

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait DropNumbers: Backend {
    /// See [`dropped`](crate::dropped).
    fn drop_numbers(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self>;
}

impl DropNumbers for CubeBackend {
    fn drop_numbers(x: CubeTensor, mask: Mask) -> CubeTensor {
        let x = dense(x);
        let to = empty_like(&x, x.shape(), DType::F32);
        let (numbers, units) = (x.meta.shape().num_elements(), CubeDim::new_1d(UNITS as u32));
        // The largest word drops all but one of 2³² numbers.
        let least = (mask.probability * 2.0_f64.powi(32)).round() as u32;
        drop_kernel::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, numbers, units),
            units,
            buffer(&x),
            buffer(&mask.seed),
            buffer(&to),
            numbers,
            mask.number,
            least,
            (1.0 / (1.0 - mask.probability)) as f32,
        );
        to
    }
}

#[derive(Debug)]
struct Node;

impl<B: DropNumbers> Backward<B, 1> for Node {
    type State = Mask;

    fn backward(self, ops: Ops<Mask, 1>, gradients: &mut grads::Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            gradients.register::<B>(parent.id, B::drop_numbers(d_output, ops.state));
        }
    }
}

impl<B: DropNumbers, C: CheckpointStrategy> DropNumbers for Autodiff<B, C> {
    fn drop_numbers(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::drop_numbers(x, mask.clone());
        match Backward::<B, 1>::prepare::<C>(Node, [node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(mask, output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}

/// See [`dropped`](crate::dropped).
pub(super) fn dropped<const D: usize>(x: Tensor<D>, seed: &Tensor<1, Int>, number: u32, probability: f64) -> Tensor<D> {
    assert_eq!(x.dtype(), DType::F32, "what is dropped is f32");
    let DispatchTensorKind::Cube(BackendTensor::Int(seed)) = seed.clone().into_dispatch().kind else {
        panic!("the seed lies on the GPU of x")
    };
    let mask = Mask { seed, number, probability };
    Tensor::from_dispatch(<Dispatch as DropNumbers>::drop_numbers(x.into_dispatch(), mask))
}
