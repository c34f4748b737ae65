//! The page about a comparison.

use std::{collections::BTreeMap, fmt::Write as _};

use headway_draw::{Forest, ForestRow, Report, Section, number};
use serde_json::json;

use super::{
    Builder, FLOOR, FLOOR_NOTE, Page, Table, Write, exact,
    groups::{self, closing, file_name, shown},
    lengths, scores,
    verdict::{self, Outcome},
};
use crate::error::Error;
use headway_inspect::counted;
use headway_study::{
    compare::{
        Agreement, Block, Claim, CompareConfig, Comparison, Decision, Ends, Judgement, Known, Match, Row, RowRuns,
        Size, Tried, Try, Verdict,
    },
    dir::StudyDir,
    results::{Difference, Estimate, Group, paired},
};
use headway_trainer::{metric, provenance::NETWORK};

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
    builder.prose("What was found", &findings);
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

/// The note under the table of claims.
const CLAIMS_NOTE: &str = "How far the first row is ahead of the second, in units of the score, positive where it is better. A claim that a row is better holds \
     where the interval lies above the margin, or where runs of the other row alone diverged, and is contradicted where it lies within ± the margin or below; \
     that two are equal holds within, and is contradicted outside; that the best lies inside, that the best row between the first and the last is better than \
     both, of which the nearer one is shown. What is undecided is no contradiction.";

/// A claim, and what a block's runs say about it.
struct Claimed {
    claim: Claim,
    heading: String,
    judgement: Judgement,
}

impl Claimed {
    fn sentence(&self) -> String {
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

    fn to_json(&self) -> serde_json::Value {
        json!({ "claim": self.claim, "comparison": self.heading, "judgement": self.judgement })
    }
}

fn agreement(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Holds => "holds",
        Agreement::Contradicted => "is contradicted",
        Agreement::Undecided => "is undecided",
    }
}

/// What a block's runs say about the claims on it.
fn claimed<'a>(config: &'a CompareConfig, part: &Part<'_>) -> Vec<Claimed> {
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

