//! Rows of a set that lies on a device.

use burn::tensor::{Int, Tensor, kind::Basic};

/// `set[rows[i]]` for each i, along the first axis.
///
/// # Panics
/// On a GPU when the set is tracked by autodiff or has gaps; elsewhere when it has no such row.
pub fn rows_of_set<const D: usize, K: Basic>(set: &Tensor<D, K>, rows: &Tensor<1, Int>) -> Tensor<D, K> {
    #[cfg(feature = "gpu")]
    if crate::is_cube(&set.device()) {
        return gpu::taken(set, rows);
    }
    set.clone().select(0, rows.clone())
}

/// Puts [`rows_of_set`] into a tensor of that shape. On a GPU they are written where its numbers lie, so that whoever else holds the
/// tensor, and every launch that was given it, sees them; elsewhere the tensor is a new one.
///
/// # Panics
/// As [`rows_of_set`]; on a GPU also when the tensor has gaps or another shape.
pub fn put_rows_of_set<const D: usize, K: Basic>(set: &Tensor<D, K>, rows: &Tensor<1, Int>, into: &mut Tensor<D, K>) {
    #[cfg(feature = "gpu")]
    if crate::is_cube(&set.device()) {
        return gpu::put(set, rows, into);
    }
    *into = rows_of_set(set, rows);
}

#[cfg(feature = "gpu")]
mod gpu {
    use burn::{
        backend::{BackendTensor, DispatchTensor, DispatchTensorKind},
        tensor::{Int, Tensor, kind::Basic},
    };
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::{calculate_cube_count_elemwise, prelude::*};

    use crate::gpu::{UNITS, buffer, empty_like};

    /// Numbers are moved, whatever they are.
    #[cube(launch)]
    fn rows_kernel(set: &[u32], rows: &[i32], into: &mut [u32], numbers: usize, width: usize) {
        let at = ABSOLUTE_POS;
        if at < numbers {
            into[at] = set[rows[at / width] as usize * width + at % width];
        }
    }

    /// The tensor beneath.
    fn beneath<const D: usize, K: Basic>(tensor: &Tensor<D, K>) -> CubeTensor {
        match tensor.clone().into_dispatch().kind {
            DispatchTensorKind::Cube(BackendTensor::Float(tensor) | BackendTensor::Int(tensor)) => {
                assert!(tensor.is_contiguous() && tensor.elem_size() == 4, "32-bit numbers in one piece");
                tensor
            }
            other => panic!("all are on one GPU and none is tracked, not {other:?}"),
        }
    }

    fn launch(set: &CubeTensor, rows: &CubeTensor, into: &CubeTensor) {
        let numbers = into.meta.shape().num_elements();
        let units = CubeDim::new_1d(UNITS as u32);
        rows_kernel::launch(
            &set.client,
            calculate_cube_count_elemwise(&set.client, numbers, units),
            units,
            buffer(set),
            buffer(rows),
            buffer(into),
            numbers,
            numbers / rows.meta.shape().num_elements().max(1),
        );
    }

    pub(super) fn taken<const D: usize, K: Basic>(set: &Tensor<D, K>, rows: &Tensor<1, Int>) -> Tensor<D, K> {
        let (from, rows) = (beneath(set), beneath(rows));
        let mut shape = from.meta.shape().clone();
        shape[0] = rows.meta.shape().num_elements();
        let into = empty_like(&from, shape, from.dtype);
        launch(&from, &rows, &into);
        let DispatchTensor { kind, autodiff } = set.clone().into_dispatch();
        let into = match kind {
            DispatchTensorKind::Cube(BackendTensor::Int(_)) => BackendTensor::Int(into),
            _ => BackendTensor::Float(into),
        };
        Tensor::from_dispatch(DispatchTensor { kind: DispatchTensorKind::Cube(into), autodiff })
    }

    pub(super) fn put<const D: usize, K: Basic>(set: &Tensor<D, K>, rows: &Tensor<1, Int>, into: &mut Tensor<D, K>) {
        assert!(into.dims()[0] == rows.dims()[0] && into.dims()[1..] == set.dims()[1..], "rows of the set");
        launch(&beneath(set), &beneath(rows), &beneath(into));
    }
}
