//! From a network in double precision to a model: parameter names, orientation of matrices, and the factor on
//! attention's scores.

use std::collections::BTreeMap;

use burn::tensor::Device;
use headway_model::{
    IoDims, Model, ModelConfig,
    weights::{self, Array},
};
use headway_plain::{
    Readout,
    network::{Affine, Head, Linear, Matrix},
};

use crate::{
    construct::Construction,
    network::{Layer, Network},
    refusal::Refusal,
};

/// A number that float32 cannot hold is ignored if it is below this share of the largest number in its column.
const NEGLIGIBLE: f64 = 1e-15;

impl Construction {
    /// The construction itself. Refused if float32 cannot hold its weights, which is blamed on the option `key`, or the
    /// activations that its inputs lead to, which is blamed on the option `inputs`.
    pub(crate) fn in_float32(self, key: &'static str, inputs: &'static str) -> Result<Self, Refusal> {
        let this = self.weights_in_float32(key)?;
        match this.network.overflow(this.domain.reach()) {
            None => Ok(this),
            Some((part, size)) => {
                let problem = format!(
                    "lets {part} reach {size:.1e}, which with sums of them is beyond float32, whose end is {:.1e}; inputs nearer to 1 in size \
                     can be had",
                    f32::MAX
                );
                Err(Refusal::invalid(inputs, problem))
            }
        }
    }

    /// The construction itself, of which it is known that activations stay within float32. Refused as by
    /// [`Self::in_float32`] if weights do not.
    pub(crate) fn weights_in_float32(self, key: &'static str) -> Result<Self, Refusal> {
        let layers = self.network.layers.iter().enumerate();
        let in_layers =
            layers.filter_map(|(at, layer)| layer.unfit().map(|(part, w)| (format!("{part} of layer {at}"), w)));
        let in_readout = unfit_readout(&self.network.readout).map(|w| ("readout".to_owned(), w));
        if let Some((part, weight)) = in_layers.chain(in_readout).next() {
            let problem = format!(
                "would put {weight:.1e} into the {part}, which float32 does not hold; inputs and outputs nearer to 1 in size can be had"
            );
            return Err(Refusal::invalid(key, problem));
        }
        Ok(self)
    }
}

/// Activations must stay below the largest float32 divided by this, so that partial sums and factors have room.
const HEADROOM: f64 = 64.0;

impl Network {
    /// Sizes of the model's inputs and outputs.
    pub fn dims(&self) -> IoDims {
        IoDims::continuous(self.seq_len, self.d_in, self.d_out)
    }

    /// The config of the model.
    pub fn model_config(&self) -> ModelConfig {
        ModelConfig::AttentionStack(self.config())
    }

    /// Number of parameters of the model.
    pub fn parameters(&self) -> usize {
        self.model_config().budget(&self.dims()).parameters
    }

    /// The model, its weights rounded to f32.
    ///
    /// # Panics
    /// If sizes do not match, or if a head has biases or a factor on its scores, which the model cannot represent: a
    /// fault of the construction.
    pub fn assemble(&self, device: &Device) -> Model {
        let model = self.model_config().uninitialized(&self.dims(), device);
        let model = model.unwrap_or_else(|error| panic!("the sizes of a construction do not meet: {error}"));
        match weights::load(model, self.arrays()) {
            Ok((model, _)) => model,
            Err(error) => panic!("the weights of a construction do not fit its model: {error}"),
        }
    }

