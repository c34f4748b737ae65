//! The page about a comparison.

use std::fmt::Write as _;

use headway_analysis::{Forest, ForestRow, Interval, Report, Section, number};
use serde_json::json;

use super::{
    Builder, FLOOR, FLOOR_NOTE, Page, Table, counted,
    groups::{self, closing, file_name, shown},
};
use crate::{
    error::Error,
    study::{
        Comparison, StudyDir,
        compare::{Block, Match, Row, RowRuns},
        results::{Difference, Estimate, Group},
    },
};

/// Makes the page of a comparison.
///
/// # Errors
/// as [`super::of_study`]
pub(super) fn page(comparison: &Comparison, dir: &StudyDir, command: &str) -> Result<Page, Error> {
    let config = &comparison.config;
    let (plan, tables) = comparison.plan(dir);
    let mut parts = Vec::new();
    for (block, rows) in comparison.blocks.iter().zip(&tables) {
        let mut all = Vec::new();
        for (row, row_runs) in block.rows.iter().zip(rows) {
            let runs: Vec<_> = row_runs.runs.iter().map(|index| &plan.runs()[*index]).collect();
            let group = if runs.is_empty() {
                let mut group = Group::empty(&row.name, row.experiment.clone());
                let all_failed = !row_runs.tried.is_empty() && row_runs.tried.iter().all(|(_, loss)| loss.is_none());
                let why =
                    if all_failed { "no learning rate could be scored" } else { "no learning rate is chosen yet" };
                group.missing = config.seeds.list().into_iter().map(|seed| (seed, why.to_owned())).collect();
                group
            } else {
                Group::read(dir, &row.name, Vec::new(), &runs)?
            };
            all.push((row_runs, group));
        }
        let lines = lines(comparison, block, &all);
        parts.push(Part { block, all, lines });
    }
    let findings: Vec<String> = parts.iter().filter_map(|part| finding(comparison, part)).collect();
    let mut builder = Builder::default();
    builder.prose("What was found", &findings);
    let mut main = Table::default();
    for part in &parts {
        let table = table(part.block, &part.lines);
        add(&mut main, &heading(part.block), &table);
        section(&mut builder, part, table);
    }
    let blocks: Vec<_> = parts.iter().map(Part::to_json).collect();
    let everything: Vec<Group> = parts.into_iter().flat_map(Part::named).collect();
    closing(&mut builder, &everything, None, "row");
    builder.sections.push(Section::Text { title: "What was asked".to_owned(), body: comparison.to_toml() });
    let profile = config.profile.as_ref().map(|profile| format!(", {profile} profile")).unwrap_or_default();
    let finished: usize = everything.iter().map(|group| group.runs.len()).sum();
    let counts = format!(
        "{} on {}, {} each, measured against {}; {finished} final runs are finished. Intervals are 95 % bootstrap \
         intervals (BCa) over seeds; differences are paired by seed.",
        counted(config.rows.len(), "row"),
        counted(config.tasks.len(), "task"),
        counted(config.seeds.list().len(), "seed"),
        config.reference
    );
    let tables = groups::tables(&everything);
    let (sections, figures) = builder.finish(&tables);
    let report = Report {
        title: format!("{}{profile}", config.title),
        summary: [config.question.as_str(), &counts].join("\n\n").trim().to_owned(),
        command: command.to_owned(),
        sections,
    };
    let json = json!({
        "title": config.title, "profile": config.profile, "reference": config.reference,
        "blocks": blocks, "findings": findings, "groups": groups::to_json(&everything),
    });
    Ok(Page { report, table: main, findings, verdict: None, json, figures, tables })
}

/// A block with what its runs have left.
struct Part<'a> {
    block: &'a Block,
    all: Vec<(&'a RowRuns, Group)>,
    lines: Vec<Line>,
}

impl Part<'_> {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "task": self.block.task, "match": self.block.matched, "metric": self.block.metric,
            "lines": self.lines.iter().map(Line::to_json).collect::<Vec<_>>(),
        })
    }

    /// The groups, with names that tell them from those of other blocks.
    fn named(self) -> Vec<Group> {
        let heading = heading(self.block);
        let named = |(_, mut group): (&RowRuns, Group)| {
            group.name = format!("{heading}: {}", group.name);
            group
        };
        self.all.into_iter().map(named).collect()
    }
}

fn heading(block: &Block) -> String {
    match block.matched {
        Match::None => block.task.clone(),
        matched => format!("{}, {}", block.task, matched.heading()),
    }
}

/// A line of a block's table: a row of the comparison, or a classical predictor.
struct Line {
    name: String,
    values: Vec<f64>,
    estimate: Estimate,
    difference: Option<Difference>,
    parameters: Option<f64>,
    trained: Option<f64>,
    gflop: Option<f64>,
    seconds: Option<f64>,
    learning_rate: Option<f64>,
    solved: Option<(String, u64)>,
}

