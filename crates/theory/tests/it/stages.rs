//! All stages of a construction: double precision, the model on the CPU, and the model on wgpu if that is built.

use headway_testkit::devices;
use headway_theory::{
    Certificate, Effort, Refusal, certify,
    construct::{Construction, Request},
};

/// One certificate per device, each of which includes the double-precision stage.
///
/// With the feature `wgpu` the CPU is left out, since the same suite without the feature covers it.
pub fn certificates(construction: &Construction, tolerance: f64) -> Vec<(&'static str, Certificate)> {
    let devices = devices().into_iter().filter(|on| cfg!(not(feature = "wgpu")) || on.name != "flex");
    let certificates = devices.map(|on| {
        let effort = if on.name == "flex" {
            Effort { random: 1024, climbers: 8, climb: 16, flops: 5_000_000_000 }
        } else {
            // Software GPUs are slow and compile kernels for every size of network: fewer points there, a share of the
            // hard ones, no climb.
            Effort { random: 64, climbers: 0, climb: 0, flops: 200_000_000 }
        };
        let model = construction.network.assemble(&on.device);
        (on.name, certify(construction, tolerance, &model, &on.device, on.name, effort))
    });
    certificates.collect()
}

/// Asserts that the certificates of all devices hold and that the plan predicted the size; returns the CPU's
/// certificate.
#[track_caller]
pub fn holds(construction: &Construction, tolerance: f64) -> Certificate {
    let certificates = certificates(construction, tolerance);
    for (device, certificate) in &certificates {
        let Certificate { bound, rounding, float32, float64, .. } = certificate;
        assert!(
            certificate.holds,
            "{} {:?} on {device}: bound {} + rounding {} of {tolerance}, float32 {} at {} (position {}, {} for {}), float64 {} at {}",
            construction.name,
            construction.sizes,
            bound.value,
            rounding.value,
            float32.error,
            float32.worst_kind,
            float32.worst_position,
            float32.found,
            float32.wanted,
            float64.error,
            float64.worst_kind,
        );
        let terms = |bound: &headway_theory::Bound| bound.terms.iter().map(|term| term.value).sum::<f64>();
        assert!((terms(bound) - bound.value).abs() <= 1e-12 * bound.value, "the terms do not add up: {bound:?}");
    }
    certificates.into_iter().next().unwrap().1
}

/// Asserts that the plan predicted the number of parameters: if one fewer is allowed, it names that number.
#[track_caller]
pub fn knew_its_size(
    construction: &Construction,
    tolerance: f64,
    build: impl Fn(Request) -> Result<Construction, Refusal>,
) {
    let parameters = construction.network.parameters();
    match build(Request { tolerance, max_parameters: parameters - 1 }) {
        Err(Refusal::TooLarge { needed, .. }) => assert!(
            (needed - parameters as f64).abs() < 0.5,
            "{} {:?}: {needed} planned, {parameters} written",
            construction.name,
            construction.sizes
        ),
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("one parameter fewer would have done"),
    }
}

/// Slope of a straight line through (log x, log y).
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let product: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    product / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
