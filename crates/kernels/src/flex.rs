//! Access to the numbers in burn-flex's tensors.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// A vector of `count` numbers written by `fill`, so that results are written once and not zeroed first. The slice
/// passed to `fill` is uninitialised.
///
/// # Safety
/// `fill` must write every entry and must not read an entry before writing it.
pub(crate) unsafe fn filled(count: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut entries: Vec<f32> = Vec::with_capacity(count);
    // SAFETY: the capacity is reserved and every bit pattern is an f32; the caller's `fill` writes each entry before it
    // is read.
    unsafe {
        fill(std::slice::from_raw_parts_mut(entries.as_mut_ptr(), count));
        entries.set_len(count);
    }
    entries
}

/// A dense tensor of the given shape, from its entries in row-major order.
pub(crate) fn dense(entries: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(entries), Layout::contiguous(shape), DType::F32)
}

/// All entries of a tensor, row-major.
pub(crate) fn flat(tensor: &FlexTensor) -> Vec<f32> {
    let tensor = tensor.to_contiguous();
    tensor.storage::<f32>()[..tensor.layout().num_elements()].to_vec()
}

/// Entries of a boolean tensor, row-major.
pub(crate) fn flags(hidden: &FlexTensor) -> Vec<u8> {
    let hidden = hidden.to_contiguous();
    hidden.bytes()[..hidden.layout().num_elements()].to_vec()
}

/// The tensor as dense f32; a tensor that already is dense f32 is returned as it is.
pub(crate) fn densified(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The entries of a [`densified`] tensor, mutable; if another tensor shares them, they are copied first.
pub(crate) fn numbers_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let (start, count) = (tensor.layout().start_offset(), tensor.layout().num_elements());
    &mut tensor.storage_mut()[start..start + count]
}

/// The entries of a [`densified`] tensor.
pub(crate) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_else(|| unreachable!("the tensor was made dense"))
}
