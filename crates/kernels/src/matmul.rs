//! Products of matrices: the one place where they are multiplied on a device, in a precision that is said.
//!
//! burn's own product of f32 tensors sees 11 bits of them on every NVIDIA GPU whose matrix units have tf32.

use burn::{
    backend::Dispatch,
    tensor::{DType, Tensor},
};

use crate::{Precision, is_cube, is_flex, linear, product::Product};

/// A B, with the operands rounded to the precision, and summed in f32; so are its gradients dA = dC Bᵀ and dB = Aᵀ dC.
///
/// # Shapes
/// a `[…, m, k]`, b `[…, k, n]`, both in f32 -> `[…, m, n]`. The axes before are the same, or all those of b are 1.
///
/// # Panics
/// When the sizes disagree, or the device does not [have](Precision::is_available) the precision.
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>, precision: Precision) -> Tensor<D> {
    let device = a.device();
    assert!(precision.is_available(&device), "the device has no {}", precision.name());
    let is_f32 = [a.dtype(), b.dtype()] == [DType::F32; 2];
    if !is_f32 || !is_cube(&device) && (precision == Precision::F32 || !is_flex(&device)) {
        return a.matmul(b);
    }
    let (of_a, of_b) = (a.dims(), b.dims());
    if of_b[..D - 2].iter().all(|axis| *axis == 1) {
        return linear(a, b.reshape([of_b[D - 2], of_b[D - 1]]), None, precision);
    }
    assert_eq!(of_a[..D - 2], of_b[..D - 2], "as many matrices on both sides");
    assert_eq!(of_a[D - 1], of_b[D - 2], "as many columns as rows");
    Tensor::from_dispatch(Dispatch::product(a.into_dispatch(), b.into_dispatch(), precision))
}
