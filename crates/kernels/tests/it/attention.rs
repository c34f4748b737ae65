//! Fused attention compared with attention written out in f64, forward and backward, on every device of the build.

use burn::tensor::{Bool, Device, FloatDType, Tensor, TensorData};
use headway_kernels::{Options, Precision, fused_attention, is_on_matrix_units};
use headway_testkit::{assert_close, assert_close_of_scale, devices, numbers};

/// One call: sizes, hidden pairs, and whether there is a bias.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    q_len: usize,
    k_len: usize,
    d_key: usize,
    d_value: usize,
    causal: bool,
    hidden: bool,
    bias: bool,
    /// Size of queries and keys: scores grow with its square.
    size: f32,
}

const CASE: Case = Case {
    batch: 2,
    heads: 3,
    q_len: 5,
    k_len: 7,
    d_key: 11,
    d_value: 11,
    causal: false,
    hidden: false,
    bias: false,
    size: 2.0,
};

/// Inputs of a call and the gradient of its output, row-major on the host.
#[derive(Clone)]
struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<bool>,
    d_output: Vec<f32>,
}

impl Case {
    fn q_shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.q_len, self.d_key]
    }

    fn k_shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.k_len, self.d_key]
    }

    fn v_shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.k_len, self.d_value]
    }

    fn bias_shape(&self) -> [usize; 2] {
        [self.heads, self.q_len + self.k_len - 1]
    }

    fn options(&self) -> Options {
        Options { scale: 1.0 / (self.d_key as f32).sqrt(), causal: self.causal, precision: Precision::F32 }
    }

    fn draw(&self, seed: u64) -> Data {
        let sized = |seed, count: usize| numbers(seed, count).into_iter().map(|x| x * self.size).collect();
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        Data {
            q: sized(10 * seed, count(self.q_shape())),
            k: sized(10 * seed + 1, count(self.k_shape())),
            v: numbers(10 * seed + 2, count(self.v_shape())),
            bias: numbers(10 * seed + 3, self.bias_shape().iter().product()),
            // One pair in three, and for the second query every key.
            hidden: numbers(10 * seed + 4, self.q_len * self.k_len)
                .into_iter()
                .enumerate()
                .map(|(pair, x)| x < -0.33 || pair / self.k_len == 1)
                .collect(),
            d_output: numbers(10 * seed + 5, self.batch * self.heads * self.q_len * self.d_value),
        }
    }

    fn sees(&self, data: &Data, i: usize, j: usize) -> bool {
        (!self.causal || j + self.q_len <= i + self.k_len) && !(self.hidden && data.hidden[i * self.k_len + j])
    }
}

/// Output and gradients of q, k, v and the bias.
struct Answer {
    output: Vec<f32>,
    gradients: [Vec<f32>; 4],
}

