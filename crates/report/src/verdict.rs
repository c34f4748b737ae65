//! Who wins, as a sentence: `ridge wins: test/loss 2.20 against 3.20 of the network, 3 seeds.`

use std::collections::BTreeMap;

use headway_draw::number;
use headway_inspect::counted;
use headway_study::results::{Difference, Estimate, Group};
use headway_tasks::baseline::BLIND;
use headway_trainer::{
    metric::larger_is_better,
    provenance::{self, NETWORK, Row},
};

/// The score that a verdict is about where nothing else was asked for.
pub(super) const LOSS: &str = "test/loss";

/// What can be said of the two best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One is better.
    Apart,
    /// They are as good as each other, within a noise floor.
    Tie,
    /// That cannot be told.
    Untold,
}

impl Outcome {
    /// By the interval of a paired difference; a single seed has none, and is taken as it is.
    pub(super) fn of(difference: Option<&Difference>) -> Self {
        match difference.map(|difference| &difference.estimate) {
            Some(Estimate { interval: Some([low, high]), .. }) if *low <= 0.0 && *high >= 0.0 => Self::Untold,
            Some(Estimate { mean, .. }) if *mean == 0.0 => Self::Untold,
            _ => Self::Apart,
        }
    }
}

/// Who has the best score of a run: its network, or the best of its classical predictors. `None` if only one of them has scores.
pub fn of_rows(rows: &[Row]) -> Option<String> {
    let network = rows.iter().find(|row| row.name == NETWORK)?;
    let classical = || rows.iter().filter(|row| row.name != NETWORK);
    let both = |metric: &&str| {
        network.metrics.contains_key(*metric) && classical().any(|row| row.metrics.contains_key(*metric))
    };
    let totals = provenance::totals(rows);
    let metric = std::iter::once(LOSS).chain(totals.iter().map(|name| name.as_str())).find(both)?;
    let score = |row: &Row| row.metrics.get(metric).copied();
    let of = |row: &Row| Some((row.name.clone(), BTreeMap::from([(0, score(row)?)])));
    let best = best(metric, classical().filter_map(of))?;
    let blind = best_blind(metric, classical().filter_map(of));
    with_blind(metric, [of(network)?, best], blind)
}

/// Who has the best mean score of a group of runs: its network, or the best of its classical predictors.
pub(super) fn of_group(group: &Group, metric: &str) -> Option<String> {
    let [network, best] = contenders(group, metric)?;
    let blind = best_blind(metric, group.predictors().into_iter().map(|name| scored(group, name, metric)));
    with_blind(metric, [network, best], blind)
}

/// At how many of several points the network is better than every classical predictor, and where it is not, who is. `None` if no point
/// has scores of both.
pub(super) fn of_points(groups: &[Group], metric: &str) -> Option<String> {
    let told: Vec<(String, Outcome)> = groups
        .iter()
        .filter_map(|group| {
            let [network, best] = contenders(group, metric)?;
            let [first, second] = in_order(metric, [network, best])?;
            Some((first.0, Outcome::of(Difference::between(&first.1, &second.1).as_ref())))
        })
        .collect();
    if told.is_empty() {
        return None;
    }
    let mut wins: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in told.iter().filter(|(_, outcome)| *outcome == Outcome::Apart) {
        *wins.entry(name).or_default() += 1;
    }
    let network = wins.remove(NETWORK).unwrap_or_default();
    let mut others: Vec<(&str, usize)> = wins.into_iter().collect();
    others.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let mut clauses: Vec<String> = others.iter().map(|(name, count)| format!("{name} at {count}")).collect();
    let untold = told.iter().filter(|(_, outcome)| *outcome != Outcome::Apart).count();
    if untold > 0 {
        clauses.push(format!("{untold} cannot be told"));
    }
    let rest = if clauses.is_empty() { String::new() } else { format!("; {}", clauses.join(", ")) };
    let total = counted(told.len(), "point");
    Some(format!("The network wins at {network} of {total} against every classical predictor, by {metric}{rest}."))
}

/// A name with a score for each seed.
type Contender = (String, BTreeMap<u64, f64>);

