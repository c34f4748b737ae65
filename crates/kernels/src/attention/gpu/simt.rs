//! Launches of the kernels that compute in f32 without tensor cores, on any GPU.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{ir::ElemType, prelude::*, zspace::metadata::Metadata};

use super::{
    Call, bias,
    merge::{self, Merging},
    parts::Plan,
    plan::{Choice, Limits, Pass},
    rows, tiles,
};
use crate::{
    attention::{Inputs, Sizes},
    gpu::{UNITS, buffer, column_sums, cube_each, empty_like},
};

/// Largest number of channels for which whole rows have the gradients of keys and values computed in one pass; with more,
/// registers would spill.
const MOST_CHANNELS_TOGETHER: usize = 32;

/// Launches the kernel of the form whose units share rows, or that of the form with whole rows.
macro_rules! launch {
    ($tiles:expr, $one:ident, $other:ident, ($($argument:expr),* $(,)?)) => {
        if $tiles {
            tiles::$one::launch_unchecked($($argument),*);
        } else {
            rows::$other::launch_unchecked($($argument),*);
        }
    };
}

/// Writes the output and the log-sums.
pub(super) fn forward(call: &Call, output: &CubeTensor, log_sums: &CubeTensor) {
    let Inputs { q, k, v, bias, hidden } = &call.inputs;
    let client = &q.client;
    let base = base(call, &[q, k, v, output]);
    let choice = Choice::new(Pass::Forward, base, call.sizes, Limits::of(client));
    let Choice { tiles, plan, parts } = choice;
    let [to, to_sums] = if parts == 1 {
        [output.clone(), log_sums.clone()]
    } else {
        let [batch, heads, q_len, d_value] = output.meta.shape().dims();
        let batch = parts * batch;
        [empty_like(q, [batch, heads, q_len, d_value], DType::F32), empty_like(q, [batch, heads, q_len], DType::F32)]
    };
    // SAFETY: every access to a tensor stands behind the tests of its row and its channels, and every loop ends at a length.
    unsafe {
        launch!(
            tiles,
            tiles_forward,
            rows_forward,
            (
                client,
                choice.cubes(call.sizes.q_len, call.sizes),
                choice.units(),
                plan.lanes,
                argument(q),
                argument(k),
                argument(v),
                bias.as_ref().map(argument).into(),
                hidden.as_ref().map(argument).into(),
                argument(&to),
                argument(&to_sums),
                call.options.scale,
                parts,
                plan,
                call.types_with(&to),
            )
        );
    }
    if parts > 1 {
        let merging = Merging { width: plan.d_value, lanes: plan.lanes, first: 0 };
        // SAFETY: units beyond the last vector end; the others read and write inside the shapes.
        unsafe {
            merge::merge_outputs::launch_unchecked(
                client,
                cubes_of(output, plan.d_value),
                CubeDim::new_1d(UNITS as u32),
                plan.lanes,
                argument(&to),
                buffer(&to_sums),
                argument(output),
                buffer(log_sums),
                parts,
                merging,
                type_of(output),
            );
        }
    }
}

/// Writes the gradients of queries, keys and values; returns that of the bias.
pub(super) fn backward(
    call: &Call,
    output: &CubeTensor,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    [d_q, d_k, d_v]: [&CubeTensor; 3],
) -> Option<CubeTensor> {
    let Inputs { q, k, v, bias, hidden } = &call.inputs;
    let (client, sizes, scale) = (&q.client, call.sizes, call.options.scale);
    let Sizes { batch, heads, q_len, k_len, .. } = sizes;
    let deltas = empty_like(q, [batch, heads, q_len], DType::F32);
    let base = base(call, &[q, k, v, output, d_output, d_q, d_k, d_v]);
    let limits = Limits::of(client);

    let choice = Choice::new(Pass::Queries, base, sizes, limits);
    let to = Target::new(d_q, call.firsts[0], choice.parts);
    // SAFETY: as in the forward pass.
    unsafe {
        launch!(
            choice.tiles,
            tiles_queries,
            rows_queries,
            (
                client,
                choice.cubes(q_len, sizes),
                choice.units(),
                base.lanes,
                argument(q),
                argument(k),
                argument(v),
                bias.as_ref().map(argument).into(),
                hidden.as_ref().map(argument).into(),
                argument(output),
                argument(d_output),
                argument(log_sums),
                argument(&deltas),
                argument(&to.tensor),
                scale,
                choice.parts,
                choice.plan,
                to.first,
                call.types_with(&to.tensor),
            )
        );
    }
    to.merge(d_q, call.firsts[0], choice);

    let choice = Choice::new(Pass::Keys, base, sizes, limits);
    let (to_k, to_v) = (Target::new(d_k, call.firsts[1], choice.parts), Target::new(d_v, call.firsts[2], choice.parts));
    let together = choice.tiles || base.d_key.max(base.d_value) <= MOST_CHANNELS_TOGETHER;
    let passes: &[(bool, bool)] = if together { &[(true, true)] } else { &[(true, false), (false, true)] };
    for &(of_keys, of_values) in passes {
        // SAFETY: as in the forward pass.
        unsafe {
            launch!(
                choice.tiles,
                tiles_keys,
                rows_keys,
                (
                    client,
                    choice.cubes(k_len, sizes),
                    choice.units(),
                    base.lanes,
                    argument(q),
                    argument(k),
                    argument(v),
                    bias.as_ref().map(argument).into(),
                    hidden.as_ref().map(argument).into(),
                    argument(d_output),
                    argument(log_sums),
                    argument(&deltas),
                    argument(&to_k.tensor),
                    argument(&to_v.tensor),
                    scale,
                    choice.parts,
                    Plan { of_keys, of_values, ..choice.plan },
                    [to_k.first, to_v.first],
                    call.types_with(&to_k.tensor),
                )
            );
        }
    }
    to_k.merge(d_k, call.firsts[1], choice);
    to_v.merge(d_v, call.firsts[2], choice);

    backward_of_bias(call, log_sums, d_output, &deltas)
}

