//! Modulated rows: one launch forward, two or three backward.

use burn::{
    backend::{
        Autodiff, Backend,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads,
            ops::{Backward, NodeGuard, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::DType,
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::attention::MaybeFloat;
use crate::gpu::{UNITS, buffer, column_sums, dense, empty_like};

#[cube(launch)]
fn forward_kernel(
    x: &[f32],
    bias: &[f32],
    gain: &[f32],
    further: ComptimeOption<&Tensor<f32>>,
    to: &mut [f32],
    numbers: usize,
    rows: usize,
    more: usize,
    #[comptime] d: usize,
) {
    let at = ABSOLUTE_POS;
    if at < numbers {
        let (row, c) = (at / d, at % d);
        let (sequence, place) = (row / (rows + more), row % (rows + more));
        if place < rows {
            to[at] = (x[(sequence * rows + place) * d + c] + bias[c]) * gain[place * d + c];
        } else {
            #[comptime]
            match further {
                ComptimeOption::Some(further) => to[at] = further[(place - rows) * d + c],
                ComptimeOption::None => {}
            }
        }
    }
}

/// One unit for each number of a sequence, which goes through the batch.
#[cube(launch)]
fn backward_kernel(
    x: &[f32],
    bias: &[f32],
    gain: &[f32],
    d_output: &[f32],
    d_x: &mut [f32],
    d_gain: &mut [f32],
    d_further: &mut [f32],
    batch: usize,
    rows: usize,
    more: usize,
    #[comptime] d: usize,
) {
    let at = ABSOLUTE_POS;
    if at < (rows + more) * d {
        let (place, c) = (at / d, at % d);
        let mut total = f32::new(0.0);
        if place < rows {
            let (offset, factor) = (bias[c], gain[at]);
            for sequence in 0..batch {
                let slope = d_output[sequence * (rows + more) * d + at];
                let own = sequence * rows * d + at;
                total += slope * (x[own] + offset);
                d_x[own] = slope * factor;
            }
            d_gain[at] = total;
        } else {
            for sequence in 0..batch {
                total += d_output[sequence * (rows + more) * d + at];
            }
            d_further[(place - rows) * d + c] = total;
        }
    }
}

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait Modulated: Backend {
    /// See [`modulated`](crate::modulated::modulated).
    fn modulated(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        #[extension_type] further: MaybeFloat<Self>,
    ) -> FloatTensor<Self>;
}

/// What the backward pass needs: x, the bias, the gain, and how many rows are behind them.
type Saved<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, usize);

/// The backward pass on a backend that computes.
pub trait ModulatedPasses: Modulated {
    /// Rows of a tensor.
    fn rows(of: &FloatTensor<Self>) -> usize;

    /// Gradients of x, of the bias, of the gain, and of the further rows.
    fn modulated_backward(saved: Saved<Self>, d_output: FloatTensor<Self>) -> [FloatTensor<Self>; 4];
}

impl Modulated for CubeBackend {
    fn modulated(x: CubeTensor, bias: CubeTensor, gain: CubeTensor, further: MaybeFloat<Self>) -> CubeTensor {
        let [x, bias, gain] = [x, bias, gain].map(dense);
        let further = further.given().map(dense);
        let [batch, rows, d] = x.meta.shape().dims();
        let more = further.as_ref().map_or(0, Self::rows);
        let to = empty_like(&x, [batch, rows + more, d], DType::F32);
        let (numbers, units) = (batch * (rows + more) * d, CubeDim::new_1d(UNITS as u32));
        forward_kernel::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, numbers, units),
            units,
            buffer(&x),
            buffer(&bias),
            buffer(&gain),
            further.map(CubeTensor::into_tensor_arg).into(),
            buffer(&to),
            numbers,
            rows,
            more,
            d,
        );
        to
    }
}

impl ModulatedPasses for CubeBackend {
    fn rows(of: &CubeTensor) -> usize {
        of.meta.shape()[0]
    }

    fn modulated_backward((x, bias, gain, more): Saved<Self>, d_output: CubeTensor) -> [CubeTensor; 4] {
        let [x, bias, gain, d_output] = [x, bias, gain, d_output].map(dense);
        let [batch, rows, d] = x.meta.shape().dims();
        let d_x = empty_like(&x, [batch, rows, d], DType::F32);
        let d_gain = empty_like(&x, [rows, d], DType::F32);
        // Without further rows there is nothing to write, but something to bind.
        let d_further = empty_like(&x, [more.max(1), d], DType::F32);
        let (numbers, units) = ((rows + more) * d, CubeDim::new_1d(UNITS as u32));
        backward_kernel::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, numbers, units),
            units,
            buffer(&x),
            buffer(&bias),
            buffer(&gain),
            buffer(&d_output),
            buffer(&d_x),
            buffer(&d_gain),
            buffer(&d_further),
            batch,
            rows,
            more,
            d,
        );
        let d_bias = column_sums(d_x.clone(), &[d]).remove(0);
        [d_x, d_bias, d_gain, d_further]
    }
}

/// The node, whose parents are x, bias, gain and, where there are any, further rows.
#[derive(Debug)]
struct Node;

impl<B: ModulatedPasses, const N: usize> Backward<B, N> for Node {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Saved<B>, N>, gradients: &mut grads::Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let all = B::modulated_backward(ops.state, d_output);
        for (parent, gradient) in ops.parents.into_iter().zip(all) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn record<B: ModulatedPasses, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    saved: Saved<B>,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match Backward::<B, N>::prepare::<C>(Node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish(saved, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

impl<B: ModulatedPasses, C: CheckpointStrategy> Modulated for Autodiff<B, C> {
    fn modulated(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        further: MaybeFloat<Self>,
    ) -> FloatTensor<Self> {
        let [(x, x_node), (bias, bias_node), (gain, gain_node)] = [x, bias, gain].map(FloatTensor::<Self>::into_parts);
        let (x_1, bias_1, gain_1) = (x.clone(), bias.clone(), gain.clone());
        match further.given().map(FloatTensor::<Self>::into_parts) {
            None => {
                let output = B::modulated(x, bias, gain, MaybeFloat::Absent);
                record::<B, C, 3>([x_node, bias_node, gain_node], (x_1, bias_1, gain_1, 0), output)
            }
            Some((further, further_node)) => {
                let more = B::rows(&further);
                let output = B::modulated(x, bias, gain, MaybeFloat::Given(further));
                let nodes = [x_node, bias_node, gain_node, further_node];
                record::<B, C, 4>(nodes, (x_1, bias_1, gain_1, more), output)
            }
        }
    }
}
