//! Layers worked out by hand.

use super::*;

/// Rows: two tokens x_i of one number, z_i = (x_i, 1), and a third row (2, 1) that alone is attended beside token 2. All
/// scores are zero, so that both keys weigh one half: values 3·z gives 3·(x_2 + 2)/2, output doubles it and adds nothing.
#[test]
fn a_stack_by_hand() {
    let layer = StackLayer {
        map: StackMap::TokenWise,
        rows: 3,
        width: 2,
        queries: Some(2),
        keys: Some(2),
        heads: vec![Heads { count: 1, d_key: 1, d_value: 1 }],
        d_out: 1,
    };
    let layers = vec![layer.clone()];
    let dims = IoDims::continuous(2, 1, 1);
    let common = [
        ("layers.0.map.project.weight", array(&[2, 1], &[1.0, 0.0])),
        ("layers.0.map.position", array(&[3, 2], &[0.0, 1.0, 0.0, 1.0, 2.0, 1.0])),
        ("layers.0.heads.0.query.weight", array(&[1, 2], &[1.0, 0.0])),
        ("layers.0.heads.0.key.weight", array(&[1, 2], &[0.0, 0.0])),
        ("layers.0.heads.0.value.weight", array(&[1, 2], &[3.0, 0.0])),
        ("layers.0.heads.0.output.weight", array(&[1, 1], &[2.0])),
    ];
    for on in devices() {
        let run = |readout, parameters: &[(&str, Array)]| {
            let config = AttentionStackConfig { layers: layers.clone(), readout, ..AttentionStackConfig::default() };
            let model = with(build(&ModelConfig::AttentionStack(config), &dims, 1, &on.device), parameters);
            to_host(model.forward(Input::Continuous(vectors(&[10.0, 4.0], [1, 2, 1], &on.device))))
        };
        // 2 · 3 · (4 + 2) / 2 = 18 for either query.
        assert_close(on.name, &run(StackReadout::Rows, &common), &[18.0, 18.0], on.tolerance);
        // Y = W vec(H) + b with W = [[1, 2], [0, -1]].
        let affine = [("readout.project.weight", array(&[2, 2], &[1.0, 2.0, 0.0, -1.0])), {
            ("readout.project.bias", array(&[2], &[5.0, 6.0]))
        }];
        let parameters: Vec<_> = common.iter().cloned().chain(affine).collect();
        assert_close(on.name, &run(StackReadout::Affine, &parameters), &[59.0, -12.0], on.tolerance);
        // Scores (0 · 18, ln 3) weigh a quarter and three quarters: U = 4/4 + 3·8/4 = 7 in both rows.
        let softmax = [
            ("readout.softmax.scores.weight", array(&[2, 1], &[0.0, 0.0])),
            ("readout.softmax.scores.bias", array(&[2], &[0.0, 3.0_f32.ln()])),
            ("readout.softmax.values.weight", array(&[1, 2], &[4.0, 8.0])),
        ];
        let parameters: Vec<_> = parameters.into_iter().chain(softmax).collect();
        let output = run(StackReadout::Softmax { width: 2, d_value: 1 }, &parameters);
        assert_close(on.name, &output, &[26.0, -1.0], on.tolerance);
    }
}

/// A = x W + b, gains per position and channel, one interpolation token.
fn one_layer_by_hand(readout: Readout, device: &Device) -> Model {
    let config =
        PaperOneLayerConfig { d_model: 2, n_heads: 1, n_anchors: 1, readout, ..PaperOneLayerConfig::default() };
    let model = build(&ModelConfig::PaperOneLayer(config), &IoDims::continuous(2, 3, 1), 1, device);
    let square = |values: [f32; 4]| array(&[2, 2], &values);
    with(
        model,
        &[
            ("input_map.project.weight", array(&[2, 3], &[1., 0., 2., 0., 1., -1.])),
            ("input_map.project.bias", array(&[2], &[1., -2.])),
            ("input_map.modulation", array(&[2, 2], &[1., 2., 3., -1.])),
            ("input_map.anchors", array(&[1, 2], &[6., 0.])),
            // Every score is zero: the pattern is uniform over the two positions and the interpolation token.
            ("attention.query.weight", square([0.; 4])),
            ("attention.query.bias", array(&[2], &[0., 0.])),
            ("attention.key.weight", square([1., 2., 3., 4.])),
            ("attention.key.bias", array(&[2], &[5., 6.])),
            ("attention.value.weight", square([0., 3., 3., 0.])),
            ("attention.value.bias", array(&[2], &[1., 0.])),
            ("attention.output.weight", square([1., 1., 0., 2.])),
            ("attention.output.bias", array(&[2], &[0., -1.])),
        ],
    )
}

