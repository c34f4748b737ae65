//! The form for narrow heads, and for those too wide for the other: a unit has whole rows.
//!
//! Its rows and their sums stay in registers, while the columns pass in tiles through shared memory, all units of a cube reading
//! the same address. A column is packed: the channels of a key and its value, or of a query and the gradient of its output, lie
//! side by side without padding between them.

use cubecl::{ir::ElemType, prelude::*};

use super::parts::{
    FLOOR, Four, LOWEST, Plan, UNSEEN, all_seen, biased, exponential, first_query, four, from_exponents, in_exponents,
    keys_seen, part_length, position, put_four, seen_from, sees, start,
};

impl Plan {
    /// Vectors of a packed key and value.
    pub(super) fn packed(&self) -> usize {
        (self.d_key + self.d_value).div_ceil(4)
    }

    /// Vectors of a packed query, gradient of its output, log-sum and δ.
    pub(super) fn packed_with_sums(&self) -> usize {
        (self.d_key + self.d_value + 2).div_ceil(4)
    }
}

/// Vector `c` of a column: the channels of a row of one tensor, multiplied by a factor, and then those of another.
#[cube]
fn packed<F: Float, N: Size>(
    one: &Tensor<Vector<F, N>>,
    two: &Tensor<Vector<F, N>>,
    origin: usize,
    other: usize,
    c: usize,
    factor: f32,
    #[comptime] plan: Plan,
) -> Four {
    let mut vector = Four::new(0.0f32);
    if comptime!(plan.lanes == 4) {
        let width = comptime!(plan.d_key / 4);
        if c < width {
            vector = four::<F, N>(one, origin, c, plan.d_key, plan.lanes) * Four::new(factor);
        } else if c < comptime!((plan.d_key + plan.d_value) / 4) {
            vector = four::<F, N>(two, other, c - width, plan.d_value, plan.lanes);
        }
    } else {
        #[unroll]
        for lane in 0..4usize {
            let channel = 4 * c + lane;
            if channel < plan.d_key {
                vector.insert(lane, f32::cast_from(one[origin + channel].extract(0usize)) * factor);
            } else if channel < comptime!(plan.d_key + plan.d_value) {
                vector.insert(lane, f32::cast_from(two[other + channel - plan.d_key].extract(0usize)));
            }
        }
    }
    vector
}

/// Copies the keys and values of a tile into shared memory; the units share the work.
#[cube]
fn stage_keys<F: Float, N: Size>(
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Four]>,
    first: usize,
    #[comptime] plan: Plan,
) {
    let vectors = comptime!(plan.packed());
    let mut at = UNIT_POS_X as usize;
    while at < comptime!(plan.tile * vectors) {
        let j = first + at / vectors;
        let mut vector = Four::new(0.0f32);
        if j < k.shape(2) {
            let key = start::<F, N>(k, CUBE_POS_Y as usize, j) + comptime!(plan.firsts[1]);
            let value = start::<F, N>(v, CUBE_POS_Y as usize, j) + comptime!(plan.firsts[2]);
            vector = packed::<F, N>(k, v, key, value, at % vectors, 1.0f32, plan);
        }
        to[at] = vector;
        at += comptime!(plan.units());
    }
}

/// Scores of a unit's rows with the columns from `at` on, and beside them the products of the other channels.
#[cube]
fn products(
    own: &Array<f32>,
    columns: &Shared<[Four]>,
    scores: &mut Array<f32>,
    d_weights: &mut Array<f32>,
    at: usize,
    #[comptime] both: bool,
    #[comptime] pitch: usize,
    #[comptime] plan: Plan,
) {
    let width = comptime!(plan.d_key + plan.d_value);
    let used = comptime!(if both { width } else { plan.d_key });
    #[unroll]
    for b in 0..plan.block {
        #[unroll]
        for r in 0..plan.rows {
            scores[r * plan.block + b] = 0.0f32;
            d_weights[r * plan.block + b] = 0.0f32;
        }
        #[unroll]
        for c in 0..comptime!(used.div_ceil(4)) {
            let column = columns[(at + b) * pitch + c];
            #[unroll]
            for lane in 0..4usize {
                let channel = comptime!(4 * c + lane);
                if comptime!(channel < used) {
                    #[unroll]
                    for r in 0..plan.rows {
                        let product = own[comptime!(r * width + channel)] * column.extract(lane);
                        if comptime!(channel < plan.d_key) {
                            scores[r * plan.block + b] += product;
                        } else {
                            d_weights[r * plan.block + b] += product;
                        }
                    }
                }
            }
        }
    }
}

