#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::float_cmp, reason = "numbers of words are whole")]

use burn::tensor::Device;
use headway_model::{InputDims, IoDims, ModelConfig, plain::Parameters, weights};
use headway_plain::{
    function::{Exit, Function},
    network::{Affine, Head, InputMap, Layer, Linear, Matrix, Network, Row},
};
use headway_tasks::{Seed, Stream};
use serde_json::json;

use super::{Strategy, Tables, power, prove, try_all, word};

/// A network whose attention goes to large tokens, and which names what it attends to: with `sharpness` β the largest of k tokens has e^β
/// times the weight of any other.
fn names_the_largest(vocab: usize, k: usize, sharpness: f64) -> Function {
    // State: the token as a single 1, its number, and 1.
    let width = vocab + 2;
    let mut embedding = Matrix::identity(vocab, width);
    for token in 0..vocab {
        embedding[(token, vocab)] = token as f64;
        embedding[(token, vocab + 1)] = 1.0;
    }
    let single = |row: usize| Affine::linear(Matrix::from_fn(width, 1, |i, _| f64::from(u8::from(i == row))));
    let value = Matrix::from_fn(width, vocab, |i, j| f64::from(u8::from(i == j)));
    let head = Head {
        query: single(vocab + 1),
        key: single(vocab),
        value: Affine::linear(value),
        output: Matrix::identity(vocab, width),
        scale: sharpness,
    };
    let layer =
        Layer { map: None, norm: None, heads: vec![head], bias: Row::zeros(width), feed_forward: None, skip: false };
    Function {
        seq_len: k,
        d_in: vocab,
        d_out: vocab,
        enter: Some(InputMap {
            linear: Linear::TokenWise(embedding),
            constant: Matrix::zeros(k, width),
            queries: k,
            keys: k,
        }),
        network: Network { layers: vec![layer], causal: true },
        exit: Exit::Rows { norm: None, pooled: false, map: Affine::linear(Matrix::identity(width, vocab)) },
    }
}

/// Number of words that a function answers rightly, by trying each.
fn right(function: &Function) -> f64 {
    let (vocab, k) = (function.d_in, function.seq_len);
    let all = power(vocab, k) as usize;
    let is_right = |at: &usize| {
        let word = word(*at, vocab, k);
        let x: Vec<f64> = word.iter().flat_map(|t| (0..vocab).map(move |i| f64::from(u8::from(i == *t)))).collect();
        let answers = function.forward(&x);
        let logits = &answers[(k - 1) * vocab..];
        let largest = *word.iter().max().unwrap();
        (0..vocab).all(|token| token == largest || logits[token] < logits[largest])
    };
    (0..all).filter(is_right).count() as f64
}

#[test]
fn a_network_that_is_right_is_proved_and_one_that_is_broken_is_not() {
    let [vocab, k] = [6, 3];
    // Two tokens that are one less than the largest have less weight together: e^β > 2.
    let sharp = names_the_largest(vocab, k, 1.5);
    assert_eq!(right(&sharp), power(vocab, k));
    for strategy in Strategy::ALL {
        let proved = prove(&Tables::of(&sharp).unwrap(), strategy);
        // Ranges know that the largest has more weight than all others together.
        assert_eq!(proved.words, power(vocab, k), "{strategy:?}");
        assert!(proved.accuracy() >= 1.0 && proved.operations > 0.0, "{proved:?}");
    }
    // With e^β < 2 two equal tokens below the largest win over it, and these words alone are wrong.
    let blunt = names_the_largest(vocab, k, 0.5);
    let truth = right(&blunt);
    assert!(truth < power(vocab, k));
    let [ranges, mixtures, bounded] = Strategy::ALL.map(|strategy| prove(&Tables::of(&blunt).unwrap(), strategy).words);
    assert!(ranges <= mixtures && mixtures < bounded && bounded <= truth, "{ranges} {mixtures} {bounded} {truth}");
    // One token that is named wrongly: no word in which it is the largest counts.
    let mut broken = sharp;
    let Exit::Rows { map, .. } = &mut broken.exit else { panic!("{:?}", broken.exit) };
    map.weight.swap_columns(3, 4);
    let truth = right(&broken);
    let lost = power(5, k) - power(3, k);
    assert_eq!(truth, power(vocab, k) - lost);
    for strategy in Strategy::ALL {
        assert_eq!(prove(&Tables::of(&broken).unwrap(), strategy).words, truth, "{strategy:?}");
    }
}

/// Random networks of several heads, with norms, positions and skips or without: no strategy counts a word that is wrong.
#[test]
fn no_more_is_proved_than_is_true() {
    let [vocab, k] = [4, 3];
    let dims = IoDims { seq_len: k, input: InputDims::Tokens { vocab }, d_out: vocab };
    let device = Device::flex();
    let (mut some, mut most) = (0.0, 0.0);
    for (index, more) in [
        json!({ "norm": "none" }),
        json!({ "norm": "pre" }),
        json!({ "norm": "pre", "norm_kind": "rms", "position": "none" }),
        json!({ "norm": "none", "tie_embedding": true }),
    ]
    .into_iter()
    .enumerate()
    {
        let mut sizes = json!({ "d_model": 12, "n_layers": 1, "n_heads": 2, "causal": true, "state_mixer": "none" });
        sizes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = sizes.to_string();
        let config: ModelConfig = serde_json::from_value(json!({ "transformer": sizes })).unwrap();
        for seed in 0..6 {
            let model = config.init(&dims, &mut Seed(seed).rng(Stream::Init, index as u64), &device).unwrap();
            let mut function =
                config.family().plain_function(&Parameters::from(weights::arrays(&model)), &dims).unwrap();
            // As they begin, networks answer at random; these see their own largest token better than others, so that some words are right.
            let truth = try_all(&model, &device, [vocab, k], 1.0, |_| {});
            assert_eq!(truth.words, right(&function), "{text}");
            lean(&mut function);
            let truth = right(&function);
            let tables = Tables::of(&function).unwrap();
            let found = Strategy::ALL.map(|strategy| prove(&tables, strategy).words);
            assert!(found.iter().all(|words| *words <= truth), "{text}: {found:?} of {truth}");
            assert!(found[1] <= found[2], "{found:?}");
            some += f64::from(u8::from(found[2] > 0.0));
            most += f64::from(u8::from(found[2] > 0.5 * truth));
        }
    }
    // Else the bounds would say nothing here.
    assert!(some >= 12.0 && most >= 4.0, "{some} of 24 networks have words that are proved, {most} half of them");
}

/// Lets the head name large tokens more readily.
fn lean(function: &mut Function) {
    let Exit::Rows { map, .. } = &mut function.exit else { panic!("{:?}", function.exit) };
    for (class, bias) in map.bias.iter_mut().enumerate() {
        *bias += 0.5 * class as f64;
    }
}

#[test]
fn other_networks_are_refused_with_the_reason() {
    let mut function = names_the_largest(4, 2, 1.0);
    function.network.layers.push(function.network.layers[0].clone());
    let refused = Tables::of(&function).unwrap_err().to_string();
    assert!(refused.ends_with("this network has another number of layers"), "{refused}");
    function.network.layers.clear();
    assert!(Tables::of(&function).is_err());
}
