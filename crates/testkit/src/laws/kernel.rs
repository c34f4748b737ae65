//! Laws that every attention kernel obeys, on every device of the build.
//!
//! All axes are distinct primes, so that no two can be swapped unnoticed.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    AttentionKernel, Demand, Initializer, Input, IoDims, Kernel, KernelKind, KernelSpec, Law, Mask, Model, ModelConfig,
    MultiHeadAttention, PaperOneLayerConfig, Precision, View,
    weights::{collect, to_host},
};

use super::generator;
use crate::{TestDevice, assert_close, assert_close_of_scale, devices, numbers, precision::unit};

/// Every law, for every example of a kernel.
pub fn all(spec: &dyn KernelSpec) {
    for kind in spec.examples() {
        mixing_is_the_pattern_times_the_values(&kind);
        rows_of_a_pattern_are_probability_vectors(&kind);
        the_order_of_keys_and_their_values_does_not_matter(&kind);
        the_order_of_queries_is_the_order_of_outputs(&kind);
        hidden_keys_have_no_influence(&kind);
        hidden_keys_get_no_gradient(&kind);
        causal_attention_ignores_the_future_and_sees_the_rest(&kind);
        scores_of_size_ten_thousand_stay_finite(&kind);
        directional_derivatives_are_central_differences(&kind);
        every_parameter_of_attention_receives_its_gradient(&kind);
        attention_is_its_formula(&kind);
        attention_in_half_precision(&kind);
    }
}

const BATCH: usize = 2;
const HEADS: usize = 3;
const Q_LEN: usize = 5;
const K_LEN: usize = 7;
const D_HEAD: usize = 11;

const Q: [usize; 4] = [BATCH, HEADS, Q_LEN, D_HEAD];
const K: [usize; 4] = [BATCH, HEADS, K_LEN, D_HEAD];
const PATTERN: [usize; 4] = [BATCH, HEADS, Q_LEN, K_LEN];

/// Keys hidden from each query; key 3 from all of them.
const HIDDEN: [[bool; K_LEN]; Q_LEN] = [
    [false, false, true, true, false, true, false],
    [true, true, true, true, true, true, false],
    [false, false, false, true, false, false, false],
    [true, false, true, true, false, false, true],
    [false, true, false, true, true, false, true],
];

