//! Laws that every position scheme obeys, on every device of the build.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Hand, Input, IoDims, Mask, Model, ModelConfig, Network, PositionKind, PositionSizes, PositionSpec, Scheme,
    Transformer, TransformerConfig, View,
    weights::{Array, collect, to_host},
};

use super::generator;
use crate::{assert_close, devices, numbers};

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
