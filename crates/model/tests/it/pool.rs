//! Pooling heads compared with SciPy and tensorly on the same numbers, outputs and gradients: `fixtures/tensor_pool.py`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    ConfigError, Family, Input, IoDims, ModelConfig, PoolKind, TensorPool, TensorPoolConfig, TransformerConfig,
    weights::{Array, arrays_from_bytes, load, to_host},
};
use headway_testkit::{assert_close, devices, numbers};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    let shape: [usize; D] = array.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(array.values.clone(), shape), device)
}

/// A head that projects by the given matrix. `[d_model, features]`
fn pool(config: &TensorPoolConfig, weight: &Array, device: &Device) -> TensorPool {
    let [d_in, d_out] = [weight.shape[0], weight.shape[1]];
    let config = TensorPoolConfig { features: d_out, ..config.clone() };
    let pool = config.init(d_in, &mut ChaCha8Rng::seed_from_u64(1), device);
    // A file holds [out, in].
    let values = (0..d_out).flat_map(|out| (0..d_in).map(move |at| at * d_out + out)).map(|at| weight.values[at]);
    let weight = Array { shape: vec![d_out, d_in], values: values.collect() };
    load(pool, BTreeMap::from([("project.weight".to_owned(), weight)])).unwrap().0
}

fn identity(width: usize) -> Array {
    let values = (0..width * width).map(|at| f32::from(u8::from(at % (width + 1) == 0))).collect();
    Array { shape: vec![width, width], values }
}

#[test]
fn powers_and_their_gradients_are_those_of_scipy_and_tensorly() {
    let all = arrays_from_bytes(include_bytes!("fixtures/tensor_pool.safetensors")).unwrap();
    for (name, order, gamma, power, time) in [
        ("second", 2, 0.3, 1.0, 0),
        ("second_in_time", 2, 0.8, 1.0, 2),
        ("second_and_power", 2, 0.5, 0.5, 0),
        ("second_plain", 2, 1.0, 1.0, 0),
        ("third", 3, 0.5, 1.0, 0),
        ("third_in_time", 3, 0.9, 1.0, 1),
        ("third_plain", 3, 1.0, 1.0, 0),
    ] {
        let part = |part: &str| &all[&format!("{name}.{part}")];
        let config = TensorPoolConfig { order, gamma, power, time, ..TensorPoolConfig::default() };
        for on in devices() {
            let device = on.device.clone().autodiff();
            let label = format!("{name} on {}", on.name);
            // A power multiplies relative rounding of small numbers by at most their size to the power of γ − 1.
            let tolerance = 20.0 * on.tolerance;
            let x = tensor::<3>(part("x"), &device).require_grad();
            let y = pool(&config, part("weight"), &device).forward(x.clone());
            assert_close(&label, &to_host(y.clone()), &part("output").values, tolerance);
            let gradients = (y * tensor::<2>(part("weights"), &device)).sum().backward();
            let d_x = to_host(x.grad(&gradients).unwrap());
            // A 1 and a time code are nearly collinear, and leave entries of the core so small that their slopes are smoothed.
            let allowed = if name == "third_in_time" { 10.0 * tolerance } else { tolerance };
            assert_close(&format!("{label}, d_x"), &d_x, &part("d_x").values, allowed);
            // Without gradients the same numbers.
            let x = tensor::<3>(part("x"), &on.device);
            let y = to_host(pool(&config, part("weight"), &on.device).forward(x));
            assert_close(&label, &y, &part("output").values, tolerance);
        }
    }
}

/// At x = ±a e_i, V is diagonal with all eigenvalues but one equal, and d(V^γ) between two equal ones is γ λ^(γ−1) dV.
#[test]
fn gradients_at_equal_eigenvalues_are_finite_and_of_order_two_right() {
    const FEATURES: usize = 3;
    let (n, gamma) = (2 * FEATURES, 0.5);
    let lambda: f64 = 0.5;
    let a = (lambda * FEATURES as f64).sqrt() as f32;
    let entry = |at: usize| {
        let (row, column) = (at / FEATURES, at % FEATURES);
        if row / 2 == column { if row % 2 == 0 { a } else { -a } } else { 0.0 }
    };
    let x: Vec<f32> = (0..n * FEATURES).map(entry).collect();
    for on in devices() {
        let device = on.device.clone().autodiff();
        let gradient = |config: &TensorPoolConfig, x: Vec<f32>| {
            let x = Tensor::<3>::from_data(TensorData::new(x, [1, n, FEATURES]), &device).require_grad();
            let y = pool(config, &identity(FEATURES), &device).forward(x.clone());
            // The entry (0, 1) alone.
            let gradients = y.narrow(1, 1, 1).sum().backward();
            to_host(x.grad(&gradients).unwrap())
        };
        let config = |order, gamma| TensorPoolConfig { order, gamma, ..TensorPoolConfig::default() };
        let plain = gradient(&config(2, 1.0), x.clone());
        let factor = gamma * lambda.powf(gamma - 1.0);
        let want: Vec<f32> = plain.iter().map(|d| (f64::from(*d) * factor) as f32).collect();
        assert!(want.iter().any(|d| d.abs() > 0.1));
        assert_close(on.name, &gradient(&config(2, gamma), x.clone()), &want, 10.0 * on.tolerance);
        // Nothing at all: every eigenvalue but one is zero.
        for x in [x.clone(), vec![0.0; n * FEATURES]] {
            for order in [2, 3] {
                let found = gradient(&config(order, gamma), x.clone());
                assert!(found.iter().all(|d| d.is_finite()), "order {order} on {}: {found:?}", on.name);
            }
        }
    }
}

