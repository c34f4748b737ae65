//! The budget compared with what it predicts: parameters as counted, operations as computed by hand, activation memory
//! as measured by the allocator. A separate binary, because bytes are counted for the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot get its data has failed")]

use std::sync::Mutex;

use burn::tensor::{Device, Int, Tensor, TensorData};
use headway_model::{
    Activation, AttentionStackConfig, Budget, CombinerBlocks, CombinerConfig, CsformerConfig, Family, Heads, Input,
    InputDims, IoDims, KernelKind, Model, ModelConfig, Norm, PaperOneLayerConfig, PaperSetKeysConfig,
    PaperTwoLayerConfig, PoolKind, PositionKind, Readout, StackLayer, StackMap, StackReadout, StateMixer,
    TransformerConfig,
    weights::{Trained, collect, count},
};
use headway_testkit::{memory, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Held by each test, so that no other test allocates while bytes are counted.
static ALONE: Mutex<()> = Mutex::new(());

const D_IN: usize = 7;
const D_OUT: usize = 17;
const VOCAB: usize = 23;

fn build(config: &ModelConfig, dims: &IoDims, device: &Device) -> Model {
    config.init(dims, &mut ChaCha8Rng::seed_from_u64(1), device).unwrap()
}

fn one_layer(d_model: usize, n_heads: usize, n_anchors: usize, readout: Readout) -> ModelConfig {
    let config = PaperOneLayerConfig { d_model, n_heads, n_anchors, readout, ..PaperOneLayerConfig::default() };
    ModelConfig::PaperOneLayer(config)
}

fn two_layer(d_model: usize, n_heads: usize, n_anchors: usize) -> ModelConfig {
    ModelConfig::PaperTwoLayer(PaperTwoLayerConfig { d_model, n_heads, n_anchors, ..PaperTwoLayerConfig::default() })
}

fn stack(n_layers: usize, norm: Norm, causal: bool, state_mixer: StateMixer) -> TransformerConfig {
    TransformerConfig { d_model: 48, n_layers, n_heads: 3, causal, norm, state_mixer, ..TransformerConfig::default() }
}

fn ffn(activation: Activation) -> StateMixer {
    StateMixer::Ffn { d_ffn: 101, activation }
}

/// Models of every shape, each with its data: the examples of every family, and some chosen by hand.
fn configs(seq_len: usize) -> Vec<(ModelConfig, IoDims)> {
    let scalar = IoDims::continuous(seq_len, D_IN, 1);
    let vectors = IoDims::continuous(seq_len, D_IN, D_OUT);
    let tokens = IoDims::tokens(seq_len, VOCAB);
    let data = [&scalar, &vectors, &tokens].into_iter();
    let mut configs: Vec<(ModelConfig, IoDims)> =
        data.flat_map(|dims| ModelConfig::examples(dims, 5).into_iter().map(|config| (config, dims.clone()))).collect();
    configs.extend([
        (one_layer(32, 1, 10, Readout::Channels), scalar.clone()),
        (one_layer(40, 8, 0, Readout::Channels), scalar.clone()),
        (one_layer(48, 16, 13, Readout::Softmax), scalar.clone()),
        (
            ModelConfig::PaperSetKeys(PaperSetKeysConfig {
                d_model: 37,
                n_anchors: 13,
                ..PaperSetKeysConfig::default()
            }),
            scalar.clone(),
        ),
        (two_layer(32, 8, 0), vectors.clone()),
        (two_layer(40, 4, 13), vectors.clone()),
    ]);
    let forecasts = IoDims::continuous(seq_len, D_IN, 2 * D_IN);
    configs.extend(
        CsformerConfig::default().examples(&forecasts, 5).into_iter().map(|config| (config, forecasts.clone())),
    );
    for readout in [StackReadout::Affine, StackReadout::Softmax { width: 531, d_value: 4 }] {
        let token_wise = StackLayer {
            map: StackMap::TokenWise,
            rows: seq_len + 180,
            width: 109,
            queries: Some(113),
            keys: Some(161),
            heads: vec![Heads { count: 8, d_key: 33, d_value: 25 }, Heads { count: 1, d_key: 230, d_value: 102 }],
            d_out: 3,
        };
        let sequence_wise = StackLayer {
            map: StackMap::SequenceWise,
            rows: 97,
            width: 61,
            heads: vec![Heads { count: 3, d_key: 42, d_value: 59 }],
            d_out: 8,
            ..StackLayer::default()
        };
        let layers = vec![token_wise, sequence_wise];
        let config = AttentionStackConfig { layers, readout, ..AttentionStackConfig::default() };
        configs.push((ModelConfig::AttentionStack(config), vectors.clone()));
    }
    for position in PositionKind::examples() {
        let config = TransformerConfig { position, ..stack(2, Norm::Pre, true, StateMixer::None) };
        configs.push((ModelConfig::Transformer(config), vectors.clone()));
    }
    for kernel in KernelKind::examples() {
        let config = TransformerConfig { kernel, ..stack(2, Norm::Pre, false, StateMixer::None) };
        configs.push((ModelConfig::Transformer(config), vectors.clone()));
    }
    for norm in [Norm::Pre, Norm::Sandwich, Norm::None] {
        for state_mixer in [
            StateMixer::None,
            ffn(Activation::GeluErf),
            ffn(Activation::GeluTanh),
            ffn(Activation::Relu),
            ffn(Activation::Swiglu),
        ] {
            for (causal, n_layers) in [(true, 3), (false, 1)] {
                let config = stack(n_layers, norm, causal, state_mixer.clone());
                configs.push((ModelConfig::Transformer(config.clone()), vectors.clone()));
                configs.push((ModelConfig::Transformer(config), IoDims::tokens(seq_len, VOCAB)));
            }
        }
    }
    configs
}

#[test]
fn parameters_are_counted_right() {
    let _alone = ALONE.lock();
    for (config, dims) in configs(11) {
        let model = build(&config, &dims, &Device::flex().autodiff());
        let claimed = config.budget(&dims).parameters;
        assert_eq!(claimed, count(&model), "{config:?} on {dims:?}");
        // Numbers that no step changes are not parameters.
        let trained = collect(&model, &Trained).into_values().map(|array| array.values.len()).sum::<usize>();
        assert_eq!(claimed, trained, "{config:?} on {dims:?}");
    }
}

#[test]
fn operations_by_hand() {
    let _alone = ALONE.lock();
    let flops = |config: ModelConfig, dims: &IoDims| config.budget(dims).forward_flops;
    // 5 tokens of 3 numbers to width 4: 2·5·3·4 = 120. Then 5 + 2 rows: four projections 4·2·7·4·4 = 896,
    // scores and mixing 2·2·7·7·4 = 784. The number of heads does not matter.
    let dims = IoDims::continuous(5, 3, 1);
    assert_eq!(flops(one_layer(4, 1, 2, Readout::Channels), &dims), 120 + 896 + 784);
    assert_eq!(flops(one_layer(4, 2, 2, Readout::Channels), &dims), 120 + 896 + 784);
    // The same map, two attentions, an affine map 2·7·4·4 = 224, a head for 5 tokens 2·5·4·6 = 240.
    let dims = IoDims::continuous(5, 3, 6);
    assert_eq!(flops(two_layer(4, 2, 2), &dims), 120 + 2 * (896 + 784) + 224 + 240);
    // 5 rows: projections 4·2·5·4·4 = 640, scores and mixing 2·2·5·5·4 = 400, head 240; embedding a token costs nothing.
    let config = |state_mixer| {
        ModelConfig::Transformer(TransformerConfig {
            d_model: 4,
            n_layers: 3,
            n_heads: 2,
            state_mixer,
            ..TransformerConfig::default()
        })
    };
    assert_eq!(flops(config(StateMixer::None), &dims), 120 + 3 * (640 + 400) + 240);
    assert_eq!(flops(config(StateMixer::None), &IoDims::tokens(5, 6)), 3 * (640 + 400) + 240);
    // Feed-forward network of width 11: 2·2·5·4·11 = 880.
    let wide = StateMixer::Ffn { d_ffn: 11, activation: Activation::Relu };
    assert_eq!(flops(config(wide), &dims), 120 + 3 * (640 + 400 + 880) + 240);
    // A gated one has a third map.
    let gated = StateMixer::Ffn { d_ffn: 11, activation: Activation::Swiglu };
    assert_eq!(flops(config(gated), &dims), 120 + 3 * (640 + 400 + 880 + 440) + 240);
    // A table of tokens that is the head costs what the head costs.
    let tied =
        TransformerConfig { d_model: 4, n_heads: 2, n_layers: 3, tie_embedding: true, ..TransformerConfig::default() };
    assert_eq!(flops(ModelConfig::Transformer(tied), &IoDims::tokens(5, 6)), 3 * (640 + 400) + 240);
}

#[test]
fn a_head_that_is_read_at_few_positions_costs_those() {
    let _alone = ALONE.lock();
    let config = TransformerConfig { d_model: 4, n_heads: 2, n_layers: 3, ..TransformerConfig::default() };
    let dims = IoDims::tokens(5, 6);
    let read = |config: &TransformerConfig, positions| ModelConfig::from(config.clone()).budget_at(&dims, positions);
    let all = ModelConfig::from(config.clone()).budget(&dims);
    assert_eq!(read(&config, 5.0), all);
    // Of 5 rows of the head, 2·4·6 operations each, and of the norm and the head, which keep 4 numbers each, 1.5 remain.
    let few = read(&config, 1.5);
    assert_eq!(few.parameters, all.parameters);
    assert_eq!(all.forward_flops - few.forward_flops, 7 * 2 * 4 * 6 / 2);
    assert_eq!(all.activation_bytes - few.activation_bytes, 7 * 4 * 2 * 4 / 2);
    let tied = TransformerConfig { tie_embedding: true, ..config.clone() };
    assert_eq!(read(&tied, 1.5), Budget { parameters: read(&tied, 5.0).parameters, ..few });
    // A mean over all positions is read once, whichever are asked for.
    let pooled = TransformerConfig { pool: PoolKind::Mean, causal: false, ..config };
    assert_eq!(read(&pooled, 1.0), read(&pooled, 5.0));
}

#[test]
fn operations_of_a_stack_by_hand() {
    let _alone = ALONE.lock();
    // 5 tokens of 3 numbers to width 4: 2·5·3·4 = 120. Of 9 rows 5 ask and 7 answer: queries 2·5·4·(2·3) = 240,
    // keys 2·7·4·6 = 336, values 2·7·4·(2·1) = 112, scores and mixing 2·5·7·2·(3 + 1) = 560, output 2·5·2·6 = 120.
    let layer = StackLayer {
        map: StackMap::TokenWise,
        rows: 9,
        width: 4,
        queries: Some(5),
        keys: Some(7),
        heads: vec![Heads { count: 2, d_key: 3, d_value: 1 }],
        d_out: 6,
    };
    let readout = StackReadout::Rows;
    let config = AttentionStackConfig { layers: vec![layer], readout, ..AttentionStackConfig::default() };
    let flops = ModelConfig::AttentionStack(config).budget(&IoDims::continuous(5, 3, 6)).forward_flops;
    assert_eq!(flops, 120 + 240 + 336 + 112 + 560 + 120);
}

#[test]
fn a_step_costs_three_forward_passes() {
    let budget = Budget { parameters: 5, forward_flops: 7, activation_bytes: 11 };
    assert_eq!(budget.step_flops(13), 3 * 7 * 13);
    assert_eq!(budget.step_activation_bytes(13), 11 * 13);
}

/// Number of positions whose predictions lie in memory: an answer to the whole sequence lies there once.
fn stored(config: &ModelConfig, dims: &IoDims) -> usize {
    let answers_once = match config {
        ModelConfig::Csformer(_) => true,
        ModelConfig::Transformer(transformer) => transformer.pool != PoolKind::None,
        _ => false,
    };
    if answers_once { 1 } else { dims.seq_len }
}

/// Bytes that a forward pass leaves in use, without the prediction itself, of so many positions.
fn kept(model: &Model, dims: &IoDims, batch: usize, stored: usize, device: &Device) -> usize {
    let before = memory::in_use();
    let input = match dims.input {
        InputDims::Continuous { d_in } => {
            let values = numbers(1, batch * dims.seq_len * d_in);
            Input::Continuous(Tensor::from_data(TensorData::new(values, [batch, dims.seq_len, d_in]), device))
        }
        InputDims::Tokens { vocab } => {
            let ids: Vec<i32> = (0..batch * dims.seq_len).map(|at| (at % vocab).cast_signed() as i32).collect();
            Input::Tokens(Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, dims.seq_len]), device))
        }
    };
    let prediction = model.forward(input);
    let after = memory::in_use();
    after.saturating_sub(before).saturating_sub(4 * batch * stored * prediction.dims()[2])
}

