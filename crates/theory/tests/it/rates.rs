//! Every rate of the report: certificates hold, and the error falls as it should.

use burn::tensor::Device;
use headway_theory::{
    Effort, certify,
    rates::{RATES, Rate},
};

use crate::stages::slope;

/// On the CPU alone: each construction has its own cases for other devices.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn every_rate_is_what_it_says() {
    let device = Device::flex();
    let effort = Effort { random: 256, climbers: 4, climb: 8, ..Effort::default() };
    for Rate { id, sizes, build, exponent, within, .. } in RATES {
        let errors = sizes.iter().map(|size| {
            let construction = build(*size).unwrap();
            let tolerance = construction.bound.value + construction.rounding.value;
            let model = construction.network.assemble(&device);
            let certificate = certify(&construction, tolerance, &model, &device, "cpu", effort);
            assert!(certificate.holds, "{id} at {size}: {certificate:?}");
            (*size as f64, certificate.float32.error)
        });
        let errors: Vec<(f64, f64)> = errors.collect();
        let found = slope(&errors);
        assert!((found - exponent).abs() <= *within, "{id}: {found} is not {exponent} ± {within}: {errors:?}");
    }
}
