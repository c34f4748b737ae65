//! Muon, and groups of parameters, compared with PyTorch and a singular value decomposition: `fixtures/muon.py`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::orthogonalised;
use headway_model::weights::{self, Array, to_host};
use headway_testkit::{assert_close, devices};
use headway_trainer::optimizer::{
    AdamConfig, AdamWConfig, MuonConfig, MuonScale, Optimizer, OptimizerConfig, ParameterGroup, SgdConfig,
};

use super::optimizers::{Fixture, assert_arrays_close};

/// Those of the fixture.
const RATES: [f64; 5] = [0.02, 0.01, 0.03, 0.02, 0.015];

fn fixture() -> Fixture {
    let bytes = include_bytes!("fixtures/muon.safetensors");
    Fixture { arrays: weights::arrays_from_bytes(bytes).unwrap(), listing: serde_json::Value::Null }
}

fn group(pattern: &str, learning_rate_factor: f64, weight_decay: f64) -> ParameterGroup {
    ParameterGroup { pattern: pattern.to_owned(), learning_rate_factor, weight_decay: Some(weight_decay) }
}

/// Each case with its optimiser and the norm to which its gradients are clipped.
fn cases() -> [(&'static str, OptimizerConfig, Option<f64>); 7] {
    let muon = MuonConfig::default();
    let wide = MuonConfig { momentum: 0.8, nesterov: false, scale: MuonScale::Rms, weight_decay: 0.1, ..muon.clone() };
    let grouped = MuonConfig { group: vec![group("w*", 0.5, 0.3), group("*", 3.0, 0.2)], ..muon.clone() };
    let by_adam = MuonConfig { by_adam: vec!["weight".to_owned()], ..muon.clone() };
    let adam = AdamConfig { group: vec![group("bias", 3.0, 0.2)], ..AdamConfig::default() };
    let adamw = AdamWConfig { weight_decay: 0.4, group: vec![group("bias", 0.5, 0.0)], ..AdamWConfig::default() };
    let sgd =
        SgdConfig { momentum: 0.9, weight_decay: 0.1, group: vec![group("bias", 2.0, 0.3)], ..SgdConfig::default() };
    [
        ("tall", OptimizerConfig::Muon(muon), None),
        ("wide", OptimizerConfig::Muon(wide), None),
        ("grouped", OptimizerConfig::Muon(grouped), Some(2.0)),
        ("by_adam", OptimizerConfig::Muon(by_adam), None),
        ("adam", OptimizerConfig::Adam(adam), None),
        ("adamw", OptimizerConfig::AdamW(adamw), Some(0.5)),
        ("sgd", OptimizerConfig::Sgd(sgd), None),
    ]
}

/// A Newton–Schulz step of f32 multiplies rounding by up to 3.4, five of them by 500.
const TOLERANCE: f64 = 3e-5;

#[test]
fn updates_of_muon_and_of_groups_are_those_of_pytorch() {
    let fixture = fixture();
    for on in devices() {
        for (case, config, max_norm) in cases() {
            let mut module = fixture.start(&format!("{case}.start"), &on.device);
            let mut optimizer = Optimizer::new(config);
            for (step, rate) in RATES.into_iter().enumerate() {
                let gradients = fixture.gradients(&format!("{case}.gradient.{step}"), &module, &on.device);
                optimizer.step(&mut module, gradients, rate, max_norm);
                let name = format!("{case} after step {step} on {}", on.name);
                let want = fixture.pair(&format!("{case}.{step}"));
                assert_arrays_close(&name, &weights::arrays(&module), &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn a_restored_muon_goes_on_bit_for_bit() {
    const CUT: usize = 2;
    let fixture = fixture();
    for on in devices() {
        for (case, config, max_norm) in cases() {
            let go_on = |optimizer: &mut Optimizer, steps: std::ops::Range<usize>, module| {
                steps.fold(module, |mut module, step| {
                    let gradients = fixture.gradients(&format!("{case}.gradient.{step}"), &module, &on.device);
                    optimizer.step(&mut module, gradients, RATES[step], max_norm);
                    module
                })
            };
            let mut optimizer = Optimizer::new(config.clone());
            let half = go_on(&mut optimizer, 0..CUT, fixture.start(&format!("{case}.start"), &on.device));
            let moments = optimizer.moments();
            let straight = go_on(&mut optimizer, CUT..RATES.len(), half.clone());
            let mut restored = Optimizer::restored(config, CUT as u64, moments, &on.device);
            let resumed = go_on(&mut restored, CUT..RATES.len(), half);
            assert_eq!(weights::arrays(&straight), weights::arrays(&resumed), "{case} on {}", on.name);
            assert_eq!(optimizer.moments(), restored.moments(), "{case} on {}", on.name);
        }
    }
}

/// Of each matrix one velocity is kept, of each vector two moments of Adam: what the budget of memory counts.
#[test]
fn a_matrix_keeps_one_velocity() {
    let fixture = fixture();
    let [(_, muon, _), _, _, (_, by_adam, _), ..] = cases();
    for (case, config, want) in [("tall", muon, 5 * 7 + 2 * 7), ("by_adam", by_adam, 2 * 5 * 7 + 2 * 7)] {
        let mut module = fixture.start(&format!("{case}.start"), &Device::flex());
        let gradients = fixture.gradients(&format!("{case}.gradient.0"), &module, &Device::flex());
        let mut optimizer = Optimizer::new(config);
        optimizer.step(&mut module, gradients, 0.1, None);
        let kept: usize = optimizer.moments().values().map(|array| array.values.len()).sum();
        assert_eq!(kept, want, "{case}");
    }
}

fn matrix(array: &Array, device: &Device) -> Tensor<2> {
    let shape: [usize; 2] = array.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(array.values.clone(), shape), device)
}

/// Five steps bring every singular value, from the largest to a fiftieth of it, near 1, and leave the singular vectors.
#[test]
fn five_steps_make_a_matrix_nearly_orthogonal() {
    let arrays: BTreeMap<String, Array> = fixture().arrays;
    for on in devices() {
        for name in ["tall", "wide", "square"] {
            let [x, y] = ["x", "y"].map(|part| &arrays[&format!("spread.{name}.{part}")]);
            let label = format!("{name} on {}", on.name);
            let made = orthogonalised(matrix(x, &on.device));
            let [rows, columns] = made.dims();
            let values = to_host(made);
            assert_close(&label, &values, &y.values, TOLERANCE);
            let made = nalgebra::DMatrix::from_row_iterator(rows, columns, values.into_iter().map(f64::from));
            let singular = made.singular_values();
            // The bounds of the documentation, to rounding.
            assert!(singular.min() > 0.681 && singular.max() < 1.135, "{label}: {singular}");
            assert!(singular.max() - singular.min() > 0.1, "{label}: they are near 1, not equal: {singular}");
            assert_eq!(singular.len(), rows.min(columns));
        }
    }
}
