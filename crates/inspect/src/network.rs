//! From a model and its named arrays to the plain layers that are analysed.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use headway_model::{
    Activation as ModelActivation, AttentionStackConfig, Hand, Input, KernelKind, Model, ModelConfig, Norm,
    PaperOneLayerConfig, PaperSetKeysConfig, PaperTwoLayerConfig, PositionKind, StackLayer, StackMap, StateMixer,
    TransformerConfig,
    adapter::merge,
    norm,
    weights::{self, Array},
};
use headway_plain::network::{
    Activation, Affine, FeedForward, Head, InputMap, Layer, LayerNorm, Linear, Matrix, Network, Row,
};

use headway_trainer::{Error, experiment::FinetuneConfig};

/// The model's layers, from the state that enters the first to the state behind the last; what stands before and after them
/// is left out: embedding and positions, last norm and head. [`entering`] gives that first state.
///
/// # Errors
/// [`Error::Usage`] for a model with a learned prefix; [`Error::Training`] for one without the parameters that its config asks for.
pub(super) fn plain(config: &ModelConfig, mode: &FinetuneConfig, model: &Model) -> Result<Network, Error> {
    let arrays = weights::arrays(model);
    let arrays = Arrays(match mode {
        FinetuneConfig::Lora(lora) => {
            merge(arrays, |_| (lora.rank, lora.scale())).map_err(|error| Error::Training(error.to_string()))?
        }
        FinetuneConfig::Prefix(_) => {
            let problem =
                "rank and paths follow layers whose keys are their own rows; this network has a learned prefix";
            return Err(Error::Usage(problem.to_owned()));
        }
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) | FinetuneConfig::Prompt(_) => arrays,
    });
    match config {
        ModelConfig::Transformer(config) => arrays.transformer(config),
        ModelConfig::PaperOneLayer(PaperOneLayerConfig { n_heads, kernel, .. }) => {
            is_softmax(*kernel)?;
            let layer = arrays.attention("attention", *n_heads)?;
            Ok(Network { layers: vec![layer], causal: false })
        }
        ModelConfig::PaperTwoLayer(PaperTwoLayerConfig { n_heads, kernel, .. }) => {
            is_softmax(*kernel)?;
            let first = arrays.attention("attention_1", *n_heads)?;
            let mut second = arrays.attention("attention_2", *n_heads)?;
            // The map between the two becomes part of what the second layer's heads do with its input.
            let between = arrays.affine("affine")?;
            for head in &mut second.heads {
                for map in [&mut head.query, &mut head.key, &mut head.value] {
                    *map = between.then(map);
                }
            }
            Ok(Network { layers: vec![first, second], causal: false })
        }
        ModelConfig::PaperSetKeys(config) => arrays.set_keys(config),
        ModelConfig::AttentionStack(config) => arrays.stack(config),
    }
}

/// What enters the first of a model's plain layers. `[batch, rows, d_model]`
pub(super) fn entering(model: &Model, input: Input) -> Tensor<3> {
    match (model, input) {
        // The map in front of the first layer belongs to it.
        (Model::AttentionStack(_), Input::Continuous(x)) => x,
        (_, input) => model.forward_traced(input).embedded,
    }
}

/// Refuses a kernel that computes another function than softmax attention.
fn is_softmax(kernel: KernelKind) -> Result<(), Error> {
    if kernel.spec().function() == KernelKind::Softmax {
        return Ok(());
    }
    let name = kernel.name();
    Err(Error::Usage(format!("rank and paths follow layers of softmax attention; this network's kernel is {name}")))
}

/// Refuses a position scheme that acts inside the layers.
fn is_before_the_layers(position: PositionKind) -> Result<(), Error> {
    if [Hand::Rotation, Hand::Bias].into_iter().all(|hand| !position.has(hand)) {
        return Ok(());
    }
    let name = position.name();
    Err(Error::Usage(format!(
        "rank and paths follow layers that know nothing of positions; this network's position = {name} acts inside them"
    )))
}

/// A model's parameters by name.
struct Arrays(BTreeMap<String, Array>);

impl Arrays {
    fn transformer(&self, config: &TransformerConfig) -> Result<Network, Error> {
        is_softmax(config.kernel)?;
        is_before_the_layers(config.position)?;
        let layers = (0..config.n_layers).map(|index| self.block(config, &format!("blocks.{index}")));
        Ok(Network { layers: layers.collect::<Result<_, _>>()?, causal: config.causal })
    }

    fn block(&self, config: &TransformerConfig, name: &str) -> Result<Layer, Error> {
        let layer_norm = |part: &str| match config.norm {
            Norm::Pre => self.layer_norm(&format!("{name}.{part}")).map(Some),
            Norm::None => Ok(None),
        };
        let feed_forward = match config.state_mixer {
            StateMixer::None => None,
            StateMixer::Ffn { activation, .. } => Some(FeedForward {
                norm: layer_norm("ffn_norm")?,
                expand: self.affine(&format!("{name}.ffn.expand"))?,
                contract: self.affine(&format!("{name}.ffn.contract"))?,
                activation: match activation {
                    ModelActivation::GeluErf => Activation::GeluErf,
                    ModelActivation::GeluTanh => Activation::GeluTanh,
                    ModelActivation::Relu => Activation::Relu,
                },
            }),
        };
        Ok(Layer {
            norm: layer_norm("attention_norm")?,
            feed_forward,
            skip: config.residual,
            ..self.attention(&format!("{name}.attention"), config.n_heads)?
        })
    }

