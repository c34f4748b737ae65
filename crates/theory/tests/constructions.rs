//! A construction of each kind on the GPU under test, or on the CPU in a build without one. What a GPU adds to the other tests is how its
//! kernels round.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use headway_testkit::devices;
use headway_theory::{
    Effort, certify,
    construct::{CONSTRUCTIONS, ConstructionConfig, Request},
};

/// Small ones, since a software GPU compiles kernels for every size of network, with a tolerance for each.
const EACH: &[(&str, f64)] = &[
    (r#"{"truncated-linear": {"clamp": {"seq_len": 7, "d_in": 3, "low": -1.0, "high": 2.0}}}"#, 1e-3),
    (r#"{"truncated-linear": {"causal": true, "clamp": {"seq_len": 4, "d_in": 2, "low": -1.0, "high": 2.0}}}"#, 0.01),
    (r#"{"truncated-linear-heads": {"clamp": {"seq_len": 8, "d_in": 3, "low": -3.0, "high": 3.0}}}"#, 0.01),
    (r#"{"activation": {"function": "tanh(x1)"}}"#, 1e-3),
    (r#"{"relu-network": {"seq_len": 4, "d": 3, "hidden": 7}}"#, 1e-3),
    (r#"{"seq2seq": {"function": ["x1_1*x2_1"], "method": "grid"}}"#, 0.25),
    (r#"{"formula": {"function": ["x1*x1_2 + sin(x2_1)"]}}"#, 1e-3),
    (r#"{"program": {"program": "majority", "length": 6}}"#, 0.1),
    (r#"{"program": {"program": "parity", "length": 5}}"#, 0.1),
    (r#"{"in-context-gd": {"points": 7, "d": 2, "steps": 1, "rate": 1.0}}"#, 4e-4),
    (r#"{"in-context-gd": {"points": 5, "d": 2, "steps": 1, "loss": "logistic", "lasso": 0.02}}"#, 0.05),
    (r#"{"interpreter": {"points": 3, "d": 2, "steps": 1, "intervals": 32}}"#, 0.05),
    (r#"{"kernel-ridge": {"points": 6, "d": 2, "steps": 3, "rate": 0.2}}"#, 1e-3),
    (r#"{"network-descent": {"points": 4, "d": 2, "units": 2, "steps": 1}}"#, 1e-2),
    (r#"{"max-affine": {"function": ["sin(2*PI*x1)*x2"]}}"#, 0.1),
    (r#"{"prefix": {"function": ["abs(x1)", "x1*x2"], "d_in": 2}}"#, 0.1),
];

#[test]
fn each_holds_on_the_device_under_test() {
    // The last is the GPU, if there is one.
    let on = devices().pop().unwrap();
    let mut tried: Vec<&str> = Vec::new();
    for (config, tolerance) in EACH {
        let config: ConstructionConfig =
            serde_json::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        let request = Request { tolerance: *tolerance, max_parameters: 1_000_000 };
        let construction = config.plan(None, request.max_parameters).and_then(|planned| planned.build(request));
        let (construction, _) = construction.unwrap_or_else(|refusal| panic!("{config:?}: {refusal}"));
        tried.push(construction.name);
        let effort = Effort { random: 64, climbers: 0, climb: 0, flops: 200_000_000 };
        let model = construction.network.assemble(&on.device);
        let found = certify(&construction, *tolerance, &model, &on.device, on.name, effort);
        assert!(found.holds, "{} on {}: {} of {tolerance}", construction.name, on.name, found.float32.error);
        assert!(found.float32.points.values().sum::<usize>() > 0, "{} was not run", construction.name);
    }
    tried.dedup();
    assert_eq!(tried, CONSTRUCTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
