//! A construction's network, in double precision: what a theorem writes down, before it becomes a model.

use headway_model::{AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
use nalgebra::DMatrix;

use crate::space::Space;

/// A matrix in double precision.
pub type Matrix = DMatrix<f64>;

/// Attention layers, each after its own affine map, and a readout: [`headway_model::AttentionStack`] in double precision.
///
/// Scores are q·k, without a factor; the model divides them by sqrt(d_key), which its weights make up for.
#[derive(Clone, Debug)]
pub struct Network {
    /// Positions of a sequence.
    pub seq_len: usize,
    /// Numbers per position, in.
    pub d_in: usize,
    /// Numbers per position, out.
    pub d_out: usize,
    /// Layers, first to last.
    pub layers: Vec<Layer>,
    /// From the last layer's rows to the output.
    pub readout: Readout,
}

/// An affine map to rows of named columns, then attention of the first `queries` rows to the last `keys` rows.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the columns mean.
    pub space: Space,
    /// The map.
    pub map: Map,
    /// Rows that ask, and leave the layer.
    pub queries: usize,
    /// Rows that answer.
    pub keys: usize,
    /// Heads; their outputs are summed.
    pub heads: Vec<Head>,
}

/// An affine map.
#[derive(Clone, Debug)]
pub enum Map {
    /// z_i = x_i W + p_i; rows beyond those that come in are p_i alone.
    TokenWise {
        /// W. `[d_in, width]`
        weight: Matrix,
        /// p. `[rows, width]`
        position: Matrix,
    },
    /// vec(Z) = vec(X) W + vec(B), row by row.
    SequenceWise {
        /// W. `[rows_in · d_in, rows · width]`
        weight: Matrix,
        /// B. `[rows, width]`
        bias: Matrix,
    },
}

/// One head: softmax(Z W_Q (Z W_K)ᵀ) Z W_V W_O.
#[derive(Clone, Debug)]
pub struct Head {
    /// W_Q. `[width, d_key]`
    pub query: Matrix,
    /// W_K. `[width, d_key]`
    pub key: Matrix,
    /// W_V. `[width, d_value]`
    pub value: Matrix,
    /// W_O. `[d_value, d_out]`
    pub output: Matrix,
}

/// From the last layer's rows H to the output Y.
#[derive(Clone, Debug)]
pub enum Readout {
    /// The first `seq_len` rows.
    Rows,
    /// vec(Y) = vec(H) W + b.
    Affine {
        /// W. `[rows · width, seq_len · d_out]`
        weight: Matrix,
        /// b. `[1, seq_len · d_out]`
        bias: Matrix,
    },
    /// U = softmax(H K + c) V by rows, then vec(Y) = vec(U) W + b.
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

impl Head {
    /// A head of zeros for rows of these columns.
    pub fn new(space: &Space, d_key: usize, d_value: usize, d_out: usize) -> Self {
        let width = space.width();
        Self {
            query: Matrix::zeros(width, d_key),
            key: Matrix::zeros(width, d_key),
            value: Matrix::zeros(width, d_value),
            output: Matrix::zeros(d_value, d_out),
        }
    }

    fn run(&self, asking: &Matrix, answering: &Matrix) -> Matrix {
        let scores = asking * &self.query * (answering * &self.key).transpose(); // [queries, keys]
        softmax_rows(scores) * (answering * &self.value) * &self.output // [queries, d_out]
    }
}

/// exp(s_j) / Σ_k exp(s_k) in every row.
pub fn softmax_rows(mut scores: Matrix) -> Matrix {
    for mut row in scores.row_iter_mut() {
        let top = row.max();
        row.apply(|score| *score = (*score - top).exp());
        let sum = row.sum();
        row /= sum;
    }
    scores
}

/// The rows of a matrix one after the other.
pub fn flatten(matrix: &Matrix) -> Vec<f64> {
    matrix.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect()
}

impl Map {
    /// A token-wise map of zeros from `d_in` numbers to `rows` rows of these columns.
    pub fn token_wise(space: &Space, d_in: usize, rows: usize) -> Self {
        Self::TokenWise { weight: Matrix::zeros(d_in, space.width()), position: Matrix::zeros(rows, space.width()) }
    }

    /// A sequence-wise map of zeros from `flat_in` numbers to `rows` rows of these columns.
    pub fn sequence_wise(space: &Space, flat_in: usize, rows: usize) -> Self {
        let width = space.width();
        Self::SequenceWise { weight: Matrix::zeros(flat_in, rows * width), bias: Matrix::zeros(rows, width) }
    }

