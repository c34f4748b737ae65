//! The form for heads of middling width: units share rows.
//!
//! A unit computes the products of its rows with four columns of a tile at a time, both from shared memory. The weights go
//! through shared memory too, for there each unit multiplies those of its rows with all columns, for channels of its own.

use cubecl::{ir::ElemType, prelude::*};

use super::parts::{
    FLOOR, Four, LOWEST, Plan, UNSEEN, all_seen, biased, exponential, first_query, four, from_exponents, in_exponents,
    keys_seen, part_length, position, put_four, seen_from, sees, start, sum,
};

/// Vectors from one row to the next in shared memory: an odd number, so that neighbours do not meet in the banks.
pub(super) fn row_pitch(vectors: usize) -> usize {
    vectors | 1
}

impl Plan {
    /// Vectors of a tile of columns; a unit whose channels are beyond the last reads on into the next row.
    pub(super) fn columns(&self, vectors: usize) -> usize {
        self.tile * row_pitch(vectors) + self.across
    }

    /// Vectors of four weights of all rows.
    pub(super) fn weights(&self) -> usize {
        self.height() * row_pitch(self.across)
    }

    /// Vectors of channels of a unit.
    pub(super) fn own(&self, vectors: usize) -> usize {
        vectors.div_ceil(self.across)
    }
}

/// Copies `count` rows, starting at `first` and multiplied by a factor, into shared memory; the units share the work. Columns
/// stand so that units which read neighbouring ones read neighbouring rows: column 4 x + l at l · across + x.
#[cube]
fn stage<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Four]>,
    first: usize,
    end: usize,
    factor: f32,
    #[comptime] offset: usize,
    #[comptime] width: usize,
    #[comptime] columns: bool,
    #[comptime] plan: Plan,
) {
    let vectors = comptime!(width.div_ceil(4));
    let count = comptime!(if columns { plan.tile } else { plan.height() });
    let origin = start::<F, N>(from, CUBE_POS_Y as usize, first) + offset;
    let mut at = UNIT_POS_X as usize;
    while at < comptime!(count * vectors) {
        let row = at / vectors;
        let c = at % vectors;
        let mut vector = Four::new(0.0f32);
        if first + row < end {
            vector = four::<F, N>(from, origin + row * from.stride(2), c, width, plan.lanes) * Four::new(factor);
        }
        let mut place = row;
        if comptime!(columns) {
            place = row % 4 * plan.across + row / 4;
        }
        to[place * comptime!(row_pitch(vectors)) + c] = vector;
        at += comptime!(plan.units());
    }
}

/// Inner products of this unit's rows with its four columns.
#[cube]
fn products(
    rows: &Shared<[Four]>,
    columns: &Shared<[Four]>,
    to: &mut Array<f32>,
    x: usize,
    y: usize,
    #[comptime] vectors: usize,
    #[comptime] plan: Plan,
) {
    let pitch = comptime!(row_pitch(vectors));
    let mut sums = Array::<Four>::new(comptime!(4 * plan.rows));
    #[unroll]
    for at in 0..comptime!(4 * plan.rows) {
        sums[at] = Four::new(0.0f32);
    }
    for c in 0..vectors {
        let mut column = Array::<Four>::new(4usize);
        #[unroll]
        for l in 0..4usize {
            column[l] = columns[(l * plan.across + x) * pitch + c];
        }
        #[unroll]
        for r in 0..plan.rows {
            let row = rows[(y + plan.down * r) * pitch + c];
            #[unroll]
            for l in 0..4usize {
                sums[4 * r + l] += row * column[l];
            }
        }
    }
    #[unroll]
    for at in 0..comptime!(4 * plan.rows) {
        to[at] = sum(sums[at]);
    }
}

/// Adds the columns, weighted, to this unit's channels of its rows. Where pairs may be hidden, what they would bring is left
/// out even if it is no number.
#[cube]
fn mix(
    weights: &Shared<[Four]>,
    columns: &Shared<[Four]>,
    sums: &mut Array<Four>,
    x: usize,
    y: usize,
    #[comptime] vectors: usize,
    #[comptime] edge: bool,
    #[comptime] plan: Plan,
) {
    let pitch = comptime!(row_pitch(vectors));
    let own = comptime!(plan.own(vectors));
    for k in 0..plan.across {
        let mut weight = Array::<Four>::new(plan.rows);
        #[unroll]
        for r in 0..plan.rows {
            weight[r] = weights[(y + plan.down * r) * comptime!(row_pitch(plan.across)) + k];
        }
        #[unroll]
        for l in 0..4usize {
            let mut column = Array::<Four>::new(own);
            #[unroll]
            for c in 0..own {
                column[c] = columns[(l * plan.across + k) * pitch + x + plan.across * c];
            }
            #[unroll]
            for r in 0..plan.rows {
                let share = weight[r].extract(l);
                if comptime!(edge) {
                    // Not `share != 0`, which is false of NaN on some devices.
                    let nothing = share == 0.0f32;
                    if !nothing {
                        #[unroll]
                        for c in 0..own {
                            sums[r * own + c] += Four::new(share) * column[c];
                        }
                    }
                } else {
                    #[unroll]
                    for c in 0..own {
                        sums[r * own + c] += Four::new(share) * column[c];
                    }
                }
            }
        }
    }
}

