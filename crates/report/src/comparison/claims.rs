//! Claims, and what a comparison's runs say about them.

use std::collections::BTreeMap;

use headway_draw::number;
use headway_study::compare::{Agreement, Claim, CompareConfig, Judgement, Known};
use headway_trainer::provenance::NETWORK;
use serde_json::json;

use super::{Part, heading, strings};
use crate::{Table, Write};

/// The note under the table of claims.
pub(super) const CLAIMS_NOTE: &str = "How far the first row is ahead of the second, in units of the score, positive where it is better. A claim that a row is better holds \
     where the interval lies above the margin, or where runs of the other row alone diverged, and is contradicted where it lies within ± the margin or below; \
     that two are equal holds within, and is contradicted outside; that the best lies inside, that the best row between the first and the last is better than \
     both, of which the nearer one is shown. What is undecided is no contradiction. A limit is at best consistent with its runs: a network that \
     fails to learn proves nothing.";

/// A claim, and what a block's runs say about it.
pub(super) struct Claimed {
    pub(super) claim: Claim,
    pub(super) heading: String,
    pub(super) judgement: Judgement,
}

impl Claimed {
    pub(super) fn sentence(&self) -> String {
        let Self { claim, heading, judgement } = self;
        let by = match (judgement.ahead, judgement.decision.interval) {
            (Some(ahead), Some([low, high])) => {
                format!(": ahead by {} [{}, {}]", number(ahead), number(low), number(high))
            }
            (Some(ahead), None) => format!(": ahead by {}", number(ahead)),
            (None, _) => String::new(),
        };
        let diverged =
            if judgement.second_diverged { format!("; {} diverged", judgement.rows[1]) } else { String::new() };
        format!("{heading}: the claim that {} {}{by}{diverged}.", claim.name, agreement(judgement.agreement))
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({ "claim": self.claim, "comparison": self.heading, "judgement": self.judgement })
    }
}

pub(super) fn agreement(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Holds => "holds",
        Agreement::Consistent => "is consistent with the runs",
        Agreement::Contradicted => "is contradicted",
        Agreement::Undecided => "is undecided",
    }
}

/// What a block's runs say about the claims on it.
pub(super) fn claimed<'a>(config: &'a CompareConfig, part: &Part<'_>) -> Vec<Claimed> {
    let scores: BTreeMap<&str, (BTreeMap<u64, f64>, bool)> = part
        .all
        .iter()
        .map(|(_, group)| {
            let scores = group.values(NETWORK, &part.block.metric);
            (group.name.as_str(), (scores, !group.diverged().is_empty()))
        })
        .collect();
    let floor = config.floor(|name| scores.get(name).map(|(scores, _)| scores));
    let about = config.claims.iter().filter(|claim| claim.is_about(part.block));
    let judged = about.filter_map(|claim| {
        let known = |name: &'a String| {
            let (scores, diverged) = scores.get(name.as_str())?;
            Some(Known { name, scores, diverged: *diverged })
        };
        // A claim is about the tables in which all of its rows stand.
        let rows: Vec<Known<'_>> = claim.rows.iter().map(known).collect::<Option<_>>()?;
        let judgement = claim.judge(&part.block.metric, &rows, floor, config.grows())?;
        Some(Claimed { claim: claim.clone(), heading: heading(part.block), judgement })
    });
    judged.collect()
}

pub(super) fn claims_table(claims: &[Claimed], write: Write) -> Table {
    let row = |Claimed { claim, heading, judgement }: &Claimed| {
        let Judgement { ahead, seeds, decision, .. } = judgement;
        let end = |index: usize| decision.interval.map(|ends| write(ends[index]));
        vec![
            Some(claim.name.clone()),
            Some(heading.clone()),
            Some(judgement.rows.join(" / ")),
            Some(seeds.to_string()),
            ahead.map(write),
            end(0),
            end(1),
            decision.floor.map(write),
            Some(agreement(judgement.agreement).to_owned()),
            (!claim.source.is_empty()).then(|| claim.source.clone()),
        ]
    };
    let header = ["claim", "comparison", "rows", "seeds", "ahead", "low", "high", "margin", "verdict", "source"];
    Table { header: strings(&header), rows: claims.iter().map(row).collect() }
}
