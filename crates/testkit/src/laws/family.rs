//! Laws that every model family obeys, on every device of the build.
//!
//! All sizes are distinct primes, so that no two can be swapped unnoticed.

use burn::tensor::{Device, Int, Tensor, TensorData};
use headway_model::{
    Family, Input, InputDims, IoDims, Kept, Law, LayerRows, LayerShape, Model, ModelConfig, Replacement, Shape,
    adapter::{Adapter, PrefixConfig, PromptConfig},
    parameters::{Key, matches},
    plain::{NoPlainForm, Parameters},
    weights::{Trained, arrays, arrays_from_bytes, collect, count, load, names, shapes, to_bytes, to_host},
};
use headway_plain::network::Matrix;

use super::generator;
use crate::{assert_close, devices, numbers};

const BATCH: usize = 2;

/// Every law, for every example of a family and every kind of data that it takes.
pub fn all(family: &dyn Family) {
    for (config, dims) in cases(|dims| family.examples(dims, 1)) {
        the_state_behind_the_last_layer_is_read_as_the_model_reads_it(&config, &dims);
        replacements_replace_the_heads_they_name_and_no_others(&config, &dims);
        output_has_the_shape_that_the_config_names(&config, &dims);
        one_answer_is_the_same_at_every_position(&config, &dims);
        answers_that_are_asked_for_are_those_of_all(&config, &dims);
        a_trace_shows_the_forward_pass(&config, &dims);
        initial_weights_come_from_the_generator_alone(&config, &dims);
        weights_survive_a_file_bit_for_bit(&config, &dims);
        an_uninitialized_model_takes_weights_as_a_drawn_one_does(&config, &dims);
        parameters_are_counted_right(&config, &dims);
        parameters_follow_what_the_rules_name(&config, &dims);
        the_head_is_a_part_of_the_network(&config, &dims);
        plain_layers_are_those_of_the_network(&config, &dims);
        the_plain_function_is_that_of_the_network(&config, &dims);
        reading_on_is_reading_at_once(&config, &dims);
    }
}

/// Configs with data that they accept: vectors with several outputs, vectors with one output, tokens, and vectors with two outputs for every
/// input.
pub fn cases(examples: impl Fn(&IoDims) -> Vec<ModelConfig>) -> Vec<(ModelConfig, IoDims)> {
    let data = [
        IoDims::continuous(11, 7, 17),
        IoDims::continuous(11, 7, 1),
        IoDims::tokens(11, 23),
        IoDims::continuous(11, 7, 14),
    ];
    let mut cases: Vec<(ModelConfig, IoDims)> = Vec::new();
    for dims in data {
        for config in examples(&dims).into_iter().filter(|config| config.validate(&dims).is_empty()) {
            // Once with vectors, once with tokens.
            let is_tokens = |dims: &IoDims| matches!(dims.input, InputDims::Tokens { .. });
            if cases.iter().all(|(other, known)| *other != config || is_tokens(known) != is_tokens(&dims)) {
                cases.push((config, dims.clone()));
            }
        }
    }
    cases
}

fn build(config: &ModelConfig, dims: &IoDims, seed: u64, device: &Device) -> Model {
    config.init(dims, &mut generator(seed), device).unwrap()
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

/// The readout applied to the state after the last layer gives the model's output.
pub fn the_state_behind_the_last_layer_is_read_as_the_model_reads_it(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        {
            let model = build(config, dims, 1, &on.device);
            let trace = model.forward_traced(input(dims, 2, &on.device));
            let last = trace.layers.into_iter().last().unwrap().hidden;
            let what = format!("{config:?} on {}", on.name);
            assert_close(&what, &to_host(model.read_out(last)), &to_host(trace.output), on.tolerance);
        }
    }
}

