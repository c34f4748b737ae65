//! Between burn's strided tensors and the rows that the kernels read and write.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

use crate::{attention::Sizes, flex::flat};

/// The tensor itself when its last axis is dense, else a copy whose is.
pub(super) fn with_unit_columns(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    if strides.iter().all(|stride| *stride >= 0) && strides.last() == Some(&1) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Rows of a tensor `[batch, heads, rows, width]` with any strides but a dense last axis.
pub(super) struct Heads<'a> {
    entries: &'a [f32],
    strides: [usize; 3],
    width: usize,
}

impl<'a> Heads<'a> {
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        Self {
            entries: &tensor.storage::<f32>()[layout.start_offset()..],
            strides: [stride(0), stride(1), stride(2)],
            width: layout.shape()[3],
        }
    }

    pub(super) fn row(&self, [batch, head]: [usize; 2], row: usize) -> &'a [f32] {
        let [b, h, r] = self.strides;
        &self.entries[batch * b + head * h + row * r..][..self.width]
    }
}

/// A result `[batch, heads, rows, width]` that many threads fill, each its own rows.
///
/// In memory it is `[batch, rows, heads, width]`, so that merging the heads afterwards moves nothing.
pub(super) struct Buffer {
    /// Empty, with room for every number.
    entries: Vec<f32>,
    /// Where that room begins.
    start: *mut f32,
    shape: [usize; 4],
}

// SAFETY: shared access goes through `row_mut` only, which touches nothing but the row asked for, and whose caller promises
// that no two threads ask for the same one.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Room for a result.
    pub(super) fn new([batch, heads, rows, width]: [usize; 4]) -> Self {
        let mut entries = Vec::with_capacity(batch * heads * rows * width);
        let start = entries.as_mut_ptr();
        Self { entries, start, shape: [batch, heads, rows, width] }
    }

    /// One row to write; what stands in it before means nothing.
    ///
    /// # Safety
    /// While the row is borrowed, nobody else asks for it.
    #[allow(clippy::mut_from_ref, reason = "rows are disjoint, and each is asked for by one task")]
    pub(super) unsafe fn row_mut(&self, [batch, head]: [usize; 2], row: usize) -> &mut [f32] {
        let [batches, heads, rows, width] = self.shape;
        assert!(batch < batches && head < heads && row < rows);
        let start = ((batch * rows + row) * heads + head) * width;
        // SAFETY: the assertion keeps the row inside the room, which does not move while `self` lives; any bits make a number,
        // and the caller rules out overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), width) }
    }

    /// The numbers as they lie in memory.
    ///
    /// # Safety
    /// Every row has been written.
    pub(super) unsafe fn into_entries(mut self) -> Vec<f32> {
        // SAFETY: so many were asked for, and the caller has written them.
        unsafe { self.entries.set_len(self.shape.iter().product()) };
        self.entries
    }

    /// The result as a tensor `[batch, heads, rows, width]`.
    ///
    /// # Safety
    /// Every row has been written.
    pub(super) unsafe fn into_tensor(self) -> FlexTensor {
        let [batch, heads, rows, width] = self.shape;
        // SAFETY: passed on to the caller.
        tensor_of(unsafe { self.into_entries() }, [batch, heads, rows, width])
    }
}

/// Numbers that lie as those of a [`Buffer`] do.
pub(super) fn tensor_of(entries: Vec<f32>, [batch, heads, rows, width]: [usize; 4]) -> FlexTensor {
    let strides = [rows * heads * width, width, heads * width, 1].map(usize::cast_signed).to_vec();
    let layout = Layout::new(Shape::from([batch, heads, rows, width]), strides, 0);
    FlexTensor::new(Bytes::from_elems(entries), layout, DType::F32)
}

/// Biases per head in units of log 2, with `room` further numbers, so that a vector may reach beyond the last.
pub(super) fn bias_rows(bias: &FlexTensor, sizes: Sizes, room: usize) -> Vec<Vec<f32>> {
    let in_exponents =
        |row: &[f32]| row.iter().map(|b| b * std::f32::consts::LOG2_E).chain(std::iter::repeat_n(0.0, room)).collect();
    flat(bias).chunks_exact(sizes.distances()).map(in_exponents).collect()
}
