//! Constructions under a causal mask.

#![allow(clippy::float_cmp, reason = "what does not depend on a number does not change by a bit")]

use headway_model::{Input, weights::to_host};
use headway_testkit::devices;
use headway_theory::{
    Refusal,
    construct::{Construction, ConstructionConfig, Request},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::stages::{holds, knew_its_size};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 20_000_000 };

fn build(config: &str, request: Request) -> Result<Construction, Refusal> {
    let config: ConstructionConfig = serde_json::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
    let built = config.plan(None, request.max_parameters)?.build(request)?;
    Ok(built.0)
}

/// Asserts that outputs at a position are the same to the last bit whatever stands behind it, and that a third of the positions at least
/// change something at or behind them; hidden units of the others may be off.
fn hides_what_follows(construction: &Construction) {
    let network = &construction.network;
    let (n, d, d_out) = (network.seq_len, network.d_in, network.d_out);
    let device = devices().remove(0).device;
    let model = network.assemble(&device);
    let in_float32 = |x: &[f64]| {
        let numbers: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let data = burn::tensor::TensorData::new(numbers, [1, n, d]);
        to_host(model.forward(Input::Continuous(burn::tensor::Tensor::from_data(data, &device))))
    };
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (x, other) = (construction.domain.sample(&mut rng), construction.domain.sample(&mut rng));
    let (before, single) = (network.forward(&x), in_float32(&x));
    let mut seen = 0;
    for at in 0..n {
        let mut changed = x.clone();
        changed[at * d..].copy_from_slice(&other[at * d..]);
        let (after, single_after) = (network.forward(&changed), in_float32(&changed));
        assert_eq!(before[..at * d_out], after[..at * d_out], "position {at} is seen before it");
        assert_eq!(single[..at * d_out], single_after[..at * d_out], "position {at} is seen before it, in float32");
        seen += usize::from(before[at * d_out..] != after[at * d_out..]);
    }
    assert!(3 * seen >= n, "{seen} of {n} positions change something");
}

#[test]
fn case_by_case() {
    for (config, tolerance) in [
        (r#"{"truncated-linear": {"causal": true}}"#, 0.05),
        (
            r#"{"truncated-linear": {"causal": true, "clamp": {"seq_len": 3, "d_in": 4, "low": -1.0, "high": 2.0, "input": 2.0}}}"#,
            2e-3,
        ),
        (r#"{"truncated-linear": {"causal": true, "clamp": {"seq_len": 5, "d_in": 1, "mode": "hard"}}}"#, 0.5),
        (r#"{"relu-network": {"causal": true}}"#, 5e-3),
        // Several units a position, and positions without any.
        (
            r#"{"relu-network": {"causal": true, "seq_len": 4, "d": 2, "hidden": 11, "ends": {"low": -1.0, "high": 1.0}}}"#,
            1e-3,
        ),
        (r#"{"relu-network": {"causal": true, "seq_len": 9, "d": 1, "hidden": 3}}"#, 1e-3),
    ] {
        let construction = build(config, Request { tolerance, ..SIZE }).unwrap();
        assert!(construction.network.causal, "{config}");
        holds(&construction, tolerance);
        knew_its_size(&construction, tolerance, |request| build(config, request));
        hides_what_follows(&construction);
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    for (config, tolerance) in [
        (
            r#"{"truncated-linear": {"causal": true, "clamp": {"seq_len": 6, "d_in": 2, "low": -1.0, "high": 2.0}}}"#,
            0.01,
        ),
        (r#"{"relu-network": {"causal": true, "seq_len": 4, "d": 2, "hidden": 8}}"#, 1e-3),
    ] {
        for layer in 0..2 {
            let mut broken = build(config, Request { tolerance, ..SIZE }).unwrap();
            broken.network.layers[layer].heads[0].value.weight *= 1.02;
            let certificate = crate::stages::certificate(&broken, tolerance);
            assert!(!certificate.holds, "{config}: values of layer {layer} that are off pass");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    for (config, words) in [
        (r#"{"relu-network": {"causal": true, "form": "t1"}}"#, "causal: is an option of form t2"),
        (
            r#"{"truncated-linear": {"causal": true, "values": "linear-program"}}"#,
            "prove: goes by boxes over one layer of attention, and the causal form has two; leave it out",
        ),
    ] {
        let refusal = build(config, SIZE).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{config}: {refusal}");
    }
}