fn claims_table(claims: &[Claimed], write: Write) -> Table {
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

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What every difference to the reference was judged by.
fn judged(parts: &[Part<'_>]) -> Table {
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

/// What every row was tried with.
fn tried(parts: &[Part<'_>]) -> Table {
    let rows = parts.iter().flat_map(|part| {
        let lines = part.block.rows.iter().zip(&part.all).flat_map(|(row, (runs, _))| tries(row, runs, exact));
        lines.map(|line| std::iter::once(Some(heading(part.block))).chain(line).collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    Table { header: std::iter::once("comparison").chain(TRIED).map(str::to_owned).collect(), rows }
}

/// Columns of what a row was tried with.
const TRIED: [&str; 5] = ["row", "size", "learning rate", "validation loss", "chosen"];

/// One line for each size and learning rate that a row was tried with.
fn tries(row: &Row, runs: &RowRuns, write: Write) -> Vec<Vec<Option<String>>> {
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
fn place(ends: Ends) -> Option<&'static str> {
    match ends {
        Ends::Inside => None,
        Ends::Edge => Some("at the edge of the search"),
        Ends::Bound => Some("beside the last one possible"),
    }
}

/// The last part of a key.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

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

/// A difference, judged against the noise floor.
struct Judged {
    /// Whether the row is one of those that make the floor, whose difference nobody asked about.
    is_floor: bool,
    decision: Decision,
}

impl Judged {
    /// The verdict as the table shows it.
    fn shown(&self) -> String {
        let expected = self.decision.still_expected.map(|more| format!(", {} expected", counted(more, "more seed")));
        match self.decision.verdict {
            _ if self.is_floor => "makes the noise floor".to_owned(),
            verdict => format!("{}{}", word(verdict), expected.unwrap_or_default()),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "is_floor": self.is_floor, "decision": self.decision })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Finding => "finding",
        Verdict::Tie => "tie",
        Verdict::Undecided => "undecided",
    }
}

/// A line of a block's table: a row of the comparison, or a classical predictor.
struct Line {
    name: String,
    is_row: bool,
    /// Scores in the order of the seeds.
    values: Vec<f64>,
    /// Those of runs that came through.
    by_seed: BTreeMap<u64, f64>,
    /// Number of seeds, as `5` or `3 of 5`.
    seeds: String,
    /// The mean as the table shows it, or the reason why there is none.
    shown: Option<String>,
    estimate: Option<Estimate>,
    difference: Option<Difference>,
    /// What the difference was judged to be; `None` if the comparison decides nothing, or not about this line.
    judged: Option<Judged>,
    parameters: Option<f64>,
    trained: Option<f64>,
    gflop: Option<f64>,
    seconds: Option<f64>,
    learning_rate: Option<f64>,
    searched: Option<(String, u64)>,
    solved: Option<(String, u64)>,
    /// Where the chosen size and the chosen learning rate lie.
    ends: [Option<Ends>; 2],
    /// What the row was tried with.
    tried: Vec<Try>,
}

impl Line {
    /// The line of one predictor of a group.
    fn of(group: &Group, predictor: &str, metric: &str, reference: &BTreeMap<u64, f64>) -> Self {
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
    fn sentence(&self) -> String {
        let seeds = if self.seeds.contains(' ') { format!(" ({} seeds)", self.seeds) } else { String::new() };
        let shown = self.shown.as_deref().unwrap_or("has no result");
        format!("{shown}{}", if self.estimate.is_some() { &seeds } else { "" })
    }

    fn to_json(&self) -> serde_json::Value {
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

fn tried_json(tried: &Try) -> serde_json::Value {
    let (state, loss) = match tried.loss {
        Tried::Open => ("open", None),
        Tried::Failed => ("failed", None),
        Tried::Scored(loss) => ("scored", Some(loss)),
    };
    json!({ "searched": tried.searched, "learning_rate": tried.learning_rate, "state": state, "loss": loss })
}

/// First the rows, then the classical predictors, which are scored on the same test examples.
fn lines(comparison: &Comparison, block: &Block, all: &[(&RowRuns, Group)]) -> Vec<Line> {
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
const NO_RATE: &str = "nothing that it was tried with could be scored";

fn table(block: &Block, lines: &[Line]) -> Table {
    let metric = format!("{}, mean [95 %]", block.metric);
    // This column is shown only if some row freezes part of its weights.
    let keeps = lines.iter().any(|line| line.trained.is_some() && line.trained != line.parameters);
    let decides = lines.iter().any(|line| line.judged.is_some());
    let mut header = vec!["row", "seeds", &metric, "difference to the reference", "p"];
    header.extend(decides.then_some(["interval that decides", "verdict"]).into_iter().flatten());
    header.push("parameters");
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

/// The sizes that were chosen for a row.
fn sizes(line: &Line) -> String {
    let size = |(key, value): &(String, u64)| format!("{} = {value}", last(key));
    line.searched.iter().chain(&line.solved).map(size).collect::<Vec<_>>().join(", ")
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
    builder.table(title.clone(), note, table);
    if let Some(forest) = forest(block, lines, reference, &title) {
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
    lengths::of_groups(builder, &title, &block.metric, &groups);
    if let Some(figure) = groups::learning(&groups) {
        builder.figure(format!("{name}-learning"), format!("{title}: learning curves"), bands, figure.to_svg());
    }
    let tried = block.rows.iter().zip(all).flat_map(|(row, (runs, _))| tries(row, runs, number));
    let header = TRIED.map(str::to_owned).into();
    let note = "By the mean validation loss of the tuning seeds; test examples play no part in the choice. A search goes on until \
                the best is between two that are worse. An empty loss: the run is not done.";
    builder.table(format!("{title}: what each row was tried with"), note, Table { header, rows: tried.collect() });
}

/// The forest plot of a block's table.
fn forest(block: &Block, lines: &[Line], reference: &str, title: &str) -> Option<Forest> {
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
        value_label: block.metric.clone(),
        log,
        reference: reference.estimate.as_ref().map(|estimate| estimate.mean),
        rows: rows.collect(),
    })
}

/// Who of the rows wins, with the classical predictor that is better still, if there is one. `None` if fewer than two rows have scores.
fn verdict(comparison: &Comparison, block: &Block, lines: &[Line]) -> Option<String> {
    let config = &comparison.config;
    let rank = |line: &&Line| {
        let mean = line.estimate.as_ref().map_or(f64::INFINITY, |estimate| estimate.mean);
        if metric::larger_is_better(&block.metric) { -mean } else { mean }
    };
    // The second row of a noise floor is the first one written in another way.
    let is_copy = |line: &Line| config.noise_floor.as_ref().is_some_and(|[_, second]| *second == line.name);
    let scored = |is_row: bool| {
        let of = lines.iter().filter(move |line| line.is_row == is_row && line.estimate.is_some() && !is_copy(line));
        let mut all: Vec<&Line> = of.collect();
        all.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        all
    };
    let rows = scored(true);
    let [first, second] = *rows.first_chunk()?;
    let outcome = match [first, second].map(|line| (line.name == config.reference, &line.judged)) {
        [(true, _), (_, Some(judged))] | [(_, Some(judged)), (true, _)] => match judged.decision.verdict {
            Verdict::Finding => Outcome::Apart,
            Verdict::Tie => Outcome::Tie,
            Verdict::Undecided => Outcome::Untold,
        },
        _ => Outcome::of(Difference::between(&first.by_seed, &second.by_seed).as_ref()),
    };
    let means = [(first.name.as_str(), first.estimate.as_ref()?), (second.name.as_str(), second.estimate.as_ref()?)];
    let sentence = verdict::sentence(&block.metric, means, outcome);
    let better = scored(false).into_iter().find(|line| rank(line) < rank(&first));
    let better = better.map(|line| format!(" {} is better than every row: {}.", line.name, line.sentence()));
    Some(format!("{}: {sentence}{}", heading(block), better.unwrap_or_default()))
}

/// Findings about a block, one sentence each.
fn findings(comparison: &Comparison, Part { block, all, lines }: &Part<'_>) -> Vec<String> {
    let Some(reference) = lines.iter().find(|line| line.name == comparison.config.reference) else { return Vec::new() };
    if lines.iter().all(|line| line.shown.is_none()) {
        return Vec::new();
    }
    let verb = if reference.estimate.is_some() { "reaches " } else { "" };
    let first = format!("{} {verb}{} {}", reference.name, block.metric, reference.sentence());
    let rows = lines.iter().filter(|line| line.is_row && line.name != reference.name).map(|line| {
        let Some(difference) = &line.difference else { return format!("{} {}", line.name, line.sentence()) };
        let sure = match difference.estimate.interval {
            Some(_) if difference.estimate.seeds < 3 => "two seeds give no more than a range",
            Some([low, high]) if low > 0.0 || high < 0.0 => "the interval of the difference leaves out zero",
            Some(_) => "the interval of the difference holds zero",
            None => "one seed gives no interval",
        };
        let judged = line.judged.as_ref().map(|judged| format!("; {}", judged.shown())).unwrap_or_default();
        let p = difference.p_value.map(|p| format!(", p = {}", number(p))).unwrap_or_default();
        let (by, seeds) = (shown(&difference.estimate), difference.estimate.seeds);
        format!(
            "{} {} (difference {by} over {}{p}; {sure}{judged})",
            line.name,
            line.sentence(),
            counted(seeds, "seed")
        )
    });
    let classical = lines.iter().filter(|line| !line.is_row);
    let classical: Vec<String> = classical.map(|line| format!("{} {}", line.name, line.sentence())).collect();
    let classical =
        if classical.is_empty() { None } else { Some(format!("classical predictors: {}", classical.join(", "))) };
    let clauses: Vec<String> = std::iter::once(first).chain(rows).chain(classical).collect();
    let [fewest, most] =
        [all.iter().map(|(_, group)| group.asked()).min(), all.iter().map(|(_, group)| group.asked()).max()]
            .map(Option::unwrap_or_default);
    let seeds = if fewest == most { counted(most, "seed") } else { format!("{fewest} to {}", counted(most, "seed")) };
    let finding = format!("{}: {}. {seeds}.", heading(block), clauses.join("; "));
    let at_edge = lines.iter().flat_map(|line| {
        let what = ["size", "learning rate"].into_iter().zip(line.ends);
        what.filter(|(_, ends)| *ends == Some(Ends::Edge)).map(|(what, _)| {
            format!("the best {what} of {} is at the edge of the search, so a better one may lie beyond.", line.name)
        })
    });
    let remarks = at_edge.chain(all.iter().flat_map(|(_, group)| scores::of_group(group)));
    verdict(comparison, block, lines)
        .into_iter()
        .chain([finding])
        .chain(remarks.map(|remark| format!("{}: {remark}", heading(block))))
        .collect()
}