/// The gradient of the bias, if there is one, given δ = Σ_c dO_c O_c of each query.
pub(super) fn backward_of_bias(
    call: &Call,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    deltas: &CubeTensor,
) -> Option<CubeTensor> {
    let Inputs { q, k, v, bias, hidden } = &call.inputs;
    let (client, sizes) = (&q.client, call.sizes);
    let Sizes { batch, heads, q_len, .. } = sizes;
    let base = base(call, &[q, k, v, d_output]);
    bias.as_ref().map(|bias| {
        let blocks = batch * q_len.div_ceil(bias::QUERIES);
        let across = sizes.distances().div_ceil(bias::DISTANCES);
        let chunks = (Limits::of(client).cubes / (heads * across)).clamp(1, blocks);
        let d_bias = empty_like(q, [chunks * heads, sizes.distances()], DType::F32);
        // SAFETY: as in the forward pass.
        unsafe {
            bias::bias_kernel::launch_unchecked(
                client,
                CubeCount::Static(heads as u32, across as u32, chunks as u32),
                CubeDim::new_1d(bias::DISTANCES as u32),
                base.lanes,
                argument(q),
                argument(k),
                argument(v),
                ComptimeOptionArgs::Some(argument(bias)),
                hidden.as_ref().map(argument).into(),
                argument(d_output),
                argument(log_sums),
                argument(deltas),
                buffer(&d_bias),
                call.options.scale,
                blocks.div_ceil(chunks),
                base,
                call.types(),
            );
        }
        let mut d_bias = if chunks == 1 { d_bias } else { column_sums(d_bias, &[heads * sizes.distances()]).remove(0) };
        *d_bias.meta = Metadata::new([heads, sizes.distances()], [sizes.distances(), 1]);
        d_bias
    })
}

/// Where a gradient is written: to its tensor, or one for each part that is merged into it.
struct Target {
    tensor: CubeTensor,
    first: usize,
}

impl Target {
    fn new(gradient: &CubeTensor, first: usize, parts: usize) -> Self {
        if parts == 1 {
            return Self { tensor: gradient.clone(), first };
        }
        let [batch, heads, rows, width] = gradient.meta.shape().dims();
        Self { tensor: empty_like(gradient, [parts * batch, heads, rows, width], DType::F32), first: 0 }
    }

    fn merge(&self, gradient: &CubeTensor, first: usize, choice: Choice) {
        if choice.parts == 1 {
            return;
        }
        let [_, _, _, width] = gradient.meta.shape().dims();
        // SAFETY: units beyond the last vector end; the others read and write inside the shapes.
        unsafe {
            merge::merge_sums::launch_unchecked(
                &gradient.client,
                cubes_of(gradient, width),
                CubeDim::new_1d(UNITS as u32),
                choice.plan.lanes,
                argument(&self.tensor),
                argument(gradient),
                choice.parts,
                Merging { width, lanes: choice.plan.lanes, first },
                type_of(gradient),
            );
        }
    }
}

/// Cubes of which each unit has one vector of a tensor.
fn cubes_of(tensor: &CubeTensor, width: usize) -> CubeCount {
    let vectors = tensor.meta.shape().num_elements() / width * width.div_ceil(4);
    cube_each(vectors.div_ceil(UNITS))
}

fn argument(tensor: &CubeTensor) -> TensorArg {
    tensor.clone().into_tensor_arg()
}

fn type_of(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(tensor.dtype)
}

impl Call {
    /// Types of the inputs, of what is written, and of the flags of hidden pairs.
    fn types_with(&self, to: &CubeTensor) -> [ElemType; 3] {
        let [numbers, flags] = self.types();
        [numbers, type_of(to), flags]
    }
}

/// What a kernel is compiled with apart from the sizes of its tiles, for these tensors.
fn base(call: &Call, tensors: &[&CubeTensor]) -> Plan {
    let Sizes { d_key, d_value, .. } = call.sizes;
    let even = |numbers: &[usize]| numbers.iter().all(|number| number.is_multiple_of(4));
    let aligned = |tensor: &&CubeTensor| {
        let strides = tensor.meta.strides();
        let bytes = tensor.handle.offset_start.unwrap_or(0);
        even(&strides[..strides.len() - 1]) && bytes.is_multiple_of(4 * tensor.dtype.size() as u64)
    };
    let lanes = if even(&[d_key, d_value]) && even(&call.firsts) && tensors.iter().all(aligned) { 4 } else { 1 };
    Plan {
        d_key,
        d_value,
        lanes,
        causal: call.options.causal,
        hidden: call.inputs.hidden.is_some(),
        firsts: call.firsts,
        base_two: call.inputs.q.client.name() == "cuda",
        of_keys: true,
        of_values: true,
        ..Plan::default()
    }
}
