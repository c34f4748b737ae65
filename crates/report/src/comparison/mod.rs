//! The page about a comparison.

mod claims;
mod findings;
mod lines;
mod tries;

use std::fmt::Write as _;

use headway_draw::{Forest, ForestRow, Report, Section, number};
use headway_inspect::counted;
use headway_study::{
    compare::{Agreement, Block, CompareConfig, Comparison, Match, RowRuns},
    dir::StudyDir,
    results::Group,
};
use headway_trainer::metric;
use serde_json::json;

use self::{
    claims::{CLAIMS_NOTE, Claimed, claimed, claims_table},
    findings::findings,
    lines::{Line, NO_RATE, judged, lines, table},
    tries::{TRIED, tried, tries},
};
use super::{
    Builder, FLOOR, FLOOR_NOTE, Page, Table, exact,
    groups::{self, closing, file_name},
    lengths, words,
};
use crate::error::Error;

/// Makes the page of a comparison.
///
/// # Errors
/// as [`super::of_study`]
pub(super) fn page(comparison: &Comparison, dir: &StudyDir, command: &str) -> Result<Page, Error> {
    let config = &comparison.config;
    let planned = comparison.plan(dir)?;
    let mut parts = Vec::new();
    for (block, rows) in comparison.blocks.iter().zip(&planned.rows) {
        let mut all = Vec::new();
        for (row, row_runs) in block.rows.iter().zip(rows) {
            let runs: Vec<_> = row_runs.runs.iter().map(|index| &planned.plan.runs()[*index]).collect();
            let group = if runs.is_empty() {
                let mut group = Group::empty(&row.name, row.size(row_runs).experiment.clone());
                let why = if row_runs.cannot_choose() { NO_RATE } else { "nothing is chosen yet" };
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
    let claims: Vec<Claimed> = parts.iter().flat_map(|part| claimed(config, part)).collect();
    let said = claims.iter().map(Claimed::sentence);
    let findings: Vec<String> = said.chain(parts.iter().flat_map(|part| findings(comparison, part))).collect();
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    if !claims.is_empty() {
        let table = claims_table(&claims, number);
        builder.table("What was claimed", CLAIMS_NOTE.to_owned(), table);
    }
    let mut main = Table::default();
    for part in &parts {
        let table = table(part.block, &part.lines);
        add(&mut main, &heading(part.block), &table);
        section(&mut builder, part, config, table);
    }
    let blocks: Vec<_> = parts.iter().map(Part::to_json).collect();
    let judged = judged(&parts);
    let tried = tried(&parts);
    let everything: Vec<Group> = parts.into_iter().flat_map(Part::named).collect();
    closing(&mut builder, &everything, None, "row")?;
    builder.sections.push(Section::Text { title: "What was asked".to_owned(), body: comparison.to_toml() });
    let profile = config.profile.as_ref().map(|profile| format!(", {profile} profile")).unwrap_or_default();
    let finished: usize = everything.iter().map(|group| group.finished().count()).sum();
    let seeds = counted(config.seeds.list().len(), "seed");
    let seeds = if config.seeds.first_of_more().is_some() { format!("up to {seeds}") } else { seeds };
    let counts = format!(
        "{} on {}, {seeds} each, measured against {}; {finished} final runs are finished. Intervals are 95 % bootstrap \
         intervals (BCa) over seeds; differences are paired by seed.",
        counted(config.rows.len(), "row"),
        counted(config.tasks.len(), "task"),
        config.reference
    );
    let further = [(VERDICTS, judged), (TUNING, tried), (CLAIMS, claims_table(&claims, exact))]
        .into_iter()
        .filter(|(_, table)| !table.rows.is_empty());
    let tables: Vec<_> = groups::tables(&everything).into_iter().chain(further).collect();
    let (sections, figures) = builder.finish(&tables);
    let report = Report {
        verdict: findings.first().cloned().unwrap_or_default(),
        date: groups::day(&everything),
        title: format!("{}{profile}", config.title),
        summary: [config.question.as_str(), &counts].join("\n\n").trim().to_owned(),
        command: command.to_owned(),
        sections,
    };
    let json = json!({
        "title": config.title, "profile": config.profile, "reference": config.reference,
        "noise_floor": config.noise_floor,
        "blocks": blocks, "findings": findings, "claims": claims.iter().map(Claimed::to_json).collect::<Vec<_>>(), "groups": groups::to_json(&everything),
    });
    // What is undecided contradicts nothing.
    let verdict = claims.iter().all(|claim| claim.judgement.agreement != Agreement::Contradicted);
    let verdict = (!claims.is_empty()).then_some(verdict);
    Ok(Page { report, table: main, findings, verdict, json, figures, tables })
}

/// Names of the tables that comparisons alone have.
pub(super) const VERDICTS: &str = "verdicts";
pub(super) const TUNING: &str = "tuning";
pub(super) const CLAIMS: &str = "claims";

/// A block of a comparison with the results of its runs.
struct Part<'a> {
    block: &'a Block,
    all: Vec<(&'a RowRuns, Group)>,
    lines: Vec<Line>,
}

impl Part<'_> {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "task": self.block.task, "match": self.block.matched, "metric": self.block.metric,
            "noise_floor": self.floor(),
            "lines": self.lines.iter().map(Line::to_json).collect::<Vec<_>>(),
        })
    }

    /// The noise floor that the rows were judged by.
    fn floor(&self) -> Option<f64> {
        self.lines.iter().find_map(|line| line.judged.as_ref()?.decision.floor)
    }

    /// The groups, with names that distinguish them from those of other blocks.
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

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Appends a block's table to another one.
fn add(main: &mut Table, heading: &str, table: &Table) {
    if main.header.is_empty() {
        main.header = std::iter::once("comparison".to_owned()).chain(table.header.iter().cloned()).collect();
    }
    let lines =
        table.rows.iter().map(|row| std::iter::once(Some(heading.to_owned())).chain(row.iter().cloned()).collect());
    main.rows.extend(lines);
}