/// Attention and its derivatives in f64, computed for one query after the other.
fn by_hand(case: &Case, data: &Data) -> Answer {
    let Case { batch, heads, q_len, k_len, d_key, d_value, .. } = *case;
    let scale = 1.0 / (d_key as f64).sqrt();
    let mut output = vec![0.0; batch * heads * q_len * d_value];
    let [mut d_q, mut d_k, mut d_v, mut d_bias] =
        [&data.q, &data.k, &data.v, &data.bias].map(|values| vec![0.0_f64; values.len()]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for head in 0..batch * heads {
        for i in 0..q_len {
            let query = head * q_len + i;
            let q = &data.q[query * d_key..][..d_key];
            let k = |j: usize| &data.k[(head * k_len + j) * d_key..][..d_key];
            let v = |j: usize| &data.v[(head * k_len + j) * d_value..][..d_value];
            let distance = |j: usize| (head % heads) * (q_len + k_len - 1) + j + q_len - 1 - i;
            let visible: Vec<usize> = (0..k_len).filter(|&j| case.sees(data, i, j)).collect();
            let score =
                |j: usize| scale * dot(q, k(j)) + if case.bias { f64::from(data.bias[distance(j)]) } else { 0.0 };
            let top = visible.iter().map(|&j| score(j)).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = visible.iter().map(|&j| (score(j) - top).exp()).sum();
            let weights: Vec<f64> = visible.iter().map(|&j| (score(j) - top).exp() / total).collect();
            let d_o = &data.d_output[query * d_value..][..d_value];
            for (&j, weight) in visible.iter().zip(&weights) {
                for c in 0..d_value {
                    output[query * d_value + c] += weight * f64::from(v(j)[c]);
                    d_v[(head * k_len + j) * d_value + c] += weight * f64::from(d_o[c]);
                }
            }
            let mean: f64 = visible.iter().zip(&weights).map(|(&j, weight)| weight * dot(d_o, v(j))).sum();
            for (&j, weight) in visible.iter().zip(&weights) {
                let d_score = weight * (dot(d_o, v(j)) - mean);
                d_bias[distance(j)] += d_score;
                for c in 0..d_key {
                    d_q[query * d_key + c] += d_score * scale * f64::from(k(j)[c]);
                    d_k[(head * k_len + j) * d_key + c] += d_score * scale * f64::from(q[c]);
                }
            }
        }
    }
    let rounded = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    Answer { output: rounded(output), gradients: [d_q, d_k, d_v, d_bias].map(rounded) }
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// The same by the fused operation and burn's autodiff. With `strided`, the heads are views into rows of the full
/// width, as in a model.
fn fused(case: &Case, data: &Data, device: &Device, strided: bool) -> Answer {
    let device = device.clone().autodiff();
    let tracked = |values: &[f32], shape: [usize; 4]| {
        if !strided {
            return tensor(values, shape, &device).require_grad();
        }
        let [batch, heads, rows, width] = shape;
        let interleaved = tensor(values, shape, &device).swap_dims(1, 2).reshape([batch, rows, heads * width]);
        interleaved.reshape([batch, rows, heads, width]).swap_dims(1, 2).require_grad()
    };
    let q = tracked(&data.q, case.q_shape());
    let k = tracked(&data.k, case.k_shape());
    let v = tracked(&data.v, case.v_shape());
    let bias = case.bias.then(|| tensor(&data.bias, case.bias_shape(), &device).require_grad());
    let hidden = case
        .hidden
        .then(|| Tensor::<2, Bool>::from_data(TensorData::new(data.hidden.clone(), [case.q_len, case.k_len]), &device));
    let output = fused_attention(q.clone(), k.clone(), v.clone(), bias.clone(), hidden, case.options());
    let d_output = tensor(&data.d_output, output.dims(), &device);
    let gradients = (output.clone() * d_output).sum().backward();
    let host = |tensor: Tensor<4>| tensor.try_into_vec_as::<f32>().unwrap();
    let d_bias = bias.map(|bias| bias.grad(&gradients).unwrap().try_into_vec_as::<f32>().unwrap());
    Answer {
        output: host(output.inner()),
        gradients: [
            host(q.grad(&gradients).unwrap()),
            host(k.grad(&gradients).unwrap()),
            host(v.grad(&gradients).unwrap()),
            d_bias.unwrap_or_else(|| vec![0.0; data.bias.len()]),
        ],
    }
}

/// Asserts that the fused operation agrees with the one written out.
fn check(case: Case, seed: u64) {
    let data = case.draw(seed);
    let want = by_hand(&case, &data);
    for on in devices() {
        for strided in [false, true] {
            let got = fused(&case, &data, &on.device, strided);
            let name = format!("{case:?} on {}, strided {strided}", on.name);
            assert_close(&format!("output, {name}"), &got.output, &want.output, on.tolerance);
            let names = ["q", "k", "v", "bias"].iter().take(if case.bias { 4 } else { 3 });
            for (n, (got, want)) in names.zip(got.gradients.iter().zip(&want.gradients)) {
                assert_close(&format!("gradient of {n}, {name}"), got, want, on.tolerance);
            }
        }
    }
}

#[test]
fn every_width_of_head() {
    for d_key in [1, 2, 3, 4, 5, 8, 11, 16, 32, 48, 64, 128] {
        check(Case { d_key, d_value: d_key, ..CASE }, 1);
    }
}

#[test]
fn values_of_another_width_than_keys() {
    for (d_key, d_value) in [(2, 5), (3, 17), (19, 2), (8, 24), (131, 3)] {
        check(Case { d_key, d_value, ..CASE }, 2);
    }
}

#[test]
fn lengths_around_the_size_of_tiles() {
    for d_key in [2, 8] {
        for (q_len, k_len) in [(1, 1), (1, 67), (67, 1), (47, 63), (48, 64), (49, 65), (97, 131)] {
            check(Case { batch: 1, heads: 2, q_len, k_len, d_key, d_value: d_key, ..CASE }, 3);
        }
    }
}

#[test]
fn causal_with_more_and_with_fewer_keys_than_queries() {
    for d_key in [3, 8] {
        for (q_len, k_len) in [(11, 11), (71, 71), (5, 73), (73, 5), (61, 67), (67, 61)] {
            check(Case { q_len, k_len, d_key, d_value: d_key, causal: true, ..CASE }, 4);
        }
    }
}

#[test]
fn hidden_pairs_and_queries_that_see_nothing() {
    for d_key in [3, 8] {
        for (q_len, k_len, causal) in [(5, 7, false), (53, 71, false), (71, 71, true)] {
            check(Case { q_len, k_len, d_key, d_value: d_key, causal, hidden: true, ..CASE }, 5);
        }
    }
}

#[test]
fn biases_by_distance() {
    for d_key in [3, 8] {
        for (q_len, k_len, causal, hidden) in [(5, 7, false, false), (53, 71, false, true), (71, 67, true, false)] {
            check(Case { q_len, k_len, d_key, d_value: d_key, causal, hidden, bias: true, ..CASE }, 6);
        }
    }
}

/// So many heads that a unit of a GPU has several rows.
#[test]
fn many_heads() {
    for (d_key, causal, hidden) in [(2, true, false), (8, false, true), (24, true, false)] {
        let sizes = Case { batch: 15, heads: 9, q_len: 67, k_len: 71, d_key, d_value: d_key, ..CASE };
        check(Case { causal, hidden, ..sizes }, 16);
    }
}

/// Long enough that the backward pass splits the keys into parts, and the forward pass the queries; a GPU splits both walks.
#[test]
fn lengths_that_are_cut_into_parts() {
    for (d_key, causal, hidden) in [(2, false, false), (2, true, true), (8, true, false), (24, false, true)] {
        let sizes = Case { batch: 1, heads: 1, q_len: 541, k_len: 1031, d_key, d_value: d_key, ..CASE };
        check(Case { causal, hidden, bias: true, ..sizes }, 7);
    }
}

/// Wide enough that a GPU computes the gradients of keys and of values separately, and that tiles have fewer keys than
/// queries.
#[test]
fn wide_heads_with_everything() {
    for (q_len, k_len) in [(71, 67), (131, 137)] {
        let sizes = Case { batch: 1, heads: 2, q_len, k_len, d_key: 72, d_value: 72, ..CASE };
        check(Case { causal: true, hidden: true, bias: true, ..sizes }, 15);
    }
}

/// In f32, scores of size 1e4 are exact to about 1e-3: the result must be finite, and accurate to within that.
#[test]
fn scores_of_size_ten_thousand() {
    for d_key in [4, 16] {
        let case = Case { q_len: 37, k_len: 61, d_key, d_value: d_key, size: 160.0, ..CASE };
        let data = case.draw(8);
        let want = by_hand(&case, &data);
        for on in devices() {
            let got = fused(&case, &data, &on.device, false);
            let name = format!("d_key {d_key} on {}", on.name);
            assert_close(&name, &got.output, &want.output, 5e-3);
            for (got, want) in got.gradients[..3].iter().zip(&want.gradients) {
                assert_close_of_scale(&name, got, want, f64::from(case.size), 5e-3);
            }
        }
    }
}

/// Differentiates the f64 version numerically, so that both derivatives are checked independently of our own formulas.
#[test]
fn the_derivative_is_the_central_difference() {
    let case = Case { q_len: 13, k_len: 17, causal: true, bias: true, ..CASE };
    let data = case.draw(9);
    let direction = case.draw(11);
    let moved = |step: f32| {
        let along = |from: &[f32], to: &[f32]| from.iter().zip(to).map(|(x, d)| x + step * d).collect();
        Data {
            q: along(&data.q, &direction.q),
            k: along(&data.k, &direction.k),
            v: along(&data.v, &direction.v),
            bias: along(&data.bias, &direction.bias),
            ..data.clone()
        }
    };
    let value = |data: &Data| -> f64 {
        let output = by_hand(&case, data).output;
        output.iter().zip(&data.d_output).map(|(o, d)| f64::from(*o) * f64::from(*d)).sum()
    };
    let step = 1.0 / 256.0;
    let difference = (value(&moved(step)) - value(&moved(-step))) / (2.0 * f64::from(step));
    for on in devices() {
        let got = fused(&case, &data, &on.device, false);
        let along = got.gradients.iter().zip([&direction.q, &direction.k, &direction.v, &direction.bias]);
        let derivative: f64 =
            along.flat_map(|(g, d)| g.iter().zip(d)).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        // The error of the difference is step² / 6 times a third derivative of size one.
        assert!((derivative - difference).abs() < 1e-3 * difference.abs(), "{}: {derivative} {difference}", on.name);
    }
}

#[test]
fn what_is_not_a_number_stays_visible() {
    for d_key in [2, 8] {
        for k_len in [1, 7, 8, 131] {
            let case = Case { k_len, d_key, d_value: d_key, ..CASE };
            for on in devices() {
                // One key, every key of the first tile, and a query that makes all its scores NaN.
                for poison in [0..1, 0..64.min(k_len) * d_key, 0..0] {
                    let mut data = case.draw(12);
                    data.q[0] = if poison.is_empty() { f32::NAN } else { data.q[0] };
                    data.k[poison.clone()].fill(f32::NAN);
                    let output = fused(&case, &data, &on.device, false).output;
                    let name = format!("d_key {d_key}, k_len {k_len}, {poison:?} on {}", on.name);
                    assert!(output[0].is_nan(), "{name}: a score that is NaN must not look like a hidden one");
                }
            }
        }
    }
}

/// Keys of the future and hidden ones, even where they are no numbers.
#[test]
fn what_is_not_seen_brings_nothing() {
    for (d_key, hidden) in [(3, false), (3, true), (24, false), (24, true)] {
        let case = Case { batch: 1, q_len: 7, k_len: 7, d_key, d_value: d_key, causal: !hidden, hidden, ..CASE };
        let mut data = case.draw(17);
        if hidden {
            data.hidden = (0..49).map(|pair| pair % 7 == 6 && pair != 48).collect();
        }
        let want = by_hand(&case, &data).output;
        for head in 0..case.heads {
            let last = (head * 7 + 6) * d_key..(head * 7 + 7) * d_key;
            data.k[last.clone()].fill(f32::NAN);
            data.v[last].fill(f32::NAN);
        }
        for on in devices().into_iter().filter(|on| on.name != "flex") {
            let got = fused(&case, &data, &on.device, false);
            let d_queries = &got.gradients[0];
            for (row, (got, want)) in got.output.chunks(d_key).zip(want.chunks(d_key)).enumerate() {
                let name = format!("row {row}, d_key {d_key}, hidden {hidden} on {}", on.name);
                if row % 7 == 6 {
                    assert!(got[0].is_nan(), "{name}: the last query sees the key");
                } else {
                    assert_close(&name, got, want, on.tolerance);
                    assert!(d_queries[row * d_key..][..d_key].iter().all(|d| d.is_finite()), "{name}: its gradient");
                }
            }
        }
    }
}

#[test]
fn the_same_bits_whenever_it_is_done_again() {
    for d_key in [2, 24] {
        let sizes = Case { batch: 1, heads: 1, q_len: 300, k_len: 530, d_key, d_value: d_key, ..CASE };
        let case = Case { causal: true, bias: true, ..sizes };
        let data = case.draw(18);
        for on in devices() {
            let bits = || {
                let answer = fused(&case, &data, &on.device, true);
                let gradients = answer.gradients.into_iter().flatten();
                answer.output.into_iter().chain(gradients).map(f32::to_bits).collect::<Vec<u32>>()
            };
            assert!(bits() == bits(), "d_key {d_key} on {}: other bits the second time", on.name);
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for (d_key, length) in [(2, 60), (8, 60), (16, 700)] {
        let case = Case { q_len: length, k_len: length, d_key, d_value: d_key, bias: true, causal: true, ..CASE };
        let data = case.draw(13);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let answer = pool.install(|| fused(&case, &data, &Device::flex(), true));
            let gradients = answer.gradients.into_iter().flatten();
            answer.output.into_iter().chain(gradients).map(f32::to_bits).collect::<Vec<u32>>()
        };
        let one = on(1);
        for threads in [2, 3, 7] {
            assert!(one == on(threads), "d_key {d_key}: {threads} threads give other bits than one");
        }
    }
}

#[test]
#[should_panic(expected = "k is [batch, n_heads, k_len, d_key]")]
fn keys_of_another_width_than_queries_are_refused() {
    let device = Device::flex();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    let options = Options { scale: 1.0, causal: false, precision: Precision::F32 };
    fused_attention(zeros([1, 2, 3, 4]), zeros([1, 2, 3, 5]), zeros([1, 2, 3, 4]), None, None, options);
}

/// The numbers rounded to a precision. A number of tf32 is one of f32 whose last 13 bits are zero.
fn rounded(values: &[f32], precision: Precision) -> Vec<f32> {
    match precision {
        Precision::Tf32 => values.iter().map(|x| f32::from_bits((x.to_bits() + 0x1000) & !0x1fff)).collect(),
        _ => precision
            .cast(tensor(values, [values.len()], &Device::flex()))
            .cast(FloatDType::F32)
            .try_into_vec_as()
            .unwrap(),
    }
}

/// Asserts that attention in a precision, and its gradients, are those of the rounded inputs in f64.
///
/// A kernel without matrix units rounds nothing but the output and the gradients, by half a unit of the precision; 1 unit is allowed
/// for the output, and 4 for gradients, since they start from the rounded output. On matrix units the weights are rounded too, and in
/// the backward pass the gradients of scores. That adds half a unit of Σ w |v| ≤ max |v|, which the largest output is up to four
/// times smaller than: 4 units for the output and 8 for gradients, of which two products are made.
fn check_rounded(case: Case, precision: Precision, device: &Device) {
    let unit = 0.5_f64.powi(precision.bits().cast_signed());
    let on_matrix_units = is_on_matrix_units(device, precision, [case.d_key, case.d_value]);
    let units = if on_matrix_units { [4.0, 8.0] } else { [1.0, 4.0] };
    let mut data = case.draw(14);
    for values in [&mut data.q, &mut data.k, &mut data.v, &mut data.d_output] {
        *values = rounded(values, precision);
    }
    let want = by_hand(&case, &data);
    let device = device.clone().autodiff();
    let q = tensor(&data.q, case.q_shape(), &device).require_grad();
    let k = tensor(&data.k, case.k_shape(), &device).require_grad();
    let v = tensor(&data.v, case.v_shape(), &device).require_grad();
    let bias = case.bias.then(|| tensor(&data.bias, case.bias_shape(), &device).require_grad());
    let hidden = case
        .hidden
        .then(|| Tensor::<2, Bool>::from_data(TensorData::new(data.hidden.clone(), [case.q_len, case.k_len]), &device));
    let [half_q, half_k, half_v] = [&q, &k, &v].map(|tensor| precision.cast(tensor.clone()));
    let options = Options { precision, ..case.options() };
    let output = fused_attention(half_q, half_k, half_v, bias.clone(), hidden, options).cast(FloatDType::F32);
    let gradients = (output.clone() * tensor(&data.d_output, output.dims(), &device)).sum().backward();
    let name = format!("{precision:?}, {case:?} on {device:?}, on matrix units {on_matrix_units}");
    let host = |tensor: Tensor<4>| tensor.try_into_vec_as::<f32>().unwrap();
    assert_close(&format!("output, {name}"), &host(output.inner()), &want.output, units[0] * unit);
    for (tensor, want) in [q, k, v].iter().zip(&want.gradients) {
        let got = host(tensor.grad(&gradients).unwrap());
        assert_close(&format!("gradient, {name}"), &got, want, units[1] * unit);
    }
    if let Some(bias) = bias {
        let got = bias.grad(&gradients).unwrap().try_into_vec_as::<f32>().unwrap();
        assert_close(&format!("gradient of the bias, {name}"), &got, &want.gradients[3], units[1] * unit);
    }
}

#[test]
fn half_precision_is_summed_in_single() {
    for precision in [Precision::F16, Precision::Bf16] {
        for d_key in [3, 8] {
            let case = Case { q_len: 61, k_len: 131, d_key, d_value: d_key, causal: true, ..CASE };
            for on in devices().into_iter().filter(|on| precision.is_available(&on.device)) {
                check_rounded(case, precision, &on.device);
            }
        }
    }
}

/// Every option, lengths that end inside tiles, and widths up to the widest, on matrix units: tensor cores.
///
/// Mesa's software adapter in Debian 12 has none: there this test has nothing to do, and says so in what it prints. It is a law for
/// cards, and for a newer Mesa, whose software adapter multiplies eight rows of f16.
#[test]
fn attention_on_matrix_units() {
    let base = Case { batch: 1, heads: 2, ..CASE };
    let cases = [
        Case { q_len: 67, k_len: 130, d_key: 64, d_value: 64, causal: true, ..base },
        Case { q_len: 130, k_len: 67, d_key: 32, d_value: 32, causal: true, hidden: true, bias: true, ..base },
        Case { q_len: 37, k_len: 75, d_key: 24, d_value: 40, bias: true, ..base },
        Case { q_len: 45, k_len: 51, d_key: 17, d_value: 5, hidden: true, ..base },
        Case { q_len: 1, k_len: 1, d_key: 2, d_value: 2, ..base },
        Case { q_len: 70, k_len: 70, d_key: 128, d_value: 128, causal: true, ..base },
        // Scores of size hundreds: the base of a row's weights rises again and again.
        Case { q_len: 19, k_len: 300, d_key: 16, d_value: 16, size: 12.0, ..base },
    ];
    for on in devices() {
        for precision in [Precision::F16, Precision::Bf16, Precision::Tf32] {
            let has = precision.is_available(&on.device) && is_on_matrix_units(&on.device, precision, [64; 2]);
            println!("{}: {}", on.name, if has { precision.name() } else { "no matrix units for this precision" });
            for case in cases.iter().filter(|_| has) {
                assert!(
                    is_on_matrix_units(&on.device, precision, [case.d_key, case.d_value]),
                    "{case:?} on {}",
                    on.name
                );
                check_rounded(*case, precision, &on.device);
            }
        }
    }
}