impl Line {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "name": self.name, "values": self.values, "estimate": self.estimate, "difference": self.difference,
            "parameters": self.parameters, "trained_parameters": self.trained, "training_gflop": self.gflop, "seconds": self.seconds,
            "learning_rate": self.learning_rate, "solved": self.solved,
        })
    }
}

/// Rows first, then the classical predictors, which are scored on the same test examples.
fn lines(comparison: &Comparison, block: &Block, all: &[(&RowRuns, Group)]) -> Vec<Line> {
    let config = &comparison.config;
    let Some((_, reference)) = all.iter().find(|(_, group)| group.name == config.reference) else { return Vec::new() };
    let base = reference.values("network", &block.metric);
    let mut lines = Vec::new();
    for (runs, group) in all {
        let values = group.values("network", &block.metric);
        let Some(estimate) = Estimate::of(&values.values().copied().collect::<Vec<_>>()) else { continue };
        let is_reference = group.name == config.reference;
        let row = block.rows.iter().find(|row| row.name == group.name);
        lines.push(Line {
            name: group.name.clone(),
            difference: Difference::between(&values, &base).filter(|_| !is_reference),
            values: values.into_values().collect(),
            estimate,
            parameters: row.map(Row::parameters),
            trained: group.trained_parameters(),
            gflop: Some(group.experiment.training_flops() / 1e9),
            seconds: group.seconds(),
            learning_rate: runs.learning_rate,
            solved: row.and_then(|row| row.solved.clone()),
        });
    }
    let shown = |name: &String| config.baselines.as_ref().is_none_or(|names| names.contains(name));
    for predictor in reference.predictors().into_iter().skip(1).filter(shown) {
        let values = reference.values(&predictor, &block.metric);
        let Some(estimate) = Estimate::of(&values.values().copied().collect::<Vec<_>>()) else { continue };
        lines.push(Line {
            name: predictor,
            difference: Difference::between(&values, &base),
            values: values.into_values().collect(),
            estimate,
            parameters: None,
            trained: None,
            gflop: None,
            seconds: None,
            learning_rate: None,
            solved: None,
        });
    }
    lines
}

fn table(block: &Block, lines: &[Line]) -> Table {
    let metric = format!("{}, mean [95 %]", block.metric);
    // A column that says something only where a row keeps some of its weights.
    let keeps = lines.iter().any(|line| line.trained.is_some() && line.trained != line.parameters);
    let mut header = vec!["row", "seeds", &metric, "difference to the reference", "p", "parameters"];
    header.extend(keeps.then_some("of these trained"));
    header.extend(["training GFLOP", "seconds a run", "learning rate", "solved for"]);
    let count = |count: Option<f64>| count.map(|count| format!("{count:.0}"));
    let rows = lines.iter().map(|line| {
        let mut cells = vec![
            Some(line.name.clone()),
            Some(line.estimate.seeds.to_string()),
            Some(shown(&line.estimate)),
            line.difference.as_ref().map(|difference| shown(&difference.estimate)),
            line.difference.as_ref().and_then(|difference| difference.p_value).map(number),
            count(line.parameters),
        ];
        cells.extend(keeps.then(|| count(line.trained)));
        cells.extend([
            line.gflop.map(number),
            line.seconds.map(|seconds| format!("{seconds:.1}")),
            line.learning_rate.map(|rate| format!("{rate:e}")),
            line.solved.as_ref().map(|(key, value)| format!("{} = {value}", key.rsplit('.').next().unwrap_or(key))),
        ]);
        cells
    });
    Table { header: header.into_iter().map(str::to_owned).collect(), rows: rows.collect() }
}

/// Puts a block's table below another's.
fn add(main: &mut Table, heading: &str, table: &Table) {
    if main.header.is_empty() {
        main.header = std::iter::once("comparison".to_owned()).chain(table.header.iter().cloned()).collect();
    }
    let lines =
        table.rows.iter().map(|row| std::iter::once(Some(heading.to_owned())).chain(row.iter().cloned()).collect());
    main.rows.extend(lines);
}