#[test]
fn input_map_and_one_layer_by_hand() {
    for on in devices() {
        let Model::PaperOneLayer(model) = one_layer_by_hand(Readout::Channels, &on.device) else { unreachable!() };
        // x W^T + b: [1 + 2·3 + 1, 2 − 3 − 2] = [8, −3] and [0 + 2 + 1, 4 − 1 − 2] = [3, 1]; times the gains.
        let x = vectors(&[1., 2., 3., 0., 4., 1.], [1, 2, 3], &on.device);
        let z = model.input_map.forward(x.clone());
        assert_eq!(z.dims(), [1, 3, 2]);
        assert_eq!(to_host(z), [8., -6., 9., -1., 6., 0.]);
        // Values 3 z_2 + 1, 3 z_1: [−17, 24], [−2, 27], [1, 18]; their mean [−6, 23]; output [17, 45] at each position.
        let trace = model.forward_traced(Input::Continuous(x.clone()));
        assert_close(on.name, &to_host(trace.layers[0].pattern.clone()), &[1.0 / 3.0; 9], 1e-6);
        assert_close(on.name, &to_host(trace.output), &[17., 45., 17., 45.], 1e-6);
        let batch = Tensor::cat(vec![x.clone(), x.clone().mul_scalar(0.0)], 0);
        assert_close(on.name, &to_host(model.forward(Input::Continuous(batch)))[..4], &[17., 45., 17., 45.], 1e-6);
        // softmax([17, 45]) is practically one-hot.
        let output = one_layer_by_hand(Readout::Softmax, &on.device).forward(Input::Continuous(x));
        assert_eq!(output.dims(), [1, 2, 1]);
        assert_close(on.name, &to_host(output), &[45., 45.], 1e-6);
    }
}

#[test]
fn anchors_start_evenly_spaced_and_gains_at_one() {
    let config = PaperOneLayerConfig { d_model: 2, n_heads: 1, n_anchors: 5, ..PaperOneLayerConfig::default() };
    let arrays = arrays(&build(&ModelConfig::PaperOneLayer(config), &IoDims::continuous(3, 1, 1), 1, &Device::flex()));
    assert_eq!(arrays["input_map.anchors"], array(&[5, 2], &[-1., -1., -0.5, -0.5, 0., 0., 0.5, 0.5, 1., 1.]));
    assert_eq!(arrays["input_map.modulation"], array(&[3, 2], &[1.; 6]));
}

/// A block whose attention sends [a, b] to the causal mean of [2a + 1, a − b].
fn block_by_hand(
    residual: bool,
    state_mixer: StateMixer,
    parameters: &[(&str, Array)],
    device: &Device,
) -> Transformer {
    let config = TransformerConfig {
        d_model: 2,
        n_layers: 1,
        n_heads: 2,
        causal: true,
        norm: Norm::None,
        residual,
        position: PositionKind::None,
        state_mixer,
        ..TransformerConfig::default()
    };
    let model = transformer(config, &IoDims::continuous(2, 2, 2), device);
    let zero = || array(&[2, 2], &[0.; 4]);
    let one = || array(&[2, 2], &[1., 0., 0., 1.]);
    let mut all = vec![
        ("embed.weight", one()),
        ("embed.bias", array(&[2], &[0., 0.])),
        ("blocks.0.attention.query.weight", zero()),
        ("blocks.0.attention.query.bias", array(&[2], &[0., 0.])),
        ("blocks.0.attention.key.weight", one()),
        ("blocks.0.attention.key.bias", array(&[2], &[0., 0.])),
        ("blocks.0.attention.value.weight", array(&[2, 2], &[2., 0., 1., -1.])),
        ("blocks.0.attention.value.bias", array(&[2], &[1., 0.])),
        ("blocks.0.attention.output.weight", one()),
        ("blocks.0.attention.output.bias", array(&[2], &[0., 0.])),
        ("head.weight", one()),
        ("head.bias", array(&[2], &[0., 0.])),
    ];
    all.extend(parameters.iter().cloned());
    with(model, &all)
}