/// Adds channels of the columns from `at` on, weighted, to the sums of a unit's rows. Where pairs may be hidden, what they would
/// bring is left out even if it is no number.
#[cube]
fn mix(
    weights: &Array<f32>,
    columns: &Shared<[Four]>,
    sums: &mut Array<f32>,
    at: usize,
    #[comptime] channels: [usize; 2],
    #[comptime] edge: bool,
    #[comptime] pitch: usize,
    #[comptime] plan: Plan,
) {
    let [begin, end] = channels;
    let vectors = comptime!(end.div_ceil(4) - begin / 4);
    #[unroll]
    for b in 0..plan.block {
        let mut column = Array::<Four>::new(vectors);
        #[unroll]
        for c in 0..vectors {
            column[c] = columns[(at + b) * pitch + comptime!(begin / 4) + c];
        }
        #[unroll]
        for r in 0..plan.rows {
            let weight = weights[comptime!(r * plan.block + b)];
            if comptime!(edge) {
                // Not `weight != 0`, which is false of NaN on some devices.
                let nothing = weight == 0.0f32;
                if !nothing {
                    add(weight, &column, sums, channels, r);
                }
            } else {
                add(weight, &column, sums, channels, r);
            }
        }
    }
}

/// Adds channels of a column, weighted, to the sums of row `r`.
#[cube]
fn add(
    weight: f32,
    column: &Array<Four>,
    sums: &mut Array<f32>,
    #[comptime] channels: [usize; 2],
    #[comptime] r: usize,
) {
    let [begin, end] = channels;
    #[unroll]
    for channel in begin..end {
        let vector = column[comptime!(channel / 4 - begin / 4)];
        sums[comptime!(r * (end - begin) + channel - begin)] += weight * vector.extract(comptime!(channel % 4));
    }
}

/// Reads the channels of a unit's rows, multiplied by a factor, to their places among `width` numbers of each row.
#[cube]
fn take_rows<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Array<f32>,
    first: usize,
    factor: f32,
    #[comptime] offset: usize,
    #[comptime] channels: usize,
    #[comptime] place: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for r in 0..plan.rows {
        let row = first + UNIT_POS_X as usize + plan.down * r;
        #[unroll]
        for c in 0..comptime!(channels.div_ceil(4)) {
            let mut vector = Four::new(0.0f32);
            if row < from.shape(2) {
                let origin = start::<F, N>(from, CUBE_POS_Y as usize, row) + offset;
                vector = four::<F, N>(from, origin, c, channels, plan.lanes) * Four::new(factor);
            }
            #[unroll]
            for lane in 0..4usize {
                if comptime!(4 * c + lane < channels) {
                    to[comptime!(r * width + place + 4 * c + lane)] = vector.extract(lane);
                }
            }
        }
    }
}

/// Writes the channels of a unit's rows.
#[cube]
fn put_rows<F: Float, N: Size>(
    to: &mut Tensor<Vector<F, N>>,
    sums: &Array<f32>,
    factors: &Array<f32>,
    batch: usize,
    first: usize,
    #[comptime] offset: usize,
    #[comptime] channels: usize,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for r in 0..plan.rows {
        let row = first + UNIT_POS_X as usize + plan.down * r;
        if row < to.shape(2) {
            let origin = position(to.stride(0), to.stride(1), to.stride(2), batch, row) + offset;
            #[unroll]
            for c in 0..comptime!(channels.div_ceil(4)) {
                let mut vector = Four::new(0.0f32);
                #[unroll]
                for lane in 0..4usize {
                    if comptime!(4 * c + lane < channels) {
                        vector.insert(lane, sums[comptime!(r * channels + 4 * c + lane)] * factors[r]);
                    }
                }
                put_four::<F, N>(to, origin, c, vector, channels, plan.lanes);
            }
        }
    }
}