/// [`mix`] for a tile at the edge of what is seen or within.
#[cube]
fn mix_tile(
    weights: &Shared<[Four]>,
    columns: &Shared<[Four]>,
    sums: &mut Array<Four>,
    x: usize,
    y: usize,
    within: bool,
    #[comptime] vectors: usize,
    #[comptime] plan: Plan,
) {
    if comptime!(plan.hidden) {
        mix(weights, columns, sums, x, y, vectors, true, plan);
    } else {
        if within {
            mix(weights, columns, sums, x, y, vectors, false, plan);
        } else {
            mix(weights, columns, sums, x, y, vectors, true, plan);
        }
    }
}

/// Writes this unit's channels of its rows.
#[cube]
fn put_rows<F: Float, N: Size>(
    to: &mut Tensor<Vector<F, N>>,
    sums: &Array<Four>,
    factors: &Array<f32>,
    batch: usize,
    first: usize,
    end: usize,
    x: usize,
    y: usize,
    #[comptime] offset: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let vectors = comptime!(width.div_ceil(4));
    let own = comptime!(plan.own(vectors));
    #[unroll]
    for r in 0..plan.rows {
        let row = first + y + plan.down * r;
        if row < end {
            let origin = position(to.stride(0), to.stride(1), to.stride(2), batch, row) + offset;
            #[unroll]
            for c in 0..own {
                let channels = x + plan.across * c;
                if channels < vectors {
                    put_four::<F, N>(
                        to,
                        origin,
                        channels,
                        sums[r * own + c] * Four::new(factors[r]),
                        width,
                        plan.lanes,
                    );
                }
            }
        }
    }
}

/// The sum over the units of each row of what they bring, the same for all of them.
#[cube]
fn sum_across(shares: &mut Shared<[f32]>, values: &mut Array<f32>, x: usize, y: usize, #[comptime] plan: Plan) {
    sync_cube();
    #[unroll]
    for r in 0..plan.rows {
        shares[(y + plan.down * r) * plan.across + x] = values[r];
    }
    sync_cube();
    #[unroll]
    for r in 0..plan.rows {
        let mut total = f32::new(0.0);
        #[unroll]
        for k in 0..plan.across {
            total += shares[(y + plan.down * r) * plan.across + k];
        }
        values[r] = total;
    }
}

