//! Numbers of a tensor replaced where they are.

#[cfg(feature = "gpu")]
use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::tensor::{Tensor, TensorData, kind::Basic};

/// Gives a tensor other numbers, in row-major order. On a GPU they are written where the old ones lie, so that whoever else holds
/// the tensor, and every launch that was given it, sees them; elsewhere the tensor becomes a new one.
///
/// # Panics
/// When there are not as many numbers, or on a GPU when the tensor is tracked by autodiff or has gaps: one that was made flat has
/// none.
pub fn overwrite<const D: usize, K: Basic>(tensor: &mut Tensor<D, K>, numbers: TensorData) {
    assert_eq!(numbers.num_elements(), tensor.shape().num_elements(), "as many numbers as there were");
    #[cfg(feature = "gpu")]
    if crate::is_cube(&tensor.device()) {
        let DispatchTensorKind::Cube(BackendTensor::Float(there) | BackendTensor::Int(there)) =
            tensor.clone().into_dispatch().kind
        else {
            panic!("numbers that are not tracked")
        };
        assert!(there.is_contiguous(), "numbers are written in one piece");
        let numbers = numbers.convert_dtype(there.dtype);
        there.client.write(&there.handle, numbers.into_bytes());
        return;
    }
    *tensor = Tensor::<1, K>::from_data(numbers, &tensor.device()).reshape(tensor.shape());
}
