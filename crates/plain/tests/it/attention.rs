//! Scores of patterns that can be worked out by hand.
#![allow(clippy::manual_midpoint, reason = "means are written as sums of what is met")]

use std::iter::repeat_n;

use headway_plain::attention::{Key, Layout, SCORES};

fn rows(keys: usize) -> Vec<Key> {
    (0..keys).map(|row| Key { row: Some(row), is_learned: false }).collect()
}

fn causal(length: usize) -> Layout {
    Layout { q_len: length, keys: rows(length), is_causal: true }
}

fn full(length: usize) -> Layout {
    Layout { is_causal: false, ..causal(length) }
}

/// The mean of a score; `None` if it is undefined at every query.
fn score(name: &str, layout: &Layout, pattern: &[f64], tokens: Option<&[u32]>) -> Option<f64> {
    let score = SCORES.iter().find(|score| score.name == name).unwrap();
    let (sum, count) = layout.total(pattern, tokens, &score.measure);
    (count > 0).then(|| sum / count as f64)
}

#[track_caller]
fn assert_near(found: Option<f64>, wanted: f64) {
    let found = found.unwrap();
    assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
}

/// Three queries under a causal mask.
const PATTERN: [f64; 9] = [1.0, 0.0, 0.0, 0.75, 0.25, 0.0, 0.5, 0.25, 0.25];

#[test]
fn a_causal_pattern_by_hand() {
    let layout = causal(3);
    let second = -(0.75 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    let third = 1.5 * 2.0_f64.ln();
    assert_near(score("entropy", &layout, &PATTERN, None), (second + third) / 3.0);
    // The first query sees only one key.
    assert_near(
        score("relative entropy", &layout, &PATTERN, None),
        (second / 2.0_f64.ln() + third / 3.0_f64.ln()) / 2.0,
    );
    assert_near(score("first key", &layout, &PATTERN, None), (0.75 + 0.5) / 2.0);
    assert_near(score("own", &layout, &PATTERN, None), (0.25 + 0.25) / 2.0);
    assert_near(score("previous", &layout, &PATTERN, None), (0.75 + 0.25) / 2.0);
    assert_near(score("distance", &layout, &PATTERN, None), (0.0 + 0.75 + 0.5 * 2.0 + 0.25) / 3.0);
    assert_eq!(score("learned keys", &layout, &PATTERN, None), None);
    assert_eq!(score("induction", &layout, &PATTERN, None), None);
}

#[test]
fn uniform_attention_spreads_over_what_is_seen() {
    let uniform = causal(3).uniform();
    assert_eq!(uniform, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
    assert_near(score("relative entropy", &causal(3), &uniform, None), 1.0);
    assert_near(score("entropy", &full(5), &full(5).uniform(), None), 5.0_f64.ln());
    // |i - j| over a square of five: a mean of 8/5.
    assert_near(score("distance", &full(5), &full(5).uniform(), None), 1.6);
    assert_eq!(score("first key", &causal(1), &[1.0], None), None);
}

#[test]
fn induction_is_what_stands_after_the_same_token() {
    let tokens = [7, 1, 7, 2, 7];
    let layout = causal(5);
    let mut pattern = layout.uniform();
    pattern[10..15].copy_from_slice(&[0.1, 0.6, 0.3, 0.0, 0.0]);
    pattern[20..25].copy_from_slice(&[0.1, 0.2, 0.3, 0.4, 0.0]);
    // The token at 2 occurred at 0, so its induction key is 1; that at 4 occurred at 0 and 2, so its keys are 1 and 3.
    // The others are new.
    assert_near(score("induction", &layout, &pattern, Some(&tokens)), (0.6 + 0.6) / 2.0);
    assert_near(score("induction", &layout, &layout.uniform(), Some(&tokens)), (1.0 / 3.0 + 2.0 / 5.0) / 2.0);
    assert_eq!(score("induction", &layout, &pattern, Some(&[1, 2, 3, 4, 5])), None);
    // If a token directly follows the same token, the key after the earlier one is the query itself.
    let pattern = [1.0, 0.0, 0.25, 0.75];
    assert_near(score("induction", &causal(2), &pattern, Some(&[3, 3])), 0.75);
    // Without a mask, keys after later occurrences do not count.
    let pattern = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.5];
    assert_near(score("induction", &full(3), &pattern, Some(&[4, 9, 4])), 0.5);
}

#[test]
fn keys_that_are_no_rows_come_in_front_and_have_no_distance() {
    let prefix = repeat_n(Key { row: None, is_learned: true }, 2);
    let layout = Layout { q_len: 2, keys: prefix.chain(rows(2)).collect(), is_causal: true };
    assert_eq!((layout.visible(0), layout.visible(1)), (3, 4));
    let pattern = [0.5, 0.25, 0.25, 0.0, 0.25, 0.25, 0.25, 0.25];
    assert_near(score("learned keys", &layout, &pattern, None), (0.75 + 0.5) / 2.0);
    assert_near(score("first key", &layout, &pattern, None), 0.25);
    assert_near(score("own", &layout, &pattern, None), 0.25);
    assert_near(score("previous", &layout, &pattern, None), 0.25);
    assert_near(score("distance", &layout, &pattern, None), (0.0 + 0.25 / 0.5) / 2.0);
}

#[test]
fn queries_that_ask_other_rows_have_no_place_of_their_own() {
    let keys = (2..5).map(|row| Key { row: Some(row), is_learned: row == 4 }).collect();
    let layout = Layout { q_len: 2, keys, is_causal: false };
    let pattern = [0.5, 0.25, 0.25, 0.0, 0.0, 1.0];
    assert_eq!((score("own", &layout, &pattern, None), score("previous", &layout, &pattern, None)), (None, None));
    assert_near(score("learned keys", &layout, &pattern, None), 0.625);
    assert_near(score("distance", &layout, &pattern, None), (0.5 * 2.0 + 0.25 * 3.0 + 0.25 * 4.0 + 3.0) / 2.0);
}