/// The output and the log-sums, or those of one part of the keys.
#[cube(launch_unchecked)]
pub(super) fn tiles_forward<F: Float, G: Float, B: Int, N: Size>(
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
    let (key_vectors, value_vectors) = comptime!((plan.key_vectors(), plan.value_vectors()));
    let own = comptime!(plan.own(value_vectors));
    let x = UNIT_POS_X as usize % plan.across;
    let y = UNIT_POS_X as usize / plan.across;
    let mut queries = Shared::<[Four]>::new_slice(comptime!(plan.height() * row_pitch(key_vectors)));
    // The keys of a tile, then its values.
    let mut columns =
        Shared::<[Four]>::new_slice(comptime!(plan.columns(key_vectors).max(plan.columns(value_vectors))));
    let mut weights = Shared::<[Four]>::new_slice(comptime!(plan.weights()));
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.height() * plan.across));
    let mut scores = Array::<f32>::new(comptime!(4 * plan.rows));
    let mut mixed = Array::<Four>::new(comptime!(plan.rows * own));
    let mut tops = Array::<f32>::new(plan.rows);
    let mut totals = Array::<f32>::new(plan.rows);
    #[unroll]
    for at in 0..comptime!(plan.rows * own) {
        mixed[at] = Four::new(0.0f32);
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
    stage::<F, N>(
        q,
        &mut queries,
        row,
        q_len,
        in_exponents(scale, plan),
        comptime!(plan.firsts[0]),
        plan.d_key,
        false,
        plan,
    );
    while first < stop {
        sync_cube();
        stage::<F, N>(k, &mut columns, first, k_len, 1.0f32, comptime!(plan.firsts[1]), plan.d_key, true, plan);
        sync_cube();
        products(&queries, &columns, &mut scores, x, y, key_vectors, plan);
        let within = all_seen(row, first + comptime!(plan.tile - 1), q_len, k_len, plan);
        #[unroll]
        for r in 0..plan.rows {
            #[unroll]
            for l in 0..4usize {
                let (i, j) = (row + y + plan.down * r, first + 4 * x + l);
                scores[4 * r + l] = biased(&bias, i, j, q_len, k_len, scores[4 * r + l], plan);
                if !within {
                    if !sees::<B>(&hidden, i, j, q_len, k_len, plan) {
                        scores[4 * r + l] = f32::new(LOWEST);
                    }
                }
            }
            shares[(y + plan.down * r) * plan.across + x] =
                max(max(scores[4 * r], scores[4 * r + 1]), max(scores[4 * r + 2], scores[4 * r + 3]));
        }
        sync_cube();
        stage::<F, N>(v, &mut columns, first, k_len, 1.0f32, comptime!(plan.firsts[2]), plan.d_value, true, plan);
        #[unroll]
        for r in 0..plan.rows {
            let mut top = tops[r];
            #[unroll]
            for k in 0..plan.across {
                top = max(top, shares[(y + plan.down * r) * plan.across + k]);
            }
            let shrink = exponential(tops[r] - top, plan);
            tops[r] = top;
            let mut weight = Four::new(0.0f32);
            let mut total = totals[r] * shrink;
            #[unroll]
            for l in 0..4usize {
                let share = exponential(scores[4 * r + l] - top, plan);
                weight.insert(l, share);
                total += share;
            }
            totals[r] = total;
            weights[(y + plan.down * r) * comptime!(row_pitch(plan.across)) + x] = weight;
            #[unroll]
            for c in 0..own {
                mixed[r * own + c] *= Four::new(shrink);
            }
        }
        sync_cube();
        mix_tile(&weights, &columns, &mut mixed, x, y, within, value_vectors, plan);
        first += plan.tile;
    }
    sum_across(&mut shares, &mut totals, x, y, plan);
    let batch = CUBE_POS_Z as usize % parts * q.shape(0) + CUBE_POS_Y as usize;
    #[unroll]
    for r in 0..plan.rows {
        let i = row + y + plan.down * r;
        let mut share = 1.0f32 / totals[r];
        let mut log_sum = from_exponents(tops[r], plan) + totals[r].ln();
        if totals[r] == 0.0f32 {
            share = 0.0f32;
            log_sum = f32::new(UNSEEN);
        }
        totals[r] = share;
        if x == 0 && i < q_len {
            let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, batch, i);
            log_sums[at] = log_sum;
        }
    }
    put_rows::<G, N>(output, &mixed, &totals, batch, row, q_len, x, y, 0usize, plan.d_value, plan);
}

