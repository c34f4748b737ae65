//! Cells of affine scores, by self-attention and by cross-attention.

use headway_theory::{
    Refusal, Target,
    cells::Attention,
    construct::{
        Request,
        max_affine::{Cut, GivenCells, Grid, MaxAffine},
    },
    interpolation::Mode,
    smoothness::Given,
};

use crate::stages::{self, holds, knew_its_size, slope};

const SIZE: Request = Request { tolerance: f64::MAX, max_parameters: 50_000_000 };

fn formulas(list: &[&str], d_in: usize, ends: [f64; 2]) -> Target {
    Target::formulas(list, [1, d_in], ends).unwrap()
}

fn smooth() -> Target {
    formulas(&["sin(2*PI*x1)*x2"], 2, [0.0, 1.0])
}

/// Slope 1 everywhere, with kinks where the two differences are equal and where either is zero.
fn kinked() -> Target {
    formulas(&["max(abs(x1 - 0.413), abs(x2 - 0.577))"], 2, [0.0, 1.0])
}

fn grid(function: Target, d_in: usize, mode: Mode) -> Grid {
    Grid { d_in, function, mode, per_axis: None, padding: None, given: Given::default(), norm: None }
}

fn on(partition: Cut, [low, high]: [f64; 2]) -> MaxAffine {
    MaxAffine { seq_len: 5, low, high, partition, attention: Attention::default() }
}

/// Irregular cells with values of two numbers.
fn scattered(cells: usize, d: usize, gap: f64) -> GivenCells {
    let numbers: Vec<f64> = headway_testkit::numbers(11, cells * (d + 3)).into_iter().map(f64::from).collect();
    let rows =
        |from: usize, width: usize| numbers[from..][..cells * width].chunks(width).map(<[f64]>::to_vec).collect();
    GivenCells {
        slopes: rows(0, d),
        offsets: numbers[cells * d..][..cells].iter().map(|b| 0.2 * b).collect(),
        values: rows(cells * (d + 1), 2),
        gap,
    }
}

