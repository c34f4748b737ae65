//! What a theory or an earlier study says about two rows, and whether the runs agree.

use std::{cmp::Ordering, collections::BTreeMap};

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{
    Block,
    matched::Match,
    verdict::{Decision, Verdict},
};
use crate::results::paired;
use headway_trainer::metric;

/// A statement about rows, on some of the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The statement, for tables.
    pub name: String,
    /// Names of two rows, or of three and more for [`Says::BestInside`].
    pub rows: Vec<String>,
    /// What it says of them.
    pub says: Says,
    /// Tasks that it is about. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<String>>,
    /// The kind of equality that it is about. Default: every kind of the comparison.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matched: Option<Match>,
    /// How far apart rows may be that are equal, in units of the score. Default: the noise floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    /// Whether it follows from a theorem about what the second row cannot do. Runs that agree are consistent with it and confirm nothing, since
    /// a network may also fail to learn what it could do. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_limit: bool,
    /// Who says so. Default: nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// What a claim says of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The first is better than the second, by more than the noise floor; or the second diverges.
    Better,
    /// They are no further apart than `within`.
    Equal,
    /// Of rows in an order, one between the first and the last is better than both.
    BestInside,
}

/// Whether the runs agree with a claim, from the best for it to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// They do.
    Holds,
    /// They do, with a limit, of which they are no proof.
    Consistent,
    /// The interval is not clear of the margin, or runs are missing.
    Undecided,
    /// They are decided, for something else.
    Contradicted,
}

/// What the runs say about a claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Whether they agree.
    pub agreement: Agreement,
    /// By how much the first row is better, in units of the score: the mean over the seeds that both have.
    pub ahead: Option<f64>,
    /// Number of those seeds.
    pub seeds: usize,
    /// What the difference rests on.
    pub decision: Decision,
    /// Whether runs of the second row alone diverged.
    pub second_diverged: bool,
    /// The two rows that it rests on.
    pub rows: [String; 2],
}

/// What is known of a row.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Scores by seed.
    pub scores: &'a BTreeMap<u64, f64>,
    /// Whether a run diverged.
    pub diverged: bool,
}

impl Claim {
    /// What is wrong with it among these rows, by its key, given what is wrong with its tasks and with its kind of equality.
    pub(super) fn problem(
        &self,
        rows: &[&str],
        [tasks, matched]: [Option<String>; 2],
    ) -> Option<(&'static str, String)> {
        if let Some(name) = self.rows.iter().find(|name| !rows.contains(&name.as_str())) {
            return Some(("rows", format!("no row is called `{name}`; there are {}", rows.join(", "))));
        }
        let is_inside = self.says == Says::BestInside;
        let is_twice = (1..self.rows.len()).any(|index| self.rows[..index].contains(&self.rows[index]));
        if is_twice || (is_inside && self.rows.len() < 3) || (!is_inside && self.rows.len() != 2) {
            let problem = if is_inside { "name three rows or more, in their order" } else { "name two rows" };
            return Some(("rows", problem.to_owned()));
        }
        if let Some(problem) = tasks {
            return Some(("tasks", problem));
        }
        if let Some(problem) = matched {
            return Some(("match", problem));
        }
        let within = self.within?;
        if self.says != Says::Equal {
            let problem = "is for `says = \"equal\"`; a row is better where the noise floor is passed";
            return Some(("within", problem.to_owned()));
        }
        (!within.is_finite() || within < 0.0).then(|| ("within", "must be 0 or more".to_owned()))
    }

