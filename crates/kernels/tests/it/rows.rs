//! Affine maps, layer normalisation, the GELU and Adam compared with the same functions in f64, on every device of the
//! build.

#![allow(clippy::many_single_char_names, reason = "the names of the formulas")]

use burn::tensor::{Device, Int, Tensor, TensorData};
use headway_kernels::{
    AdamStep, DropSeed, Options, Precision, adam, counts_launches, cross_entropy, dropped, fused_attention, gelu,
    joined, layer_norm, linear, linear_onto, modulated, packed_attention, squared_error,
    update::{DescentStep, Rule, Slot, Updated, Updater},
};
use headway_testkit::{assert_close, assert_close_of_scale, devices, numbers};

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

/// Sizes near a vector and near a block of rows, and of a single number.
const SIZES: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 3, 5, 7], [3, 11, 8, 16], [2, 61, 32, 32], [5, 113, 13, 29], [7, 331, 3, 2]];

#[test]
fn affine_maps_and_their_gradients() {
    for [batch, rows, d_in, d_out] in SIZES {
        let (x, w, b) = (numbers(1, batch * rows * d_in), numbers(2, d_in * d_out), numbers(3, d_out));
        let d_y = numbers(4, batch * rows * d_out);
        let (x64, w64, b64, d64) = (wide(&x), wide(&w), wide(&b), wide(&d_y));
        let mut y = vec![0.0; d_y.len()];
        let [mut d_x, mut d_w, mut d_b] = [&x, &w, &b].map(|values| vec![0.0; values.len()]);
        for r in 0..batch * rows {
            for o in 0..d_out {
                y[r * d_out + o] = b64[o];
                d_b[o] += d64[r * d_out + o];
                for i in 0..d_in {
                    y[r * d_out + o] += x64[r * d_in + i] * w64[i * d_out + o];
                    d_x[r * d_in + i] += d64[r * d_out + o] * w64[i * d_out + o];
                    d_w[i * d_out + o] += d64[r * d_out + o] * x64[r * d_in + i];
                }
            }
        }
        for on in devices() {
            let device = on.device.clone().autodiff();
            for (tracked, biased) in [(true, true), (false, true), (true, false)] {
                let track = |tensor: Tensor<3>| if tracked { tensor.require_grad() } else { tensor };
                let x = track(tensor(&x, [batch, rows, d_in], &device));
                let (w, b) =
                    (tensor(&w, [d_in, d_out], &device).require_grad(), tensor(&b, [d_out], &device).require_grad());
                let output = linear(x.clone(), w.clone(), biased.then(|| b.clone()), Precision::F32);
                let gradients = (output.clone() * tensor(&d_y, [batch, rows, d_out], &device)).sum().backward();
                let name = format!(
                    "{batch} × {rows} × {d_in} -> {d_out} on {}, x tracked: {tracked}, bias: {biased}",
                    on.name
                );
                let y: Vec<f64> =
                    y.iter().zip(b64.iter().cycle()).map(|(y, b)| if biased { *y } else { y - b }).collect();
                assert_close(&format!("output, {name}"), &host(output.inner()), &rounded(&y), on.tolerance);
                assert_eq!(b.grad(&gradients).is_some(), biased, "{name}");
                for (got, want) in [(Some(w.grad(&gradients).unwrap().reshape([-1])), &d_w), (b.grad(&gradients), &d_b)]
                {
                    let Some(got) = got else { continue };
                    assert_close(&format!("gradient, {name}"), &host(got), &rounded(want), on.tolerance);
                }
                match x.grad(&gradients) {
                    Some(got) => {
                        assert_close(&format!("gradient of x, {name}"), &host(got), &rounded(&d_x), on.tolerance);
                    }
                    None => assert!(!tracked, "{name}: x has no gradient"),
                }
            }
        }
    }
}

