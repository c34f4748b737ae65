//! Laws that every position scheme obeys, on every device of the build.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Hand, Input, IoDims, KernelKind, Model, ModelConfig, Network, PositionKind, RopeConfig, Scheme, Transformer,
    TransformerConfig,
    weights::{collect, to_host},
};
use headway_testkit::{assert_close, devices, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const BATCH: usize = 2;
const SEQ_LEN: usize = 7;
const D_IN: usize = 3;
/// Odd, so that a scheme built on pairs of channels has one left over.
const D_MODEL: usize = 5;
const HEADS: usize = 3;
const D_HEAD: usize = 4;

fn transformer(position: PositionKind, device: &Device) -> Transformer {
    let config = TransformerConfig {
        d_model: D_MODEL,
        n_heads: HEADS,
        d_head: Some(D_HEAD),
        causal: false,
        position,
        ..TransformerConfig::default()
    };
    let dims = IoDims::continuous(SEQ_LEN, D_IN, 2);
    match ModelConfig::Transformer(config).init(&dims, &mut ChaCha8Rng::seed_from_u64(5), device).unwrap() {
        Model::Transformer(model) => model,
        other => panic!("not a transformer: {other:?}"),
    }
}

fn rows(seed: u64, seq_len: usize, device: &Device) -> Tensor<3> {
    let values = numbers(seed, BATCH * seq_len * D_MODEL);
    Tensor::from_data(TensorData::new(values, [BATCH, seq_len, D_MODEL]), device)
}

/// What a model's scheme adds to zeros. `[BATCH, seq_len, D_MODEL]`
fn added(model: &Transformer, seq_len: usize, device: &Device) -> Vec<f32> {
    to_host(model.position.forward(Tensor::zeros([BATCH, seq_len, D_MODEL], device)))
}

#[test]
fn a_scheme_adds_the_same_rows_to_every_sequence() {
    for on in devices() {
        for kind in PositionKind::examples() {
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

#[test]
fn a_shorter_sequence_gets_the_first_rows_and_a_longer_one_is_refused() {
    const SHORTER: usize = 3;
    for on in devices() {
        for kind in PositionKind::examples() {
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

#[test]
fn positions_differ_unless_the_scheme_is_none() {
    for on in devices() {
        for kind in PositionKind::examples() {
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

#[test]
fn only_a_learned_table_is_a_parameter_and_it_is_trained() {
    for on in devices() {
        let device = on.device.clone().autodiff();
        for kind in PositionKind::examples() {
            let model = transformer(kind, &device);
            let x =
                Tensor::from_data(TensorData::new(numbers(2, BATCH * SEQ_LEN * D_IN), [BATCH, SEQ_LEN, D_IN]), &device);
            let output = model.forward(Input::Continuous(x));
            let weights =
                Tensor::from_data(TensorData::new(numbers(3, BATCH * SEQ_LEN * 2), [BATCH, SEQ_LEN, 2]), &device);
            let gradients = GradientsParams::from_grads((output * weights).sum().backward(), &model);
            let gradient = collect(&model, &gradients).remove("position.weight");
            let learned = kind == PositionKind::Learned;
            assert_eq!(gradient.is_some(), learned, "{kind:?} on {}", on.name);
            if let Some(gradient) = gradient {
                assert_eq!(gradient.shape, [SEQ_LEN, D_MODEL]);
                assert!(gradient.values.iter().all(|g| *g != 0.0), "{kind:?} on {}: {gradient:?}", on.name);
            }
        }
    }
}

#[test]
fn a_trained_model_can_be_evaluated_without_gradients() {
    for on in devices() {
        let device = on.device.clone().autodiff();
        for kind in PositionKind::examples() {
            let model = transformer(kind, &device);
            let x = TensorData::new(numbers(4, BATCH * SEQ_LEN * D_IN), [BATCH, SEQ_LEN, D_IN]);
            let training = model.forward(Input::Continuous(Tensor::from_data(x.clone(), &device)));
            let evaluation = model.valid().forward(Input::Continuous(Tensor::from_data(x, &on.device)));
            // The same up to rounding: without gradients a device may fuse operations.
            assert_close(&format!("{kind:?} on {}", on.name), &to_host(evaluation), &to_host(training), on.tolerance);
        }
    }
}

#[test]
fn sinusoids_by_hand() {
    for on in devices() {
        let model = transformer(PositionKind::Sinusoidal, &on.device);
        let table = added(&model, SEQ_LEN, &on.device);
        // Pairs of channels turn by 1, 10000^(-2/5) and 10000^(-4/5) radians per position.
        let row = |p: f64| {
            let (slow, slower) = (p * 0.025_118_864_315_095_8, p * 0.000_630_957_344_480_193);
            [p.sin(), p.cos(), slow.sin(), slow.cos(), slower.sin()].map(|x| x as f32)
        };
        let want: Vec<f32> = (0..SEQ_LEN).flat_map(|p| row(p as f64)).collect();
        assert_close(on.name, &table[..SEQ_LEN * D_MODEL], &want, 1e-6);
        assert_eq!(table[..D_MODEL], [0.0, 1.0, 0.0, 1.0, 0.0]);
    }
}

/// Queries or keys that are the same at every position, so that only positions tell them apart.
fn same_rows(seed: u64, rows: usize, device: &Device) -> Tensor<4> {
    let row = numbers(seed, BATCH * HEADS * D_HEAD);
    let row = Tensor::<4>::from_data(TensorData::new(row, [BATCH, HEADS, 1, D_HEAD]), device);
    row.expand([BATCH, HEADS, rows, D_HEAD])
}

#[test]
fn a_scheme_acts_by_the_hands_that_it_names() {
    const Q_LEN: usize = 4;
    for on in devices() {
        for kind in PositionKind::examples() {
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
            // A turn changes no length, and products depend on distances alone: the last query stands where the last key does.
            let squares = |x: Tensor<4>| to_host((x.clone() * x).sum_dim(3));
            assert_close(&name, &squares(turned_k.clone()), &squares(k), 1e-5);
            let products = to_host(turned_q.matmul(turned_k.swap_dims(2, 3)));
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

#[test]
fn a_scheme_without_a_table_takes_longer_sequences() {
    for on in devices() {
        for kind in PositionKind::examples().into_iter().filter(|kind| !kind.has(Hand::Table)) {
            let model = transformer(kind, &on.device);
            let of = |rows: usize| {
                let x = TensorData::new(numbers(4, rows * D_IN), [1, rows, D_IN]);
                to_host(model.forward(Input::Continuous(Tensor::from_data(x, &on.device))))
            };
            assert_eq!(of(3 * SEQ_LEN).len(), 3 * SEQ_LEN * 2, "{kind:?} on {}", on.name);
        }
    }
}

#[test]
fn slopes_by_hand() {
    for on in devices() {
        let slopes = |n_heads: usize| {
            let position = transformer(PositionKind::Alibi, &on.device).position;
            let bias = to_host(position.bias(n_heads, [3, 3], &on.device).unwrap());
            // Distances −2 … 2 of query and key.
            for head in bias.chunks_exact(5) {
                assert_eq!(*head, [2.0, 1.0, 0.0, 1.0, 2.0].map(|distance| distance * head[1]));
            }
            bias.chunks_exact(5).map(|head| -head[1]).collect::<Vec<f32>>()
        };
        assert_eq!(slopes(1), [1.0 / 256.0]);
        assert_eq!(slopes(2), [1.0 / 16.0, 1.0 / 256.0]);
        assert_eq!(slopes(3), [1.0 / 16.0, 1.0 / 256.0, 1.0 / 4.0]);
        assert_eq!(slopes(8), [1, 2, 3, 4, 5, 6, 7, 8].map(|h| 0.5_f32.powi(h)));
        let odd = [1.0, 3.0, 5.0, 7.0].map(|h: f64| (-h / 2.0).exp2() as f32);
        assert_eq!(slopes(12), [[1, 2, 3, 4, 5, 6, 7, 8].map(|h| 0.5_f32.powi(h)).as_slice(), &odd].concat());
    }
}

#[test]
fn what_a_scheme_cannot_do_is_refused() {
    let dims = IoDims::continuous(SEQ_LEN, D_IN, 2);
    let problems = |config: TransformerConfig| -> Vec<String> {
        ModelConfig::Transformer(config).validate(&dims).iter().map(ToString::to_string).collect()
    };
    let rope = |theta, d_head| TransformerConfig {
        n_heads: 2,
        d_head: Some(d_head),
        position: PositionKind::Rope(RopeConfig { theta }),
        ..TransformerConfig::default()
    };
    assert_eq!(problems(rope(10.0, 4)), Vec::<String>::new());
    assert_eq!(problems(rope(1.0, 4)), ["position: rope.theta must be a number above 1"]);
    assert_eq!(
        problems(rope(10.0, 3)),
        ["position: rope turns pairs of channels, and heads are 3 wide; set d_head to an even number"]
    );
    let favor = TransformerConfig {
        position: PositionKind::Alibi,
        kernel: KernelKind::Favor(headway_model::FavorConfig::default()),
        ..TransformerConfig::default()
    };
    assert_eq!(
        problems(favor),
        [
            "kernel: alibi adds a bias to the scores of attention, and favor sums keys before it meets a query, and has no scores; \
          use softmax"
        ]
    );
}
