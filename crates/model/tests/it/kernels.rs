//! Attention kernels compared with PyTorch on the same numbers, outputs and gradients (`fixtures/kernels.py`), and by hand.

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    Kernel, KernelKind, Mask, PositionKind, TemperatureConfig, TopKConfig, WindowConfig, weights::to_host,
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