#[test]
fn case_by_case() {
    let several = formulas(&["x1*x2 - x3", "cos(x1 + 2*x3)"], 3, [-1.0, 0.5]);
    let given = Given { lipschitz: Some(1.0), curvature: None };
    let wave = Given { lipschitz: Some(3.0), curvature: Some(9.0) };
    for (partition, ends, tolerance) in [
        (Cut::Grid(grid(smooth(), 2, Mode::Minimax)), [0.0, 1.0], 0.5),
        (Cut::Grid(grid(smooth(), 2, Mode::Smooth)), [0.0, 1.0], 0.05),
        (Cut::Grid(grid(smooth(), 2, Mode::Hard)), [0.0, 1.0], 0.5),
        (Cut::Grid(Grid { given, ..grid(kinked(), 2, Mode::Minimax) }), [0.0, 1.0], 0.03),
        (Cut::Grid(Grid { given, ..grid(kinked(), 2, Mode::Hard) }), [0.0, 1.0], 0.03),
        (Cut::Grid(grid(kinked(), 2, Mode::Smooth)), [0.0, 1.0], 0.05),
        (Cut::Grid(grid(several, 3, Mode::Minimax)), [-1.0, 0.5], 0.5),
        // One axis, far from zero.
        (
            Cut::Grid(Grid { given: wave, ..grid(formulas(&["sin(3*x1)"], 1, [100.0, 101.0]), 1, Mode::Smooth) }),
            [100.0, 101.0],
            5e-3,
        ),
        // A function that is zero at the ends and in the middle of every axis, the only places that a lattice with 8
        // axes examines.
        (Cut::Grid(grid(formulas(&["sin(2*PI*x1)"], 8, [0.0, 0.1]), 8, Mode::Minimax)), [0.0, 0.1], 3.0),
        // Fewer cells than positions: rows that no query attends to.
        (Cut::Grid(grid(formulas(&["x1"], 1, [0.0, 1.0]), 1, Mode::Minimax)), [0.0, 1.0], 0.3),
        (Cut::Given(scattered(13, 2, 0.1)), [-1.0, 1.0], 1e-4),
        (Cut::Given(scattered(13, 2, 0.02)), [-1.0, 1.0], 0.01),
        (Cut::Given(scattered(200, 3, 0.03)), [-2.0, 2.0], 1e-3),
        (Cut::Given(scattered(2, 1, 0.1)), [-1.0, 1.0], 1e-5),
        (Cut::Given(scattered(1, 2, 0.1)), [-1.0, 1.0], 1e-5),
    ] {
        for attention in [Attention::SelfAttention, Attention::CrossAttention] {
            let whole = MaxAffine { attention, ..on(partition.clone(), ends) };
            let construction = whole.build(Request { tolerance, ..SIZE }).unwrap();
            let found = holds(&construction, tolerance);
            println!(
                "{} {:?}: bound {:.2e} rounding {:.2e}, float64 {:.2e} float32 {:.2e}",
                found.target,
                found.sizes,
                found.bound.value,
                found.rounding.value,
                found.float64.error,
                found.float32.error
            );
            let rows = construction.network.layers[0].rows();
            let cells = found.sizes["cells"] as usize;
            assert_eq!(rows, if attention == Attention::SelfAttention { cells.max(5) } else { cells + 5 });
            knew_its_size(&construction, tolerance, |request| whole.build(request));
        }
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn the_error_falls_with_the_cells_per_axis() {
    for (function, mode, wanted) in [
        (kinked(), Mode::Minimax, -1.0),
        (kinked(), Mode::Hard, -1.0),
        (smooth(), Mode::Hard, -1.0),
        (smooth(), Mode::Smooth, -2.0),
    ] {
        let mut points = Vec::new();
        for per_axis in [8, 16, 32, 64] {
            let sized = Grid { per_axis: Some(per_axis), ..grid(function.clone(), 2, mode) };
            let whole = MaxAffine { seq_len: 2, ..on(Cut::Grid(sized), [0.0, 1.0]) };
            let found = holds(&whole.build(SIZE).unwrap(), f64::MAX);
            points.push((per_axis as f64, found.float64.error));
        }
        println!("{} {mode:?}: {points:?} {}", function.text, slope(&points));
        assert!((slope(&points) - wanted).abs() < 0.1, "{} {mode:?}: {points:?}", function.text);
    }
}

#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn what_is_refused() {
    let whole = on(Cut::Grid(grid(kinked(), 2, Mode::Minimax)), [0.0, 1.0]);
    let Refusal::Unreachable { reachable, .. } = whole.build(Request { tolerance: 1e-4, ..SIZE }).unwrap_err() else {
        panic!("not refused for its tolerance")
    };
    assert!(whole.build(Request { tolerance: reachable, ..SIZE }).is_ok());
    let small = Request { tolerance: 0.03, max_parameters: 1000 };
    let Refusal::TooLarge { reachable, .. } = whole.build(small).unwrap_err() else {
        panic!("not refused for its size")
    };
    holds(&whole.build(Request { tolerance: reachable, ..small }).unwrap(), reachable);
    let cells = scattered(13, 2, 0.1);
    let given = on(Cut::Given(cells.clone()), [-1.0, 1.0]);
    let Refusal::Unreachable { reachable, .. } = given.build(Request { tolerance: 1e-9, ..SIZE }).unwrap_err() else {
        panic!("not refused for its tolerance")
    };
    holds(&given.build(Request { tolerance: reachable, ..SIZE }).unwrap(), reachable);
    let base = grid(kinked(), 2, Mode::Minimax);
    for (partition, words) in [
        (Cut::Grid(Grid { d_in: 9, ..base.clone() }), "d-in: must be from 1 to 8"),
        (
            Cut::Grid(Grid { per_axis: Some(0), ..base.clone() }),
            "per-axis: must be at least 1, and make 65536 cells at most",
        ),
        (Cut::Grid(Grid { per_axis: Some(257), ..base.clone() }), "per-axis: "),
        (Cut::Grid(Grid { d_in: 8, mode: Mode::Smooth, ..base.clone() }), "padding: is so wide that not even one cell"),
        (
            Cut::Grid(grid(Target::opaque("1/0", |_| vec![f64::INFINITY]), 2, Mode::Hard)),
            "function: must give finite numbers",
        ),
        // Finite in the middle; elsewhere neither finite nor of constant width.
        (
            Cut::Grid(grid(Target::opaque("1/x", |x| vec![1.0 / x[0]]), 2, Mode::Hard)),
            "function: must be finite and of one width",
        ),
        (
            Cut::Grid(grid(Target::opaque("two", |x| vec![1.0; if x[0] < 0.1 { 2 } else { 1 }]), 2, Mode::Hard)),
            "function: must be finite and of one width",
        ),
        (Cut::Given(GivenCells { gap: 0.0, ..cells.clone() }), "gap: must be a positive number, not 0"),
        (Cut::Given(GivenCells { gap: 100.0, ..cells.clone() }), "gap: none of 1024 points of the cube"),
        (Cut::Given(GivenCells { offsets: vec![], ..cells.clone() }), "slopes: need 13 rows of equal length"),
        (Cut::Given(GivenCells { values: vec![], ..cells.clone() }), "values: need 13 rows of equal length"),
        (Cut::Given(GivenCells { slopes: vec![], ..cells.clone() }), "slopes: must be from 1 to 65536 cells"),
    ] {
        let refusal = on(partition, [0.0, 1.0]).build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
    let refusal = on(Cut::Grid(base), [1.0, 1.0]).build(SIZE).unwrap_err().to_string();
    assert!(refusal.starts_with("low: must be below high, but 1 is not below 1"), "{refusal}");
}

/// Rounding an input moves scores by more than a thousandth of the gap.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn steep_cells_keep_their_gap() {
    let steep = |gap: f64| GivenCells {
        slopes: vec![vec![1e4], vec![-1e4]],
        offsets: vec![-7000.0, 7000.0],
        values: vec![vec![1.0], vec![-1.0]],
        gap,
    };
    for gap in [0.05, 0.5] {
        let request = Request { tolerance: 0.01, ..SIZE };
        let construction = on(Cut::Given(steep(gap)), [0.0, 1.0]).build(request).unwrap();
        let headway_theory::Domain::Partition(domain) = &construction.domain else { panic!("another domain") };
        let hard = construction.hard.iter().flat_map(|(_, points)| points).flatten();
        for x in hard {
            let margin = domain.margin(&[f64::from(*x as f32)]);
            assert!(margin >= gap, "{x} has a gap of {margin}");
        }
        holds(&construction, 0.01);
    }
}

/// A single cell, or cells with equal values, have no error whatever the scores are.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn cells_that_are_alike_need_no_gap() {
    let one = GivenCells { gap: 1e-30, ..scattered(1, 2, 0.1) };
    holds(&on(Cut::Given(one), [-1.0, 1.0]).build(Request { tolerance: 1e-5, ..SIZE }).unwrap(), 1e-5);
    let many = GivenCells { gap: 1e-12, ..scattered(13, 2, 0.1) };
    let refusal = on(Cut::Given(many), [-1.0, 1.0]).build(Request { tolerance: 1e-5, ..SIZE }).unwrap_err().to_string();
    assert!(!refusal.contains("inf") && !refusal.contains("NaN"), "{refusal}");
}