    /// The set keys and values are two columns of a map that puts them beside the tokens.
    fn set_keys(&self, config: &PaperSetKeysConfig) -> Result<Network, Error> {
        let PaperSetKeysConfig { d_model, low, high, inverse_temperature, shift, .. } = *config;
        let mut layer = self.attention("attention", 1)?;
        let rows = self.array("input_map.modulation")?.shape[0] + self.array("input_map.anchors")?.shape[0];
        let point = |k: usize| low + (high - low) / (rows.max(2) - 1) as f64 * k as f64;
        let constant = Matrix::from_fn(rows, d_model + 2, |k, column| match column.checked_sub(d_model) {
            None => 0.0,
            Some(0) => k as f64 * (point(k) + low - 2.0 * shift),
            Some(_) => point(k),
        });
        for head in &mut layer.heads {
            for map in [&mut head.query, &mut head.key, &mut head.value] {
                map.weight.resize_vertically_mut(d_model + 2, 0.0);
            }
            for (map, column, from) in [(&mut head.key, d_model - 1, d_model), (&mut head.value, 0, d_model + 1)] {
                map.weight.column_mut(column).fill(0.0);
                map.weight[(from, column)] = 1.0;
                map.bias[column] = 0.0;
            }
            head.scale *= inverse_temperature;
        }
        let linear = Linear::TokenWise(Matrix::identity(d_model, d_model + 2));
        layer.map = Some(InputMap { linear, constant, queries: rows, keys: rows });
        Ok(Network { layers: vec![layer], causal: false })
    }