fn scored(group: &Group, name: String, metric: &str) -> Contender {
    let values = group.values(&name, metric);
    (name, values)
}

/// The best of the predictors that answer every input alike.
fn best_blind(metric: &str, all: impl Iterator<Item = Contender>) -> Option<Contender> {
    best(metric, all.filter(|(name, _)| BLIND.contains(&name.as_str())))
}

/// Relative difference up to which fewer than three seeds show nothing: the chance of another seed is about as large.
const NEAR: f64 = 0.01;

/// The verdict between a network and the best predictor, and whether the network has learned anything, which a predictor that answers
/// every input alike tells.
fn with_blind(metric: &str, [network, best]: [Contender; 2], blind: Option<Contender>) -> Option<String> {
    let learned = blind.and_then(|blind| {
        let (reached, told) = (mean(&network)?, mean(&blind)?);
        let near = (reached - told).abs() <= NEAR * told.abs() && network.1.len().min(blind.1.len()) < 3;
        let ([first, second], told) = (in_order(metric, [network.clone(), blind.clone()])?, number(told));
        if near {
            let (name, seeds) = (&blind.0, if network.1.len() < 2 { "one seed does" } else { "two seeds do" });
            return Some(format!(
                " {name}, which sees nothing of the input, has {told}: {seeds} not show that the network has learned anything."
            ));
        }
        let outcome = Outcome::of(Difference::between(&first.1, &second.1).as_ref());
        if first.0 == NETWORK && outcome == Outcome::Apart {
            // The verdict names it already.
            return (blind.0 != best.0).then(|| format!(" {}, which sees nothing of the input, has {told}.", blind.0));
        }
        let is = if outcome == Outcome::Apart { "is worse than" } else { "is no better than" };
        Some(format!(
            " The network {is} {}, which sees nothing of the input ({told}): it has learned nothing.",
            blind.0
        ))
    });
    let verdict = between(metric, [network, best])?;
    Some(format!("{verdict}{}", learned.unwrap_or_default()))
}

/// The network of a group and the best of its classical predictors.
fn contenders(group: &Group, metric: &str) -> Option<[Contender; 2]> {
    let of = |name: String| scored(group, name, metric);
    let network = of(NETWORK.to_owned());
    let best = best(metric, group.predictors().into_iter().filter(|name| name != NETWORK).map(of))?;
    (!network.1.is_empty()).then_some([network, best])
}

/// The one with the best mean.
fn best(metric: &str, all: impl Iterator<Item = Contender>) -> Option<Contender> {
    let scored = all.filter_map(|one| Some((mean(&one)?, one)));
    let rank = |mean: f64| if larger_is_better(metric) { -mean } else { mean };
    scored.min_by(|(a, _), (b, _)| rank(*a).total_cmp(&rank(*b))).map(|(_, one)| one)
}

fn mean((_, values): &Contender) -> Option<f64> {
    (!values.is_empty()).then(|| values.values().sum::<f64>() / values.len() as f64)
}

/// Two, the better one first.
fn in_order(metric: &str, [one, other]: [Contender; 2]) -> Option<[Contender; 2]> {
    let is_first = if larger_is_better(metric) { mean(&one)? >= mean(&other)? } else { mean(&one)? <= mean(&other)? };
    Some(if is_first { [one, other] } else { [other, one] })
}

/// The verdict between two.
fn between(metric: &str, both: [Contender; 2]) -> Option<String> {
    let [first, second] = in_order(metric, both)?;
    let difference = Difference::between(&first.1, &second.1);
    let estimate = |one: &Contender| Estimate::of(&one.1.values().copied().collect::<Vec<_>>());
    let (a, b) = (estimate(&first)?, estimate(&second)?);
    Some(sentence(metric, [(&first.0, &a), (&second.0, &b)], Outcome::of(difference.as_ref())))
}