#[test]
fn the_order_of_positions_counts_only_in_time() {
    let (n, width) = (7, 3);
    let x = numbers(5, n * width);
    let turned: Vec<f32> = x.chunks_exact(width).rev().flatten().copied().collect();
    for on in devices() {
        let pooled = |order, time, x: &[f32]| {
            let config = TensorPoolConfig { order, time, ..TensorPoolConfig::default() };
            let x = Tensor::<3>::from_data(TensorData::new(x.to_vec(), [1, n, width]), &on.device);
            to_host(pool(&config, &identity(width), &on.device).forward(x))
        };
        for order in [2, 3] {
            let label = format!("order {order} on {}", on.name);
            // Of order 3 a small entry of the core may be rounding alone, and is then made large: 1e-7 to its root.
            let tolerance = if order == 2 { 20.0 * on.tolerance } else { 1e-3 };
            assert_close(&label, &pooled(order, 0, &turned), &pooled(order, 0, &x), tolerance);
            let [before, after] = [&x, &turned].map(|x| pooled(order, 2, x));
            assert!(before.iter().zip(&after).any(|(a, b)| (a - b).abs() > 0.01), "{label}");
        }
    }
}

fn transformer(pool: PoolKind) -> TransformerConfig {
    TransformerConfig { d_model: 6, n_heads: 2, n_layers: 1, causal: false, pool, ..TransformerConfig::default() }
}

#[test]
fn a_pooled_prediction_is_the_same_at_every_position_and_of_the_mean_of_all() {
    let dims = IoDims::continuous(5, 3, 2);
    let build = |pool| {
        let config = ModelConfig::from(transformer(pool));
        config.init(&dims, &mut ChaCha8Rng::seed_from_u64(3), &Device::flex()).unwrap()
    };
    let x = || Input::Continuous(Tensor::from_data(TensorData::new(numbers(2, 30), [2, 5, 3]), &Device::flex()));
    let each = to_host(build(PoolKind::None).forward(x()).mean_dim(1).repeat_dim(1, 5));
    // The same weights: the mean of what a linear head says is what it says of the mean.
    assert_close("mean", &to_host(build(PoolKind::Mean).forward(x())), &each, 1e-5);
    let tensor = to_host(build(PoolKind::Tensor(TensorPoolConfig { features: 4, ..Default::default() })).forward(x()));
    let (first, rest) = tensor.split_at(2);
    assert!(rest[..8].chunks_exact(2).all(|row| row == first), "{tensor:?}");
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let problems = |config: TransformerConfig| {
        let mut problems: Vec<ConfigError> = Vec::new();
        config.validate(&IoDims::continuous(5, 3, 2), &mut problems);
        problems.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
    };
    let tensor = |config| problems(transformer(PoolKind::Tensor(config)));
    let default = TensorPoolConfig::default;
    let order = TensorPoolConfig { order: 4, features: 0, gamma: 0.0, power: 1.5, ..default() };
    assert_eq!(
        tensor(order),
        [
            "pool.tensor.order: 4 must be 2 or 3",
            "pool.tensor.features: must be at least 1",
            "pool.tensor.gamma: 0 must be above 0 and at most 1",
            "pool.tensor.power: 1.5 must be above 0 and at most 1",
        ]
    );
    let too_many = |order, most: usize| {
        assert!(tensor(TensorPoolConfig { order, features: most, ..default() }).is_empty());
        tensor(TensorPoolConfig { order, features: most, time: 1, ..default() }).remove(0)
    };
    assert!(too_many(2, 180).ends_with("more than 32768 numbers; give 180 or fewer together"));
    assert!(too_many(3, 31).ends_with("more than 32768 numbers; give 31 or fewer together"));
    assert!(!tensor(TensorPoolConfig { features: usize::MAX, ..default() }).is_empty());
    let causal = problems(TransformerConfig { causal: true, ..transformer(PoolKind::Mean) });
    assert_eq!(
        causal,
        ["pool: makes one prediction of all positions, so that none may be hidden; give causal = false"]
    );
}