/// Queries, keys and values on the host.
#[derive(Clone)]
struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Inputs {
    /// Queries and keys large enough for scores of size one, so that no pattern is nearly uniform.
    fn draw(seed: u64) -> Self {
        let sharp =
            |seed, shape: [usize; 4]| numbers(seed, shape.iter().product()).into_iter().map(|x| 2.0 * x).collect();
        Self { q: sharp(3 * seed, Q), k: sharp(3 * seed + 1, K), v: numbers(3 * seed + 2, K.iter().product()) }
    }

    fn tensors(&self, device: &Device) -> [Tensor<4>; 3] {
        [tensor(&self.q, Q, device), tensor(&self.k, K, device), tensor(&self.v, K, device)]
    }
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Whether a kernel declares that it lacks a property of softmax attention.
fn lacks(kind: &KernelKind, law: Law) -> bool {
    kind.spec().lacks().contains(&law)
}

fn view(mask: &Mask) -> View {
    mask.clone().into()
}

fn hidden(device: &Device) -> Mask {
    Mask::Hidden(Tensor::from_data(TensorData::new(HIDDEN.concat(), [Q_LEN, K_LEN]), device))
}

/// Whether a row of a pattern, whose last two axes are queries and keys, hides a key.
fn is_hidden(row: usize, key: usize) -> bool {
    HIDDEN[row % Q_LEN][key]
}

/// A kernel for the heads of these tests, its buffers drawn on the host.
fn built(kind: &KernelKind, device: &Device) -> AttentionKernel {
    kind.init(D_HEAD, &mut generator(23), device)
}

/// Runs a law on every device, without a mask and, if the kernel can hide arbitrary pairs, with one.
fn on_every_device(kind: &KernelKind, law: impl Fn(&str, &TestDevice, &AttentionKernel, &Mask)) {
    for test_device in devices() {
        let hidden = hidden(&test_device.device);
        let kernel = built(kind, &test_device.device);
        let can_hide = kind.spec().supports(Demand::AnyMask).is_ok();
        let masks = [("unmasked", Mask::Full)].into_iter().chain(can_hide.then(|| ("masked", hidden.clone())));
        for (masked, mask) in masks {
            law(&format!("{kind:?} on {}, {masked}", test_device.name), &test_device, &kernel, &mask);
        }
    }
}

/// Entry `[b, h, i, j]` of a row-major array of shape `shape`.
fn index(shape: [usize; 4], [b, h, i, j]: [usize; 4]) -> usize {
    ((b * shape[1] + h) * shape[2] + i) * shape[3] + j
}

/// The same array with row i taken from row `order[i]` of the third axis.
fn reorder(values: &[f32], shape: [usize; 4], order: &[usize]) -> Vec<f32> {
    let rows = values.chunks_exact(shape[2] * shape[3]);
    rows.flat_map(|rows| order.iter().flat_map(|&i| rows[i * shape[3]..][..shape[3]].to_vec())).collect()
}

/// A mask of the same kind with other hidden pairs.
fn reordered(mask: &Mask, hidden: [[bool; K_LEN]; Q_LEN], device: &Device) -> Mask {
    match mask {
        Mask::Hidden(_) => Mask::Hidden(Tensor::from_data(TensorData::new(hidden.concat(), [Q_LEN, K_LEN]), device)),
        other => other.clone(),
    }
}

/// Gradients of Σ weights ⊙ mix(q, k, v) with respect to q, k and v.
fn gradients(
    kernel: &AttentionKernel,
    inputs: &Inputs,
    mask: &Mask,
    weights: &[f32],
    device: &Device,
) -> [Vec<f32>; 3] {
    let device = device.clone().autodiff();
    let [q, k, v] = inputs.tensors(&device).map(Tensor::require_grad);
    let mask = match mask {
        Mask::Hidden(hidden) => Mask::Hidden(hidden.clone().autodiff()),
        other => other.clone(),
    };
    let objective = (kernel.mix(q.clone(), k.clone(), v.clone(), &view(&mask)) * tensor(weights, Q, &device)).sum();
    let gradients = objective.backward();
    [q, k, v].map(|x| to_host(x.grad(&gradients).unwrap()))
}

/// An attention layer of width `HEADS · D_HEAD`.
fn attention(kind: &KernelKind, device: &Device) -> MultiHeadAttention {
    let kernel = kind.clone();
    let config =
        PaperOneLayerConfig { d_model: HEADS * D_HEAD, n_heads: HEADS, kernel, ..PaperOneLayerConfig::default() };
    let model = ModelConfig::PaperOneLayer(config).init(&IoDims::continuous(Q_LEN, 13, 1), &mut generator(17), device);
    match model.unwrap() {
        Model::PaperOneLayer(model) => model.attention,
        other => panic!("not the one-layer model: {other:?}"),
    }
}

/// mix(q, k, v) = pattern(q, k) v.
pub fn mixing_is_the_pattern_times_the_values(kind: &KernelKind) {
    on_every_device(kind, |name, on, kernel, mask| {
        let [q, k, v] = Inputs::draw(1).tensors(&on.device);
        let mixed = kernel.mix(q.clone(), k.clone(), v.clone(), &view(mask));
        assert_eq!(mixed.dims(), Q, "{name}");
        let pattern = kernel.pattern(q, k, &view(mask));
        assert_eq!(pattern.dims(), PATTERN, "{name}");
        // The product is computed here, entry by entry.
        let (pattern, v) = (to_host(pattern), to_host(v));
        let mut want = vec![0.0; to_host(mixed.clone()).len()];
        for b in 0..BATCH {
            for h in 0..HEADS {
                for i in 0..Q_LEN {
                    for c in 0..D_HEAD {
                        let terms = (0..K_LEN).map(|j| {
                            f64::from(pattern[index(PATTERN, [b, h, i, j])]) * f64::from(v[index(K, [b, h, j, c])])
                        });
                        want[index(Q, [b, h, i, c])] = terms.sum::<f64>() as f32;
                    }
                }
            }
        }
        assert_close(name, &to_host(mixed), &want, on.tolerance);
    });
}

/// No weight is negative, and those of a query add up to one; of a kernel that lacks this, each key is weighed by itself.
pub fn rows_of_a_pattern_are_probability_vectors(kind: &KernelKind) {
    on_every_device(kind, |name, on, kernel, mask| {
        let inputs = Inputs::draw(2);
        let [q, k, _] = inputs.tensors(&on.device);
        let pattern = to_host(kernel.pattern(q.clone(), k, &view(mask)));
        let negative = pattern.iter().any(|weight| *weight < 0.0);
        assert_eq!(negative, lacks(kind, Law::NonNegative), "{name}: whether a weight is negative");
        let sums: Vec<f32> = pattern.chunks_exact(K_LEN).map(|row| row.iter().sum()).collect();
        if lacks(kind, Law::RowsSumToOne) {
            assert!(sums.iter().any(|sum| (sum - 1.0).abs() > 0.1), "{name}: the rows do sum to one");
            let other = Inputs { k: Inputs::draw(12).k, ..inputs.clone() };
            for kept in 0..K_LEN {
                // Every key but one is another.
                let mut k = other.k.clone();
                for of_head in 0..BATCH * HEADS {
                    let at = (of_head * K_LEN + kept) * D_HEAD;
                    k[at..at + D_HEAD].copy_from_slice(&inputs.k[at..at + D_HEAD]);
                }
                let changed = to_host(kernel.pattern(q.clone(), tensor(&k, K, &on.device), &view(mask)));
                let of_kept = |pattern: &[f32]| pattern.iter().skip(kept).step_by(K_LEN).copied().collect::<Vec<_>>();
                let name = format!("{name}: the weight of key {kept}");
                assert_close(&name, &of_kept(&changed), &of_kept(&pattern), on.tolerance);
            }
        } else {
            assert_close(name, &sums, &vec![1.0; sums.len()], on.tolerance);
        }
        let spread = pattern.iter().fold(0.0, |top, weight| f32::max(top, *weight));
        assert!(spread > 1.5 / K_LEN as f32, "{name}: the pattern is nearly uniform and shows little");
    });
}

/// Permuting the keys together with their values changes nothing, unless the kernel asks where they stand.
pub fn the_order_of_keys_and_their_values_does_not_matter(kind: &KernelKind) {
    let sees_order = lacks(kind, Law::AnyOrder);
    let order = [4, 0, 6, 2, 5, 1, 3];
    on_every_device(kind, |name, on, kernel, mask| {
        let inputs = Inputs::draw(3);
        let permuted = Inputs { k: reorder(&inputs.k, K, &order), v: reorder(&inputs.v, K, &order), ..inputs.clone() };
        let mask_permuted = reordered(mask, HIDDEN.map(|row| order.map(|j| row[j])), &on.device);
        let mix = |inputs: &Inputs, mask: &Mask| {
            let [q, k, v] = inputs.tensors(&on.device);
            to_host(kernel.mix(q, k, v, &view(mask)))
        };
        let (permuted, plain) = (mix(&permuted, &mask_permuted), mix(&inputs, mask));
        if sees_order {
            assert!(permuted.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.1), "{name}: the order does not matter");
        } else {
            assert_close(name, &permuted, &plain, on.tolerance);
        }
    });
}

