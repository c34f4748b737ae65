//! The lines of a block's table: rows of the comparison, then classical predictors.

use std::collections::BTreeMap;

use headway_draw::number;
use headway_inspect::counted;
use headway_study::{
    compare::{Block, Comparison, Decision, Ends, RowRuns, Size, Try, Verdict},
    results::{Difference, Estimate, Group, paired},
};
use headway_trainer::provenance::NETWORK;
use serde_json::json;

use super::{
    Part, heading, strings,
    tries::{last, tried_json},
};
use crate::{
    Table, exact,
    groups::{self, shown},
};

/// A difference, judged against the noise floor.
pub(super) struct Judged {
    /// Whether the row is one of those that make the floor, whose difference nobody asked about.
    pub(super) is_floor: bool,
    pub(super) decision: Decision,
}

impl Judged {
    /// The verdict as the table shows it.
    pub(super) fn shown(&self) -> String {
        let expected = self.decision.still_expected.map(|more| format!(", {} expected", counted(more, "more seed")));
        match self.decision.verdict {
            _ if self.is_floor => "makes the noise floor".to_owned(),
            verdict => format!("{}{}", word(verdict), expected.unwrap_or_default()),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({ "is_floor": self.is_floor, "decision": self.decision })
    }
}

pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Finding => "finding",
        Verdict::Tie => "tie",
        Verdict::Undecided => "undecided",
    }
}

/// A line of a block's table: a row of the comparison, or a classical predictor.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) is_row: bool,
    /// Scores in the order of the seeds.
    pub(super) values: Vec<f64>,
    /// Those of runs that came through.
    pub(super) by_seed: BTreeMap<u64, f64>,
    /// Number of seeds, as `5` or `3 of 5`.
    pub(super) seeds: String,
    /// The mean as the table shows it, or the reason why there is none.
    pub(super) shown: Option<String>,
    pub(super) estimate: Option<Estimate>,
    pub(super) difference: Option<Difference>,
    /// What the difference was judged to be; `None` if the comparison decides nothing, or not about this line.
    pub(super) judged: Option<Judged>,
    pub(super) parameters: Option<f64>,
    pub(super) trained: Option<f64>,
    pub(super) gflop: Option<f64>,
    pub(super) seconds: Option<f64>,
    pub(super) learning_rate: Option<f64>,
    pub(super) searched: Option<(String, u64)>,
    pub(super) solved: Option<(String, u64)>,
    /// Where the chosen size and the chosen learning rate lie.
    pub(super) ends: [Option<Ends>; 2],
    /// What the row was tried with.
    pub(super) tried: Vec<Try>,
}

impl Line {
    /// The line of one predictor of a group.
    pub(super) fn of(group: &Group, predictor: &str, metric: &str, reference: &BTreeMap<u64, f64>) -> Self {
        let values = group.all_values(predictor, metric);
        Self {
            name: predictor.to_owned(),
            is_row: false,
            seeds: group.seeds(values.len()),
            shown: groups::cell(group, predictor, metric),
            estimate: group.estimate(predictor, metric),
            difference: Difference::between(&group.values(predictor, metric), reference),
            values: values.into_values().collect(),
            by_seed: group.values(predictor, metric),
            judged: None,
            parameters: None,
            trained: None,
            gflop: None,
            seconds: None,
            learning_rate: None,
            searched: None,
            solved: None,
            ends: [None; 2],
            tried: Vec::new(),
        }
    }

    /// The mean as a sentence part, with its seeds if some are missing; or the reason why there is none.
    pub(super) fn sentence(&self) -> String {
        let seeds = if self.seeds.contains(' ') { format!(" ({} seeds)", self.seeds) } else { String::new() };
        let shown = self.shown.as_deref().unwrap_or("has no result");
        format!("{shown}{}", if self.estimate.is_some() { &seeds } else { "" })
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({
            "name": self.name, "values": self.values, "estimate": self.estimate, "difference": self.difference,
            "judged": self.judged.as_ref().map(Judged::to_json),
            "parameters": self.parameters, "trained_parameters": self.trained, "training_gflop": self.gflop, "seconds": self.seconds,
            "learning_rate": self.learning_rate, "solved": self.solved,
            "searched": self.searched, "size_ends": self.ends[0], "rate_ends": self.ends[1],
            "tried": self.tried.iter().map(tried_json).collect::<Vec<_>>(),
        })
    }
}

