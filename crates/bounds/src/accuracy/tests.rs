#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::float_cmp, reason = "numbers of words are whole")]

use std::collections::HashMap;

use burn::tensor::Device;
use headway_model::{InputDims, IoDims, ModelConfig, plain::Parameters, weights};
use headway_plain::{
    function::{Exit, Function},
    network::{Affine, Head, InputMap, Layer, LayerNorm, Linear, Matrix, Network, Row},
};
use headway_tasks::{SampleRng, Seed, Stream};
use rand::RngExt;
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

/// Every word with whether a function answers it rightly, by trying each.
fn tried(function: &Function) -> Vec<(Vec<usize>, bool)> {
    let (vocab, k) = (function.d_in, function.seq_len);
    let all = power(vocab, k) as usize;
    let of = |at: usize| {
        let word = word(at, vocab, k);
        let x: Vec<f64> = word.iter().flat_map(|t| (0..vocab).map(move |i| f64::from(u8::from(i == *t)))).collect();
        let answers = function.forward(&x);
        let logits = &answers[(k - 1) * vocab..];
        let largest = *word.iter().max().unwrap();
        let is_right = (0..vocab).all(|token| token == largest || logits[token] < logits[largest]);
        (word, is_right)
    };
    (0..all).map(of).collect()
}

/// Number of words that a function answers rightly.
fn right(function: &Function) -> f64 {
    tried(function).iter().filter(|(_, is_right)| *is_right).count() as f64
}

/// Number of words of the classes that are right as a whole, with the same last token and the same places of the largest, and the same
/// where a class counts up to its first wrong other token.
fn right_in_classes(words: &[(Vec<usize>, bool)]) -> [f64; 2] {
    // By last token, places of the largest, and the largest: the largest other token of each word, and whether the word is right.
    type Words = Vec<(usize, bool)>;
    let mut classes: HashMap<(usize, Vec<bool>, usize), Words> = HashMap::new();
    for (word, is_right) in words {
        let (m, before) = (*word.iter().max().unwrap(), &word[..word.len() - 1]);
        let places = before.iter().map(|token| *token == m).collect();
        let other = before.iter().copied().filter(|token| *token < m).max().unwrap_or(0);
        classes.entry((word[word.len() - 1], places, m)).or_default().push((other, *is_right));
    }
    let of = |class: &Vec<(usize, bool)>| {
        let first_wrong = class.iter().filter(|(_, is_right)| !is_right).map(|(other, _)| *other).min();
        let below = first_wrong.unwrap_or(usize::MAX);
        let bounded = class.iter().filter(|(other, _)| *other < below).count() as f64;
        [if first_wrong.is_none() { class.len() as f64 } else { 0.0 }, bounded]
    };
    classes.values().map(of).fold([0.0; 2], |sum, class| [sum[0] + class[0], sum[1] + class[1]])
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

/// [`names_the_largest`] with a drawn sharpness and all its numbers off by a drawn size, with as many heads, a skip and a final norm if asked.
fn near_the_largest([vocab, k, heads]: [usize; 3], skip: bool, norm: Option<bool>, rng: &mut SampleRng) -> Function {
    let sharpness = 2.0_f64.powf(2.5 * rng.random::<f64>() - 1.0);
    let size = 0.2 * rng.random::<f64>();
    let mut noise = move || size * (2.0 * rng.random::<f64>() - 1.0);
    let mut function = names_the_largest(vocab, k, sharpness);
    let layer = &mut function.network.layers[0];
    layer.heads = vec![layer.heads[0].clone(); heads];
    layer.skip = skip;
    for Head { query, key, value, output, .. } in &mut layer.heads {
        // What the last token adds by itself does not decide.
        *output *= if skip { 4.0 } else { 1.0 };
        for map in [query, key, value] {
            map.weight.iter_mut().chain(map.bias.iter_mut()).for_each(|w| *w += noise());
        }
        output.iter_mut().for_each(|w| *w += noise());
    }
    let enter = function.enter.as_mut().unwrap();
    enter.constant.iter_mut().chain(layer.bias.iter_mut()).for_each(|w| *w += noise());
    // The last token adds what no other place does.
    enter.constant.row_mut(k - 1).iter_mut().for_each(|w| *w *= 8.0);
    let Exit::Rows { norm: last, map, .. } = &mut function.exit else { panic!("{:?}", function.exit) };
    map.weight.iter_mut().for_each(|w| *w += noise());
    // What no norm divides is exact without one, else bounded: two heads are as well.
    let mut bias = || if heads == 1 && norm.is_some() { 0.0 } else { noise() };
    map.bias.iter_mut().for_each(|b| *b += bias());
    if let Some(centres) = norm {
        let bias = Row::from_fn(vocab + 2, |_, _| bias());
        let gain = Row::from_fn(vocab + 2, |_, _| 1.0 + noise());
        *last = Some(LayerNorm { centres, gain, bias, epsilon: 1e-5 });
    }
    function
}

/// Networks that are right for most words: what classes prove of one head is exactly the words of those that are right as a whole, since the
/// worst mixture is found exactly and a norm divides all leads by one length; of two heads, which are added, it is no more.
#[test]
fn what_is_proved_near_the_truth_is_the_truth_of_classes() {
    let mut rng = Seed(3).rng(Stream::Init, 0);
    let [vocab, k] = [5, 4];
    let (mut all, mut proved, mut truths) = (0.0, [0.0; 3], 0.0);
    for index in 0..48 {
        let heads = 1 + index / 24;
        let norm = [None, Some(true), Some(false)][index % 3];
        let function = near_the_largest([vocab, k, heads], index % 2 == 1, norm, &mut rng);
        let words = tried(&function);
        let truth = words.iter().filter(|(_, is_right)| *is_right).count() as f64;
        let expected = right_in_classes(&words);
        let tables = Tables::of(&function).unwrap();
        let found = Strategy::ALL.map(|strategy| prove(&tables, strategy).words);
        let text = format!("{index}: {found:?}, {expected:?} of {truth}");
        if heads == 1 {
            assert_eq!(&found[1..], expected, "{text}");
        }
        assert!(found[0] <= found[1] && found[1] <= expected[0] && found[2] <= expected[1], "{text}");
        all += power(vocab, k);
        truths += truth;
        for (sum, found) in proved.iter_mut().zip(found) {
            *sum += found;
        }
    }
    // Else the bounds would say nothing here, or be compared with networks that are right everywhere.
    assert!(0.5 * all < truths && truths < 0.98 * all, "{truths} of {all} are right");
    assert!(proved[0] > 0.2 * truths && proved[1] > 0.5 * truths, "{proved:?} of {truths}");
}

/// Random networks of several heads, with norms, positions and skips or without, as they begin: no strategy counts a word that is wrong.
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