/// Gradient of the queries, or what one part of the keys brings to it, and δ = Σ_c dO_c O_c of each query for the kernels that
/// follow.
#[cube(launch_unchecked)]
pub(super) fn tiles_queries<F: Float, G: Float, B: Int, N: Size>(
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
    let (key_vectors, value_vectors) = comptime!((plan.key_vectors(), plan.value_vectors()));
    let own = comptime!(plan.own(key_vectors));
    let x = UNIT_POS_X as usize % plan.across;
    let y = UNIT_POS_X as usize / plan.across;
    let mut queries = Shared::<[Four]>::new_slice(comptime!(plan.height() * row_pitch(key_vectors)));
    let mut d_outputs = Shared::<[Four]>::new_slice(comptime!(plan.height() * row_pitch(value_vectors)));
    // The values of a tile, then its keys.
    let mut columns =
        Shared::<[Four]>::new_slice(comptime!(plan.columns(key_vectors).max(plan.columns(value_vectors))));
    let mut weights = Shared::<[Four]>::new_slice(comptime!(plan.weights()));
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.height() * plan.across));
    let mut scores = Array::<f32>::new(comptime!(4 * plan.rows));
    let mut d_weights = Array::<f32>::new(comptime!(4 * plan.rows));
    let mut d_query = Array::<Four>::new(comptime!(plan.rows * own));
    let mut log_sum = Array::<f32>::new(plan.rows);
    let mut delta = Array::<f32>::new(plan.rows);
    #[unroll]
    for at in 0..comptime!(plan.rows * own) {
        d_query[at] = Four::new(0.0f32);
    }
    let row = first_query(q_len, parts, plan);
    let end = keys_seen(row, q_len, k_len, plan);
    let length = part_length(0usize, end, parts, plan);
    let mut first = CUBE_POS_Z as usize % parts * length;
    let stop = min(end, first + length);
    stage::<F, N>(
        q,
        &mut queries,
        row,
        q_len,
        in_exponents(scale, plan),
        comptime!(plan.firsts[0]),
        plan.d_key,
        false,
        plan,
    );
    stage::<F, N>(d_output, &mut d_outputs, row, q_len, 1.0f32, 0usize, plan.d_value, false, plan);
    sync_cube();
    #[unroll]
    for r in 0..plan.rows {
        let i = row + y + plan.down * r;
        let mut total = f32::new(0.0);
        log_sum[r] = 0.0f32;
        if i < q_len {
            let origin = start::<F, N>(output, CUBE_POS_Y as usize, i);
            #[unroll]
            for c in 0..comptime!(plan.own(value_vectors)) {
                let channels = x + plan.across * c;
                if channels < value_vectors {
                    let product = four::<F, N>(output, origin, channels, plan.d_value, plan.lanes)
                        * d_outputs[(y + plan.down * r) * comptime!(row_pitch(value_vectors)) + channels];
                    total += sum(product);
                }
            }
            let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, CUBE_POS_Y as usize, i);
            log_sum[r] = in_exponents(log_sums[at], plan);
        }
        delta[r] = total;
    }
    sum_across(&mut shares, &mut delta, x, y, plan);
    if CUBE_POS_Z as usize % parts == 0 {
        #[unroll]
        for r in 0..plan.rows {
            let i = row + y + plan.down * r;
            if x == 0 && i < q_len {
                let at = position(deltas.stride(0), deltas.stride(1), 1usize, CUBE_POS_Y as usize, i);
                deltas[at] = delta[r];
            }
        }
    }
    while first < stop {
        sync_cube();
        stage::<F, N>(v, &mut columns, first, k_len, 1.0f32, comptime!(plan.firsts[2]), plan.d_value, true, plan);
        sync_cube();
        products(&d_outputs, &columns, &mut d_weights, x, y, value_vectors, plan);
        sync_cube();
        stage::<F, N>(k, &mut columns, first, k_len, 1.0f32, comptime!(plan.firsts[1]), plan.d_key, true, plan);
        sync_cube();
        products(&queries, &columns, &mut scores, x, y, key_vectors, plan);
        let within = all_seen(row, first + comptime!(plan.tile - 1), q_len, k_len, plan);
        #[unroll]
        for r in 0..plan.rows {
            let mut d_score = Four::new(0.0f32);
            #[unroll]
            for l in 0..4usize {
                let (i, j) = (row + y + plan.down * r, first + 4 * x + l);
                let score = biased(&bias, i, j, q_len, k_len, scores[4 * r + l], plan);
                let mut share = exponential(score - log_sum[r], plan) * (d_weights[4 * r + l] - delta[r]);
                if !within {
                    if !sees::<B>(&hidden, i, j, q_len, k_len, plan) {
                        share = 0.0f32;
                    }
                }
                d_score.insert(l, share);
            }
            weights[(y + plan.down * r) * comptime!(row_pitch(plan.across)) + x] = d_score;
        }
        sync_cube();
        mix_tile(&weights, &columns, &mut d_query, x, y, within, key_vectors, plan);
        first += plan.tile;
    }
    let batch = CUBE_POS_Z as usize % parts * q.shape(0) + CUBE_POS_Y as usize;
    #[unroll]
    for r in 0..plan.rows {
        delta[r] = scale;
    }
    put_rows::<G, N>(d_q, &d_query, &delta, batch, row, q_len, x, y, offset, plan.d_key, plan);
}

