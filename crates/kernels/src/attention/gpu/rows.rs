//! The form that every GPU can run, in f32 without tensor cores.
//!
//! One unit computes one row: a query in the forward pass and for its own gradient, a key for the gradients of keys and
//! values. Its row and its sums stay in registers, while the rows of the other side pass in tiles through shared
//! memory, all units of a cube reading the same address. Every sum has one owner and a fixed order: there are no atomic
//! operations.

#![allow(
    clippy::used_underscore_binding,
    reason = "the types that a kernel is compiled for are read by its macro alone"
)]

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{ir::ElemType, prelude::*};

use crate::gpu::empty_like;

use super::Call;
use crate::attention::{Inputs, Options, Sizes};

/// Rows of a cube, a multiple of the plane size of every GPU.
const UNITS: usize = 64;
/// Bytes of shared memory for one tile: what WebGPU guarantees everywhere. Only heads with thousands of channels need
/// more.
const TILE_BYTES: usize = 16 * 1024;
/// Largest number of channels for which the gradients of keys and values are computed in one pass; with more, registers
/// would spill.
const MOST_CHANNELS_TOGETHER: usize = 32;
/// Initial value of a running maximum. WGSL has no literal for −∞.
const LOWEST: f32 = -1e30;

type Four = Vector<f32, Const<4>>;

/// Constants that a kernel is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    /// Number of vectors of four channels in a query or key, the last one padded with zeros.
    key_vectors: usize,
    /// Number of vectors of four channels in a value.
    value_vectors: usize,
    /// Number of rows of the other side in one tile of shared memory.
    tile: usize,
    causal: bool,
    /// Numbers in front of the first query, key and value in the memory of their tensors, and of their gradients in theirs.
    firsts: [usize; 3],
}

impl Plan {
    fn new(sizes: Sizes, options: Options, firsts: [usize; 3]) -> Self {
        let (key_vectors, value_vectors) = (sizes.d_key.div_ceil(4), sizes.d_value.div_ceil(4));
        let tile = (TILE_BYTES / (16 * (key_vectors + value_vectors))).clamp(1, UNITS);
        Self { key_vectors, value_vectors, tile, causal: options.causal, firsts }
    }
}

/// Channels 4 c … 4 c + 3 of a row with `width` channels that begins at `start`.
#[cube]
fn four<F: Float>(from: &Tensor<F>, start: usize, c: usize, width: usize) -> Four {
    let mut vector = Four::new(0.0f32);
    #[unroll]
    for lane in 0..4usize {
        if 4 * c + lane < width {
            vector.insert(lane, f32::cast_from(from[start + 4 * c + lane]));
        }
    }
    vector
}

/// Writes channels 4 c … 4 c + 3 of a row, multiplied by a factor.
#[cube]
fn put_four<F: Float>(to: &mut Tensor<F>, start: usize, c: usize, width: usize, vector: Four, factor: f32) {
    #[unroll]
    for lane in 0..4usize {
        if 4 * c + lane < width {
            to[start + 4 * c + lane] = F::cast_from(vector.extract(lane) * factor);
        }
    }
}

#[cube]
fn sum(vector: Four) -> f32 {
    vector.extract(0usize) + vector.extract(1usize) + vector.extract(2usize) + vector.extract(3usize)
}

/// Index of the first entry of row `row` in a tensor `[batch, heads, rows, channels]`.
#[cube]
fn start<F: Float>(of: &Tensor<F>, row: usize) -> usize {
    position(of.stride(0), of.stride(1), of.stride(2), row)
}

/// The same, computed from the strides of batches, heads and rows.
#[cube]
fn position(batches: usize, heads: usize, rows: usize, row: usize) -> usize {
    CUBE_POS_Z as usize * batches + CUBE_POS_Y as usize * heads + row * rows
}

/// Copies `tile` rows, starting at `first` and multiplied by a factor, into shared memory; the units share the work.
#[cube]
fn stage<F: Float>(
    from: &Tensor<F>,
    to: &mut Shared<[Four]>,
    first: usize,
    factor: f32,
    #[comptime] vectors: usize,
    #[comptime] tile: usize,
    #[comptime] offset: usize,
) {
    let (rows, width) = (from.shape(2), from.shape(3));
    let mut at = UNIT_POS_X as usize;
    while at < tile * vectors {
        let row = first + at / vectors;
        let mut vector = Four::new(0.0f32);
        if row < rows {
            vector = four::<F>(from, start::<F>(from, row) + offset, at % vectors, width) * Four::new(factor);
        }
        to[at] = vector;
        at += UNITS;
    }
}

