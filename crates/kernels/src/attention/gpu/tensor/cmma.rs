//! Attention on matrix units that a plane drives as a whole, through cooperative matrices: Vulkan, and CUDA.
//!
//! The layout of a matrix in a plane's registers is unknown here. Products therefore pass through shared memory, where a row of
//! scores belongs to neighbouring units, and only the sums of the output stay in registers for the whole walk.

use cubecl::prelude::*;

use super::walk::{LOWEST, Plan, UNSEEN, all_seen, biased, keys_seen, position, queries_from, seen, stage};

/// How far a score may exceed the number that its row's weights are relative to, so that weights stay below e⁸ and the sums need
/// not be rescaled at each new maximum.
const SLACK: f32 = 8.0;

type Four = Vector<f32, Const<4>>;
type Sums = Sequence<cmma::Matrix<f32>>;

impl Plan {
    /// Units that share a row of scores.
    fn sharers(&self) -> usize {
        (self.lanes / self.rows).max(1)
    }

    /// Rows of scores of one unit.
    fn turns(&self) -> usize {
        (self.rows / self.lanes).max(1)
    }

    /// Vectors of four scores of a unit in one of its rows.
    fn fours(&self) -> usize {
        self.tile / 4 / self.sharers()
    }

    /// Numbers between rows of products in shared memory.
    fn products(&self) -> usize {
        self.tile + 4
    }

    /// Numbers between rows of weights in shared memory.
    fn weights(&self) -> usize {
        self.tile + self.pad
    }

    /// Bytes of shared memory of a kernel: rows of both sides, products, weights, and some numbers a row.
    pub fn cmma_bytes(&self, owned: usize, walked: usize, bytes: usize) -> usize {
        bytes * (self.owned() * (owned + self.weights()) + self.tile * walked)
            + 4 * (self.owned() * (self.products() + 1) + 2 * self.tile + 1)
    }
}

/// The row, among those of its plane, that the unit computes in a turn.
#[cube]
fn row_of(turn: usize, #[comptime] plan: Plan) -> usize {
    turn * plan.lanes + UNIT_POS_X as usize / comptime!(plan.sharers())
}

/// Index of the unit's first vector of four in such a row.
#[cube]
fn four_of(row: usize, #[comptime] stride: usize, #[comptime] plan: Plan) -> usize {
    (UNIT_POS_Y as usize * plan.rows + row) * comptime!(stride / 4)
        + UNIT_POS_X as usize % comptime!(plan.sharers()) * comptime!(plan.fours())
}

/// Largest number, or sum, over the units that share a row.
#[cube]
fn over_sharers(value: f32, #[comptime] sum: bool, #[comptime] plan: Plan) -> f32 {
    let mut all = value;
    #[unroll]
    for bit in 0..comptime!(plan.sharers().ilog2()) {
        let other = plane_shuffle_xor(all, comptime!(1u32 << bit));
        if comptime!(sum) {
            all += other;
        } else {
            all = max(all, other);
        }
    }
    all
}

#[cube]
fn zeros(#[comptime] count: usize, #[comptime] plan: Plan) -> Sums {
    let mut sums = Sums::new();
    #[unroll]
    for _ in 0..count {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            plan.shape[0],
            plan.shape[1],
            plan.shape[2],
            cmma::MatrixLayout::Undefined,
            0.0,
        ));
    }
    sums
}

/// The plane's products: its own rows times the rows of the tile, transposed.
#[cube]
fn multiply<E: Float, N: Size>(
    own: &Shared<[Vector<E, N>]>,
    tile: &Shared<[Vector<E, N>]>,
    products: &mut Shared<[Four]>,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let [m, n, k] = comptime!(plan.shape);
    let size = N::value().comptime();
    let stride = comptime!((width + plan.pad) / size);
    let columns = comptime!(plan.tile / n);
    let plane = UNIT_POS_Y as usize;
    let sums = zeros(columns, plan);
    #[unroll]
    for c in 0..comptime!(width / k) {
        let start = plane * comptime!(m * stride) + comptime!(c * k / size);
        let a = cmma::Matrix::<Vector<E, N>>::from_slice(
            cmma::MatrixIdent::A,
            m,
            n,
            k,
            cmma::MatrixLayout::RowMajor,
            &own[start..start + comptime!(m * stride)],
            comptime!((width + plan.pad) as u32),
        );
        #[unroll]
        for b in 0..columns {
            let start = comptime!(b * n * stride + c * k / size).runtime();
            let rows = cmma::Matrix::<Vector<E, N>>::from_slice(
                cmma::MatrixIdent::B,
                m,
                n,
                k,
                cmma::MatrixLayout::ColMajor,
                &tile[start..start + comptime!(n * stride)],
                comptime!((width + plan.pad) as u32),
            );
            cmma::execute(&a, &rows, &sums[b], &sums[b]);
        }
    }
    #[unroll]
    for b in 0..columns {
        let start = plane * comptime!(m * plan.products() / 4) + comptime!(b * n / 4);
        cmma::store(
            &mut products[start..start + comptime!(m * plan.products() / 4)],
            &sums[b],
            comptime!(plan.products() as u32),
            cmma::MatrixLayout::RowMajor,
        );
    }
}

