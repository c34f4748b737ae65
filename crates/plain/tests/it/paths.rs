//! The sum over paths equals the output, and its parts are correct.

use crate::random::{Parts, REACHES, Random, stack};
use headway_plain::{
    network::{Affine, Head, InputMap, Layer, Linear, Matrix, Network, Row, norm_1_inf},
    paths::{count, decompose, path, sums},
};

/// Heads whose pattern is uniform and whose value is the token times a factor.
fn averaging(factors: &[f64], skip: bool, n_layers: usize) -> Network {
    let zero = Affine { weight: Matrix::zeros(2, 2), bias: Row::zeros(2) };
    let head = |factor: &f64| Head {
        query: zero.clone(),
        key: zero.clone(),
        value: Affine { weight: Matrix::identity(2, 2) * *factor, bias: Row::zeros(2) },
        output: Matrix::identity(2, 2),
        scale: 1.0,
    };
    let heads: Vec<Head> = factors.iter().map(head).collect();
    let layer = Layer { map: None, norm: None, heads, bias: Row::zeros(2), feed_forward: None, skip };
    Network { layers: vec![layer; n_layers], causal: false }
}

#[test]
fn the_sum_over_paths_is_the_output() {
    for (seed, parts) in (0..).zip(Parts::all()) {
        if parts.activation.is_some() {
            continue;
        }
        let random = &mut Random(seed);
        let parts = Parts { n_heads: 3, ..parts };
        let network = parts.network(random);
        let x = random.matrix(5, parts.d_model, 1.0);
        let found = decompose(&network, &x);
        assert!(found.error < 1e-14, "{parts:?}: {:e}", found.error);
        assert!(found.output > 0.1 && found.bias > 0.01, "{found:?}");
        let (lengths, paths): (Vec<usize>, Vec<usize>) =
            found.lengths.iter().map(|length| (length.heads, length.paths)).unzip();
        if parts.skip {
            assert_eq!((lengths, paths), (vec![0, 1, 2, 3], vec![1, 9, 27, 27]));
        } else {
            assert_eq!((lengths, paths), (vec![3], vec![27]));
        }
        assert_eq!((found.sizes.len() as f64).to_bits(), count(&network).to_bits());
    }
}

/// The sums by length are those of the paths one by one, and with the biases they are the output.
#[test]
fn sums_by_length_need_no_walk() {
    for (seed, parts) in (0..).zip(Parts::all()) {
        if parts.activation.is_some() {
            continue;
        }
        let random = &mut Random(seed);
        let parts = Parts { n_heads: 3, ..parts };
        let network = parts.network(random);
        let x = random.matrix(5, parts.d_model, 1.0);
        let (walked, found) = (decompose(&network, &x), sums(&network, &x));
        for (heads, (sum, count)) in found.lengths.iter().zip(&found.counts).enumerate() {
            let wanted = walked.lengths.iter().find(|length| length.heads == heads);
            let (paths, size) = wanted.map_or((0, 0.0), |length| (length.paths, length.sum));
            assert_eq!((paths as f64).to_bits(), count.to_bits(), "{parts:?}");
            assert!((norm_1_inf(sum) - size).abs() <= 1e-12 * walked.output, "{parts:?}: {heads}");
        }
        assert!((norm_1_inf(&found.bias) - walked.bias).abs() <= 1e-12 * walked.output);
        let output = network.forward(&x).pop().unwrap();
        let total = found.lengths.iter().fold(found.bias.clone(), |total, sum| total + sum);
        assert!((total - &output).amax() <= 1e-13 * output.amax(), "{parts:?}");
    }
}

