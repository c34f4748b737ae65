//! Weights of tokens: compared with PyTorch (`fixtures/token_weights.py`), and their laws.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    AwareAttention, FavorConfig, Initializer, Input, IoDims, Kernel, KernelKind, LayerNorm, Mask, Model, ModelConfig,
    Recorder, StateNorm, TokenWeight, TransformerConfig, View, deeper,
    weights::{Array, arrays, arrays_from_bytes, load, to_host},
};
use headway_testkit::{assert_close, devices, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const SEQ_LEN: usize = 5;
const D_IN: usize = 3;

fn case(name: &str) -> BTreeMap<String, Array> {
    let all = arrays_from_bytes(include_bytes!("fixtures/token_weights.safetensors")).unwrap();
    let own =
        all.into_iter().filter_map(|(key, array)| Some((key.strip_prefix(&format!("{name}."))?.to_owned(), array)));
    own.collect()
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values.clone(), array.shape.clone()), device)
}

#[test]
fn weighted_scores_are_those_of_pytorch() {
    let case = case("weighted");
    for on in devices() {
        let device = on.device.clone().autodiff();
        for kind in [KernelKind::Naive, KernelKind::Softmax] {
            let [q, k, v] = ["q", "k", "v"].map(|part| tensor::<4>(&case[part], &device).require_grad());
            let view = View { weights: Some(tensor(&case["share"], &device)), ..Mask::Full.into() };
            let kernel = kind.init(4, &mut ChaCha8Rng::seed_from_u64(1), &device);
            let output = kernel.mix(q.clone(), k.clone(), v.clone(), &view);
            let label = format!("{} on {}", kind.name(), on.name);
            assert_close(&label, &to_host(output.clone()), &case["output"].values, on.tolerance);
            let gradients = (output * tensor(&case["weights"], &device)).sum().backward();
            for (part, x) in [("d_q", q), ("d_k", k), ("d_v", v)] {
                let gradient = to_host(x.grad(&gradients).unwrap());
                assert_close(&format!("{label}, {part}"), &gradient, &case[part].values, 4.0 * on.tolerance);
            }
        }
    }
}

#[test]
fn the_attention_aware_layer_is_that_of_pytorch() {
    let case = case("aware");
    for on in devices() {
        let device = on.device.clone().autodiff();
        let is_parameter = |name: &str| name.contains('.') && !name.starts_with("d_");
        let parameters = case.iter().filter(|(name, _)| is_parameter(name));
        let parameters = parameters.map(|(name, array)| (name.clone(), array.clone())).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut init = Initializer::new(&mut rng, &device);
        let norm = StateNorm::Layer(LayerNorm::new(6, &mut init));
        let layer = AwareAttention::new(6, 2, Some(norm), &mut init);
        let layer = load(layer, parameters).unwrap().0;
        let [h, e] = ["h", "e"].map(|part| tensor::<3>(&case[part], &device).require_grad());
        let output = layer.run(h.clone(), e.clone(), tensor(&case["share"], &device), &mut Recorder::default());
        assert_close(on.name, &to_host(output.clone()), &case["output"].values, 4.0 * on.tolerance);
        let gradients = (output * tensor(&case["weights"], &device)).sum().backward();
        for (part, x) in [("d_h", h), ("d_e", e)] {
            let gradient = to_host(x.grad(&gradients).unwrap());
            assert_close(&format!("{part} on {}", on.name), &gradient, &case[part].values, 16.0 * on.tolerance);
        }
    }
}

/// A network with the same parameters whether tokens have weights or not.
fn network(token_weight: TokenWeight, device: &Device) -> Model {
    let config = TransformerConfig { d_model: 8, causal: false, token_weight, ..TransformerConfig::default() };
    let config = ModelConfig::from(config);
    config.init(&IoDims::continuous(SEQ_LEN, D_IN, 2), &mut ChaCha8Rng::seed_from_u64(2), device).unwrap()
}