/// Scores with their biases, and the lowest where a pair is not seen; `edge` says whether there may be such pairs.
#[cube]
fn seen<B: Int>(
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    scores: &mut Array<f32>,
    row: usize,
    column: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] of_queries: bool,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for r in 0..plan.rows {
        #[unroll]
        for b in 0..plan.block {
            let mut i = row + UNIT_POS_X as usize + plan.down * r;
            let mut j = column + b;
            if comptime!(!of_queries) {
                i = column + b;
                j = row + UNIT_POS_X as usize + plan.down * r;
            }
            let at = comptime!(r * plan.block + b);
            scores[at] = biased(bias, i, j, q_len, k_len, scores[at], plan);
            if comptime!(edge) {
                if !sees::<B>(hidden, i, j, q_len, k_len, plan) {
                    scores[at] = f32::new(LOWEST);
                }
            }
        }
    }
}

/// One tile of [`rows_forward`].
#[cube]
fn forward_tile<B: Int>(
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    query: &Array<f32>,
    columns: &Shared<[Four]>,
    mixed: &mut Array<f32>,
    tops: &mut Array<f32>,
    totals: &mut Array<f32>,
    row: usize,
    first: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    let mut scores = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut unused = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut at = 0usize;
    while at < plan.tile {
        products(query, columns, &mut scores, &mut unused, at, false, comptime!(plan.packed()), plan);
        seen::<B>(bias, hidden, &mut scores, row, first + at, q_len, k_len, true, edge, plan);
        #[unroll]
        for r in 0..plan.rows {
            let mut top = scores[comptime!(r * plan.block)];
            #[unroll]
            for b in 1..plan.block {
                top = max(top, scores[comptime!(r * plan.block + b)]);
            }
            if top > tops[r] {
                let shrink = exponential(tops[r] - top, plan);
                totals[r] *= shrink;
                #[unroll]
                for c in 0..plan.d_value {
                    mixed[comptime!(r * plan.d_value + c)] *= shrink;
                }
                tops[r] = top;
            }
            #[unroll]
            for b in 0..plan.block {
                let share = exponential(scores[comptime!(r * plan.block + b)] - tops[r], plan);
                scores[comptime!(r * plan.block + b)] = share;
                totals[r] += share;
            }
        }
        mix(
            &scores,
            columns,
            mixed,
            at,
            comptime!([plan.d_key, plan.d_key + plan.d_value]),
            edge,
            comptime!(plan.packed()),
            plan,
        );
        at += plan.block;
    }
}

/// The output and the log-sums, or those of one part of the keys.
#[cube(launch_unchecked)]
pub(super) fn rows_forward<F: Float, G: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &mut Tensor<Vector<G, N>>,
    log_sums: &mut Tensor<f32>,
    scale: f32,
    parts: usize,
    #[comptime] plan: Plan,
    #[define(F, G, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let mut columns = Shared::<[Four]>::new_slice(comptime!(plan.tile * plan.packed()));
    // Room for the values' channels too, so that a row of a query is laid out as its column.
    let width = comptime!(plan.d_key + plan.d_value);
    let mut query = Array::<f32>::new(comptime!(plan.rows * width));
    let mut mixed = Array::<f32>::new(comptime!(plan.rows * plan.d_value));
    let mut tops = Array::<f32>::new(plan.rows);
    let mut totals = Array::<f32>::new(plan.rows);
    #[unroll]
    for at in 0..comptime!(plan.rows * plan.d_value) {
        mixed[at] = 0.0f32;
    }
    #[unroll]
    for r in 0..plan.rows {
        tops[r] = f32::new(FLOOR);
        totals[r] = 0.0f32;
    }
    let row = first_query(q_len, parts, plan);
    let end = keys_seen(row, q_len, k_len, plan);
    let length = part_length(0usize, end, parts, plan);
    let mut first = CUBE_POS_Z as usize % parts * length;
    let stop = min(end, first + length);
    let scale = in_exponents(scale, plan);
    take_rows::<F, N>(q, &mut query, row, scale, comptime!(plan.firsts[0]), plan.d_key, 0usize, width, plan);
    while first < stop {
        sync_cube();
        stage_keys::<F, N>(k, v, &mut columns, first, plan);
        sync_cube();
        // The compiler's time matters more than a test of each pair where heads are wide.
        if comptime!(plan.block == 1) {
            forward_tile::<B>(
                &bias,
                &hidden,
                &query,
                &columns,
                &mut mixed,
                &mut tops,
                &mut totals,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        } else if all_seen(row, first + comptime!(plan.tile - 1), q_len, k_len, plan) {
            forward_tile::<B>(
                &bias,
                &hidden,
                &query,
                &columns,
                &mut mixed,
                &mut tops,
                &mut totals,
                row,
                first,
                q_len,
                k_len,
                false,
                plan,
            );
        } else {
            forward_tile::<B>(
                &bias,
                &hidden,
                &query,
                &columns,
                &mut mixed,
                &mut tops,
                &mut totals,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        }
        first += plan.tile;
    }
    let batch = CUBE_POS_Z as usize % parts * q.shape(0) + CUBE_POS_Y as usize;
    #[unroll]
    for r in 0..plan.rows {
        let i = row + UNIT_POS_X as usize + plan.down * r;
        let mut share = 1.0f32 / totals[r];
        let mut log_sum = from_exponents(tops[r], plan) + totals[r].ln();
        if totals[r] == 0.0f32 {
            share = 0.0f32;
            log_sum = f32::new(UNSEEN);
        }
        totals[r] = share;
        if i < q_len {
            let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, batch, i);
            log_sums[at] = log_sum;
        }
    }
    put_rows::<G, N>(output, &mixed, &totals, batch, row, 0usize, plan.d_value, plan);
}