fn section(builder: &mut Builder, Part { block, all, lines }: &Part<'_>, table: Table) {
    let title = heading(block);
    let name = file_name(&title);
    let cost = match block.matched {
        Match::Parameters => "Parameters within 5 % of the reference",
        Match::Flops => "Floating-point operations of training within 5 % of the reference",
        Match::None => "Sizes as given",
    };
    let mut note = format!("{cost}. Differences are paired by seed, with the two-sided p-value of the sign-flip test.");
    let seeds = lines.first().map_or(0, |line| line.estimate.seeds);
    if seeds > 1 {
        let least = number(2.0 / 2.0_f64.powf(seeds as f64));
        let _ = write!(note, " With {seeds} seeds no p below {least} is possible.");
    }
    builder.table(title.clone(), note, table);
    if let Some(forest) = forest(block, lines, &title) {
        let floor = if forest.log { FLOOR_NOTE } else { "" };
        let note =
            format!("Each seed, the mean and its 95 % interval; the dotted line is the reference's mean. {floor}");
        builder.figure(name.clone(), format!("{title}: {}", block.metric), note, forest.to_svg());
    }
    let groups: Vec<Group> = all.iter().map(|(_, group)| group.clone()).collect();
    let bands = "Bands are 95 % intervals over seeds.";
    if let Some(figure) = groups::by_slice(&groups) {
        let note = groups::slice_note(&figure);
        builder.figure(format!("{name}-slices"), format!("{title}: by slice"), note, figure.to_svg());
    }
    if let Some(figure) = groups::learning(&groups) {
        builder.figure(format!("{name}-learning"), format!("{title}: learning curves"), bands, figure.to_svg());
    }
    let tried = all.iter().flat_map(|(runs, group)| {
        let rate = |(rate, loss): &(f64, Option<f64>)| {
            let is_chosen = runs.learning_rate.is_some_and(|chosen| chosen.total_cmp(rate).is_eq());
            let mark = if is_chosen { "yes" } else { "" }.to_owned();
            vec![Some(group.name.clone()), Some(format!("{rate:e}")), loss.map(number), Some(mark)]
        };
        runs.tried.iter().map(rate)
    });
    let header = ["row", "learning rate", "validation loss", "chosen"].map(str::to_owned).into();
    let note = "By the mean validation loss of the tuning seeds; test examples play no part in the choice. An empty loss: the run failed.";
    builder.table(format!("{title}: learning rates"), note, Table { header, rows: tried.collect() });
}

/// The picture of a block's table.
fn forest(block: &Block, lines: &[Line], title: &str) -> Option<Forest> {
    let all = || lines.iter().flat_map(|line| &line.values).copied();
    let log = !block.metric.contains("accuracy") && all().all(|value| value > 0.0);
    let floor = if log { FLOOR * all().fold(0.0, f64::max) } else { f64::NEG_INFINITY };
    let rows = lines.iter().map(|line| ForestRow {
        label: line.name.clone(),
        // All or nothing: a mean of some of them would be another mean.
        values: if line.estimate.mean < floor { Vec::new() } else { line.values.clone() },
        interval: line
            .estimate
            .interval
            .filter(|_| line.estimate.mean >= floor)
            .map(|[low, high]| Interval { low: low.max(floor), high }),
    });
    let reference = lines.iter().find(|line| line.difference.is_none() && line.parameters.is_some())?;
    Some(Forest {
        title: format!("{title}: {}", block.metric),
        value_label: block.metric.clone(),
        log,
        reference: Some(reference.estimate.mean),
        rows: rows.collect(),
    })
}

/// What a block says, in words.
fn finding(comparison: &Comparison, Part { block, lines, .. }: &Part<'_>) -> Option<String> {
    let reference = lines.iter().find(|line| line.name == comparison.config.reference)?;
    let first = format!("{} reaches {} {}", reference.name, block.metric, shown(&reference.estimate));
    let rows = lines.iter().filter(|line| line.parameters.is_some()).filter_map(|line| {
        let difference = line.difference.as_ref()?;
        let sure = match difference.estimate.interval {
            Some(_) if difference.estimate.seeds < 3 => "two seeds give no more than a range",
            Some([low, high]) if low > 0.0 || high < 0.0 => "the interval of the difference leaves out zero",
            Some(_) => "the interval of the difference holds zero",
            None => "one seed gives no interval",
        };
        let p = difference.p_value.map(|p| format!(", p = {}", number(p))).unwrap_or_default();
        let (by, seeds) = (shown(&difference.estimate), difference.estimate.seeds);
        Some(format!(
            "{} {} (difference {by} over {}{p}; {sure})",
            line.name,
            shown(&line.estimate),
            counted(seeds, "seed")
        ))
    });
    let classical = lines.iter().filter(|line| line.parameters.is_none());
    let classical: Vec<String> = classical.map(|line| format!("{} {}", line.name, shown(&line.estimate))).collect();
    let classical =
        if classical.is_empty() { None } else { Some(format!("classical predictors: {}", classical.join(", "))) };
    let clauses: Vec<String> = std::iter::once(first).chain(rows).chain(classical).collect();
    Some(format!("{}: {}. {}.", heading(block), clauses.join("; "), counted(reference.estimate.seeds, "seed")))
}
