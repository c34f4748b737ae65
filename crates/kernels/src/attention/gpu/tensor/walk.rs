//! What the kernels of every kind of matrix unit share: which pairs there are, and the rows of a tensor in shared memory.

use cubecl::prelude::*;

/// Initial value of a running maximum. WGSL has no literal for −∞.
pub const LOWEST: f32 = -1e30;
/// Score of a pair that is not seen: so far below [`LOWEST`] that its weight is zero whatever the maximum.
pub const UNSEEN: f32 = -2e30;

/// Loads of a unit that are under way at once.
const LOADS: usize = 8;

/// Constants that a kernel is compiled with. A cube owns some rows, queries or keys, and walks over those of the other side in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Rows, columns and depth of the products of the matrix units.
    pub shape: [usize; 3],
    /// Units of a plane.
    pub lanes: usize,
    /// Planes of a cube.
    pub planes: usize,
    /// Rows of the cube that a plane owns.
    pub rows: usize,
    /// Rows of the other side that lie in shared memory at once.
    pub tile: usize,
    /// Channels of a query or key, and of a value, padded with zeros to what the matrix units multiply.
    pub widths: [usize; 2],
    /// Numbers between the rows of a tile in shared memory, so that the rows begin in different banks.
    pub pad: usize,
    pub causal: bool,
    /// Numbers in front of the first query, key and value in the memory of their tensors, and of their gradients in theirs.
    pub firsts: [usize; 3],
}

impl Plan {
    /// Rows that a cube owns.
    pub fn owned(&self) -> usize {
        self.planes * self.rows
    }
}

/// Index of the first entry of row `row` of this cube's batch and head, from the strides of batches, heads and rows.
#[cube]
pub fn position(batches: usize, heads: usize, rows: usize, row: usize) -> usize {
    CUBE_POS_Z as usize * batches + CUBE_POS_Y as usize * heads + row * rows
}

/// Vectors of a tile of a unit.
pub fn share(rows: usize, width: usize, size: usize, plan: Plan) -> usize {
    (rows * width / size).div_ceil(plan.planes * plan.lanes)
}

/// Reads the unit's share of rows from `first` on, `count` vectors after the `skipped` ones. Addresses outside are moved inside rather
/// than tested, so that nothing waits for what is read.
#[cube]
pub fn fetch<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Array<Vector<F, N>>,
    first: usize,
    skipped: usize,
    #[comptime] count: usize,
    #[comptime] width: usize,
    #[comptime] offset: usize,
    #[comptime] plan: Plan,
) {
    let size = N::value().comptime();
    let vectors = comptime!(width / size);
    #[unroll]
    for number in 0..count {
        let at = UNIT_POS as usize + skipped + comptime!(number * plan.planes * plan.lanes);
        let (row, channel) = (first + at / vectors, at % vectors * size);
        let start = position(from.stride(0), from.stride(1), from.stride(2), min(row, from.shape(2) - 1)) + offset;
        to[number] = from[(start + min(channel, from.shape(3) - size)) / size];
    }
}

/// Writes what [`fetch`] read to shared memory, `rows` rows in all, in the type of the matrix units; zeros where there is no row or
/// channel.
#[cube]
pub fn keep<F: Float, E: Float, N: Size>(
    read: &Array<Vector<F, N>>,
    from: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Vector<E, N>]>,
    first: usize,
    skipped: usize,
    #[comptime] count: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let size = N::value().comptime();
    let vectors = comptime!(width / size);
    #[unroll]
    for number in 0..count {
        let at = UNIT_POS as usize + skipped + comptime!(number * plan.planes * plan.lanes);
        if at < rows * vectors {
            let mut vector = Vector::<E, N>::cast_from(read[number]);
            if first + at / vectors >= from.shape(2) || at % vectors * size >= from.shape(3) {
                vector = Vector::cast_from(0.0f32);
            }
            to[at / vectors * comptime!((width + plan.pad) / size) + at % vectors] = vector;
        }
    }
}

/// Copies `rows` rows from `first` on into shared memory, in the type of the matrix units; zeros where there is no row or channel.
#[cube]
pub fn stage<F: Float, E: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Vector<E, N>]>,
    first: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
    #[comptime] offset: usize,
    #[comptime] plan: Plan,
) {
    let size = N::value().comptime();
    let count = comptime!(share(rows, width, size, plan).min(LOADS));
    let mut vectors = Array::<Vector<F, N>>::new(count);
    let mut skipped = 0usize;
    while skipped < comptime!(rows * width / size) {
        fetch::<F, N>(from, &mut vectors, first, skipped, count, width, offset, plan);
        keep::<F, E, N>(&vectors, from, to, first, skipped, count, rows, width, plan);
        skipped += comptime!(count * plan.planes * plan.lanes);
    }
}

/// Number of keys, counted from the first, that causality lets the queries in front of `last` see.
#[cube]
pub fn keys_seen(last: usize, q_len: usize, k_len: usize, #[comptime] causal: bool) -> usize {
    let mut end = k_len;
    if comptime!(causal) {
        end = 0usize;
        if last + k_len > q_len {
            end = last + k_len - q_len;
        }
        if end > k_len {
            end = k_len;
        }
    }
    end
}

/// First query of a tile from which on queries see the key `key` or a later one.
#[cube]
pub fn queries_from(key: usize, q_len: usize, k_len: usize, #[comptime] plan: Plan) -> usize {
    let mut first = 0usize;
    if comptime!(plan.causal) {
        if key + q_len > k_len {
            first = (key + q_len - k_len) / plan.tile * plan.tile;
        }
    }
    first
}

/// Whether each of the queries i … i + `queries` − 1 sees each of the keys j … j + `keys` − 1, so that pairs need no test.
#[cube]
pub fn all_seen<B: Int>(
    hidden: &ComptimeOption<&Tensor<B>>,
    i: usize,
    j: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] queries: usize,
    #[comptime] keys: usize,
    #[comptime] causal: bool,
) -> bool {
    #[comptime]
    match hidden {
        ComptimeOption::Some(_) => false.runtime(),
        ComptimeOption::None => {
            let mut all = i + queries <= q_len && j + keys <= k_len;
            if comptime!(causal) {
                all = all && j + keys + q_len <= i + 1 + k_len;
            }
            all
        }
    }
}

/// Whether query `i` sees key `j`.
#[cube]
pub fn seen<B: Int>(
    hidden: &ComptimeOption<&Tensor<B>>,
    i: usize,
    j: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] causal: bool,
) -> bool {
    let mut seen = i < q_len && j < k_len;
    if comptime!(causal) {
        seen = seen && j + q_len <= i + k_len;
    }
    #[comptime]
    match hidden {
        ComptimeOption::Some(hidden) => {
            if seen {
                seen = hidden[i * k_len + j] == B::from_int(0);
            }
        }
        ComptimeOption::None => {}
    }
    seen
}

/// A score of query `i` and key `j` plus the bias of their distance, if there is one.
#[cube]
pub fn biased(bias: &ComptimeOption<&Tensor<f32>>, score: f32, i: usize, j: usize, q_len: usize, k_len: usize) -> f32 {
    let mut biased = score;
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => {
            if i < q_len && j < k_len {
                biased += bias[CUBE_POS_Y as usize * bias.stride(0) + j + q_len - 1 - i];
            }
        }
        ComptimeOption::None => {}
    }
    biased
}
