//! What holds for every position scheme of the list: a new row is tested here without further work. And schemes by hand.

use burn::tensor::{Device, Tensor};
use headway_model::{
    IoDims, KernelKind, Model, ModelConfig, PositionKind, RopeConfig, Scheme, Transformer, TransformerConfig,
    weights::to_host,
};
use headway_testkit::{assert_close, devices, laws};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

macro_rules! hold {
    ($($law:ident,)+) => {
        $(#[test]
        fn $law() {
            PositionKind::examples().iter().for_each(laws::position::$law);
        })+
    };
}

hold! {
    a_scheme_adds_the_same_rows_to_every_sequence,
    a_shorter_sequence_gets_the_first_rows_and_a_longer_one_is_refused,
    rows_of_a_table_differ,
    parameters_are_those_that_it_counts_and_are_trained,
    a_trained_model_can_be_evaluated_without_gradients,
    a_scheme_acts_by_the_hands_that_it_names,
    a_scheme_without_a_table_takes_longer_sequences,
}

const SEQ_LEN: usize = 7;
const D_IN: usize = 3;
/// Odd, so that a scheme based on pairs of channels has one channel left over.
const D_MODEL: usize = 5;
const HEADS: usize = 3;
const D_HEAD: usize = 4;

fn transformer(position: PositionKind, device: &Device) -> Transformer {
    let config = TransformerConfig {
        d_model: D_MODEL,
        n_heads: HEADS,
        d_head: Some(D_HEAD),
        causal: false,
        position,
        ..TransformerConfig::default()
    };
    let dims = IoDims::continuous(SEQ_LEN, D_IN, 2);
    match ModelConfig::Transformer(config).init(&dims, &mut ChaCha8Rng::seed_from_u64(5), device).unwrap() {
        Model::Transformer(model) => model,
        other => panic!("not a transformer: {other:?}"),
    }
}

#[test]
fn sinusoids_by_hand() {
    for on in devices() {
        let model = transformer(PositionKind::Sinusoidal, &on.device);
        let table = to_host(model.position.forward(Tensor::zeros([1, SEQ_LEN, D_MODEL], &on.device)));
        // Pairs of channels rotate by 1, 10000^(-2/5) and 10000^(-4/5) radians per position.
        let row = |p: f64| {
            let (slow, slower) = (p * 0.025_118_864_315_095_8, p * 0.000_630_957_344_480_193);
            [p.sin(), p.cos(), slow.sin(), slow.cos(), slower.sin()].map(|x| x as f32)
        };
        let want: Vec<f32> = (0..SEQ_LEN).flat_map(|p| row(p as f64)).collect();
        assert_close(on.name, &table, &want, 1e-6);
        assert_eq!(table[..D_MODEL], [0.0, 1.0, 0.0, 1.0, 0.0]);
    }
}

#[test]
fn slopes_by_hand() {
    for on in devices() {
        let slopes = |n_heads: usize| {
            let position = transformer(PositionKind::Alibi, &on.device).position;
            let bias = to_host(position.bias(n_heads, [3, 3], &on.device).unwrap());
            // Distances −2 … 2 of query and key.
            for head in bias.chunks_exact(5) {
                assert_eq!(*head, [2.0, 1.0, 0.0, 1.0, 2.0].map(|distance| distance * head[1]));
            }
            bias.chunks_exact(5).map(|head| -head[1]).collect::<Vec<f32>>()
        };
        assert_eq!(slopes(1), [1.0 / 256.0]);
        assert_eq!(slopes(2), [1.0 / 16.0, 1.0 / 256.0]);
        assert_eq!(slopes(3), [1.0 / 16.0, 1.0 / 256.0, 1.0 / 4.0]);
        assert_eq!(slopes(8), [1, 2, 3, 4, 5, 6, 7, 8].map(|h| 0.5_f32.powi(h)));
        let odd = [1.0, 3.0, 5.0, 7.0].map(|h: f64| (-h / 2.0).exp2() as f32);
        assert_eq!(slopes(12), [[1, 2, 3, 4, 5, 6, 7, 8].map(|h| 0.5_f32.powi(h)).as_slice(), &odd].concat());
    }
}

#[test]
fn what_a_scheme_cannot_do_is_refused() {
    let dims = IoDims::continuous(SEQ_LEN, D_IN, 2);
    let problems = |config: TransformerConfig| -> Vec<String> {
        ModelConfig::Transformer(config).validate(&dims).iter().map(ToString::to_string).collect()
    };
    let rope = |theta, d_head| TransformerConfig {
        n_heads: 2,
        d_head: Some(d_head),
        position: PositionKind::Rope(RopeConfig { theta }),
        ..TransformerConfig::default()
    };
    assert_eq!(problems(rope(10.0, 4)), Vec::<String>::new());
    assert_eq!(problems(rope(1.0, 4)), ["position: rope.theta must be a number above 1"]);
    assert_eq!(
        problems(rope(10.0, 3)),
        ["position: rope turns pairs of channels, and heads are 3 wide; set d_head to an even number"]
    );
    let favor = TransformerConfig {
        position: PositionKind::Alibi,
        kernel: KernelKind::Favor(headway_model::FavorConfig::default()),
        ..TransformerConfig::default()
    };
    assert_eq!(
        problems(favor),
        [
            "kernel: alibi adds a bias to the scores of attention, and favor sums keys before it meets a query, and has no scores; \
          use softmax"
        ]
    );
}
