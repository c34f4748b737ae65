//! What a theory or an earlier study says about two rows, and whether the runs agree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Block,
    matched::{Match, Matches},
    verdict::{Decision, Verdict},
};
use crate::results::paired;
use headway_trainer::metric;

/// A statement about two rows, on some of the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The statement, for tables.
    pub name: String,
    /// Names of two rows.
    pub rows: [String; 2],
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
    /// Who says so. Default: nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// What a claim says of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The first is better than the second, by more than the noise floor; or the second diverges.
    Better,
    /// They are no further apart than `within`.
    Equal,
}

/// Whether the runs agree with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// They do.
    Holds,
    /// They are decided, for something else.
    Contradicted,
    /// The interval is not clear of the margin, or runs are missing.
    Undecided,
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
}

/// What is known of a row.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Scores by seed.
    pub scores: &'a BTreeMap<u64, f64>,
    /// Whether a run diverged.
    pub diverged: bool,
}

impl Claim {
    /// What is wrong with it among these rows, tasks and kinds of equality, by its key.
    pub(super) fn problem(&self, rows: &[&str], tasks: &[&str], matches: &Matches) -> Option<(&'static str, String)> {
        let unknown = |names: &[String], known: &[&str], what: &str| {
            let name = names.iter().find(|name| !known.contains(&name.as_str()))?;
            Some(format!("no {what} is called `{name}`; there are {}", known.join(", ")))
        };
        if let Some(problem) = unknown(&self.rows, rows, "row") {
            return Some(("rows", problem));
        }
        if self.rows[0] == self.rows[1] {
            return Some(("rows", "name two rows".to_owned()));
        }
        if let Some(problem) = self.tasks.as_ref().and_then(|names| unknown(names, tasks, "task")) {
            return Some(("tasks", problem));
        }
        if self.matched.is_some_and(|matched| !matches.has(matched)) {
            return Some(("match", "the comparison's `match` does not list it".to_owned()));
        }
        let within = self.within?;
        if self.says == Says::Better {
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

    /// What two rows say about it; seeds may have been added until they said something (`grows`).
    pub fn judge(&self, score: &str, [first, second]: [Known<'_>; 2], floor: Option<f64>, grows: bool) -> Judgement {
        // Positive where the first is better.
        let better = if metric::larger_is_better(score) { 1.0 } else { -1.0 };
        let differences: Vec<f64> = paired(first.scores, second.scores).into_iter().map(|gap| better * gap).collect();
        let seeds = differences.len();
        let ahead = (seeds > 0).then(|| differences.iter().sum::<f64>() / seeds as f64);
        let margin = match self.says {
            Says::Better => floor,
            Says::Equal => self.within.or(floor),
        };
        let decision = Decision::of(&differences, margin, grows);
        let second_diverged = second.diverged && !first.diverged && !first.scores.is_empty();
        let agreement = match (self.says, decision.verdict) {
            (Says::Better, _) if second_diverged => Agreement::Holds,
            (_, Verdict::Undecided) => Agreement::Undecided,
            (Says::Better, Verdict::Finding) if ahead.is_some_and(|ahead| ahead > 0.0) => Agreement::Holds,
            (Says::Equal, Verdict::Tie) => Agreement::Holds,
            (Says::Better | Says::Equal, Verdict::Finding | Verdict::Tie) => Agreement::Contradicted,
        };
        Judgement { agreement, ahead, seeds, decision, second_diverged }
    }
}