/// The output of a query does not depend on the other queries; nor on its place, unless the kernel asks for that.
pub fn the_order_of_queries_is_the_order_of_outputs(kind: &KernelKind) {
    if lacks(kind, Law::AnyOrder) {
        return each_query_is_answered_by_itself(kind);
    }
    let order = [3, 1, 4, 0, 2];
    on_every_device(kind, |name, on, kernel, mask| {
        let inputs = Inputs::draw(4);
        let [q, k, v] = inputs.tensors(&on.device);
        let want = reorder(&to_host(kernel.mix(q, k.clone(), v.clone(), &view(mask))), Q, &order);
        let q = tensor(&reorder(&inputs.q, Q, &order), Q, &on.device);
        let mask = reordered(mask, order.map(|i| HIDDEN[i]), &on.device);
        assert_close(name, &to_host(kernel.mix(q, k, v, &view(&mask))), &want, on.tolerance);
    });
}

/// A change of one query changes its own output, and no other; where queries are not apart, under a causal mask no earlier one.
fn each_query_is_answered_by_itself(kind: &KernelKind) {
    let apart = !lacks(kind, Law::QueriesApart);
    for on in devices() {
        let kernel = built(kind, &on.device);
        for mask in [Mask::Full, Mask::Causal] {
            let inputs = Inputs::draw(4);
            let mix = |inputs: &Inputs| {
                let [q, k, v] = inputs.tensors(&on.device);
                to_host(kernel.mix(q, k, v, &view(&mask)))
            };
            let (before, mut others) = (mix(&inputs), false);
            for changed in 0..Q_LEN {
                let mut other = inputs.clone();
                for of_head in 0..BATCH * HEADS {
                    other.q[(of_head * Q_LEN + changed) * D_HEAD..][..D_HEAD].iter_mut().for_each(|x| *x = 1.0 - *x);
                }
                let after = mix(&other);
                for (row, (before, after)) in before.chunks_exact(D_HEAD).zip(after.chunks_exact(D_HEAD)).enumerate() {
                    let name = format!("{kind:?}, {mask:?} on {}: row {row}, query {changed}", on.name);
                    let query = row % Q_LEN;
                    if query == changed {
                        assert_ne!(before, after, "{name}");
                    } else if apart || (matches!(mask, Mask::Causal) && query < changed) {
                        assert_close(&name, after, before, 1e-6);
                    } else {
                        others |= before != after;
                    }
                }
            }
            assert_eq!(others, !apart, "{kind:?}, {mask:?}: whether other queries matter");
        }
    }
}

