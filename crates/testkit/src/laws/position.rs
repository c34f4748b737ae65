//! Laws that every position scheme obeys, on every device of the build.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Bias, Hand, Input, IoDims, Kernel, KernelKind, Mask, Model, ModelConfig, Network, Position, PositionKind,
    PositionSizes, PositionSpec, Scheme, Transformer, TransformerConfig, View,
    weights::{Array, arrays, collect, load, to_host},
};

use super::generator;
use crate::{assert_close, assert_close_of_scale, devices, numbers};

/// Every law, for every example of a scheme.
pub fn all(spec: &dyn PositionSpec) {
    for kind in spec.examples() {
        a_scheme_adds_the_same_rows_to_every_sequence(&kind);
        a_shorter_sequence_gets_the_first_rows_and_a_longer_one_is_refused(&kind);
        rows_of_a_table_differ(&kind);
        parameters_are_those_that_it_counts_and_are_trained(&kind);
        a_trained_model_can_be_evaluated_without_gradients(&kind);
        a_scheme_acts_by_the_hands_that_it_names(&kind);
        a_scheme_without_a_table_takes_longer_sequences(&kind);
        biases_of_fewer_rows_are_a_part_of_those_of_more(&kind);
        biases_are_finite_at_any_distance(&kind);
        derivatives_by_parameters_of_a_bias_are_central_differences(&kind);
    }
}

const BATCH: usize = 2;
const SEQ_LEN: usize = 7;
const D_IN: usize = 3;
/// Odd, so that a scheme based on pairs of channels has one channel left over.
const D_MODEL: usize = 5;
const HEADS: usize = 3;
const D_HEAD: usize = 4;

fn transformer(position: &PositionKind, device: &Device) -> Transformer {
    let config = TransformerConfig {
        d_model: D_MODEL,
        n_heads: HEADS,
        d_head: Some(D_HEAD),
        causal: false,
        position: position.clone(),
        ..TransformerConfig::default()
    };
    let dims = IoDims::continuous(SEQ_LEN, D_IN, 2);
    match ModelConfig::Transformer(config).init(&dims, &mut generator(5), device).unwrap() {
        Model::Transformer(model) => model,
        other => panic!("not a transformer: {other:?}"),
    }
}

fn rows(seed: u64, seq_len: usize, device: &Device) -> Tensor<3> {
    let values = numbers(seed, BATCH * seq_len * D_MODEL);
    Tensor::from_data(TensorData::new(values, [BATCH, seq_len, D_MODEL]), device)
}

/// The numbers that a model's position scheme adds, applied to zeros. `[BATCH, seq_len, D_MODEL]`
fn added(model: &Transformer, seq_len: usize, device: &Device) -> Vec<f32> {
    to_host(model.position.forward(Tensor::zeros([BATCH, seq_len, D_MODEL], device)))
}

/// Queries or keys that are equal at every position, so that only the positions differ.
fn same_rows(seed: u64, rows: usize, device: &Device) -> Tensor<4> {
    let row = numbers(seed, BATCH * HEADS * D_HEAD);
    let row = Tensor::<4>::from_data(TensorData::new(row, [BATCH, HEADS, 1, D_HEAD]), device);
    row.expand([BATCH, HEADS, rows, D_HEAD])
}

/// The numbers added to the tokens do not depend on the tokens.
pub fn a_scheme_adds_the_same_rows_to_every_sequence(kind: &PositionKind) {
    for on in devices() {
        {
            let name = format!("{kind:?} on {}", on.name);
            let model = transformer(kind, &on.device);
            let table = added(&model, SEQ_LEN, &on.device);
            assert_eq!(table[..SEQ_LEN * D_MODEL], table[SEQ_LEN * D_MODEL..], "{name}: sequences differ");
            let hidden = rows(1, SEQ_LEN, &on.device);
            let sum: Vec<f32> = to_host(hidden.clone()).iter().zip(&table).map(|(h, t)| h + t).collect();
            assert_close(&name, &to_host(model.position.forward(hidden)), &sum, 1e-6);
        }
    }
}

