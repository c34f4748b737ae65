//! Transformers of the parts around attention compared with PyTorch, outputs and gradients: `fixtures/layer_parts.py`.

use std::collections::BTreeMap;

use burn::{
    optim::GradientsParams,
    tensor::{Device, Int, Tensor, TensorData},
};
use headway_model::{
    Activation, Input, IoDims, ModelConfig, Norm, NormKind, PositionKind, QkNorm, RopeConfig, StateMixer,
    TransformerConfig, ValueResidual,
    weights::{Array, arrays_from_bytes, collect, load, to_host},
};
use headway_testkit::{assert_close, assert_close_of_scale, devices};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const ROWS: usize = 7;
const D_IN: usize = 5;
const D_OUT: usize = 3;
const VOCAB: usize = 11;

/// The parts of one case by name.
fn case(name: &str) -> BTreeMap<String, Array> {
    let all = arrays_from_bytes(include_bytes!("fixtures/layer_parts.safetensors")).unwrap();
    let own =
        all.into_iter().filter_map(|(key, array)| Some((key.strip_prefix(&format!("{name}."))?.to_owned(), array)));
    own.collect()
}

/// Arrays of a case below a prefix.
fn below(case: &BTreeMap<String, Array>, prefix: &str) -> BTreeMap<String, Array> {
    let own = case.iter().filter_map(|(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array.clone())));
    own.collect()
}

fn tensor(array: &Array, device: &Device) -> Tensor<3> {
    let shape: [usize; 3] = array.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(array.values.clone(), shape), device)
}

