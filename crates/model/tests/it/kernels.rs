//! Attention kernels compared with PyTorch on the same numbers, outputs and gradients (`fixtures/kernels.py`), and by hand.

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    CombinerBlocks, CombinerConfig, Directions, FavorConfig, FavorFeatures, IoDims, Kernel, KernelKind, KernelSizes,
    KernelSpec, Mask, ModelConfig, PositionKind, TemperatureConfig, TopKConfig, TransformerConfig, WindowConfig,
    weights::{arrays, to_host},
};
use headway_testkit::{assert_close, devices};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::parts::agrees;

#[test]
fn kernels_are_those_of_pytorch() {
    for (name, kernel) in [
        ("temperature", TemperatureConfig { temperature: 0.5 }.into()),
        ("window", WindowConfig { size: 3 }.into()),
        ("top_k", TopKConfig { k: 3 }.into()),
        ("sigmoid", KernelKind::Sigmoid),
        ("relu_over_n", KernelKind::ReluOverN),
    ] {
        agrees(name, &PositionKind::None, &kernel, 1e-6);
        agrees(&format!("{name}_all"), &PositionKind::None, &kernel, 1e-6);
    }
    let favor = |features| FavorConfig { features, epsilon: 0.125, ..FavorConfig::default() };
    let relu = FavorConfig { n_features: 61, ..favor(FavorFeatures::Relu) };
    let cosines = FavorConfig { n_features: 61, epsilon: 1e-9, ..favor(FavorFeatures::Trigonometric) };
    let fixed = CombinerConfig { segment: 3, ..CombinerConfig::default() };
    let logn = CombinerConfig { blocks: CombinerBlocks::Logn, ..CombinerConfig::default() };
    let [axial, mixture] =
        [CombinerBlocks::Axial, CombinerBlocks::Mixture].map(|blocks| CombinerConfig { blocks, ..fixed });
    for (name, kernel, tolerance) in [
        ("linear", KernelKind::Linear, 1e-5),
        ("favor_relu", relu.into(), 1e-5),
        // Weights of both signs nearly cancel in some sums.
        ("favor_trigonometric", cosines.into(), 1e-4),
        ("combiner_fixed", fixed.into(), 1e-5),
        ("combiner_logn", logn.into(), 1e-5),
        ("combiner_fixed_long", fixed.into(), 1e-5),
        ("combiner_logn_long", logn.into(), 1e-5),
        ("combiner_axial", axial.into(), 1e-5),
        ("combiner_mixture", mixture.into(), 1e-5),
        ("combiner_axial_long", axial.into(), 1e-5),
        ("combiner_mixture_long", mixture.into(), 1e-5),
    ] {
        agrees(name, &PositionKind::None, &kernel, tolerance);
        agrees(&format!("{name}_all"), &PositionKind::None, &kernel, tolerance);
    }
    agrees("linear_long", &PositionKind::None, &KernelKind::Linear, 1e-5);
    agrees("favor_relu_long", &PositionKind::None, &FavorConfig { n_features: 13, ..relu }.into(), 1e-5);
    for name in ["window_long", "window_long_all"] {
        agrees(name, &PositionKind::None, &WindowConfig { size: 3 }.into(), 1e-6);
    }
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// A kernel's pattern for one query and keys of width 1, whose scores are the keys.
fn pattern(kind: &KernelKind, scores: &[f32], device: &Device) -> Vec<f32> {
    let kernel = kind.init(1, &mut ChaCha8Rng::seed_from_u64(1), device);
    let keys = tensor(scores, [1, 1, scores.len(), 1], device);
    to_host(kernel.pattern(tensor(&[1.0], [1, 1, 1, 1], device), keys, &Mask::Full.into()))
}

#[test]
fn weights_by_hand() {
    for on in devices() {
        let of = |kind: KernelKind, scores: &[f32]| pattern(&kind, scores, &on.device);
        // Of equal scores the first are taken; a score that is chosen alone has all the weight.
        let ties = of(TopKConfig { k: 2 }.into(), &[1.0, 3.0, 3.0, 3.0]);
        assert_close(on.name, &ties, &[0.0, 0.5, 0.5, 0.0], 1e-6);
        let equal = of(TopKConfig { k: 3 }.into(), &[2.0; 5]);
        assert_close(on.name, &equal, &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0, 0.0], 1e-6);
        assert_eq!(of(TopKConfig { k: 1 }.into(), &[0.5, -1.0, 0.7]), [0.0, 0.0, 1.0]);
        let softmax = of(KernelKind::Softmax, &[1.0, 3.0, 2.0]);
        assert_close(on.name, &of(TopKConfig { k: 3 }.into(), &[1.0, 3.0, 2.0]), &softmax, 1e-6);
        // At T = 1/2 odds are squared.
        let odds = |pattern: Vec<f32>| pattern[1] / pattern[0];
        let sharp = odds(of(TemperatureConfig { temperature: 0.5 }.into(), &[1.0, 2.0]));
        assert_close(on.name, &[sharp], &[odds(of(KernelKind::Softmax, &[1.0, 2.0])).powi(2)], 1e-5);
        // 1 / (1 + n e^(−s)), and the positive part of s / n.
        assert_close(on.name, &of(KernelKind::Sigmoid, &[0.0; 4]), &[0.2; 4], 1e-6);
        assert_eq!(of(KernelKind::ReluOverN, &[4.0, -3.0, 0.0, 6.0]), [1.0, 0.0, 0.0, 1.5]);
        // The only query stands at the last key.
        assert_eq!(of(WindowConfig { size: 1 }.into(), &[1.0, 2.0, 0.5]), [0.0, 0.0, 1.0]);
        let wide = of(WindowConfig { size: 3 }.into(), &[1.0, 3.0, 2.0]);
        assert_close(on.name, &wide, &softmax, 1e-6);
    }
}

