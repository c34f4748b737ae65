//! Attention by features compared with the same weights written out pair by pair in f64, and its gradients with differences of that.

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::{FeatureMap, FeatureOptions, feature_attention};
use headway_testkit::{assert_close, assert_close_of_scale, numbers};

const D_KEY: usize = 5;
const D_VALUE: usize = 3;
const DIRECTIONS: usize = 11;
const HEADS: usize = 2;

const MAPS: [FeatureMap; 4] = [
    FeatureMap::Elu,
    FeatureMap::Exponential { epsilon: 1e-9 },
    FeatureMap::Relu { epsilon: 0.125 },
    FeatureMap::Trigonometric,
];

/// Queries, keys and values of all heads, row-major.
#[derive(Clone)]
struct Data {
    qkv: [Vec<f64>; 3],
    lengths: [usize; 2],
    directions: Vec<f64>,
    options: FeatureOptions,
}

impl Data {
    fn draw(options: FeatureOptions, [q_len, k_len]: [usize; 2], size: f64) -> Self {
        let draw =
            |seed, count: usize, size: f64| numbers(seed, count).into_iter().map(|x| size * f64::from(x)).collect();
        let q = draw(1, HEADS * q_len * D_KEY, size);
        let k = draw(2, HEADS * k_len * D_KEY, size);
        let v = draw(3, HEADS * k_len * D_VALUE, 1.0);
        Self { qkv: [q, k, v], lengths: [q_len, k_len], directions: draw(4, DIRECTIONS * D_KEY, 1.5), options }
    }

    /// Features of a row and the logarithm of the factor that they lack.
    fn features(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let scaled: Vec<f64> = x.iter().map(|x| x / (D_KEY as f64).powf(0.25)).collect();
        let half_square = scaled.iter().map(|x| x * x).sum::<f64>() / 2.0;
        let dot = |w: &[f64]| w.iter().zip(&scaled).map(|(w, x)| w * x).sum::<f64>();
        let arguments = self.directions.chunks_exact(D_KEY).map(dot);
        match self.options.map {
            FeatureMap::Elu => (x.iter().map(|x| if *x > 0.0 { x + 1.0 } else { x.exp() }).collect(), 0.0),
            FeatureMap::Exponential { .. } => (arguments.map(f64::exp).collect(), -half_square),
            FeatureMap::Relu { epsilon } => (arguments.map(|a| a.max(0.0) + f64::from(epsilon)).collect(), 0.0),
            FeatureMap::Trigonometric => (arguments.flat_map(|a| [a.cos(), a.sin()]).collect(), half_square),
        }
    }

    fn output(&self) -> Vec<f64> {
        let [q_len, k_len] = self.lengths;
        let [q, k, v] = &self.qkv;
        let mut output = Vec::new();
        for head in 0..HEADS {
            let features = |x: &[f64], length: usize| -> Vec<(Vec<f64>, f64)> {
                x[head * length * D_KEY..][..length * D_KEY].chunks_exact(D_KEY).map(|x| self.features(x)).collect()
            };
            let (of_q, of_k) = (features(q, q_len), features(k, k_len));
            let values = &v[head * k_len * D_VALUE..][..k_len * D_VALUE];
            for (i, (phi, _)) in of_q.iter().enumerate() {
                let seen = if self.options.causal { (i + 1 + k_len).saturating_sub(q_len) } else { k_len };
                let largest = of_k[..seen].iter().fold(f64::NEG_INFINITY, |top, (_, level)| top.max(*level));
                let (mut mixed, mut mass) = ([0.0; D_VALUE], 0.0);
                for ((of_key, level), value) in of_k[..seen].iter().zip(values.chunks_exact(D_VALUE)) {
                    let product = phi.iter().zip(of_key).map(|(a, b)| a * b).sum::<f64>();
                    let weight = product * (level - largest).exp();
                    mass += weight;
                    mixed.iter_mut().zip(value).for_each(|(sum, v)| *sum += weight * v);
                }
                output.extend(mixed.map(|sum| if seen == 0 { 0.0 } else { sum / mass }));
            }
        }
        output
    }