#[test]
fn a_network_small_enough_for_pen_and_paper() {
    // The mean row is (2, 3); one head gives 1 (2, 3)ᵀ times its factor, the skip connection gives X itself.
    let x = Matrix::from_row_slice(2, 2, &[1.0, 2.0, 3.0, 4.0]);
    let mean = Matrix::from_row_slice(2, 2, &[2.0, 3.0, 2.0, 3.0]);
    let network = averaging(&[10.0], true, 2);
    let found = decompose(&network, &x);
    // In the order of `path`: head head, head skip, skip head, skip skip.
    let wanted = [100.0, 10.0, 10.0].map(|factor| factor * norm_1_inf(&mean));
    for (found, wanted) in found.sizes.iter().zip(wanted.into_iter().chain([norm_1_inf(&x)])) {
        assert!((found - wanted).abs() < 1e-10, "{found} {wanted}");
    }
    let by_length: Vec<(usize, usize, f64, f64)> =
        found.lengths.iter().map(|length| (length.heads, length.paths, length.sum, length.mean)).collect();
    let unit = norm_1_inf(&mean);
    let wanted =
        [(0, 1, norm_1_inf(&x), norm_1_inf(&x)), (1, 2, 20.0 * unit, 10.0 * unit), (2, 1, 100.0 * unit, 100.0 * unit)];
    for (found, wanted) in by_length.iter().zip(wanted) {
        assert_eq!((found.0, found.1), (wanted.0, wanted.1));
        assert!((found.2 - wanted.2).abs() < 1e-10 && (found.3 - wanted.3).abs() < 1e-10, "{found:?} {wanted:?}");
    }
    // Averages have equal rows; X minus its mean row is ±1 in every entry: sqrt(2 · 2).
    assert!(found.lengths[1].residual < 1e-15 && found.lengths[2].residual < 1e-15);
    assert!((found.lengths[0].residual - 2.0 / norm_1_inf(&x)).abs() < 1e-12);
    assert!(found.bias < 1e-15 && found.error < 1e-15);
}

/// The contribution of a path through layers with maps, entry by entry.
fn contribution(network: &Network, states: &[Matrix], path: &[Option<usize>]) -> Matrix {
    let mut x = states[0].clone();
    for ((layer, state), choice) in network.layers.iter().zip(states).zip(path) {
        let (map, head) = (layer.map.as_ref().unwrap(), &layer.heads[choice.unwrap()]);
        let rows = map.constant.nrows();
        let z = map.forward(state);
        let pattern = head.pattern(
            &z.rows(0, map.queries).into_owned(),
            &z.rows(rows - map.keys, map.keys).into_owned(),
            layer.sight(x.nrows(), network.causal),
        );
        let linear = map.forward(&x) - map.forward(&(&x * 0.0));
        let next = Matrix::from_fn(map.queries, layer.bias.len(), |i, column| {
            let mut sum = 0.0;
            for j in 0..map.keys {
                for c in 0..linear.ncols() {
                    for d in 0..head.output.nrows() {
                        let through = head.value.weight[(c, d)] * head.output[(d, column)];
                        sum += pattern[(i, j)] * linear[(rows - map.keys + j, c)] * through;
                    }
                }
            }
            sum
        });
        x = next;
    }
    x
}

#[test]
fn with_maps_the_sum_over_paths_is_the_output() {
    for (seed, reaches) in (0..).zip(REACHES) {
        let random = &mut Random(50 + seed);
        let network = stack(random, reaches);
        let x = random.matrix(5, 3, 1.0);
        let states = network.forward(&x);
        let found = decompose(&network, &x);
        assert!(found.error < 1e-14, "{reaches:?}: {:e}", found.error);
        assert!((found.output / norm_1_inf(&states[2]) - 1.0).abs() < 1e-14, "{found:?}");
        // Both parts are so large that leaving one out would be noticed.
        assert!(found.bias > 0.1 * found.output && found.lengths[0].sum > 0.1 * found.output, "{found:?}");
        assert_eq!((found.sizes.len(), found.lengths.len(), found.lengths[0].heads), (6, 1, 2));
        for (number, size) in found.sizes.iter().enumerate() {
            let wanted = norm_1_inf(&contribution(&network, &states, &path(&network, number)));
            assert!((size / wanted - 1.0).abs() < 1e-12, "{reaches:?} {number}: {size} {wanted}");
        }
    }
}

