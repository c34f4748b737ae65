//! The page about a network's attention patterns.

use std::collections::BTreeSet;

use headway_draw::{Pattern, Patterns as Picture, number};
use headway_plain::attention::SCORES;
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use crate::error::Error;
use headway_inspect::{PatternLayer, PatternScores, Patterns, counted};

/// Name of the table of scores.
pub(super) const SCORES_NAME: &str = "scores";
/// Name of the table of roles.
pub(super) const ROLES_NAME: &str = "roles";
/// Name of the picture.
const PICTURE: &str = "patterns";

/// Largest number of weights in one picture: beyond it neighbours are drawn as one, since the page would be too large.
const MOST_DRAWN: usize = 500_000;

/// Largest number of heads in one picture; the scores of all others are in the table.
const MOST_MAPS: usize = 512;

/// The page: one map per layer and head, and the scores.
///
/// # Errors
/// [`Error::Pattern`] when the maps cannot be drawn.
pub fn page(patterns: &Patterns) -> Result<Page, Error> {
    let names: Vec<&str> = SCORES.iter().map(|score| score.name).collect();
    let of_scores = |scores: &PatternScores, name: &str| scores.scores.get(name).copied();
    let table = self::table(&patterns.layers, &names, of_scores, number);
    let kinds: BTreeSet<&str> =
        patterns.layers.iter().flat_map(|layer| layer.uniform.roles.keys()).map(String::as_str).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let of_roles = |scores: &PatternScores, name: &str| scores.roles.get(name).copied();
    let findings = findings(&patterns.layers);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let (picture, side) = picture(patterns);
    let coarse = if side > 1 {
        format!(" Each point is the mean of {side} x {side} weights, whose first indices stand beside the maps.")
    } else {
        String::new()
    };
    let heads: usize = patterns.layers.iter().map(|layer| layer.heads.len()).sum();
    let cut =
        if heads > MOST_MAPS { format!(" Of {heads} heads the first {MOST_MAPS} are drawn.") } else { String::new() };
    let note = format!(
        "{}, a map per layer and head, queries downwards and keys to the right, each with a scale of its own.{coarse}{cut}",
        of_what(patterns)
    );
    builder.figure(PICTURE, "Attention patterns", note, picture.to_svg()?);
    let note = "Means over queries and sequences. Rows named uniform say what each score would be if every query attended alike to all keys \
                that it sees.";
    builder.table("Scores of every head", note, table.clone());
    if !kinds.is_empty() {
        let note = "Mass from positions of one role to all other positions of another that they see, to themselves, and to the position \
                    before; means over queries that see some.";
        builder.table("From role to role", note, self::table(&patterns.layers, &kinds, of_roles, number));
    }
    let formulas = SCORES.iter().map(|score| vec![Some(score.name.to_owned()), Some(score.formula.to_owned())]);
    let header = ["score", "mean over queries i of"].map(str::to_owned).into();
    let note = "p_ij is the weight of key j for query i; each row of p sums to 1.";
    builder.table("What the scores are", note, Table { header, rows: formulas.collect() });
    let mut tables = vec![(SCORES_NAME, self::table(&patterns.layers, &names, of_scores, exact))];
    if !kinds.is_empty() {
        tables.push((ROLES_NAME, self::table(&patterns.layers, &kinds, of_roles, exact)));
    }
    Ok(builder.page(
        "Attention patterns",
        format!("{}; {}.", patterns.subject.sentence(), lower(&of_what(patterns))),
        table,
        findings,
        json!(patterns),
        tables,
    ))
}

