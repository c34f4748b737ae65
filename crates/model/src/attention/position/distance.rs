//! Numbers by the distance of a query and a key, of which biases are made.

use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData};

/// Rows of fixed numbers by distance, computed at first use and kept for sequences of the model's length.
#[derive(Clone, Debug)]
pub(super) struct ByDistance {
    seq_len: usize,
    /// `[rows, 2 seq_len − 1]`
    longest: OnceLock<Tensor<2>>,
}

impl ByDistance {
    pub(super) fn new(seq_len: usize) -> Self {
        Self { seq_len, longest: OnceLock::new() }
    }

    /// The values of row and offset j − i for `q_len` queries and `k_len` keys, the last of which have the same position. The function
    /// must be the same at each call.
    ///
    /// # Shapes
    /// result `[rows, q_len + k_len − 1]`
    pub(super) fn rows(
        &self,
        [q_len, k_len]: [usize; 2],
        device: &Device,
        rows: usize,
        value: impl Fn(usize, isize) -> f32,
    ) -> Tensor<2> {
        let new = |[q_len, k_len]: [usize; 2], device: &Device| {
            let distances = q_len + k_len - 1;
            // Entry k_len − 1 belongs to a query and a key at the same position.
            let offset = |at: usize| at.cast_signed() - (k_len - 1).cast_signed();
            let values: Vec<f32> = (0..rows)
                .flat_map(|row| (0..distances).map(move |at| (row, offset(at))))
                .map(|(row, offset)| value(row, offset))
                .collect();
            Tensor::from_data(TensorData::new(values, [rows, distances]), device)
        };
        if q_len.max(k_len) > self.seq_len {
            return new([q_len, k_len], device);
        }
        let longest = self.longest.get_or_init(|| new([self.seq_len; 2], &device.clone().inner())).clone();
        if longest.dims()[0] != rows {
            return new([q_len, k_len], device);
        }
        let longest = if device.is_autodiff() { Tensor::from_inner(longest) } else { longest };
        if q_len + k_len == 2 * self.seq_len {
            longest
        } else {
            longest.narrow(1, self.seq_len - k_len, q_len + k_len - 1)
        }
    }
}
