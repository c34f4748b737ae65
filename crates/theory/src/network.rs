//! A construction's network in double precision: what a theorem describes, before it becomes a model.

use headway_model::{AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
use headway_plain::{
    Readout,
    network::{Head, InputMap, Linear, Matrix, Sight, attend},
};

use crate::space::Space;

/// Attention layers, each after its own affine map, and a readout: [`headway_model::AttentionStack`] in double precision.
///
/// Heads have neither biases nor a factor on their scores; the model divides scores by sqrt(d_key), and the weights
/// compensate for it.
#[derive(Clone, Debug)]
pub struct Network {
    /// Number of positions of a sequence.
    pub seq_len: usize,
    /// Input numbers per position.
    pub d_in: usize,
    /// Output numbers per position.
    pub d_out: usize,
    /// Layers, first to last.
    pub layers: Vec<Layer>,
    /// Computes the output from the last layer's rows.
    pub readout: Readout,
    /// Whether a row sees only itself, the rows above it, and rows that belong to no position.
    pub causal: bool,
}

/// An affine map to rows of named columns, followed by attention from its queries to its keys.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the columns mean.
    pub space: Space,
    /// The map.
    pub map: InputMap,
    /// Heads; their outputs are summed.
    pub heads: Vec<Head>,
}

impl Layer {
    /// Number of rows after the map.
    pub fn rows(&self) -> usize {
        self.map.constant.nrows()
    }

    /// Number of columns of the layer's output.
    ///
    /// # Panics
    /// If it has no heads.
    pub fn d_out(&self) -> usize {
        self.heads[0].output.ncols()
    }

    /// What comes out of it. `[rows_in, d_in]` -> `[queries, d_out]`
    pub(crate) fn forward(&self, x: &Matrix, causal: bool) -> Matrix {
        let z = self.map.forward(x); // [rows, width]
        let first_key = self.rows() - self.map.keys;
        let sight = if causal { Sight::Causal { own: x.nrows(), first_key } } else { Sight::All };
        attend(&self.heads, &self.map.queries(&z), &self.map.keys(&z), sight, self.d_out())
    }

    /// Groups of neighbouring heads of the same size.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Head]> {
        self.heads.chunk_by(|a, b| sizes(a, 1) == sizes(b, 1))
    }
}

fn sizes(head: &Head, count: usize) -> Heads {
    let [d_key, d_value] = [&head.query, &head.value].map(|map| map.weight.ncols());
    Heads { count, d_key, d_value }
}

impl Network {
    /// Output for one sequence, computed in double precision.
    ///
    /// # Shapes
    /// `[seq_len · d_in]` -> `[seq_len · d_out]`, row by row
    ///
    /// # Panics
    /// If the input has another size.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let x = Matrix::from_row_slice(self.seq_len, self.d_in, x);
        let h = self.layers.iter().fold(x, |h, layer| layer.forward(&h, self.causal));
        self.readout.forward(h, self.seq_len)
    }

    /// The sizes as a model's config; neighbouring heads of the same size become one group.
    pub fn config(&self) -> AttentionStackConfig {
        let layers = self.layers.iter().map(|layer| {
            let (rows, width) = layer.map.constant.shape();
            let some_of_rows = |part| (part < rows).then_some(part);
            StackLayer {
                map: match layer.map.linear {
                    Linear::TokenWise(_) => StackMap::TokenWise,
                    Linear::SequenceWise(_) => StackMap::SequenceWise,
                },
                rows,
                width,
                queries: some_of_rows(layer.map.queries),
                keys: some_of_rows(layer.map.keys),
                heads: layer.groups().map(|heads| sizes(&heads[0], heads.len())).collect(),
                d_out: layer.d_out(),
            }
        });
        let readout = match &self.readout {
            Readout::Rows => StackReadout::Rows,
            Readout::Affine { .. } => StackReadout::Affine,
            Readout::Softmax { values, .. } => StackReadout::Softmax { width: values.nrows(), d_value: values.ncols() },
        };
        AttentionStackConfig {
            layers: layers.collect(),
            readout,
            causal: self.causal,
            ..AttentionStackConfig::default()
        }
    }
}
