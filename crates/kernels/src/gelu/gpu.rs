//! The exact GELU: one launch forward, one backward.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::{backend::TensorMetadata, tensor::DType};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{DENSITY_AT_ZERO, ERFC, ExactGelu, ExactGeluPasses};
use crate::gpu::{UNITS, buffer, dense, empty_like};

/// x Φ(x), or dy (Φ(x) + x φ(x)) where there is a gradient of the output.
#[cube(launch)]
fn gelu_kernel(x: &[f32], d_y: ComptimeOption<&Tensor<f32>>, to: &mut [f32], numbers: usize) {
    let at = ABSOLUTE_POS;
    if at < numbers {
        let x = x[at];
        let bell = (x * x * -0.5f32).exp();
        let t = 1.0f32 / (x.abs() * comptime!(ERFC.0 * FRAC_1_SQRT_2) + 1.0f32);
        let mut tail = f32::new(0.0);
        #[unroll]
        for k in 0..5usize {
            tail = tail * t + comptime!(ERFC.1[4 - k]);
        }
        tail = tail * t * bell * 0.5f32;
        let mut phi = 1.0f32 - tail;
        if x < 0.0f32 {
            phi = tail;
        }
        #[comptime]
        let result = match d_y {
            ComptimeOption::Some(d_y) => d_y[at] * (phi + x * bell * comptime!(DENSITY_AT_ZERO)),
            ComptimeOption::None => x * phi,
        };
        to[at] = result;
    }
}

fn run(x: CubeTensor, d_y: Option<CubeTensor>) -> CubeTensor {
    let (x, d_y) = (dense(x), d_y.map(dense));
    let to = empty_like(&x, x.shape(), DType::F32);
    let (numbers, units) = (x.meta.shape().num_elements(), CubeDim::new_1d(UNITS as u32));
    let count = calculate_cube_count_elemwise(&x.client, numbers, units);
    let d_y = d_y.map(CubeTensor::into_tensor_arg).into();
    gelu_kernel::launch(&x.client, count, units, buffer(&x), d_y, buffer(&to), numbers);
    to
}

impl ExactGelu for CubeBackend {
    fn exact_gelu(x: CubeTensor) -> CubeTensor {
        run(x, None)
    }
}

impl ExactGeluPasses for CubeBackend {
    fn exact_gelu_backward(x: CubeTensor, d_output: CubeTensor) -> CubeTensor {
        run(x, Some(d_output))
    }
}
