//! All stages of a construction: double precision, and the model in single precision.

use headway_testkit::devices;
use headway_theory::{
    Certificate, Effort, Refusal, certify,
    construct::{Construction, Request},
};

/// The certificate on the CPU, which includes the double-precision stage; what a GPU rounds is tried in `constructions.rs`.
pub fn certificate(construction: &Construction, tolerance: f64) -> Certificate {
    let on = devices().remove(0);
    let effort = Effort { random: 1024, climbers: 8, climb: 16, flops: 5_000_000_000 };
    certify(construction, tolerance, &construction.network.assemble(&on.device), &on.device, on.name, effort)
}

/// Asserts that the certificate holds and that the plan predicted the size; returns it.
#[track_caller]
pub fn holds(construction: &Construction, tolerance: f64) -> Certificate {
    let certificate = certificate(construction, tolerance);
    let Certificate { bound, rounding, float32, float64, .. } = &certificate;
    assert!(
        certificate.holds,
        "{} {:?}: bound {} + rounding {} of {tolerance}, float32 {} at {} (position {}, {} for {}), float64 {} at {}",
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
    certificate
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