/// One tile of [`rows_queries`].
#[cube]
fn queries_tile<B: Int>(
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    own: &Array<f32>,
    columns: &Shared<[Four]>,
    d_query: &mut Array<f32>,
    log_sum: &Array<f32>,
    delta: &Array<f32>,
    row: usize,
    first: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    let mut scores = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut d_weights = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut at = 0usize;
    while at < plan.tile {
        products(own, columns, &mut scores, &mut d_weights, at, true, comptime!(plan.packed()), plan);
        seen::<B>(bias, hidden, &mut scores, row, first + at, q_len, k_len, true, edge, plan);
        d_scores(&mut scores, &d_weights, log_sum, delta, edge, plan);
        mix(&scores, columns, d_query, at, comptime!([0, plan.d_key]), edge, comptime!(plan.packed()), plan);
        at += plan.block;
    }
}

/// Gradients of scores, in the place of the scores, from those of the weights.
#[cube]
fn d_scores(
    scores: &mut Array<f32>,
    d_weights: &Array<f32>,
    log_sum: &Array<f32>,
    delta: &Array<f32>,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for r in 0..plan.rows {
        #[unroll]
        for b in 0..plan.block {
            let at = comptime!(r * plan.block + b);
            let weight = exponential(scores[at] - log_sum[r], plan);
            let mut d_score = weight * (d_weights[at] - delta[r]);
            if comptime!(edge) {
                // The gradient of a weight that is zero may be no number.
                if weight == 0.0f32 {
                    d_score = 0.0f32;
                }
            }
            scores[at] = d_score;
        }
    }
}