/// Score of query `i` and key `j`: the inner product `score` plus the bias, if there is one.
#[cube]
fn biased(bias: &ComptimeOption<&Tensor<f32>>, i: usize, j: usize, q_len: usize, score: f32) -> f32 {
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => score + bias[CUBE_POS_Y as usize * bias.stride(0) + j + q_len - 1 - i],
        ComptimeOption::None => score,
    }
}

/// Whether query `i` sees key `j`.
#[cube]
fn sees<B: Int>(
    hidden: &ComptimeOption<&Tensor<B>>,
    i: usize,
    j: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] causal: bool,
) -> bool {
    let mut visible = i < q_len && j < k_len;
    if comptime!(causal) {
        visible = visible && j + q_len <= i + k_len;
    }
    #[comptime]
    match hidden {
        ComptimeOption::Some(hidden) => {
            if visible {
                visible = hidden[i * k_len + j] == B::from_int(0);
            }
        }
        ComptimeOption::None => {}
    }
    visible
}

/// Number of keys, counted from the first, that causality lets the last query of this cube see.
#[cube]
fn keys_seen(q_len: usize, k_len: usize, #[comptime] causal: bool) -> usize {
    let mut end = k_len;
    if comptime!(causal) {
        let last = (CUBE_POS_X as usize + 1) * UNITS + k_len;
        end = 0usize;
        if last > q_len {
            end = last - q_len;
        }
        if end > k_len {
            end = k_len;
        }
    }
    end
}

#[cube(launch)]
fn forward_kernel<F: Float, B: Int>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &mut Tensor<F>,
    log_sums: &mut Tensor<f32>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, B)] _types: [ElemType; 2],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let i = CUBE_POS_X as usize * UNITS + UNIT_POS_X as usize;
    let mut keys = Shared::<[Four]>::new_slice(plan.tile * plan.key_vectors);
    let mut values = Shared::<[Four]>::new_slice(plan.tile * plan.value_vectors);
    let mut query = Array::<Four>::new(plan.key_vectors);
    let mut mixed = Array::<Four>::new(plan.value_vectors);
    #[unroll]
    for c in 0..plan.key_vectors {
        query[c] = Four::new(0.0f32);
        if i < q_len {
            query[c] = four::<F>(q, start::<F>(q, i) + comptime!(plan.firsts[0]), c, q.shape(3)) * Four::new(scale);
        }
    }
    #[unroll]
    for c in 0..plan.value_vectors {
        mixed[c] = Four::new(0.0f32);
    }
    let mut top = f32::new(LOWEST);
    let mut total = f32::new(0.0);
    let end = keys_seen(q_len, k_len, plan.causal);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        stage::<F>(k, &mut keys, first, 1.0f32, plan.key_vectors, plan.tile, comptime!(plan.firsts[1]));
        stage::<F>(v, &mut values, first, 1.0f32, plan.value_vectors, plan.tile, comptime!(plan.firsts[2]));
        sync_cube();
        for r in 0..plan.tile {
            let j = first + r;
            if sees::<B>(&hidden, i, j, q_len, k_len, plan.causal) {
                let mut product = Four::new(0.0f32);
                #[unroll]
                for c in 0..plan.key_vectors {
                    product += query[c] * keys[r * plan.key_vectors + c];
                }
                let score = biased(&bias, i, j, q_len, sum(product));
                if score > top {
                    let shrink = (top - score).exp();
                    total *= shrink;
                    #[unroll]
                    for c in 0..plan.value_vectors {
                        mixed[c] *= Four::new(shrink);
                    }
                    top = score;
                }
                let weight = (score - top).exp();
                total += weight;
                #[unroll]
                for c in 0..plan.value_vectors {
                    mixed[c] += Four::new(weight) * values[r * plan.value_vectors + c];
                }
            }
        }
        first += plan.tile;
    }
    if i < q_len {
        let mut share = f32::new(0.0);
        // A query that sees no key: its recomputed pattern must be zero whatever the score.
        let mut log_sum = f32::new(-LOWEST);
        if total != 0.0f32 {
            share = 1.0f32 / total;
            log_sum = top + total.ln();
        }
        let to = position(output.stride(0), output.stride(1), output.stride(2), i);
        let width = output.shape(3);
        #[unroll]
        for c in 0..plan.value_vectors {
            put_four::<F>(output, to, c, width, mixed[c], share);
        }
        let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
        log_sums[at] = log_sum;
    }
}

