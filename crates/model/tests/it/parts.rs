//! Parts of attention compared with PyTorch on the same numbers, outputs and gradients: `fixtures/attention_parts.py`.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    AttentionConfig, AttentionKernel, Bias, Directions, FavorConfig, Gate, Initializer, Kernel, KernelKind, Layout,
    Mask, Position, PositionKind, PositionSizes, QkNorm, Recorder, RopeConfig, Scheme, View,
    weights::{Array, arrays_from_bytes, collect, load, to_host},
};
use headway_testkit::{assert_close, assert_close_of_scale, devices};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// The parts of one case by name.
fn case(name: &str) -> BTreeMap<String, Array> {
    let files: [&[u8]; 2] =
        [include_bytes!("fixtures/attention_parts.safetensors"), include_bytes!("fixtures/kernels.safetensors")];
    let all = files.into_iter().flat_map(|file| arrays_from_bytes(file).unwrap());
    let own = all.filter_map(|(key, array)| Some((key.strip_prefix(&format!("{name}."))?.to_owned(), array)));
    own.collect()
}

fn tensor(array: &Array, device: &Device) -> Tensor<4> {
    let shape: [usize; 4] = array.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(array.values.clone(), shape), device)
}

/// A kernel with its defaults, except for the size of its buffers, which comes from the case.
fn kernel(kind: &KernelKind, case: &BTreeMap<String, Array>, device: &Device) -> AttentionKernel {
    let d_key = case["q"].shape[3];
    let kernel = kind.init(d_key, &mut ChaCha8Rng::seed_from_u64(1), device);
    let buffers =
        case.iter().filter(|(name, _)| *name == "features").map(|(name, array)| (name.clone(), array.clone()));
    load(kernel, buffers.collect()).unwrap().0
}

fn position(kind: &PositionKind, case: &BTreeMap<String, Array>, device: &Device) -> Position {
    let [_, n_heads, seq_len, d_head]: [usize; 4] = case["k"].shape.clone().try_into().unwrap();
    let sizes = PositionSizes { seq_len, d_model: 1, d_head, n_heads, causal: true };
    kind.init(&sizes, &mut ChaCha8Rng::seed_from_u64(1), device)
}

/// Compares the output and gradients of attention, composed as in a layer, with the fixture's.
pub(crate) fn agrees(name: &str, position_kind: &PositionKind, kernel_kind: &KernelKind, tolerance: f64) {
    for on in devices() {
        let device = on.device.clone().autodiff();
        let case = case(name);
        let kernel = kernel(kernel_kind, &case, &device);
        let position = position(position_kind, &case, &device);
        let [q, k, v] = ["q", "k", "v"].map(|part| tensor(&case[part], &device).require_grad());
        let lengths = [q.dims()[2], k.dims()[2]];
        let bias = position.bias(q.dims()[1], lengths, &device);
        let bias = bias.map(|by_distance| Bias { by_distance, queries_in_front: 0, keys_in_front: 0 });
        let mask = if name.ends_with("_all") { Mask::Full } else { Mask::Causal };
        let view = View { bias, ..mask.into() };
        let [turned_q, turned_k] = position.rotate(q.clone(), k.clone());
        let pattern = kernel.pattern(turned_q.clone(), turned_k.clone(), &view);
        let output = kernel.mix(turned_q, turned_k, v.clone(), &view);
        let label = format!("{name}, {kernel_kind:?} on {}", on.name);
        let want = &case["output"].values;
        let tolerance = tolerance.max(on.tolerance);
        assert_close(&label, &to_host(output.clone()), want, tolerance);
        assert_close(&format!("{label}, by its pattern"), &to_host(view.product(pattern, v.clone())), want, tolerance);
        let gradients = (output * tensor(&case["weights"], &device)).sum().backward();
        for (part, x) in [("d_q", q), ("d_k", k), ("d_v", v)] {
            let gradient = to_host(x.grad(&gradients).unwrap());
            assert_close(&format!("{label}, {part}"), &gradient, &case[part].values, 4.0 * tolerance);
        }
        drop(kernel.valid());
    }
}

#[test]
fn rotary_positions_are_those_of_pytorch() {
    let rope = PositionKind::Rope(RopeConfig { theta: 31.0, ..RopeConfig::default() });
    for (name, kernel) in
        [("rope", KernelKind::Softmax), ("rope_all", KernelKind::Softmax), ("rope", KernelKind::Naive)]
    {
        agrees(name, &rope, &kernel, 1e-6);
    }
}

#[test]
fn linear_biases_are_those_of_pytorch() {
    for (name, kernel) in
        [("alibi", KernelKind::Softmax), ("alibi_all", KernelKind::Softmax), ("alibi", KernelKind::Naive)]
    {
        agrees(name, &PositionKind::Alibi, &kernel, 1e-6);
    }
}

