//! What holds exactly of a transformer without feed-forward blocks, at any size: arXiv 2607.18363.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{
    Initialization, Input, IoDims, KERNELS, KernelKind, Law, Model, ModelConfig, NormKind, PositionKind, QkNorm,
    RopeConfig, TransformerConfig,
    weights::{Array, arrays, load, to_host},
};
use headway_testkit::numbers;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const D_IN: usize = 5;
const D_OUT: usize = 3;
const D_MODEL: usize = 12;
const D_HEAD: usize = 4;
const HEADS: usize = 6;
const SHARED: usize = 2;
const EPSILON: f64 = 1e-6;

fn config(n_layers: usize) -> TransformerConfig {
    TransformerConfig {
        d_model: D_MODEL,
        n_layers,
        n_heads: HEADS,
        n_kv_heads: Some(SHARED),
        d_head: Some(D_HEAD),
        norm_kind: NormKind::ZeroCentredRms,
        qk_norm: QkNorm::ZeroCentredRms,
        residual_gate: true,
        position: PositionKind::Rope(RopeConfig::default()),
        bias: false,
        ..TransformerConfig::default()
    }
}

fn built(config: &TransformerConfig, rows: usize) -> Model {
    let dims = IoDims::continuous(rows, D_IN, D_OUT);
    let config = ModelConfig::Transformer(config.clone());
    assert_eq!(config.validate(&dims), []);
    config.init(&dims, &mut ChaCha8Rng::seed_from_u64(5), &Device::flex()).unwrap()
}

/// W x of a matrix `[out, in]`.
fn times(matrix: &Array, x: &[f64]) -> Vec<f64> {
    assert_eq!(matrix.shape[1], x.len());
    matrix.values.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

/// (1 + g) ⊙ x
fn gained(gains: &Array, x: &[f64]) -> Vec<f64> {
    gains.values.iter().zip(x).map(|(g, x)| (1.0 + f64::from(*g)) * x).collect()
}

/// 1/√(mean(x²) + ε)
fn scale(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + EPSILON).sqrt().recip()
}

/// Values that every query head finds, from those that are shared.
fn shared(values: &[f64]) -> Vec<f64> {
    (0..HEADS).flat_map(|head| values[head * SHARED / HEADS * D_HEAD..][..D_HEAD].to_vec()).collect()
}

/// Of one token, attention is the value map: layer l is h ← (I + `c_l` `M_l`) h with the matrix `M_l` = `W_o` S `W_v` diag(1 + g), S the sharing of
/// values, and the number `c_l` = σ(s)/√(mean(h²) + ε).
#[test]
fn of_one_token_a_network_is_linear_up_to_a_number_a_layer() {
    for n_layers in [1, 4] {
        let mut weights = arrays(&built(&config(n_layers), 1));
        for (seed, (name, array)) in weights.iter_mut().enumerate() {
            // Gains and gates that are not those of the beginning.
            if name.contains("norm") || name.contains("gate") {
                array.values = numbers(seed as u64, array.values.len());
            }
        }
        let model = load(built(&config(n_layers), 1), weights.clone()).unwrap().0;
        let inputs = numbers(99, 7 * D_IN);
        let x = Tensor::<3>::from_data(TensorData::new(inputs.clone(), [7, 1, D_IN]), &Device::flex());
        let output = to_host(model.forward(Input::Continuous(x)));
        for (x, output) in inputs.chunks(D_IN).zip(output.chunks(D_OUT)) {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mut h = times(&weights["embed.weight"], &x);
            for layer in 0..n_layers {
                let of = |part: &str| &weights[&format!("blocks.{layer}.{part}")];
                let values = times(of("attention.value.weight"), &gained(of("attention_norm.weight"), &h));
                let update = times(of("attention.output.weight"), &shared(&values));
                let gate = 1.0 / (1.0 + (-f64::from(of("residual_gate").values[0])).exp());
                let factor = gate * scale(&h);
                h.iter_mut().zip(update).for_each(|(h, update)| *h += factor * update);
            }
            let last = scale(&h);
            let wanted = times(&weights["head.weight"], &gained(&weights["final_norm.weight"], &h));
            for (got, want) in output.iter().zip(wanted) {
                let want = last * want;
                assert!((f64::from(*got) - want).abs() <= 1e-5 * (1.0 + want.abs()), "{n_layers}: {got} {want}");
            }
        }
    }
}