/// A constant replaces the head that it names and no other, and each head has an effect of its own.
pub fn replacements_replace_the_heads_they_name_and_no_others(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        {
            let model = build(config, dims, 1, &on.device);
            let plain = to_host(model.forward(input(dims, 2, &on.device)));
            let what = format!("{config:?} on {}", on.name);
            let replaced = |all: &[Replacement]| to_host(model.forward_replacing(input(dims, 2, &on.device), all));
            assert_eq!(replaced(&[]), plain, "{what}");
            let layers = config.shape(dims).layers;
            let heads = mixtures(&model, input(dims, 2, &on.device));
            assert_eq!(heads.len(), layers.iter().map(|layer| layer.n_heads).sum::<usize>(), "{what}");
            let nowhere = Replacement { layer: layers.len(), head: 0, mixture: vec![] };
            assert_eq!(replaced(&[nowhere]), plain, "{what}");
            // Each head has an effect of its own.
            let mut outputs = vec![plain];
            // Where keys may have no weight, all keys of a head may have none.
            let may_be_dead = config.family().kernel().is_some_and(|k| k.spec().lacks().contains(&Law::FullSupport));
            let lives = |head: &&Replacement| !may_be_dead || head.mixture.iter().any(|x| *x != 0.0);
            for head in heads.iter().filter(lives) {
                outputs.push(replaced(&[Replacement { mixture: vec![0.0; head.mixture.len()], ..head.clone() }]));
            }
            for (a, b) in (0..outputs.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                assert_ne!(outputs[a], outputs[b], "{what}: {a} and {b}");
            }
        }
    }
}

/// The output has the shape that the config says, is finite, and differs for another sequence.
pub fn output_has_the_shape_that_the_config_names(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        {
            assert_eq!(config.validate(dims), []);
            let model = build(config, dims, 1, &on.device);
            let output = model.forward(input(dims, 2, &on.device));
            assert_eq!(output.dims(), [BATCH, dims.seq_len, config.shape(dims).width], "{config:?} on {}", on.name);
            let output = to_host(output);
            assert!(output.iter().all(|y| y.is_finite()), "{config:?} on {}", on.name);
            let half = output.len() / 2;
            assert_ne!(output[..half], output[half..], "{config:?}: both sequences give the same");
        }
    }
}

/// The prediction is the same at every position exactly if the config says so.
pub fn one_answer_is_the_same_at_every_position(config: &ModelConfig, dims: &IoDims) {
    let device = Device::flex();
    let output = to_host(build(config, dims, 1, &device).forward(input(dims, 2, &device)));
    let width = output.len() / (BATCH * dims.seq_len);
    let is_one = output.chunks_exact(dims.seq_len * width).all(|one| one[..width].repeat(dims.seq_len) == one);
    assert_eq!(is_one, config.family().one_answer_key().is_some(), "{config:?}");
}

/// What is predicted at the last positions, or at some of those, is what is predicted there among all.
pub fn answers_that_are_asked_for_are_those_of_all(config: &ModelConfig, dims: &IoDims) {
    const ASKED: usize = 5;
    // One row of the first sequence and two of the second, whose last is the last of all.
    let rows = [3_i32, 5, 9];
    for on in devices() {
        let model = build(config, dims, 1, &on.device);
        let input = || input(dims, 2, &on.device);
        let whole = model.forward(input()); // [2, seq_len, width]
        let width = whole.dims()[2];
        let last = to_host(whole.narrow(1, dims.seq_len - ASKED, ASKED));
        let name = format!("{config:?} on {}", on.name);
        assert_close(&name, &to_host(model.forward_last(input(), ASKED)), &last, on.tolerance);
        let at: Vec<f32> =
            rows.iter().flat_map(|row| &last[row.unsigned_abs() as usize * width..][..width]).copied().collect();
        let picked = model.forward_picked(input(), ASKED, Tensor::<1, Int>::from_data(rows, &on.device));
        assert_eq!(picked.dims(), [1, rows.len(), width], "{name}");
        assert_close(&name, &to_host(picked), &at, on.tolerance);
    }
}