    fn stack(&self, config: &AttentionStackConfig) -> Result<Network, Error> {
        is_softmax(config.kernel)?;
        let layers = config.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| self.stack_layer(layer, &format!("layers.{index}")));
        Ok(Network { layers: layers.collect::<Result<_, _>>()?, causal: false })
    }

    fn stack_layer(&self, config: &StackLayer, name: &str) -> Result<Layer, Error> {
        let StackLayer { rows, width, d_out, .. } = *config;
        let weight = self.weight(&format!("{name}.map.project"))?;
        let (linear, constant) = match config.map {
            StackMap::TokenWise => (Linear::TokenWise(weight), self.row(&format!("{name}.map.position"))?),
            StackMap::SequenceWise => (Linear::SequenceWise(weight), self.row(&format!("{name}.map.project.bias"))?),
        };
        let constant = Matrix::from_row_slice(rows, width, constant.as_slice());
        let mut heads = Vec::new();
        for (group, sizes) in config.heads.iter().enumerate() {
            let part = |part: &str| self.weight(&format!("{name}.heads.{group}.{part}"));
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
        let map = InputMap { linear, constant, queries: config.n_queries(), keys: config.n_keys() };
        Ok(Layer { map: Some(map), norm: None, heads, bias: Row::zeros(d_out), feed_forward: None, skip: false })
    }

    /// Attention alone; heads are contiguous slices of the channels.
    fn attention(&self, name: &str, n_heads: usize) -> Result<Layer, Error> {
        let part = |part: &str| self.affine(&format!("{name}.{part}"));
        let [query, key, value, output] = [part("query")?, part("key")?, part("value")?, part("output")?];
        let d_head = query.bias.len() / n_heads;
        let slice = |map: &Affine, head: usize| Affine {
            weight: map.weight.columns(head * d_head, d_head).into_owned(),
            bias: map.bias.columns(head * d_head, d_head).into_owned(),
        };
        let heads = (0..n_heads).map(|head| Head {
            query: slice(&query, head),
            key: slice(&key, head),
            value: slice(&value, head),
            output: output.weight.rows(head * d_head, d_head).into_owned(),
            scale: 1.0 / (d_head as f64).sqrt(),
        });
        Ok(Layer { map: None, norm: None, heads: heads.collect(), bias: output.bias, feed_forward: None, skip: false })
    }

    fn affine(&self, name: &str) -> Result<Affine, Error> {
        Ok(Affine { weight: self.weight(name)?, bias: self.row(&format!("{name}.bias"))? })
    }

    fn weight(&self, name: &str) -> Result<Matrix, Error> {
        let Array { shape, values } = self.array(&format!("{name}.weight"))?;
        let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
        let [d_out, d_in] = [shape[0], shape[1]];
        // Row-major [out, in] is column-major [in, out].
        Ok(Matrix::from_vec(d_in, d_out, values))
    }

    fn layer_norm(&self, name: &str) -> Result<LayerNorm, Error> {
        let [gain, bias] = [self.row(&format!("{name}.weight"))?, self.row(&format!("{name}.bias"))?];
        Ok(LayerNorm { gain, bias, epsilon: norm::EPSILON })
    }

    fn row(&self, name: &str) -> Result<Row, Error> {
        Ok(Row::from_vec(self.array(name)?.values.iter().copied().map(f64::from).collect()))
    }

    fn array(&self, name: &str) -> Result<&Array, Error> {
        self.0.get(name).ok_or_else(|| Error::Training(format!("the model has no parameter {name}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use headway_model::{Heads, IoDims, StackReadout};
    use headway_tasks::{Seed, Stream};
    use headway_testkit::{assert_close, devices};

    use super::*;

    /// Every layer's hidden state is that of the model's own trace.
    fn agrees(config: &ModelConfig) {
        for device in devices() {
            let dims = IoDims::continuous(5, 3, 1);
            let mut rng = Seed(3).rng(Stream::Init, 0);
            let model = config.init(&dims, &mut rng, &device.device).unwrap();
            let values: Vec<f32> = (0..15).map(|i| (i as f32 * 1.7).sin()).collect();
            let input =
                burn::tensor::Tensor::from_data(burn::tensor::TensorData::new(values, [1, 5, 3]), &device.device);
            let entering = entering(&model, Input::Continuous(input.clone()));
            let trace = model.forward_traced(Input::Continuous(input));
            let network = plain(config, &FinetuneConfig::Full, &model).unwrap();
            let [_, rows, d_model] = entering.dims();
            let entering: Vec<f64> = weights::to_host(entering).into_iter().map(f64::from).collect();
            let states = network.forward(&Matrix::from_row_slice(rows, d_model, &entering));
            let shapes: Vec<[usize; 2]> = states[1..].iter().map(|state| state.shape().into()).collect();
            assert_eq!(network.shapes([rows, d_model]), shapes);
            assert_eq!(states.len(), trace.layers.len() + 1);
            for (layer, state) in trace.layers.into_iter().zip(&states[1..]) {
                let found: Vec<f32> = state.transpose().iter().map(|entry| *entry as f32).collect();
                let name = format!("{} of {config:?}", device.name);
                assert_close(&name, &found, &weights::to_host(layer.hidden), device.tolerance);
            }
        }
    }

    #[test]
    fn plain_layers_are_those_of_a_transformer() {
        let mixers = [ModelActivation::GeluErf, ModelActivation::GeluTanh, ModelActivation::Relu]
            .map(|activation| StateMixer::Ffn { d_ffn: 11, activation });
        for state_mixer in [StateMixer::None].into_iter().chain(mixers) {
            for (norm, residual, causal) in
                [(Norm::Pre, true, true), (Norm::None, false, false), (Norm::Pre, false, true)]
            {
                let sizes = TransformerConfig { d_model: 6, n_heads: 2, n_layers: 3, ..TransformerConfig::default() };
                let config = TransformerConfig { causal, norm, residual, state_mixer: state_mixer.clone(), ..sizes };
                agrees(&ModelConfig::Transformer(config));
            }
        }
    }

    #[test]
    fn plain_layers_are_those_of_the_papers_models() {
        let config = PaperOneLayerConfig { d_model: 6, n_heads: 3, n_anchors: 2, ..PaperOneLayerConfig::default() };
        agrees(&ModelConfig::PaperOneLayer(config));
        let config = PaperTwoLayerConfig { d_model: 6, n_heads: 2, n_anchors: 2, ..PaperTwoLayerConfig::default() };
        agrees(&ModelConfig::PaperTwoLayer(config));
        let config = PaperSetKeysConfig { d_model: 6, n_anchors: 2, shift: 0.3, ..PaperSetKeysConfig::default() };
        agrees(&ModelConfig::PaperSetKeys(config));
    }

    #[test]
    fn plain_layers_are_those_of_an_attention_stack() {
        let token_wise = StackLayer {
            map: StackMap::TokenWise,
            rows: 11,
            width: 7,
            queries: Some(6),
            keys: Some(9),
            heads: vec![Heads { count: 3, d_key: 2, d_value: 4 }, Heads { count: 1, d_key: 5, d_value: 1 }],
            d_out: 4,
        };
        let sequence_wise = StackLayer {
            map: StackMap::SequenceWise,
            rows: 13,
            width: 3,
            queries: Some(5),
            keys: Some(8),
            heads: vec![Heads { count: 2, d_key: 1, d_value: 3 }],
            d_out: 2,
        };
        let all = StackLayer { queries: None, keys: None, ..sequence_wise.clone() };
        for layers in [
            vec![token_wise.clone(), sequence_wise.clone()],
            vec![sequence_wise, token_wise.clone()],
            vec![token_wise.clone(), token_wise],
            vec![all.clone(), all],
        ] {
            let readout = StackReadout::Affine;
            agrees(&ModelConfig::AttentionStack(AttentionStackConfig { layers, readout, ..Default::default() }));
        }
    }
}