/// A hidden key has weight zero, and the output depends neither on it nor on its value.
pub fn hidden_keys_have_no_influence(kind: &KernelKind) {
    let full_support = !lacks(kind, Law::FullSupport);
    on_every_device(kind, |name, on, kernel, mask| {
        if matches!(mask, Mask::Full) {
            return;
        }
        let inputs = Inputs::draw(5);
        let [q, k, v] = inputs.tensors(&on.device);
        let pattern = to_host(kernel.pattern(q.clone(), k.clone(), &view(mask)));
        for (row, weights) in pattern.chunks_exact(K_LEN).enumerate() {
            for (j, weight) in weights.iter().enumerate() {
                let may_be_zero = is_hidden(row, j) || !full_support;
                let is_right = if *weight == 0.0 { may_be_zero } else { !is_hidden(row, j) };
                assert!(is_right, "{name}: row {row}, key {j} has weight {weight}");
            }
        }
        let before = to_host(kernel.mix(q, k, v, &view(mask)));
        for changed in 0..K_LEN {
            // Another key and a huge value in one place.
            let mut other = inputs.clone();
            for b in 0..BATCH {
                for h in 0..HEADS {
                    for c in 0..D_HEAD {
                        let at = index(K, [b, h, changed, c]);
                        other.k[at] = -other.k[at] + 1.0;
                        other.v[at] = 1e6;
                    }
                }
            }
            let [q, k, v] = other.tensors(&on.device);
            let after = to_host(kernel.mix(q, k, v, &view(mask)));
            for (row, (before, after)) in before.chunks_exact(D_HEAD).zip(after.chunks_exact(D_HEAD)).enumerate() {
                let name = format!("{name}: row {row} after a change of key {changed}");
                if is_hidden(row, changed) {
                    assert_close(&name, after, before, 1e-6);
                } else if full_support {
                    assert!(before.iter().zip(after).all(|(b, a)| (a - b).abs() > 1.0), "{name} did not notice");
                }
            }
        }
    });
}