/// A trace gives the same output, and states and patterns of the config's shapes; hidden pairs have weight zero.
pub fn a_trace_shows_the_forward_pass(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        {
            let label = format!("{config:?} on {}", on.name);
            let model = build(config, dims, 1, &on.device);
            let output = to_host(model.forward(input(dims, 2, &on.device)));
            let trace = model.forward_traced(input(dims, 2, &on.device));
            assert_close(&label, &to_host(trace.output), &output, on.tolerance);
            let Shape { embedded: [rows, width], layers, .. } = config.shape(dims);
            assert_eq!(trace.embedded.dims(), [BATCH, rows, width], "{label}");
            assert_eq!(trace.layers.len(), layers.len(), "{label}");
            let rows_of = config.family().layer_rows(dims);
            for ((layer, shape), rows_of) in trace.layers.into_iter().zip(layers).zip(rows_of) {
                let LayerShape { n_heads, q_len: queries, k_len: keys, state: [rows, width] } = shape;
                assert_eq!(layer.hidden.dims(), [BATCH, rows, width], "{label}");
                assert_eq!(layer.pattern.dims(), [BATCH, n_heads, queries, keys], "{label}");
                let pattern = to_host(layer.pattern);
                let lacks = |law| config.family().kernel().is_some_and(|kernel| kernel.spec().lacks().contains(&law));
                if !lacks(Law::RowsSumToOne) {
                    let sums: Vec<f32> = pattern.chunks_exact(keys).map(|row| row.iter().sum()).collect();
                    assert_close(&label, &sums, &vec![1.0; sums.len()], on.tolerance);
                }
                // Rows behind those that are read belong to no position, and everybody may see them.
                if config.family().causal_key().is_some() {
                    let LayerRows { rows, first_key, read, .. } = rows_of;
                    let future = |at: usize| (at / keys % queries + 1..read).contains(&(first_key + at % keys));
                    let sees_future = pattern.iter().enumerate().any(|(at, weight)| future(at) && *weight != 0.0);
                    assert!(!sees_future || config.sees_ahead(dims), "{label} sees what its mask hides");
                    assert!(sees_future || !config.sees_ahead(dims) || read < rows, "{label} sees no later row");
                }
            }
        }
    }
}

/// Initial weights depend only on the generator, not on the device.
pub fn initial_weights_come_from_the_generator_alone(config: &ModelConfig, dims: &IoDims) {
    let devices = devices();
    {
        let bytes = |seed, device: &Device| to_bytes(&build(config, dims, seed, device)).unwrap();
        let first = bytes(1, &devices[0].device);
        for on in &devices {
            assert_eq!(first, bytes(1, &on.device), "{config:?} on {}", on.name);
            assert_eq!(first, bytes(1, &on.device.clone().autodiff()), "{config:?} on {} with gradients", on.name);
        }
        assert_ne!(first, bytes(2, &devices[0].device), "{config:?}: another seed gives the same weights");
    }
}

/// Weights read back from a file are equal bit for bit.
pub fn weights_survive_a_file_bit_for_bit(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        {
            let label = format!("{config:?} on {}", on.name);
            let model = build(config, dims, 1, &on.device);
            let bytes = to_bytes(&model).unwrap();
            let (restored, report) =
                load(build(config, dims, 2, &on.device), arrays_from_bytes(&bytes).unwrap()).unwrap();
            assert!(report.is_complete(), "{label}");
            assert_eq!(report.taken.len(), names(&model).len(), "{label}");
            assert_eq!(to_bytes(&restored).unwrap(), bytes, "{label}");
            let [before, after] = [&model, &restored].map(|m| to_host(m.forward(input(dims, 3, &on.device))));
            assert_eq!(before, after, "{label}");
        }
    }
}