/// What a map is added to, for each sequence or the same for all, tracked or not; against the parts of the sum. The last size is more
/// rows than one launch sums.
#[test]
fn a_map_is_added_to_what_there_is() {
    for [batch, rows, d_in, d_out] in [[2, 3, 5, 7], [7, 331, 3, 2]] {
        for on in devices() {
            let device = on.device.clone().autodiff();
            for (repeated, tracked) in [(batch, true), (1, true), (1, false)] {
                let run = |together: bool| {
                    let all = |seed, shape: [usize; 3]| tensor(&numbers(seed, shape.iter().product()), shape, &device);
                    let onto = all(31, [repeated, rows, d_out]);
                    let onto = if tracked { onto.require_grad() } else { onto };
                    let x = all(32, [batch, rows, d_in]).require_grad();
                    let w = tensor(&numbers(33, d_in * d_out), [d_in, d_out], &device).require_grad();
                    let b = tensor(&numbers(34, d_out), [d_out], &device).require_grad();
                    let y = if together {
                        linear_onto(onto.clone(), x.clone(), w.clone(), b.clone(), Precision::F32)
                    } else {
                        onto.clone() + linear(x.clone(), w.clone(), Some(b.clone()), Precision::F32)
                    };
                    let gradients = (y.clone() * all(35, [batch, rows, d_out])).sum().backward();
                    let of = [onto.grad(&gradients), x.grad(&gradients)].map(|gradient| gradient.map(host));
                    assert_eq!(of[0].is_some(), tracked);
                    let [d_onto, d_x] = of.map(Option::unwrap_or_default);
                    let parameters = [host(w.grad(&gradients).unwrap()), host(b.grad(&gradients).unwrap())];
                    [[host(y.inner()), d_onto, d_x].as_slice(), &parameters].concat()
                };
                let name = format!("{repeated} of {batch} × {rows} × {d_in} -> {d_out} on {}", on.name);
                for (got, want) in run(true).iter().zip(&run(false)) {
                    assert_close(&name, got, want, on.tolerance);
                }
            }
        }
    }
}

/// First word of pcg4d, as in the source.
fn pcg4d(numbers: [u32; 4]) -> u32 {
    let mut v = numbers.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |v: &mut [u32; 4]| {
        for (to, a, b) in [(0, 1, 3), (1, 2, 0), (2, 0, 1), (3, 1, 2)] {
            v[to] = v[to].wrapping_add(v[a].wrapping_mul(v[b]));
        }
    };
    mix(&mut v);
    v = v.map(|x| x ^ (x >> 16));
    mix(&mut v);
    v[0]
}

/// To the bit; the gradient by the same mask, and another seed where the old one lay.
#[test]
fn numbers_are_dropped_by_the_seed_that_lies_on_the_device() {
    const P: f64 = 0.3;
    let x = numbers(41, 4000);
    for on in devices() {
        let device = on.device.clone().autodiff();
        let mut seed = DropSeed::new(7, &device);
        let held = seed.clone();
        for value in [7, 0x1234_5678_9abc_def0] {
            seed.set(value);
            let there = tensor(&x, [20, 200], &device).require_grad();
            let Some(y) = dropped(&there, &held, 5, P) else {
                assert!(!counts_launches(&device), "{}", on.name);
                continue;
            };
            let least = (P * 2.0_f64.powi(32)).round() as u32;
            let factor = (0..4000).map(|at| {
                let word = pcg4d([at, 5, value as u32, (value >> 32) as u32]);
                if word < least { 0.0 } else { (1.0 / (1.0 - P)) as f32 }
            });
            let factor: Vec<f32> = factor.collect();
            let want: Vec<f32> = x.iter().zip(&factor).map(|(x, factor)| x * factor).collect();
            assert_eq!(host(y.clone().inner()), want, "seed {value} on {}", on.name);
            let gradients = y.sum().backward();
            assert_eq!(host(there.grad(&gradients).unwrap()), factor, "gradient, seed {value} on {}", on.name);
            // Its standard error is sqrt(p (1 − p) / n) = 0.007.
            let share = factor.iter().filter(|factor| **factor == 0.0).count() as f64 / 4000.0;
            assert!((share - P).abs() < 0.03, "{share}");
        }
    }
}

