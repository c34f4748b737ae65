//! Attention on NVIDIA's matrix units in their own terms (CUDA): the layout of a matrix in the registers of a plane is known, so
//! scores never leave them.
//!
//! Unit 4 g + t of a plane holds, of a product of 16 × 8, columns 2 t and 2 t + 1 of rows g and g + 8. A left factor of 16 × 16
//! halves has the same layout as two such products side by side, so that weights become a left factor where they are.
//! In tf32 a left factor is 16 × 8 and its unit holds columns t and t + 4; sums over keys may be taken in any order, so
//! columns 2 t and 2 t + 1 of the weights stand in for them, with the rows of the right factor read alike.
//!
//! # References
//! Dao 2023, arXiv 2307.08691 (a plane owns its rows); PTX ISA, section on `mma.m16n8k16` and `mma.m16n8k8` fragments.

use cubecl::prelude::*;

use super::walk::{
    LOWEST, Plan, UNSEEN, all_seen, biased, fetch, keep, keys_seen, position, queries_from, seen, share, stage,
};

/// How far a score may exceed the number that its row's weights are relative to, so that the sums need not be rescaled at each new
/// maximum.
const SLACK: f32 = 8.0;
/// Base-2 logarithm of e.
const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// Rows of a product.
const ROWS: usize = 16;
/// Columns of a product.
const COLUMNS: usize = 8;

type Two = Vector<f32, Const<2>>;
/// The unit's part of a product: rows g and g + 8.
type Product = Array<Two>;
/// Products side by side.
type Products = Sequence<Product>;
/// Left factors side by side.
type Factors<E, R> = Sequence<Array<Vector<E, R>>>;

impl Plan {
    /// Bytes of shared memory of a kernel: rows of both sides, and two numbers a row of a tile.
    pub fn mma_bytes(&self, owned: usize, walked: usize, bytes: usize) -> usize {
        bytes * (self.owned() * owned + self.tile * walked) + 8 * self.tile
    }
}

#[cube]
fn zeros(#[comptime] count: usize) -> Products {
    let mut products = Products::new();
    #[unroll]
    for _ in 0..count {
        let mut product = Product::new(2usize);
        product[0] = Two::new(0.0f32);
        product[1] = Two::new(0.0f32);
        products.push(product);
    }
    products
}

/// Replaces the unit's part of a row of a product.
#[cube]
fn set(products: &mut Products, #[comptime] at: usize, #[comptime] half: usize, part: Two) {
    let product = products.index_mut(at);
    product[half] = part;
}

/// The plane's own rows times the rows of the tile, transposed.
#[cube]
fn multiply<E: Float, N: Size, R: Size>(
    own: &Shared<[Vector<E, N>]>,
    tile: &Shared<[Vector<E, N>]>,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) -> Products {
    let size = N::value().comptime();
    let depth = comptime!(plan.shape[2]);
    let stride = comptime!(width + plan.pad);
    let def = cmma::MmaDefinition::<E, E, f32>::new(ROWS, COLUMNS, depth);
    let lane = UNIT_POS_X as usize;
    let own_row = UNIT_POS_Y as usize * ROWS + lane % 16;
    let tile_row = lane % 8 + lane / 16 * 8;
    let mut products = zeros(comptime!(plan.tile / COLUMNS));
    #[unroll]
    for c in 0..comptime!(width / depth) {
        let start = (own_row * stride + lane / 16 * plan.pad + comptime!(c * depth)) / size;
        let left = def.load_matrix::<Vector<E, N>, R>(&own[start..start + 1], cmma::MatrixIdent::A, 4usize, false);
        #[unroll]
        for b in 0..comptime!(plan.tile / (2 * COLUMNS)) {
            let start =
                (tile_row * stride + lane / 8 % 2 * plan.pad + comptime!(2 * b * COLUMNS * stride + c * depth)) / size;
            let both = def.load_matrix::<Vector<E, N>, R>(&tile[start..start + 1], cmma::MatrixIdent::B, 4usize, false);
            add_both::<E, R>(&left, &both, &mut products, comptime!(2 * b), depth);
        }
    }
    products
}

/// Adds a left factor times two right ones to two neighbouring products.
#[cube]
fn add_both<E: Float, R: Size>(
    left: &Array<Vector<E, R>>,
    both: &Array<Vector<E, R>>,
    products: &mut Products,
    #[comptime] at: usize,
    #[comptime] depth: usize,
) {
    let def = cmma::MmaDefinition::<E, E, f32>::new(ROWS, COLUMNS, depth);
    #[unroll]
    for which in 0..2usize {
        let mut right = Array::<Vector<E, R>>::new(2usize);
        right[0] = both[comptime!(2 * which)];
        right[1] = both[comptime!(2 * which + 1)];
        def.execute_inplace(left, &right, &mut products[comptime!(at + which)]);
    }
}