/// The verdict between two with their means, the better one first.
pub(super) fn sentence(metric: &str, [(first, a), (second, b)]: [(&str, &Estimate); 2], outcome: Outcome) -> String {
    let seeds = counted(a.seeds.min(b.seeds), "seed");
    let (a, b) = (number(a.mean), number(b.mean));
    let (first, second) = (called(first), called(second));
    let capital = |name: &str| name.strip_prefix("the ").map_or_else(|| name.to_owned(), |name| format!("The {name}"));
    let begin = capital(&first);
    match outcome {
        Outcome::Apart => format!("{begin} wins: {metric} {a} against {b} of {second}, {seeds}."),
        Outcome::Tie => format!("{begin} and {second} tie: {metric} {a} against {b}, {seeds}."),
        Outcome::Untold => format!("{begin} and {second} cannot be told apart: {metric} {a} against {b}, {seeds}."),
    }
}

fn called(name: &str) -> String {
    if name == NETWORK { "the network".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, scores: &[(&str, f64)]) -> Row {
        Row::new(name, scores.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect())
    }

    #[test]
    fn a_run_is_won_by_the_network_or_by_the_best_predictor() {
        let rows =
            |network| [row(NETWORK, &[(LOSS, network)]), row("mean", &[(LOSS, 9.0)]), row("ridge", &[(LOSS, 2.2)])];
        let blind = "mean, which sees nothing of the input, has 9.000.";
        let wins = format!("ridge wins: test/loss 2.200 against 3.200 of the network, 1 seed. {blind}");
        assert_eq!(of_rows(&rows(3.2)), Some(wins));
        let wins = format!("The network wins: test/loss 1.500 against 2.200 of ridge, 1 seed. {blind}");
        assert_eq!(of_rows(&rows(1.5)), Some(wins));
        let equal = of_rows(&rows(2.2)).unwrap_or_default();
        assert!(equal.contains("cannot be told apart"), "{equal}");
        assert_eq!(of_rows(&rows(3.2)[..1]), None);
        // A network that diverged has no scores.
        assert_eq!(of_rows(&[row(NETWORK, &[]), row("mean", &[(LOSS, 1.0)])]), None);
    }

    #[test]
    fn a_network_that_learned_nothing_is_told_so() {
        let rows =
            |network| [row(NETWORK, &[(LOSS, network)]), row("zero", &[(LOSS, 9.0)]), row("ridge", &[(LOSS, 2.2)])];
        let worse = of_rows(&rows(9.5)).unwrap_or_default();
        assert!(worse.ends_with(
            "The network is worse than zero, which sees nothing of the input (9.000): it has learned nothing."
        ));
        // A seed that is as near as another one might be tells neither.
        for near in [8.95, 9.0, 9.05] {
            let near = of_rows(&rows(near)).unwrap_or_default();
            let shows_nothing = "has 9.000: one seed does not show that the network has learned anything.";
            assert!(near.ends_with(shows_nothing), "{near}");
        }
        // Beaten by the network, and named by the verdict.
        let only = [row(NETWORK, &[(LOSS, 1.0)]), row("zero", &[(LOSS, 9.0)])];
        assert_eq!(of_rows(&only).as_deref(), Some("The network wins: test/loss 1.000 against 9.000 of zero, 1 seed."));
    }

    #[test]
    fn of_accuracies_the_larger_one_wins() {
        let rows = [row(NETWORK, &[("test/accuracy", 0.9)]), row("chance", &[("test/accuracy", 0.1)])];
        let wins = "The network wins: test/accuracy 0.9000 against 0.1000 of chance, 1 seed.";
        assert_eq!(of_rows(&rows).as_deref(), Some(wins));
    }

    #[test]
    fn what_the_seeds_do_not_tell_is_not_told() {
        let of = |name: &str, values: &[f64]| {
            (name.to_owned(), values.iter().copied().zip(0_u64..).map(|(v, s)| (s, v)).collect())
        };
        let clear = between(LOSS, [of(NETWORK, &[3.0, 3.2, 3.4, 3.2]), of("ridge", &[2.0, 2.3, 2.2, 2.3])]);
        assert_eq!(clear.as_deref(), Some("ridge wins: test/loss 2.200 against 3.200 of the network, 4 seeds."));
        let unclear =
            between(LOSS, [of(NETWORK, &[1.0, 3.0, 2.0, 4.0]), of("ridge", &[2.0, 2.0, 4.0, 2.1])]).unwrap_or_default();
        assert!(unclear.contains("cannot be told apart"), "{unclear}");
    }
}
