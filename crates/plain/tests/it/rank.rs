//! Residuals, compared with plain propagation where its precision suffices, and with their power law where it does not.

use crate::random::{Parts, REACHES, Random, Reach, pure, stack};
use headway_plain::{
    network::{Activation, Affine, Layer, Linear, Matrix, Network, Row, norm_1_inf, plus_row},
    rank::{Deflated, Residual, fall_ratios, propagate, propagate_from, residuals},
};

/// X minus its mean row, computed directly.
fn residual_of(x: &Matrix) -> Matrix {
    plus_row(x.clone(), &-x.row_mean())
}

fn relative(found: &Matrix, wanted: &Matrix) -> f64 {
    (found - wanted).amax() / wanted.amax()
}

/// 1 xᵀ + `size` R with entries of R from N(0, 1), the mean of R's rows being zero.
fn input(random: &mut Random, rows: usize, d_model: usize, size: f64) -> Deflated {
    let common = random.row(d_model, 1.0);
    Deflated { common, rest: residual_of(&random.matrix(rows, d_model, 1.0)) * size }
}

/// The residual after a network.
fn rest_after(network: &Network, input: Deflated) -> Matrix {
    propagate_from(network, input).pop().map(|state| state.rest).unwrap_or_default()
}

#[test]
fn the_norm_is_the_geometric_mean_of_column_and_row_sums() {
    let matrix = Matrix::from_row_slice(2, 3, &[1.0, -2.0, 3.0, -4.0, 5.0, 0.0]);
    // Columns sum to 5, 7, 3; rows to 6, 9.
    assert!((norm_1_inf(&matrix) - 63.0_f64.sqrt()).abs() < 1e-12);
    assert!(norm_1_inf(&(matrix * f64::NAN)).is_nan());
    // The product of the two sums would underflow.
    assert!((norm_1_inf(&Matrix::from_element(1, 2, 1e-200)) / 2.0_f64.sqrt() / 1e-200 - 1.0).abs() < 1e-12);
}

#[test]
fn deflated_is_plain_propagation_for_every_kind_of_layer() {
    for (seed, parts) in (0..).zip(Parts::all()) {
        let random = &mut Random(seed);
        let network = parts.network(random);
        let x = random.matrix(6, parts.d_model, 1.0);
        let plain = network.forward(&x);
        let deflated = propagate(&network, &x);
        assert_eq!((plain.len(), deflated.len()), (4, 4));
        for (l, (plain, deflated)) in plain.iter().zip(&deflated).enumerate() {
            let whole = relative(&deflated.matrix(), plain);
            assert!(whole < 1e-12, "layer {l} of {parts:?}: {whole:e}");
            let wanted = residual_of(plain);
            let size = norm_1_inf(&wanted) / norm_1_inf(plain);
            let rest = relative(&deflated.rest, &wanted);
            assert!(rest < 1e-9 || size < 1e-5, "residual after layer {l} of {parts:?}: {rest:e} at {size:e}");
            assert!(rest < 1e-3, "residual after layer {l} of {parts:?}: {rest:e} at {size:e}");
            let found = deflated.residual();
            assert!((found.relative / size - 1.0).abs() < 1e-3, "{found:?} {size:e}");
            assert!((found.absolute / norm_1_inf(&wanted) - 1.0).abs() < 1e-3, "{found:?} {size:e}");
        }
        // A tolerance relative to the largest entry is meaningful only if that entry is not tiny.
        assert!(norm_1_inf(&plain[3]) > 0.01);
    }
}

#[test]
fn patterns_as_sharp_as_scores_of_thousands_make_them() {
    for causal in [false, true] {
        let random = &mut Random(3);
        let network = Parts { scale: 300.0, causal, skip: true, n_layers: 2, ..Parts::default() }.network(random);
        let x = random.matrix(6, 7, 1.0);
        let (plain, deflated) = (network.forward(&x), propagate(&network, &x));
        for (plain, deflated) in plain.iter().zip(&deflated) {
            let difference = relative(&deflated.rest, &residual_of(plain));
            assert!(difference < 1e-9, "{difference:e}");
        }
    }
}

/// If rows are equal except for ε R, the residual after the first layer is a power of ε: ε³ for attention alone, ε if a
/// skip connection, a feed-forward network after a skip connection, or a mask passes R on. Plain propagation gives the
/// factor for an ε that it can resolve; deflated propagation must give the same factor for an ε that plain propagation
/// cannot.
#[test]
fn far_below_rounding_the_residual_follows_its_power_law() {
    for (seed, parts) in (0..).zip(Parts::all()) {
        let parts = Parts { n_layers: 1, ..parts };
        let random = &mut Random(100 + seed);
        let network = parts.network(random);
        let power = if parts.skip || parts.causal { 1 } else { 3 };
        // A norm with a small variance, or a kink nearby, would distort the power law.
        let visible = if power == 1 { 1e-6 } else { 1e-3 };
        let unit = input(random, 6, parts.d_model, 1.0);
        let at = |size: f64| Deflated { common: unit.common.clone(), rest: &unit.rest * size };
        let plain = network.forward(&at(visible).matrix()).pop().unwrap_or_default();
        let wanted = residual_of(&plain) / visible.powi(power);
        for tiny in [1e-12, 1e-60, 1e-90] {
            let found = rest_after(&network, at(tiny)) / tiny.powi(power);
            let difference = relative(&found, &wanted);
            assert!(difference < 2e-2, "{parts:?} at {tiny:e}: {difference:e}");
        }
        // Relative to each other they agree to within ε².
        let [large, small] = [1e-12, 1e-60].map(|size| rest_after(&network, at(size)) / size.powi(power));
        assert!(relative(&small, &large) < 1e-9, "{parts:?}");
    }
}