/// Inputs with these shares as their last numbers.
fn inputs(shares: [f32; SEQ_LEN], device: &Device) -> Input {
    let mut values = numbers(3, SEQ_LEN * D_IN);
    values.chunks_exact_mut(D_IN).zip(shares).for_each(|(input, share)| input[D_IN - 1] = share);
    Input::Continuous(Tensor::from_data(TensorData::new(values, [1, SEQ_LEN, D_IN]), device))
}

/// Negative scores are divided by 1 + 1e-5, which moves outputs by less than that times the largest score, a few units.
#[test]
fn weight_1_everywhere_is_plain_attention_and_another_is_not() {
    for on in devices() {
        let [plain, weighted] = [TokenWeight::None, TokenWeight::Tfill].map(|weight| network(weight, &on.device));
        assert_eq!(arrays(&plain).keys().collect::<Vec<_>>(), arrays(&weighted).keys().collect::<Vec<_>>());
        let answers = |model: &Model, shares| to_host(model.forward(inputs(shares, &on.device)));
        let known = [1.0; SEQ_LEN];
        assert_close(on.name, &answers(&weighted, known), &answers(&plain, known), on.tolerance.max(1e-4));
        let mut partly = known;
        partly[2] = 0.25;
        let (found, other) = (answers(&weighted, partly), answers(&plain, partly));
        assert!(found.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-3), "{found:?}, {other:?}");
    }
}

/// m, √m, … of a hidden token, 0.01, of a half known one, and of a known one.
#[test]
fn weights_rise_to_1_with_depth() {
    let device = Device::flex();
    let first = Tensor::<2>::from_data([[0.01, 0.5, 1.0]], &device);
    let mut layers = vec![to_host(first.clone())];
    let last = (0..11).fold(first, |weights, _| {
        let next = deeper(weights);
        layers.push(to_host(next.clone()));
        next
    });
    assert!((layers[1][0] - 0.1).abs() < 1e-7 && (layers[2][0] - 0.1_f32.sqrt()).abs() < 1e-7, "{layers:?}");
    assert!(layers.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(m, next)| m <= next)), "{layers:?}");
    assert!(to_host(last).iter().all(|weight| *weight > 0.99 && *weight <= 1.0), "{layers:?}");
}

#[test]
fn a_share_is_taken_from_a_hundredth_to_1_and_what_makes_no_sense_is_refused() {
    let model = network(TokenWeight::Tfill, &Device::flex());
    let answers = |shares| to_host(model.forward(inputs(shares, &Device::flex())));
    assert!(answers([-3.0, 0.0, 0.5, 1.0, 7.0]).iter().all(|y| y.is_finite()));
    let sound = TransformerConfig {
        d_model: 8,
        causal: false,
        token_weight: TokenWeight::Tfill,
        attention_aware: 2,
        ..TransformerConfig::default()
    };
    let keys = |config: &TransformerConfig, dims: &IoDims| -> Vec<&str> {
        ModelConfig::from(config.clone()).validate(dims).iter().map(|problem| problem.key).collect()
    };
    let vectors = IoDims::continuous(SEQ_LEN, D_IN, 2);
    assert_eq!(keys(&sound, &vectors), [""; 0]);
    assert_eq!(keys(&sound, &IoDims::tokens(SEQ_LEN, 7)), ["token_weight"]);
    let favor = KernelKind::Favor(FavorConfig::default());
    assert_eq!(keys(&TransformerConfig { kernel: favor, ..sound.clone() }, &vectors), ["kernel"]);
    for (attention_aware, token_weight, causal) in
        [(3, TokenWeight::Tfill, false), (2, TokenWeight::None, false), (2, TokenWeight::Tfill, true)]
    {
        let config = TransformerConfig { attention_aware, token_weight, causal, ..sound.clone() };
        assert_eq!(keys(&config, &vectors), ["attention_aware"], "{config:?}");
    }
}
