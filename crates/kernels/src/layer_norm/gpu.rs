//! Layer normalisation: one launch forward, two backward.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{NormaliseRows, NormaliseRowsPasses};
use crate::gpu::{buffer, column_sums, cube_each, dense, empty_like, rows_of, sum_over_cube};

/// Units of a cube, which works on a row at a time.
const UNITS: usize = 64;
/// Blocks that rows are cut into at most in the backward pass: each leaves a part of the gradients of γ and β.
const MOST_BLOCKS: usize = 1024;

/// Numbers of a row that a unit holds, the k-th being number UNIT_POS + k · UNITS of the row; zero beyond its end.
#[cube]
fn own_numbers(from: &[f32], start: usize, #[comptime] d: usize) -> Array<f32> {
    let held = comptime!(d.div_ceil(UNITS));
    let mut own = Array::<f32>::new(held);
    #[unroll]
    for k in 0..held {
        let c = UNIT_POS_X as usize + k * UNITS;
        own[k] = f32::new(0.0);
        if c < d {
            own[k] = from[start + c];
        }
    }
    own
}

/// Takes the mean from a row and divides by sqrt(var + ε), which is returned inverted.
#[cube]
fn normalise(own: &mut Array<f32>, shares: &mut Shared<[f32]>, epsilon: f32, #[comptime] d: usize) -> f32 {
    let held = comptime!(d.div_ceil(UNITS));
    let mut total = f32::new(0.0);
    #[unroll]
    for k in 0..held {
        total += own[k];
    }
    let mean = sum_over_cube(shares, total, UNITS) / f32::cast_from(d);
    let mut squares = f32::new(0.0);
    #[unroll]
    for k in 0..held {
        if UNIT_POS_X as usize + k * UNITS < d {
            own[k] -= mean;
            squares += own[k] * own[k];
        }
    }
    let variance = sum_over_cube(shares, squares, UNITS) / f32::cast_from(d);
    let rate = 1.0f32 / (variance + epsilon).sqrt();
    #[unroll]
    for k in 0..held {
        own[k] *= rate;
    }
    rate
}

#[cube(launch)]
fn forward_kernel(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
    rows: usize,
    epsilon: f32,
    #[comptime] d: usize,
) {
    let row = CUBE_POS;
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    // All units of a cube leave, or none.
    if row >= rows {
        terminate!();
    }
    let mut own = own_numbers(x, row * d, d);
    normalise(&mut own, &mut shares, epsilon, d);
    #[unroll]
    for k in 0..comptime!(d.div_ceil(UNITS)) {
        let c = UNIT_POS_X as usize + k * UNITS;
        if c < d {
            y[row * d + c] = own[k] * gamma[c] + beta[c];
        }
    }
}

/// With x̂ the normalised row and g = dy ⊙ γ: dx = (g − mean(g) − x̂ mean(g ⊙ x̂)) / sqrt(var + ε). A cube goes through a block of rows
/// and leaves Σ dy ⊙ x̂ and Σ dy of the block in `parts`, one after the other.
#[cube(launch)]
fn backward_kernel(
    x: &[f32],
    gamma: &[f32],
    d_y: &[f32],
    d_x: &mut [f32],
    parts: &mut [f32],
    rows: usize,
    rows_per_block: usize,
    epsilon: f32,
    #[comptime] d: usize,
) {
    let held = comptime!(d.div_ceil(UNITS));
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    let mut d_gamma = Array::<f32>::new(held);
    let mut d_beta = Array::<f32>::new(held);
    let mut gain = Array::<f32>::new(held);
    #[unroll]
    for k in 0..held {
        d_gamma[k] = f32::new(0.0);
        d_beta[k] = f32::new(0.0);
        gain[k] = f32::new(0.0);
        let c = UNIT_POS_X as usize + k * UNITS;
        if c < d {
            gain[k] = gamma[c];
        }
    }
    let mut row = CUBE_POS_X as usize * rows_per_block;
    let mut end = row + rows_per_block;
    if end > rows {
        end = rows;
    }
    while row < end {
        let mut normal = own_numbers(x, row * d, d);
        let rate = normalise(&mut normal, &mut shares, epsilon, d);
        let slope = own_numbers(d_y, row * d, d);
        let mut total = f32::new(0.0);
        let mut product = f32::new(0.0);
        #[unroll]
        for k in 0..held {
            total += slope[k] * gain[k];
            product += slope[k] * gain[k] * normal[k];
            d_gamma[k] += slope[k] * normal[k];
            d_beta[k] += slope[k];
        }
        let mean = sum_over_cube(&mut shares, total, UNITS) / f32::cast_from(d);
        let projection = sum_over_cube(&mut shares, product, UNITS) / f32::cast_from(d);
        #[unroll]
        for k in 0..held {
            let c = UNIT_POS_X as usize + k * UNITS;
            if c < d {
                d_x[row * d + c] = (slope[k] * gain[k] - mean - normal[k] * projection) * rate;
            }
        }
        row += 1;
    }
    let start = CUBE_POS_X as usize * 2 * d;
    #[unroll]
    for k in 0..held {
        let c = UNIT_POS_X as usize + k * UNITS;
        if c < d {
            parts[start + c] = d_gamma[k];
            parts[start + d + c] = d_beta[k];
        }
    }
}

impl NormaliseRows for CubeBackend {
    fn normalise_rows(x: CubeTensor, gamma: CubeTensor, beta: CubeTensor, epsilon: f64) -> CubeTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(dense);
        let d = gamma.meta.shape().num_elements();
        let rows = rows_of(&x, d);
        let y = empty_like(&x, x.shape(), DType::F32);
        let units = CubeDim::new_1d(UNITS as u32);
        let (count, epsilon) = (cube_each(rows), epsilon as f32);
        forward_kernel::launch(
            &x.client,
            count,
            units,
            buffer(&x),
            buffer(&gamma),
            buffer(&beta),
            buffer(&y),
            rows,
            epsilon,
            d,
        );
        y
    }
}

impl NormaliseRowsPasses for CubeBackend {
    fn normalise_rows_backward(x: CubeTensor, gamma: CubeTensor, d_y: CubeTensor, epsilon: f64) -> [CubeTensor; 3] {
        let [x, gamma, d_y] = [x, gamma, d_y].map(dense);
        let d = gamma.meta.shape().num_elements();
        let rows = rows_of(&x, d);
        let rows_per_block = rows.div_ceil(MOST_BLOCKS);
        let blocks = rows.div_ceil(rows_per_block);
        let d_x = empty_like(&x, x.shape(), DType::F32);
        let parts = empty_like(&x, [blocks, 2 * d], DType::F32);
        backward_kernel::launch(
            &x.client,
            CubeCount::Static(blocks as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            buffer(&x),
            buffer(&gamma),
            buffer(&d_y),
            buffer(&d_x),
            buffer(&parts),
            rows,
            rows_per_block,
            epsilon as f32,
            d,
        );
        let mut sums = column_sums(parts, &[d, d]).into_iter();
        let (Some(d_gamma), Some(d_beta)) = (sums.next(), sums.next()) else { unreachable!("one sum per width") };
        [d_x, d_gamma, d_beta]
    }
}