/// Gradient of the queries, and δ = Σ_c dO_c O_c of each query for the kernels that follow.
#[cube(launch)]
fn queries_kernel<F: Float, B: Int>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &Tensor<F>,
    d_output: &Tensor<F>,
    log_sums: &Tensor<f32>,
    deltas: &mut Tensor<f32>,
    d_q: &mut Tensor<F>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, B)] _types: [ElemType; 2],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let i = CUBE_POS_X as usize * UNITS + UNIT_POS_X as usize;
    let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
    let mut keys = Shared::<[Four]>::new_slice(plan.tile * plan.key_vectors);
    let mut values = Shared::<[Four]>::new_slice(plan.tile * plan.value_vectors);
    let mut query = Array::<Four>::new(plan.key_vectors);
    let mut d_query = Array::<Four>::new(plan.key_vectors);
    let mut d_mixed = Array::<Four>::new(plan.value_vectors);
    let mut product = Four::new(0.0f32);
    let mut log_sum = f32::new(0.0);
    #[unroll]
    for c in 0..plan.key_vectors {
        query[c] = Four::new(0.0f32);
        d_query[c] = Four::new(0.0f32);
        if i < q_len {
            query[c] = four::<F>(q, start::<F>(q, i) + comptime!(plan.firsts[0]), c, q.shape(3)) * Four::new(scale);
        }
    }
    #[unroll]
    for c in 0..plan.value_vectors {
        d_mixed[c] = Four::new(0.0f32);
        if i < q_len {
            d_mixed[c] = four::<F>(d_output, start::<F>(d_output, i), c, v.shape(3));
            product += d_mixed[c] * four::<F>(output, start::<F>(output, i), c, v.shape(3));
        }
    }
    let delta = sum(product);
    if i < q_len {
        log_sum = log_sums[at];
        deltas[at] = delta;
    }
    let end = keys_seen(q_len, k_len, plan.causal);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        stage::<F>(k, &mut keys, first, 1.0f32, plan.key_vectors, plan.tile, comptime!(plan.firsts[1]));
        stage::<F>(v, &mut values, first, 1.0f32, plan.value_vectors, plan.tile, comptime!(plan.firsts[2]));
        sync_cube();
        for r in 0..plan.tile {
            let j = first + r;
            if sees::<B>(&hidden, i, j, q_len, k_len, plan.causal) {
                let mut product = Four::new(0.0f32);
                let mut d_product = Four::new(0.0f32);
                #[unroll]
                for c in 0..plan.key_vectors {
                    product += query[c] * keys[r * plan.key_vectors + c];
                }
                #[unroll]
                for c in 0..plan.value_vectors {
                    d_product += d_mixed[c] * values[r * plan.value_vectors + c];
                }
                let score = biased(&bias, i, j, q_len, sum(product));
                let d_score = (score - log_sum).exp() * (sum(d_product) - delta);
                #[unroll]
                for c in 0..plan.key_vectors {
                    d_query[c] += Four::new(d_score) * keys[r * plan.key_vectors + c];
                }
            }
        }
        first += plan.tile;
    }
    if i < q_len {
        let to = position(d_q.stride(0), d_q.stride(1), d_q.stride(2), i) + comptime!(plan.firsts[0]);
        let width = d_q.shape(3);
        #[unroll]
        for c in 0..plan.key_vectors {
            put_four::<F>(d_q, to, c, width, d_query[c], scale);
        }
    }
}