    /// The first activation that may overflow float32 if input numbers lie within ± `reach`, with a bound on its size;
    /// `None` if none may.
    fn overflow(&self, reach: f64) -> Option<(String, f64)> {
        let most = f64::from(f32::MAX) / HEADROOM;
        let beyond = |size: f64| size.is_nan() || size > most;
        // The largest absolute value in each column, over all rows.
        let mut columns = Matrix::from_element(1, self.d_in, reach);
        let mut rows_in = self.seq_len;
        for (at, layer) in self.layers.iter().enumerate() {
            let constant = &layer.map.constant;
            let (n_rows, width) = constant.shape();
            let rows = match &layer.map.linear {
                Linear::TokenWise(weight) => {
                    let tokens = &columns * weight.abs();
                    let largest = |column: usize| constant.column(column).amax() + tokens[column];
                    Matrix::from_fn(1, width, |_, column| largest(column))
                }
                Linear::SequenceWise(weight) => {
                    let flat = Matrix::from_fn(1, rows_in * columns.ncols(), |_, i| columns[i % columns.ncols()]);
                    let rows = flat * weight.abs(); // [1, rows · width]
                    let row = |row: usize, column: usize| rows[row * width + column] + constant[(row, column)].abs();
                    Matrix::from_fn(1, width, |_, column| (0..n_rows).map(|i| row(i, column)).fold(0.0, f64::max))
                }
            };
            let mut sum = Matrix::zeros(1, layer.heads.first()?.output.ncols());
            for head in &layer.heads {
                let (query, key) = (&rows * head.query.weight.abs(), &rows * head.key.weight.abs());
                let scores =
                    query.iter().zip(key.iter()).map(|(q, k)| q * k * (query.len() as f64).sqrt()).sum::<f64>();
                let value = &rows * head.value.weight.abs();
                sum += &value * head.output.abs();
                let parts =
                    [("queries", query.amax()), ("keys", key.amax()), ("scores", scores), ("values", value.amax())];
                if let Some((part, size)) = parts.into_iter().find(|(_, size)| beyond(*size)) {
                    return Some((format!("{part} of layer {at}"), size));
                }
            }
            if beyond(rows.amax()) || beyond(sum.amax()) {
                return Some((format!("rows of layer {at}"), rows.amax().max(sum.amax())));
            }
            (columns, rows_in) = (sum, layer.map.queries);
        }
        let output = match &self.readout {
            Readout::Rows => columns.amax(),
            Readout::Affine { weight, bias } => {
                let flat = Matrix::from_fn(1, weight.nrows(), |_, i| columns[i % columns.ncols()]);
                (flat * weight.abs() + bias.abs()).amax()
            }
            Readout::Softmax { scores, scores_bias, values, weight, bias } => {
                let channels = (&columns * scores.abs() + scores_bias.abs()).amax();
                let value = values.amax();
                channels.max(
                    weight.column_iter().map(|column| column.abs().sum() * value).fold(0.0, f64::max) + bias.amax(),
                )
            }
        };
        beyond(output).then(|| ("outputs".to_owned(), output))
    }

    /// The model's parameters by name, in the orientation of files.
    pub(crate) fn arrays(&self) -> BTreeMap<String, Array> {
        let layers = self.layers.iter().enumerate();
        let layers = layers.flat_map(|(at, layer)| layer.arrays(&format!("layers.{at}")));
        layers.chain(readout_arrays(&self.readout)).collect()
    }
}

/// A number that float32 cannot hold, among the columns of matrices stacked below each other, times a factor; `None` if
/// all fit.
fn unfit(matrices: &[&Matrix], factor: f64) -> Option<f64> {
    let columns = (0..matrices[0].ncols()).map(|column| {
        let numbers = matrices.iter().flat_map(move |matrix| (0..matrix.nrows()).map(move |row| matrix[(row, column)]));
        numbers.map(|number| number * factor)
    });
    columns.into_iter().find_map(|mut column| {
        let largest = column.clone().fold(0.0, |top: f64, number| top.max(number.abs()));
        let is_lost = |size: f64| size > 0.0 && size < f64::from(f32::MIN_POSITIVE) && size > NEGLIGIBLE * largest;
        column.find(|number| !(*number as f32).is_finite() || is_lost(number.abs()))
    })
}

impl Layer {
    /// The first number that float32 cannot hold, and the part of the network that contains it; `None` if all fit.
    fn unfit(&self) -> Option<(&'static str, f64)> {
        let constant = &self.map.constant;
        let map = match &self.map.linear {
            Linear::TokenWise(weight) => unfit(&[weight, constant], 1.0),
            // A constant that is lost must be compared with the same column in other rows.
            Linear::SequenceWise(weight) => unfit(&[weight], 1.0).or_else(|| unfit(&[constant], 1.0)),
        };
        let in_head = |head: &Head| {
            let parts = [
                ("query", &head.query.weight, (head.query.weight.ncols() as f64).sqrt()),
                ("key", &head.key.weight, 1.0),
                ("value", &head.value.weight, 1.0),
                ("output", &head.output, 1.0),
            ];
            parts.into_iter().find_map(|(part, matrix, factor)| Some((part, unfit(&[matrix], factor)?)))
        };
        map.map(|number| ("map", number)).or_else(|| self.heads.iter().find_map(in_head))
    }

