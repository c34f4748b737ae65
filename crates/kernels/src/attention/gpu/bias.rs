//! Gradient of the biases: one unit per head and distance sums over batches and queries, which cubes share in chunks.
//!
//! A unit's distance meets query i at key i + distance + 1 − q_len, so that units side by side read keys side by side.

use cubecl::{ir::ElemType, prelude::*};

use super::parts::{Four, Plan, biased, exponential, four, in_exponents, sees, start, sum};

/// Distances of a cube.
pub(super) const DISTANCES: usize = 64;
/// Queries that a unit takes together.
pub(super) const QUERIES: usize = 8;
/// Vectors of channels that are in shared memory at a time, and from one row to the next there.
const VECTORS: usize = 4;
const PITCH: usize = VECTORS + 1;

/// Copies four vectors of each of `count` rows into shared memory. Row n of them is row `first` + n − `less` of the tensor, if
/// there is one.
#[cube]
fn stage<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Four]>,
    batch: usize,
    first: usize,
    less: usize,
    from_vector: usize,
    factor: f32,
    #[comptime] offset: usize,
    #[comptime] width: usize,
    #[comptime] count: usize,
    #[comptime] plan: Plan,
) {
    let mut at = UNIT_POS_X as usize;
    while at < comptime!(count * VECTORS) {
        let (row, c) = (first + at / VECTORS, from_vector + at % VECTORS);
        let mut vector = Four::new(0.0f32);
        if row >= less && row - less < from.shape(2) && c < comptime!(width.div_ceil(4)) {
            let origin = start::<F, N>(from, batch, row - less) + offset;
            vector = four::<F, N>(from, origin, c, width, plan.lanes) * Four::new(factor);
        }
        to[at / VECTORS * PITCH + at % VECTORS] = vector;
        at += DISTANCES;
    }
}

/// Writes the sums of chunk `CUBE_POS_Z` of all batches and queries.
#[cube(launch_unchecked)]
pub(super) fn bias_kernel<F: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    d_output: &Tensor<Vector<F, N>>,
    log_sums: &Tensor<f32>,
    deltas: &Tensor<f32>,
    d_bias: &mut [f32],
    scale: f32,
    blocks_per_chunk: usize,
    #[comptime] plan: Plan,
    #[define(F, B)] _types: [ElemType; 2],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let mut keys = Shared::<[Four]>::new_slice(comptime!((DISTANCES + QUERIES - 1) * PITCH));
    let mut values = Shared::<[Four]>::new_slice(comptime!((DISTANCES + QUERIES - 1) * PITCH));
    let mut queries = Shared::<[Four]>::new_slice(comptime!(QUERIES * PITCH));
    let mut d_outputs = Shared::<[Four]>::new_slice(comptime!(QUERIES * PITCH));
    let mut scores = Array::<Four>::new(QUERIES);
    let mut d_weights = Array::<Four>::new(QUERIES);
    let distances = q_len + k_len - 1;
    let first = CUBE_POS_Y as usize * DISTANCES;
    let unit = UNIT_POS_X as usize;
    let in_units = in_exponents(scale, plan);
    let mut total = f32::new(0.0);
    let blocks = (q_len + QUERIES - 1) / QUERIES;
    let mut block = CUBE_POS_Z as usize * blocks_per_chunk;
    let end = min(block + blocks_per_chunk, blocks * q.shape(0));
    while block < end {
        let (batch, i) = (block / blocks, block % blocks * QUERIES);
        // Of the keys that these queries and distances meet, number 0 is key i + first + 1 − q_len.
        let key = i + first + 1;
        if key < q_len + k_len && key + comptime!(DISTANCES + QUERIES - 1) > q_len {
            #[unroll]
            for e in 0..QUERIES {
                scores[e] = Four::new(0.0f32);
                d_weights[e] = Four::new(0.0f32);
            }
            let mut c = 0usize;
            while c < comptime!(plan.key_vectors().max(plan.value_vectors())) {
                sync_cube();
                stage::<F, N>(
                    q,
                    &mut queries,
                    batch,
                    i,
                    0usize,
                    c,
                    in_units,
                    comptime!(plan.firsts[0]),
                    plan.d_key,
                    QUERIES,
                    plan,
                );
                stage::<F, N>(
                    d_output,
                    &mut d_outputs,
                    batch,
                    i,
                    0usize,
                    c,
                    1.0f32,
                    0usize,
                    plan.d_value,
                    QUERIES,
                    plan,
                );
                stage::<F, N>(
                    k,
                    &mut keys,
                    batch,
                    key,
                    q_len,
                    c,
                    1.0f32,
                    comptime!(plan.firsts[1]),
                    plan.d_key,
                    comptime!(DISTANCES + QUERIES - 1),
                    plan,
                );
                stage::<F, N>(
                    v,
                    &mut values,
                    batch,
                    key,
                    q_len,
                    c,
                    1.0f32,
                    comptime!(plan.firsts[2]),
                    plan.d_value,
                    comptime!(DISTANCES + QUERIES - 1),
                    plan,
                );
                sync_cube();
                for at in 0..VECTORS {
                    #[unroll]
                    for e in 0..QUERIES {
                        scores[e] += queries[e * PITCH + at] * keys[(unit + e) * PITCH + at];
                        d_weights[e] += d_outputs[e * PITCH + at] * values[(unit + e) * PITCH + at];
                    }
                }
                c += VECTORS;
            }
            #[unroll]
            for e in 0..QUERIES {
                if i + e < q_len && key + unit + e >= q_len {
                    let j = key + unit + e - q_len;
                    if sees::<B>(&hidden, i + e, j, q_len, k_len, plan) {
                        let at = batch * log_sums.stride(0) + CUBE_POS_X as usize * log_sums.stride(1) + i + e;
                        let score = biased(&bias, i + e, j, q_len, k_len, sum(scores[e]), plan);
                        let weight = exponential(score - in_exponents(log_sums[at], plan), plan);
                        total += weight * (sum(d_weights[e]) - deltas[at]);
                    }
                }
            }
        }
        block += 1;
    }
    if first + unit < distances {
        let heads = q.shape(1);
        d_bias[(CUBE_POS_Z as usize * heads + CUBE_POS_X as usize) * distances + first + unit] = total;
    }
}