/// A hidden key and its value have gradient zero.
pub fn hidden_keys_get_no_gradient(kind: &KernelKind) {
    on_every_device(kind, |name, on, kernel, mask| {
        if matches!(mask, Mask::Full) {
            return;
        }
        for (query, hidden) in HIDDEN.iter().enumerate() {
            // Only this query's output enters the objective.
            let chosen: Vec<f32> = (0..Q.iter().product::<usize>())
                .map(|at| if at / D_HEAD % Q_LEN == query { 1.0 + (at % 13) as f32 } else { 0.0 })
                .collect();
            let gradients = gradients(kernel, &Inputs::draw(6), mask, &chosen, &on.device);
            for (which, gradient) in ["k", "v"].iter().zip(&gradients[1..]) {
                for (row, entries) in gradient.chunks_exact(D_HEAD).enumerate() {
                    let name = format!("{name}: gradient of {which} row {row} from query {query}");
                    let zero = entries.iter().all(|g| *g == 0.0);
                    // A query that sees a single key has a constant pattern, and that key no gradient.
                    let constant = *which == "k" && hidden.iter().filter(|hidden| !**hidden).count() == 1;
                    if hidden[row % K_LEN] {
                        assert!(zero, "{name} is not zero: {entries:?}");
                    } else if !constant && !lacks(kind, Law::FullSupport) {
                        assert!(entries.iter().all(|g| g.abs() > 0.0), "{name} is zero: {entries:?}");
                    }
                }
            }
        }
    });
}

/// With a causal mask a query sees all keys up to its own position and no others.
pub fn causal_attention_ignores_the_future_and_sees_the_rest(kind: &KernelKind) {
    for test_device in devices() {
        let device = &test_device.device;
        {
            let inputs = Inputs::draw(7);
            let mix = |inputs: &Inputs| {
                let [q, k, v] = inputs.tensors(device);
                to_host(built(kind, device).mix(q, k, v, &Mask::Causal.into()))
            };
            let before = mix(&inputs);
            for changed in 0..K_LEN {
                let mut noticed = false;
                let mut other = inputs.clone();
                (0..BATCH * HEADS * D_HEAD).for_each(|at| {
                    let at = (at / D_HEAD * K_LEN + changed) * D_HEAD + at % D_HEAD;
                    other.k[at] += 1.0;
                    other.v[at] -= 100.0;
                });
                for (row, (before, after)) in
                    before.chunks_exact(D_HEAD).zip(mix(&other).chunks_exact(D_HEAD)).enumerate()
                {
                    let name = format!("{kind:?} on {}: query {}, key {changed}", test_device.name, row % Q_LEN);
                    // The last query sees all keys.
                    let future = changed > row % Q_LEN + (K_LEN - Q_LEN);
                    noticed |= before != after;
                    if future {
                        assert_close(&name, after, before, 1e-6);
                    } else if !lacks(kind, Law::FullSupport) {
                        // Functions other than softmax may give a key nearly no weight.
                        let least = if kind.spec().function() == KernelKind::Softmax { 1e-2 } else { 0.0 };
                        assert!(before.iter().zip(after).all(|(b, a)| (a - b).abs() > least), "{name}: not seen");
                    }
                }
                assert!(noticed, "{kind:?} on {}: no query sees key {changed}", test_device.name);
            }
        }
    }
}

