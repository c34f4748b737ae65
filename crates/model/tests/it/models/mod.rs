//! All models of the list: shapes, traces, symmetries, initial weights, and refusals.

mod by_hand;
mod csformer;
mod weights;

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use headway_model::{
    Activation, AttentionStackConfig, Heads, Input, InputDims, IoDims, KernelKind, MODELS, Model, ModelConfig, Network,
    Norm, PaperOneLayerConfig, PaperTwoLayerConfig, PositionKind, Readout, Replacement, StackLayer, StackMap,
    StackReadout, StateMixer, Transformer, TransformerConfig, WindowConfig,
    weights::{
        Array, LoadReport, ShapeMismatch, WeightsError, arrays, arrays_from_bytes, arrays_to_bytes, load, load_partial,
        names, to_host,
    },
};
use headway_testkit::{assert_close, devices, laws, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const BATCH: usize = 2;
const HEADS: usize = 3;
const D_HEAD: usize = 5;
const D_MODEL: usize = HEADS * D_HEAD;
const D_IN: usize = 7;
const SEQ_LEN: usize = 11;
const ANCHORS: usize = 13;
const D_OUT: usize = 17;
const D_FFN: usize = 19;
const VOCAB: usize = 23;

/// Every example of every family, with data that it accepts.
fn cases() -> Vec<(ModelConfig, IoDims)> {
    laws::family::cases(|dims| ModelConfig::examples(dims, 1))
}

macro_rules! hold {
    ($($law:ident,)+) => {
        $(#[test]
        fn $law() {
            for (config, dims) in cases() {
                laws::family::$law(&config, &dims);
            }
        })+
    };
}

hold! {
    the_state_behind_the_last_layer_is_read_as_the_model_reads_it,
    replacements_replace_the_heads_they_name_and_no_others,
    output_has_the_shape_that_the_config_names,
    one_answer_is_the_same_at_every_position,
    answers_that_are_asked_for_are_those_of_all,
    a_trace_shows_the_forward_pass,
    initial_weights_come_from_the_generator_alone,
    weights_survive_a_file_bit_for_bit,
    an_uninitialized_model_takes_weights_as_a_drawn_one_does,
    parameters_are_counted_right,
    parameters_follow_what_the_rules_name,
    the_head_is_a_part_of_the_network,
    plain_layers_are_those_of_the_network,
    reading_on_is_reading_at_once,
}

/// The law of reading on is about causal softmax attention, and about no other.
#[test]
fn causal_transformers_of_softmax_attention_read_on() {
    for (config, _) in cases() {
        let wanted = match &config {
            ModelConfig::Transformer(transformer) => {
                let keeps_its_keys = matches!(transformer.kernel, KernelKind::Softmax | KernelKind::Naive);
                transformer.causal && keeps_its_keys && transformer.token_weight.is_default()
            }
            _ => false,
        };
        assert_eq!(config.reads_on(), wanted, "{config:?}");
    }
}

#[test]
fn every_family_of_the_list_gives_examples() {
    for (name, _) in MODELS {
        assert!(cases().iter().any(|(config, _)| config.name() == *name), "{name} has no example that fits the data");
    }
}

fn build(config: &ModelConfig, dims: &IoDims, seed: u64, device: &Device) -> Model {
    config.init(dims, &mut ChaCha8Rng::seed_from_u64(seed), device).unwrap()
}

/// An attention-only transformer of vectors with learned positions.
fn first_transformer() -> (ModelConfig, IoDims) {
    let config = TransformerConfig { d_model: D_MODEL, n_heads: HEADS, ..TransformerConfig::default() };
    (config.into(), IoDims::continuous(SEQ_LEN, D_IN, D_OUT))
}

fn transformer(config: TransformerConfig, dims: &IoDims, device: &Device) -> Transformer {
    match build(&ModelConfig::Transformer(config), dims, 3, device) {
        Model::Transformer(model) => model,
        other => panic!("not a transformer: {other:?}"),
    }
}

fn vectors(values: &[f32], shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn input(dims: &IoDims, seed: u64, device: &Device) -> Input {
    match dims.input {
        InputDims::Continuous { d_in } => {
            let values = numbers(seed, BATCH * dims.seq_len * d_in);
            Input::Continuous(vectors(&values, [BATCH, dims.seq_len, d_in], device))
        }
        InputDims::Tokens { vocab } => {
            let signed = numbers(seed, BATCH * dims.seq_len).into_iter();
            let ids: Vec<i32> = signed.map(|x| (x.abs() * vocab as f32) as i32).collect();
            Input::Tokens(Tensor::<2, Int>::from_data(TensorData::new(ids, [BATCH, dims.seq_len]), device))
        }
    }
}

/// A named array of integers or other numbers written out.
fn array(shape: &[usize], values: &[f32]) -> Array {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    Array { shape: shape.to_vec(), values: values.to_vec() }
}

fn with<M: Module>(module: M, parameters: &[(&str, Array)]) -> M {
    let arrays: BTreeMap<String, Array> =
        parameters.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
    load(module, arrays).unwrap().0
}

/// Every head of a model by layer and index, with its output for the first query of the first sequence.
fn mixtures(model: &Model, input: Input) -> Vec<Replacement> {
    let of_layer = |(layer, trace): (usize, headway_model::LayerTrace)| {
        let mut heads = Vec::new();
        for group in trace.mixtures {
            let [_, n_heads, q_len, d_value] = group.dims();
            let values = to_host(group);
            heads.extend((0..n_heads).map(|head| values[head * q_len * d_value..][..d_value].to_vec()));
        }
        let replacement = move |(head, mixture)| Replacement { layer, head, mixture };
        heads.into_iter().enumerate().map(replacement).collect::<Vec<_>>()
    };
    model.forward_traced(input).layers.into_iter().enumerate().flat_map(of_layer).collect()
}

#[test]
fn a_layer_whose_heads_are_all_zero_is_one_without_attention() {
    for on in devices() {
        let config = TransformerConfig { d_model: D_MODEL, n_heads: HEADS, ..TransformerConfig::default() };
        let dims = IoDims::tokens(SEQ_LEN, VOCAB);
        let model = build(&ModelConfig::Transformer(config), &dims, 3, &on.device);
        let heads = mixtures(&model, input(&dims, 2, &on.device));
        let second = heads.into_iter().filter(|head| head.layer == 1);
        let zeros: Vec<_> = second.map(|head| Replacement { mixture: vec![0.0; D_HEAD], ..head }).collect();
        let replaced = to_host(model.forward_replacing(input(&dims, 2, &on.device), &zeros));
        // Without the output projection, only the layer's bias is left.
        let mut parameters = arrays(&model);
        parameters.get_mut("blocks.1.attention.output.weight").unwrap().values.fill(0.0);
        let without = load(model, parameters).unwrap().0.forward(input(&dims, 2, &on.device));
        assert_close("no attention", &replaced, &to_host(without), on.tolerance);
    }
}

#[test]
fn a_head_that_says_the_same_everywhere_loses_nothing_by_its_mean() {
    for on in devices() {
        let config = PaperTwoLayerConfig { d_model: D_MODEL, n_heads: HEADS, n_anchors: ANCHORS, ..Default::default() };
        let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
        let model = build(&ModelConfig::PaperTwoLayer(config), &dims, 3, &on.device);
        // The values of head 1 of the first layer no longer depend on the tokens.
        let mut parameters = arrays(&model);
        let rows = D_HEAD * D_MODEL..2 * D_HEAD * D_MODEL;
        parameters.get_mut("attention_1.value.weight").unwrap().values[rows].fill(0.0);
        let bias = parameters["attention_1.value.bias"].values[D_HEAD..2 * D_HEAD].to_vec();
        let model = load(model, parameters).unwrap().0;
        let plain = to_host(model.forward(input(&dims, 2, &on.device)));
        let heads = mixtures(&model, input(&dims, 2, &on.device));
        assert_close("mixture", &heads[1].mixture, &bias, on.tolerance);
        let replaced = to_host(model.forward_replacing(input(&dims, 2, &on.device), &heads[1..2]));
        assert_close("head 1", &replaced, &plain, on.tolerance);
        let other = to_host(model.forward_replacing(input(&dims, 2, &on.device), &heads[..1]));
        assert_ne!(other, plain);
    }
}

#[test]
fn a_sequence_wise_map_reaches_every_row() {
    let layer = StackLayer {
        map: StackMap::SequenceWise,
        rows: 2,
        width: 2,
        heads: vec![Heads { count: 1, d_key: 1, d_value: 2 }],
        d_out: 2,
        ..StackLayer::default()
    };
    let dims = IoDims::continuous(2, 2, 2);
    // Row 0 of Z is (x_11, x_22), row 1 is (x_12 + 1, 7); of the scores only that of row 0 for itself is not zero.
    let swap = [1., 0., 0., 0., 0., 0., 0., 1., 0., 1., 0., 0., 0., 0., 0., 0.];
    let parameters = [
        ("layers.0.map.project.weight", array(&[4, 4], &swap)),
        ("layers.0.map.project.bias", array(&[4], &[0., 0., 1., 7.])),
        ("layers.0.heads.0.query.weight", array(&[1, 2], &[0.0, 0.0])),
        ("layers.0.heads.0.key.weight", array(&[1, 2], &[0.0, 0.0])),
        ("layers.0.heads.0.value.weight", array(&[2, 2], &[1.0, 0.0, 0.0, 1.0])),
        ("layers.0.heads.0.output.weight", array(&[2, 2], &[2.0, 0.0, 0.0, 2.0])),
    ];
    for on in devices() {
        let readout = StackReadout::Rows;
        let config = AttentionStackConfig { layers: vec![layer.clone()], readout, ..AttentionStackConfig::default() };
        let model = with(build(&ModelConfig::AttentionStack(config), &dims, 1, &on.device), &parameters);
        let output = to_host(model.forward(Input::Continuous(vectors(&[3., 4., 5., 6.], [1, 2, 2], &on.device))));
        // Twice the mean of (3, 6) and (5, 7), in both rows.
        assert_close(on.name, &output, &[8.0, 13.0, 8.0, 13.0], on.tolerance);
    }
}

#[test]
fn a_stack_refuses_sizes_that_do_not_meet() {
    let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
    let token_wise = StackLayer { map: StackMap::TokenWise, ..StackLayer::default() };
    let good = StackLayer { d_out: D_OUT, ..token_wise.clone() };
    let problems = |layers: Vec<StackLayer>, readout| {
        let config = AttentionStackConfig { layers, readout, ..AttentionStackConfig::default() };
        let problems = ModelConfig::AttentionStack(config).validate(&dims);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = |layer: StackLayer| problems(vec![layer], StackReadout::Affine);
    assert_eq!(problems(vec![good.clone()], StackReadout::Rows), Vec::<String>::new());
    assert_eq!(problems(vec![], StackReadout::Rows), ["layers: must be from 1 to 2000 layers"]);
    let few = StackLayer { rows: 5, ..good.clone() };
    assert_eq!(one(few.clone()), ["layers: layer 0: a token-wise map keeps the 11 rows that come in; rows is 5"]);
    assert_eq!(one(StackLayer { map: StackMap::SequenceWise, ..few.clone() }), Vec::<String>::new());
    let cut = StackLayer { queries: Some(7), ..good.clone() };
    assert_eq!(
        problems(vec![cut.clone()], StackReadout::Rows),
        ["readout: the last layer gives 7 rows, the task wants 11"]
    );
    assert_eq!(
        problems(vec![cut, StackLayer { rows: 6, ..good.clone() }], StackReadout::Affine),
        ["layers: layer 1: a token-wise map keeps the 7 rows that come in; rows is 6"]
    );
    assert_eq!(
        problems(vec![token_wise], StackReadout::Rows),
        ["readout: the last layer's d_out is 32, the task wants 17 numbers"]
    );
    assert_eq!(
        one(StackLayer { keys: Some(33), ..good.clone() }),
        ["layers: layer 0: keys must be from 1 to the 32 rows"]
    );
    assert_eq!(
        one(StackLayer { heads: vec![], ..good.clone() }),
        ["layers: layer 0: heads must name one group at least"]
    );
    let none = vec![Heads { count: 0, d_key: 1, d_value: 1 }];
    assert_eq!(
        one(StackLayer { heads: none, ..good.clone() }),
        ["layers: layer 0: heads.count must be from 1 to 1048576"]
    );
    let causal = |layer: StackLayer, readout, kernel| {
        let config = AttentionStackConfig { layers: vec![layer], readout, kernel, causal: true };
        let problems = ModelConfig::AttentionStack(config).validate(&dims);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(causal(good.clone(), StackReadout::Rows, KernelKind::Softmax), Vec::<String>::new());
    let mixes = causal(
        StackLayer { map: StackMap::SequenceWise, ..good.clone() },
        StackReadout::Affine,
        WindowConfig { size: 3 }.into(),
    );
    let words =
        ["kernel: window sees near keys alone", "layers: layer 0: a sequence-wise map", "readout: lets every position"];
    assert!(mixes.len() == 3 && words.iter().zip(&mixes).all(|(words, found)| found.starts_with(words)), "{mixes:?}");
    let blind = causal(StackLayer { rows: 11, keys: Some(4), ..good }, StackReadout::Rows, KernelKind::Softmax);
    assert!(
        blind[0].starts_with("layers: layer 0: with causal = true row 1 sees none of the last 4 of 11"),
        "{blind:?}"
    );
    let tokens = ModelConfig::AttentionStack(AttentionStackConfig::default()).validate(&IoDims::tokens(5, VOCAB));
    assert!(tokens[0].to_string().contains("takes vectors"), "{tokens:?}");
}

#[test]
fn without_positions_a_bidirectional_transformer_sees_a_set() {
    let order = [4, 0, 10, 2, 7, 1, 3, 9, 5, 8, 6];
    let permuted = |values: &[f32], width: usize| -> Vec<f32> {
        let sequences = values.chunks_exact(SEQ_LEN * width);
        sequences.flat_map(|rows| order.iter().flat_map(|&i| rows[i * width..][..width].to_vec())).collect()
    };
    let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
    for on in devices() {
        let outputs = |causal, position| {
            let state_mixer = StateMixer::Ffn { d_ffn: D_FFN, activation: Activation::GeluErf };
            let config = TransformerConfig {
                d_model: D_MODEL,
                n_heads: HEADS,
                causal,
                position,
                state_mixer,
                ..TransformerConfig::default()
            };
            let model = transformer(config, &dims, &on.device);
            let x = numbers(4, BATCH * SEQ_LEN * D_IN);
            let run =
                |x: &[f32]| to_host(model.forward(Input::Continuous(vectors(x, [BATCH, SEQ_LEN, D_IN], &on.device))));
            (run(&permuted(&x, D_IN)), permuted(&run(&x), D_OUT))
        };
        let (got, want) = outputs(false, PositionKind::None);
        assert_close(on.name, &got, &want, on.tolerance);
        for (causal, position) in
            [(true, PositionKind::None), (false, PositionKind::Learned), (false, PositionKind::Sinusoidal)]
        {
            let (got, want) = outputs(causal, position.clone());
            let differ = got.iter().zip(&want).any(|(g, w)| (g - w).abs() > 1e-3);
            assert!(differ, "causal {causal}, {position:?} on {}: order is not seen", on.name);
        }
    }
}

#[test]
fn a_causal_transformer_ignores_the_future() {
    const CHANGED: usize = 6;
    let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
    for on in devices() {
        let config = TransformerConfig { d_model: D_MODEL, n_heads: HEADS, ..TransformerConfig::default() };
        let model = transformer(config, &dims, &on.device);
        let mut x = numbers(4, SEQ_LEN * D_IN);
        let mut run = |change: f32| {
            x[CHANGED * D_IN] += change;
            to_host(model.forward(Input::Continuous(vectors(&x, [1, SEQ_LEN, D_IN], &on.device))))
        };
        let (before, after) = (run(0.0), run(10.0));
        let past = CHANGED * D_OUT;
        assert_close(on.name, &after[..past], &before[..past], 1e-6);
        let seen = before[past..].chunks_exact(D_OUT).zip(after[past..].chunks_exact(D_OUT));
        assert!(seen.into_iter().all(|(b, a)| a != b), "{}: the change is not seen later", on.name);
    }
}

#[test]
fn configs_that_cannot_be_built_name_every_key() {
    let dims = IoDims::continuous(3, 2, 40);
    let keys = |config: ModelConfig, dims: &IoDims| config.validate(dims).iter().map(|e| e.key).collect::<Vec<_>>();
    let one = |config| ModelConfig::PaperOneLayer(config);
    assert_eq!(
        keys(one(PaperOneLayerConfig { d_model: 9, n_heads: 2, ..Default::default() }), &dims),
        ["n_heads", "d_model"]
    );
    assert_eq!(keys(one(PaperOneLayerConfig { readout: Readout::Softmax, ..Default::default() }), &dims), ["readout"]);
    assert_eq!(keys(one(PaperOneLayerConfig::default()), &IoDims::tokens(3, 5)), [""]);
    let deep = TransformerConfig {
        d_model: 0,
        n_heads: 0,
        n_layers: 0,
        state_mixer: StateMixer::Ffn { d_ffn: 0, activation: Activation::Relu },
        ..Default::default()
    };
    assert_eq!(
        keys(ModelConfig::Transformer(deep.clone()), &dims),
        ["d_model", "n_heads", "n_layers", "state_mixer.ffn.d_ffn"]
    );
    let refused = ModelConfig::Transformer(deep).init(&dims, &mut ChaCha8Rng::seed_from_u64(1), &Device::flex());
    assert_eq!(refused.unwrap_err().key, "d_model");
}
