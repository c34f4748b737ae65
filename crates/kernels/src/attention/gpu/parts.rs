//! What the kernels of all forms share: rows in memory and in shared memory, what a query sees, and exponentials.

use cubecl::prelude::*;

/// Score of a pair that is not seen.
pub(super) const LOWEST: f32 = -1e30;
/// Running maximum before the first key. So much above [`LOWEST`] that a pair which is not seen weighs exactly zero. WGSL has
/// no literal for −∞.
pub(super) const FLOOR: f32 = -1e29;
/// Log-sum of a query that sees no key: its recomputed pattern is zero whatever the scores.
pub(super) const UNSEEN: f32 = 1e30;

pub(super) type Four = Vector<f32, Const<4>>;

/// Constants that a kernel is compiled with.
///
/// Of queries and keys, the side whose sums a cube owns is called its rows, and the side that passes through shared memory its
/// columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each is a condition of its own that a kernel is compiled with")]
pub(super) struct Plan {
    pub d_key: usize,
    pub d_value: usize,
    /// Numbers of one access to a tensor: 4 where every row begins at a multiple of four and has as many channels, else 1.
    pub lanes: usize,
    pub causal: bool,
    /// Whether there is a mask of hidden pairs.
    pub hidden: bool,
    /// Numbers in front of the first query, key and value in the memory of their tensors, and of their gradients in theirs.
    pub firsts: [usize; 3],
    /// Whether there is an instruction for 2ˣ, so that scores are kept in units of ln 2.
    pub base_two: bool,
    /// Units that share a row, each with columns of its own.
    pub across: usize,
    /// Units above each other.
    pub down: usize,
    /// Rows of a unit, `down` apart.
    pub rows: usize,
    /// Columns of a tile in shared memory.
    pub tile: usize,
    /// Columns that a unit takes together, if it has whole rows.
    pub block: usize,
    /// Whether the kernel for the gradients of keys and values computes those of the keys, and those of the values.
    pub of_keys: bool,
    pub of_values: bool,
}

impl Plan {
    pub(super) fn units(&self) -> usize {
        self.across * self.down
    }

    /// Rows of a cube.
    pub(super) fn height(&self) -> usize {
        self.down * self.rows
    }

    pub(super) fn key_vectors(&self) -> usize {
        self.d_key.div_ceil(4)
    }

    pub(super) fn value_vectors(&self) -> usize {
        self.d_value.div_ceil(4)
    }

    /// What a score is multiplied by before it is an exponent.
    fn unit(&self) -> f32 {
        if self.base_two { core::f32::consts::LOG2_E } else { 1.0 }
    }
}

/// The exponential of a natural logarithm that was multiplied by [`in_exponents`].
#[cube]
pub(super) fn exponential(x: f32, #[comptime] plan: Plan) -> f32 {
    if comptime!(plan.base_two) {
        let power: f32;
        gpu_asm!("ex2.approx.ftz.f32 {y}, {x};", y = out(_) power, x = in(_) x, options(pure, nomem));
        power
    } else {
        x.exp()
    }
}

/// A natural logarithm in the unit of exponents.
#[cube]
pub(super) fn in_exponents(x: f32, #[comptime] plan: Plan) -> f32 {
    x * comptime!(plan.unit())
}

/// A number in the unit of exponents as a natural logarithm.
#[cube]
pub(super) fn from_exponents(x: f32, #[comptime] plan: Plan) -> f32 {
    x * comptime!(plan.unit().recip())
}

#[cube]
pub(super) fn sum(vector: Four) -> f32 {
    (vector.extract(0usize) + vector.extract(1usize)) + (vector.extract(2usize) + vector.extract(3usize))
}

/// Index of the first entry of a row in this cube's head of a tensor `[batch, heads, rows, channels]`.
#[cube]
pub(super) fn start<F: Float, N: Size>(of: &Tensor<Vector<F, N>>, batch: usize, row: usize) -> usize {
    position(of.stride(0), of.stride(1), of.stride(2), batch, row)
}

/// The same, computed from the strides of batches, heads and rows.
#[cube]
pub(super) fn position(batches: usize, heads: usize, rows: usize, batch: usize, row: usize) -> usize {
    batch * batches + CUBE_POS_X as usize * heads + row * rows
}