/// What one head adds to a token is Σ `p_j` `W_o` `v_j` with weights `p_j` ≥ 0 that sum to one: along no direction is it beyond the furthest of the
/// projected values that the token sees.
#[test]
fn what_a_head_adds_lies_in_the_hull_of_its_projected_values() {
    const ROWS: usize = 7;
    let convex = |kernel: &KernelKind| {
        let lacks = kernel.spec().lacks();
        !lacks.contains(&Law::RowsSumToOne) && !lacks.contains(&Law::NonNegative)
    };
    let kernels: Vec<KernelKind> = KernelKind::examples().into_iter().filter(convex).collect();
    assert!(kernels.len() * 2 > KERNELS.len(), "{kernels:?}");
    let inputs = numbers(3, ROWS * D_MODEL);
    let x = Tensor::<3>::from_data(TensorData::new(inputs.clone(), [1, ROWS, D_MODEL]), &Device::flex());
    let rows: Vec<Vec<f64>> = inputs.chunks(D_MODEL).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    let directions: Vec<f32> = numbers(4, 40 * D_MODEL);
    for kernel in kernels {
        let config = TransformerConfig { kernel: kernel.clone(), position: PositionKind::None, ..config(1) };
        let weights = arrays(&built(&config, ROWS));
        let mut touched = 0;
        for head in 0..HEADS {
            let is_own = |at: usize| at % (HEADS * D_HEAD) / D_HEAD == head;
            let mut alone: BTreeMap<String, Array> = weights.clone();
            let output = alone.get_mut("blocks.0.attention.output.weight").unwrap();
            output.values.iter_mut().enumerate().filter(|(at, _)| !is_own(*at)).for_each(|(_, w)| *w = 0.0);
            let projected: Vec<Vec<f64>> = rows
                .iter()
                .map(|row| {
                    times(
                        &alone["blocks.0.attention.output.weight"],
                        &shared(&times(&weights["blocks.0.attention.value.weight"], row)),
                    )
                })
                .collect();
            let Model::Transformer(model) = load(built(&config, ROWS), alone.clone()).unwrap().0 else { panic!() };
            let update = model.blocks[0].attention.forward(x.clone(), x.clone(), &headway_model::Mask::Causal);
            for (i, update) in to_host(update).chunks(D_MODEL).enumerate() {
                for direction in directions.chunks(D_MODEL) {
                    let along = |row: &mut dyn Iterator<Item = f64>| -> f64 {
                        row.zip(direction).map(|(x, u)| x * f64::from(*u)).sum()
                    };
                    let got = along(&mut update.iter().map(|x| f64::from(*x)));
                    let furthest =
                        projected[..=i].iter().map(|row| along(&mut row.iter().copied())).fold(f64::MIN, f64::max);
                    assert!(got <= furthest + 1e-5, "{kernel:?}, head {head}, token {i}: {got} beyond {furthest}");
                    touched += usize::from(i == 0 && got > furthest - 1e-5);
                }
            }
        }
        // The first token sees itself alone, so that its update is the one projected value.
        assert_eq!(touched, HEADS * 40, "{kernel:?}");
    }
}

/// N(0, 0.02²), and less by √(2 `n_layers`) where a map adds to the hidden state: variances within five standard errors, biases zero.
#[test]
fn weights_begin_as_those_of_gpt2() {
    let config = TransformerConfig {
        d_model: 64,
        n_layers: 2,
        initialization: Initialization::Gpt2,
        state_mixer: headway_model::StateMixer::Ffn { d_ffn: 128, activation: headway_model::Activation::Swiglu },
        ..TransformerConfig::default()
    };
    let weights = arrays(&built(&config, 7));
    let is_bias = |name: &str| name.rsplit('.').next() == Some("bias");
    for (name, Array { values, .. }) in &weights {
        let n = values.len() as f64;
        if is_bias(name) {
            assert!(values.iter().all(|bias| *bias == 0.0), "{name}");
        } else if !name.contains("norm") && !name.contains("position") {
            let added = name.contains("attention.output") || name.contains("ffn.contract");
            let wanted = if added { 0.01 } else { 0.02_f64 };
            let variance = values.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / n;
            assert!((variance / wanted.powi(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{name}: {variance}");
        }
    }
    assert!(weights.keys().any(|name| name == "blocks.1.ffn.contract.bias"));
    let without = arrays(&built(&TransformerConfig { bias: false, ..config }, 7));
    let kept: Vec<&String> = without.keys().filter(|name| is_bias(name)).collect();
    assert!(!kept.is_empty() && kept.iter().all(|name| name.contains("norm")), "{kept:?}");
}