#[test]
fn maps_small_enough_for_pen_and_paper() {
    let layers_of = |factors: &[f64], d: usize, map: InputMap| {
        let zero = Affine { weight: Matrix::zeros(d, 1), bias: Row::zeros(1) };
        let head = |factor: &f64| Head {
            query: zero.clone(),
            key: zero.clone(),
            value: Affine { weight: Matrix::identity(d, d) * *factor, bias: Row::zeros(d) },
            output: Matrix::identity(d, d),
            scale: 1.0,
        };
        let heads = factors.iter().map(head).collect();
        Layer { map: Some(map), norm: None, heads, bias: Row::zeros(d), feed_forward: None, skip: false }
    };
    // Tokens 1 and 3 become 12, 26 and, without a token, 30. The first row averages the last two: 3 from the tokens, 25 from
    // the constants, times the head's factor.
    let first = InputMap {
        linear: Linear::TokenWise(Matrix::from_element(1, 1, 2.0)),
        constant: Matrix::from_column_slice(3, 1, &[10.0, 20.0, 30.0]),
        queries: 1,
        keys: 2,
    };
    // y becomes the rows (y + 5, 2 y + 6) and (3 y + 7, 4 y + 8); both take the last.
    let second = InputMap {
        linear: Linear::SequenceWise(Matrix::from_row_slice(1, 4, &[1.0, 2.0, 3.0, 4.0])),
        constant: Matrix::from_row_slice(2, 2, &[5.0, 6.0, 7.0, 8.0]),
        queries: 2,
        keys: 1,
    };
    let layers = vec![layers_of(&[1.0, 10.0], 1, first), layers_of(&[1.0, 100.0], 2, second)];
    let network = Network { layers, causal: false };
    let x = Matrix::from_column_slice(2, 1, &[1.0, 3.0]);
    let equal_rows = |row: [f64; 2]| Matrix::from_row_slice(2, 2, &[row, row].concat());
    let states = network.forward(&x);
    assert!((&states[1] - Matrix::from_element(1, 1, 28.0 * 11.0)).amax() < 1e-10);
    let output = equal_rows([3.0 * 28.0 * 11.0 + 7.0, 4.0 * 28.0 * 11.0 + 8.0]) * 101.0;
    assert!((&states[2] - output).amax() < 1e-9);
    let found = decompose(&network, &x);
    for (size, factor) in found.sizes.iter().zip([1.0, 100.0, 10.0, 1000.0]) {
        assert!((size / norm_1_inf(&equal_rows([9.0, 12.0])) - factor).abs() < 1e-9, "{size} {factor}");
    }
    let bias = equal_rows([3.0 * 25.0 * 11.0 + 7.0, 4.0 * 25.0 * 11.0 + 8.0]) * 101.0;
    assert!((found.bias / norm_1_inf(&bias) - 1.0).abs() < 1e-12, "{found:?}");
    assert!(found.error < 1e-15 && found.lengths[0].residual < 1e-15, "{found:?}");
}

#[test]
fn paths_are_numbered_with_the_last_layer_fastest() {
    let network = averaging(&[1.0, 2.0], true, 2);
    let all: Vec<_> = (0..9).map(|number| path(&network, number)).collect();
    let (a, b, skip) = (Some(0), Some(1), None);
    let wanted = [[a, a], [a, b], [a, skip], [b, a], [b, b], [b, skip], [skip, a], [skip, b], [skip, skip]];
    assert_eq!(all, wanted);
    // The walk has the same order: the size of a path is the product of its factors.
    let x = Matrix::from_element(3, 2, 1.0);
    let found = decompose(&network, &x);
    for (number, size) in found.sizes.iter().enumerate() {
        let factor: f64 = path(&network, number).iter().flatten().map(|head| [1.0, 2.0][*head]).product();
        assert!((size / norm_1_inf(&x) - factor).abs() < 1e-12, "{number}: {size}");
    }
}

#[test]
fn numbers_of_paths() {
    assert_eq!(count(&averaging(&[1.0; 4], true, 3)).to_bits(), 125.0_f64.to_bits());
    assert_eq!(count(&averaging(&[1.0; 4], false, 3)).to_bits(), 64.0_f64.to_bits());
    // More paths than an integer can count still give a number.
    assert!(count(&averaging(&[1.0; 9], true, 1000)) > 1e300);
    // Without layers there is one path, the input itself.
    let none = decompose(&averaging(&[], true, 0), &Matrix::identity(2, 2));
    assert_eq!((none.sizes.len(), none.lengths.len(), none.lengths[0].heads), (1, 1, 0));
    // Contributions of zero have no residual.
    let nothing = decompose(&averaging(&[0.0], false, 1), &Matrix::identity(2, 2));
    assert!(nothing.sizes[0] < 1e-300 && nothing.lengths[0].residual.is_nan());
    // A layer without heads and without a skip connection has no path.
    let closed = decompose(&averaging(&[], false, 1), &Matrix::identity(2, 2));
    assert!(closed.sizes.is_empty() && closed.lengths.is_empty());
}

#[test]
#[should_panic(expected = "a feed-forward network has no paths")]
fn a_feed_forward_network_is_refused() {
    let parts = Parts { activation: Some(headway_plain::network::Activation::Relu), ..Parts::default() };
    let network = parts.network(&mut Random(0));
    decompose(&network, &Matrix::zeros(2, 7));
}
