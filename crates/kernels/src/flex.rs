//! Numbers in and out of burn-flex's tensors.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// `count` numbers that `fill` writes: results are written once, not zeroed first. What it is handed means nothing yet.
///
/// # Safety
/// `fill` writes every entry and reads none that it has not written.
pub(crate) unsafe fn filled(count: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut entries: Vec<f32> = Vec::with_capacity(count);
    // SAFETY: the room is there and any bits make a number; the caller's `fill` writes each before anyone reads it.
    unsafe {
        fill(std::slice::from_raw_parts_mut(entries.as_mut_ptr(), count));
        entries.set_len(count);
    }
    entries
}

/// A dense tensor of the given shape.
pub(crate) fn dense(entries: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(entries), Layout::contiguous(shape), DType::F32)
}

/// The whole tensor, row-major.
pub(crate) fn flat(tensor: &FlexTensor) -> Vec<f32> {
    let tensor = tensor.to_contiguous();
    tensor.storage::<f32>()[..tensor.layout().num_elements()].to_vec()
}

/// Flags of a boolean tensor, row-major.
pub(crate) fn flags(hidden: &FlexTensor) -> Vec<u8> {
    let hidden = hidden.to_contiguous();
    hidden.bytes()[..hidden.layout().num_elements()].to_vec()
}

/// A dense f32 tensor, itself where it is one.
pub(crate) fn densified(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The numbers of a [`densified`] tensor, to change; copied first where another tensor shares them.
pub(crate) fn numbers_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let (start, count) = (tensor.layout().start_offset(), tensor.layout().num_elements());
    &mut tensor.storage_mut()[start..start + count]
}

/// The numbers of a [`densified`] tensor.
pub(crate) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_else(|| unreachable!("the tensor was made dense"))
}