#[test]
fn attention_alone_collapses_doubly_exponentially() {
    for n_heads in [1, 4] {
        for seed in 0..5 {
            let random = &mut Random(1000 + seed);
            let network = pure(random, 32, n_heads, 6, false);
            let x = input(random, 16, 32, 1.0);
            let x = Deflated { common: x.common / 32_f64.sqrt(), rest: x.rest / 32_f64.sqrt() }.matrix();
            let logs: Vec<Option<f64>> = residuals(&network, &x).iter().map(|residual| residual.log10().0).collect();
            let ratios: Vec<f64> = fall_ratios(&logs).into_iter().flatten().collect();
            let deepest = logs.iter().flatten().copied().fold(0.0, f64::min);
            assert!(deepest < -100.0, "{logs:?}");
            assert!(ratios.len() >= 3 && ratios[1..].iter().all(|ratio| (2.7..3.3).contains(ratio)), "{ratios:?}");
            assert!((ratios[ratios.len() - 1] - 3.0).abs() < 0.1, "{ratios:?}");
        }
    }
}

#[test]
fn with_a_skip_it_does_not() {
    for n_heads in [1, 4] {
        let random = &mut Random(2000);
        let network = pure(random, 32, n_heads, 12, true);
        let x = random.matrix(16, 32, 1.0 / 32_f64.sqrt());
        let residuals = residuals(&network, &x);
        assert_eq!(residuals.len(), 13);
        for residual in &residuals {
            assert!(residual.absolute > 0.5 * residuals[0].absolute, "{residuals:?}");
        }
        let last = residuals[12].relative;
        assert!((1e-3..0.5).contains(&last), "it falls beside a growing X, but slowly: {last}");
    }
}

#[test]
fn a_causal_mask_slows_the_collapse_to_an_exponential_one() {
    let random = &mut Random(4);
    let network = Network { causal: true, ..pure(random, 32, 2, 40, false) };
    let x = random.matrix(8, 32, 1.0 / 32_f64.sqrt());
    let logs: Vec<Option<f64>> = residuals(&network, &x).iter().map(|residual| residual.log10().1).collect();
    let fall =
        |from: usize, to: usize| logs[from].zip(logs[to]).map_or(f64::NAN, |(a, b)| (a - b) / (to - from) as f64);
    let (early, late) = (fall(10, 25), fall(25, 40));
    assert!(early > 0.05 && (0.5..2.0).contains(&(late / early)), "{logs:?}");
}

#[test]
fn equal_rows_stay_equal_and_what_is_lost_is_missing() {
    let random = &mut Random(5);
    let parts = Parts { causal: true, norm: true, activation: Some(Activation::GeluErf), ..Parts::default() };
    let network = parts.network(random);
    let row = random.row(7, 1.0);
    let equal = plus_row(Matrix::zeros(4, 7), &row);
    for residual in residuals(&network, &equal) {
        assert!(residual.absolute < 1e-14, "{residual:?}");
    }
    assert_eq!(Residual { absolute: 1e-301, relative: 1e-301 }.log10(), (None, None));
    assert_eq!(Residual { absolute: f64::INFINITY, relative: f64::NAN }.log10(), (None, None));
    assert_eq!(Residual { absolute: 100.0, relative: 0.1 }.log10(), (Some(2.0), Some(-1.0)));
    // NaN weights must not cause a panic.
    let broken = propagate(&network, &(equal * f64::NAN));
    assert_eq!(broken[3].residual().log10(), (None, None));
}