/// Gradient of the queries, or what one part of the keys brings to it, and δ = Σ_c dO_c O_c of each query for the kernels that
/// follow.
#[cube(launch_unchecked)]
pub(super) fn rows_queries<F: Float, G: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &Tensor<Vector<F, N>>,
    d_output: &Tensor<Vector<F, N>>,
    log_sums: &Tensor<f32>,
    deltas: &mut Tensor<f32>,
    d_q: &mut Tensor<Vector<G, N>>,
    scale: f32,
    parts: usize,
    #[comptime] plan: Plan,
    #[comptime] offset: usize,
    #[define(F, G, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let mut columns = Shared::<[Four]>::new_slice(comptime!(plan.tile * plan.packed()));
    // A query and the gradient of its output.
    let width = comptime!(plan.d_key + plan.d_value);
    let mut own = Array::<f32>::new(comptime!(plan.rows * width));
    let mut d_query = Array::<f32>::new(comptime!(plan.rows * plan.d_key));
    let mut log_sum = Array::<f32>::new(plan.rows);
    let mut delta = Array::<f32>::new(plan.rows);
    #[unroll]
    for at in 0..comptime!(plan.rows * plan.d_key) {
        d_query[at] = 0.0f32;
    }
    let row = first_query(q_len, parts, plan);
    let end = keys_seen(row, q_len, k_len, plan);
    let length = part_length(0usize, end, parts, plan);
    let mut first = CUBE_POS_Z as usize % parts * length;
    let stop = min(end, first + length);
    let in_units = in_exponents(scale, plan);
    take_rows::<F, N>(q, &mut own, row, in_units, comptime!(plan.firsts[0]), plan.d_key, 0usize, width, plan);
    take_rows::<F, N>(d_output, &mut own, row, 1.0f32, 0usize, plan.d_value, plan.d_key, width, plan);
    #[unroll]
    for r in 0..plan.rows {
        let i = row + UNIT_POS_X as usize + plan.down * r;
        let mut sum = f32::new(0.0);
        log_sum[r] = 0.0f32;
        if i < q_len {
            let origin = start::<F, N>(output, CUBE_POS_Y as usize, i);
            #[unroll]
            for c in 0..comptime!(plan.value_vectors()) {
                let vector = four::<F, N>(output, origin, c, plan.d_value, plan.lanes);
                #[unroll]
                for lane in 0..4usize {
                    if comptime!(4 * c + lane < plan.d_value) {
                        sum += vector.extract(lane) * own[comptime!(r * width + plan.d_key + 4 * c + lane)];
                    }
                }
            }
            let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, CUBE_POS_Y as usize, i);
            log_sum[r] = in_exponents(log_sums[at], plan);
            if CUBE_POS_Z as usize % parts == 0 {
                let at = position(deltas.stride(0), deltas.stride(1), 1usize, CUBE_POS_Y as usize, i);
                deltas[at] = sum;
            }
        }
        delta[r] = sum;
    }
    while first < stop {
        sync_cube();
        stage_keys::<F, N>(k, v, &mut columns, first, plan);
        sync_cube();
        // The compiler's time matters more than a test of each pair where heads are wide.
        if comptime!(plan.block == 1) {
            queries_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_query,
                &log_sum,
                &delta,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        } else if all_seen(row, first + comptime!(plan.tile - 1), q_len, k_len, plan) {
            queries_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_query,
                &log_sum,
                &delta,
                row,
                first,
                q_len,
                k_len,
                false,
                plan,
            );
        } else {
            queries_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_query,
                &log_sum,
                &delta,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        }
        first += plan.tile;
    }
    let batch = CUBE_POS_Z as usize % parts * q.shape(0) + CUBE_POS_Y as usize;
    #[unroll]
    for r in 0..plan.rows {
        delta[r] = scale;
    }
    put_rows::<G, N>(d_q, &d_query, &delta, batch, row, offset, plan.d_key, plan);
}

/// One tile of [`rows_keys`].
#[cube]
fn keys_tile<B: Int>(
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    own: &Array<f32>,
    columns: &Shared<[Four]>,
    d_key: &mut Array<f32>,
    d_value: &mut Array<f32>,
    row: usize,
    first: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    let pitch = comptime!(plan.packed_with_sums());
    let width = comptime!(plan.d_key + plan.d_value);
    let mut scores = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut d_weights = Array::<f32>::new(comptime!(plan.rows * plan.block));
    let mut at = 0usize;
    while at < plan.tile {
        products(own, columns, &mut scores, &mut d_weights, at, plan.of_keys, pitch, plan);
        seen::<B>(bias, hidden, &mut scores, row, first + at, q_len, k_len, false, edge, plan);
        #[unroll]
        for b in 0..plan.block {
            let log_sum = columns[(at + b) * pitch + comptime!(width / 4)].extract(comptime!(width % 4));
            let delta = columns[(at + b) * pitch + comptime!((width + 1) / 4)].extract(comptime!((width + 1) % 4));
            #[unroll]
            for r in 0..plan.rows {
                let place = comptime!(r * plan.block + b);
                let weight = exponential(scores[place] - log_sum, plan);
                let mut d_score = weight * (d_weights[place] - delta);
                if comptime!(edge) {
                    // The gradient of a weight that is zero may be no number.
                    if weight == 0.0f32 {
                        d_score = 0.0f32;
                    }
                }
                scores[place] = weight;
                d_weights[place] = d_score;
            }
        }
        if comptime!(plan.of_values) {
            mix(&scores, columns, d_value, at, comptime!([plan.d_key, plan.d_key + plan.d_value]), edge, pitch, plan);
        }
        if comptime!(plan.of_keys) {
            mix(&d_weights, columns, d_key, at, comptime!([0, plan.d_key]), edge, pitch, plan);
        }
        at += plan.block;
    }
}

