//! What each row of a comparison was tried with.

use headway_study::compare::{Ends, Row, RowRuns, Tried, Try};
use serde_json::json;

use super::{Part, heading};
use crate::{Table, Write, exact};

/// What every row was tried with.
pub(super) fn tried(parts: &[Part<'_>]) -> Table {
    let rows = parts.iter().flat_map(|part| {
        let lines = part.block.rows.iter().zip(&part.all).flat_map(|(row, (runs, _))| tries(row, runs, exact));
        lines.map(|line| std::iter::once(Some(heading(part.block))).chain(line).collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    Table { header: std::iter::once("comparison").chain(TRIED).map(str::to_owned).collect(), rows }
}

/// Columns of what a row was tried with.
pub(super) const TRIED: [&str; 5] = ["row", "size", "learning rate", "validation loss", "chosen"];

/// One line for each size and learning rate that a row was tried with.
pub(super) fn tries(row: &Row, runs: &RowRuns, write: Write) -> Vec<Vec<Option<String>>> {
    let size = row.size(runs).searched.as_ref();
    let line = |tried: &Try| {
        let is_chosen = runs.learning_rate.is_some_and(|chosen| chosen.total_cmp(&tried.learning_rate).is_eq())
            && size.map(|(_, value)| *value) == tried.searched;
        let loss = match tried.loss {
            Tried::Scored(loss) => Some(write(loss)),
            Tried::Failed => Some("failed".to_owned()),
            Tried::Open => None,
        };
        let ends = [("size", runs.size_ends), ("rate", runs.rate_ends)];
        let ends = ends.into_iter().filter_map(|(what, ends)| Some(format!("{what} {}", place(ends?)?)));
        let mark = std::iter::once("yes".to_owned()).chain(ends).collect::<Vec<_>>().join(", ");
        vec![
            Some(row.name.clone()),
            size.zip(tried.searched).map(|((key, _), value)| format!("{} = {value}", last(key))),
            Some(format!("{:e}", tried.learning_rate)),
            loss,
            Some(if is_chosen { mark } else { String::new() }),
        ]
    };
    runs.tried.iter().map(line).collect()
}

/// Where a chosen value lies, if not between two that are worse.
pub(super) fn place(ends: Ends) -> Option<&'static str> {
    match ends {
        Ends::Inside => None,
        Ends::Edge => Some("at the edge of the search"),
        Ends::Bound => Some("beside the last one possible"),
    }
}

/// The last part of a key.
pub(super) fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

pub(super) fn tried_json(tried: &Try) -> serde_json::Value {
    let (state, loss) = match tried.loss {
        Tried::Open => ("open", None),
        Tried::Failed => ("failed", None),
        Tried::Scored(loss) => ("scored", Some(loss)),
    };
    json!({ "searched": tried.searched, "learning_rate": tried.learning_rate, "state": state, "loss": loss })
}
