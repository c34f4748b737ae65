//! Adapters: what they leave untouched, the identities that they obey, and the keys behind every parameter.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use headway_kernels::DropSeed;
use headway_model::{
    AttentionStackConfig, Capability, Heads, Input, IoDims, KernelKind, Model, ModelConfig, Norm, PaperOneLayerConfig,
    PaperSetKeysConfig, PaperTwoLayerConfig, PositionKind, StackLayer, StackMap, StackReadout, StateMixer,
    TransformerConfig,
    adapter::{Adapter, LowRankConfig, MergeError, PrefixConfig, PromptConfig, Target, is_adapter, merge},
    parameters::Key,
    weights::{Array, arrays, load, load_partial, shapes, to_host},
};
use headway_testkit::{TestDevice, assert_close, devices, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const BATCH: usize = 2;
const HEADS: usize = 3;
const D_MODEL: usize = HEADS * 5;
const D_IN: usize = 7;
const SEQ_LEN: usize = 11;
const D_OUT: usize = 2;
const LENGTH: usize = 13;

fn transformer() -> TransformerConfig {
    TransformerConfig { d_model: D_MODEL, n_heads: HEADS, n_layers: 2, ..TransformerConfig::default() }
}

fn stack() -> AttentionStackConfig {
    let heads = vec![Heads { count: 2, d_key: 3, d_value: 5 }, Heads { count: 1, d_key: 4, d_value: 2 }];
    let first = StackLayer { map: StackMap::TokenWise, rows: 17, width: 6, heads, d_out: 8, ..StackLayer::default() };
    let second = StackLayer { rows: 12, width: 9, keys: Some(10), queries: Some(4), ..first.clone() };
    let second = StackLayer { map: StackMap::SequenceWise, ..second };
    AttentionStackConfig { layers: vec![first, second], readout: StackReadout::Affine, ..Default::default() }
}

/// Every example of every family.
fn configs() -> Vec<ModelConfig> {
    ModelConfig::examples(&dims(), 1)
}

/// Every device with the configs tested on it: all on the CPU; elsewhere one with shared widths and one with free
/// widths, because everything besides the kernels is the same tensor operations, and each further size has to be
/// compiled.
fn cases() -> Vec<(TestDevice, Vec<ModelConfig>)> {
    let some = || vec![ModelConfig::Transformer(transformer()), ModelConfig::AttentionStack(stack())];
    devices().into_iter().enumerate().map(|(at, device)| (device, if at == 0 { configs() } else { some() })).collect()
}

fn dims() -> IoDims {
    IoDims::continuous(SEQ_LEN, D_IN, D_OUT)
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn model(config: &ModelConfig, device: &Device) -> Model {
    config.init(&dims(), &mut rng(1), device).unwrap()
}

fn input(device: &Device) -> Input {
    let x = TensorData::new(numbers(2, BATCH * SEQ_LEN * D_IN), [BATCH, SEQ_LEN, D_IN]);
    Input::Continuous(Tensor::from_data(x, device))
}

fn outputs(model: &Model, device: &Device) -> Vec<f32> {
    to_host(model.forward(input(device)))
}

/// The model with random numbers of the size of its weights in every parameter of its adapter, since fresh ones are
/// zero.
fn with_random_adapter(model: Model, adapter: &dyn Adapter, device: &Device) -> Model {
    let model = model.with_adapter(adapter, Some(&mut rng(3)), device);
    let mut all = arrays(&model);
    for (seed, (name, array)) in (7..).zip(&mut all) {
        if is_adapter(name) {
            array.values = numbers(seed, array.values.len()).into_iter().map(|value| 0.5 * value).collect();
        }
    }
    load(model, all).unwrap().0
}

fn lora(targets: &[Target]) -> LowRankConfig {
    LowRankConfig { rank: 2, alpha: 3.0, dropout: 0.0, targets: targets.to_vec() }
}

#[test]
fn a_fresh_low_rank_part_changes_nothing() {
    for (device, configs) in cases() {
        for config in configs {
            let plain = model(&config, &device.device);
            let adapted = plain.clone().with_adapter(&lora(&Target::ALL), Some(&mut rng(3)), &device.device);
            assert_eq!(outputs(&adapted, &device.device), outputs(&plain, &device.device), "{config:?}");
        }
    }
}

#[test]
fn merged_weights_do_what_the_adapter_does() {
    for (device, configs) in cases() {
        for config in configs {
            for targets in [&Target::ALL[..], &[Target::Key], &[Target::Query, Target::Output]] {
                let plain = model(&config, &device.device);
                let adapter = lora(targets);
                let adapted = with_random_adapter(plain.clone(), &adapter, &device.device);
                let before = outputs(&plain, &device.device);
                let with = outputs(&adapted, &device.device);
                let merged = merge(arrays(&adapted), |_| (adapter.rank, adapter.scale())).unwrap();
                let (merged, _) = load(plain.clone(), merged).unwrap();
                let name = format!("{config:?} {targets:?} on {}", device.name);
                // Two roundings in f32 instead of one, and another order of sums on the GPU.
                assert_close(&name, &outputs(&merged, &device.device), &with, device.tolerance / 10.0);
                // A bias on all keys has no effect, but other keys have.
                assert_ne!(with, before, "{name}: the adapter changes nothing");
            }
        }
    }
}

#[test]
fn low_rank_parts_by_hand() {
    // x [1, 2], A [2, 1], B [1, 2]: (1 · 5 + 2 · 7) · 2 = 38, times (11, 13).
    let array = |shape: [usize; 2], values: &[f32]| Array { shape: shape.into(), values: values.into() };
    let weights = BTreeMap::from([
        ("p.weight".to_owned(), array([2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("p.low_rank.a".to_owned(), array([1, 2], &[5.0, 7.0])),
        ("p.low_rank.b".to_owned(), array([2, 1], &[11.0, 13.0])),
    ]);
    let one = |_: &str| (1, 2.0);
    let merged = merge(weights.clone(), one).unwrap();
    // W[o][i] + 2 b[o] a[i]
    assert_eq!(merged["p.weight"].values, [111.0, 156.0, 133.0, 186.0]);
    assert_eq!(merged.len(), 1);
    for missing in ["p.weight", "p.low_rank.b"] {
        let mut weights = weights.clone();
        weights.remove(missing);
        assert!(merge(weights, one).is_err(), "without {missing}");
    }
    // A scale computed for another rank is wrong.
    let of_two = merge(weights.clone(), |_| (2, 1.0)).unwrap_err();
    assert_eq!(of_two, MergeError::Rank { projection: "p".to_owned(), said: 2, found: 1 });
    let mut huge = weights.clone();
    huge.insert("p.low_rank.b".to_owned(), array([2, 1], &[f32::MAX, 1.0]));
    assert_eq!(merge(huge, one).unwrap_err(), MergeError::NotFinite("p".to_owned()));
    let mut wide = weights;
    wide.insert("p.low_rank.b".to_owned(), array([2, 2], &[0.0; 4]));
    assert!(merge(wide, one).is_err(), "of two ranks");
}

#[test]
fn dropping_is_a_function_of_the_seed_and_scales_what_stays() {
    for device in devices() {
        let config = ModelConfig::Transformer(transformer());
        let adapter = LowRankConfig { dropout: 0.5, ..lora(&Target::ALL) };
        let model = with_random_adapter(self::model(&config, &device.device), &adapter, &device.device);
        let seeded = |seed: Option<u64>| seed.map(|seed| DropSeed::new(seed, &device.device));
        let with = |seed| outputs(&model.clone().with_dropout(seeded(seed).as_ref()), &device.device);
        assert_eq!(with(Some(5)), with(Some(5)));
        assert_ne!(with(Some(5)), with(Some(6)));
        assert_ne!(with(Some(5)), with(None));
        let dropless = LowRankConfig { dropout: 0.0, ..adapter };
        let never = with_random_adapter(self::model(&config, &device.device), &dropless, &device.device);
        assert_eq!(outputs(&never.with_dropout(seeded(Some(5)).as_ref()), &device.device), with(None));
    }
    // A single value projection in a model that is linear in it: the mean over masks equals the output without dropout.
    let device = Device::flex();
    let config = PaperOneLayerConfig { d_model: 6, n_heads: 2, n_anchors: 0, ..Default::default() };
    let config = ModelConfig::PaperOneLayer(config);
    let adapter = LowRankConfig { dropout: 0.25, ..lora(&[Target::Value]) };
    let model = with_random_adapter(self::model(&config, &device), &adapter, &device);
    let n = 4000;
    let mut mean = vec![0.0; BATCH * SEQ_LEN * 6];
    for seed in 0..n {
        let drawn = outputs(&model.clone().with_dropout(Some(&DropSeed::new(seed, &device))), &device);
        mean.iter_mut().zip(drawn).for_each(|(mean, y)| *mean += y / n as f32);
    }
    // Standard errors are near 1 % of the outputs: 5 % is five of them.
    assert_close("mean over masks", &mean, &outputs(&model, &device), 0.05);
}

/// out = Σ_p A_p v_p + (1 − m) out_plain with m the mass on the prefix, and unchanged ratios among the sequence's own keys
/// (Petrov, Torr, Bibi 2023).
#[test]
fn a_prefix_mixes_what_it_holds_with_what_attention_gave() {
    for device in devices() {
        for causal in [true, false] {
            // Attention and nothing around it but affine maps; one head, so that each row has one mass.
            let config = TransformerConfig {
                n_heads: 1,
                n_layers: 1,
                causal,
                norm: Norm::None,
                residual: false,
                ..transformer()
            };
            let plain = model(&ModelConfig::Transformer(config), &device.device);
            let prefix = PrefixConfig { length: LENGTH };
            let tuned = with_random_adapter(plain.clone(), &prefix, &device.device);
            let [before, after] = [&plain, &tuned].map(|model| model.forward_traced(input(&device.device)));
            let rows = LENGTH + SEQ_LEN;
            assert_eq!(after.layers[0].pattern.dims(), [BATCH, 1, SEQ_LEN, rows]);
            let [own, all] = [&before, &after].map(|trace| to_host(trace.layers[0].pattern.clone()));
            let [was, is] = [before.output, after.output].map(to_host);

            let weights = arrays(&tuned);
            let values = &weights["blocks.0.attention.prefix.values"].values; // [length, d_model]
            let output = affine(&weights, "blocks.0.attention.output");
            let head = affine(&weights, "head");
            let constant = head(&output(&[0.0; D_MODEL], true), true);
            let given = |p: usize| head(&output(&values[p * D_MODEL..][..D_MODEL], false), false);
            for row in 0..BATCH * SEQ_LEN {
                let pattern = &all[row * rows..][..rows];
                let mass: f32 = pattern[..LENGTH].iter().sum();
                assert!(mass > 0.1 && mass < 1.0 - 1e-4 || causal, "a prefix of some weight, {mass}");
                let shares: Vec<f32> = pattern[LENGTH..].iter().map(|share| share / (1.0 - mass)).collect();
                assert_close("ratios among own keys", &shares, &own[row * SEQ_LEN..][..SEQ_LEN], device.tolerance);
                let wanted: Vec<f32> = (0..D_OUT)
                    .map(|o| {
                        let from_prefix: f32 = (0..LENGTH).map(|p| pattern[p] * given(p)[o]).sum();
                        from_prefix + (1.0 - mass) * (was[row * D_OUT + o] - constant[o]) + constant[o]
                    })
                    .collect();
                assert_close("mixture", &is[row * D_OUT..][..D_OUT], &wanted, device.tolerance);
            }
        }
    }
}

/// z ↦ z W + b, or z W, from arrays in file orientation.
fn affine<'a>(arrays: &'a BTreeMap<String, Array>, name: &str) -> impl Fn(&[f32], bool) -> Vec<f32> + 'a {
    let (weight, bias) = (&arrays[&format!("{name}.weight")], &arrays[&format!("{name}.bias")]);
    move |z, with_bias| {
        let rows = weight.values.chunks_exact(z.len()).zip(&bias.values);
        rows.map(|(row, b)| row.iter().zip(z).map(|(w, z)| w * z).sum::<f32>() + if with_bias { *b } else { 0.0 })
            .collect()
    }
}

#[test]
fn a_prefix_reaches_every_layer_of_every_model() {
    for (device, configs) in cases() {
        for config in configs.into_iter().filter(|config| PrefixConfig::default().validate(config).is_empty()) {
            let plain = model(&config, &device.device);
            let tuned = with_random_adapter(plain.clone(), &PrefixConfig { length: LENGTH }, &device.device);
            let [before, after] = [&plain, &tuned].map(|model| model.forward_traced(input(&device.device)));
            assert_eq!(before.layers.len(), after.layers.len());
            // The attention-aware layer reads two states apart, and has no one to put learned keys before.
            let is_aware = matches!(&config, ModelConfig::Transformer(config) if config.attention_aware > 0);
            let reached = before.layers.len() - usize::from(is_aware);
            for (at, (before, after)) in before.layers.iter().zip(&after.layers).enumerate() {
                let ([b, h, q, k], now) = (before.pattern.dims(), after.pattern.dims());
                assert_eq!(now, [b, h, q, if at < reached { k + LENGTH } else { k }], "{config:?}");
            }
            assert_ne!(to_host(before.output), to_host(after.output.clone()));
            assert_close("traced", &to_host(after.output), &outputs(&tuned, &device.device), device.tolerance);
        }
    }
}

/// In a single layer, learned rows are equivalent to the keys and values computed from them, and whatever the position
/// scheme does to other rows, they have no position.
#[test]
fn a_prompt_of_one_layer_is_a_prefix() {
    const D_HEAD: usize = 4;
    let schemes = PositionKind::examples();
    for (device, position) in
        devices().into_iter().flat_map(|device| schemes.iter().map(move |scheme| (device.clone(), scheme.clone())))
    {
        let sizes = TransformerConfig { d_head: Some(D_HEAD), n_layers: 1, norm: Norm::None, ..transformer() };
        let config = TransformerConfig { position, ..sizes };
        let plain = model(&ModelConfig::Transformer(config), &device.device);
        let prompted = with_random_adapter(plain.clone(), &PromptConfig { length: LENGTH }, &device.device);
        let weights = arrays(&prompted);
        let rows = &weights["prompt.rows"].values;
        let [keys, values] = ["key", "value"].map(|name| {
            let map = affine(&weights, &format!("blocks.0.attention.{name}"));
            rows.chunks_exact(D_MODEL).flat_map(|row| map(row, true)).collect::<Vec<f32>>()
        });
        let prefixed = plain.with_adapter(&PrefixConfig { length: LENGTH }, Some(&mut rng(3)), &device.device);
        let array = |values| Array { shape: vec![LENGTH, HEADS * D_HEAD], values };
        let mut prefix = arrays(&prefixed);
        prefix.insert("blocks.0.attention.prefix.keys".to_owned(), array(keys));
        prefix.insert("blocks.0.attention.prefix.values".to_owned(), array(values));
        let (prefixed, _) = load(prefixed, prefix).unwrap();
        let got = prompted.forward(input(&device.device));
        assert_eq!(got.dims(), [BATCH, SEQ_LEN, D_OUT]);
        assert_close("prompt", &to_host(got), &outputs(&prefixed, &device.device), device.tolerance);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let config = ModelConfig::Transformer(transformer());
    let keys = |adapter: &dyn Adapter, config: &ModelConfig| -> Vec<&str> {
        adapter.validate(config).into_iter().map(|problem| problem.key).collect()
    };
    let fine = lora(&Target::ALL);
    assert!(keys(&fine, &config).is_empty());
    for (adapter, key) in [
        (LowRankConfig { rank: 0, ..fine.clone() }, "rank"),
        (LowRankConfig { rank: D_MODEL + 1, ..fine.clone() }, "rank"),
        (LowRankConfig { alpha: 0.0, ..fine.clone() }, "alpha"),
        (LowRankConfig { alpha: f64::NAN, ..fine.clone() }, "alpha"),
        (LowRankConfig { dropout: 1.0, ..fine.clone() }, "dropout"),
        (LowRankConfig { dropout: -0.1, ..fine.clone() }, "dropout"),
        (LowRankConfig { targets: vec![], ..fine.clone() }, "targets"),
        (LowRankConfig { targets: vec![Target::Key, Target::Key], ..fine.clone() }, "targets"),
    ] {
        assert_eq!(keys(&adapter, &config), [key], "{adapter:?}");
    }
    assert!(keys(&LowRankConfig { rank: D_MODEL, ..fine.clone() }, &config).is_empty());
    // Layers of a stack have different widths, and the widest counts; here it is that of the values: 13 numbers in, 2
    // heads of 3 give 6.
    let stack = ModelConfig::AttentionStack(AttentionStackConfig {
        layers: vec![StackLayer {
            width: 13,
            heads: vec![Heads { count: 2, d_key: 2, d_value: 3 }],
            d_out: 5,
            ..StackLayer::default()
        }],
        ..AttentionStackConfig::default()
    });
    for (target, largest) in Target::ALL.into_iter().zip([4, 4, 6, 5]) {
        let of_rank = |rank| keys(&LowRankConfig { rank, ..lora(&[target]) }, &stack);
        assert_eq!([of_rank(largest), of_rank(largest + 1)], [vec![], vec!["rank"]], "{target:?}");
    }
    assert_eq!(keys(&PrefixConfig { length: 0 }, &config), ["length"]);
    assert_eq!(keys(&PromptConfig { length: 0 }, &config), ["length"]);
    let set_keys = ModelConfig::PaperSetKeys(PaperSetKeysConfig::default());
    assert_eq!(keys(&PrefixConfig::default(), &set_keys), [""]);
    for config in configs() {
        let can = |capability| config.can(capability);
        assert_eq!(keys(&PrefixConfig::default(), &config).is_empty(), can(Capability::Prefix), "{config:?}");
        assert_eq!(keys(&PromptConfig::default(), &config).is_empty(), can(Capability::Prompt), "{config:?}");
    }
}

/// Changes one key and compares the parameters that change with those that name the key.
#[test]
fn parameters_follow_the_keys_that_they_name() {
    let shapes_of =
        |config: &ModelConfig, dims: &IoDims| shapes(&config.init(dims, &mut rng(1), &Device::flex()).unwrap());
    let transformer = transformer();
    let ffn = StateMixer::Ffn { d_ffn: 19, activation: headway_model::Activation::Relu };
    let with_ffn = TransformerConfig { state_mixer: ffn, ..transformer.clone() };
    let one = PaperOneLayerConfig { d_model: 6, n_anchors: 5, ..Default::default() };
    let two = PaperTwoLayerConfig { d_model: 6, n_heads: 2, n_anchors: 5, ..Default::default() };
    let narrower = stack().layers.into_iter().map(|layer| StackLayer { width: 5, d_out: 7, ..layer }).collect();
    let t = ModelConfig::Transformer;
    let changes: Vec<(Key, ModelConfig, ModelConfig)> = vec![
        (Key::Model("d_model"), t(with_ffn.clone()), t(TransformerConfig { d_model: 2 * D_MODEL, ..with_ffn.clone() })),
        (Key::Model("n_layers"), t(with_ffn.clone()), t(TransformerConfig { n_layers: 3, ..with_ffn.clone() })),
        (Key::Model("norm"), t(with_ffn.clone()), t(TransformerConfig { norm: Norm::None, ..with_ffn.clone() })),
        (
            Key::Model("state_mixer"),
            t(with_ffn.clone()),
            t(TransformerConfig { state_mixer: StateMixer::None, ..with_ffn }),
        ),
        (
            Key::Model("position"),
            t(transformer.clone()),
            t(TransformerConfig { position: PositionKind::None, ..transformer }),
        ),
        (
            Key::Model("d_model"),
            ModelConfig::PaperOneLayer(one.clone()),
            ModelConfig::PaperOneLayer(PaperOneLayerConfig { d_model: 9, ..one.clone() }),
        ),
        (
            Key::Model("n_anchors"),
            ModelConfig::PaperOneLayer(one.clone()),
            ModelConfig::PaperOneLayer(PaperOneLayerConfig { n_anchors: 0, ..one }),
        ),
        (
            Key::Model("d_model"),
            ModelConfig::PaperTwoLayer(two.clone()),
            ModelConfig::PaperTwoLayer(PaperTwoLayerConfig { d_model: 8, ..two }),
        ),
        (
            Key::Model("readout"),
            ModelConfig::AttentionStack(stack()),
            ModelConfig::AttentionStack(AttentionStackConfig {
                readout: StackReadout::Softmax { width: 3, d_value: 4 },
                ..stack()
            }),
        ),
        (
            Key::Model("layers"),
            ModelConfig::AttentionStack(stack()),
            ModelConfig::AttentionStack(AttentionStackConfig { layers: narrower, ..stack() }),
        ),
    ];
    let check = |key: Key,
                 config: &ModelConfig,
                 before: &BTreeMap<String, Vec<usize>>,
                 after: &BTreeMap<String, Vec<usize>>| {
        let names = before.keys().chain(after.keys());
        let mut changed = 0;
        for name in names {
            // For new layers, only names that both models have are compared.
            let differs = before.get(name) != after.get(name);
            changed += usize::from(differs);
            let keys = config.keys_of(name).unwrap_or_else(|| panic!("{name} of {} follows nothing", config.name()));
            let keys = if before.contains_key(name) && after.contains_key(name) { keys.shape } else { keys.presence };
            assert!(
                !differs || keys.contains(&key),
                "{name} of {} changes with {key:?}, but names {keys:?}",
                config.name()
            );
        }
        assert!(changed > 0, "nothing of {} changes with {key:?}", config.name());
    };
    for (key, config, other) in changes {
        check(key, &config, &shapes_of(&config, &dims()), &shapes_of(&other, &dims()));
    }
    let others = [
        (Key::Inputs, IoDims::continuous(SEQ_LEN, D_IN + 1, D_OUT)),
        (Key::Length, IoDims::continuous(SEQ_LEN + 1, D_IN, D_OUT)),
        (Key::Outputs, IoDims::continuous(SEQ_LEN, D_IN, D_OUT + 1)),
    ];
    for config in configs() {
        for (key, other) in others.iter().filter(|(_, other)| config.validate(other).is_empty()) {
            let (before, after) = (shapes_of(&config, &dims()), shapes_of(&config, other));
            if before != after {
                assert!(config.task_sizes().contains(key), "{config:?} follows {key:?}");
                check(*key, &config, &before, &after);
            }
        }
    }
}

#[test]
fn kernels_are_another_way_to_the_same_function() {
    let kernel = || KernelKind::Naive;
    let (one, two) = (PaperOneLayerConfig::default(), PaperTwoLayerConfig::default());
    for (config, other) in [
        (
            ModelConfig::Transformer(transformer()),
            ModelConfig::Transformer(TransformerConfig { kernel: kernel(), ..transformer() }),
        ),
        (
            ModelConfig::AttentionStack(stack()),
            ModelConfig::AttentionStack(AttentionStackConfig { kernel: kernel(), ..stack() }),
        ),
        (
            ModelConfig::PaperOneLayer(one.clone()),
            ModelConfig::PaperOneLayer(PaperOneLayerConfig { kernel: kernel(), ..one }),
        ),
        (
            ModelConfig::PaperTwoLayer(two.clone()),
            ModelConfig::PaperTwoLayer(PaperTwoLayerConfig { kernel: kernel(), ..two }),
        ),
    ] {
        assert_ne!(config, other);
        assert_eq!(config.function(), other.function());
    }
    let heads = TransformerConfig { n_heads: 1, ..transformer() };
    assert_ne!(ModelConfig::Transformer(heads).function(), ModelConfig::Transformer(transformer()).function());
}

#[test]
fn adapters_are_told_from_other_parameters_by_name() {
    for config in configs() {
        let plain = model(&config, &Device::flex());
        assert!(!shapes(&plain).keys().any(|name| is_adapter(name)));
        let adapters: [&dyn Adapter; 3] =
            [&LowRankConfig::default(), &PrefixConfig::default(), &PromptConfig::default()];
        for adapter in adapters.into_iter().filter(|adapter| adapter.validate(&config).is_empty()) {
            let adapted = plain.clone().with_adapter(adapter, Some(&mut rng(3)), &Device::flex());
            let (_, report) = load_partial(adapted, arrays(&plain));
            assert!(!report.missing.is_empty() && report.missing.iter().all(|name| is_adapter(name)), "{report:?}");
            assert_eq!(report.taken.len(), arrays(&plain).len());
        }
    }
}

#[test]
fn low_rank_parts_learn_on_a_device_with_gradients() {
    let device = Device::flex().autodiff();
    let model = model(&ModelConfig::Transformer(transformer()), &device);
    let model = with_random_adapter(model, &lora(&Target::ALL), &device);
    let loss = model.forward(input(&device)).powi_scalar(2).mean();
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &model);
    let gradients = headway_model::weights::collect(&model, &gradients);
    for (name, shape) in shapes(&model).into_iter().filter(|(name, _)| is_adapter(name)) {
        let gradient = gradients.get(&name).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(gradient.shape, shape, "{name}");
        assert!(gradient.values.iter().any(|g| *g != 0.0) || name.contains("key"), "{name} has a gradient of zero");
    }
    drop(model.valid());
}
