//! Attention on matrix units (tensor cores), for inputs in half precision, and for f32 rounded to tf32 where that is asked for.
//!
//! A plane owns 16 rows, or as many as its matrix units multiply, and walks over the rows of the other side in tiles that all planes
//! of a cube share: over keys for the output and for the gradient of queries, over queries for those of keys and values. So each
//! sum has one owner and a fixed order. Operands are rounded, sums and softmax are f32.
//!
//! # References
//! Dao 2023, arXiv 2307.08691.

#![allow(
    clippy::too_many_arguments,
    clippy::used_underscore_binding,
    reason = "a kernel takes what it reads and writes one by one, and the types that it is compiled for are read by its macro alone"
)]

mod choice;
mod cmma;
mod mma;
mod walk;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::gpu::empty_like;

use super::{Call, Inputs, Sizes};
pub(super) use choice::Choice;
use choice::Units;
use walk::Plan;

/// The kernels for a call, if the device's matrix units take it.
pub(super) fn choose(call: &Call) -> Option<Choice> {
    let Call { inputs, sizes, options, firsts } = call;
    Choice::new(
        inputs.q.client.properties(),
        inputs.q.dtype,
        options.precision,
        [sizes.d_key, sizes.d_value],
        options.causal,
        *firsts,
    )
}

fn argument(tensor: &CubeTensor) -> TensorArg {
    tensor.clone().into_tensor_arg()
}

/// Cubes for `rows` rows in each head of each batch, and their units.
fn grid(rows: usize, sizes: &Sizes, plan: Plan) -> (CubeCount, CubeDim) {
    let count = CubeCount::Static(rows.div_ceil(plan.owned()) as u32, sizes.heads as u32, sizes.batch as u32);
    (count, CubeDim::new_2d(plan.lanes as u32, plan.planes as u32))
}

/// Numbers that a unit reads from the tensors at once.
fn vector_size(call: &Call, others: &[&CubeTensor]) -> usize {
    let Call { inputs: Inputs { q, k, v, .. }, sizes, firsts, .. } = call;
    let tensors = [q, k, v].into_iter().chain(others.iter().copied());
    let strides = tensors.flat_map(|tensor| tensor.meta.strides()[..3].to_vec());
    let sizes = [sizes.d_key, sizes.d_value].into_iter().chain(*firsts).chain(strides).collect::<Vec<_>>();
    choice::vector_size(q.client.properties(), q.dtype.size(), &sizes)
}

/// Launches a kernel of the chosen units.
macro_rules! launch {
    ($units:expr, $kernel:ident, $client:expr, $grid:expr, $($argument:expr),* $(,)?) => {{
        let (count, units) = $grid;
        // SAFETY: a kernel compares rows and channels with the shapes of its tensors, which all have what `Sizes` says, and its shared
        // memory is as large as its plan says. Its loops end with the rows.
        unsafe {
            match $units {
                Units::Own => mma::$kernel::launch_unchecked($client, count, units, $($argument),*),
                Units::Cooperative => cmma::$kernel::launch_unchecked($client, count, units, $($argument),*),
            }
        }
    }};
}

/// Writes the output and the log-sums.
pub(super) fn forward(call: &Call, choice: &Choice, output: &CubeTensor, log_sums: &CubeTensor) {
    let Call { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, .. } = call;
    launch!(
        choice.units,
        forward_kernel,
        &q.client,
        grid(sizes.q_len, sizes, choice.forward),
        vector_size(call, &[]),
        argument(q),
        argument(k),
        argument(v),
        bias.as_ref().map(argument).into(),
        hidden.as_ref().map(argument).into(),
        argument(output),
        argument(log_sums),
        options.scale,
        choice.forward,
        choice.types(call.types()),
    );
}

/// Writes the gradients of queries, keys and values; returns δ = Σ_c dO_c O_c of each query.
pub(super) fn backward(
    call: &Call,
    choice: &Choice,
    output: &CubeTensor,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    [d_q, d_k, d_v]: [&CubeTensor; 3],
) -> CubeTensor {
    let Call { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, .. } = call;
    let deltas = empty_like(q, [sizes.batch, sizes.heads, sizes.q_len], DType::F32);
    let size = vector_size(call, &[output, d_output]);
    launch!(
        choice.units,
        queries_kernel,
        &q.client,
        grid(sizes.q_len, sizes, choice.queries),
        size,
        argument(q),
        argument(k),
        argument(v),
        bias.as_ref().map(argument).into(),
        hidden.as_ref().map(argument).into(),
        argument(output),
        argument(d_output),
        argument(log_sums),
        argument(&deltas),
        argument(d_q),
        options.scale,
        choice.queries,
        choice.types(call.types()),
    );
    launch!(
        choice.units,
        keys_kernel,
        &q.client,
        grid(sizes.k_len, sizes, choice.keys),
        size,
        argument(q),
        argument(k),
        argument(v),
        bias.as_ref().map(argument).into(),
        hidden.as_ref().map(argument).into(),
        argument(d_output),
        argument(log_sums),
        argument(&deltas),
        argument(d_k),
        argument(d_v),
        options.scale,
        choice.keys,
        choice.types(call.types()),
    );
    deltas
}
