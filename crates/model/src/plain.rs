//! Networks as plain matrices in f64: what model families use to read them from parameters.

use std::collections::BTreeMap;

use headway_plain::network::{Affine, Head, InputMap, Layer, LayerNorm, Linear, Matrix, Row};
use thiserror::Error;

use crate::{
    attention::{
        gate::Gate,
        kernel::KernelKind,
        position::{Hand, PositionKind},
        qk_norm::QkNorm,
        weighting::TokenWeight,
    },
    norm::{self, NormKind},
    weights::Array,
};

/// Why a network has no plain form: what its layers would have to be, and what they are instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPlainForm {
    /// The kernel of this name does not compute softmax attention.
    #[error("layers of softmax attention; this network's kernel is {0}")]
    Kernel(&'static str),
    /// The position scheme of this name acts inside the layers.
    #[error("layers that know nothing of positions; this network's position = {0} acts inside them")]
    Position(&'static str),
    /// Another reason: the end of a sentence such as "rank and paths follow …".
    #[error("{0}")]
    Other(&'static str),
    /// The model lacks this parameter, which its config requires.
    #[error("the model has no parameter {0}")]
    Missing(String),
}

/// Refuses a kernel that computes another function than softmax attention.
///
/// # Errors
/// [`NoPlainForm::Kernel`]
pub fn is_softmax(kernel: &KernelKind) -> Result<(), NoPlainForm> {
    if kernel.spec().function() == KernelKind::Softmax { Ok(()) } else { Err(NoPlainForm::Kernel(kernel.name())) }
}

/// Refuses a position scheme that acts inside the layers.
///
/// # Errors
/// [`NoPlainForm::Position`]
pub fn is_before_the_layers(position: &PositionKind) -> Result<(), NoPlainForm> {
    let acts_inside = position.has(Hand::Rotation) || position.has(Hand::Bias);
    if acts_inside { Err(NoPlainForm::Position(position.name())) } else { Ok(()) }
}

/// Refuses a norm of queries and keys, a gate, and weights of tokens.
///
/// # Errors
/// [`NoPlainForm::Other`]
pub fn is_bare(qk_norm: QkNorm, gate: Gate, token_weight: TokenWeight) -> Result<(), NoPlainForm> {
    if qk_norm != QkNorm::None {
        return Err(NoPlainForm::Other(
            "layers whose scores are products of their rows; this network norms queries and keys (qk_norm)",
        ));
    }
    if gate != Gate::None {
        return Err(NoPlainForm::Other(
            "layers that mix and nothing else; this network gates what its heads mix (gate)",
        ));
    }
    if token_weight != TokenWeight::None {
        return Err(NoPlainForm::Other(
            "layers that treat all rows alike; this network weighs them by what is known of them (token_weight)",
        ));
    }
    Ok(())
}

/// A network's parameters by name, in file orientation. They are read as f64 matrices that multiply rows from the right.
///
/// # Errors
/// Each method returns [`NoPlainForm::Missing`] if there is no parameter of that name.
pub struct Parameters(BTreeMap<String, Array>);

impl From<BTreeMap<String, Array>> for Parameters {
    fn from(arrays: BTreeMap<String, Array>) -> Self {
        Self(arrays)
    }
}

impl Parameters {
    /// Attention alone; heads are contiguous slices of the channels, and several may share keys and values.
    pub fn attention(&self, name: &str, n_heads: usize) -> Result<Layer, NoPlainForm> {
        let part = |part: &str| self.affine(&format!("{name}.{part}"));
        let [query, key, value, output] = [part("query")?, part("key")?, part("value")?, part("output")?];
        let d_head = query.bias.len() / n_heads;
        let slice = |map: &Affine, head: usize| Affine {
            weight: map.weight.columns(head * d_head, d_head).into_owned(),
            bias: map.bias.columns(head * d_head, d_head).into_owned(),
        };
        let n_kv_heads = key.bias.len() / d_head;
        let shared = |head: usize| head * n_kv_heads / n_heads;
        let heads = (0..n_heads).map(|head| Head {
            query: slice(&query, head),
            key: slice(&key, shared(head)),
            value: slice(&value, shared(head)),
            output: output.weight.rows(head * d_head, d_head).into_owned(),
            scale: 1.0 / (d_head as f64).sqrt(),
        });
        Ok(Layer { map: None, norm: None, heads: heads.collect(), bias: output.bias, feed_forward: None, skip: false })
    }

    /// The map `name.weight`, `name.bias`, which adds zero if it has no bias.
    pub fn affine(&self, name: &str) -> Result<Affine, NoPlainForm> {
        let weight = self.weight(name)?;
        let bias = self.row(&format!("{name}.bias")).unwrap_or_else(|_| Row::zeros(weight.ncols()));
        Ok(Affine { weight, bias })
    }

    /// The matrix `name.weight`. `[d_in, d_out]`
    pub fn weight(&self, name: &str) -> Result<Matrix, NoPlainForm> {
        let Array { shape, values } = self.array(&format!("{name}.weight"))?;
        let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
        let [d_out, d_in] = [shape[0], shape[1]];
        // A row-major [out, in] matrix is a column-major [in, out] matrix.
        Ok(Matrix::from_vec(d_in, d_out, values))
    }

    /// The norm `name.weight`, and `name.bias` if its kind has one; `rms_epsilon` is that of norms without a mean.
    pub fn norm(&self, name: &str, kind: NormKind, rms_epsilon: f64) -> Result<LayerNorm, NoPlainForm> {
        let gain = self.row(&format!("{name}.weight"))?;
        Ok(match kind {
            NormKind::Layer => {
                let (bias, epsilon) = (self.row(&format!("{name}.bias"))?, norm::LAYER_NORM_EPSILON);
                LayerNorm { centres: true, gain, bias, epsilon }
            }
            NormKind::Rms | NormKind::ZeroCentredRms => {
                let one = if kind == NormKind::Rms { 0.0 } else { 1.0 };
                let bias = Row::zeros(gain.len());
                LayerNorm { centres: false, gain: gain.add_scalar(one), bias, epsilon: rms_epsilon }
            }
        })
    }

    /// The map before the paper's models, (x_i W + b) ⊙ m_i and then the anchors, in its general form: the products of its float32
    /// numbers are exact in f64.
    pub fn input_map(&self, name: &str) -> Result<InputMap, NoPlainForm> {
        let Affine { weight, bias } = self.affine(&format!("{name}.project"))?;
        let matrix = |array: &Array| {
            let values: Vec<f64> = array.values.iter().copied().map(f64::from).collect();
            Matrix::from_row_slice(array.shape[0], array.shape[1], &values)
        };
        let gain = matrix(self.array(&format!("{name}.modulation"))?);
        let anchors = self.array(&format!("{name}.anchors")).map_or_else(|_| Matrix::zeros(0, gain.ncols()), matrix);
        let ([seq_len, d_model], d_in) = (gain.shape().into(), weight.nrows());
        let rows = seq_len + anchors.nrows();
        let mut linear = Matrix::zeros(seq_len * d_in, rows * d_model);
        let mut constant = Matrix::zeros(rows, d_model);
        for i in 0..seq_len {
            for c in 0..d_model {
                constant[(i, c)] = bias[c] * gain[(i, c)];
                for j in 0..d_in {
                    linear[(i * d_in + j, i * d_model + c)] = weight[(j, c)] * gain[(i, c)];
                }
            }
        }
        constant.rows_mut(seq_len, anchors.nrows()).copy_from(&anchors);
        Ok(InputMap { linear: Linear::SequenceWise(linear), constant, queries: rows, keys: rows })
    }

    /// All values of `name`, row-major.
    pub fn row(&self, name: &str) -> Result<Row, NoPlainForm> {
        Ok(Row::from_vec(self.array(name)?.values.iter().copied().map(f64::from).collect()))
    }

    /// The array itself.
    pub fn array(&self, name: &str) -> Result<&Array, NoPlainForm> {
        self.0.get(name).ok_or_else(|| NoPlainForm::Missing(name.to_owned()))
    }
}