/// Gradients of the keys, of the values, or of both.
#[cube(launch)]
fn keys_kernel<F: Float, B: Int>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    d_output: &Tensor<F>,
    log_sums: &Tensor<f32>,
    deltas: &Tensor<f32>,
    d_k: &mut Tensor<F>,
    d_v: &mut Tensor<F>,
    scale: f32,
    #[comptime] plan: Plan,
    #[comptime] of_keys: bool,
    #[comptime] of_values: bool,
    #[define(F, B)] _types: [ElemType; 2],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let j = CUBE_POS_X as usize * UNITS + UNIT_POS_X as usize;
    let row = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1);
    let mut queries = Shared::<[Four]>::new_slice(plan.tile * plan.key_vectors);
    let mut d_mixed = Shared::<[Four]>::new_slice(plan.tile * plan.value_vectors);
    let mut key = Array::<Four>::new(plan.key_vectors);
    let mut value = Array::<Four>::new(plan.value_vectors);
    let mut d_key = Array::<Four>::new(plan.key_vectors);
    let mut d_value = Array::<Four>::new(plan.value_vectors);
    #[unroll]
    for c in 0..plan.key_vectors {
        key[c] = Four::new(0.0f32);
        d_key[c] = Four::new(0.0f32);
        if j < k_len {
            key[c] = four::<F>(k, start::<F>(k, j) + comptime!(plan.firsts[1]), c, k.shape(3));
        }
    }
    #[unroll]
    for c in 0..plan.value_vectors {
        value[c] = Four::new(0.0f32);
        d_value[c] = Four::new(0.0f32);
        if comptime!(of_keys) && j < k_len {
            value[c] = four::<F>(v, start::<F>(v, j) + comptime!(plan.firsts[2]), c, v.shape(3));
        }
    }
    let mut first = 0usize;
    if comptime!(plan.causal) {
        // The first query that sees a key of this cube.
        let seen_from = CUBE_POS_X as usize * UNITS + q_len;
        if seen_from > k_len {
            first = (seen_from - k_len) / plan.tile * plan.tile;
        }
    }
    while first < q_len {
        sync_cube();
        stage::<F>(q, &mut queries, first, scale, plan.key_vectors, plan.tile, comptime!(plan.firsts[0]));
        stage::<F>(d_output, &mut d_mixed, first, 1.0f32, plan.value_vectors, plan.tile, 0usize);
        sync_cube();
        for r in 0..plan.tile {
            let i = first + r;
            if sees::<B>(&hidden, i, j, q_len, k_len, plan.causal) {
                let mut product = Four::new(0.0f32);
                #[unroll]
                for c in 0..plan.key_vectors {
                    product += key[c] * queries[r * plan.key_vectors + c];
                }
                let score = biased(&bias, i, j, q_len, sum(product));
                let weight = (score - log_sums[row + i]).exp();
                if comptime!(of_values) {
                    #[unroll]
                    for c in 0..plan.value_vectors {
                        d_value[c] += Four::new(weight) * d_mixed[r * plan.value_vectors + c];
                    }
                }
                if comptime!(of_keys) {
                    let mut d_product = Four::new(0.0f32);
                    #[unroll]
                    for c in 0..plan.value_vectors {
                        d_product += value[c] * d_mixed[r * plan.value_vectors + c];
                    }
                    let d_score = weight * (sum(d_product) - deltas[row + i]);
                    #[unroll]
                    for c in 0..plan.key_vectors {
                        d_key[c] += Four::new(d_score) * queries[r * plan.key_vectors + c];
                    }
                }
            }
        }
        first += plan.tile;
    }
    if j < k_len {
        if comptime!(of_keys) {
            let to = position(d_k.stride(0), d_k.stride(1), d_k.stride(2), j) + comptime!(plan.firsts[1]);
            let width = d_k.shape(3);
            #[unroll]
            for c in 0..plan.key_vectors {
                put_four::<F>(d_k, to, c, width, d_key[c], 1.0f32);
            }
        }
        if comptime!(of_values) {
            let to = position(d_v.stride(0), d_v.stride(1), d_v.stride(2), j) + comptime!(plan.firsts[2]);
            let width = d_v.shape(3);
            #[unroll]
            for c in 0..plan.value_vectors {
                put_four::<F>(d_v, to, c, width, d_value[c], 1.0f32);
            }
        }
    }
}