/// Pattern, mixture and gradients stay finite for scores of size 1e4.
pub fn scores_of_size_ten_thousand_stay_finite(kind: &KernelKind) {
    on_every_device(kind, |name, on, kernel, mask| {
        let mut inputs = Inputs::draw(8);
        inputs.q.iter_mut().chain(&mut inputs.k).for_each(|x| *x *= 100.0);
        let [q, k, v] = inputs.tensors(&on.device);
        let scores = to_host(view(mask).product(q.clone(), k.clone().swap_dims(2, 3)));
        let largest = scores.iter().fold(0.0, |top, s| f32::max(top, s.abs())) / (D_HEAD as f32).sqrt();
        assert!(largest > 1e4, "{name}: the scores reach only {largest}");
        let pattern = to_host(kernel.pattern(q.clone(), k.clone(), &view(mask)));
        assert!(pattern.iter().all(|weight| weight.is_finite()), "{name}: pattern");
        if !lacks(kind, Law::RowsSumToOne) {
            let sums: Vec<f32> = pattern.chunks_exact(K_LEN).map(|row| row.iter().sum()).collect();
            assert_close(name, &sums, &vec![1.0; sums.len()], on.tolerance);
        }
        let mixed = to_host(kernel.mix(q, k, v, &view(mask)));
        assert!(mixed.iter().all(|x| x.is_finite()), "{name}: output");
        let direction = numbers(9, Q.iter().product());
        for gradient in gradients(kernel, &inputs, mask, &direction, &on.device) {
            assert!(gradient.iter().all(|g| g.is_finite()), "{name}: gradient");
        }
    });
}

/// Gradients with respect to queries, keys and values agree with central differences: of a kernel with kinks, along directions on
/// which no weight becomes zero and none ceases to be, and the slopes on both sides are the same.
pub fn directional_derivatives_are_central_differences(kind: &KernelKind) {
    // Rounding counts more in a shorter step, which fewer kinks lie in. Those of features leave no trace in the support, but
    // in the slopes on both sides.
    let kinks = lacks(kind, Law::Smooth);
    // Where weights of both signs nearly cancel, an output is a quotient of small numbers: along some directions it passes a pole, which the
    // slopes on both sides tell too, and its rounding is a hundred times larger. Fixtures have the sharper test of such gradients.
    let poles = lacks(kind, Law::NonNegative);
    let (step, seeds, rounding) = match (kinks, poles) {
        (_, true) => (0.002, 0..20, 1000.0),
        (true, false) => (0.002, 0..20, 300.0),
        (false, false) => (0.03, 0..5, 10.0),
    };
    on_every_device(kind, |name, on, kernel, mask| {
        let inputs = Inputs::draw(10);
        let weights = numbers(100, Q.iter().product());
        // The sum is computed on the host in f64, so that only the kernel rounds.
        let objective = |inputs: &Inputs| {
            let [q, k, v] = inputs.tensors(&on.device);
            let mixed = to_host(kernel.mix(q, k, v, &view(mask)));
            mixed.iter().zip(&weights).map(|(m, w)| f64::from(*m) * f64::from(*w)).sum::<f64>()
        };
        let gradients = gradients(kernel, &inputs, mask, &weights, &on.device);
        let support = |inputs: &Inputs| {
            let [q, k, _] = inputs.tensors(&on.device);
            to_host(kernel.pattern(q, k, &view(mask))).into_iter().map(|weight| weight != 0.0).collect::<Vec<bool>>()
        };
        for (which, gradient) in gradients.iter().enumerate() {
            let mut compared = 0;
            for seed in seeds.clone() {
                let direction = numbers(200 + seed, gradient.len());
                let moved = |by: f32| {
                    let mut moved = inputs.clone();
                    let moving = [&mut moved.q, &mut moved.k, &mut moved.v].into_iter().nth(which).unwrap();
                    moving.iter_mut().zip(&direction).for_each(|(x, d)| *x += by * d);
                    moved
                };
                if kinks && support(&moved(-2.0 * step)) != support(&moved(2.0 * step)) {
                    continue;
                }
                let at = |by: f32| objective(&moved(by));
                // A fourth-order difference, so that the step can be large enough for rounding not to matter.
                let difference =
                    (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * f64::from(step));
                let dot =
                    |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                let derivative = dot(gradient, &direction);
                // Typical size of the derivative along a random direction.
                let typical = (dot(gradient, gradient) * dot(&direction, &direction) / gradient.len() as f64).sqrt();
                let slope = |step: f32| (4.0 * at(step) - at(2.0 * step) - 3.0 * at(0.0)) / (2.0 * f64::from(step));
                if (kinks || poles) && (slope(step) - slope(-step)).abs() > rounding * on.tolerance * typical / 2.0 {
                    continue;
                }
                compared += 1;
                let name = format!("{name}: derivative by {} along direction {seed}", ["q", "k", "v"][which]);
                assert_close_of_scale(
                    &name,
                    &[derivative as f32],
                    &[difference as f32],
                    typical,
                    rounding * on.tolerance,
                );
            }
            assert!(compared >= 3, "{name}: kinks or poles along all directions but {compared}");
        }
    });
}

