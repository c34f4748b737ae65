//! What holds for every position scheme of the list: a new row is tested here without further work. And schemes by hand, and as PyTorch
//! computes them: `fixtures/positions.py`.

use std::collections::BTreeMap;

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Bias, IoDims, Kernel, KernelKind, Mask, MepConfig, Model, ModelConfig, Position, PositionKind, PositionSizes,
    RopeConfig, Scheme, T5Config, Transformer, TransformerConfig, View, Window,
    weights::{Array, arrays, arrays_from_bytes, collect, load, to_host},
};
use headway_testkit::{assert_close, devices, laws, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

macro_rules! hold {
    ($($law:ident,)+) => {
        $(#[test]
        fn $law() {
            PositionKind::examples().iter().for_each(laws::position::$law);
        })+
    };
}

hold! {
    a_scheme_adds_the_same_rows_to_every_sequence,
    a_shorter_sequence_gets_the_first_rows_and_a_longer_one_is_refused,
    rows_of_a_table_differ,
    parameters_are_those_that_it_counts_and_are_trained,
    a_trained_model_can_be_evaluated_without_gradients,
    a_scheme_acts_by_the_hands_that_it_names,
    a_scheme_without_a_table_takes_longer_sequences,
    biases_of_fewer_rows_are_a_part_of_those_of_more,
    biases_are_finite_at_any_distance,
    derivatives_by_parameters_of_a_bias_are_central_differences,
}

const SEQ_LEN: usize = 7;
const D_IN: usize = 3;
/// Odd, so that a scheme based on pairs of channels has one channel left over.
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

#[test]
fn sinusoids_by_hand() {
    for on in devices() {
        let model = transformer(PositionKind::Sinusoidal, &on.device);
        let table = to_host(model.position.forward(Tensor::zeros([1, SEQ_LEN, D_MODEL], &on.device)));
        // Pairs of channels rotate by 1, 10000^(-2/5) and 10000^(-4/5) radians per position.
        let row = |p: f64| {
            let (slow, slower) = (p * 0.025_118_864_315_095_8, p * 0.000_630_957_344_480_193);
            [p.sin(), p.cos(), slow.sin(), slow.cos(), slower.sin()].map(|x| x as f32)
        };
        let want: Vec<f32> = (0..SEQ_LEN).flat_map(|p| row(p as f64)).collect();
        assert_close(on.name, &table, &want, 1e-6);
        assert_eq!(table[..D_MODEL], [0.0, 1.0, 0.0, 1.0, 0.0]);
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
    let rope = |theta, partial, d_head| TransformerConfig {
        n_heads: 2,
        d_head: Some(d_head),
        position: PositionKind::Rope(RopeConfig { theta, partial }),
        ..TransformerConfig::default()
    };
    assert_eq!(problems(rope(10.0, 1.0, 4)), Vec::<String>::new());
    // Four channels of ten; 0.4 is no number of f64.
    assert_eq!(problems(rope(10.0, 0.4, 10)), Vec::<String>::new());
    assert_eq!(problems(rope(1.0, 1.0, 4)), ["position: rope.theta must be a number above 1"]);
    assert_eq!(
        problems(rope(10.0, 1.0, 3)),
        ["position: rope turns pairs of channels, and heads are 3 wide; set d_head to an even number"]
    );
    for partial in [0.0, -0.5, 1.5, f64::NAN] {
        assert_eq!(
            problems(rope(10.0, partial, 4)),
            ["position: rope.partial must be a share above 0 and at most 1"],
            "{partial}"
        );
    }
    for partial in [0.25, 0.3, 0.75, 0.01] {
        assert_eq!(
            problems(rope(10.0, partial, 4)),
            [format!(
                "position: rope turns pairs of channels, and {partial} of 4 channels is no whole number of pairs; change \
                 partial or d_head"
            )]
        );
    }
    let buckets = |causal, buckets, max_distance| TransformerConfig {
        causal,
        position: PositionKind::T5(T5Config { buckets, max_distance }),
        ..TransformerConfig::default()
    };
    assert_eq!(problems(buckets(true, 4, 3)), Vec::<String>::new());
    assert_eq!(problems(buckets(false, 4, 2)), Vec::<String>::new());
    for count in [0, 2, 5] {
        let want = ["position: t5.buckets must be an even number, at least 4"];
        assert_eq!(problems(buckets(true, count, 128)), want, "{count}");
    }
    assert_eq!(
        problems(buckets(true, 32, 16)),
        ["position: t5.max_distance must be above 16, the number of buckets of one distance"]
    );
    let learned = Some(T5Config { buckets: 7, max_distance: 128 });
    let position = PositionKind::Mep(MepConfig { learned, ..MepConfig::default() });
    assert_eq!(
        problems(TransformerConfig { position, ..TransformerConfig::default() }),
        ["position: mep.learned.buckets must be an even number, at least 4"]
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

/// The parts of one case of the fixture by name.
fn case(name: &str) -> BTreeMap<String, Array> {
    let all = arrays_from_bytes(include_bytes!("fixtures/positions.safetensors")).unwrap();
    let own =
        all.into_iter().filter_map(|(key, array)| Some((key.strip_prefix(&format!("{name}."))?.to_owned(), array)));
    own.collect()
}

fn built(kind: &PositionKind, n_heads: usize, seq_len: usize, causal: bool, device: &Device) -> Position {
    let sizes = PositionSizes { seq_len, d_model: 1, d_head: 6, n_heads, causal };
    kind.init(&sizes, &mut ChaCha8Rng::seed_from_u64(1), device)
}

fn tensor(array: &Array, device: &Device) -> Tensor<4> {
    let shape: [usize; 4] = array.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(array.values.clone(), shape), device)
}

/// Compares the output of attention, its gradients and those of the scheme's parameters with the fixture's.
fn is_that_of_pytorch(name: &str, kind: &PositionKind, kernel: &KernelKind) {
    for on in devices() {
        let device = on.device.clone().autodiff();
        let (case, causal) = (case(name), !name.ends_with("_all"));
        let kernel = kernel.init(6, &mut ChaCha8Rng::seed_from_u64(1), &device);
        let [q, k, v] = ["q", "k", "v"].map(|part| tensor(&case[part], &device).require_grad());
        let ([_, n_heads, q_len, _], k_len) = (q.dims(), k.dims()[2]);
        let own = |of: &str| -> BTreeMap<String, Array> {
            let named =
                case.iter().filter_map(|(name, array)| Some((name.strip_prefix(of)?.to_owned(), array.clone())));
            named.collect()
        };
        // Kept for a longer sequence than this one, so that a part of it is taken.
        let position = built(kind, n_heads, k_len + 2, causal, &device);
        let position = load(position, own("position.")).unwrap().0;
        let bias = position.bias(n_heads, [q_len, k_len], &device);
        let bias = bias.map(|by_distance| Bias { by_distance, queries_in_front: 0, keys_in_front: 0 });
        let view = View { bias, ..(if causal { Mask::Causal } else { Mask::Full }).into() };
        let [turned_q, turned_k] = position.rotate(q.clone(), k.clone());
        let output = kernel.mix(turned_q, turned_k, v.clone(), &view);
        let label = format!("{name} on {}", on.name);
        assert_close(&label, &to_host(output.clone()), &case["output"].values, on.tolerance);
        let gradients = (output * tensor(&case["weights"], &device)).sum().backward();
        for (part, x) in [("d_q", q), ("d_k", k), ("d_v", v)] {
            let gradient = to_host(x.grad(&gradients).unwrap());
            assert_close(&format!("{label}, {part}"), &gradient, &case[part].values, 4.0 * on.tolerance);
        }
        let gradients = collect(&position, &GradientsParams::from_grads(gradients, &position));
        let want = own("d_position.");
        assert_eq!(gradients.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{label}");
        for (part, want) in want {
            let got = &gradients[&part];
            assert_eq!(got.shape, want.shape, "{label}, {part}");
            assert_close(&format!("{label}, {part}"), &got.values, &want.values, 8.0 * on.tolerance);
        }
    }
}

#[test]
fn schemes_are_those_of_pytorch() {
    let mep = |learned, window| PositionKind::Mep(MepConfig { learned, window });
    let t5 = |buckets| T5Config { buckets, max_distance: 11 };
    let learned = Some(t5(6));
    for (name, kind) in [
        ("rope_partial", PositionKind::Rope(RopeConfig { theta: 31.0, partial: 2.0 / 3.0 })),
        ("kerple_log", PositionKind::KerpleLog),
        ("kerple_power", PositionKind::KerplePower),
        ("mep", mep(None, Window::None)),
        ("mep", mep(None, Window::Official)),
        ("mep_learned", mep(learned, Window::None)),
        ("mep_learned", mep(learned, Window::Official)),
    ] {
        is_that_of_pytorch(name, &kind, &KernelKind::Softmax);
        is_that_of_pytorch(&format!("{name}_all"), &kind, &KernelKind::Softmax);
        is_that_of_pytorch(name, &kind, &KernelKind::Naive);
    }
    is_that_of_pytorch("t5", &PositionKind::T5(t5(6)), &KernelKind::Softmax);
    is_that_of_pytorch("t5_all", &PositionKind::T5(t5(8)), &KernelKind::Softmax);
}

/// The number of T5's bucket at every distance. Its table has a row that no distance reaches, and this one does not have it.
#[test]
fn buckets_are_those_of_t5() {
    let device = Device::flex();
    let buckets = case("buckets");
    for (name, causal) in [("causal", true), ("all", false)] {
        let want: Vec<f32> =
            buckets[name].values.iter().map(|number| number - f32::from(!causal && *number > 16.0)).collect();
        let position = built(&PositionKind::T5(T5Config::default()), 1, 5, causal, &device);
        let mut table = arrays(&position);
        for (row, value) in table.get_mut("table").unwrap().values.iter_mut().enumerate() {
            *value = row as f32;
        }
        let position = load(position, table).unwrap().0;
        let got = to_host(position.bias(1, [301; 2], &device).unwrap());
        // Where later keys are hidden, the bias of their scores is nobody's concern.
        let seen = if causal { 301 } else { 601 };
        assert_eq!(got[..seen], want[..seen], "{name}");
    }
}

/// Without parameters the published mean of kernels is zero in f32 beyond some distance of steep heads, and its logarithm is not.
#[test]
fn a_window_is_that_of_the_published_code_or_none() {
    let of_pytorch = case("window");
    for on in devices() {
        let bias = |window| {
            let mep = PositionKind::Mep(MepConfig { learned: None, window });
            let by_distance = to_host(built(&mep, 12, 7, true, &on.device).bias(12, [450; 2], &on.device).unwrap());
            // From the query's own position on.
            by_distance.chunks_exact(899).flat_map(|head| head[449..].to_vec()).collect::<Vec<f32>>()
        };
        assert_close(on.name, &bias(Window::None), &of_pytorch["none"].values, 1e-6);
        let official = bias(Window::Official);
        let blind = official.iter().map(|bias| *bias < -1e29);
        let blind_there = of_pytorch["official"].values.iter().map(|bias| *bias == f32::NEG_INFINITY);
        assert!(blind.clone().eq(blind_there), "{}", on.name);
        let first = |head: usize| official[450 * head..][..450].iter().position(|bias| *bias < -1e29);
        assert_eq!([first(8), first(0), first(1)], [Some(291), Some(412), None]);
        let seen = |biases: &[f32]| {
            biases.iter().copied().map(|bias| if bias < -1e3 { 0.0 } else { bias }).collect::<Vec<_>>()
        };
        // The last digits of a kernel near the smallest number of f32 are lost.
        assert_close(on.name, &seen(&official), &seen(&of_pytorch["official"].values), 1e-3);
    }
}

/// Keys outside the window of the published form have no weight in attention and get no gradient, and nothing is infinite.
#[test]
fn nothing_is_seen_through_a_closed_window() {
    const ROWS: usize = 450;
    const WIDTH: usize = 6;
    for on in devices() {
        let device = on.device.clone().autodiff();
        let mep = PositionKind::Mep(MepConfig { learned: None, window: Window::Official });
        let by_distance = built(&mep, 12, ROWS, true, &device).bias(12, [1, ROWS], &device).unwrap();
        let bias = Some(Bias { by_distance, queries_in_front: 0, keys_in_front: 0 });
        let view = View { bias, ..Mask::Causal.into() };
        let draw = |seed, rows: usize| {
            let values = numbers(seed, 12 * rows * WIDTH);
            Tensor::<4>::from_data(TensorData::new(values, [1, 12, rows, WIDTH]), &device).require_grad()
        };
        let (q, k, v) = (draw(1, 1), draw(2, ROWS), draw(3, ROWS));
        let kernel = KernelKind::Softmax.init(WIDTH, &mut ChaCha8Rng::seed_from_u64(1), &device);
        let gradients = kernel.mix(q.clone(), k, v.clone(), &view).sum().backward();
        assert!(to_host(q.grad(&gradients).unwrap()).iter().all(|g| g.is_finite()), "{}", on.name);
        let weights = to_host(v.grad(&gradients).unwrap());
        let head = |head: usize| &weights[head * ROWS * WIDTH..][..ROWS * WIDTH];
        assert!(head(8)[..(ROWS - 291) * WIDTH].iter().all(|weight| *weight == 0.0), "{}", on.name);
        assert!(head(7)[..(ROWS - 291) * WIDTH].iter().all(|weight| *weight > 0.0), "{}", on.name);
    }
}

/// Under a causal mask −s (i − j) and s j differ by the same number in a whole row, so that a bias by key alone is ALiBi as well.
#[test]
fn a_bias_by_key_alone_is_alibi_under_a_causal_mask() {
    const ROWS: usize = 11;
    for on in devices() {
        let draw =
            |seed| Tensor::<4>::from_data(TensorData::new(numbers(seed, 3 * ROWS * 6), [1, 3, ROWS, 6]), &on.device);
        let (q, k, v) = (draw(1), draw(2), draw(3));
        let kernel = KernelKind::Softmax.init(6, &mut ChaCha8Rng::seed_from_u64(1), &on.device);
        let by_distance =
            built(&PositionKind::Alibi, 3, ROWS, true, &on.device).bias(3, [ROWS; 2], &on.device).unwrap();
        let bias = Some(Bias { by_distance, queries_in_front: 0, keys_in_front: 0 });
        let output = kernel.mix(q.clone(), k.clone(), v.clone(), &View { bias, ..Mask::Causal.into() });
        // s_h j √d as one more channel of keys, which every query asks for with 1.
        let by_key: Vec<f32> = [1.0 / 16.0, 1.0 / 256.0, 1.0 / 4.0]
            .into_iter()
            .flat_map(|slope| (0..ROWS).map(move |j| slope * j as f32 * 6_f32.sqrt()))
            .collect();
        let by_key = Tensor::<4>::from_data(TensorData::new(by_key, [1, 3, ROWS, 1]), &on.device);
        // The scale of the scores follows the width, which is now 7.
        let wider = (7.0_f32 / 6.0).sqrt();
        let (q, k) = (
            Tensor::cat(vec![q, Tensor::ones([1, 3, ROWS, 1], &on.device)], 3),
            Tensor::cat(vec![k, by_key], 3).mul_scalar(wider),
        );
        let in_rows = kernel.mix(q, k, v, &Mask::Causal.into());
        assert_close(on.name, &to_host(output), &to_host(in_rows), 10.0 * on.tolerance);
    }
}