#[test]
fn without_a_bias_a_map_is_what_it_is_with_one_of_zeros_to_the_last_bit() {
    let device = Device::flex().autodiff();
    for [batch, rows, d_in, d_out] in SIZES {
        let mut x = numbers(8, batch * rows * d_in);
        // 0 times a negative number is −0.
        x[0] = 0.0;
        let (w, d_y) = (numbers(9, d_in * d_out), numbers(10, batch * rows * d_out));
        let bits = |bias: Option<Tensor<1>>| {
            let (x, w) = (tensor(&x, [batch, rows, d_in], &device), tensor(&w, [d_in, d_out], &device));
            let (x, w) = (x.require_grad(), w.require_grad());
            let y = linear(x.clone(), w.clone(), bias, Precision::F32);
            let gradients = (y.clone() * tensor(&d_y, [batch, rows, d_out], &device)).sum().backward();
            let all = [host(y.inner()), host(x.grad(&gradients).unwrap()), host(w.grad(&gradients).unwrap())];
            all.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        assert_eq!(bits(None), bits(Some(Tensor::zeros([d_out], &device))), "{batch} × {rows} × {d_in} -> {d_out}");
    }
}

#[test]
fn an_affine_map_takes_any_view() {
    for on in devices() {
        let x = tensor(&numbers(5, 7 * 5 * 3), [7, 5, 3], &on.device);
        let w = tensor(&numbers(6, 5 * 11), [11, 5], &on.device);
        let b = tensor(&numbers(7, 11), [11], &on.device);
        let copied = |tensor: Tensor<3>| Tensor::<3>::from_data(tensor.to_data(), &on.device);
        let want = linear(
            copied(x.clone().swap_dims(1, 2)),
            Tensor::from_data(w.clone().transpose().to_data(), &on.device),
            Some(b.clone()),
            Precision::F32,
        );
        let got = linear(x.swap_dims(1, 2), w.transpose(), Some(b), Precision::F32);
        assert_close(on.name, &host(got), &host(want), on.tolerance);
    }
}

#[test]
fn layer_norm_and_its_gradients() {
    const EPSILON: f64 = 1e-5;
    for [batch, rows, _, d] in SIZES.into_iter().chain([[2, 3, 0, 64], [1, 700, 0, 48]]) {
        let (x, gamma, beta) = (numbers(11, batch * rows * d), numbers(12, d), numbers(13, d));
        let d_y = numbers(14, batch * rows * d);
        let (x64, g64, b64, d64) = (wide(&x), wide(&gamma), wide(&beta), wide(&d_y));
        let mut y = vec![0.0; x.len()];
        let [mut d_x, mut d_gamma, mut d_beta] = [&x, &gamma, &beta].map(|values| vec![0.0; values.len()]);
        for r in 0..batch * rows {
            let row = &x64[r * d..][..d];
            let mean = row.iter().sum::<f64>() / d as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let rate = 1.0 / (variance + EPSILON).sqrt();
            let normal: Vec<f64> = row.iter().map(|x| (x - mean) * rate).collect();
            // The Jacobian, entry by entry: dy_o / dx_i = γ_o rate (δ_oi − 1/d − n_o n_i / d).
            for o in 0..d {
                let d_o = d64[r * d + o];
                y[r * d + o] = normal[o] * g64[o] + b64[o];
                d_gamma[o] += d_o * normal[o];
                d_beta[o] += d_o;
                for i in 0..d {
                    let same = f64::from(u8::from(o == i));
                    d_x[r * d + i] += d_o * g64[o] * rate * (same - (1.0 + normal[o] * normal[i]) / d as f64);
                }
            }
        }
        for on in devices() {
            let device = on.device.clone().autodiff();
            let input = tensor(&x, [batch, rows, d], &device).require_grad();
            let [gamma, beta] = [&gamma, &beta].map(|values| tensor(values, [d], &device).require_grad());
            let output = layer_norm(input.clone(), gamma.clone(), beta.clone(), EPSILON);
            let gradients = (output.clone() * tensor(&d_y, [batch, rows, d], &device)).sum().backward();
            let name = format!("{batch} × {rows} × {d} on {}", on.name);
            assert_close(&format!("output, {name}"), &host(output.inner()), &rounded(&y), on.tolerance);
            let got = [gamma, beta].map(|tensor| host(tensor.grad(&gradients).unwrap()));
            assert_close(&format!("gradient of gamma, {name}"), &got[0], &rounded(&d_gamma), on.tolerance);
            assert_close(&format!("gradient of beta, {name}"), &got[1], &rounded(&d_beta), on.tolerance);
            // With one or two numbers nearly nothing is left: both terms are large, and their difference is tiny.
            if d > 2 {
                let got = host(input.grad(&gradients).unwrap());
                assert_close(&format!("gradient of x, {name}"), &got, &rounded(&d_x), 10.0 * on.tolerance);
            }
        }
    }
}

/// Φ(x), by summing the series of its density from 0: Φ(x) = 1/2 + φ(x) Σ_k x^(2k+1) / (1 · 3 · … · (2k+1)).
fn phi(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..300 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + density(x) * sum
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[test]
fn gelu_and_its_gradient() {
    // More than one block, up to where both tails are flat, with a count that is not a multiple of the vector length.
    let x: Vec<f32> = (0..33_001).map(|at| (at - 16_500) as f32 * 3.7e-4).chain([-40.0, 40.0, 0.0, -0.0]).collect();
    let d_y = numbers(31, x.len());
    let wanted = |of: fn(f64, f64) -> f64| -> Vec<f32> {
        x.iter().zip(&d_y).map(|(x, d)| of(f64::from(*x).clamp(-9.0, 9.0), f64::from(*d)) as f32).collect()
    };
    // Beyond 9 the function equals x or 0 to the last bit of an f32.
    let mut want = wanted(|x, _| x * phi(x));
    let far = x.len() - 4;
    (want[far], want[far + 1]) = (0.0, 40.0);
    let want_gradient = wanted(|x, d| d * (phi(x) + x * density(x)));
    for on in devices() {
        let input = tensor(&x, [1, x.len()], &on.device.clone().autodiff()).require_grad();
        let output = gelu(input.clone());
        let gradients = (output.clone() * tensor(&d_y, [1, x.len()], &on.device.clone().autodiff())).sum().backward();
        // Of size one, but for the far end.
        let got = host(output.inner());
        assert_close_of_scale(&format!("output on {}", on.name), &got, &want, 6.0, 0.03 * on.tolerance);
        let got = host(input.grad(&gradients).unwrap());
        assert_close_of_scale(&format!("gradient on {}", on.name), &got, &want_gradient, 1.0, 0.2 * on.tolerance);
    }
    for on in devices() {
        let poisoned = gelu(tensor(&[1.0, f32::NAN, -1.0], [1, 3], &on.device));
        assert_eq!(host(poisoned).iter().map(|y| y.is_nan()).collect::<Vec<_>>(), [false, true, false], "{}", on.name);
    }
}

#[test]
fn adam_for_some_updates() {
    // The last is long enough for two blocks.
    for (count, penalty, decay) in [(1, 0.0, 0.0), (37, 0.3, 0.0), (40_009, 0.0, 0.2)] {
        let start = numbers(21, count);
        let gradients: Vec<Vec<f32>> = (0..4).map(|update| numbers(22 + update, count)).collect();
        let (beta_1, beta_2, epsilon, rate) = (0.9, 0.99, 1e-8, 0.05);
        let (mut w, mut m, mut v) = (wide(&start), vec![0.0; count], vec![0.0; count]);
        for (t, gradient) in (1..).zip(&gradients) {
            for i in 0..count {
                let g = f64::from(gradient[i]) + penalty * w[i];
                m[i] = beta_1 * m[i] + (1.0 - beta_1) * g;
                v[i] = beta_2 * v[i] + (1.0 - beta_2) * g * g;
                let (m_hat, v_hat): (f64, f64) = (m[i] / (1.0 - beta_1.powi(t)), v[i] / (1.0 - beta_2.powi(t)));
                w[i] = w[i] * (1.0 - rate * decay) - rate * m_hat / (v_hat.sqrt() + epsilon);
            }
        }
        for on in devices() {
            let zeros = || Tensor::<1>::zeros([count], &on.device);
            let mut state = [tensor(&start, [count], &on.device), zeros(), zeros()];
            let kept = state[0].clone();
            for (update, gradient) in gradients.iter().enumerate() {
                let [weight, first, second] = state;
                let step = AdamStep { beta_1, beta_2, epsilon, rate, updates: update as u64 + 1, penalty, decay };
                state = adam(weight, tensor(gradient, [count], &on.device), [first, second], step);
            }
            for (got, want) in state.into_iter().zip([&w, &m, &v]) {
                assert_close(&format!("{count} numbers on {}", on.name), &host(got), &rounded(want), on.tolerance);
            }
            // Another owner of the weight sees it unchanged.
            assert_eq!(host(kept), start);
        }
    }
}

/// Tensors of many lengths, more than one launch takes, updated together.
#[test]
fn updates_of_many_parameters() {
    let lengths: Vec<usize> = (0..19).map(|k| [1, 37, 256, 600][k % 4] + k).collect();
    let adam = AdamStep { beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8, rate: 0.05, updates: 1, penalty: 0.3, decay: 0.2 };
    let descent = DescentStep { rate: 0.05, momentum: 0.9, penalty: 0.3 };
    let rules = [Rule::Adam(adam), Rule::Descent(descent), Rule::Descent(DescentStep { momentum: 0.0, ..descent })];
    for on in devices() {
        for rule in rules {
            let numbers = |update: u64, k: usize| numbers(41 + 100 * update + k as u64, lengths[k]);
            let start: Vec<Tensor<1>> =
                (0..lengths.len()).map(|k| tensor(&numbers(0, k), [lengths[k]], &on.device)).collect();
            let mut together: Vec<Updated> = start.iter().map(|weight| (weight.clone(), Vec::new())).collect();
            let mut apart: Vec<Vec<f32>> = (0..lengths.len()).map(|k| numbers(0, k)).collect();
            let mut updater = Updater::default();
            let mut alone: Vec<Vec<Tensor<1>>> = vec![Vec::new(); lengths.len()];
            for update in 1..4 {
                let rule = match rule {
                    Rule::Adam(step) => Rule::Adam(AdamStep { updates: update, rate: 0.1 / update as f64, ..step }),
                    Rule::Descent(_) => rule,
                };
                let gradient = |k: usize, device: &Device| tensor(&numbers(update, k), [lengths[k]], device);
                let slot = |(k, (weight, moments))| Slot { weight, gradient: gradient(k, &on.device), moments };
                let slots = together.into_iter().enumerate().map(slot).collect();
                updater.begin(rule, &on.device);
                together = updater.update(slots, None);
                // Each by itself, on the CPU.
                for (k, weight) in apart.iter_mut().enumerate() {
                    let flex = Device::flex();
                    let moments = std::mem::take(&mut alone[k]);
                    let slot =
                        Slot { weight: tensor(weight, [lengths[k]], &flex), gradient: gradient(k, &flex), moments };
                    let mut single = Updater::default();
                    single.begin(rule, &flex);
                    let (after, moments) = single.update(vec![slot], None).remove(0);
                    (*weight, alone[k]) = (host(after), moments);
                }
            }
            for (k, (weight, moments)) in together.into_iter().enumerate() {
                let name = format!("{rule:?}, tensor {k} on {}", on.name);
                assert_close(&name, &host(weight), &apart[k], on.tolerance);
                assert_eq!(moments.len(), rule.moments());
                for (got, want) in moments.into_iter().zip(&alone[k]) {
                    assert_close(&name, &host(got), &host(want.clone()), on.tolerance);
                }
                // Whoever else holds the weight sees it unchanged.
                assert_eq!(host(start[k].clone()), numbers(0, k), "{name}");
            }
        }
    }
}

#[test]
fn squared_errors_and_their_gradient() {
    // More numbers than one cube sums, too.
    for ([batch, rows, width, channels, given], weighted) in
        [([2, 3, 4, 4, 4], false), ([3, 5, 4, 1, 1], true), ([2, 700, 51, 50, 47], true), ([1, 1, 1, 1, 1], false)]
    {
        let (p, t) = (numbers(51, batch * rows * width), numbers(52, batch * rows * given));
        let w: Vec<f32> = (0..batch * rows).map(|row| f32::from(u8::from(!weighted || row % 3 != 1))).collect();
        let count = channels * w.iter().filter(|w| **w > 0.0).count();
        let (mut want, mut slope) = (0.0, vec![0.0; p.len()]);
        for row in 0..batch * rows {
            for c in 0..channels {
                let wanted = if c < given { t[row * given + c] } else { 0.0 };
                let error = f64::from(p[row * width + c]) - f64::from(wanted);
                want += f64::from(w[row]) * error * error / count as f64;
                // Times the gradient of the result, which is 3.
                slope[row * width + c] = (6.0 * f64::from(w[row]) * error / count as f64) as f32;
            }
        }
        for on in devices() {
            let device = on.device.clone().autodiff();
            // A part of a longer sequence, as some models read theirs out.
            let longer: Vec<f32> = p.chunks(rows * width).flat_map(|of| [of, &p[..width]].concat()).collect();
            let whole = tensor(&longer, [batch, rows + 1, width], &device).require_grad();
            let prediction = whole.clone().narrow(1, 0, rows);
            let target = tensor(&t, [batch, rows, given], &device);
            let weight = weighted.then(|| tensor(&w, [batch, rows, 1], &device));
            let output = squared_error(prediction.clone(), target, weight, channels, count);
            let gradients = output.clone().mul_scalar(3.0).backward();
            let name = format!("{batch} × {rows} × {width}, {channels} on {}", on.name);
            assert_close(&name, &host(output.inner()), &[want as f32], on.tolerance);
            let got = host(whole.grad(&gradients).unwrap().narrow(1, 0, rows));
            assert_close(&format!("gradient, {name}"), &got, &slope, on.tolerance);
        }
    }
}

#[test]
fn joined_maps_are_the_maps_side_by_side() {
    let ([batch, rows, d_in], widths) = ([3, 700, 5], [7, 3, 40]);
    for on in devices() {
        let device = on.device.clone().autodiff();
        let x = || tensor(&numbers(61, batch * rows * d_in), [batch, rows, d_in], &device).require_grad();
        let maps = || {
            let weights = widths.map(|width| tensor(&numbers(62 + width as u64, d_in * width), [d_in, width], &device));
            let biases = widths.map(|width| tensor(&numbers(63 + width as u64, width), [width], &device));
            (weights.map(Tensor::require_grad), biases.map(Tensor::require_grad))
        };
        let d_y = tensor(&numbers(64, batch * rows * 50), [batch, rows, 50], &device);
        let (x_1, (w_1, b_1)) = (x(), maps());
        let together = joined(x_1.clone(), w_1.clone(), b_1.clone(), Precision::F32);
        let got = (together.clone() * d_y.clone()).sum().backward();
        let (x_2, (w_2, b_2)) = (x(), maps());
        let apart = (0..3).map(|k| linear(x_2.clone(), w_2[k].clone(), Some(b_2[k].clone()), Precision::F32)).collect();
        let apart = Tensor::cat(apart, 2);
        let want = (apart.clone() * d_y).sum().backward();
        assert_close(on.name, &host(together.inner()), &host(apart.inner()), on.tolerance);
        let close = |name: &str, got: Vec<f32>, want: Vec<f32>| assert_close(name, &got, &want, 10.0 * on.tolerance);
        close("x", host(x_1.grad(&got).unwrap()), host(x_2.grad(&want).unwrap()));
        for k in 0..3 {
            close("weight", host(w_1[k].grad(&got).unwrap()), host(w_2[k].grad(&want).unwrap()));
            close("bias", host(b_1[k].grad(&got).unwrap()), host(b_2[k].grad(&want).unwrap()));
        }
    }
}

#[test]
fn packed_attention_is_attention() {
    for ([batch, rows, n_heads, d_head], causal) in [([2, 70, 3, 5], true), ([1, 9, 2, 40], false)] {
        let width = n_heads * d_head;
        for on in devices() {
            let device = on.device.clone().autodiff();
            let options = Options { scale: 0.7, causal, precision: Precision::F32 };
            let packed =
                tensor(&numbers(71, batch * rows * 3 * width), [batch, rows, 3 * width], &device).require_grad();
            let d_y = tensor(&numbers(72, batch * rows * width), [batch, rows, width], &device);
            let output = packed_attention(packed.clone(), n_heads, options);
            let got = (output.clone() * d_y.clone()).sum().backward();
            let same = Tensor::<3>::from_data(packed.to_data(), &device).require_grad();
            let heads = |part: usize| {
                let part = same.clone().narrow(2, part * width, width);
                part.reshape([batch, rows, n_heads, d_head]).swap_dims(1, 2)
            };
            let mixed = fused_attention(heads(0), heads(1), heads(2), None, None, options);
            let mixed = mixed.swap_dims(1, 2).reshape([batch, rows, width]);
            let want = (mixed.clone() * d_y).sum().backward();
            assert_close(on.name, &host(output.inner()), &host(mixed.inner()), on.tolerance);
            let (got, want) = (host(packed.grad(&got).unwrap()), host(same.grad(&want).unwrap()));
            assert_close(&format!("gradient on {}", on.name), &got, &want, on.tolerance);
        }
    }
}

#[test]
fn cross_entropies_and_their_gradient() {
    // Scores far from zero, more classes than units work on a row, and more rows than are summed at once.
    for ([batch, rows, n_classes], weighted) in [([2, 3, 5], false), ([3, 5, 150], true), ([2, 1100, 3], true)] {
        let p: Vec<f32> = numbers(81, batch * rows * n_classes).iter().map(|p| 30.0 * p + 50.0).collect();
        let classes: Vec<i32> = (0..batch * rows).map(|row| i32::try_from(row * 7 % n_classes).unwrap()).collect();
        let w: Vec<f32> = (0..batch * rows).map(|row| f32::from(u8::from(!weighted || row % 3 != 1))).collect();
        let count = w.iter().filter(|w| **w > 0.0).count();
        let (mut want, mut slope) = (0.0, vec![0.0; p.len()]);
        for row in 0..batch * rows {
            let scores = &p[row * n_classes..][..n_classes];
            let sum = scores.iter().map(|score| (f64::from(*score) - 50.0).exp()).sum::<f64>();
            let class = classes[row] as usize;
            want += f64::from(w[row]) * (sum.ln() + 50.0 - f64::from(scores[class])) / count as f64;
            for c in 0..n_classes {
                let share = (f64::from(scores[c]) - 50.0).exp() / sum - f64::from(u8::from(c == class));
                // Times the gradient of the result, which is 3.
                slope[row * n_classes + c] = (3.0 * f64::from(w[row]) * share / count as f64) as f32;
            }
        }
        for on in devices() {
            let device = on.device.clone().autodiff();
            let prediction = tensor(&p, [batch, rows, n_classes], &device).require_grad();
            let ids = Tensor::<3, Int>::from_data(TensorData::new(classes.clone(), [batch, rows, 1]), &device);
            let weight = weighted.then(|| tensor(&w, [batch, rows, 1], &device));
            let output = cross_entropy(prediction.clone(), ids, weight, count);
            let gradients = output.clone().mul_scalar(3.0).backward();
            let name = format!("{batch} × {rows}, {n_classes} classes on {}", on.name);
            assert_close(&name, &host(output.inner()), &[want as f32], on.tolerance);
            let got = host(prediction.grad(&gradients).unwrap());
            assert_close(&format!("gradient, {name}"), &got, &slope, on.tolerance);
        }
    }
}

#[test]
fn modulated_rows_and_their_gradients() {
    let [batch, rows, d] = [5, 7, 6];
    for more in [0, 4] {
        let x = wide(&numbers(91, batch * rows * d));
        let (b, g, f) = (wide(&numbers(92, d)), wide(&numbers(93, rows * d)), wide(&numbers(94, more * d)));
        let d_y = wide(&numbers(95, batch * (rows + more) * d));
        let mut y = vec![0.0; d_y.len()];
        let [mut d_x, mut d_b, mut d_g, mut d_f] = [&x, &b, &g, &f].map(|values| vec![0.0; values.len()]);
        for n in 0..batch {
            for at in 0..rows * d {
                let (from, to, c) = (n * rows * d + at, n * (rows + more) * d + at, at % d);
                y[to] = (x[from] + b[c]) * g[at];
                d_x[from] = d_y[to] * g[at];
                d_b[c] += d_y[to] * g[at];
                d_g[at] += d_y[to] * (x[from] + b[c]);
            }
            for at in 0..more * d {
                let to = (n * (rows + more) + rows) * d + at;
                y[to] = f[at];
                d_f[at] += d_y[to];
            }
        }
        for on in devices() {
            let device = on.device.clone().autodiff();
            let x = tensor(&rounded(&x), [batch, rows, d], &device).require_grad();
            let b = tensor(&rounded(&b), [d], &device).require_grad();
            let g = tensor(&rounded(&g), [rows, d], &device).require_grad();
            let f = (more > 0).then(|| tensor(&rounded(&f), [more, d], &device).require_grad());
            let output = modulated(x.clone(), b.clone(), g.clone(), f.clone());
            let weights = tensor(&rounded(&d_y), [batch, rows + more, d], &device);
            let gradients = (output.clone() * weights).sum().backward();
            let close = |name: &str, got: Vec<f32>, want: &[f64]| {
                assert_close(&format!("{name}, {more} more on {}", on.name), &got, &rounded(want), on.tolerance);
            };
            close("output", host(output.inner()), &y);
            close("x", host(x.grad(&gradients).unwrap()), &d_x);
            close("bias", host(b.grad(&gradients).unwrap()), &d_b);
            close("gain", host(g.grad(&gradients).unwrap()), &d_g);
            if let Some(f) = f {
                close("further", host(f.grad(&gradients).unwrap()), &d_f);
            }
        }
    }
}