/// A layer of all its parts: norms of queries and keys, then rotary positions, shared keys and values, a gate.
#[test]
fn norms_of_queries_and_keys_and_a_gate_are_those_of_pytorch() {
    for on in devices() {
        let device = on.device.clone().autodiff();
        let case = case("layer");
        let [rows, d_model] = [case["x"].shape[1], case["x"].shape[2]];
        let config = AttentionConfig {
            d_model,
            n_heads: 6,
            n_kv_heads: 3,
            d_head: 4,
            qk_norm: QkNorm::Rms,
            gate: Gate::Sigmoid,
            ..AttentionConfig::shared_width(d_model, 6, &KernelKind::Softmax)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let parameters: BTreeMap<String, Array> = case
            .iter()
            .filter(|(name, _)| name.contains('.') && !name.starts_with("d_"))
            .map(|(name, array)| (name.clone(), array.clone()))
            .collect();
        let layer = load(config.init(&mut Initializer::new(&mut rng, &device)), parameters).unwrap().0;
        let rope = PositionKind::Rope(RopeConfig { theta: 31.0, ..RopeConfig::default() });
        let position = rope.init(
            &PositionSizes { seq_len: rows, d_model, d_head: 4, n_heads: 6, causal: true },
            &mut rng,
            &device,
        );
        let matrix = |name: &str| -> Tensor<3> {
            let shape: [usize; 3] = case[name].shape.clone().try_into().unwrap();
            Tensor::from_data(TensorData::new(case[name].values.clone(), shape), &device)
        };
        let x = matrix("x").require_grad();
        let layout = Layout { position: Some(&position), ..Layout::from(&Mask::Causal) };
        let output = layer.run(x.clone(), x.clone(), layout, &mut Recorder::default());
        assert_close(on.name, &to_host(output.clone()), &case["output"].values, on.tolerance);
        let gradients = (output * matrix("weights")).sum().backward();
        assert_close(on.name, &to_host(x.grad(&gradients).unwrap()), &case["d_x"].values, 4.0 * on.tolerance);
        let gradients = collect(&layer, &GradientsParams::from_grads(gradients, &layer));
        assert_eq!(gradients.len(), 11);
        let scale = |name: &str| case[name].values.iter().fold(0.0, |top: f64, g| top.max(f64::from(g.abs())));
        for (name, gradient) in &gradients {
            let want = &case[&format!("d_{name}")];
            assert_eq!(gradient.shape, want.shape, "{name}");
            // Of a bias and of its weight alike: a sum over positions may nearly cancel.
            let scale = scale(&format!("d_{}.weight", name.rsplit_once('.').unwrap().0));
            let label = format!("{name} on {}", on.name);
            assert_close_of_scale(&label, &gradient.values, &want.values, scale, 4.0 * on.tolerance);
        }
    }
}

/// Without ε the largest exponents cancel; with ε the difference is at most ε.
#[test]
fn positive_features_are_those_of_pytorch() {
    let favor = KernelKind::Favor(FavorConfig { n_features: 13, epsilon: 1e-9, ..FavorConfig::default() });
    for name in ["favor", "favor_all", "favor_long"] {
        agrees(name, &PositionKind::None, &favor, 1e-5);
    }
}

/// Mean and variance of φ(x)·φ(y) / m over draws of W: the mean is exp(x·y), the variance of independent rows
/// exp(|x + y|²) exp(2 x·y) (1 − exp(−|x + y|²)) / m, and that of orthogonal ones no more.
#[test]
fn features_are_unbiased_and_orthogonal_ones_vary_less() {
    const D: usize = 4;
    const FEATURES: usize = 2 * D;
    const DRAWS: u64 = 20_000;
    let (x, y) = ([0.3, -0.2, 0.4, 0.1], [0.2, 0.5, -0.1, 0.3]);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let sum: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    let (inner, square) = (dot(&x, &y), dot(&sum, &sum));
    let variances = [Directions::Iid, Directions::Orthogonal].map(|directions| {
        let kind = KernelKind::Favor(FavorConfig { n_features: FEATURES, directions, ..FavorConfig::default() });
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let estimates: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let kernel = kind.init(D, &mut rng, &Device::flex());
                let w = headway_model::weights::arrays(&kernel).remove("features").unwrap();
                let product = |row: &[f32]| {
                    let row: Vec<f64> = row.iter().map(|w| f64::from(*w)).collect();
                    (dot(&row, &sum) - f64::midpoint(dot(&x, &x), dot(&y, &y))).exp()
                };
                w.values.chunks_exact(D).map(product).sum::<f64>() / FEATURES as f64
            })
            .collect();
        let mean = estimates.iter().sum::<f64>() / DRAWS as f64;
        let variance = estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
        let error = (variance / DRAWS as f64).sqrt();
        assert!((mean - inner.exp()).abs() < 4.0 * error, "{directions:?}: {mean} +- {error}, not {}", inner.exp());
        variance
    });
    let closed = square.exp() * (2.0 * inner).exp() * (1.0 - (-square).exp()) / FEATURES as f64;
    assert!((variances[0] / closed - 1.0).abs() < 0.05, "{variances:?}, {closed}");
    assert!(variances[1] < 0.9 * variances[0], "{variances:?}");
}

/// With many features and scores of moderate size, the output is close to that of softmax attention.
#[test]
fn many_features_are_near_softmax() {
    let device = Device::flex();
    let case = case("favor_long");
    let [q, k, v] = ["q", "k", "v"].map(|part| tensor(&case[part], &device));
    let [q, k] = [q, k].map(|x| x.mul_scalar(0.5));
    let favor = KernelKind::Favor(FavorConfig { n_features: 1 << 13, ..FavorConfig::default() });
    let mix = |kind: &KernelKind| {
        let kernel = kind.init(3, &mut ChaCha8Rng::seed_from_u64(3), &device);
        to_host(kernel.mix(q.clone(), k.clone(), v.clone(), &Mask::Causal.into()))
    };
    let (near, exact) = (mix(&favor), mix(&KernelKind::Softmax));
    let worst = near.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.05 && worst > 1e-4, "{worst} apart");
}
