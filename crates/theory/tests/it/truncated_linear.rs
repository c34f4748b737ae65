//! The clamp by one head and by many.

use headway_theory::{
    Effort, Refusal, certify,
    construct::{
        Request,
        truncated_linear::{Clamp, TruncatedLinear},
        truncated_linear_heads::TruncatedLinearHeads,
    },
    interpolation::Mode,
};

use crate::stages::{self, holds, knew_its_size, slope};

/// Weights and offsets between −1 and 1, different at every position unless `shared`.
fn clamp(n: usize, d: usize, ends: [f64; 2], shared: bool) -> Clamp {
    let numbers: Vec<f64> = headway_testkit::numbers(7, n * (d + 1)).into_iter().map(f64::from).collect();
    let row = |i: usize| if shared { 0 } else { i };
    Clamp {
        weights: (0..n).map(|i| numbers[row(i) * d..][..d].to_vec()).collect(),
        offsets: (0..n).map(|i| numbers[n * d + row(i)]).collect(),
        low: ends[0],
        high: ends[1],
        input: 5.0,
    }
}

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn one(clamp: Clamp, mode: Mode, intervals: Option<usize>) -> TruncatedLinear {
    TruncatedLinear { clamp, mode, intervals }
}

#[test]
fn one_head_case_by_case() {
    for (n, d, ends, mode, tolerance) in [
        (50, 10, [-25.0, 25.0], Mode::Minimax, 0.05),
        (50, 10, [-25.0, 25.0], Mode::Hard, 0.5),
        (50, 10, [-25.0, 25.0], Mode::Smooth, 0.3),
        (7, 3, [-1.0, 2.0], Mode::Minimax, 1e-3),
        // More positions than anchors: rows that no query attends to.
        (31, 2, [0.0, 1.0], Mode::Minimax, 0.01),
        (1, 1, [100.0, 101.0], Mode::Minimax, 2e-3),
        (5, 3, [-1e-3, 1e-3], Mode::Minimax, 1e-4),
    ] {
        let head = one(clamp(n, d, ends, false), mode, None);
        let construction = head.build(Request { tolerance, ..SIZE }).unwrap();
        holds(&construction, tolerance);
        knew_its_size(&construction, tolerance, |request| head.build(request));
    }
}

#[test]
fn many_heads_case_by_case() {
    for (n, d, ends, mode, tolerance, shared) in [
        (20, 10, [-25.0, 25.0], Mode::Minimax, 0.02, true),
        (20, 10, [-25.0, 25.0], Mode::Hard, 0.1, true),
        (8, 3, [-3.0, 3.0], Mode::Minimax, 0.01, false),
        (2, 1, [0.0, 1.0], Mode::Minimax, 0.01, true),
        (3, 2, [-1.0, 0.5], Mode::Smooth, 0.02, false),
        (100, 4, [-10.0, 10.0], Mode::Minimax, 1e-3, true),
    ] {
        let heads = TruncatedLinearHeads { clamp: clamp(n, d, ends, shared), mode, heads: None };
        let construction = heads.build(Request { tolerance, ..SIZE }).unwrap();
        holds(&construction, tolerance);
        knew_its_size(&construction, tolerance, |request| heads.build(request));
    }
}