/// Products as left factors.
#[cube]
fn factors<E: Float, R: Size>(products: &Products, #[comptime] plan: Plan) -> Factors<E, R> {
    let mut factors = Factors::<E, R>::new();
    #[unroll]
    for b in 0..comptime!(plan.tile / plan.shape[2]) {
        let mut factor = Array::<Vector<E, R>>::new(4usize);
        #[unroll]
        for half in 0..2usize {
            if comptime!(plan.shape[2] == 2 * COLUMNS) {
                #[unroll]
                for row in 0..2usize {
                    factor[comptime!(2 * half + row)] = Vector::cast_from(products[comptime!(2 * b + half)][row]);
                }
            } else {
                #[unroll]
                for row in 0..2usize {
                    factor[comptime!(2 * half + row)] = Vector::cast_from(products[b][row].extract(half));
                }
            }
        }
        factors.push(factor);
    }
    factors
}

/// Adds left factors times the rows of the tile to sums.
#[cube]
fn accumulate<E: Float, N: Size, R: Size>(
    factors: &Factors<E, R>,
    tile: &Shared<[Vector<E, N>]>,
    sums: &mut Products,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let size = N::value().comptime();
    let depth = comptime!(plan.shape[2]);
    let stride = comptime!(width + plan.pad);
    let def = cmma::MmaDefinition::<E, E, f32>::new(ROWS, COLUMNS, depth);
    let lane = UNIT_POS_X as usize;
    let numbers = tile.with_vector_size::<Const<1>>();
    #[unroll]
    for b in 0..comptime!(plan.tile / depth) {
        #[unroll]
        for c in 0..comptime!(width / (2 * COLUMNS)) {
            if comptime!(depth == 2 * COLUMNS) {
                let start =
                    (lane % 16 * stride + lane / 16 * COLUMNS + comptime!(b * depth * stride + 2 * c * COLUMNS)) / size;
                let both =
                    def.load_matrix::<Vector<E, N>, R>(&tile[start..start + 1], cmma::MatrixIdent::B, 4usize, true);
                add_both::<E, R>(&factors[b], &both, sums, comptime!(2 * c), depth);
            } else {
                let start = lane % 4 * 2 * stride + lane / 4 + comptime!(b * depth * stride + 2 * c * COLUMNS);
                let mut both = Array::<Vector<E, R>>::new(4usize);
                #[unroll]
                for which in 0..2usize {
                    #[unroll]
                    for row in 0..2usize {
                        both[comptime!(2 * which + row)] =
                            Vector::cast_from(numbers[start + comptime!(row * stride + which * COLUMNS)]);
                    }
                }
                add_both::<E, R>(&factors[b], &both, sums, comptime!(2 * c), depth);
            }
        }
    }
}

/// Largest number, or sum, over the four units that share a row.
#[cube]
fn over_row(value: f32, #[comptime] sum: bool) -> f32 {
    let mut all = value;
    #[unroll]
    for bit in 0..2u32 {
        let other = plane_shuffle_xor(all, comptime!(1u32 << bit));
        if comptime!(sum) {
            all += other;
        } else {
            all = max(all, other);
        }
    }
    all
}

/// Writes the plane's sums, each row multiplied by its factor.
#[cube]
fn put<F: Float>(
    sums: &Products,
    row_factors: &Array<f32>,
    to: &mut Tensor<F>,
    first: usize,
    #[comptime] offset: usize,
    #[comptime] width: usize,
) {
    let lane = UNIT_POS_X as usize;
    #[unroll]
    for row in 0..2usize {
        let i = first + lane / 4 + comptime!(8 * row);
        if i < to.shape(2) {
            let start = position(to.stride(0), to.stride(1), to.stride(2), i) + offset;
            #[unroll]
            for c in 0..comptime!(width / COLUMNS) {
                #[unroll]
                for which in 0..2usize {
                    let channel = lane % 4 * 2 + comptime!(COLUMNS * c + which);
                    if channel < to.shape(3) {
                        to[start + channel] = F::cast_from(sums[c][row].extract(which) * row_factors[row]);
                    }
                }
            }
        }
    }
}

/// e^(score − base), by the hardware's 2^x, which is off by 2⁻²² of the result at most.
#[cube]
fn weight(score: f32, base: f32) -> f32 {
    let exponent = score * LOG2_E - base * LOG2_E;
    let power: f32;
    gpu_asm!("ex2.approx.ftz.f32 {power}, {exponent};", power = out(_) power, exponent = in(_) exponent, options(nomem));
    power
}

