//! Conversion between burn's strided tensors and the rows that the kernels read and write.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

use crate::{attention::Sizes, flex::flat};

/// The tensor itself if its last axis is dense, else a copy with a dense last axis.
pub(in crate::attention) fn with_unit_columns(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    if strides.iter().all(|stride| *stride >= 0) && strides.last() == Some(&1) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Rows of a tensor `[batch, heads, rows, width]` with any strides but a dense last axis.
pub(in crate::attention) struct Heads<'a> {
    entries: &'a [f32],
    strides: [usize; 3],
    width: usize,
}

impl<'a> Heads<'a> {
    pub(in crate::attention) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        Self {
            entries: &tensor.storage::<f32>()[layout.start_offset()..],
            strides: [stride(0), stride(1), stride(2)],
            width: layout.shape()[3],
        }
    }

    pub(in crate::attention) fn row(&self, [batch, head]: [usize; 2], row: usize) -> &'a [f32] {
        let [b, h, r] = self.strides;
        &self.entries[batch * b + head * h + row * r..][..self.width]
    }
}

/// A result `[batch, heads, rows, width]` that many threads write, each its own rows.
///
/// In memory it is `[batch, rows, heads, width]`, so that merging the heads afterwards moves nothing.
pub(in crate::attention) struct Buffer {
    /// Empty, with capacity for every entry.
    entries: Vec<f32>,
    /// Start of that capacity.
    start: *mut f32,
    shape: [usize; 4],
}

// SAFETY: shared access goes through `row_mut` only, which touches nothing but the requested row, and whose caller
// promises that no two threads request the same row.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates a result.
    pub(in crate::attention) fn new([batch, heads, rows, width]: [usize; 4]) -> Self {
        let mut entries = Vec::with_capacity(batch * heads * rows * width);
        let start = entries.as_mut_ptr();
        Self { entries, start, shape: [batch, heads, rows, width] }
    }

    /// One row to be written; it is uninitialised.
    ///
    /// # Safety
    /// No other borrow of the same row may exist.
    #[allow(clippy::mut_from_ref, reason = "rows are disjoint, and each is asked for by one task")]
    pub(in crate::attention) unsafe fn row_mut(&self, [batch, head]: [usize; 2], row: usize) -> &mut [f32] {
        let [batches, heads, rows, width] = self.shape;
        assert!(batch < batches && head < heads && row < rows);
        let start = ((batch * rows + row) * heads + head) * width;
        // SAFETY: the assertion keeps the row inside the capacity, which does not move while `self` lives; every bit
        // pattern is an f32, and the caller rules out overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), width) }
    }

    /// The entries in the order in which they are stored.
    ///
    /// # Safety
    /// Every row must have been written.
    pub(in crate::attention) unsafe fn into_entries(mut self) -> Vec<f32> {
        // SAFETY: this capacity was reserved, and the caller has written every entry.
        unsafe { self.entries.set_len(self.shape.iter().product()) };
        self.entries
    }

    /// The result as a tensor `[batch, heads, rows, width]`.
    ///
    /// # Safety
    /// Every row must have been written.
    pub(in crate::attention) unsafe fn into_tensor(self) -> FlexTensor {
        let [batch, heads, rows, width] = self.shape;
        // SAFETY: the same condition holds for the caller of this function.
        tensor_of(unsafe { self.into_entries() }, [batch, heads, rows, width])
    }
}

/// A tensor from entries stored in the order of a [`Buffer`].
pub(in crate::attention) fn tensor_of(entries: Vec<f32>, [batch, heads, rows, width]: [usize; 4]) -> FlexTensor {
    let strides = [rows * heads * width, width, heads * width, 1].map(usize::cast_signed).to_vec();
    let layout = Layout::new(Shape::from([batch, heads, rows, width]), strides, 0);
    FlexTensor::new(Bytes::from_elems(entries), layout, DType::F32)
}

/// Biases of each head in units of log 2, followed by `room` further entries, so that a vector may extend beyond the
/// last.
pub(in crate::attention) fn bias_rows(bias: &FlexTensor, sizes: Sizes, room: usize) -> Vec<Vec<f32>> {
    let in_exponents =
        |row: &[f32]| row.iter().map(|b| b * std::f32::consts::LOG2_E).chain(std::iter::repeat_n(0.0, room)).collect();
    flat(bias).chunks_exact(sizes.distances()).map(in_exponents).collect()
}
