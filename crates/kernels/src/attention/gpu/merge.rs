//! What the parts of a walk bring, joined in the order of the parts.

use cubecl::{ir::ElemType, prelude::*};

use super::parts::{FLOOR, Four, UNSEEN, four, put_four};

/// Constants that a kernel is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Merging {
    /// Channels of a row.
    pub width: usize,
    /// Numbers of one access to a tensor.
    pub lanes: usize,
    /// Numbers in front of the first in the memory of the result.
    pub first: usize,
}

/// Index of the first entry of row `n`, counted over batches and heads, from the numbers of heads and rows and the strides of
/// batches, heads and rows.
#[cube]
fn place(n: usize, heads: usize, rows: usize, strides: (usize, usize, usize)) -> usize {
    n / rows / heads * strides.0 + n / rows % heads * strides.1 + n % rows * strides.2
}

/// Outputs and log-sums of all keys from those of parts of the keys, which lie one after the other: their mean, each weighted
/// by its sum of exponentials. One unit writes one vector.
#[cube(launch_unchecked)]
pub(super) fn merge_outputs<F: Float, N: Size>(
    of_parts: &Tensor<Vector<f32, N>>,
    sums_of_parts: &[f32],
    output: &mut Tensor<Vector<F, N>>,
    log_sums: &mut [f32],
    parts: usize,
    #[comptime] merging: Merging,
    #[define(F)] _type: ElemType,
) {
    let vectors = comptime!(merging.width.div_ceil(4));
    let rows = output.shape(0) * output.shape(1) * output.shape(2);
    let n = ABSOLUTE_POS / vectors;
    let c = ABSOLUTE_POS % vectors;
    if n >= rows {
        terminate!();
    }
    let mut top = f32::new(FLOOR);
    for part in 0..parts {
        let log_sum = sums_of_parts[part * rows + n];
        let unseen = log_sum == UNSEEN;
        if !unseen && log_sum > top {
            top = log_sum;
        }
    }
    let mut total = f32::new(0.0);
    let mut sum = Four::new(0.0f32);
    for part in 0..parts {
        let log_sum = sums_of_parts[part * rows + n];
        let unseen = log_sum == UNSEEN;
        if !unseen {
            let weight = (log_sum - top).exp();
            total += weight;
            sum += Four::new(weight)
                * four::<f32, N>(of_parts, (part * rows + n) * merging.width, c, merging.width, merging.lanes);
        }
    }
    let mut share = 1.0f32 / total;
    let mut log_sum = top + total.ln();
    if total == 0.0f32 {
        share = 0.0f32;
        log_sum = f32::new(UNSEEN);
    }
    let origin = place(n, output.shape(1), output.shape(2), (output.stride(0), output.stride(1), output.stride(2)))
        + merging.first;
    put_four::<F, N>(output, origin, c, sum * Four::new(share), merging.width, merging.lanes);
    if c == 0 {
        log_sums[n] = log_sum;
    }
}

/// Sums of what parts bring, which lie one after the other. One unit writes one vector.
#[cube(launch_unchecked)]
pub(super) fn merge_sums<F: Float, N: Size>(
    of_parts: &Tensor<Vector<f32, N>>,
    to: &mut Tensor<Vector<F, N>>,
    parts: usize,
    #[comptime] merging: Merging,
    #[define(F)] _type: ElemType,
) {
    let vectors = comptime!(merging.width.div_ceil(4));
    let rows = to.shape(0) * to.shape(1) * to.shape(2);
    let n = ABSOLUTE_POS / vectors;
    let c = ABSOLUTE_POS % vectors;
    if n >= rows {
        terminate!();
    }
    let mut sum = Four::new(0.0f32);
    for part in 0..parts {
        sum += four::<f32, N>(of_parts, (part * rows + n) * merging.width, c, merging.width, merging.lanes);
    }
    let origin = place(n, to.shape(1), to.shape(2), (to.stride(0), to.stride(1), to.stride(2))) + merging.first;
    put_four::<F, N>(to, origin, c, sum, merging.width, merging.lanes);
}