    fn arrays(&self, name: &str) -> Vec<(String, Array)> {
        let constant = match &self.map.linear {
            Linear::TokenWise(_) => (format!("{name}.map.position"), rows(&self.map.constant)),
            Linear::SequenceWise(_) => (format!("{name}.map.project.bias"), flat(&self.map.constant)),
        };
        let mut arrays = vec![(format!("{name}.map.project.weight"), transposed(self.map.linear.weight())), constant];
        assert!(self.heads.iter().all(is_linear), "a head of a construction has a bias or a factor");
        for (at, heads) in self.groups().enumerate() {
            // The model divides scores by this factor.
            let factor = (heads[0].query.weight.ncols() as f64).sqrt();
            let side_by_side = |pick: fn(&Head) -> &Matrix| {
                let columns: Vec<_> = heads.iter().flat_map(|head| pick(head).column_iter()).collect();
                Matrix::from_columns(&columns)
            };
            let output: Vec<_> = heads.iter().flat_map(|head| head.output.row_iter()).collect();
            let parts = [
                ("query", side_by_side(|head| &head.query.weight) * factor),
                ("key", side_by_side(|head| &head.key.weight)),
                ("value", side_by_side(|head| &head.value.weight)),
                ("output", Matrix::from_rows(&output)),
            ];
            arrays
                .extend(parts.map(|(part, matrix)| (format!("{name}.heads.{at}.{part}.weight"), transposed(&matrix))));
        }
        arrays
    }
}

/// Whether the head has no biases and no factor on its scores.
fn is_linear(head: &Head) -> bool {
    let has_bias = |map: &Affine| map.bias.iter().any(|number| *number != 0.0);
    head.scale.to_bits() == 1.0_f64.to_bits() && ![&head.query, &head.key, &head.value].into_iter().any(has_bias)
}

/// The first number of a readout that float32 cannot hold; `None` if all fit.
fn unfit_readout(readout: &Readout) -> Option<f64> {
    match readout {
        Readout::Rows => None,
        Readout::Affine { weight, bias } => unfit(&[weight, bias], 1.0),
        Readout::Softmax { scores, scores_bias, values, weight, bias } => {
            unfit(&[scores, scores_bias], 1.0).or_else(|| unfit(&[values], 1.0)).or_else(|| unfit(&[weight, bias], 1.0))
        }
    }
}

fn readout_arrays(readout: &Readout) -> Vec<(String, Array)> {
    let project = |weight: &Matrix, bias: &Matrix| {
        [("readout.project.weight".to_owned(), transposed(weight)), ("readout.project.bias".to_owned(), flat(bias))]
    };
    match readout {
        Readout::Rows => Vec::new(),
        Readout::Affine { weight, bias } => project(weight, bias).into(),
        Readout::Softmax { scores, scores_bias, values, weight, bias } => {
            let softmax = [
                ("readout.softmax.scores.weight".to_owned(), transposed(scores)),
                ("readout.softmax.scores.bias".to_owned(), flat(scores_bias)),
                ("readout.softmax.values.weight".to_owned(), transposed(values)),
            ];
            softmax.into_iter().chain(project(weight, bias)).collect()
        }
    }
}

/// The matrix as a two-dimensional array, row by row.
fn rows(matrix: &Matrix) -> Array {
    Array { shape: vec![matrix.nrows(), matrix.ncols()], values: flat(matrix).values }
}

/// The matrix as a one-dimensional array, row by row.
fn flat(matrix: &Matrix) -> Array {
    let values: Vec<f32> =
        matrix.row_iter().flat_map(|row| row.iter().map(|v| *v as f32).collect::<Vec<_>>()).collect();
    Array { shape: vec![values.len()], values }
}

/// The matrix transposed, as files store linear weights; nalgebra's memory is column by column already.
fn transposed(matrix: &Matrix) -> Array {
    Array {
        shape: vec![matrix.ncols(), matrix.nrows()],
        values: matrix.as_slice().iter().map(|value| *value as f32).collect(),
    }
}