/// Whether the pattern stays as it is when the same vector is added to all keys, and so the same number to all scores of a query.
fn ignores_a_shift_of_its_scores(kernel: &AttentionKernel, device: &Device) -> bool {
    let [q, k, _] = Inputs::draw(11).tensors(device);
    let shifted = k.clone() + tensor(&numbers(13, D_HEAD), [1, 1, 1, D_HEAD], device);
    let [plain, shifted] = [k, shifted].map(|k| to_host(kernel.pattern(q.clone(), k, &Mask::Full.into())));
    plain.iter().zip(&shifted).all(|(a, b)| (a - b).abs() < 1e-4)
}

/// All four projections around the kernel receive gradients, but for a bias of keys that adds to all scores of a row alike.
pub fn every_parameter_of_attention_receives_its_gradient(kind: &KernelKind) {
    const D_MODEL: usize = HEADS * D_HEAD;
    for test_device in devices() {
        let device = test_device.device.clone().autodiff();
        {
            let attention = attention(kind, &device);
            let ignores_shift = ignores_a_shift_of_its_scores(&attention.kernel, &device);
            let query = tensor(&numbers(20, BATCH * Q_LEN * D_MODEL), [BATCH, Q_LEN, D_MODEL], &device);
            let context = tensor(&numbers(21, BATCH * K_LEN * D_MODEL), [BATCH, K_LEN, D_MODEL], &device);
            let output = attention.forward(query, context, &Mask::Full);
            assert_eq!(output.dims(), [BATCH, Q_LEN, D_MODEL]);
            let weights = tensor(&numbers(22, BATCH * Q_LEN * D_MODEL), [BATCH, Q_LEN, D_MODEL], &device);
            let gradients = (output * weights).sum().backward();
            let gradients = collect(&attention, &GradientsParams::from_grads(gradients, &attention));
            let names = gradients.keys().map(String::as_str).filter(|name| !name.starts_with("kernel."));
            let names: Vec<&str> = names.collect();
            let parts = ["key", "output", "query", "value"];
            let want: Vec<String> =
                parts.iter().flat_map(|part| [format!("{part}.bias"), format!("{part}.weight")]).collect();
            assert_eq!(names, want);
            let largest = |name: &str| gradients[name].values.iter().fold(0.0, |top, g| f32::max(top, g.abs()));
            for (name, gradient) in &gradients {
                let label = format!("{kind:?} on {}: {name}", test_device.name);
                if name == "key.bias" && ignores_shift {
                    // It adds the same number to all scores of a row.
                    let scale = f64::from(largest("key.weight"));
                    let zeros = vec![0.0; gradient.values.len()];
                    assert_close_of_scale(&label, &gradient.values, &zeros, scale, test_device.tolerance);
                } else {
                    let threshold = 1e-4 * largest(name);
                    let dead = gradient.values.iter().filter(|g| g.abs() <= threshold).count();
                    assert!(
                        dead * 100 <= gradient.values.len(),
                        "{label}: {dead} entries of {} are dead",
                        gradient.values.len()
                    );
                }
            }
        }
    }
}