#[test]
fn block_by_hand_with_and_without_residual() {
    for on in devices() {
        let run = |residual, state_mixer, parameters: &[(&str, Array)]| {
            let x = vectors(&[1., 2., 3., -4.], [1, 2, 2], &on.device);
            to_host(block_by_hand(residual, state_mixer, parameters, &on.device).forward(Input::Continuous(x)))
        };
        // Values [3, −1] and [7, 7]; causal means [3, −1] and [5, 3].
        assert_close(on.name, &run(false, StateMixer::None, &[]), &[3., -1., 5., 3.], 1e-6);
        assert_close(on.name, &run(true, StateMixer::None, &[]), &[4., 1., 8., -1.], 1e-6);
        // Feed-forward: hidden max(0, [a − b, −a, 1]), output [hidden_1 + 2 hidden_3, hidden_2 − 1].
        let ffn = StateMixer::Ffn { d_ffn: 3, activation: Activation::Relu };
        let parameters = [
            ("blocks.0.ffn.expand.weight", array(&[3, 2], &[1., -1., -1., 0., 0., 0.])),
            ("blocks.0.ffn.expand.bias", array(&[3], &[0., 0., 1.])),
            ("blocks.0.ffn.contract.weight", array(&[2, 3], &[1., 0., 2., 0., 1., 0.])),
            ("blocks.0.ffn.contract.bias", array(&[2], &[0., -1.])),
        ];
        // From [3, −1], [5, 3]: hidden [4, 0, 1], [2, 0, 1].
        assert_close(on.name, &run(false, ffn.clone(), &parameters), &[6., -1., 4., -1.], 1e-6);
        // From [4, 1], [8, −1]: hidden [3, 0, 1], [9, 0, 1], added to them.
        assert_close(on.name, &run(true, ffn, &parameters), &[9., 0., 19., -2.], 1e-6);
    }
}

#[test]
fn layer_norm_by_hand() {
    let config = TransformerConfig {
        d_model: 2,
        n_layers: 1,
        n_heads: 1,
        position: PositionKind::None,
        ..TransformerConfig::default()
    };
    for on in devices() {
        let model = transformer(config.clone(), &IoDims::continuous(2, 2, 2), &on.device);
        let parameters = [("weight", array(&[2], &[3., 5.])), ("bias", array(&[2], &[7., -1.]))];
        let norm = with(model.final_norm.unwrap(), &parameters);
        // [4, −4] and [1, 7] have mean 0 and 4, deviation 4 and 3; constant rows are divided by sqrt(0 + 1e-5).
        let x = vectors(&[4., -4., 1., 7., 2., 2.], [1, 3, 2], &on.device);
        assert_close(on.name, &to_host(norm.forward(x)), &[10., -6., 4., 4., 7., -1.], 1e-5);
        // The variance is biased and epsilon enters below the root: a deviation of 1e-3 shows both.
        let x = vectors(&[1e-3, -1e-3], [1, 1, 2], &on.device);
        let unit = 1e-3 / (1e-6_f32 + 1e-5).sqrt();
        assert_close(on.name, &to_host(norm.forward(x)), &[7. + 3. * unit, -1. - 5. * unit], 1e-5);
    }
}

#[test]
fn feed_forward_by_hand() {
    let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
    for on in devices() {
        let run = |activation, x: &[f32]| {
            let state_mixer = StateMixer::Ffn { d_ffn: 3, activation };
            let config =
                TransformerConfig { d_model: 2, n_layers: 1, n_heads: 1, state_mixer, ..TransformerConfig::default() };
            let ffn = transformer(config, &dims, &on.device).blocks.remove(0).ffn.unwrap();
            let ffn = with(
                ffn,
                &[
                    ("expand.weight", array(&[3, 2], &[1., 0., 0., 1., 2., -1.])),
                    ("expand.bias", array(&[3], &[0., -1., 1.])),
                    ("contract.weight", array(&[2, 3], &[1., 2., 0., 0., -1., 1.])),
                    ("contract.bias", array(&[2], &[10., 20.])),
                ],
            );
            to_host(ffn.forward(vectors(x, [1, 1, 2], &on.device)))
        };
        // [2, 4] -> hidden [2, 3, 1]; [−2, 3] -> hidden [−2, 2, −6].
        assert_close(on.name, &run(Activation::Relu, &[2., 4.]), &[18., 18.], 1e-6);
        assert_close(on.name, &run(Activation::Relu, &[-2., 3.]), &[14., 18.], 1e-6);
        // x Φ(x) at 2, 3, 1 and at −2, 2, −6, with Φ from tables.
        let gelu = [1.954_499_7, 2.995_950_3, 0.841_344_7];
        let want = [10. + gelu[0] + 2. * gelu[1], 20. - gelu[1] + gelu[2]];
        assert_close(on.name, &run(Activation::GeluErf, &[2., 4.]), &want, 1e-6);
        let gelu = [-0.045_500_3, 1.954_499_7, 0.0];
        let want = [10. + gelu[0] + 2. * gelu[1], 20. - gelu[1] + gelu[2]];
        assert_close(on.name, &run(Activation::GeluErf, &[-2., 3.]), &want, 1e-6);
        // The tanh formula at 2, 3, 1.
        let gelu = [1.954_597_7, 2.996_362_7, 0.841_191_9];
        let want = [10. + gelu[0] + 2. * gelu[1], 20. - gelu[1] + gelu[2]];
        assert_close(on.name, &run(Activation::GeluTanh, &[2., 4.]), &want, 1e-6);
    }
}