    fn tensors(&self, device: &Device) -> [Tensor<4>; 3] {
        let [q_len, k_len] = self.lengths;
        let shapes = [[1, HEADS, q_len, D_KEY], [1, HEADS, k_len, D_KEY], [1, HEADS, k_len, D_VALUE]];
        let mut both = self.qkv.iter().zip(shapes);
        std::array::from_fn(|_| {
            let (values, shape) = both.next().unwrap();
            let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }

    fn directions(&self, device: &Device) -> Option<Tensor<2>> {
        let values: Vec<f32> = self.directions.iter().map(|w| *w as f32).collect();
        let directions = || Tensor::from_data(TensorData::new(values, [DIRECTIONS, D_KEY]), device);
        (self.options.map != FeatureMap::Elu).then(directions)
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

/// Output and gradients of Σ weights ⊙ output.
fn passes(data: &Data, weights: &[f32]) -> (Vec<f32>, [Vec<f32>; 3]) {
    let device = Device::flex().autodiff();
    let [q, k, v] = data.tensors(&device).map(Tensor::require_grad);
    let output = feature_attention(q.clone(), k.clone(), v.clone(), data.directions(&device), data.options);
    let weights = Tensor::<4>::from_data(TensorData::new(weights.to_vec(), output.dims()), &device);
    let gradients = (output.clone() * weights).sum().backward();
    (host(output), [q, k, v].map(|x| host(x.grad(&gradients).unwrap())))
}

fn agrees(data: &Data, tolerance: f64) {
    let [q_len, k_len] = data.lengths;
    let name = format!("{:?}, {q_len} queries, {k_len} keys", data.options);
    let weights = numbers(5, HEADS * q_len * D_VALUE);
    let (output, gradients) = passes(data, &weights);
    let want: Vec<f32> = data.output().into_iter().map(|x| x as f32).collect();
    assert_close(&name, &output, &want, tolerance);
    let objective = |data: &Data| data.output().iter().zip(&weights).map(|(o, w)| o * f64::from(*w)).sum::<f64>();
    for (which, gradient) in gradients.iter().enumerate() {
        let direction: Vec<f64> = numbers(6, gradient.len()).into_iter().map(f64::from).collect();
        let moved = |by: f64| {
            let mut moved = data.clone();
            moved.qkv[which].iter_mut().zip(&direction).for_each(|(x, d)| *x += by * d);
            objective(&moved)
        };
        let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        let derivative = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum::<f64>();
        let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
        let typical = (square(&mut gradient.iter().map(|g| f64::from(*g))) * square(&mut direction.iter().copied())
            / gradient.len() as f64)
            .sqrt()
            // A single key has all the weight, and no gradient: what is left is the rounding of terms of order one that cancel.
            .max(1e-2);
        let name = format!("{name}: derivative by {}", ["q", "k", "v"][which]);
        assert_close_of_scale(&name, &[derivative as f32], &[difference as f32], typical, 10.0 * tolerance);
    }
}

/// Trigonometric weights nearly cancel where none is large, so that rounding counts more.
fn tolerance(map: FeatureMap) -> f64 {
    if map == FeatureMap::Trigonometric { 1e-4 } else { 1e-5 }
}

#[test]
fn both_passes_are_sums_over_pairs() {
    for map in MAPS {
        for causal in [false, true] {
            // Several chunks, the last not full; keys that all queries see; queries that see nothing.
            for lengths in [[1, 1], [7, 7], [70, 131], [131, 67]] {
                agrees(&Data::draw(FeatureOptions { map, causal }, lengths, 0.8), tolerance(map));
            }
        }
    }
}

/// Several segments, and large exponents in some rows.
#[test]
fn segments_are_one_sequence() {
    for map in MAPS {
        for causal in [false, true] {
            let size = if map == FeatureMap::Trigonometric { 0.5 } else { 4.0 };
            agrees(&Data::draw(FeatureOptions { map, causal }, [1090, 1100], size), 10.0 * tolerance(map));
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for causal in [false, true] {
        let map = FeatureMap::Exponential { epsilon: 1e-9 };
        let data = Data::draw(FeatureOptions { map, causal }, [2100, 2100], 2.0);
        let weights = numbers(5, HEADS * 2100 * D_VALUE);
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| passes(&data, &weights))
        });
        assert!(one == three, "causal {causal}");
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for map in MAPS {
        let mut data = Data::draw(FeatureOptions { map, causal: true }, [9, 9], 1.0);
        data.qkv[1][4 * D_KEY] = f64::NAN;
        let (output, _) = passes(&data, &numbers(5, HEADS * 9 * D_VALUE));
        let of_first_head = &output[..9 * D_VALUE];
        assert!(of_first_head[..4 * D_VALUE].iter().all(|x| x.is_finite()), "{map:?}: the past");
        assert!(of_first_head[4 * D_VALUE..].iter().all(|x| x.is_nan()), "{map:?}: {of_first_head:?}");
    }
}