/// A table has rows for the longest sequence; a shorter sequence gets the first of them.
pub fn a_shorter_sequence_gets_the_first_rows_and_a_longer_one_is_refused(kind: &PositionKind) {
    const SHORTER: usize = 3;
    for on in devices() {
        {
            let name = format!("{kind:?} on {}", on.name);
            let model = transformer(kind, &on.device);
            let (all, some) = (added(&model, SEQ_LEN, &on.device), added(&model, SHORTER, &on.device));
            assert_eq!(all[..SHORTER * D_MODEL], some[..SHORTER * D_MODEL], "{name}");
            let longer = catch_unwind(AssertUnwindSafe(|| added(&model, SEQ_LEN + 1, &on.device)));
            let unlimited = !kind.has(Hand::Table);
            assert_eq!(longer.is_ok(), unlimited, "{name}: a sequence beyond the table");
        }
    }
}

/// No two positions get the same row of a table; without a table nothing is added.
pub fn rows_of_a_table_differ(kind: &PositionKind) {
    for on in devices() {
        {
            let model = transformer(kind, &on.device);
            let table = added(&model, SEQ_LEN, &on.device);
            let rows: Vec<&[f32]> = table[..SEQ_LEN * D_MODEL].chunks_exact(D_MODEL).collect();
            let distinct = (0..SEQ_LEN).all(|i| (0..i).all(|j| rows[i] != rows[j]));
            let nothing = !kind.has(Hand::Table);
            assert_eq!(distinct, !nothing, "{kind:?} on {}: {rows:?}", on.name);
            assert!(!nothing || table.iter().all(|x| *x == 0.0), "{kind:?} adds something");
        }
    }
}

/// The number of parameters is the one that the scheme counts, and each gets a gradient.
pub fn parameters_are_those_that_it_counts_and_are_trained(kind: &PositionKind) {
    for on in devices() {
        let device = on.device.clone().autodiff();
        {
            let model = transformer(kind, &device);
            let x =
                Tensor::from_data(TensorData::new(numbers(2, BATCH * SEQ_LEN * D_IN), [BATCH, SEQ_LEN, D_IN]), &device);
            let output = model.forward(Input::Continuous(x));
            let weights =
                Tensor::from_data(TensorData::new(numbers(3, BATCH * SEQ_LEN * 2), [BATCH, SEQ_LEN, 2]), &device);
            let gradients = GradientsParams::from_grads((output * weights).sum().backward(), &model);
            let gradients = collect(&model, &gradients);
            let own: Vec<&Array> = gradients
                .iter()
                .filter(|(name, _)| name.starts_with("position."))
                .map(|(_, gradient)| gradient)
                .collect();
            let count: usize = own.iter().map(|gradient| gradient.values.len()).sum();
            let sizes =
                PositionSizes { seq_len: SEQ_LEN, d_model: D_MODEL, d_head: D_HEAD, n_heads: HEADS, causal: false };
            assert_eq!(count, kind.spec().parameters(&sizes) as usize, "{kind:?} on {}", on.name);
            let all_learn = own.iter().all(|gradient| gradient.values.iter().all(|g| *g != 0.0));
            assert!(all_learn, "{kind:?} on {}: {own:?}", on.name);
        }
    }
}

/// A model gives the same output on a device with gradients and without.
pub fn a_trained_model_can_be_evaluated_without_gradients(kind: &PositionKind) {
    for on in devices() {
        let device = on.device.clone().autodiff();
        {
            let model = transformer(kind, &device);
            let x = TensorData::new(numbers(4, BATCH * SEQ_LEN * D_IN), [BATCH, SEQ_LEN, D_IN]);
            let training = model.forward(Input::Continuous(Tensor::from_data(x.clone(), &device)));
            let evaluation = model.valid().forward(Input::Continuous(Tensor::from_data(x, &on.device)));
            // Equal up to rounding: without gradients a device may fuse operations.
            assert_close(&format!("{kind:?} on {}", on.name), &to_host(evaluation), &to_host(training), on.tolerance);
        }
    }
}

