//! Building blocks of the CPU kernels: vector loads, an exponential function, and the product of two tiles.

use std::f32::consts::LN_2;

use pulp::Simd;

/// `length` rounded up to a multiple of the vector length.
#[inline(always)]
pub(crate) fn padded<S: Simd>(length: usize) -> usize {
    length.next_multiple_of(S::F32_LANES)
}

/// The vector at the start of `from`.
#[inline(always)]
pub(crate) fn load<S: Simd>(from: &[f32]) -> S::f32s {
    assert!(from.len() >= S::F32_LANES);
    // SAFETY: the assertion leaves room for one vector, and every bit pattern is valid; the read needs no alignment.
    unsafe { from.as_ptr().cast::<S::f32s>().read_unaligned() }
}

/// Writes a vector to the start of `to`.
#[inline(always)]
pub(crate) fn store<S: Simd>(to: &mut [f32], value: S::f32s) {
    assert!(to.len() >= S::F32_LANES);
    // SAFETY: as for `load`.
    unsafe { to.as_mut_ptr().cast::<S::f32s>().write_unaligned(value) }
}

/// Coefficients of 2^f = Σ c_k f^k on |f| ≤ 1/2, minimax in relative error: 1.9e-9, far below the rounding of f32.
const EXP2: [f32; 7] = [1.0, LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993_6, 0.000_153_458_23];

/// 2^x for x ≤ 0, within 1.5 units in the last place; exactly 0 below −126, where f32 has no normal numbers left; NaN for NaN.
///
/// The vectors advance together, step by step: a single one would wait for its own result at every step of the
/// polynomial. Here and in all loops over vectors, `for` is used because a closure given to `map` or `from_fn` is
/// compiled without the vector unit.
#[inline(always)]
pub(crate) fn exp2<S: Simd, const N: usize>(simd: S, x: [S::f32s; N]) -> [S::f32s; N] {
    let lowest = simd.splat_f32s(-126.0);
    // Adding 1.5 · 2^23 rounds to an integer n and leaves it in the low bits; with 127 added, these are the exponent
    // bits of 2^n.
    let magic = simd.splat_f32s(12_582_912.0 + 127.0);
    let (mut shifted, mut fraction) = (x, x);
    for (shifted, fraction) in shifted.iter_mut().zip(&mut fraction) {
        *shifted = simd.add_f32s(simd.max_f32s(*shifted, lowest), magic);
        *fraction = simd.sub_f32s(*fraction, simd.sub_f32s(*shifted, magic));
    }
    let mut power = [simd.splat_f32s(EXP2[6]); N];
    for c in EXP2[..6].iter().rev() {
        let c = simd.splat_f32s(*c);
        for (power, fraction) in power.iter_mut().zip(fraction) {
            *power = simd.mul_add_e_f32s(*power, fraction, c);
        }
    }
    for ((power, shifted), x) in power.iter_mut().zip(shifted).zip(x) {
        let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
        let scaled = simd.mul_f32s(*power, simd.transmute_f32s_u32s(exponent));
        *power = simd.select_f32s(simd.less_than_f32s(x, lowest), simd.splat_f32s(0.0), scaled);
    }
    power
}

/// Inner product Σ_c a_c b_c.
#[inline(always)]
pub(crate) fn inner<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let mut sum = simd.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = simd.mul_add_e_f32s(*a, *b, sum);
    }
    simd.reduce_sum_f32s(sum) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// A matrix that is read entry by entry, with one stride for its rows and one for its columns.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) entries: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// A matrix that is read in whole vectors; its rows are `stride` entries apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) entries: &'a [f32],
    pub(crate) stride: usize,
}

/// C = A B, or C += A B with `ADD`; A `[m, depth]`, B `[depth, n]`, C `[m, n]` with n a whole number of vectors.
///
/// Each entry is summed over `depth` in order, so the result depends on the operands only.
#[inline(always)]
pub(crate) fn product<S: Simd, const ADD: bool>(
    simd: S,
    [m, depth, n]: [usize; 3],
    a: Strided<'_>,
    b: Rows<'_>,
    c: &mut [f32],
    c_stride: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(n.is_multiple_of(S::F32_LANES) && c.len() >= (m - 1) * c_stride + n);
    if depth == 0 {
        if !ADD {
            (0..m).for_each(|row| c[row * c_stride..][..n].fill(0.0));
        }
        return;
    }
    assert!(a.entries.len() > (m - 1) * a.row + (depth - 1) * a.column);
    assert!(b.entries.len() >= (depth - 1) * b.stride + n);
    let mut column = 0;
    while n - column >= 2 * S::F32_LANES {
        columns::<S, ADD, 2>(simd, [m, depth, column], a, b, c, c_stride);
        column += 2 * S::F32_LANES;
    }
    if column < n {
        columns::<S, ADD, 1>(simd, [m, depth, column], a, b, c, c_stride);
    }
}

/// [`product`] for `N` vectors of columns; `product` has checked the bounds.
#[inline(always)]
fn columns<S: Simd, const ADD: bool, const N: usize>(
    simd: S,
    [m, depth, column]: [usize; 3],
    a: Strided<'_>,
    b: Rows<'_>,
    c: &mut [f32],
    c_stride: usize,
) {
    let mut row = 0;
    macro_rules! rows {
        ($($count:literal)+) => { $(
            while m - row >= $count {
                block::<S, ADD, $count, N>(simd, [row, depth, column], a, b, c, c_stride);
                row += $count;
            }
        )+ };
    }
    // Twelve accumulators keep both multiply–add units busy and fit sixteen registers.
    if N == 1 {
        rows!(12 6 3 1);
    } else {
        rows!(6 3 1);
    }
}

/// `M` rows by `N` vectors of C, held in registers while summing over `depth`.
#[inline(always)]
fn block<S: Simd, const ADD: bool, const M: usize, const N: usize>(
    simd: S,
    [row, depth, column]: [usize; 3],
    a: Strided<'_>,
    b: Rows<'_>,
    c: &mut [f32],
    c_stride: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    // SAFETY: `product` has checked that m rows, `depth` columns of A and n columns of B and C lie inside the slices, and
    // `columns` calls this for row + M <= m and column + N vectors <= n only. Vectors are read and written unaligned.
    unsafe {
        let (a_at, b_at) = (a.entries.as_ptr().add(row * a.row), b.entries.as_ptr().add(column));
        for t in 0..depth {
            let b_row = b_at.add(t * b.stride).cast::<S::f32s>();
            let mut b_vectors = [simd.splat_f32s(0.0); N];
            for (j, vector) in b_vectors.iter_mut().enumerate() {
                *vector = b_row.add(j).read_unaligned();
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let entry = simd.splat_f32s(*a_at.add(i * a.row + t * a.column));
                for (sum, vector) in sums.iter_mut().zip(b_vectors) {
                    *sum = simd.mul_add_e_f32s(entry, vector, *sum);
                }
            }
        }
        let c_at = c.as_mut_ptr().add(row * c_stride + column);
        for (i, sums) in sums.iter().enumerate() {
            let c_row = c_at.add(i * c_stride).cast::<S::f32s>();
            for (j, sum) in sums.iter().enumerate() {
                let sum = if ADD { simd.add_f32s(c_row.add(j).read_unaligned(), *sum) } else { *sum };
                c_row.add(j).write_unaligned(sum);
            }
        }
    }
}
