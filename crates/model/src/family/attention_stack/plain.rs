//! An attention stack as plain matrices. The map before a layer belongs to that layer.

use headway_plain::{
    Readout,
    function::{Exit, Function},
    network::{Affine, Head, InputMap, Layer, Linear, Matrix, Network, Row},
};

use super::{AttentionStackConfig, StackLayer, StackMap, StackReadout};
use crate::{
    config::IoDims,
    plain::{NoPlainForm, Parameters, is_softmax},
};

impl AttentionStackConfig {
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| layer.plain_layer(parameters, &format!("layers.{index}")));
        Ok(Network { layers: layers.collect::<Result<_, _>>()?, causal: self.causal })
    }

    pub(super) fn whole(&self, parameters: &Parameters, dims: &IoDims) -> Result<Function, NoPlainForm> {
        let flat = || {
            let Affine { weight, bias } = parameters.affine("readout.project")?;
            let bias = Matrix::from_row_slice(1, bias.len(), bias.as_slice());
            Ok::<_, NoPlainForm>((weight, bias))
        };
        let readout = match self.readout {
            StackReadout::Rows => Readout::Rows,
            StackReadout::Affine => {
                let (weight, bias) = flat()?;
                Readout::Affine { weight, bias }
            }
            StackReadout::Softmax { .. } => {
                let Affine { weight: scores, bias } = parameters.affine("readout.softmax.scores")?;
                let scores_bias = Matrix::from_row_slice(1, bias.len(), bias.as_slice());
                let values = parameters.weight("readout.softmax.values")?;
                let (weight, bias) = flat()?;
                Readout::Softmax { scores, scores_bias, values, weight, bias }
            }
        };
        Ok(Function {
            seq_len: dims.seq_len,
            d_in: dims.vector_width(),
            d_out: dims.d_out,
            enter: None,
            network: self.plain_network(parameters)?,
            exit: Exit::Stack(readout),
        })
    }
}

impl StackLayer {
    fn plain_layer(&self, parameters: &Parameters, name: &str) -> Result<Layer, NoPlainForm> {
        let Self { rows, width, d_out, .. } = *self;
        let weight = parameters.weight(&format!("{name}.map.project"))?;
        let (linear, constant) = match self.map {
            StackMap::TokenWise => (Linear::TokenWise(weight), parameters.row(&format!("{name}.map.position"))?),
            StackMap::SequenceWise => {
                (Linear::SequenceWise(weight), parameters.row(&format!("{name}.map.project.bias"))?)
            }
        };
        let constant = Matrix::from_row_slice(rows, width, constant.as_slice());
        let mut heads = Vec::new();
        for (group, sizes) in self.heads.iter().enumerate() {
            let part = |part: &str| parameters.weight(&format!("{name}.heads.{group}.{part}"));
            let [query, key, value, output] = [part("query")?, part("key")?, part("value")?, part("output")?];
            let slice = |weight: &Matrix, head: usize, size: usize| Affine {
                weight: weight.columns(head * size, size).into_owned(),
                bias: Row::zeros(size),
            };
            heads.extend((0..sizes.count).map(|head| Head {
                query: slice(&query, head, sizes.d_key),
                key: slice(&key, head, sizes.d_key),
                value: slice(&value, head, sizes.d_value),
                output: output.rows(head * sizes.d_value, sizes.d_value).into_owned(),
                scale: 1.0 / (sizes.d_key as f64).sqrt(),
            }));
        }
        let map = InputMap { linear, constant, queries: self.n_queries(), keys: self.n_keys() };
        Ok(Layer { map: Some(map), norm: None, heads, bias: Row::zeros(d_out), feed_forward: None, skip: false })
    }
}