/// Gradients of the keys, of the values, or of both, or what one part of the queries brings to them.
#[cube(launch_unchecked)]
pub(super) fn rows_keys<F: Float, G: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    d_output: &Tensor<Vector<F, N>>,
    log_sums: &Tensor<f32>,
    deltas: &Tensor<f32>,
    d_k: &mut Tensor<Vector<G, N>>,
    d_v: &mut Tensor<Vector<G, N>>,
    scale: f32,
    parts: usize,
    #[comptime] plan: Plan,
    #[comptime] offsets: [usize; 2],
    #[define(F, G, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let vectors = comptime!(plan.packed_with_sums());
    let mut columns = Shared::<[Four]>::new_slice(comptime!(plan.tile * vectors));
    // A key and its value.
    let width = comptime!(plan.d_key + plan.d_value);
    let mut own = Array::<f32>::new(comptime!(plan.rows * width));
    let mut d_key = Array::<f32>::new(comptime!(plan.rows * plan.d_key));
    let mut d_value = Array::<f32>::new(comptime!(plan.rows * plan.d_value));
    #[unroll]
    for at in 0..comptime!(plan.rows * plan.d_key) {
        d_key[at] = 0.0f32;
    }
    #[unroll]
    for at in 0..comptime!(plan.rows * plan.d_value) {
        d_value[at] = 0.0f32;
    }
    let row = CUBE_POS_Z as usize / parts * comptime!(plan.height());
    let begin = seen_from(row, q_len, k_len, plan);
    let length = part_length(begin, q_len, parts, plan);
    let mut first = begin + CUBE_POS_Z as usize % parts * length;
    let stop = min(q_len, first + length);
    let scale = in_exponents(scale, plan);
    take_rows::<F, N>(k, &mut own, row, 1.0f32, comptime!(plan.firsts[1]), plan.d_key, 0usize, width, plan);
    take_rows::<F, N>(v, &mut own, row, 1.0f32, comptime!(plan.firsts[2]), plan.d_value, plan.d_key, width, plan);
    while first < stop {
        sync_cube();
        let mut at = UNIT_POS_X as usize;
        while at < comptime!(plan.tile * vectors) {
            let (i, c) = (first + at / vectors, at % vectors);
            let mut vector = Four::new(0.0f32);
            let mut log_sum = f32::new(UNSEEN);
            let mut delta = f32::new(0.0);
            if i < q_len {
                let query = start::<F, N>(q, CUBE_POS_Y as usize, i) + comptime!(plan.firsts[0]);
                let row = start::<F, N>(d_output, CUBE_POS_Y as usize, i);
                vector = packed::<F, N>(q, d_output, query, row, c, scale, plan);
                if c >= comptime!(width / 4) {
                    let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, CUBE_POS_Y as usize, i);
                    log_sum = log_sums[at];
                    delta = deltas[at];
                }
            }
            if c == comptime!(width / 4) {
                vector.insert(comptime!(width % 4), in_exponents(log_sum, plan));
            }
            if c == comptime!((width + 1) / 4) {
                vector.insert(comptime!((width + 1) % 4), delta);
            }
            columns[at] = vector;
            at += comptime!(plan.units());
        }
        sync_cube();
        // The compiler's time matters more than a test of each pair where heads are wide.
        if comptime!(plan.block == 1) {
            keys_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_key,
                &mut d_value,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        } else if all_seen(first, row + comptime!(plan.height() - 1), q_len, k_len, plan) {
            keys_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_key,
                &mut d_value,
                row,
                first,
                q_len,
                k_len,
                false,
                plan,
            );
        } else {
            keys_tile::<B>(
                &bias,
                &hidden,
                &own,
                &columns,
                &mut d_key,
                &mut d_value,
                row,
                first,
                q_len,
                k_len,
                true,
                plan,
            );
        }
        first += plan.tile;
    }
    let batch = CUBE_POS_Z as usize % parts * k.shape(0) + CUBE_POS_Y as usize;
    let mut factors = Array::<f32>::new(plan.rows);
    if comptime!(plan.of_keys) {
        #[unroll]
        for r in 0..plan.rows {
            factors[r] = from_exponents(1.0f32, plan);
        }
        put_rows::<G, N>(d_k, &d_key, &factors, batch, row, comptime!(offsets[0]), plan.d_key, plan);
    }
    if comptime!(plan.of_values) {
        #[unroll]
        for r in 0..plan.rows {
            factors[r] = 1.0f32;
        }
        put_rows::<G, N>(d_v, &d_value, &factors, batch, row, comptime!(offsets[1]), plan.d_value, plan);
    }
}
