//! Several affine maps of one input as one product.

#[cfg(feature = "gpu")]
mod gpu;

use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use burn::{backend::Dispatch, tensor::DType};

#[cfg(feature = "gpu")]
use crate::is_cube;
use crate::{Precision, linear};
#[cfg(feature = "gpu")]
use gpu::Joined;

/// `[x W_1 + b_1 | x W_2 + b_2 | x W_3 + b_3]`, side by side in each row, each as [`linear()`] computes it.
///
/// # Shapes
/// x `[batch, rows, d_in]`, weights `[d_in, d_k]`, biases `[d_k]` -> `[batch, rows, d_1 + d_2 + d_3]`
///
/// # Panics
/// When the sizes disagree, or the device does not [have](Precision::is_available) the precision.
pub fn joined(x: Tensor<3>, weights: [Tensor<2>; 3], biases: [Tensor<1>; 3], precision: Precision) -> Tensor<3> {
    let [.., d_in] = x.dims();
    let pairs = || weights.iter().zip(&biases);
    assert!(pairs().all(|(w, b)| w.dims() == [d_in, b.dims()[0]]), "a weight is [d_in, d_k] and its bias [d_k]");
    #[cfg(feature = "gpu")]
    if is_cube(&x.device()) && pairs().all(|(w, b)| [x.dtype(), w.dtype(), b.dtype()] == [DType::F32; 3]) {
        let [w_1, w_2, w_3] = weights.map(Tensor::into_dispatch);
        let [b_1, b_2, b_3] = biases.map(Tensor::into_dispatch);
        let x = x.into_dispatch();
        return Tensor::from_dispatch(<Dispatch as Joined>::joined(x, w_1, w_2, w_3, b_1, b_2, b_3, precision));
    }
    let maps = weights.into_iter().zip(biases).map(|(weight, bias)| linear(x.clone(), weight, Some(bias), precision));
    Tensor::cat(maps.collect(), 2)
}