fn of_what(patterns: &Patterns) -> String {
    match patterns.sequence {
        Some(sequence) => format!("Test sequence {sequence}"),
        None => format!("The mean over {}", counted(patterns.sequences, "test sequence")),
    }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// One row per head, and one per layer for uniform attention; columns without any value are left out.
fn table(
    layers: &[PatternLayer],
    names: &[&str],
    of: impl Fn(&PatternScores, &str) -> Option<f64>,
    write: Write,
) -> Table {
    let is_known =
        |name: &&&str| layers.iter().any(|layer| layer.heads.iter().any(|head| of(&head.scores, name).is_some()));
    let names: Vec<&str> = names.iter().filter(is_known).copied().collect();
    let row = |layer: usize, head: String, scores: &PatternScores| {
        let cells = names.iter().map(|name| of(scores, name).map(write));
        [Some(layer.to_string()), Some(head)].into_iter().chain(cells).collect()
    };
    let rows = layers.iter().enumerate().flat_map(|(number, layer)| {
        let heads = layer.heads.iter().enumerate().map(|(head, one)| row(number, head.to_string(), &one.scores));
        heads.chain([row(number, "uniform".to_owned(), &layer.uniform)]).collect::<Vec<_>>()
    });
    let header = ["layer", "head"].into_iter().chain(names.iter().copied()).map(str::to_owned).collect();
    Table { header, rows: rows.collect() }
}

/// The maps, and how many neighbours along each axis are drawn as one.
fn picture(patterns: &Patterns) -> (Picture, usize) {
    let weights: usize = patterns.layers.iter().map(|layer| layer.heads.len() * layer.q_len * layer.k_len).sum();
    let side = (weights.div_ceil(MOST_DRAWN) as f64).sqrt().ceil() as usize;
    let map = |layer: &PatternLayer, mean: &[f64]| {
        let weights = mean.iter().map(|weight| *weight as f32).collect();
        Pattern { q_len: layer.q_len, k_len: layer.k_len, weights }.pooled(side)
    };
    let layers = patterns.layers.iter();
    let mut left = MOST_MAPS;
    let layers = layers.map(|layer| {
        let heads: Vec<Pattern> = layer.heads.iter().take(left).map(|head| map(layer, &head.mean)).collect();
        left -= heads.len();
        heads
    });
    let layers = layers.collect();
    let longest = |of: fn(&PatternLayer) -> usize| patterns.layers.iter().map(of).max().unwrap_or(0);
    let labels = |length: usize| (0..length).step_by(side).map(|first| first.to_string()).collect();
    let (query_labels, key_labels) = if side > 1 {
        (labels(longest(|layer| layer.q_len)), labels(longest(|layer| layer.k_len)))
    } else {
        // Learned keys stand before those of the tokens.
        let has_tokens_alone = patterns.layers.iter().all(|layer| layer.learned_keys == 0);
        let tokens = patterns.tokens.clone().unwrap_or_default();
        (tokens.clone(), if has_tokens_alone { tokens } else { Vec::new() })
    };
    (Picture { title: "Attention patterns".to_owned(), layers, query_labels, key_labels }, side)
}

/// The most focused head, and for each kind of attention mass the head that exceeds uniform attention most.
fn findings(layers: &[PatternLayer]) -> Vec<String> {
    let mut findings = Vec::new();
    let heads = || {
        layers.iter().enumerate().flat_map(|(number, layer)| {
            layer.heads.iter().enumerate().map(move |(head, one)| (number, head, &one.scores, &layer.uniform))
        })
    };
    let focus = heads().filter_map(|(layer, head, scores, _)| Some((layer, head, *scores.scores.get(FOCUS)?)));
    if let Some((layer, head, value)) = focus.min_by(|a, b| a.2.total_cmp(&b.2)) {
        findings.push(format!(
            "The most focused head is head {head} of layer {layer}: its entropy is {} of that of uniform attention.",
            number(value)
        ));
    }
    let masses = SCORES.iter().filter(|score| score.is_mass).map(|score| score.name.to_owned());
    let roles: BTreeSet<String> = layers.iter().flat_map(|layer| layer.uniform.roles.keys().cloned()).collect();
    for name in masses.chain(roles) {
        let of = |scores: &PatternScores| scores.scores.get(&name).or_else(|| scores.roles.get(&name)).copied();
        let excess = heads().filter_map(|(layer, head, scores, uniform)| {
            let (mass, chance) = (of(scores)?, of(uniform)?);
            Some((layer, head, mass, chance))
        });
        let most = excess.max_by(|a, b| (a.2 - a.3).total_cmp(&(b.2 - b.3)));
        if let Some((layer, head, mass, chance)) = most.filter(|(_, _, mass, chance)| *mass > NOTABLE * chance) {
            findings.push(format!(
                "{name}: most in head {head} of layer {layer}, {}, where uniform attention has {}.",
                number(mass),
                number(chance)
            ));
        }
    }
    findings
}

/// A mass is mentioned if it is at least this many times that of uniform attention.
const NOTABLE: f64 = 1.5;

/// Name of the score that measures how focused a head is.
const FOCUS: &str = "relative entropy";
