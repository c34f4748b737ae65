#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use headway_tasks::{Interval, Order, Probe, SampleRng, Seed};
use rand::RngExt;

use super::{
    mixture::{Enclosed, Float32, Head, enclose},
    *,
};

/// A head with random scores and values; nothing of float32.
fn head(rng: &mut SampleRng, keys: usize, d: usize) -> Head {
    let mut numbers = |count: usize, size: f64| -> Vec<f64> {
        (0..count).map(|_| size * (2.0 * rng.random::<f64>() - 1.0)).collect()
    };
    let (slopes, offsets, values) =
        (numbers(keys * d, 6.0), numbers(keys, 3.0), vec![numbers(keys, 2.0), numbers(keys, 1.0)]);
    let sizes = (slopes.iter().map(|a| a.abs()).collect(), offsets.iter().map(|c| c.abs()).collect());
    let float32 = Float32 { queries: Vec::new(), keys: Vec::new(), product: 0.0, values: 0.0, scale: 1.0, scaled: 0.0 };
    Head {
        d,
        slopes,
        offsets,
        sizes,
        roundings: 1.0,
        values,
        value_size: 0.0,
        value_roundings: 0.0,
        shift: 0.0,
        origin: 0.0,
        float32,
    }
}

fn value(head: &Head, x: &[f64], output: usize) -> f64 {
    let score = |k: usize| head.offsets[k] + (0..head.d).map(|j| head.slopes[k * head.d + j] * x[j]).sum::<f64>();
    let scores: Vec<f64> = (0..head.keys()).map(score).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    weights.iter().zip(&head.values[output]).map(|(w, v)| w * v).sum::<f64>() / weights.iter().sum::<f64>()
}

/// Values and slopes of random mixtures lie within the enclosures, over boxes of all sizes; over small boxes these say
/// nearly what is true.
#[test]
fn mixtures_are_held() {
    let mut rng = Seed(1).probe(Probe::Certificate);
    for (keys, d) in [(1, 1), (2, 1), (7, 1), (13, 2), (31, 3)] {
        for size in [1e-7, 1e-3, 0.1, 1.0] {
            let heads = [head(&mut rng, keys, d), head(&mut rng, keys, d)];
            let low: Vec<f64> = (0..d).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect();
            let sides: Vec<Interval> = low.iter().map(|low| Interval::new(*low, low + size)).collect();
            let found = enclose(&heads, &sides);
            for _ in 0..200 {
                let x: Vec<f64> = low.iter().map(|low| low + size * rng.random::<f64>()).collect();
                for (output, Enclosed { range, slopes, .. }) in found.iter().enumerate() {
                    let at = |x: &[f64]| heads.iter().map(|head| value(head, x, output)).sum::<f64>();
                    let here = at(&x);
                    assert!(range.low - 1e-13 <= here && here <= range.high + 1e-13, "{here} outside {range:?}");
                    for j in 0..d {
                        let (mut below, mut above) = (x.clone(), x.clone());
                        below[j] -= 1e-6;
                        above[j] += 1e-6;
                        let slope = (at(&above) - at(&below)) / 2e-6;
                        assert!(
                            slopes[j].low - 1e-6 <= slope && slope <= slopes[j].high + 1e-6,
                            "{keys} keys, size {size}: slope {slope} outside {:?}",
                            slopes[j]
                        );
                    }
                    if size < 1e-6 {
                        assert!(range.width() < 1e-4 && slopes.iter().all(|slope| slope.width() < 1e-3), "{found:?}");
                    }
                }
            }
        }
    }
}