/// Channels 4 c … 4 c + 3 of a row of `width` channels that begins at `start`.
#[cube]
pub(super) fn four<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    start: usize,
    c: usize,
    #[comptime] width: usize,
    #[comptime] lanes: usize,
) -> Four {
    if comptime!(lanes == 4) {
        Four::cast_from(from[start / 4 + c])
    } else {
        let mut vector = Four::new(0.0f32);
        #[unroll]
        for lane in 0..4usize {
            if 4 * c + lane < width {
                vector.insert(lane, f32::cast_from(from[start + 4 * c + lane].extract(0usize)));
            }
        }
        vector
    }
}

/// Writes channels 4 c … 4 c + 3 of such a row.
#[cube]
pub(super) fn put_four<F: Float, N: Size>(
    to: &mut Tensor<Vector<F, N>>,
    start: usize,
    c: usize,
    vector: Four,
    #[comptime] width: usize,
    #[comptime] lanes: usize,
) {
    if comptime!(lanes == 4) {
        to[start / 4 + c] = Vector::<F, N>::cast_from(vector);
    } else {
        #[unroll]
        for lane in 0..4usize {
            if 4 * c + lane < width {
                to[start + 4 * c + lane] = Vector::<F, N>::cast_from(vector.extract(lane));
            }
        }
    }
}

/// Score of query `i` and key `j` with the bias, if there is one.
#[cube]
pub(super) fn biased(
    bias: &ComptimeOption<&Tensor<f32>>,
    i: usize,
    j: usize,
    q_len: usize,
    k_len: usize,
    score: f32,
    #[comptime] plan: Plan,
) -> f32 {
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => {
            let mut sum = score;
            if i < q_len && j < k_len {
                sum += in_exponents(bias[CUBE_POS_X as usize * bias.stride(0) + j + q_len - 1 - i], plan);
            }
            sum
        }
        ComptimeOption::None => score,
    }
}

/// Whether query `i` sees key `j`.
#[cube]
pub(super) fn sees<B: Int>(
    hidden: &ComptimeOption<&Tensor<B>>,
    i: usize,
    j: usize,
    q_len: usize,
    k_len: usize,
    #[comptime] plan: Plan,
) -> bool {
    let mut visible = i < q_len && j < k_len;
    if comptime!(plan.causal) {
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

/// Whether every query from `i` on sees every key up to `j`, as far as sizes tell.
#[cube]
pub(super) fn all_seen(i: usize, j: usize, q_len: usize, k_len: usize, #[comptime] plan: Plan) -> bool {
    let mut all = j < k_len;
    if comptime!(plan.causal) {
        all = all && j + q_len <= i + k_len;
    }
    if comptime!(plan.hidden) {
        all = false;
    }
    all
}

/// First of the queries whose sums this cube owns. Under causality the last have the most keys: they start first.
#[cube]
pub(super) fn first_query(q_len: usize, parts: usize, #[comptime] plan: Plan) -> usize {
    let height = comptime!(plan.height());
    let mut tile = CUBE_POS_Z as usize / parts;
    if comptime!(plan.causal) {
        tile = (q_len + height - 1) / height - 1 - tile;
    }
    tile * height
}

/// Number of keys, counted from the first, that the queries from `first` on of one cube see.
#[cube]
pub(super) fn keys_seen(first: usize, q_len: usize, k_len: usize, #[comptime] plan: Plan) -> usize {
    let mut end = k_len;
    if comptime!(plan.causal) {
        let last = first + comptime!(plan.height()) + k_len;
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

/// The first query, at the begin of a tile, that may see a key from `first` on.
#[cube]
pub(super) fn seen_from(first: usize, q_len: usize, k_len: usize, #[comptime] plan: Plan) -> usize {
    let mut begin = 0usize;
    if comptime!(plan.causal) {
        if first + q_len > k_len {
            begin = (first + q_len - k_len) / plan.tile * plan.tile;
        }
    }
    begin
}

/// Columns of one part, of those from `begin` to `end`.
#[cube]
pub(super) fn part_length(begin: usize, end: usize, parts: usize, #[comptime] plan: Plan) -> usize {
    let tiles = (end - begin + comptime!(plan.tile - 1)) / plan.tile;
    (tiles + parts - 1) / parts * plan.tile
}