    /// Rows that leave the map.
    pub fn rows(&self) -> usize {
        match self {
            Self::TokenWise { position: constant, .. } | Self::SequenceWise { bias: constant, .. } => constant.nrows(),
        }
    }

    /// The constant part, position bias or bias. `[rows, width]`
    pub fn constant(&mut self) -> &mut Matrix {
        match self {
            Self::TokenWise { position: constant, .. } | Self::SequenceWise { bias: constant, .. } => constant,
        }
    }

    fn run(&self, x: &Matrix) -> Matrix {
        match self {
            Self::TokenWise { weight, position } => {
                let mut z = position.clone();
                let tokens = x * weight; // [rows_in, width]
                z.rows_mut(0, tokens.nrows()).zip_apply(&tokens, |z, token| *z += token);
                z
            }
            Self::SequenceWise { weight, bias } => {
                let flat = Matrix::from_vec(1, x.len(), flatten(x)) * weight; // [1, rows · width]
                Matrix::from_row_slice(bias.nrows(), bias.ncols(), flat.as_slice()) + bias
            }
        }
    }
}

impl Layer {
    /// Rows after the map.
    pub fn rows(&self) -> usize {
        self.map.rows()
    }

    fn run(&self, x: &Matrix) -> Matrix {
        let z = self.map.run(x); // [rows, width]
        let asking = z.rows(0, self.queries).into_owned();
        let answering = z.rows(z.nrows() - self.keys, self.keys).into_owned();
        let mut heads = self.heads.iter().map(|head| head.run(&asking, &answering));
        let first = heads.next().unwrap_or_else(|| panic!("a layer has heads"));
        heads.fold(first, |sum, head| sum + head)
    }
}

impl Network {
    /// The output of one sequence, every step in double precision.
    ///
    /// # Shapes
    /// `[seq_len · d_in]` -> `[seq_len · d_out]`, row by row
    ///
    /// # Panics
    /// When the input has another size.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let x = Matrix::from_row_slice(self.seq_len, self.d_in, x);
        let h = self.layers.iter().fold(x, |h, layer| layer.run(&h));
        match &self.readout {
            Readout::Rows => flatten(&h.rows(0, self.seq_len).into_owned()),
            Readout::Affine { weight, bias } => affine(&h, weight, bias),
            Readout::Softmax { scores, scores_bias, values, weight, bias } => {
                let mut channels = h * scores; // [rows, channels]
                channels.row_iter_mut().for_each(|mut row| row += scores_bias);
                affine(&(softmax_rows(channels) * values), weight, bias)
            }
        }
    }

    /// The sizes as a model's config; neighbouring heads of one size become one group.
    pub fn config(&self) -> AttentionStackConfig {
        let layers = self.layers.iter().map(|layer| {
            let (rows, width) = (layer.rows(), layer.space.width());
            let some_of_rows = |part| (part < rows).then_some(part);
            StackLayer {
                map: match layer.map {
                    Map::TokenWise { .. } => StackMap::TokenWise,
                    Map::SequenceWise { .. } => StackMap::SequenceWise,
                },
                rows,
                width,
                queries: some_of_rows(layer.queries),
                keys: some_of_rows(layer.keys),
                heads: layer.groups().map(|heads| heads[0].sizes(heads.len())).collect(),
                d_out: layer.heads[0].output.ncols(),
            }
        });
        let readout = match &self.readout {
            Readout::Rows => StackReadout::Rows,
            Readout::Affine { .. } => StackReadout::Affine,
            Readout::Softmax { values, .. } => StackReadout::Softmax { width: values.nrows(), d_value: values.ncols() },
        };
        AttentionStackConfig { layers: layers.collect(), readout, ..AttentionStackConfig::default() }
    }
}

impl Layer {
    /// Neighbouring heads of one size.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Head]> {
        self.heads.chunk_by(|a, b| a.sizes(1) == b.sizes(1))
    }
}

impl Head {
    pub(crate) fn sizes(&self, count: usize) -> Heads {
        Heads { count, d_key: self.query.ncols(), d_value: self.value.ncols() }
    }
}

fn affine(h: &Matrix, weight: &Matrix, bias: &Matrix) -> Vec<f64> {
    let y = Matrix::from_vec(1, h.len(), flatten(h)) * weight + bias;
    y.as_slice().to_vec()
}
