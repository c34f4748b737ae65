//! What the CubeCL kernels of all operations share, for wgpu (Vulkan, Metal, DX12) and CUDA.
//!
//! A small step costs its launches, so each kernel does in one what burn's operations do in many. Every sum has one owner and
//! a fixed order that depends on sizes, and in attention on the tiling: no atomics, and the same bits whenever it is done again.

#![allow(
    clippy::used_underscore_binding,
    reason = "the types that a kernel is compiled for are read by its macro alone"
)]

use burn::tensor::{DType, Shape};
use burn_cubecl::{kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor};
use cubecl::prelude::*;

/// Units of a cube that goes through numbers one by one.
pub(crate) const UNITS: usize = 256;

/// A tensor with memory of its own, not yet filled.
pub(crate) fn empty_like(tensor: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(tensor.client.clone(), tensor.device.clone(), shape.into(), dtype)
}

/// The numbers of a tensor in row-major order, as the kernels read them.
pub(crate) fn dense(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// A dense tensor as a buffer argument.
pub(crate) fn buffer(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// Numbers of a tensor whose last axis is so wide, as rows.
pub(crate) fn rows_of(tensor: &CubeTensor, width: usize) -> usize {
    tensor.meta.shape().num_elements() / width
}

/// As many cubes as there are rows, on two axes, since one ends at 65,535.
pub(crate) fn cube_each(rows: usize) -> CubeCount {
    let across = rows.min(1 << 15);
    CubeCount::Static(across as u32, rows.div_ceil(across) as u32, 1)
}

/// The sum over all units of a cube of what each brings, in a fixed order, the same for all of them. Cubes are lines of 2ⁿ units.
#[cube]
pub(crate) fn sum_over_cube(shares: &mut Shared<[f32]>, mine: f32, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS_X as usize;
    // Whoever still reads the last sum must be done.
    sync_cube();
    shares[unit] = mine;
    sync_cube();
    #[unroll]
    for level in 1..comptime!(units.ilog2() as usize + 1) {
        let half = comptime!(units >> level);
        if unit < half {
            let other = shares[unit + half];
            shares[unit] += other;
        }
        sync_cube();
    }
    shares[0]
}

/// Columns that a cube sums, next to each other in memory: as many as one access reads.
const COLUMNS: usize = 8;
/// Units that share a column.
const SHARES: usize = UNITS / COLUMNS;
/// Rows up to which one launch sums all of them; more are summed in two.
const MOST_ROWS_AT_ONCE: usize = 2048;
/// Blocks that rows are cut into at most, for the first of two launches.
const MOST_BLOCKS: usize = 64;

/// Sums the rows of a matrix, of each block of rows for itself. The columns go to several outputs in turn.
#[cube(launch)]
fn column_sums_kernel(
    from: &[f32],
    to: &mut Sequence<Box<[f32]>>,
    rows: usize,
    rows_per_block: usize,
    #[comptime] widths: Vec<usize>,
) {
    let width = comptime!(widths.iter().sum::<usize>());
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let column = CUBE_POS_X as usize * COLUMNS + x;
    let block = CUBE_POS_Y as usize;
    let first = block * rows_per_block;
    let mut end = first + rows_per_block;
    if end > rows {
        end = rows;
    }
    let mut total = f32::new(0.0);
    if column < width {
        let mut row = first + y;
        // Four at a time, so that as many are on their way.
        while row + 3 * SHARES < end {
            let one = from[row * width + column];
            let two = from[(row + SHARES) * width + column];
            let three = from[(row + 2 * SHARES) * width + column];
            let four = from[(row + 3 * SHARES) * width + column];
            total += (one + two) + (three + four);
            row += 4 * SHARES;
        }
        while row < end {
            total += from[row * width + column];
            row += SHARES;
        }
    }
    shares[y * COLUMNS + x] = total;
    sync_cube();
    if y == 0 && column < width {
        let mut sum = f32::new(0.0);
        for share in 0..SHARES {
            sum += shares[share * COLUMNS + x];
        }
        #[unroll]
        for k in 0..comptime!(widths.len()) {
            let begin = comptime!(widths[..k].iter().sum::<usize>());
            let own = comptime!(widths[k]);
            if column >= begin && column < begin + own {
                let to = to.index_mut(k);
                to[block * own + column - begin] = sum;
            }
        }
    }
}

/// Sums of the columns of a matrix, cut into outputs of these widths one after the other.
///
/// # Shapes
/// `[…, Σ widths]` -> `[widths[0]]`, `[widths[1]]`, …
pub(crate) fn column_sums(from: CubeTensor, widths: &[usize]) -> Vec<CubeTensor> {
    let width = widths.iter().sum::<usize>();
    let from = dense(from);
    let rows = rows_of(&from, width);
    let launch = |from: &CubeTensor, rows: usize, blocks: usize, widths: &[usize]| -> Vec<CubeTensor> {
        let to: Vec<CubeTensor> = widths.iter().map(|own| empty_like(from, [blocks * own], DType::F32)).collect();
        column_sums_kernel::launch(
            &from.client,
            CubeCount::Static(width.div_ceil(COLUMNS) as u32, blocks as u32, 1),
            CubeDim::new_2d(COLUMNS as u32, SHARES as u32),
            buffer(from),
            to.iter().map(buffer).collect(),
            rows,
            rows.div_ceil(blocks),
            widths.to_vec(),
        );
        to
    };
    if rows <= MOST_ROWS_AT_ONCE {
        return launch(&from, rows, 1, widths);
    }
    let blocks = rows.div_ceil(UNITS).min(MOST_BLOCKS);
    let parts = launch(&from, rows, blocks, &[width]);
    launch(&parts[0], blocks, 1, widths)
}