/// A model built without weights takes those of a file, and can be trained like a drawn one.
pub fn an_uninitialized_model_takes_weights_as_a_drawn_one_does(config: &ModelConfig, dims: &IoDims) {
    for device in [Device::flex(), Device::flex().autodiff()] {
        {
            let drawn = build(config, dims, 1, &device);
            let uninitialized = config.uninitialized(dims, &device).unwrap();
            let all_zero =
                arrays(&uninitialized).into_values().all(|array| array.values.iter().all(|value| *value == 0.0));
            assert!(all_zero, "{config:?}");
            let (filled, report) = load(config.uninitialized(dims, &device).unwrap(), arrays(&drawn)).unwrap();
            assert_eq!(report.taken.len(), names(&drawn).len(), "{config:?}");
            assert_eq!(to_bytes(&filled).unwrap(), to_bytes(&drawn).unwrap(), "{config:?}");
            let [wanted, found] = [&drawn, &filled].map(|m| to_host(m.forward(input(dims, 3, &device))));
            assert_eq!(wanted, found, "{config:?}");
            // Trainable like the drawn model.
            let trainable = |model: &Model| {
                let gradients = model.forward(input(dims, 3, &device)).powi_scalar(2).sum().backward();
                let gradients = burn::optim::GradientsParams::from_grads(gradients, model);
                collect(model, &gradients).len()
            };
            if device.is_autodiff() {
                assert_eq!(trainable(&drawn), trainable(&filled), "{config:?}");
            }
        }
    }
}

/// The number of parameters is the budget's, and all of them are trained.
pub fn parameters_are_counted_right(config: &ModelConfig, dims: &IoDims) {
    let model = build(config, dims, 1, &Device::flex().autodiff());
    let claimed = config.budget(dims).parameters;
    assert_eq!(claimed, count(&model), "{config:?} on {dims:?}");
    // What no step changes is no parameter.
    let trained: usize = collect(&model, &Trained).into_values().map(|array| array.values.len()).sum();
    assert_eq!(claimed, trained, "{config:?} on {dims:?}");
}

/// Every parameter depends on some keys, and one whose shape changes with the data depends on what changed.
pub fn parameters_follow_what_the_rules_name(config: &ModelConfig, dims: &IoDims) {
    let shapes_for = |dims: &IoDims| shapes(&config.uninitialized(dims, &Device::flex()).unwrap());
    let before = shapes_for(dims);
    let mut others = vec![
        (Key::Length, IoDims { seq_len: dims.seq_len + 1, ..dims.clone() }),
        (Key::Outputs, IoDims { d_out: dims.d_out + 1, ..dims.clone() }),
    ];
    let input = match dims.input {
        InputDims::Continuous { d_in } => InputDims::Continuous { d_in: d_in + 1 },
        InputDims::Tokens { vocab } => InputDims::Tokens { vocab: vocab + 1 },
    };
    others.push((Key::Inputs, IoDims { input, ..dims.clone() }));
    for (key, other) in others.into_iter().filter(|(_, other)| config.validate(other).is_empty()) {
        let after = shapes_for(&other);
        for (name, shape) in &before {
            let keys = config.keys_of(name).unwrap_or_else(|| panic!("{config:?}: {name} follows nothing"));
            if after.get(name) != Some(shape) {
                assert!(keys.shape.contains(&key), "{config:?}: {name} changes with {key:?}, but names {keys:?}");
                assert!(config.task_sizes().contains(&key), "{config:?} follows {key:?}");
            }
        }
    }
}

/// The head has some of the parameters, but not all.
pub fn the_head_is_a_part_of_the_network(config: &ModelConfig, dims: &IoDims) {
    let shapes = shapes(&config.uninitialized(dims, &Device::flex()).unwrap());
    let is_head = |name: &String| config.head().iter().any(|pattern| matches(pattern, name));
    let head = shapes.keys().filter(|name| is_head(name)).count();
    assert!(head > 0 && head < shapes.len(), "{config:?}: {head} of {}", shapes.len());
    for name in config.rows_by_position() {
        // A table that is not learned is no parameter.
        assert!(shapes.get(*name).is_none_or(|shape| shape[0] == dims.seq_len), "{config:?}: {name}");
    }
}