/// A layer with a map, entry by entry.
fn by_entries(layer: &Layer, x: &Matrix) -> Matrix {
    let map = layer.map.as_ref().unwrap();
    let (rows, width) = map.constant.shape();
    let (rows_in, d_in) = x.shape();
    let z = Matrix::from_fn(rows, width, |i, c| {
        let linear: f64 = match &map.linear {
            Linear::TokenWise(_) if i >= rows_in => 0.0,
            Linear::TokenWise(weight) => (0..d_in).map(|d| x[(i, d)] * weight[(d, c)]).sum(),
            Linear::SequenceWise(weight) => {
                (0..rows_in * d_in).map(|from| x[(from / d_in, from % d_in)] * weight[(from, i * width + c)]).sum()
            }
        };
        linear + map.constant[(i, c)]
    });
    let times = |row: usize, affine: &Affine, column: usize| -> f64 {
        (0..width).map(|c| z[(row, c)] * affine.weight[(c, column)]).sum()
    };
    let first_key = rows - map.keys;
    let mut y = Matrix::from_fn(map.queries, layer.bias.len(), |_, column| layer.bias[column]);
    for head in &layer.heads {
        let d_head = head.query.bias.len();
        for i in 0..map.queries {
            let score =
                |j: usize| -> f64 { (0..d_head).map(|d| times(i, &head.query, d) * times(j, &head.key, d)).sum() };
            let exps: Vec<f64> = (first_key..rows).map(|j| (head.scale * score(j)).exp()).collect();
            let sum: f64 = exps.iter().sum();
            for (j, exp) in (first_key..rows).zip(&exps) {
                for d in 0..head.output.nrows() {
                    let value = exp / sum * times(j, &head.value, d);
                    (0..y.ncols()).for_each(|column| y[(i, column)] += value * head.output[(d, column)]);
                }
            }
        }
    }
    y
}

#[test]
fn behind_maps_residuals_are_those_of_the_rows_that_leave_each_layer() {
    for (seed, reaches) in (0..).zip(REACHES) {
        let random = &mut Random(60 + seed);
        let network = stack(random, reaches);
        let x = random.matrix(5, 3, 1.0);
        let mut wanted = vec![x.clone()];
        for layer in &network.layers {
            wanted.push(by_entries(layer, &wanted[wanted.len() - 1]));
        }
        let (states, found) = (network.forward(&x), residuals(&network, &x));
        assert_eq!(states.iter().map(Matrix::shape).collect::<Vec<_>>(), [(5, 3), (5, 13), (3, 19)]);
        assert_eq!(found.len(), 3);
        for ((state, found), wanted) in states.iter().zip(&found).zip(&wanted) {
            assert!(relative(state, wanted) < 1e-13, "{reaches:?}");
            let size = norm_1_inf(&residual_of(wanted));
            assert!((found.absolute / size - 1.0).abs() < 1e-11, "{reaches:?}: {found:?} {size}");
            assert!((found.relative * norm_1_inf(wanted) / size - 1.0).abs() < 1e-11, "{reaches:?}: {found:?}");
        }
    }
}

#[test]
#[should_panic(expected = "equal rows do not stay equal")]
fn behind_maps_nothing_is_deflated() {
    let random = &mut Random(0);
    let network = stack(random, [Reach::TokenWise; 2]);
    propagate(&network, &random.matrix(5, 3, 1.0));
}

#[test]
fn ratios_of_falls() {
    let logs = [Some(0.0), Some(-1.0), Some(-4.0), Some(-13.0), Some(-13.0), Some(-14.0), None, Some(-15.0)];
    assert_eq!(fall_ratios(&logs), [None, None, Some(3.0), Some(3.0), None, None, None, None]);
    assert_eq!(fall_ratios(&[]), []);
    assert_eq!(fall_ratios(&[Some(1.0)]), [None]);
}

#[test]
fn activations_have_the_values_of_their_formulas() {
    // Φ(1) = 0.841344746068542949 and 2 Φ(−2) = 0.0455002638963584144.
    let table = [
        (Activation::GeluErf, 1.0, 0.841_344_746_068_543),
        (Activation::GeluErf, -2.0, -0.045_500_263_896_358_4),
        (Activation::GeluTanh, 1.0, 0.841_191_990_608_307),
        (Activation::Relu, 1.5, 1.5),
        (Activation::Relu, -1.5, 0.0),
    ];
    for (activation, x, wanted) in table {
        let found = activation.value(x);
        assert!((found - wanted).abs() < 1e-12, "{activation:?} at {x}: {found}");
    }
}

#[test]
fn affine_maps_compose() {
    let random = &mut Random(6);
    let affine = |random: &mut Random, d_in, d_out| Affine {
        weight: random.matrix(d_in, d_out, 1.0),
        bias: random.row(d_out, 1.0),
    };
    let (first, second) = (affine(random, 2, 3), affine(random, 3, 5));
    let x = random.matrix(4, 2, 1.0);
    let both = first.then(&second).forward(&x);
    assert!(relative(&both, &second.forward(&first.forward(&x))) < 1e-14);
}

#[test]
fn switches_leave_out_what_they_name() {
    let parts = Parts { skip: true, norm: true, activation: Some(Activation::Relu), ..Parts::default() };
    let network = parts.network(&mut Random(7));
    assert!(network.has_skip() && network.has_norm() && network.has_feed_forward());
    let bare = network.clone().with_skip(false).without_norm().without_feed_forward();
    assert!(!bare.has_skip() && !bare.has_norm() && !bare.has_feed_forward());
    // A feed-forward network keeps its own norm until norms are removed there too.
    let without_norm = network.clone().without_norm();
    assert!(without_norm.has_feed_forward() && !without_norm.has_norm());
    let empty = Layer { map: None, heads: Vec::new(), bias: Row::zeros(7), norm: None, feed_forward: None, skip: true };
    let x = Random(8).matrix(3, 7, 1.0);
    assert_eq!(empty.forward(&x, false), x);
}