/// A head whose own variable is another one, less a number, is held at every distance that it may have from that.
#[test]
fn shifted_heads_are_held() {
    let mut rng = Seed(3).probe(Probe::Certificate);
    let (shift, origin) = (0.02, 3.0);
    for size in [1e-6, 0.1] {
        let one = Head { shift, origin, ..head(&mut rng, 9, 1) };
        let side = Interval::new(2.9, 2.9 + size);
        let found = &one.enclose(&[side])[0];
        assert!(found.loose > 0.0 && found.middle.width() >= 2.0 * found.loose, "{found:?}");
        for _ in 0..200 {
            let off = 0.99 * shift * (2.0 * rng.random::<f64>() - 1.0);
            let at = |x: f64| value(&one, &[x - origin + off], 0);
            let (x, middle) = (side.low + size * rng.random::<f64>(), side.middle());
            assert!(found.range.low - 1e-13 <= at(x) && at(x) <= found.range.high + 1e-13, "{found:?}");
            assert!(found.middle.low - 1e-13 <= at(middle) && at(middle) <= found.middle.high + 1e-13, "{found:?}");
            let slope = (at(x + 1e-6) - at(x - 1e-6)) / 2e-6;
            assert!(found.slopes[0].low - 1e-6 <= slope && slope <= found.slopes[0].high + 1e-6, "{found:?}");
        }
    }
}

/// The largest mean over a box of weights is attained where weights are at their ends: all 2^keys of them are tried.
#[test]
fn ranges_of_mixtures_are_exact() {
    let mut rng = Seed(2).probe(Probe::Certificate);
    for _ in 0..50 {
        let keys = 6;
        // Slopes alone differ, so that scores over [-1, 1] are independent boxes only in the enclosure.
        let mut one = head(&mut rng, keys, 1);
        one.offsets.fill(0.0);
        one.sizes.1.fill(0.0);
        // The first key leads at 0, where all scores are equal; relative to it scores reach ±|a_k − a_0|.
        let found = &enclose(&[one.clone()], &[Interval::new(-1.0, 1.0)])[0];
        let reach = |k: usize| (one.slopes[k] - one.slopes[0]).abs();
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for ends in 0..1_usize << keys {
            let weight = |k: usize| if ends >> k & 1 == 1 { reach(k) } else { -reach(k) }.exp();
            let total: f64 = (0..keys).map(weight).sum();
            let mean = (0..keys).map(|k| weight(k) * one.values[0][k]).sum::<f64>() / total;
            (least, most) = (least.min(mean), most.max(mean));
        }
        assert!(
            (found.range.low - least).abs() < 1e-11 && (found.range.high - most).abs() < 1e-11,
            "{found:?}, not {least} {most}"
        );
    }
}

/// A search ends with a bound just above the true error, and its tree covers the box.
#[test]
fn the_bound_is_near_the_error() {
    // One head with two keys is a sigmoid: 1/(1 + exp(−x)).
    let float32 = Float32 { queries: Vec::new(), keys: Vec::new(), product: 0.0, values: 0.0, scale: 1.0, scaled: 0.0 };
    let sigmoid = Head {
        d: 1,
        slopes: vec![1.0, 0.0],
        offsets: vec![0.0, 0.0],
        sizes: (vec![1.0, 0.0], vec![0.0, 0.0]),
        roundings: 1.0,
        values: vec![vec![1.0, 0.0]],
        value_size: 1.0,
        value_roundings: 0.0,
        shift: 0.0,
        origin: 0.0,
        float32,
    };
    let target: Enclosure = Arc::new(|x: &[Jet]| {
        // x/4 + 1/2, off by sup |σ(x) − x/4 − 1/2| = 0.11920292… at the ends of [−2, 2].
        let number = |value: f64| Jet::constant(Interval::point(value), 1, Order::First);
        vec![x[0].clone().times(&number(0.25)).plus(&number(0.5))]
    });
    let question = Question { heads: vec![sigmoid], target, sides: vec![Interval::new(-2.0, 2.0)], shift: 0.0 };
    let limit = Limit { time: Duration::from_mins(1), boxes: 1 << 16, gap: 0.01 };
    let found = search(&question, limit, |_| {});
    let truth = 1.0 - 1.0 / (1.0 + (-2.0_f64).exp());
    assert!(found.ended && truth <= found.bound && found.bound < 1.02 * truth, "{found:?}, not {truth}");
    let leaves = found.tree.bytes().filter(|byte| *byte == b'0').count();
    assert!(leaves == found.boxes && found.tree.len() == 2 * leaves - 1, "{found:?}");
    // Cut short it says less, and nothing false.
    let short = search(&question, Limit { time: Duration::ZERO, ..limit }, |_| {});
    assert!(!short.ended && short.bound >= found.bound, "{short:?}");
}