/// If there is a plain form, every layer's hidden state in f64 equals that of the network's own trace.
pub fn plain_layers_are_those_of_the_network(config: &ModelConfig, dims: &IoDims) {
    for on in devices() {
        let model = build(config, dims, 1, &on.device);
        let network = match config.family().plain(&Parameters::from(arrays(&model))) {
            Ok(network) => network,
            Err(reason @ NoPlainForm::Missing(_)) => panic!("{config:?}: {reason}"),
            Err(_) => return,
        };
        let entering = model.network().enters_plain(input(dims, 2, &on.device));
        let [_, rows, width] = entering.dims();
        let entering: Vec<f64> = to_host(entering).into_iter().map(f64::from).collect();
        let states: Vec<Vec<Matrix>> = entering
            .chunks_exact(rows * width)
            .map(|sequence| network.forward(&Matrix::from_row_slice(rows, width, sequence)))
            .collect();
        let trace = model.forward_traced(input(dims, 2, &on.device));
        assert!(states.iter().all(|states| states.len() == trace.layers.len() + 1), "{config:?}");
        let shapes: Vec<[usize; 2]> = states[0][1..].iter().map(|state| state.shape().into()).collect();
        assert_eq!(network.shapes([rows, width]), shapes, "{config:?}");
        for (number, layer) in trace.layers.into_iter().enumerate() {
            let found = states.iter().flat_map(|states| {
                let rows = states[number + 1].transpose();
                rows.iter().map(|entry| *entry as f32).collect::<Vec<_>>()
            });
            let found: Vec<f32> = found.collect();
            let name = format!("layer {number} of {config:?} on {}", on.name);
            assert_close(&name, &found, &to_host(layer.hidden), on.tolerance);
        }
    }
}

/// If there is a plain form from input to answer, it answers what the network answers.
pub fn the_plain_function_is_that_of_the_network(config: &ModelConfig, dims: &IoDims) {
    if matches!(dims.input, InputDims::Tokens { .. }) {
        return;
    }
    for on in devices() {
        let model = build(config, dims, 1, &on.device);
        let function = match config.family().plain_function(&Parameters::from(arrays(&model)), dims) {
            Ok(function) => function,
            Err(reason @ NoPlainForm::Missing(_)) => panic!("{config:?}: {reason}"),
            Err(_) => return,
        };
        let x = input(dims, 2, &on.device).vectors();
        let values: Vec<f64> = to_host(x.clone()).into_iter().map(f64::from).collect();
        let found = values.chunks_exact(dims.seq_len * dims.vector_width()).flat_map(|x| function.forward(x));
        let found: Vec<f32> = found.map(|y| y as f32).collect();
        let answer = to_host(model.forward(Input::Continuous(x)).narrow(2, 0, dims.d_out));
        assert_close(&format!("the function of {config:?} on {}", on.name), &found, &answer, on.tolerance);
    }
}

/// If a network can read on from keys and values, it predicts what it predicts when it reads everything at once, also with learned
/// rows before the sequence, and before its keys.
pub fn reading_on_is_reading_at_once(config: &ModelConfig, dims: &IoDims) {
    if !config.reads_on() {
        return;
    }
    let (prefix, prompt) = (PrefixConfig { length: 3 }, PromptConfig { length: 2 });
    let adapters: [Option<&dyn Adapter>; 3] = [None, Some(&prefix), Some(&prompt)];
    for on in devices() {
        for adapter in adapters {
            let model = build(config, dims, 1, &on.device);
            let model = match adapter {
                Some(adapter) if !adapter.validate(config).is_empty() => continue,
                Some(adapter) => model.with_adapter(adapter, Some(&mut generator(4)), &on.device),
                None => model,
            };
            let whole = to_host(model.forward(input(dims, 2, &on.device)));
            let (mut kept, mut parts) = (Kept::default(), Vec::new());
            for len in [5, 1, 1, dims.seq_len - 7] {
                let part = match input(dims, 2, &on.device) {
                    Input::Continuous(x) => Input::Continuous(x.narrow(1, kept.positions(), len)),
                    Input::Tokens(tokens) => Input::Tokens(tokens.narrow(1, kept.positions(), len)),
                };
                parts.push(model.read_on(part, &mut kept));
            }
            assert_eq!(kept.positions(), dims.seq_len);
            let name = format!(
                "{config:?} with {} rows in front on {}",
                if adapter.is_some() { "learned" } else { "no" },
                on.name
            );
            assert_close(&name, &to_host(Tensor::cat(parts, 1)), &whole, on.tolerance);
        }
    }
}
