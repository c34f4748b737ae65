//! Scores as tables show them, and sentences about what is wrong with them.

use std::collections::BTreeMap;

use headway_draw::number;

use headway_study::results::{Group, counted_seeds};
use headway_trainer::provenance::{Doubt, NETWORK, Row};

/// Text that replaces scores of a network that are not finite.
const NOT_FINITE: &str = "not finite";
/// Largest number of scores that a remark names.
const MOST_NAMED: usize = 3;

/// A score as a table shows it, followed by the sign of what is wrong with it; `None` if there is no such score.
pub fn shown(row: &Row, metric: &str) -> Option<String> {
    match row.metrics.get(metric) {
        Some(value) => {
            let sign = row.doubts.get(metric).map(|doubt| format!(" {}", doubt.sign())).unwrap_or_default();
            Some(number(*value) + &sign)
        }
        None => (row.name == NETWORK && !row.is_scored()).then(|| NOT_FINITE.to_owned()),
    }
}

/// One sentence for each sign that occurs in [`shown`].
pub fn remarks(row: &Row) -> Vec<String> {
    let mut remarks: BTreeMap<char, (Doubt, Vec<String>)> = BTreeMap::new();
    for (name, doubt) in &row.doubts {
        let score = row.metrics.get(name).map(|value| number(*value)).unwrap_or_default();
        let (_, scores) = remarks.entry(doubt.sign()).or_insert((*doubt, Vec::new()));
        scores.push(format!("{name} {score} ({})", against(*doubt)));
    }
    let sentence = |(sign, (doubt, scores)): (char, (Doubt, Vec<String>))| {
        let more = scores.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = scores[..scores.len().min(MOST_NAMED)].join(", ");
        format!("{sign} {named}{more}: {}", meaning(doubt))
    };
    remarks.into_iter().map(sentence).collect()
}

/// Remarks about the scores of a group's network: that it diverged, and what is wrong with the finite ones.
pub(super) fn of_group(group: &Group) -> Vec<String> {
    let name = &group.name;
    let diverged = group.diverged();
    let failed = (!diverged.is_empty()).then(|| {
        let seeds = counted_seeds(&diverged);
        format!("{name} diverged with {seeds} of {}: its mean is not formed.", group.asked())
    });
    let mut doubts: BTreeMap<Option<char>, (String, Vec<u64>)> = BTreeMap::new();
    for (seed, row) in group.rows(Some(NETWORK)) {
        for remark in remarks(row) {
            doubts.entry(remark.chars().next()).or_insert((remark, Vec::new())).1.push(seed);
        }
    }
    let doubts = doubts.into_values().map(|(remark, seeds)| {
        let first = if seeds.len() > 1 { " (numbers of the first)" } else { "" };
        format!("{name}, {}{first}: {remark}.", counted_seeds(&seeds))
    });
    failed.into_iter().chain(doubts).collect()
}

/// Meaning of the sign.
fn meaning(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::BeyondBest(_) => {
            "better by more than four standard errors than the best possible: the answer leaks into what the network sees"
        }
        Doubt::Absurd(_) => {
            "more than ten times the loss of a predictor that always says the mean: nothing was learned"
        }
    }
}

/// The score that it is compared with, in words.
fn against(doubt: Doubt) -> String {
    match doubt {
        Doubt::BeyondBest(best) => format!("best possible {}", number(best)),
        Doubt::Absurd(mean) => format!("the mean's {}", number(mean)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_doubted_carries_its_sign_and_a_sentence() {
        let scores = |value| BTreeMap::from([("test/loss".to_owned(), value), ("test/mse".to_owned(), value)]);
        let doubted =
            |doubt| Row { doubts: BTreeMap::from([("test/mse".to_owned(), doubt)]), ..Row::new(NETWORK, scores(0.5)) };
        let (leaking, absurd) = (doubted(Doubt::BeyondBest(2.0)), doubted(Doubt::Absurd(0.25)));
        assert_eq!(shown(&leaking, "test/mse").as_deref(), Some("0.5000 †"));
        assert_eq!(shown(&leaking, "test/loss").as_deref(), Some("0.5000"));
        assert_eq!(shown(&absurd, "test/mse").as_deref(), Some("0.5000 ‡"));
        for (row, against) in [(leaking, "(best possible 2.000)"), (absurd, "(the mean's 0.2500)")] {
            let remarks = remarks(&row);
            assert!(remarks.len() == 1 && remarks[0].contains(against), "{remarks:?}");
        }
        assert_eq!(shown(&Row::new(NETWORK, BTreeMap::new()), "test/mse").as_deref(), Some(NOT_FINITE));
        assert_eq!(shown(&Row::new("mean", BTreeMap::new()), "test/mse"), None);
    }
}