/// Not a number stays not a number, to be noticed.
#[test]
fn the_largest_scores_do_not_hide_what_is_no_number() {
    for on in devices() {
        let of_nan = pattern(&TopKConfig { k: 2 }.into(), &[1.0, f32::NAN, 0.0], &on.device);
        assert!(of_nan.iter().any(|weight| weight.is_nan()), "{}: {of_nan:?}", on.name);
    }
}

/// Mean and variance of estimates of e^(x·y) over draws of W, made of a row w of W by `of`.
fn estimates(config: FavorConfig, of: impl Fn(&[f64]) -> f64) -> (f64, f64) {
    const DRAWS: u64 = 20_000;
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let estimate = |_| {
        let w = arrays(&KernelKind::Favor(config).init(4, &mut rng, &Device::flex())).remove("features").unwrap();
        let rows: Vec<f64> = w.values.iter().map(|w| f64::from(*w)).collect();
        rows.chunks_exact(4).map(&of).sum::<f64>() / config.n_features as f64
    };
    let estimates: Vec<f64> = (0..DRAWS).map(estimate).collect();
    let mean = estimates.iter().sum::<f64>() / DRAWS as f64;
    (mean, estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64)
}

const X: [f64; 4] = [0.3, -0.2, 0.4, 0.1];
const Y: [f64; 4] = [0.2, 0.5, -0.1, 0.3];

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of independent directions the mean is e^(x·y), and the variance e^(|x|² + |y|²) (1 − e^(−|x − y|²))² / 2m.
#[test]
fn trigonometric_features_are_unbiased_with_the_variance_of_their_closed_form() {
    let difference: Vec<f64> = X.iter().zip(Y).map(|(x, y)| x - y).collect();
    let half = f64::midpoint(dot(&X, &X), dot(&Y, &Y));
    let config = FavorConfig {
        n_features: 8,
        features: FavorFeatures::Trigonometric,
        directions: Directions::Iid,
        ..FavorConfig::default()
    };
    let (mean, variance) = estimates(config, |w| half.exp() * dot(w, &difference).cos());
    let error = (variance / 20_000.0).sqrt();
    assert!((mean - dot(&X, &Y).exp()).abs() < 4.0 * error, "{mean} +- {error}");
    let closed = (2.0 * half).exp() * (1.0 - (-dot(&difference, &difference)).exp()).powi(2) / 16.0;
    assert!((variance / closed - 1.0).abs() < 0.05, "{variance}, {closed}");
}

/// LAPACK's signs bias the estimate: numpy's QR gives 0.82315 ± 0.00057 over 200,000 draws, and e^(x·y) = 0.95123.
#[test]
fn plain_qr_is_biased_as_lapack_is() {
    let sum: Vec<f64> = X.iter().zip(Y).map(|(x, y)| x + y).collect();
    let half = f64::midpoint(dot(&X, &X), dot(&Y, &Y));
    let config = FavorConfig { n_features: 8, directions: Directions::PlainQr, ..FavorConfig::default() };
    let (mean, variance) = estimates(config, |w| (dot(w, &sum) - half).exp());
    let error = (variance / 20_000.0 + 0.000_57_f64.powi(2)).sqrt();
    assert!((mean - 0.823_15).abs() < 4.0 * error, "{mean} +- {error}");
}