    /// Whether it is about this block.
    pub fn is_about(&self, block: &Block) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&block.task))
            && self.matched.is_none_or(|matched| matched == block.matched)
    }

    /// Whether it expects this row behind another.
    pub(super) fn is_behind(&self, row: &str) -> bool {
        match self.says {
            Says::Better => self.rows.get(1).is_some_and(|name| name == row),
            Says::Equal => false,
            Says::BestInside => [self.rows.first(), self.rows.last()].into_iter().flatten().any(|name| name == row),
        }
    }

    /// What its rows, in their order, say about it; seeds may have been added until they said something (`grows`). `None` if there are too
    /// few.
    pub fn judge(&self, score: &str, rows: &[Known<'_>], floor: Option<f64>, grows: bool) -> Option<Judgement> {
        // Positive where the first is better.
        let better = if metric::larger_is_better(score) { 1.0 } else { -1.0 };
        let judge = |first: Known<'_>, second: Known<'_>| {
            let differences: Vec<f64> =
                paired(first.scores, second.scores).into_iter().map(|gap| better * gap).collect();
            self.of_two([first, second], &differences, floor, grows)
        };
        if self.says != Says::BestInside {
            let &[first, second] = rows else { return None };
            return Some(judge(first, second));
        }
        let [first, inside @ .., last] = rows else { return None };
        let mean = |row: &Known<'_>| better * row.scores.values().sum::<f64>() / row.scores.len() as f64;
        let whole = inside.iter().filter(|row| !row.diverged && !row.scores.is_empty());
        let best = whole.max_by(|a, b| mean(a).total_cmp(&mean(b))).or(inside.first())?;
        // It rests on the end that is less far behind.
        let [first, last] = [judge(*best, *first), judge(*best, *last)];
        let ahead = |judgement: &Judgement| judgement.ahead.unwrap_or(f64::INFINITY);
        Some(match first.agreement.cmp(&last.agreement) {
            Ordering::Greater => first,
            Ordering::Equal if ahead(&first) <= ahead(&last) => first,
            Ordering::Less | Ordering::Equal => last,
        })
    }

    /// What two rows say about it, given by how much the first is better with each seed.
    fn of_two(
        &self,
        [first, second]: [Known<'_>; 2],
        differences: &[f64],
        floor: Option<f64>,
        grows: bool,
    ) -> Judgement {
        let seeds = differences.len();
        let ahead = (seeds > 0).then(|| differences.iter().sum::<f64>() / seeds as f64);
        let margin = match self.says {
            Says::Better | Says::BestInside => floor,
            Says::Equal => self.within.or(floor),
        };
        let decision = Decision::of(differences, margin, grows);
        let second_diverged = second.diverged && !first.diverged && !first.scores.is_empty();
        let is_equal = self.says == Says::Equal;
        let holds = if self.is_limit { Agreement::Consistent } else { Agreement::Holds };
        let agreement = match decision.verdict {
            _ if second_diverged && !is_equal => holds,
            Verdict::Undecided => Agreement::Undecided,
            Verdict::Finding if !is_equal && ahead.is_some_and(|ahead| ahead > 0.0) => holds,
            Verdict::Tie if is_equal => holds,
            Verdict::Finding | Verdict::Tie => Agreement::Contradicted,
        };
        let rows = [first, second].map(|row| row.name.to_owned());
        Judgement { agreement, ahead, seeds, decision, second_diverged, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses of three seeds around these means; the margin is 0.1.
    fn judged(says: Says, means: &[f64], diverged: &[usize]) -> Option<(Agreement, [String; 2])> {
        judged_as(false, says, means, diverged)
    }

    fn judged_as(is_limit: bool, says: Says, means: &[f64], diverged: &[usize]) -> Option<(Agreement, [String; 2])> {
        let names: Vec<String> = (0..means.len()).map(|row| row.to_string()).collect();
        let scores: Vec<BTreeMap<u64, f64>> = means
            .iter()
            .enumerate()
            .map(|(row, mean)| (0..3).map(|seed| (seed, mean + 0.01 * ((row as u64 + seed) % 3) as f64)).collect())
            .collect();
        let known = |row: usize| Known { name: &names[row], scores: &scores[row], diverged: diverged.contains(&row) };
        let rows: Vec<Known<'_>> = (0..means.len()).map(known).collect();
        let (name, source, rows_of) = (String::new(), String::new(), names.clone());
        let claim = Claim { name, rows: rows_of, says, tasks: None, matched: None, within: None, is_limit, source };
        let judgement = claim.judge("test/loss", &rows, Some(0.1), false)?;
        Some((judgement.agreement, judgement.rows))
    }

    #[test]
    fn the_best_lies_inside_if_it_beats_both_ends() {
        use Agreement::{Contradicted, Holds, Undecided};
        let inside = |means: &[f64], diverged: &[usize]| judged(Says::BestInside, means, diverged);
        let on = |first: &str, second: &str| [first, second].map(str::to_owned);
        // It rests on the end that is less far behind the best between.
        assert_eq!(inside(&[3.0, 2.0, 1.0, 2.5], &[]), Some((Holds, on("2", "3"))));
        assert_eq!(inside(&[3.0, 2.0, 1.0, 0.5], &[]), Some((Contradicted, on("2", "3"))));
        assert_eq!(inside(&[1.05, 1.0, 3.0], &[]), Some((Contradicted, on("1", "0"))));
        assert_eq!(inside(&[1.11, 1.0, 3.0], &[]), Some((Undecided, on("1", "0"))));
        // An end that diverged is behind; a row between that did is not the best.
        assert_eq!(inside(&[3.0, 1.0, 0.0], &[2]).map(|(agreement, _)| agreement), Some(Holds));
        assert_eq!(inside(&[3.0, 2.0, 0.0, 2.5], &[2]), Some((Holds, on("1", "3"))));
        assert_eq!(inside(&[1.0, 2.0], &[]), None);
    }

    #[test]
    fn of_two_rows_one_is_ahead_of_the_margin_or_the_other_diverged() {
        use Agreement::{Contradicted, Holds};
        let says =
            |says, means: &[f64], diverged: &[usize]| judged(says, means, diverged).map(|(agreement, _)| agreement);
        assert_eq!(says(Says::Better, &[1.0, 2.0], &[]), Some(Holds));
        assert_eq!(says(Says::Better, &[2.0, 1.0], &[]), Some(Contradicted));
        assert_eq!(says(Says::Better, &[2.0, 1.0], &[1]), Some(Holds));
        assert_eq!(says(Says::Equal, &[1.0, 1.01], &[]), Some(Holds));
        assert_eq!(says(Says::Equal, &[1.0, 2.0], &[1]), Some(Contradicted));
    }

    #[test]
    fn runs_that_agree_with_a_limit_are_consistent_with_it_and_confirm_nothing() {
        use Agreement::{Consistent, Contradicted, Undecided};
        let limit =
            |means: &[f64], diverged: &[usize]| judged_as(true, Says::Better, means, diverged).map(|judged| judged.0);
        assert_eq!(limit(&[1.0, 2.0], &[]), Some(Consistent));
        assert_eq!(limit(&[2.0, 3.0], &[1]), Some(Consistent));
        assert_eq!(limit(&[2.0, 1.0], &[]), Some(Contradicted));
        assert_eq!(limit(&[1.0, 1.11], &[]), Some(Undecided));
    }
}