/// A scheme acts only in the places that it names. A rotation changes no length, and products depend only on distances.
pub fn a_scheme_acts_by_the_hands_that_it_names(kind: &PositionKind) {
    const Q_LEN: usize = 4;
    for on in devices() {
        {
            let name = format!("{kind:?} on {}", on.name);
            let position = transformer(kind, &on.device).position;
            assert_eq!(position.table(&on.device).is_some(), kind.has(Hand::Table), "{name}");
            let bias = position.bias(HEADS, [Q_LEN, SEQ_LEN], &on.device);
            assert_eq!(bias.is_some(), kind.has(Hand::Bias), "{name}");
            if let Some(bias) = bias {
                assert_eq!(bias.dims(), [HEADS, Q_LEN + SEQ_LEN - 1], "{name}");
            }
            let (q, k) = (same_rows(1, Q_LEN, &on.device), same_rows(2, SEQ_LEN, &on.device));
            let [turned_q, turned_k] = position.rotate(q.clone(), k.clone());
            assert_eq!((turned_q.dims(), turned_k.dims()), (q.dims(), k.dims()), "{name}");
            let turns = to_host(turned_q.clone()) != to_host(q.clone());
            assert_eq!(turns, kind.has(Hand::Rotation), "{name}");
            // A rotation changes no length, and products depend only on distances: the last query and the last key have
            // the same position.
            let squares = |x: Tensor<4>| to_host((x.clone() * x).sum_dim(3));
            assert_close(&name, &squares(turned_k.clone()), &squares(k), 1e-5);
            let products = to_host(View::from(Mask::Full).product(turned_q, turned_k.swap_dims(2, 3)));
            for (at, product) in products.iter().enumerate() {
                let (head, query, key) = (at / SEQ_LEN / Q_LEN, at / SEQ_LEN % Q_LEN, at % SEQ_LEN);
                if query > 0 && key > 0 {
                    let before = products[(head * Q_LEN + query - 1) * SEQ_LEN + key - 1];
                    assert!((product - before).abs() < 1e-4, "{name}: head {head}, query {query}, key {key}");
                }
            }
        }
    }
}

/// Without a table there is no longest sequence.
pub fn a_scheme_without_a_table_takes_longer_sequences(kind: &PositionKind) {
    for on in devices() {
        if !kind.has(Hand::Table) {
            let model = transformer(kind, &on.device);
            let of = |rows: usize| {
                let x = TensorData::new(numbers(4, rows * D_IN), [1, rows, D_IN]);
                to_host(model.forward(Input::Continuous(Tensor::from_data(x, &on.device))))
            };
            assert_eq!(of(3 * SEQ_LEN).len(), 3 * SEQ_LEN * 2, "{kind:?} on {}", on.name);
        }
    }
}

/// A bias depends on the distance alone: that of some queries and keys is the middle of that of more, within the length that the model was
/// built for and beyond.
pub fn biases_of_fewer_rows_are_a_part_of_those_of_more(kind: &PositionKind) {
    const LONGER: usize = 2 * SEQ_LEN + 3;
    if !kind.has(Hand::Bias) {
        return;
    }
    for on in devices() {
        let position = transformer(kind, &on.device).position;
        let bias = |lengths| to_host(position.bias(HEADS, lengths, &on.device).unwrap());
        let whole = bias([LONGER; 2]);
        for [q_len, k_len] in [[SEQ_LEN; 2], [4, SEQ_LEN], [1, SEQ_LEN], [SEQ_LEN, 4], [3, 3], [5, LONGER], [LONGER, 1]]
        {
            let of_head = |head: usize| {
                let own_place = head * (2 * LONGER - 1) + LONGER - 1;
                &whole[own_place + 1 - k_len..own_place + q_len]
            };
            let want = (0..HEADS).flat_map(of_head).copied().collect::<Vec<f32>>();
            assert_close(&format!("{kind:?}, {q_len} {k_len}"), &bias([q_len, k_len]), &want, 1e-6);
        }
    }
}