/// Adds the plane's weights times the rows of the tile to sums.
#[cube]
fn accumulate<E: Float, N: Size>(
    weights: &Shared<[Vector<E, Const<4>>]>,
    tile: &Shared<[Vector<E, N>]>,
    sums: &Sums,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let [m, n, k] = comptime!(plan.shape);
    let size = N::value().comptime();
    let stride = comptime!((width + plan.pad) / size);
    #[unroll]
    for b in 0..comptime!(plan.tile / k) {
        let start = UNIT_POS_Y as usize * comptime!(m * plan.weights() / 4) + comptime!(b * k / 4);
        let a = cmma::Matrix::<Vector<E, Const<4>>>::from_slice(
            cmma::MatrixIdent::A,
            m,
            n,
            k,
            cmma::MatrixLayout::RowMajor,
            &weights[start..start + comptime!(m * plan.weights() / 4)],
            comptime!(plan.weights() as u32),
        );
        #[unroll]
        for c in 0..comptime!(width / n) {
            let start = comptime!(b * k * stride + c * n / size).runtime();
            let rows = cmma::Matrix::<Vector<E, N>>::from_slice(
                cmma::MatrixIdent::B,
                m,
                n,
                k,
                cmma::MatrixLayout::RowMajor,
                &tile[start..start + comptime!(k * stride)],
                comptime!((width + plan.pad) as u32),
            );
            cmma::execute(&a, &rows, &sums[c], &sums[c]);
        }
    }
}

/// Multiplies each row of the plane's sums by its factor.
#[cube]
fn rescale(
    sums: &mut Sums,
    factors: &Shared<[f32]>,
    products: &mut Shared<[Four]>,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let [m, n, _] = comptime!(plan.shape);
    let stride = comptime!(plan.products() / 4);
    let plane = UNIT_POS_Y as usize;
    let start = plane * comptime!(m * stride);
    #[unroll]
    for c in 0..comptime!(width / n) {
        sync_plane();
        cmma::store(
            &mut products[start..start + comptime!(m * stride)],
            &sums[c],
            comptime!(plan.products() as u32),
            cmma::MatrixLayout::RowMajor,
        );
        sync_plane();
        let mut at = UNIT_POS_X as usize;
        while at < comptime!(m * n / 4) {
            let row = at / comptime!(n / 4);
            let place = start + row * stride + at % comptime!(n / 4);
            products[place] = products[place] * Four::new(factors[plane * m + row]);
            at += plan.lanes;
        }
        sync_plane();
        cmma::load_with_layout(
            &mut sums[c],
            &products[start..start + comptime!(m * stride)],
            comptime!(plan.products() as u32),
            cmma::MatrixLayout::RowMajor,
        );
    }
    sync_plane();
}

/// Writes the plane's sums, each row multiplied by its factor.
#[cube]
fn put<F: Float>(
    sums: &Sums,
    factors: &Shared<[f32]>,
    products: &mut Shared<[Four]>,
    to: &mut Tensor<F>,
    first: usize,
    #[comptime] offset: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let [m, n, _] = comptime!(plan.shape);
    let stride = comptime!(plan.products() / 4);
    let plane = UNIT_POS_Y as usize;
    let start = plane * comptime!(m * stride);
    #[unroll]
    for c in 0..comptime!(width / n) {
        sync_plane();
        cmma::store(
            &mut products[start..start + comptime!(m * stride)],
            &sums[c],
            comptime!(plan.products() as u32),
            cmma::MatrixLayout::RowMajor,
        );
        sync_plane();
        let mut at = UNIT_POS_X as usize;
        while at < comptime!(m * n / 4) {
            let (row, four) = (at / comptime!(n / 4), at % comptime!(n / 4));
            let i = first + row;
            if i < to.shape(2) {
                let vector = products[start + row * stride + four] * Four::new(factors[plane * m + row]);
                let place = position(to.stride(0), to.stride(1), to.stride(2), i) + offset;
                #[unroll]
                for lane in 0..4usize {
                    let channel = comptime!(c * n + lane) + 4 * four;
                    if channel < to.shape(3) {
                        to[place + channel] = F::cast_from(vector.extract(lane));
                    }
                }
            }
            at += plan.lanes;
        }
    }
    sync_plane();
}

