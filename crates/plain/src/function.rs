//! A whole network as plain matrices in f64: from the numbers of a sequence to those of the answer.

use crate::{
    network::{Affine, InputMap, LayerNorm, Matrix, Network, flattened, normed, softmax},
    readout::Readout,
};

/// What follows the last layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Exit {
    /// What a stack has: it may read all rows together.
    Stack(Readout),
    /// y_i = norm(h_i) W + b for each of the first `seq_len` rows.
    Rows {
        /// The norm, if there is one.
        norm: Option<LayerNorm>,
        /// Whether the mean of the normalised rows stands for every one of them.
        pooled: bool,
        /// W and b.
        map: Affine,
    },
    /// y_i = Σ_c softmax(h_i)_c h_ic for each of the first `seq_len` rows.
    SoftmaxOfChannels,
}

/// A network from its input to its prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Number of positions.
    pub seq_len: usize,
    /// Numbers per position.
    pub d_in: usize,
    /// Predicted numbers per position: the first of what the exit computes.
    pub d_out: usize,
    /// Map before the first layer; `None` if that has a map of its own.
    pub enter: Option<InputMap>,
    /// The layers.
    pub network: Network,
    /// What follows them.
    pub exit: Exit,
}

impl Function {
    /// The prediction for one sequence.
    ///
    /// # Shapes
    /// `[seq_len · d_in]` -> `[seq_len · d_out]`, row by row
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let x = Matrix::from_row_slice(self.seq_len, self.d_in, x);
        let entering = self.enter.as_ref().map_or_else(|| x.clone(), |map| map.forward(&x));
        let mut states = self.network.forward(&entering);
        let h = states.pop().unwrap_or(entering);
        let y = match &self.exit {
            Exit::Stack(readout) => readout.forward(h, self.seq_len),
            Exit::Rows { norm, pooled, map } => {
                let mut h = normed(norm.as_ref(), &h.rows(0, self.seq_len).into_owned());
                if *pooled {
                    let mean = h.row_mean();
                    h.row_iter_mut().for_each(|mut row| row.copy_from(&mean));
                }
                flattened(&map.forward(&h))
            }
            Exit::SoftmaxOfChannels => (0..self.seq_len)
                .map(|i| {
                    let mut weights = h.row(i).into_owned();
                    softmax(&mut weights);
                    weights.dot(&h.row(i))
                })
                .collect(),
        };
        let width = y.len() / self.seq_len;
        y.chunks_exact(width).flat_map(|row| row[..self.d_out].iter().copied()).collect()
    }
}