/// Saturated heads all add the same number, so the sum is rounded in the same way again and again.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_thousand_heads_round_no_more_than_allowed() {
    let clamp = clamp(2, 1, [-0.3, 0.7], true);
    let heads = TruncatedLinearHeads { clamp, mode: Mode::Minimax, heads: Some(1024) }.build(SIZE).unwrap();
    let device = burn::tensor::Device::flex();
    let effort = Effort { random: 64, climbers: 0, climb: 0, ..Effort::default() };
    let found = certify(&heads, f64::MAX, &heads.network.assemble(&device), &device, "cpu", effort);
    assert!(found.holds, "{found:?}");
    println!("float32 {:.3e}, float64 {:.3e}, rounding {:?}", found.float32.error, found.float64.error, found.rounding);
    // There are few hard points, however many seams there are.
    assert!(found.float32.points.values().sum::<usize>() < 5000, "{:?}", found.float32.points);
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_error_falls_as_one_over_the_size() {
    let sizes = [60, 120, 240, 480];
    let errors = sizes.map(|p| {
        let construction = one(clamp(20, 10, [-25.0, 25.0], false), Mode::Minimax, Some(p)).build(SIZE).unwrap();
        (p as f64, holds(&construction, f64::MAX).float64.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.05, "{errors:?}");
    let errors = [1, 2, 4, 8, 16].map(|heads| {
        let clamp = clamp(20, 10, [-25.0, 25.0], true);
        let construction = TruncatedLinearHeads { clamp, mode: Mode::Minimax, heads: Some(heads) }.build(SIZE).unwrap();
        (heads as f64, holds(&construction, f64::MAX).float32.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.05, "{errors:?}");
    let errors = [5, 10, 20, 40, 80].map(|n| {
        let clamp = clamp(n, 10, [-25.0, 25.0], true);
        let construction = TruncatedLinearHeads { clamp, mode: Mode::Hard, heads: Some(4) }.build(SIZE).unwrap();
        (n as f64 - 1.0, holds(&construction, f64::MAX).float32.error)
    });
    assert!((slope(&errors) + 1.0).abs() < 0.05, "{errors:?}");
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    let refused = |clamp: Clamp, request: Request| one(clamp, Mode::Minimax, None).build(request).unwrap_err();
    let good = clamp(50, 10, [-25.0, 25.0], false);
    // Too fine for one head in float32; the refusal names an alternative.
    let Refusal::Unreachable { reachable, hint, .. } = refused(good.clone(), Request { tolerance: 1e-4, ..SIZE })
    else {
        panic!("not refused for its tolerance")
    };
    assert!(hint.contains("truncated-linear-heads"), "{hint}");
    // A tolerance that is named as reachable can be reached.
    let construction = one(good.clone(), Mode::Minimax, None).build(Request { tolerance: reachable, ..SIZE }).unwrap();
    holds(&construction, reachable);
    let small = Request { tolerance: 0.02, max_parameters: 150_000 };
    let refusal = refused(good.clone(), small);
    let Refusal::TooLarge { reachable, needed, .. } = refusal else { panic!("{refusal}") };
    assert!(needed > 150_000.0 && reachable > 0.02 && reachable.is_finite());
    assert!(one(good.clone(), Mode::Minimax, None).build(Request { tolerance: reachable, ..small }).is_ok());
    for (clamp, words) in [
        (Clamp { low: 1.0, high: 1.0, ..good.clone() }, "low: must be below high, but 1 is not below 1"),
        (Clamp { offsets: vec![0.0], ..good.clone() }, "weights: need 50 rows of 10 numbers and 50 offsets"),
        (Clamp { offsets: vec![f64::NAN; 50], ..good.clone() }, "weights: hold something that is not a finite number"),
        (Clamp { weights: vec![], offsets: vec![], ..good.clone() }, "weights: need at least one position"),
    ] {
        let refusal = refused(clamp, Request { tolerance: 0.1, ..SIZE }).to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    for intervals in [0, 16_385] {
        let refusal = one(good.clone(), Mode::Minimax, Some(intervals)).build(SIZE).unwrap_err().to_string();
        assert_eq!(refusal, "intervals: must be from 1 to 16384");
    }
    for heads in [0, 65_537] {
        let heads = TruncatedLinearHeads { clamp: good.clone(), mode: Mode::Minimax, heads: Some(heads) };
        assert_eq!(heads.build(SIZE).unwrap_err().to_string(), "heads: must be from 1 to 65536");
    }
    // A printed tolerance can be reached too.
    for request in [Request { tolerance: 1e-4, ..SIZE }, small] {
        let refusal = refused(good.clone(), request).to_string();
        let (_, after) = refusal.split_once("the smallest reachable is ").unwrap();
        let tolerance = after.split([';', ' ']).next().unwrap().parse().unwrap();
        assert!(one(good.clone(), Mode::Minimax, None).build(Request { tolerance, ..request }).is_ok(), "{refusal}");
    }
    let refusal = one(good.clone(), Mode::Minimax, Some(10)).build(Request { tolerance: 0.1, ..SIZE }).unwrap_err();
    assert!(refusal.to_string().contains(" with this size; the smallest reachable is "), "{refusal}");
    for tolerance in [0.0, -1.0, f64::NAN] {
        let refusal = refused(good.clone(), Request { tolerance, ..SIZE }).to_string();
        assert!(refusal.starts_with("tolerance: must be a positive number"), "{refusal}");
    }
    let alone = TruncatedLinearHeads { clamp: clamp(1, 2, [0.0, 1.0], true), mode: Mode::Minimax, heads: None };
    assert!(alone.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string().starts_with("seq-len: "));
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn weights_that_float32_does_not_hold_are_refused() {
    let build = |ends: [f64; 2], tolerance| {
        one(clamp(5, 2, ends, true), Mode::Minimax, None).build(Request { tolerance, ..SIZE })
    };
    // An inverse temperature of 1e40, and anchors whose squares are 1e60.
    for (ends, tolerance) in [([0.0, 1e-20], 1.0), ([-1e30, 1e30], 1e30)] {
        let refusal = build(ends, tolerance).unwrap_err().to_string();
        assert!(refusal.starts_with("low: would put ") && refusal.contains("which float32 does not hold"), "{refusal}");
    }
    for (ends, tolerance) in [([0.0, 1e-3], 1e-5), ([-1e9, 1e9], 1e7)] {
        holds(&build(ends, tolerance).unwrap(), tolerance);
    }
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let build = || {
        one(clamp(7, 3, [-1.0, 2.0], false), Mode::Minimax, None).build(Request { tolerance: 0.01, ..SIZE }).unwrap()
    };
    let mut shifted = build();
    shifted.network.layers[0].heads[0].value.weight[(1, 0)] += 0.02;
    let mut hotter = build();
    hotter.network.layers[0].heads[0].query.weight *= 0.25;
    let mut swapped = build();
    swapped.network.layers[0].map.constant.swap_rows(3, 4);
    for (name, construction) in [("value", shifted), ("temperature", hotter), ("rows", swapped)] {
        let certificate = stages::certificate(&construction, 0.01);
        assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
    }
}

/// The same for many heads, of one form and of several.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_of_many_heads_is_found() {
    for shared in [true, false] {
        let build = || {
            let clamp = clamp(7, 3, [-1.0, 2.0], shared);
            let heads = TruncatedLinearHeads { clamp, mode: Mode::Minimax, heads: None };
            heads.build(Request { tolerance: 0.01, ..SIZE }).unwrap()
        };
        let position = build().network.layers[0].space.at("position");
        let mut shifted = build();
        shifted.network.layers[0].heads[2].value.weight[(position + 3, 0)] += 0.02;
        let mut hotter = build();
        hotter.network.layers[0].heads[1].query.weight *= 0.25;
        let mut swapped = build();
        swapped.network.layers[0].heads[3].key.weight.swap_rows(position + 1, position + 2);
        let mut silent = build();
        silent.network.layers[0].heads[0].output[(0, 0)] = 0.9;
        for (name, construction) in [("value", shifted), ("temperature", hotter), ("rows", swapped), ("output", silent)]
        {
            let certificate = stages::certificate(&construction, 0.01);
            assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
        }
    }
}

/// Inputs whose scores float32 cannot hold, a range so small that the middles of anchors are rounding errors, and a
/// tolerance above the range.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn extreme_sizes() {
    let clamp = |input: f64, low: f64, high: f64| Clamp {
        weights: vec![vec![1.0, -0.5]; 3],
        offsets: vec![0.0, 0.1, -0.2].into_iter().map(|t: f64| t * (high - low)).collect(),
        low,
        high,
        input,
    };
    let build = |clamp: Clamp, intervals: usize| {
        let request = Request { tolerance: f64::MAX, max_parameters: 1_000_000 };
        TruncatedLinear { clamp, mode: Mode::Minimax, intervals: Some(intervals) }.build(request)
    };
    let refusal = build(clamp(1e38, -25.0, 25.0), 10).unwrap_err().to_string();
    assert!(
        refusal.starts_with("input: lets ") && refusal.contains("beyond float32, whose end is 3.4e38"),
        "{refusal}"
    );
    let tiny = build(clamp(1.0, -1e-4, 1e-4), 50).unwrap();
    stages::holds(&tiny, f64::MAX);
    // One interval: the head is off by at most half of it, and never by more than the range.
    for intervals in [1, 16_384] {
        let built = build(clamp(1.0, -1.0, 1.0), intervals).unwrap();
        assert!(built.bound.value <= 2.0 && built.rounding.terms[0].value <= 2.0, "{:?}", built.rounding);
    }
}