/// Walls and corners are tested along every axis, even if not all combinations fit.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn hard_points_reach_all_of_every_axis() {
    for d in [7, 8] {
        let construction = on(Cut::Grid(grid(formulas(&["0"], d, [0.0, 1.0]), d, Mode::Hard)), [0.0, 1.0]);
        let construction = construction.build(Request { tolerance: 0.1, ..SIZE }).unwrap();
        for (kind, points) in &construction.hard {
            for axis in 0..d {
                let axis = points.iter().flat_map(|x| x.chunks(d)).map(|x| x[axis]);
                let (low, high) = axis.fold((1.0_f64, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
                assert!(low < 1e-12 && high > 1.0 - 1e-12, "{kind} of {d} axes reach from {low} to {high}");
            }
        }
    }
}

/// Functions that jump are approximated in the mean: the error falls with the cells as h^{1/p}, while half of the jump stays everywhere near it.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn jumps_in_the_mean() {
    let step = || formulas(&["step(x1 + x2/2 - 0.6)", "step(x2 - 0.3)*sin(3*x1)"], 2, [0.0, 1.0]);
    for (mode, power, tolerance) in
        [(Mode::Hard, 1.0, 0.1), (Mode::Hard, 2.0, 0.3), (Mode::Minimax, 2.0, 0.4), (Mode::Smooth, 1.0, 0.2)]
    {
        let norm = Some(power);
        let whole = on(Cut::Grid(Grid { norm, ..grid(step(), 2, mode) }), [0.0, 1.0]);
        let built = whole.build(Request { tolerance, ..SIZE }).unwrap();
        let certificate = holds(&built, tolerance);
        let kept = certificate.float32.error / certificate.bound.value;
        println!("{mode:?} p {power}: {:?} {kept:.2} of the bound", built.sizes);
        assert!(kept > 0.1, "a bound that allows anything: {certificate:?}");
        knew_its_size(&built, tolerance, |request| whole.build(request));
    }
    for (power, wanted) in [(1.0, -1.0), (2.0, -0.5)] {
        let points = [12, 24, 48, 96].map(|per_axis| {
            let sized = Grid { norm: Some(power), per_axis: Some(per_axis), ..grid(step(), 2, Mode::Hard) };
            let built = on(Cut::Grid(sized), [0.0, 1.0]).build(SIZE).unwrap();
            (per_axis as f64, built.bound.value)
        });
        assert!((slope(&points) - wanted).abs() < 0.15, "p = {power}: {points:?}");
    }
    for (power, function, words) in [
        (0.5, step(), "norm: must be from 1 to 64, not 0.5"),
        (2.0, Target::opaque("unknown", |x| vec![x[0]]), "norm: needs a formula"),
        (2.0, formulas(&["ln(x1)"], 2, [0.1, 1.0]), "function: must"),
    ] {
        let whole = on(Cut::Grid(Grid { norm: Some(power), ..grid(function, 2, Mode::Hard) }), [0.0, 1.0]);
        let refusal = whole.build(Request { tolerance: 0.1, ..SIZE }).unwrap_err().to_string();
        assert!(refusal.starts_with(words), "{refusal}");
    }
}