/// Biases and the gradients of their parameters are finite far beyond the length that the model was built for.
pub fn biases_are_finite_at_any_distance(kind: &PositionKind) {
    const FAR: usize = 5_000;
    if !kind.has(Hand::Bias) {
        return;
    }
    for on in devices() {
        let device = on.device.clone().autodiff();
        let position = transformer(kind, &device).position;
        let bias = position.bias(HEADS, [1, FAR], &device).unwrap();
        assert!(to_host(bias.clone()).iter().all(|bias| bias.is_finite()), "{kind:?} on {}", on.name);
        if arrays(&position).is_empty() {
            continue;
        }
        let gradients = collect(&position, &GradientsParams::from_grads(bias.sum().backward(), &position));
        let are_finite = gradients.values().all(|gradient| gradient.values.iter().all(|g| g.is_finite()));
        assert!(are_finite, "{kind:?} on {}: {gradients:?}", on.name);
    }
}

/// Through attention, gradients with respect to the parameters of a bias agree with central differences.
pub fn derivatives_by_parameters_of_a_bias_are_central_differences(kind: &PositionKind) {
    const Q_LEN: usize = 4;
    const STEP: f32 = 0.01;
    if !kind.has(Hand::Bias) {
        return;
    }
    for on in devices() {
        let device = on.device.clone().autodiff();
        let position = transformer(kind, &device).position;
        let parameters = arrays(&position);
        if parameters.is_empty() {
            continue;
        }
        let shape = |rows| [BATCH, HEADS, rows, D_HEAD];
        let draw = |seed, rows: usize| {
            let values = numbers(seed, shape(rows).iter().product());
            Tensor::<4>::from_data(TensorData::new(values, shape(rows)), &device)
        };
        let (q, k, v) = (draw(1, Q_LEN), draw(2, SEQ_LEN), draw(3, SEQ_LEN));
        let kernel = KernelKind::Softmax.init(D_HEAD, &mut generator(1), &device);
        let mixed = |position: &Position| {
            let by_distance = position.bias(HEADS, [Q_LEN, SEQ_LEN], &device).unwrap();
            let bias = Some(Bias { by_distance, queries_in_front: 0, keys_in_front: 0 });
            kernel.mix(q.clone(), k.clone(), v.clone(), &View { bias, ..Mask::Full.into() })
        };
        let weights = draw(4, Q_LEN);
        let gradients = (mixed(&position) * weights.clone()).sum().backward();
        let gradients = collect(&position, &GradientsParams::from_grads(gradients, &position));
        let weights = to_host(weights);
        // Summed on the host in f64, so that only attention rounds.
        let objective = |name: &str, direction: &[f32], step: f32| {
            let mut moved = parameters.clone();
            let values = moved.get_mut(name).unwrap_or_else(|| panic!("{name}")).values.iter_mut();
            values.zip(direction).for_each(|(value, d)| *value += step * d);
            let position = load(transformer(kind, &device).position, moved).unwrap_or_else(|e| panic!("{e}")).0;
            let outputs = to_host(mixed(&position));
            outputs.iter().zip(&weights).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum::<f64>()
        };
        for (name, gradient) in &gradients {
            let direction = numbers(5, gradient.values.len());
            let at = |step| objective(name, &direction, step);
            let difference =
                (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * f64::from(STEP));
            let terms = gradient.values.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d));
            let (derivative, typical) = (terms.clone().sum::<f64>(), terms.map(|term| term * term).sum::<f64>().sqrt());
            let label = format!("{kind:?} on {}: {name}", on.name);
            // The outputs, of size one, are rounded, and the step divides what rounding leaves.
            let tolerance = 10.0 * on.tolerance + 1e-6 / f64::from(STEP) / typical;
            assert_close_of_scale(&label, &[derivative as f32], &[difference as f32], typical, tolerance);
        }
    }
}