/// Gradients of the keys and of the values, or what one part of the queries brings to them.
#[cube(launch_unchecked)]
pub(super) fn tiles_keys<F: Float, G: Float, B: Int, N: Size>(
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
    let (key_vectors, value_vectors) = comptime!((plan.key_vectors(), plan.value_vectors()));
    let (own_keys, own_values) = comptime!((plan.own(key_vectors), plan.own(value_vectors)));
    let x = UNIT_POS_X as usize % plan.across;
    let y = UNIT_POS_X as usize / plan.across;
    let mut keys = Shared::<[Four]>::new_slice(comptime!(plan.height() * row_pitch(key_vectors)));
    let mut values = Shared::<[Four]>::new_slice(comptime!(plan.height() * row_pitch(value_vectors)));
    let mut queries = Shared::<[Four]>::new_slice(comptime!(plan.columns(key_vectors)));
    let mut d_outputs = Shared::<[Four]>::new_slice(comptime!(plan.columns(value_vectors)));
    let mut weights = Shared::<[Four]>::new_slice(comptime!(plan.weights()));
    let mut d_scores = Shared::<[Four]>::new_slice(comptime!(plan.weights()));
    // Log-sums and δ of a tile.
    let mut lines = Shared::<[f32]>::new_slice(comptime!(2 * plan.tile));
    let mut scores = Array::<f32>::new(comptime!(4 * plan.rows));
    let mut d_weights = Array::<f32>::new(comptime!(4 * plan.rows));
    let mut d_key = Array::<Four>::new(comptime!(plan.rows * own_keys));
    let mut d_value = Array::<Four>::new(comptime!(plan.rows * own_values));
    #[unroll]
    for at in 0..comptime!(plan.rows * own_keys) {
        d_key[at] = Four::new(0.0f32);
    }
    #[unroll]
    for at in 0..comptime!(plan.rows * own_values) {
        d_value[at] = Four::new(0.0f32);
    }
    let row = CUBE_POS_Z as usize / parts * comptime!(plan.height());
    let begin = seen_from(row, q_len, k_len, plan);
    let length = part_length(begin, q_len, parts, plan);
    let mut first = begin + CUBE_POS_Z as usize % parts * length;
    let stop = min(q_len, first + length);
    stage::<F, N>(k, &mut keys, row, k_len, 1.0f32, comptime!(plan.firsts[1]), plan.d_key, false, plan);
    stage::<F, N>(v, &mut values, row, k_len, 1.0f32, comptime!(plan.firsts[2]), plan.d_value, false, plan);
    while first < stop {
        sync_cube();
        stage::<F, N>(
            q,
            &mut queries,
            first,
            q_len,
            in_exponents(scale, plan),
            comptime!(plan.firsts[0]),
            plan.d_key,
            true,
            plan,
        );
        stage::<F, N>(d_output, &mut d_outputs, first, q_len, 1.0f32, 0usize, plan.d_value, true, plan);
        let line = UNIT_POS_X as usize;
        if line < plan.tile {
            let at = position(log_sums.stride(0), log_sums.stride(1), 1usize, CUBE_POS_Y as usize, first + line);
            let mut log_sum = f32::new(UNSEEN);
            let mut delta = f32::new(0.0);
            if first + line < q_len {
                log_sum = log_sums[at];
                delta = deltas[at];
            }
            lines[2 * line] = in_exponents(log_sum, plan);
            lines[2 * line + 1] = delta;
        }
        sync_cube();
        products(&keys, &queries, &mut scores, x, y, key_vectors, plan);
        products(&values, &d_outputs, &mut d_weights, x, y, value_vectors, plan);
        let within = all_seen(first, row + comptime!(plan.height() - 1), q_len, k_len, plan);
        #[unroll]
        for r in 0..plan.rows {
            let mut weight = Four::new(0.0f32);
            let mut d_score = Four::new(0.0f32);
            #[unroll]
            for l in 0..4usize {
                let (i, j) = (first + 4 * x + l, row + y + plan.down * r);
                let score = biased(&bias, i, j, q_len, k_len, scores[4 * r + l], plan);
                let mut share = exponential(score - lines[2 * (4 * x + l)], plan);
                let mut d_share = share * (d_weights[4 * r + l] - lines[2 * (4 * x + l) + 1]);
                if !within {
                    if !sees::<B>(&hidden, i, j, q_len, k_len, plan) {
                        share = 0.0f32;
                        d_share = 0.0f32;
                    }
                }
                weight.insert(l, share);
                d_score.insert(l, d_share);
            }
            let at = (y + plan.down * r) * comptime!(row_pitch(plan.across)) + x;
            weights[at] = weight;
            d_scores[at] = d_score;
        }
        sync_cube();
        mix_tile(&weights, &d_outputs, &mut d_value, x, y, within, value_vectors, plan);
        mix_tile(&d_scores, &queries, &mut d_key, x, y, within, key_vectors, plan);
        first += plan.tile;
    }
    let batch = CUBE_POS_Z as usize % parts * k.shape(0) + CUBE_POS_Y as usize;
    let mut factors = Array::<f32>::new(plan.rows);
    #[unroll]
    for r in 0..plan.rows {
        factors[r] = from_exponents(1.0f32, plan);
    }
    put_rows::<G, N>(d_k, &d_key, &factors, batch, row, k_len, x, y, comptime!(offsets[0]), plan.d_key, plan);
    #[unroll]
    for r in 0..plan.rows {
        factors[r] = 1.0f32;
    }
    put_rows::<G, N>(d_v, &d_value, &factors, batch, row, k_len, x, y, comptime!(offsets[1]), plan.d_value, plan);
}