/// Column, in the tile, of a score of the unit: number `number` of its part of a row.
#[cube]
fn column_of(#[comptime] number: usize, #[comptime] plan: Plan) -> usize {
    UNIT_POS_X as usize % comptime!(plan.sharers()) * comptime!(4 * plan.fours()) + number
}

/// The unit's scores, from the products in shared memory. Own rows begin at `own`, those of the tile at `walked`; `of_queries` says
/// whether the own ones are queries.
#[cube]
fn scores_of<B: Int>(
    products: &Shared<[Four]>,
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    scale: f32,
    own: usize,
    walked: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] of_queries: bool,
    #[comptime] plan: Plan,
) -> Array<f32> {
    let (turns, part) = comptime!((plan.turns(), 4 * plan.fours()));
    let mut scores = Array::<f32>::new(comptime!(turns * part));
    #[unroll]
    for turn in 0..turns {
        let row = row_of(turn, plan);
        #[unroll]
        for c in 0..comptime!(part / 4) {
            let four = products[four_of(row, comptime!(plan.products()), plan) + c] * Four::new(scale);
            #[unroll]
            for lane in 0..4usize {
                let column = walked + column_of(comptime!(4 * c + lane), plan);
                let score = four.extract(lane);
                scores[comptime!(turn * part + 4 * c + lane)] = if comptime!(of_queries) {
                    biased(bias, score, own + row, column, q_len, k_len)
                } else {
                    biased(bias, score, column, own + row, q_len, k_len)
                };
            }
        }
    }
    let all = if comptime!(of_queries) {
        all_seen::<B>(hidden, own, walked, q_len, k_len, plan.rows, plan.tile, plan.causal)
    } else {
        all_seen::<B>(hidden, walked, own, q_len, k_len, plan.tile, plan.rows, plan.causal)
    };
    if !all {
        #[unroll]
        for turn in 0..turns {
            let row = own + row_of(turn, plan);
            #[unroll]
            for number in 0..part {
                let column = walked + column_of(number, plan);
                let seen = if comptime!(of_queries) {
                    seen::<B>(hidden, row, column, q_len, k_len, plan.causal)
                } else {
                    seen::<B>(hidden, column, row, q_len, k_len, plan.causal)
                };
                if !seen {
                    scores[comptime!(turn * part + number)] = f32::new(UNSEEN);
                }
            }
        }
    }
    scores
}

