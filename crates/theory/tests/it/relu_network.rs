//! ReLU networks of the whole sequence, in all three forms.

#![allow(clippy::float_cmp, reason = "what is copied is equal to the last bit")]

use std::{collections::BTreeMap, time::Instant};

use headway_model::{Input, weights::Array, weights::to_host};
use headway_theory::{
    Refusal,
    construct::{
        Request,
        relu_network::{Form, ReluNetwork, ReluWeights},
    },
    interpolation::Mode,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rand_distr::StandardNormal;

use crate::stages::{self, holds, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 20_000_000 };

/// Weights and biases from N(0, 1), as in the paper's experiment.
fn normal(seed: u64, seq_len: usize, [d_in, d_out]: [usize; 2], units: usize) -> ReluWeights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut numbers = |count: usize| (0..count).map(|_| rng.sample(StandardNormal)).collect::<Vec<f64>>();
    let (flat_in, flat_out) = (seq_len * d_in, seq_len * d_out);
    ReluWeights {
        seq_len,
        d_in,
        d_out,
        weights_in: (0..units).map(|_| numbers(flat_in)).collect(),
        bias_in: numbers(units),
        weights_out: (0..flat_out).map(|_| numbers(units)).collect(),
        bias_out: numbers(flat_out),
    }
}

fn reference() -> ReluWeights {
    normal(2, 20, [5, 5], 10)
}

fn on_box(network: ReluWeights, form: Form, low: f64, high: f64) -> ReluNetwork {
    let flat = network.seq_len * network.d_in;
    ReluNetwork { form, low: vec![low; flat], high: vec![high; flat], ..ReluNetwork::new(network) }
}

