//! What holds for every kernel of the list: a new row is tested here without further work. And kernels by hand.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{IoDims, Kernel, KernelKind, Mask, Model, ModelConfig, PaperOneLayerConfig, weights::to_host};
use headway_testkit::{assert_close, devices, laws};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

macro_rules! hold {
    ($($law:ident,)+) => {
        $(#[test]
        fn $law() {
            KernelKind::examples().iter().for_each(laws::kernel::$law);
        })+
    };
}

hold! {
    mixing_is_the_pattern_times_the_values,
    rows_of_a_pattern_are_probability_vectors,
    the_order_of_keys_and_their_values_does_not_matter,
    the_order_of_queries_is_the_order_of_outputs,
    hidden_keys_have_no_influence,
    hidden_keys_get_no_gradient,
    causal_attention_ignores_the_future_and_sees_the_rest,
    scores_of_size_ten_thousand_stay_finite,
    directional_derivatives_are_central_differences,
    every_parameter_of_attention_receives_its_gradient,
    attention_is_its_formula,
    attention_in_half_precision,
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Scores 0 and ln 2 give weights 1 : 2, equal scores equal weights, a score 200 above the others takes all.
#[test]
fn softmax_by_hand() {
    let ln2 = std::f32::consts::LN_2;
    let kinds = [KernelKind::Softmax, KernelKind::Naive];
    for (test_device, kind) in devices().into_iter().flat_map(|device| kinds.clone().map(|kind| (device.clone(), kind)))
    {
        let device = &test_device.device;
        let kernel = kind.init(4, &mut ChaCha8Rng::seed_from_u64(23), device);
        // sqrt(d_head) = 2, so that q · k = 2 s gives the score s.
        let q = tensor(&[0., 0., 0., 0., 2. * ln2, 0., 0., 0., 0., 400., 0., 0.], [1, 1, 3, 4], device);
        let k = tensor(&[1., 0., 5., 0., 0., 1., 0., 7.], [1, 1, 2, 4], device);
        let v = tensor(&[3., 6., 9., -12., 0., 12., 3., 30.], [1, 1, 2, 4], device);
        let mixed = to_host(kernel.mix(q.clone(), k.clone(), v.clone(), &Mask::Full.into()));
        let want = [1.5, 9., 6., 9., 2., 8., 7., 2., 0., 12., 3., 30.];
        assert_close(test_device.name, &mixed, &want, 1e-6);
        // The first query may not see the second key, the second nothing, the last not the first.
        let hidden = TensorData::new(vec![false, true, true, true, true, false], [3, 2]);
        let mixed = to_host(kernel.mix(q, k, v, &Mask::Hidden(Tensor::from_data(hidden, device)).into()));
        let want = [3., 6., 9., -12., 0., 0., 0., 0., 0., 12., 3., 30.];
        assert_close(test_device.name, &mixed, &want, 1e-6);
    }
}

#[test]
fn masks_by_hand() {
    for test_device in devices() {
        let causal = |q_len, k_len| {
            let hidden = Mask::Causal.hidden(q_len, k_len, &test_device.device).unwrap();
            assert_eq!(hidden.dims(), [q_len, k_len]);
            hidden.int().try_into_vec_as::<i32>().unwrap()
        };
        assert_eq!(causal(3, 3), [0, 1, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(causal(2, 3), [0, 0, 1, 0, 0, 0]);
        assert!(Mask::Full.hidden(2, 3, &test_device.device).is_none());
    }
}

/// An attention layer has the parameters that its documentation lists.
#[test]
fn attention_has_four_biased_projections() {
    let d = 15;
    let config = PaperOneLayerConfig { d_model: d, n_heads: 3, ..PaperOneLayerConfig::default() };
    let (dims, mut rng) = (IoDims::continuous(5, 13, 1), ChaCha8Rng::seed_from_u64(17));
    match ModelConfig::PaperOneLayer(config).init(&dims, &mut rng, &devices()[0].device).unwrap() {
        Model::PaperOneLayer(model) => assert_eq!(model.attention.num_params(), 4 * (d * d + d)),
        other => panic!("not the one-layer model: {other:?}"),
    }
}