fn agrees(name: &str, config: &TransformerConfig) {
    let case = case(name);
    let parameters = below(&case, "p.");
    for on in devices() {
        let device = on.device.clone().autodiff();
        let dims =
            if config.tie_embedding { IoDims::tokens(ROWS, VOCAB) } else { IoDims::continuous(ROWS, D_IN, D_OUT) };
        let config = ModelConfig::Transformer(config.clone());
        assert_eq!(config.validate(&dims), []);
        let model = config.init(&dims, &mut ChaCha8Rng::seed_from_u64(1), &device).unwrap();
        let model = load(model, parameters.clone()).unwrap().0;
        let x = case.get("x").map(|x| tensor(x, &device).require_grad());
        let input = if let Some(x) = &x {
            Input::Continuous(x.clone())
        } else {
            let Array { shape, values } = &case["tokens"];
            let ids: Vec<i32> = values.iter().map(|id| *id as i32).collect();
            Input::Tokens(Tensor::<2, Int>::from_data(TensorData::new(ids, [shape[0], shape[1]]), &device))
        };
        let output = model.forward(input);
        let label = format!("{name} on {}", on.name);
        assert_close(&label, &to_host(output.clone()), &case["output"].values, on.tolerance);
        let gradients = (output * tensor(&case["weights"], &device)).sum().backward();
        if let Some(x) = x {
            let d_x = to_host(x.grad(&gradients).unwrap());
            assert_close(&format!("{label}, d_x"), &d_x, &case["d_x"].values, 4.0 * on.tolerance);
        }
        let gradients = collect(&model, &GradientsParams::from_grads(gradients, &model));
        let wanted = below(&case, "d.");
        assert_eq!(gradients.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{label}");
        let scale = |array: &Array| array.values.iter().fold(0.0, |top: f64, g| top.max(f64::from(g.abs())));
        for (parameter, want) in &wanted {
            let gradient = &gradients[parameter];
            assert_eq!(gradient.shape, want.shape, "{label}, {parameter}");
            // Of a bias and of its weight alike: a sum over positions may nearly cancel.
            let (module, _) = parameter.rsplit_once('.').unwrap();
            let of_weight = wanted.get(&format!("{module}.weight")).map_or(0.0, scale);
            let scale = scale(want).max(of_weight);
            let label = format!("{label}, {parameter}");
            assert_close_of_scale(&label, &gradient.values, &want.values, scale, 4.0 * on.tolerance);
        }
    }
}

fn sizes(n_layers: usize, n_heads: usize, n_kv_heads: usize, d_head: usize) -> TransformerConfig {
    let (n_kv_heads, d_head) = (Some(n_kv_heads), Some(d_head));
    let position = PositionKind::None;
    TransformerConfig { d_model: 6, n_layers, n_heads, n_kv_heads, d_head, position, ..TransformerConfig::default() }
}

/// Zero-centred norms of states, queries and keys, rotary positions, shared keys and values, a gate on what layers add, SwiGLU.
#[test]
fn the_block_of_the_san_study_is_that_of_pytorch() {
    agrees(
        "san",
        &TransformerConfig {
            norm_kind: NormKind::ZeroCentredRms,
            qk_norm: QkNorm::ZeroCentredRms,
            position: PositionKind::Rope(RopeConfig { theta: 31.0, ..RopeConfig::default() }),
            residual_gate: true,
            state_mixer: StateMixer::Ffn { d_ffn: 13, activation: Activation::Swiglu },
            ..sizes(2, 4, 2, 4)
        },
    );
}

#[test]
fn sandwich_norms_temperatures_and_learned_shares_of_values_are_those_of_pytorch() {
    agrees(
        "sandwich",
        &TransformerConfig {
            norm: Norm::Sandwich,
            head_temperature: true,
            value_residual: ValueResidual::Learned,
            state_mixer: StateMixer::Ffn { d_ffn: 13, activation: Activation::Relu },
            ..sizes(3, 3, 3, 2)
        },
    );
}

#[test]
fn a_tied_embedding_and_halves_of_values_are_those_of_pytorch() {
    agrees(
        "tied",
        &TransformerConfig {
            norm: Norm::Sandwich,
            norm_kind: NormKind::Rms,
            norm_epsilon: Some(1e-2),
            value_residual: ValueResidual::Identity,
            tie_embedding: true,
            ..sizes(3, 3, 1, 4)
        },
    );
}

/// Gains g and 1 + g are one function, and have the same gradients.
#[test]
fn zero_centred_gains_are_gains_less_one() {
    let dims = IoDims::continuous(ROWS, D_IN, D_OUT);
    let device = Device::flex().autodiff();
    let with = |norm_kind, qk_norm, moved: f32| {
        let config = TransformerConfig { norm_kind, qk_norm, ..sizes(2, 4, 2, 4) };
        let mut case = case("san");
        let is_gain = |name: &str| name.contains("norm.");
        let model = ModelConfig::Transformer(config).init(&dims, &mut ChaCha8Rng::seed_from_u64(2), &device).unwrap();
        let mut arrays = headway_model::weights::arrays(&model);
        let gains = arrays.iter_mut().filter(|(name, _)| is_gain(name));
        for (at, (_, array)) in gains.enumerate() {
            array.values.iter_mut().enumerate().for_each(|(c, gain)| *gain = moved + 0.125 * ((at + c) % 5) as f32);
        }
        let model = load(model, arrays).unwrap().0;
        let x = tensor(&case.remove("x").unwrap(), &device);
        let output = model.forward(Input::Continuous(x));
        let gradients = GradientsParams::from_grads(output.clone().powi_scalar(2).sum().backward(), &model);
        (to_host(output), collect(&model, &gradients))
    };
    // Numbers whose sums with one are exact.
    let (gain, of_gain) = with(NormKind::Rms, QkNorm::Rms, 1.0);
    let (zero_centred, of_zero_centred) = with(NormKind::ZeroCentredRms, QkNorm::ZeroCentredRms, 0.0);
    assert_eq!(gain, zero_centred);
    assert_eq!(of_gain, of_zero_centred);
}

#[test]
fn parts_that_do_not_fit_are_refused_by_key() {
    let vectors = IoDims::continuous(ROWS, D_IN, D_OUT);
    let base = sizes(2, 3, 3, 2);
    let cases = [
        ("norm_kind", TransformerConfig { norm: Norm::None, norm_kind: NormKind::Rms, ..base.clone() }),
        ("norm_epsilon", TransformerConfig { norm_epsilon: Some(1e-5), ..base.clone() }),
        ("norm_epsilon", TransformerConfig { norm_epsilon: Some(0.0), qk_norm: QkNorm::Rms, ..base.clone() }),
        ("residual_gate", TransformerConfig { residual: false, residual_gate: true, ..base.clone() }),
        ("value_residual", TransformerConfig { n_layers: 1, value_residual: ValueResidual::Learned, ..base.clone() }),
        ("tie_embedding", TransformerConfig { tie_embedding: true, ..base }),
    ];
    for (key, config) in cases {
        let problems = ModelConfig::Transformer(config).validate(&vectors);
        assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), [key], "{problems:?}");
    }
}