/// First the rows, then the classical predictors, which are scored on the same test examples.
pub(super) fn lines(comparison: &Comparison, block: &Block, all: &[(&RowRuns, Group)]) -> Vec<Line> {
    let config = &comparison.config;
    let Some((_, reference)) = all.iter().find(|(_, group)| group.name == config.reference) else { return Vec::new() };
    let base = reference.values(NETWORK, &block.metric);
    let scores: BTreeMap<&str, BTreeMap<u64, f64>> =
        all.iter().map(|(_, group)| (group.name.as_str(), group.values(NETWORK, &block.metric))).collect();
    let floor = config.floor(|name| scores.get(name));
    let judge = |group: &Group| Judged {
        is_floor: config.is_floor(&group.name),
        decision: Decision::of(&paired(&scores[group.name.as_str()], &base), floor, config.grows()),
    };
    let mut lines = Vec::new();
    for (runs, group) in all {
        let line = Line::of(group, NETWORK, &block.metric, &base);
        let is_reference = group.name == config.reference;
        let size = block.rows.iter().find(|row| row.name == group.name).map(|row| row.size(runs));
        lines.push(Line {
            name: group.name.clone(),
            is_row: true,
            shown: line.shown.or_else(|| runs.cannot_choose().then(|| NO_RATE.to_owned())),
            difference: line.difference.filter(|_| !is_reference),
            judged: (config.decides() && !is_reference).then(|| judge(group)),
            parameters: size.map(Size::parameters),
            trained: group.trained_parameters(),
            gflop: Some(group.experiment.training_flops() / 1e9),
            seconds: group.seconds(),
            learning_rate: runs.learning_rate,
            searched: size.and_then(|size| size.searched.clone()),
            solved: size.and_then(|size| size.solved.clone()),
            ends: [runs.size_ends, runs.rate_ends],
            tried: runs.tried.clone(),
            ..line
        });
    }
    let shown = |name: &String| config.baselines.as_ref().is_none_or(|names| names.contains(name));
    // If the reference has no runs, the classical predictors are taken from a row that has some.
    let scored = all.iter().map(|(_, group)| group).find(|group| !group.runs.is_empty()).unwrap_or(reference);
    let scored = if reference.runs.is_empty() { scored } else { reference };
    for predictor in scored.predictors().into_iter().skip(1).filter(shown) {
        let line = Line::of(scored, &predictor, &block.metric, &base);
        lines.extend(line.estimate.is_some().then_some(line));
    }
    lines
}

/// Why a row has no final runs.
pub(super) const NO_RATE: &str = "nothing that it was tried with could be scored";

/// The first column about costs.
const PARAMETERS: &str = "parameters";

pub(super) fn table(block: &Block, lines: &[Line]) -> Table {
    let metric = format!("{}, mean [95 %]", block.metric);
    // This column is shown only if some row freezes part of its weights.
    let keeps = lines.iter().any(|line| line.trained.is_some() && line.trained != line.parameters);
    let decides = lines.iter().any(|line| line.judged.is_some());
    let mut header = vec!["row", "seeds", &metric, "difference to the reference", "p"];
    header.extend(decides.then_some(["interval that decides", "verdict"]).into_iter().flatten());
    header.push(PARAMETERS);
    header.extend(keeps.then_some("of these trained"));
    header.extend(["training GFLOP", "seconds a run", "learning rate", "sizes chosen"]);
    let count = |count: Option<f64>| count.map(|count| format!("{count:.0}"));
    let rows = lines.iter().map(|line| {
        let mut cells = vec![
            Some(line.name.clone()),
            Some(line.seeds.clone()),
            line.shown.clone(),
            line.difference.as_ref().map(|difference| shown(&difference.estimate)),
            line.difference.as_ref().and_then(|difference| difference.p_value).map(number),
        ];
        if decides {
            let interval = line.judged.as_ref().and_then(|judged| judged.decision.interval);
            cells.push(interval.map(|[low, high]| format!("[{}, {}]", number(low), number(high))));
            cells.push(line.judged.as_ref().map(Judged::shown));
        }
        cells.push(count(line.parameters));
        cells.extend(keeps.then(|| count(line.trained)));
        cells.extend([
            line.gflop.map(number),
            line.seconds.map(|seconds| format!("{seconds:.1}")),
            line.learning_rate.map(|rate| format!("{rate:e}")),
            (!sizes(line).is_empty()).then(|| sizes(line)),
        ]);
        cells
    });
    Table { header: header.into_iter().map(str::to_owned).collect(), rows: rows.collect() }
}

/// The columns of a [`table`] about scores, and those about costs and choices, of the rows that have any.
pub(super) fn scores_and_choices(table: &Table) -> (Table, Table) {
    let at = table.header.iter().position(|name| name == PARAMETERS).unwrap_or(table.header.len());
    let part = |cells: &[Option<String>]| [&cells[..1], &cells[at..]].concat();
    let header = [&table.header[..1], &table.header[at..]].concat();
    let costly = table.rows.iter().filter(|row| row[at..].iter().any(Option::is_some));
    let scores = table.rows.iter().map(|row| row[..at].to_vec());
    (
        Table { header: table.header[..at].to_vec(), rows: scores.collect() },
        Table { header, rows: costly.map(|row| part(row)).collect() },
    )
}

/// The sizes that were chosen for a row.
pub(super) fn sizes(line: &Line) -> String {
    let size = |(key, value): &(String, u64)| format!("{} = {value}", last(key));
    line.searched.iter().chain(&line.solved).map(size).collect::<Vec<_>>().join(", ")
}

/// What every difference to the reference was judged by.
pub(super) fn judged(parts: &[Part<'_>]) -> Table {
    let rows = parts.iter().flat_map(|part| {
        let row = |line: &Line| {
            let Judged { is_floor, decision } = line.judged.as_ref()?;
            let difference = line.difference.as_ref().map(|difference| &difference.estimate);
            let end = |index: usize| decision.interval.map(|ends| exact(ends[index]));
            Some(vec![
                Some(heading(part.block)),
                Some(line.name.clone()),
                difference.map(|difference| difference.seeds.to_string()),
                difference.map(|difference| exact(difference.mean)),
                end(0),
                end(1),
                decision.floor.map(exact),
                (!is_floor).then(|| word(decision.verdict).to_owned()),
                decision.still_expected.filter(|_| !is_floor).map(|more| more.to_string()),
            ])
        };
        part.lines.iter().filter_map(row).collect::<Vec<_>>()
    });
    let header =
        ["comparison", "row", "seeds", "difference", "low", "high", "noise_floor", "verdict", "still_expected"];
    Table { header: strings(&header), rows: rows.collect() }
}