/// The layer around the kernel projects, splits, mixes, merges and projects.
pub fn attention_is_its_formula(kind: &KernelKind) {
    const D_MODEL: usize = HEADS * D_HEAD;
    for test_device in devices() {
        let device = &test_device.device;
        {
            let attention = attention(kind, device);
            let can_hide = kind.spec().supports(Demand::AnyMask).is_ok();
            let mask = if can_hide { hidden(device) } else { Mask::Full };
            let (query, context) = (numbers(30, BATCH * Q_LEN * D_MODEL), numbers(31, BATCH * K_LEN * D_MODEL));
            let output = attention.forward(
                tensor(&query, [BATCH, Q_LEN, D_MODEL], device),
                tensor(&context, [BATCH, K_LEN, D_MODEL], device),
                &mask,
            );
            // Projection and head split computed on the host.
            let arrays = headway_model::weights::arrays(&attention);
            let project = |x: &[f32], part: &str| -> Vec<f32> {
                let (weight, bias) =
                    (&arrays[&format!("{part}.weight")].values, &arrays[&format!("{part}.bias")].values);
                let row = |x: &[f32]| -> Vec<f32> {
                    let out =
                        |o: usize| x.iter().zip(&weight[o * D_MODEL..]).map(|(x, w)| x * w).sum::<f32>() + bias[o];
                    (0..D_MODEL).map(out).collect()
                };
                x.chunks_exact(D_MODEL).flat_map(row).collect()
            };
            let split = |x: &[f32], rows: usize| -> Vec<f32> {
                let mut heads = vec![0.0; x.len()];
                for (at, value) in x.iter().enumerate() {
                    let (b, row, channel) = (at / D_MODEL / rows, at / D_MODEL % rows, at % D_MODEL);
                    heads[index([BATCH, HEADS, rows, D_HEAD], [b, channel / D_HEAD, row, channel % D_HEAD])] = *value;
                }
                heads
            };
            let q = tensor(&split(&project(&query, "query"), Q_LEN), Q, device);
            let k = tensor(&split(&project(&context, "key"), K_LEN), K, device);
            let v = tensor(&split(&project(&context, "value"), K_LEN), K, device);
            let mixed = to_host(attention.kernel.mix(q, k, v, &mask.into()));
            let mut merged = vec![0.0; mixed.len()];
            for (at, merged) in merged.iter_mut().enumerate() {
                let (b, row, channel) = (at / D_MODEL / Q_LEN, at / D_MODEL % Q_LEN, at % D_MODEL);
                *merged = mixed[index(Q, [b, channel / D_HEAD, row, channel % D_HEAD])];
            }
            let name = format!("{kind:?} on {}", test_device.name);
            assert_close(&name, &to_host(output), &project(&merged, "output"), test_device.tolerance);
        }
    }
}

/// Another precision than f32 changes the output by about its rounding: no more, and not by nothing. Traced and untraced agree.
pub fn attention_in_half_precision(kind: &KernelKind) {
    let config = PaperOneLayerConfig { d_model: HEADS * D_HEAD, n_heads: HEADS, ..PaperOneLayerConfig::default() };
    let dims = IoDims::continuous(Q_LEN, 13, 1);
    for test_device in devices() {
        let device = &test_device.device;
        let model = |kernel: &KernelKind, precision: Precision| {
            let kernel = kernel.clone();
            let config = ModelConfig::PaperOneLayer(PaperOneLayerConfig { kernel, ..config.clone() });
            let mut rng = generator(19);
            config
                .build(&dims, &mut Initializer::new(&mut rng, device).with_precision(Precision::F32, precision))
                .unwrap()
        };
        let input = || Input::Continuous(tensor(&numbers(40, BATCH * Q_LEN * 13), [BATCH, Q_LEN, 13], device));
        {
            let kernel = kind;
            let exact = to_host(model(kernel, Precision::F32).forward(input()));
            for precision in Precision::ALL.into_iter().filter(|one| *one != Precision::F32 && one.is_available(device))
            {
                let unit = unit(precision);
                let name = format!("{kernel:?}, {precision:?} on {}", test_device.name);
                let half = to_host(model(kernel, precision).forward(input()));
                assert_close(&name, &half, &exact, unit);
                let worst = crate::worst(&name, &half, &exact).unwrap();
                // Numbers in tf32 are stored whole, and a device may see more of them than it must.
                let may_be_exact = precision == Precision::Tf32;
                assert!(may_be_exact || worst.deviation > unit / 128.0, "{name}: nothing was rounded, {worst:?}");
                let traced = to_host(model(kernel, precision).forward_traced(input()).output);
                assert_close(&format!("traced, {name}"), &traced, &half, 0.5 * unit);
            }
        }
    }
}