/// Writes the output and the log-sums of a cube's queries.
#[cube(launch_unchecked)]
pub fn forward_kernel<F: Float, E: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &mut Tensor<F>,
    log_sums: &mut Tensor<f32>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, E, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let size = N::value().comptime();
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let plane = UNIT_POS_Y as usize;
    let (turns, fours) = comptime!((plan.turns(), plan.fours()));
    // With a causal mask the last queries see most: they begin first.
    let mut block = CUBE_POS_X as usize;
    if comptime!(plan.causal) {
        block = CUBE_COUNT_X as usize - 1 - block;
    }
    let first_owned = block * comptime!(plan.owned());
    let first_row = first_owned + plane * plan.rows;
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 32usize);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 32usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 32usize);
    let mut products = Shared::<[Four]>::new_aligned_slice(comptime!(plan.owned() * plan.products() / 4), 32usize);
    let mut weights =
        Shared::<[Vector<E, Const<4>>]>::new_aligned_slice(comptime!(plan.owned() * plan.weights() / 4), 32usize);
    let mut factors = Shared::<[f32]>::new_slice(comptime!(plan.owned()));
    // The last tile, plus one, in which a row's weights got a new base. It is one for all planes, so that all go the same way past barriers.
    let mut rising = Shared::<[u32]>::new_slice(1usize);
    rising[0] = 0u32;
    let mut bases = Array::<f32>::new(turns);
    let mut totals = Array::<f32>::new(turns);
    #[unroll]
    for turn in 0..turns {
        bases[turn] = f32::new(LOWEST);
        totals[turn] = f32::new(0.0);
    }
    let mut mixed = zeros(comptime!(value_width / plan.shape[1]), plan);
    stage::<F, E, N>(q, &mut queries, first_owned, comptime!(plan.owned()), key_width, comptime!(plan.firsts[0]), plan);
    let end = keys_seen(first_owned + comptime!(plan.owned()), q_len, k_len, plan.causal);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        stage::<F, E, N>(k, &mut keys, first, plan.tile, key_width, comptime!(plan.firsts[1]), plan);
        stage::<F, E, N>(v, &mut values, first, plan.tile, value_width, comptime!(plan.firsts[2]), plan);
        sync_cube();
        multiply::<E, N>(&queries, &keys, &mut products, key_width, plan);
        sync_plane();
        let scores = scores_of::<B>(&products, &bias, &hidden, scale, first_row, first, q_len, k_len, true, plan);
        #[unroll]
        for turn in 0..turns {
            let row = row_of(turn, plan);
            let mut top = f32::new(LOWEST);
            #[unroll]
            for number in 0..comptime!(4 * fours) {
                top = max(top, scores[comptime!(4 * turn * fours + number)]);
            }
            top = over_sharers(top, false, plan);
            let mut factor = f32::new(1.0);
            if top > bases[turn] + SLACK {
                factor = (bases[turn] - top).exp();
                bases[turn] = top;
                rising[0] = first as u32 + 1;
            }
            totals[turn] *= factor;
            factors[plane * plan.rows + row] = factor;
        }
        sync_cube();
        if rising[0] == first as u32 + 1 {
            rescale(&mut mixed, &factors, &mut products, value_width, plan);
        }
        #[unroll]
        for turn in 0..turns {
            let row = row_of(turn, plan);
            #[unroll]
            for c in 0..fours {
                let mut four = Four::new(0.0f32);
                #[unroll]
                for lane in 0..4usize {
                    let weight = (scores[comptime!(4 * (turn * fours + c) + lane)] - bases[turn]).exp();
                    totals[turn] += weight;
                    four.insert(lane, weight);
                }
                weights[four_of(row, comptime!(plan.weights()), plan) + c] = Vector::cast_from(four);
            }
        }
        sync_plane();
        accumulate::<E, N>(&weights, &values, &mixed, value_width, plan);
        first += plan.tile;
    }
    sync_plane();
    #[unroll]
    for turn in 0..turns {
        let row = row_of(turn, plan);
        let i = first_row + row;
        let total = over_sharers(totals[turn], true, plan);
        let mut share = f32::new(0.0);
        // A query that sees no key: its recomputed pattern must be zero whatever the score.
        let mut log_sum = f32::new(-LOWEST);
        if total != 0.0f32 {
            share = 1.0f32 / total;
            log_sum = bases[turn] + total.ln();
        }
        factors[plane * plan.rows + row] = share;
        if i < q_len {
            let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
            log_sums[at] = log_sum;
        }
    }
    put::<F>(&mixed, &factors, &mut products, output, first_row, 0usize, value_width, plan);
}