/// How differences were judged, for the note under a table.
fn judgement(config: &CompareConfig, part: &Part<'_>) -> String {
    if !config.decides() {
        return String::new();
    }
    let floor = match (&config.noise_floor, part.floor()) {
        (None, _) => "There is no noise floor, so a tie cannot be told.".to_owned(),
        (Some([first, second]), None) => format!("The noise floor, between {first} and {second}, is not known yet."),
        (Some([first, second]), Some(floor)) => format!(
            "The noise floor is {}, the mean absolute difference between {first} and {second}, which write one function \
             in two ways; a difference below it is no finding.",
            number(floor)
        ),
    };
    let interval = if config.grows() {
        "The interval that decides holds after every seed at once, with 95 % for each row, if differences are Gaussian (Wang and Ramdas 2024)."
    } else {
        "The interval that decides is that of Student's t, for the number of seeds that was given beforehand."
    };
    format!(" {interval} A finding lies outside ± the noise floor, a tie inside. {floor}")
}

fn section(builder: &mut Builder, part: &Part<'_>, config: &CompareConfig, table: Table) {
    let (Part { block, all, lines }, reference) = (part, &config.reference);
    let title = heading(block);
    let name = file_name(&title);
    let cost = match block.matched {
        Match::Parameters => "Parameters within 5 % of the reference",
        Match::Flops => "Floating-point operations of training within 5 % of the reference",
        Match::Depth => "As many attention layers as the reference, other sizes as given",
        Match::None => "Sizes as given",
    };
    let mut note = format!("{cost}. Differences are paired by seed, with the two-sided p-value of the sign-flip test.");
    let seeds = lines.iter().filter_map(|line| Some(line.estimate.as_ref()?.seeds)).max().unwrap_or(0);
    if seeds > 1 {
        let least = number(2.0 / 2.0_f64.powf(seeds as f64));
        let _ = write!(note, " With {seeds} seeds no p below {least} is possible.");
    }
    note += &judgement(config, part);
    // Side by side they would be wider than a page.
    let (scored, chosen) = lines::scores_and_choices(&table);
    builder.table(title.clone(), note, scored);
    builder.table(format!("{title}: costs, and what was chosen"), "", chosen);
    if let Some(forest) = forest(part, reference, &title) {
        let floor = if forest.log { FLOOR_NOTE } else { "" };
        let band = if forest.floor.is_some() { " The grey band around it is ± the noise floor." } else { "" };
        let note = format!(
            "Each seed, the mean and its 95 % interval; the dotted line is the reference's mean.{band} {floor}"
        );
        builder.figure(name.clone(), format!("{title}: {}", block.metric), note, forest.to_svg());
    }
    let groups: Vec<Group> = all.iter().map(|(_, group)| group.clone()).collect();
    if let Some(figure) = groups::by_slice(&groups) {
        let note = groups::slice_note(&figure);
        builder.figure(format!("{name}-slices"), format!("{title}: by slice"), note, figure.to_svg());
    }
    lengths::of_groups(builder, &title, &block.metric, &groups);
    if let Some(figure) = groups::learning(&groups) {
        builder.figure(
            format!("{name}-learning"),
            format!("{title}: learning curves"),
            groups::LEARNING_NOTE,
            figure.to_svg(),
        );
    }
    let tried = block.rows.iter().zip(all).flat_map(|(row, (runs, _))| tries(row, runs, number));
    let header = TRIED.map(str::to_owned).into();
    let note = "By the mean validation loss of the tuning seeds; test examples play no part in the choice. A search goes on until \
                the best is between two that are worse. An empty loss: the run is not done.";
    builder.table(format!("{title}: what each row was tried with"), note, Table { header, rows: tried.collect() });
}

/// The forest plot of a block's table.
fn forest(part: &Part<'_>, reference: &str, title: &str) -> Option<Forest> {
    let Part { block, lines, .. } = part;
    let all = || lines.iter().flat_map(|line| &line.values).copied();
    let log = !metric::larger_is_better(&block.metric) && all().all(|value| value > 0.0);
    let floor = if log { FLOOR * all().fold(0.0, f64::max) } else { f64::NEG_INFINITY };
    let rows = lines.iter().map(|line| {
        // A row is drawn with its mean or not at all: a mean of only some of its values would be a different mean.
        let drawn = line.estimate.as_ref().filter(|estimate| estimate.mean >= floor);
        ForestRow {
            label: if line.seeds.contains(' ') { format!("{} ({})", line.name, line.seeds) } else { line.name.clone() },
            values: if drawn.is_some() { line.values.clone() } else { Vec::new() },
            interval: drawn.and_then(|estimate| estimate.interval).map(|[low, high]| [low.max(floor), high]),
        }
    });
    let reference = lines.iter().find(|line| line.is_row && line.name == reference)?;
    Some(Forest {
        title: format!("{title}: {}", block.metric),
        value_label: words::score(&block.metric),
        log,
        floor: part.floor(),
        reference: reference.estimate.as_ref().map(|estimate| estimate.mean),
        rows: rows.collect(),
    })
}