/// What is off in the mean is found, beside jumps whose errors are allowed.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_value_is_found_in_the_mean() {
    let step = formulas(&["step(x1 + x2/2 - 0.6)"], 2, [0.0, 1.0]);
    let whole = on(Cut::Grid(Grid { norm: Some(1.0), ..grid(step, 2, Mode::Hard) }), [0.0, 1.0]);
    let mut broken = whole.build(Request { tolerance: 0.1, ..SIZE }).unwrap();
    broken.network.layers[0].heads[0].value.weight *= 1.4;
    assert!(!stages::certificate(&broken, 0.1).holds, "values that are off by 40 % pass");
}

/// A certificate that could not fail would be worthless: each of these faults is caught.
#[test]
#[cfg_attr(feature = "wgpu", ignore = "runs on the CPU alone, in this suite without the feature")]
fn a_wrong_weight_is_found() {
    let kinked = Grid { given: Given { lipschitz: Some(1.0), curvature: None }, ..grid(kinked(), 2, Mode::Minimax) };
    let (grid, given) = (Cut::Grid(kinked), Cut::Given(scattered(13, 2, 0.1)));
    for (partition, tolerance, attention) in [
        (grid.clone(), 0.1, Attention::SelfAttention),
        (given.clone(), 0.01, Attention::SelfAttention),
        (grid, 0.1, Attention::CrossAttention),
        (given, 0.01, Attention::CrossAttention),
    ] {
        let whole = MaxAffine { attention, ..on(partition, [0.0, 1.0]) };
        let build = || whole.build(Request { tolerance, ..SIZE }).unwrap();
        // With cross-attention, cells have rows of their own after the tokens.
        let first = if attention == Attention::CrossAttention { 5 } else { 0 };
        let mut shifted = build();
        let column = shifted.network.layers[0].space.at("value");
        (0..13).for_each(|row| shifted.network.layers[0].map.constant[(first + row, column)] += 0.5);
        let mut hotter = build();
        hotter.network.layers[0].heads[0].query.weight *= 0.02;
        let mut swapped = build();
        swapped.network.layers[0].heads[0].query.weight.swap_columns(0, 1);
        for (name, construction) in [("value", shifted), ("temperature", hotter), ("axis", swapped)] {
            let certificate = stages::certificate(&construction, tolerance);
            assert!(!certificate.holds, "a wrong {name} passes: {certificate:?}");
        }
    }
}