/// The formula leaves out the nodes of the autodiff graph, some 40 KB per layer whatever the sizes, and the naive
/// kernel's mask, one byte per score of a head: together at most 4 per cent at these sizes. Of a network that keeps less than
/// 200 KB, one that reads a whole window as one patch, the nodes are a fifth. Combiner's logn makes some twenty small operations for each
/// level, whose nodes take 50 KB: at these sizes up to a quarter of all.
#[test]
fn activation_memory_is_what_the_allocator_sees() {
    const BATCH: usize = 3;
    const SMALLEST: f64 = 2e5;
    let _alone = ALONE.lock();
    let device = Device::flex().autodiff();
    let mut wrong = Vec::new();
    for seq_len in [127, 211] {
        for (config, dims) in configs(seq_len) {
            let claimed = config.budget(&dims).step_activation_bytes(BATCH) as f64;
            if claimed < SMALLEST {
                continue;
            }
            let (model, stored) = (build(&config, &dims, &device), stored(&config, &dims));
            // The median, because a thread's first matrix product allocates a scratch buffer, and a thread that ends
            // frees its own.
            let mut passes: Vec<usize> = (0..5).map(|_| kept(&model, &dims, BATCH, stored, &device)).collect();
            passes.sort_unstable();
            let measured = passes[2] as f64;
            let ratio = measured / claimed;
            let logn = CombinerConfig { blocks: CombinerBlocks::Logn, ..CombinerConfig::default() };
            let has_many_nodes = config.family().kernel() == Some(&logn.into());
            if ratio <= 1.0 || ratio >= if has_many_nodes { 1.35 } else { 1.1 } {
                wrong.push(format!("{config:?} on {dims:?}: measured {measured}, claimed {claimed}, ratio {ratio:.3}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
