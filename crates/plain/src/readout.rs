//! From the hidden state after the last layer to a network's output.

use crate::network::{Matrix, Sight, flat_times, flattened, softmax_rows};

/// How a network's output Y is computed from the hidden state H after the last layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Readout {
    /// Y is the first rows of H.
    Rows,
    /// vec(Y) = vec(H) W + b.
    Affine {
        /// W. `[rows · width, seq_len · d_out]`
        weight: Matrix,
        /// b. `[1, seq_len · d_out]`
        bias: Matrix,
    },
    /// U = softmax(H K + c) V, softmax over each row, then vec(Y) = vec(U) W + b.
    Softmax {
        /// K. `[width, channels]`
        scores: Matrix,
        /// c. `[1, channels]`
        scores_bias: Matrix,
        /// V. `[channels, d_value]`
        values: Matrix,
        /// W. `[rows · d_value, seq_len · d_out]`
        weight: Matrix,
        /// b. `[1, seq_len · d_out]`
        bias: Matrix,
    },
}

impl Readout {
    /// vec(Y), where Y has `seq_len` rows.
    ///
    /// # Shapes
    /// `[rows, width]` -> `[seq_len · d_out]`, row by row
    pub fn forward(&self, h: Matrix, seq_len: usize) -> Vec<f64> {
        match self {
            Self::Rows => flattened(&h.rows(0, seq_len).into_owned()),
            Self::Affine { weight, bias } => affine(&h, weight, bias),
            Self::Softmax { scores, scores_bias, values, weight, bias } => {
                let mut channels = h * scores; // [rows, channels]
                channels.row_iter_mut().for_each(|mut row| row += scores_bias);
                affine(&(softmax_rows(channels, Sight::All) * values), weight, bias)
            }
        }
    }
}

fn affine(h: &Matrix, weight: &Matrix, bias: &Matrix) -> Vec<f64> {
    flat_times(h, weight).into_iter().zip(bias.iter()).map(|(y, b)| y + b).collect()
}