/// Gradient of the biases: one unit per head and distance sums over batches and queries.
#[cube(launch)]
fn bias_kernel<F: Float, B: Int>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    bias: &Tensor<f32>,
    hidden: ComptimeOption<&Tensor<B>>,
    d_output: &Tensor<F>,
    log_sums: &Tensor<f32>,
    deltas: &Tensor<f32>,
    d_bias: &mut Tensor<f32>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, B)] _types: [ElemType; 2],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let head = CUBE_POS_Y as usize;
    let distance = CUBE_POS_X as usize * UNITS + UNIT_POS_X as usize;
    if distance >= q_len + k_len - 1 {
        terminate!();
    }
    let offset = bias[head * bias.stride(0) + distance];
    let mut total = f32::new(0.0);
    for batch in 0..q.shape(0) {
        let row = batch * log_sums.stride(0) + head * log_sums.stride(1);
        for i in 0..q_len {
            // Key j = distance + i + 1 − q_len, if there is one.
            if distance + i + 1 >= q_len {
                let j = distance + i + 1 - q_len;
                if sees::<B>(&hidden, i, j, q_len, k_len, plan.causal) {
                    let q_start = batch * q.stride(0) + head * q.stride(1) + i * q.stride(2);
                    let k_start = batch * k.stride(0) + head * k.stride(1) + j * k.stride(2);
                    let v_start = batch * v.stride(0) + head * v.stride(1) + j * v.stride(2);
                    let d_start = batch * d_output.stride(0) + head * d_output.stride(1) + i * d_output.stride(2);
                    let mut product = Four::new(0.0f32);
                    let mut d_product = Four::new(0.0f32);
                    for c in 0..plan.key_vectors {
                        product += four::<F>(q, q_start, c, q.shape(3))
                            * Four::new(scale)
                            * four::<F>(k, k_start, c, k.shape(3));
                    }
                    for c in 0..plan.value_vectors {
                        d_product += four::<F>(d_output, d_start, c, v.shape(3)) * four::<F>(v, v_start, c, v.shape(3));
                    }
                    let weight = (sum(product) + offset - log_sums[row + i]).exp();
                    total += weight * (sum(d_product) - deltas[row + i]);
                }
            }
        }
    }
    let to = head * d_bias.stride(0) + distance;
    d_bias[to] = total;
}

/// Number of cubes for `rows` rows in each head of each batch.
fn cubes(rows: usize, heads: usize, batch: usize) -> CubeCount {
    CubeCount::Static(rows.div_ceil(UNITS) as u32, heads as u32, batch as u32)
}

/// Writes the mixture and the log-sums.
pub(super) fn forward(call: &Call, output: &CubeTensor, log_sums: &CubeTensor) {
    let Call { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, firsts } = call;
    forward_kernel::launch(
        &q.client,
        cubes(sizes.q_len, sizes.heads, sizes.batch),
        CubeDim::new_1d(UNITS as u32),
        argument(q),
        argument(k),
        argument(v),
        bias.as_ref().map(argument).into(),
        hidden.as_ref().map(argument).into(),
        argument(output),
        argument(log_sums),
        options.scale,
        Plan::new(*sizes, *options, *firsts),
        call.types(),
    );
}

fn argument(tensor: &CubeTensor) -> TensorArg {
    tensor.clone().into_tensor_arg()
}

/// Writes the gradients of queries, keys and values; returns that of the bias.
pub(super) fn backward(
    call: &Call,
    output: &CubeTensor,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    [d_q, d_k, d_v]: [&CubeTensor; 3],
) -> Option<CubeTensor> {
    let Call { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, firsts } = call;
    let Sizes { batch, heads, q_len, k_len, d_key, d_value } = *sizes;
    let (client, units, types) = (&q.client, CubeDim::new_1d(UNITS as u32), call.types());
    let plan = Plan::new(*sizes, *options, *firsts);
    let deltas = empty_like(q, [batch, heads, q_len], DType::F32);
    queries_kernel::launch(
        client,
        cubes(q_len, heads, batch),
        units,
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
        plan,
        types,
    );
    let together = d_key.max(d_value) <= MOST_CHANNELS_TOGETHER;
    let passes: &[(bool, bool)] = if together { &[(true, true)] } else { &[(true, false), (false, true)] };
    for (of_keys, of_values) in passes {
        keys_kernel::launch(
            client,
            cubes(k_len, heads, batch),
            units,
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
            plan,
            *of_keys,
            *of_values,
            types,
        );
    }
    backward_of_bias(call, log_sums, d_output, &deltas)
}

/// The gradient of the bias, if there is one, given δ = Σ_c dO_c O_c of each query.
pub(super) fn backward_of_bias(
    call: &Call,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    deltas: &CubeTensor,
) -> Option<CubeTensor> {
    let Call { inputs: Inputs { q, k, v, bias, hidden }, sizes, options, firsts } = call;
    bias.as_ref().map(|bias| {
        let d_bias = empty_like(q, [sizes.heads, sizes.distances()], DType::F32);
        bias_kernel::launch(
            &q.client,
            cubes(sizes.distances(), sizes.heads, 1),
            CubeDim::new_1d(UNITS as u32),
            argument(q),
            argument(k),
            argument(v),
            argument(bias),
            hidden.as_ref().map(argument).into(),
            argument(d_output),
            argument(log_sums),
            argument(deltas),
            argument(&d_bias),
            options.scale,
            Plan::new(*sizes, *options, *firsts),
            call.types(),
        );
        d_bias
    })
}