/// Gradient of the queries, and δ = Σ_c dO_c O_c of each query for the kernels that follow.
#[cube(launch_unchecked)]
pub fn queries_kernel<F: Float, E: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    output: &Tensor<Vector<F, N>>,
    d_output: &Tensor<Vector<F, N>>,
    log_sums: &Tensor<f32>,
    deltas: &mut Tensor<f32>,
    d_q: &mut Tensor<F>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, E, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let size = N::value().comptime();
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let plane = UNIT_POS_Y as usize;
    let (turns, fours, sharers) = comptime!((plan.turns(), plan.fours(), plan.sharers()));
    let mut block = CUBE_POS_X as usize;
    if comptime!(plan.causal) {
        block = CUBE_COUNT_X as usize - 1 - block;
    }
    let first_owned = block * comptime!(plan.owned());
    let first_row = first_owned + plane * plan.rows;
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 32usize);
    let mut d_mixed = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * value_row), 32usize);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 32usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 32usize);
    let mut products = Shared::<[Four]>::new_aligned_slice(comptime!(plan.owned() * plan.products() / 4), 32usize);
    let mut weights =
        Shared::<[Vector<E, Const<4>>]>::new_aligned_slice(comptime!(plan.owned() * plan.weights() / 4), 32usize);
    let mut factors = Shared::<[f32]>::new_slice(comptime!(plan.owned()));
    let mut sums = Array::<f32>::new(turns);
    let mut shifts = Array::<f32>::new(turns);
    #[unroll]
    for turn in 0..turns {
        let row = row_of(turn, plan);
        let i = first_row + row;
        let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
        let mut part = f32::new(0.0);
        sums[turn] = f32::new(0.0);
        if i < q_len {
            sums[turn] = log_sums[at];
            let o = position(output.stride(0), output.stride(1), output.stride(2), i) / size;
            let d = position(d_output.stride(0), d_output.stride(1), d_output.stride(2), i) / size;
            let mut c = UNIT_POS_X as usize % sharers;
            while c * size < v.shape(3) {
                let product = Vector::<f32, N>::cast_from(output[o + c]) * Vector::cast_from(d_output[d + c]);
                #[unroll]
                for lane in 0..size {
                    part += product.extract(lane);
                }
                c += sharers;
            }
        }
        let delta = over_sharers(part, true, plan);
        shifts[turn] = delta;
        factors[plane * plan.rows + row] = scale;
        if i < q_len {
            deltas[at] = delta;
        }
    }
    let d_query = zeros(comptime!(key_width / plan.shape[1]), plan);
    stage::<F, E, N>(q, &mut queries, first_owned, comptime!(plan.owned()), key_width, comptime!(plan.firsts[0]), plan);
    stage::<F, E, N>(d_output, &mut d_mixed, first_owned, comptime!(plan.owned()), value_width, 0usize, plan);
    let end = keys_seen(first_owned + comptime!(plan.owned()), q_len, k_len, plan.causal);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        stage::<F, E, N>(k, &mut keys, first, plan.tile, key_width, comptime!(plan.firsts[1]), plan);
        stage::<F, E, N>(v, &mut values, first, plan.tile, value_width, comptime!(plan.firsts[2]), plan);
        sync_cube();
        multiply::<E, N>(&queries, &keys, &mut products, key_width, plan);
        sync_plane();
        let mut pattern = scores_of::<B>(&products, &bias, &hidden, scale, first_row, first, q_len, k_len, true, plan);
        #[unroll]
        for turn in 0..turns {
            #[unroll]
            for number in 0..comptime!(4 * fours) {
                let at = comptime!(4 * turn * fours + number);
                pattern[at] = (pattern[at] - sums[turn]).exp();
            }
        }
        sync_plane();
        multiply::<E, N>(&d_mixed, &values, &mut products, value_width, plan);
        sync_plane();
        #[unroll]
        for turn in 0..turns {
            let row = row_of(turn, plan);
            #[unroll]
            for c in 0..fours {
                let mut four = products[four_of(row, comptime!(plan.products()), plan) + c] - Four::new(shifts[turn]);
                #[unroll]
                for lane in 0..4usize {
                    let d_score = four.extract(lane) * pattern[comptime!(4 * (turn * fours + c) + lane)];
                    four.insert(lane, d_score);
                }
                weights[four_of(row, comptime!(plan.weights()), plan) + c] = Vector::cast_from(four);
            }
        }
        sync_plane();
        accumulate::<E, N>(&weights, &keys, &d_query, key_width, plan);
        first += plan.tile;
    }
    put::<F>(&d_query, &factors, &mut products, d_q, first_row, comptime!(plan.firsts[0]), key_width, plan);
}