/// Turns the plane's products into scores: scaled, biased, and [`UNSEEN`] for pairs that are not seen. Own rows begin at `own`, those
/// of the tile at `walked`; `of_queries` says whether the own ones are queries.
#[cube]
fn score<B: Int>(
    products: &mut Products,
    bias: &ComptimeOption<&Tensor<f32>>,
    hidden: &ComptimeOption<&Tensor<B>>,
    scale: f32,
    own: usize,
    walked: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] of_queries: bool,
    #[comptime] plan: Plan,
) {
    let row = own + UNIT_POS_X as usize / 4;
    let column = walked + UNIT_POS_X as usize % 4 * 2;
    let all = if comptime!(of_queries) {
        all_seen::<B>(hidden, own, walked, q_len, k_len, ROWS, plan.tile, plan.causal)
    } else {
        all_seen::<B>(hidden, walked, own, q_len, k_len, plan.tile, ROWS, plan.causal)
    };
    #[unroll]
    for b in 0..comptime!(plan.tile / COLUMNS) {
        #[unroll]
        for half in 0..2usize {
            let mut two = products[b][half] * Two::new(scale);
            #[unroll]
            for which in 0..2usize {
                let (r, c) = (row + comptime!(8 * half), column + comptime!(COLUMNS * b + which));
                let score = if comptime!(of_queries) {
                    biased(bias, two.extract(which), r, c, q_len, k_len)
                } else {
                    biased(bias, two.extract(which), c, r, q_len, k_len)
                };
                two.insert(which, score);
            }
            set(products, b, half, two);
        }
    }
    if !all {
        #[unroll]
        for b in 0..comptime!(plan.tile / COLUMNS) {
            #[unroll]
            for half in 0..2usize {
                let mut two = products[b][half];
                #[unroll]
                for which in 0..2usize {
                    let (r, c) = (row + comptime!(8 * half), column + comptime!(COLUMNS * b + which));
                    let seen = if comptime!(of_queries) {
                        seen::<B>(hidden, r, c, q_len, k_len, plan.causal)
                    } else {
                        seen::<B>(hidden, c, r, q_len, k_len, plan.causal)
                    };
                    let kept = two.extract(which);
                    two.insert(which, select(seen, kept, f32::new(UNSEEN)));
                }
                set(products, b, half, two);
            }
        }
    }
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
    let size!(R) = comptime!(plan.pad / 4);
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let lane = UNIT_POS_X as usize;
    // With a causal mask the last queries see most: they begin first.
    let mut block = CUBE_POS_X as usize;
    if comptime!(plan.causal) {
        block = CUBE_COUNT_X as usize - 1 - block;
    }
    let first_owned = block * comptime!(plan.owned());
    let first_row = first_owned + UNIT_POS_Y as usize * ROWS;
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 16usize);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 16usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 16usize);
    let mut bases = Array::<f32>::new(2usize);
    let mut totals = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        bases[row] = f32::new(LOWEST);
        totals[row] = f32::new(0.0);
    }
    let mut mixed = zeros(comptime!(value_width / COLUMNS));
    stage::<F, E, N>(q, &mut queries, first_owned, comptime!(plan.owned()), key_width, comptime!(plan.firsts[0]), plan);
    let end = keys_seen(first_owned + comptime!(plan.owned()), q_len, k_len, plan.causal);
    let (of_keys, of_values) =
        comptime!((share(plan.tile, key_width, size, plan), share(plan.tile, value_width, size, plan)));
    // The tile to come, read while the one in front of it is in use. In the backward pass that takes more registers than it is worth.
    let mut next_keys = Array::<Vector<F, N>>::new(of_keys);
    let mut next_values = Array::<Vector<F, N>>::new(of_values);
    fetch::<F, N>(k, &mut next_keys, 0usize, 0usize, of_keys, key_width, comptime!(plan.firsts[1]), plan);
    fetch::<F, N>(v, &mut next_values, 0usize, 0usize, of_values, value_width, comptime!(plan.firsts[2]), plan);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        keep::<F, E, N>(&next_keys, k, &mut keys, first, 0usize, of_keys, plan.tile, key_width, plan);
        keep::<F, E, N>(&next_values, v, &mut values, first, 0usize, of_values, plan.tile, value_width, plan);
        sync_cube();
        let next = first + plan.tile;
        if next < end {
            fetch::<F, N>(k, &mut next_keys, next, 0usize, of_keys, key_width, comptime!(plan.firsts[1]), plan);
            fetch::<F, N>(v, &mut next_values, next, 0usize, of_values, value_width, comptime!(plan.firsts[2]), plan);
        }
        let mut scores = multiply::<E, N, R>(&queries, &keys, key_width, plan);
        score::<B>(&mut scores, &bias, &hidden, scale, first_row, first, q_len, k_len, true, plan);
        let mut rises = false.runtime();
        let mut shrinks = Array::<f32>::new(2usize);
        #[unroll]
        for row in 0..2usize {
            let mut top = f32::new(LOWEST);
            #[unroll]
            for b in 0..comptime!(plan.tile / COLUMNS) {
                top = max(top, max(scores[b][row].extract(0usize), scores[b][row].extract(1usize)));
            }
            top = over_row(top, false);
            let mut shrink = f32::new(1.0);
            if top > bases[row] + SLACK {
                shrink = weight(bases[row], top);
                bases[row] = top;
                rises = true;
            }
            totals[row] *= shrink;
            shrinks[row] = shrink;
        }
        if plane_any(rises) {
            #[unroll]
            for c in 0..comptime!(value_width / COLUMNS) {
                #[unroll]
                for row in 0..2usize {
                    let part = mixed[c][row] * Two::new(shrinks[row]);
                    set(&mut mixed, c, row, part);
                }
            }
        }
        #[unroll]
        for row in 0..2usize {
            #[unroll]
            for b in 0..comptime!(plan.tile / COLUMNS) {
                let mut two = scores[b][row];
                #[unroll]
                for which in 0..2usize {
                    let weight = weight(two.extract(which), bases[row]);
                    totals[row] += weight;
                    two.insert(which, weight);
                }
                set(&mut scores, b, row, two);
            }
        }
        let weights = factors::<E, R>(&scores, plan);
        accumulate::<E, N, R>(&weights, &values, &mut mixed, value_width, plan);
        first += plan.tile;
    }
    let mut shares = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        let i = first_row + lane / 4 + comptime!(8 * row);
        let total = over_row(totals[row], true);
        let mut share = f32::new(0.0);
        // A query that sees no key: its recomputed pattern must be zero whatever the score.
        let mut log_sum = f32::new(-LOWEST);
        if total != 0.0f32 {
            share = 1.0f32 / total;
            log_sum = bases[row] + total.ln();
        }
        shares[row] = share;
        if i < q_len {
            let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
            log_sums[at] = log_sum;
        }
    }
    put::<F>(&mixed, &shares, output, first_row, 0usize, value_width);
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
    let size!(R) = comptime!(plan.pad / 4);
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let lane = UNIT_POS_X as usize;
    let mut block = CUBE_POS_X as usize;
    if comptime!(plan.causal) {
        block = CUBE_COUNT_X as usize - 1 - block;
    }
    let first_owned = block * comptime!(plan.owned());
    let first_row = first_owned + UNIT_POS_Y as usize * ROWS;
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 16usize);
    let mut d_mixed = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * value_row), 16usize);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 16usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 16usize);
    let mut sums = Array::<f32>::new(2usize);
    let mut shifts = Array::<f32>::new(2usize);
    let mut scales = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        let i = first_row + lane / 4 + comptime!(8 * row);
        let at = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1) + i;
        let mut part = f32::new(0.0);
        sums[row] = f32::new(0.0);
        if i < q_len {
            sums[row] = log_sums[at];
            let o = position(output.stride(0), output.stride(1), output.stride(2), i) / size;
            let d = position(d_output.stride(0), d_output.stride(1), d_output.stride(2), i) / size;
            let mut c = lane % 4;
            while c * size < v.shape(3) {
                let product = Vector::<f32, N>::cast_from(output[o + c]) * Vector::cast_from(d_output[d + c]);
                #[unroll]
                for which in 0..size {
                    part += product.extract(which);
                }
                c += 4usize;
            }
        }
        let delta = over_row(part, true);
        shifts[row] = delta;
        scales[row] = scale;
        if i < q_len {
            deltas[at] = delta;
        }
    }
    let mut d_query = zeros(comptime!(key_width / COLUMNS));
    stage::<F, E, N>(q, &mut queries, first_owned, comptime!(plan.owned()), key_width, comptime!(plan.firsts[0]), plan);
    stage::<F, E, N>(d_output, &mut d_mixed, first_owned, comptime!(plan.owned()), value_width, 0usize, plan);
    let end = keys_seen(first_owned + comptime!(plan.owned()), q_len, k_len, plan.causal);
    let mut first = 0usize;
    while first < end {
        sync_cube();
        stage::<F, E, N>(k, &mut keys, first, plan.tile, key_width, comptime!(plan.firsts[1]), plan);
        stage::<F, E, N>(v, &mut values, first, plan.tile, value_width, comptime!(plan.firsts[2]), plan);
        sync_cube();
        let mut scores = multiply::<E, N, R>(&queries, &keys, key_width, plan);
        let d_scores = multiply::<E, N, R>(&d_mixed, &values, value_width, plan);
        score::<B>(&mut scores, &bias, &hidden, scale, first_row, first, q_len, k_len, true, plan);
        #[unroll]
        for row in 0..2usize {
            #[unroll]
            for b in 0..comptime!(plan.tile / COLUMNS) {
                let mut two = scores[b][row];
                let d_two = d_scores[b][row] - Two::new(shifts[row]);
                #[unroll]
                for which in 0..2usize {
                    two.insert(which, weight(two.extract(which), sums[row]) * d_two.extract(which));
                }
                set(&mut scores, b, row, two);
            }
        }
        let weights = factors::<E, R>(&scores, plan);
        accumulate::<E, N, R>(&weights, &keys, &mut d_query, key_width, plan);
        first += plan.tile;
    }
    put::<F>(&d_query, &scales, d_q, first_row, comptime!(plan.firsts[0]), key_width);
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
    let size!(R) = comptime!(plan.pad / 4);
    let [key_width, value_width] = comptime!(plan.widths);
    let [key_row, value_row] = comptime!([(key_width + plan.pad) / size, (value_width + plan.pad) / size]);
    let lane = UNIT_POS_X as usize;
    let first_owned = CUBE_POS_X as usize * comptime!(plan.owned());
    let first_row = first_owned + UNIT_POS_Y as usize * ROWS;
    let stats = CUBE_POS_Z as usize * log_sums.stride(0) + CUBE_POS_Y as usize * log_sums.stride(1);
    let mut keys = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * key_row), 16usize);
    let mut values = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.owned() * value_row), 16usize);
    let mut queries = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * key_row), 16usize);
    let mut d_mixed = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(plan.tile * value_row), 16usize);
    let mut sums = Shared::<[f32]>::new_slice(plan.tile);
    let mut shifts = Shared::<[f32]>::new_slice(plan.tile);
    let mut d_key = zeros(comptime!(key_width / COLUMNS));
    let mut d_value = zeros(comptime!(value_width / COLUMNS));
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
            let mut log_sum = f32::new(0.0);
            let mut delta = f32::new(0.0);
            if first + at < q_len {
                log_sum = log_sums[stats + first + at];
                delta = deltas[stats + first + at];
            }
            sums[at] = log_sum;
            shifts[at] = delta;
            at += comptime!(plan.planes * plan.lanes);
        }
        sync_cube();
        let mut scores = multiply::<E, N, R>(&keys, &queries, key_width, plan);
        let mut d_scores = multiply::<E, N, R>(&values, &d_mixed, value_width, plan);
        score::<B>(&mut scores, &bias, &hidden, scale, first_row, first, q_len, k_len, false, plan);
        #[unroll]
        for b in 0..comptime!(plan.tile / COLUMNS) {
            #[unroll]
            for which in 0..2usize {
                let column = lane % 4 * 2 + comptime!(COLUMNS * b + which);
                let (log_sum, shift) = (sums[column], shifts[column]);
                #[unroll]
                for row in 0..2usize {
                    let (mut two, mut d_two) = (scores[b][row], d_scores[b][row]);
                    let weight = weight(two.extract(which), log_sum);
                    two.insert(which, weight);
                    set(&mut scores, b, row, two);
                    let d_score = weight * (d_two.extract(which) - shift);
                    d_two.insert(which, d_score);
                    set(&mut d_scores, b, row, d_two);
                }
            }
        }
        let weights = factors::<E, R>(&scores, plan);
        accumulate::<E, N, R>(&weights, &d_mixed, &mut d_value, value_width, plan);
        let weights = factors::<E, R>(&d_scores, plan);
        accumulate::<E, N, R>(&weights, &queries, &mut d_key, key_width, plan);
        first += plan.tile;
    }
    let mut row_factors = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        row_factors[row] = scale;
    }
    put::<F>(&d_key, &row_factors, d_k, first_row, comptime!(plan.firsts[1]), key_width);
    #[unroll]
    for row in 0..2usize {
        row_factors[row] = f32::new(1.0);
    }
    put::<F>(&d_value, &row_factors, d_v, first_row, comptime!(plan.firsts[2]), value_width);
}