#[test]
fn case_by_case() {
    for (n, d, units, form, low, high, tolerance) in [
        (4, [3, 3], 60, Form::T2, 0.0, 1.0, 3e-3),
        (1, [2, 2], 5, Form::T2, 0.0, 1.0, 1e-4),
        (7, [1, 1], 3, Form::T2, 0.0, 1.0, 1e-4),
        (12, [6, 6], 32, Form::T2, 0.0, 1.0, 8e-3),
        (5, [3, 2], 7, Form::T2, -2.0, 1.0, 1e-3),
        (3, [1, 4], 11, Form::T2, -1.0, -0.5, 1e-3),
        (2, [2, 1], 4, Form::T2, 100.0, 101.0, 2e-2),
        (4, [3, 3], 60, Form::T1, 0.0, 1.0, 2.0),
        (1, [2, 2], 5, Form::T1, 0.0, 1.0, 0.01),
        (5, [3, 2], 7, Form::T1, -2.0, 1.0, 0.05),
        (20, [5, 5], 10, Form::T1, 0.0, 1.0, 0.1),
        (4, [3, 3], 60, Form::S, 0.0, 1.0, 2.0),
        (7, [1, 1], 3, Form::S, 0.0, 1.0, 0.02),
        (5, [3, 2], 7, Form::S, -2.0, 1.0, 0.1),
        (20, [5, 5], 10, Form::S, 0.0, 1.0, 0.5),
    ] {
        let options = on_box(normal(3, n, d, units), form, low, high);
        let construction = options.build(Request { tolerance, ..SIZE });
        let construction = construction.unwrap_or_else(|refusal| panic!("{n} {d:?} {units} {form:?}: {refusal}"));
        let start = Instant::now();
        let certificate = holds(&construction, tolerance);
        println!(
            "{form:?} n {n} d {d:?} r {units} {:?}: {:?} bound {:.2e} rounding {:.2e} f64 {:.2e} f32 {:.2e} ({})",
            construction.sizes,
            start.elapsed(),
            certificate.bound.value,
            certificate.rounding.value,
            certificate.float64.error,
            certificate.float32.error,
            certificate.float32.worst_kind,
        );
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn other_temperatures_of_anchors() {
    for (form, mode, tolerance) in [
        (Form::T1, Mode::Hard, 1.0),
        (Form::T1, Mode::Smooth, 1.0),
        (Form::S, Mode::Hard, 1.0),
        (Form::S, Mode::Smooth, 1.0),
    ] {
        let options = ReluNetwork { mode, ..on_box(normal(5, 3, [2, 2], 6), form, -1.0, 1.0) };
        holds(&options.build(Request { tolerance, ..SIZE }).unwrap(), tolerance);
    }
}

/// n = 20, d = 5, r = 10: the network of the paper's experiment.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_reference_in_float32() {
    let start = Instant::now();
    let construction = ReluNetwork::new(reference()).build(Request { tolerance: 3e-3, ..SIZE }).unwrap();
    let certificate = holds(&construction, 3e-3);
    println!(
        "reference: {:?} beta {:e} bound {:.2e} rounding {:?} f64 {:.2e} f32 {:.2e} ({}) in {:?}",
        construction.sizes,
        certificate.temperature.beta,
        certificate.bound.value,
        certificate.rounding.terms.iter().map(|term| term.value).collect::<Vec<_>>(),
        certificate.float64.error,
        certificate.float32.error,
        certificate.float32.worst_kind,
        start.elapsed(),
    );
    assert!(certificate.rounding.value < 3e-3, "an allowance that allows anything: {:?}", certificate.rounding);
    // Measured over random inputs only.
    let device = headway_testkit::devices().remove(0).device;
    let model = construction.network.assemble(&device);
    let x = headway_testkit::numbers(11, 512 * 100).iter().map(|x| x / 2.0 + 0.5).collect::<Vec<f32>>();
    let input = burn::tensor::Tensor::from_data(burn::tensor::TensorData::new(x.clone(), [512, 20, 5]), &device);
    let found = to_host(model.forward(Input::Continuous(input)));
    let mut worst = 0.0_f64;
    for (x, found) in x.chunks(100).zip(found.chunks(100)) {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let errors = reference()
            .forward(&x)
            .into_iter()
            .zip(found)
            .map(|(y, found)| (y - f64::from(*found)).abs())
            .collect::<Vec<_>>();
        worst = errors.into_iter().fold(worst, f64::max);
    }
    println!("random inputs: {worst:e}");
    assert!(worst < 2e-5, "off by {worst}");
}

/// Units at the gates' worst point, u' = ±1.2785/β, at one input: all of them, and those that push one output in the
/// same direction, where the bound is nearly attained.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn units_at_their_kinks() {
    let x: Vec<f64> = headway_testkit::numbers(13, 100).iter().map(|x| f64::from(x / 2.0 + 0.5)).collect();
    let size = |network: &ReluWeights, j: usize| {
        network.weights_in[j].iter().map(|w| w.max(0.0)).sum::<f64>() + network.bias_in[j]
    };
    // The output with the largest one-signed sum.
    let network = reference();
    let sums = network.weights_out.iter().map(|row| {
        let parts = (0..10).map(|j| row[j] * size(&network, j));
        parts.clone().map(|w| w.max(0.0)).sum::<f64>().max(parts.map(|w| (-w).max(0.0)).sum())
    });
    let (worst, _) = sums.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let row = &network.weights_out[worst];
    let sign = if (0..10).map(|j| row[j] * size(&network, j)).sum::<f64>() > 0.0 { 1.0 } else { -1.0 };
    for (beta, all, attained) in [(1e3, true, 0.0), (1e7, true, 0.0), (1e3, false, 0.9), (1e5, false, 0.9)] {
        for side in [1.0, -1.0] {
            let mut network = reference();
            let before = network.before_relu(&x);
            for j in (0..10).filter(|j| all || sign * row[*j] > 0.0) {
                let at = side * 1.2785 / beta;
                // The largest value of the unit changes with the bias.
                network.bias_in[j] += (at * size(&network, j) - before[j]) / (1.0 - at);
            }
            let options = ReluNetwork { beta: Some(beta), ..ReluNetwork::new(network) };
            let mut construction = options.build(SIZE).unwrap();
            construction.hard = vec![("at the kink", vec![x.clone()])];
            let certificate = holds(&construction, f64::MAX);
            let (error, bound) = (certificate.float64.error, certificate.bound.value);
            assert!(error >= attained * bound, "beta {beta}: {error} of {bound}");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_error_falls_as_one_over_the_size() {
    let network = normal(3, 4, [2, 2], 6);
    let errors = [1e2, 1e3, 1e4, 1e5].map(|beta| {
        let options = ReluNetwork { beta: Some(beta), ..ReluNetwork::new(network.clone()) };
        (beta, holds(&options.build(SIZE).unwrap(), f64::MAX).float64.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.05, "{errors:?}");
    let errors = [(16, 1), (32, 1), (32, 2), (32, 4)].map(|(intervals, heads)| {
        let options = on_box(network.clone(), Form::T1, 0.0, 1.0);
        let options = ReluNetwork { intervals: Some(intervals), heads: Some(heads), ..options };
        ((intervals * heads) as f64, holds(&options.build(SIZE).unwrap(), f64::MAX).float64.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.15, "{errors:?}");
    let errors = [16, 32, 64, 128].map(|intervals| {
        let options = on_box(network.clone(), Form::S, 0.0, 1.0);
        let options = ReluNetwork { intervals: Some(intervals), ..options };
        (intervals as f64, holds(&options.build(SIZE).unwrap(), f64::MAX).float64.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.15, "{errors:?}");
}

/// Many heads: saturated ones add 1/H again and again.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_sum_of_a_thousand_heads_is_within_its_rounding() {
    let mut network = normal(4, 2, [1, 1], 3);
    // All units are equal, so their rounding errors add up.
    for j in 1..3 {
        network.weights_in[j] = network.weights_in[0].clone();
        network.bias_in[j] = network.bias_in[0];
    }
    let options = on_box(network, Form::T1, 0.0, 1.0);
    let options = ReluNetwork { intervals: Some(3), heads: Some(1024), ..options };
    holds(&options.build(SIZE).unwrap(), f64::MAX);
}

/// y = Σ over equal units of the sum of all inputs.
fn sum(seq_len: usize, d: usize, units: usize) -> ReluWeights {
    let flat = seq_len * d;
    let first = |at: usize| if at == 0 { 1.0 } else { 0.0 };
    ReluWeights {
        seq_len,
        d_in: d,
        d_out: 1,
        weights_in: vec![vec![1.0; flat]; units],
        bias_in: vec![0.0; units],
        weights_out: (0..seq_len).map(|at| vec![first(at); units]).collect(),
        bias_out: vec![0.0; seq_len],
    }
}

/// Hundreds of equal inputs and equal units: equal rounding errors add up, whatever the order of sums.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn equal_inputs_and_units_are_within_their_rounding() {
    let device = headway_testkit::devices().remove(0).device;
    for (n, d, units) in [(777, 1, 1), (1, 600, 4), (1, 900, 1)] {
        let network = sum(n, d, units);
        let options = ReluNetwork { beta: Some(1e8), ..on_box(network.clone(), Form::T2, -1.0, 1.0) };
        let construction = options.build(SIZE).unwrap();
        let bound = construction.bound.value + construction.rounding.value;
        let likely = construction.likely.as_ref().unwrap().value;
        assert!(likely < construction.rounding.value, "{n} {d}: {likely} of {}", construction.rounding.value);
        let model = construction.network.assemble(&device);
        for x in [0.986_800_1_f32, 1.0, -1.0, 0.333] {
            let input = burn::tensor::TensorData::new(vec![x; n * d], [1, n, d]);
            let found = to_host(model.forward(Input::Continuous(burn::tensor::Tensor::from_data(input, &device))));
            let wanted = network.forward(&vec![f64::from(x); n * d])[0];
            let error = (f64::from(found[0]) - wanted).abs();
            assert!(error <= bound, "{n} {d} at {x}: off by {error}, beyond {bound}");
            // A plain loop over the inputs, each with a weight of 1/s: the order with the largest errors.
            let one = 1.0 / (n * d) as f32;
            let looped = (0..n * d).fold(0.0_f32, |sum, _| sum + one * x);
            let error = (f64::from(looped.max(0.0)) * (n * d * units) as f64 - wanted).abs();
            assert!(error <= bound && bound < 0.2 * (n * d) as f64, "{n} {d} at {x}: off by {error}, beyond {bound}");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn units_that_are_never_on_are_dropped() {
    for form in [Form::T1, Form::T2, Form::S] {
        let mut network = normal(3, 3, [2, 1], 5);
        network.bias_in[1] = -100.0;
        network.bias_in[4] = -100.0;
        let construction = on_box(network.clone(), form, 0.0, 1.0).build(Request { tolerance: 0.1, ..SIZE }).unwrap();
        assert_eq!(construction.sizes[0], ("units".to_owned(), 3.0));
        holds(&construction, 0.1);
        // No unit is left: a constant.
        network.bias_in = vec![-100.0; 5];
        let construction = on_box(network.clone(), form, 0.0, 1.0).build(Request { tolerance: 1e-4, ..SIZE }).unwrap();
        assert_eq!(construction.bound.terms[0].value, 0.0);
        holds(&construction, 1e-4);
        // And a constant of zero.
        network.bias_out = vec![0.0; 3];
        holds(&on_box(network, form, 0.0, 1.0).build(Request { tolerance: 1e-4, ..SIZE }).unwrap(), 1e-4);
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn sizes_are_known_before_weights_are_written() {
    for form in [Form::T1, Form::T2, Form::S] {
        for (n, d, units) in [(5, [3, 2], 7), (2, [1, 4], 13), (11, [2, 1], 3)] {
            let options = on_box(normal(9, n, d, units), form, -1.0, 2.0);
            let parameters = options.build(Request { tolerance: 1.0, ..SIZE }).unwrap().network.parameters();
            let tight = Request { tolerance: 1.0, max_parameters: parameters };
            assert_eq!(options.build(tight).unwrap().network.parameters(), parameters);
            let refusal = options.build(Request { max_parameters: parameters - 1, ..tight }).unwrap_err();
            let Refusal::TooLarge { needed, .. } = refusal else { panic!("{refusal}") };
            assert_eq!(needed, parameters as f64, "{form:?} {n} {d:?} {units}");
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    for form in [Form::T1, Form::T2, Form::S] {
        let options = on_box(normal(3, 3, [2, 2], 6), form, 0.0, 1.0);
        let refusal = options.build(Request { tolerance: 1e-7, ..SIZE }).unwrap_err();
        let Refusal::Unreachable { reachable, .. } = refusal else { panic!("{refusal}") };
        assert!(reachable > 1e-7 && reachable < 0.1, "{form:?} {reachable}");
        // A tolerance that is named as reachable can be reached.
        let construction = options.build(Request { tolerance: reachable, ..SIZE }).unwrap();
        // T1 would need some hundred heads over 257 anchors, which take long to certify.
        if form != Form::T1 {
            holds(&construction, reachable);
        }
    }
    let good = ReluNetwork::new(normal(3, 3, [2, 2], 6));
    let network = |change: fn(&mut ReluWeights)| {
        let mut options = good.clone();
        change(&mut options.network);
        options
    };
    for (options, words) in [
        (ReluNetwork { low: vec![0.0; 5], ..good.clone() }, "low: need 6 lower and upper ends"),
        (ReluNetwork { low: vec![1.0; 6], ..good.clone() }, "low: must be below high, both finite, not 1 and 1"),
        (ReluNetwork { high: vec![f64::INFINITY; 6], ..good.clone() }, "low: must be below high, both finite"),
        (ReluNetwork { intervals: Some(3), ..good.clone() }, "intervals: is an option of form t1 and s"),
        (ReluNetwork { heads: Some(3), form: Form::S, ..good.clone() }, "heads: is an option of form t1"),
        (ReluNetwork { heads: Some(0), form: Form::T1, ..good.clone() }, "heads: must be at least 1"),
        (ReluNetwork { beta: Some(1.0), form: Form::T1, ..good.clone() }, "beta: is an option of form t2"),
        (ReluNetwork { beta: Some(1e9), ..good.clone() }, "beta: must be above 0 and at most 1e8"),
        (
            ReluNetwork { causal: true, ..good.clone() },
            "network: is not causal: position 1 takes a hidden unit that reads position 3; leave out --causal",
        ),
        (network(|n| n.bias_in.truncate(1)), "network: the first layer needs 6 rows of 6 numbers and 6 biases"),
        (network(|n| n.weights_out.truncate(1)), "network: the second layer needs 6 rows of 6 numbers and 6 biases"),
        (network(|n| n.bias_out[0] = f64::NAN), "network: holds something that is not a finite number"),
        (network(|n| n.seq_len = 0), "network: needs a position"),
    ] {
        let refusal = options.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    for tolerance in [0.0, -1.0, f64::NAN] {
        let refusal = good.build(Request { tolerance, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with("tolerance: must be a positive number"), "{refusal}");
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let build =
        |form| on_box(normal(3, 3, [2, 2], 6), form, 0.0, 1.0).build(Request { tolerance: 0.05, ..SIZE }).unwrap();
    let mut sign = build(Form::T2);
    sign.network.layers[0].heads[1].output *= -1.0;
    let mut hot = build(Form::T2);
    hot.network.layers[1].heads[0].query.weight[(0, 0)] = 1.0;
    let mut null = build(Form::T2);
    null.network.layers[1].map.constant.row_mut(6).fill(0.0);
    let mut rows = build(Form::T2);
    rows.network.layers[2].map.constant.swap_rows(0, 1);
    let mut anchor = build(Form::T1);
    anchor.network.layers[0].heads[0].query.weight[(1, 0)] *= 1.1;
    let mut value = build(Form::S);
    let headway_plain::Readout::Softmax { values, .. } = &mut value.network.readout else { panic!("no softmax") };
    values[(1, 0)] += 0.2;
    for (name, construction) in
        [("sign", sign), ("temperature", hot), ("null row", null), ("row", rows), ("anchor", anchor), ("value", value)]
    {
        let certificate = stages::certificate(&construction, 0.05);
        assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
    }
}

fn arrays(prefix: &str, list: &[(&str, &[usize])]) -> BTreeMap<String, Array> {
    let each = list.iter().enumerate().map(|(seed, (name, shape))| {
        let values = headway_testkit::numbers(seed as u64, shape.iter().product());
        (format!("{prefix}{name}"), Array { shape: shape.to_vec(), values })
    });
    each.collect()
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn networks_are_read_as_pytorch_names_them() {
    let whole: &[(&str, &[usize])] =
        &[("0.weight", &[7, 6]), ("0.bias", &[7]), ("2.weight", &[9, 7]), ("2.bias", &[9])];
    for prefix in ["", "net.", "model.body."] {
        let arrays = arrays(prefix, whole);
        let network = ReluWeights::from_arrays(&arrays, 3).unwrap();
        assert_eq!((network.seq_len, network.d_in, network.d_out, network.units()), (3, 2, 3, 7));
        // Row-major [out, in]: row 2, column 5.
        assert_eq!(network.weights_in[2][5], f64::from(arrays[&format!("{prefix}0.weight")].values[17]));
        assert_eq!(network.weights_out[8][6], f64::from(arrays[&format!("{prefix}2.weight")].values[62]));
        assert_eq!(network.bias_in[6], f64::from(arrays[&format!("{prefix}0.bias")].values[6]));
    }
    let bare = ReluWeights::from_arrays(&arrays("", &[whole[0], whole[2]]), 3).unwrap();
    assert_eq!((bare.bias_in, bare.bias_out), (vec![0.0; 7], vec![0.0; 9]));
    let with = |extra: (&'static str, &'static [usize])| arrays("", &[whole, &[extra]].concat());
    let without =
        |name: &str| arrays("", &whole.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>());
    let changed = |name: &str, shape: &'static [usize]| {
        arrays(
            "",
            &whole.iter().map(|(known, old)| (*known, if *known == name { shape } else { *old })).collect::<Vec<_>>(),
        )
    };
    for (arrays, seq_len, words) in [
        (BTreeMap::new(), 3, "needs tensors 0.weight and 2.weight, with a common prefix or none; found: none"),
        (without("2.weight"), 3, "2.weight is missing; found: 0.bias [7], 0.weight [7, 6], 2.bias [9]"),
        (with(("4.weight", &[3, 9])), 3, "4.weight is no part of two linear layers"),
        (with(("net.0.weight", &[3, 9])), 3, "needs one tensor that ends in 0.weight, not several"),
        (changed("2.weight", &[9, 8]), 3, "2.weight must have shape [9, 7]; found: "),
        (changed("0.bias", &[8]), 3, "0.bias must have shape [7]; found: "),
        (changed("0.weight", &[42]), 3, "0.weight must be a matrix [out, in]"),
        (arrays("", whole), 4, "the 6 columns of 0.weight must divide among 4 positions"),
        (arrays("", whole), 0, "the 6 columns of 0.weight must divide among 0 positions"),
        (arrays("", whole), 2, "the 9 rows of 2.weight must divide among 2 positions"),
    ] {
        let refusal = ReluWeights::from_arrays(&arrays, seq_len).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("network: {words}")), "{refusal}");
    }
}