/// Gradients of a cube's keys and values.
#[cube(launch_unchecked)]
pub fn keys_kernel<F: Float, E: Float, B: Int, N: Size>(
    q: &Tensor<Vector<F, N>>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    bias: ComptimeOption<&Tensor<f32>>,
    hidden: ComptimeOption<&Tensor<B>>,
    d_output: &Tensor<Vector<F, N>>,
    log_sums: &Tensor<f32>,
    deltas: &Tensor<f32>,
    d_k: &mut Tensor<F>,
    d_v: &mut Tensor<F>,
    scale: f32,
    #[comptime] plan: Plan,
    #[define(F, E, B)] _types: [ElemType; 3],
) {
    let (q_len, k_len) = (q.shape(2), k.shape(2));
    let size = N::value().comptime();
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let plane = UNIT_POS_Y as usize;
    let (turns, fours) = comptime!((plan.turns(), plan.fours()));
    let first_owned = CUBE_POS_X as usize * comptime!(plan.owned());
    let first_row = first_owned + plane * plan.rows;
    let stats = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 32usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * value_row), 32usize);
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 32usize);
    let mut d_mixed = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 32usize);
    let mut products = Shared::<[Four]>::new_aligned_slice(comptime!(plan.owned() * plan.products() / 4), 32usize);
    let mut weights =
        Shared::<[Vector<E, Const<4>>]>::new_aligned_slice(comptime!(plan.owned() * plan.weights() / 4), 32usize);
    let mut sums = Shared::<[f32]>::new_slice(plan.tile);
    let mut shifts = Shared::<[f32]>::new_slice(plan.tile);
    let mut factors = Shared::<[f32]>::new_slice(comptime!(plan.owned()));
    let d_key = zeros(comptime!(key_width / plan.shape[1]), plan);
    let d_value = zeros(comptime!(value_width / plan.shape[1]), plan);
    stage::<F, E, N>(k, &mut keys, first_owned, comptime!(plan.owned()), key_width, comptime!(plan.firsts[1]), plan);
    stage::<F, E, N>(
        v,
        &mut values,
        first_owned,
        comptime!(plan.owned()),
        value_width,
        comptime!(plan.firsts[2]),
        plan,
    );
    let mut first = queries_from(first_owned, q_len, k_len, plan);
    while first < q_len {
        sync_cube();
        stage::<F, E, N>(q, &mut queries, first, plan.tile, key_width, comptime!(plan.firsts[0]), plan);
        stage::<F, E, N>(d_output, &mut d_mixed, first, plan.tile, value_width, 0usize, plan);
        let mut at = UNIT_POS as usize;
        while at < plan.tile {
            let mut pair = (f32::new(0.0), f32::new(0.0));
            if first + at < q_len {
                pair = (log_sums[stats + first + at], deltas[stats + first + at]);
            }
            sums[at] = pair.0;
            shifts[at] = pair.1;
            at += comptime!(plan.planes * plan.lanes);
        }
        sync_cube();
        multiply::<E, N>(&keys, &queries, &mut products, key_width, plan);
        sync_plane();
        let mut pattern = scores_of::<B>(&products, &bias, &hidden, scale, first_row, first, q_len, k_len, false, plan);
        #[unroll]
        for turn in 0..turns {
            let row = row_of(turn, plan);
            #[unroll]
            for c in 0..fours {
                let mut four = Four::new(0.0f32);
                #[unroll]
                for lane in 0..4usize {
                    let at = comptime!(4 * (turn * fours + c) + lane);
                    let weight = (pattern[at] - sums[column_of(comptime!(4 * c + lane), plan)]).exp();
                    pattern[at] = weight;
                    four.insert(lane, weight);
                }
                weights[four_of(row, comptime!(plan.weights()), plan) + c] = Vector::cast_from(four);
            }
        }
        sync_plane();
        accumulate::<E, N>(&weights, &d_mixed, &d_value, value_width, plan);
        multiply::<E, N>(&values, &d_mixed, &mut products, value_width, plan);
        sync_plane();
        #[unroll]
        for turn in 0..turns {
            let row = row_of(turn, plan);
            #[unroll]
            for c in 0..fours {
                let mut four = products[four_of(row, comptime!(plan.products()), plan) + c];
                #[unroll]
                for lane in 0..4usize {
                    let shift = shifts[column_of(comptime!(4 * c + lane), plan)];
                    let d_score = (four.extract(lane) - shift) * pattern[comptime!(4 * (turn * fours + c) + lane)];
                    four.insert(lane, d_score);
                }
                weights[four_of(row, comptime!(plan.weights()), plan) + c] = Vector::cast_from(four);
            }
        }
        sync_plane();
        accumulate::<E, N>(&weights, &queries, &d_key, key_width, plan);
        first += plan.tile;
    }
    #[unroll]
    for turn in 0..turns {
        factors[plane * plan.rows + row_of(turn, plan)] = scale;
    }
    put::<F>(&d_key, &factors, &mut products, d_k, first_row, comptime!(plan.firsts[1]), key_width, plan);
    #[unroll]
    for turn in 0..turns {
        factors[plane * plan.rows + row_of(turn, plan)] = f32::new(1.0);
    }
    put::<F>(&d_value, &factors, &mut products, d_v, first_row, comptime!(plan.firsts[2]), value_width, plan);
}