/// The factorisation written out gives each row to the keys that its query sees, all of them, at every length.
#[test]
fn combiner_has_full_support_at_every_length() {
    let device = Device::flex();
    let fixed = CombinerConfig { segment: 6, ..CombinerConfig::default() };
    let logn = CombinerConfig { blocks: CombinerBlocks::Logn, ..CombinerConfig::default() };
    let [axial, mixture] =
        [CombinerBlocks::Axial, CombinerBlocks::Mixture].map(|blocks| CombinerConfig { blocks, ..fixed });
    for (config, length) in
        [fixed, logn, axial, mixture].into_iter().flat_map(|config| (1..=67).map(move |length| (config, length)))
    {
        let kernel = KernelKind::from(config).init(3, &mut ChaCha8Rng::seed_from_u64(1), &device);
        let rows = |seed| tensor(&headway_testkit::numbers(seed, 3 * length), [1, 1, length, 3], &device);
        for mask in [Mask::Full, Mask::Causal] {
            let pattern = to_host(kernel.pattern(rows(1), rows(2), &mask.clone().into()));
            for (i, row) in pattern.chunks_exact(length).enumerate() {
                let name = format!("{config:?}, {mask:?}, query {i} of {length}");
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}: {row:?}");
                let seen = if matches!(mask, Mask::Full) { length } else { i + 1 };
                assert!(row[..seen].iter().all(|weight| *weight > 0.0), "{name}: {row:?}");
                assert!(row[seen..].iter().all(|weight| *weight == 0.0), "{name}: {row:?}");
            }
        }
    }
}

#[test]
fn combiner_of_one_segment_is_softmax() {
    let device = Device::flex();
    let rows = |seed| tensor(&headway_testkit::numbers(seed, 2 * 11 * 5), [1, 2, 11, 5], &device);
    let mix = |kind: KernelKind, mask: &Mask| {
        let kernel = kind.init(5, &mut ChaCha8Rng::seed_from_u64(1), &device);
        to_host(kernel.mix(rows(1), rows(2), rows(3), &mask.clone().into()))
    };
    for mask in [Mask::Full, Mask::Causal] {
        for blocks in [CombinerBlocks::Fixed, CombinerBlocks::Axial, CombinerBlocks::Mixture] {
            let one = CombinerConfig { segment: 11, blocks };
            let name = format!("{blocks:?}, {mask:?}");
            assert_close(&name, &mix(one.into(), &mask), &mix(KernelKind::Softmax, &mask), 1e-5);
        }
        // A table of one column has no blocks but the parts of its one column.
        let column = CombinerConfig { segment: 1, blocks: CombinerBlocks::Axial };
        assert_close(&format!("{mask:?}"), &mix(column.into(), &mask), &mix(KernelKind::Softmax, &mask), 1e-5);
    }
}

/// The scores of a causal sequence of 1,024 places: half a million of softmax, 64 for each place of segments of 32, 11 of powers of two.
#[test]
fn combiner_makes_few_scores() {
    let sizes = KernelSizes { n_heads: 1.0, q_len: 1024.0, k_len: 1024.0, d_key: 1.0, d_value: 0.0, causal: true };
    let scores = |config: CombinerConfig| config.flops(&sizes) / 2.0;
    let fixed = CombinerConfig { segment: 32, ..CombinerConfig::default() };
    let logn = CombinerConfig { blocks: CombinerBlocks::Logn, ..CombinerConfig::default() };
    let [axial, mixture] =
        [CombinerBlocks::Axial, CombinerBlocks::Mixture].map(|blocks| CombinerConfig { blocks, ..fixed });
    // And those within blocks: once, or once for each level; of axial the mixtures of keys instead; of mixture rows from both ends, and columns.
    for (config, want) in [
        (fixed, 1024.0 * (64.0 + 1.0)),
        (logn, 1024.0 * (11.0 + 10.0)),
        (axial, 1024.0 * (64.0 + 32.0)),
        (mixture, 1024.0 * (5.0 * 32.0 + 3.0 * 32.0)),
    ] {
        assert!((scores(config) - want).abs() < 0.5, "{} is not {want}", scores(config));
    }
}

/// Drawing anew gives every layer other directions, the same for the same numbers, and changes nothing else.
#[test]
fn directions_are_drawn_anew_layer_by_layer() {
    let favor = FavorConfig { n_features: 7, redraw_every: 3, ..FavorConfig::default() };
    let config = TransformerConfig { kernel: favor.into(), d_model: 6, n_heads: 2, n_layers: 2, ..Default::default() };
    let config = ModelConfig::Transformer(config);
    let model = config.init(&IoDims::continuous(5, 3, 1), &mut ChaCha8Rng::seed_from_u64(1), &Device::flex()).unwrap();
    let redraw = config.redraw().unwrap();
    assert_eq!(redraw.every.get(), 3);
    let drawn = |seed| arrays(&model.clone().with_redrawn_kernels(&*redraw.draw, &mut ChaCha8Rng::seed_from_u64(seed)));
    let (before, after) = (arrays(&model), drawn(2));
    assert_eq!(after, drawn(2));
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed, ["blocks.0.attention.kernel.features", "blocks.1.attention.kernel.features"]);
    assert_ne!(after[changed[0]], after[changed[1]]);
    let once =
        ModelConfig::Transformer(TransformerConfig { kernel: FavorConfig::default().into(), ..Default::default() });
    assert!(once.redraw().is_none());
}
