//! Tables and figures about groups of runs.

use std::collections::{BTreeMap, BTreeSet};

use headway_draw::{Figure, Report, Series, Style, number, number_within};
use serde_json::json;

use super::{Builder, FLOOR_NOTE, Page, Table, cut_at_floor, machines, patterns, scores, verdict, words};
use crate::error::Error;
use headway_study::{
    results::{Estimate, FinishedRun, Group, counted_seeds},
    sweep::plain,
};
use headway_trainer::{bounded_read, experiment::leaves, provenance::NETWORK};

/// Largest number of groups in one figure.
const MOST_CURVES: usize = 12;
/// Largest number of groups whose attention patterns are shown.
const MOST_PATTERNS: usize = 4;

/// A mean with its interval, or the mean alone if a single seed gives no interval.
pub(super) fn shown(estimate: &Estimate) -> String {
    number_within(estimate.mean, estimate.interval)
}

/// The mean, followed by the signs of what is wrong with the score.
fn signed(estimate: &Estimate, signs: &BTreeSet<char>) -> String {
    signs.iter().fold(shown(estimate), |text, sign| format!("{text} {sign}"))
}

/// A score of a group as a table shows it: its mean with the signs of what is wrong with it, or the reason why there is
/// none.
pub(super) fn cell(group: &Group, predictor: &str, metric: &str) -> Option<String> {
    let mean = group.estimate(predictor, metric);
    let mean = mean.map(|mean| signed(&mean, &group.signs(predictor, metric)));
    mean.or_else(|| Some(diverged(group)?).filter(|_| predictor == NETWORK))
}

/// The seeds with which the network diverged, as a sentence part; `None` if there are none.
pub(super) fn diverged(group: &Group) -> Option<String> {
    let seeds = group.diverged();
    (!seeds.is_empty()).then(|| format!("diverged: {}", counted_seeds(&seeds)))
}

/// Remarks about the networks' scores, group by group.
pub(super) fn remarks(groups: &[Group]) -> Vec<String> {
    groups.iter().flat_map(scores::of_group).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One row per group and predictor, with its seeds, every score that is not about a slice, and the one that was `asked` for. A
/// classical predictor whose scores are the same in all groups has one row, below.
pub(super) fn scores(groups: &[Group], first_column: &str, asked: Option<&str>) -> Table {
    let mut shown: BTreeSet<String> = groups.iter().flat_map(Group::totals).collect();
    let metrics = |group: &Group| group.metrics();
    shown.extend(asked.filter(|asked| groups.iter().any(|group| metrics(group).contains(*asked))).map(str::to_owned));
    let mut header = strings(&[first_column, "predictor", "seeds"]);
    header.extend(shown.iter().cloned());
    let cells = |group: &Group, predictor: &str| -> Vec<Option<String>> {
        let count = shown.iter().map(|metric| group.all_values(predictor, metric).len()).max().unwrap_or(0);
        let scores = shown.iter().map(|metric| cell(group, predictor, metric));
        [Some(predictor.to_owned()), Some(group.seeds(count))].into_iter().chain(scores).collect()
    };
    let mut rows: Vec<(&str, Vec<Option<String>>)> = Vec::new();
    for group in groups {
        rows.extend(group.predictors().iter().map(|predictor| (group.name.as_str(), cells(group, predictor))));
    }
    let is_same = |row: &Vec<Option<String>>| {
        let alike = rows.iter().filter(|(_, other)| other == row).count();
        groups.len() > 1 && row[0].as_deref() != Some(NETWORK) && alike == groups.len()
    };
    let (same, own): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, row)| is_same(row));
    let once: BTreeSet<&Vec<Option<String>>> = same.iter().map(|(_, row)| row).collect();
    let line = |name: &str, row: &[Option<String>]| {
        std::iter::once(Some(name.to_owned())).chain(row.iter().cloned()).collect()
    };
    let rows = own.into_iter().map(|(name, row)| line(name, row));
    Table { header, rows: rows.chain(once.into_iter().map(|row| line("each", row))).collect() }
}

/// One score of the network, with one column per seed.
pub(super) fn by_seed(groups: &[Group], metric: &str, first_column: &str) -> Table {
    let seeds: BTreeSet<u64> = groups.iter().flat_map(|group| group.runs.iter().map(|run| run.seed)).collect();
    let header =
        std::iter::once(first_column.to_owned()).chain(seeds.iter().map(|seed| format!("seed {seed}"))).collect();
    let rows = groups.iter().map(|group| {
        let values = group.all_values(NETWORK, metric);
        let diverged = group.diverged();
        let cells = seeds.iter().map(|seed| {
            let value = values.get(seed).map(|value| number(*value));
            value.or_else(|| diverged.contains(seed).then(|| "diverged".to_owned()))
        });
        std::iter::once(Some(group.name.clone())).chain(cells).collect()
    });
    Table { header, rows: rows.collect() }
}

/// Parameters, floating-point operations and seconds of each group.
pub(super) fn budgets(groups: &[Group], first_column: &str) -> Table {
    let header = strings(&[first_column, "parameters", "steps", "training GFLOP", "seconds a run"]);
    let rows = groups.iter().map(|group| {
        let budget = group.experiment.budget();
        vec![
            Some(group.name.clone()),
            Some(budget.parameters.to_string()),
            Some(group.experiment.train.steps.to_string()),
            Some(number(group.experiment.training_flops() / 1e9)),
            group.seconds().map(|seconds| format!("{seconds:.1}")),
        ]
    });
    Table { header, rows: rows.collect() }
}

/// Runs that did not finish, with the reason.
pub(super) fn unfinished(groups: &[Group], first_column: &str) -> Table {
    let rows = groups.iter().flat_map(|group| {
        let row = |(seed, reason): &(u64, String)| {
            vec![Some(group.name.clone()), Some(seed.to_string()), Some(reason.clone())]
        };
        group.missing.iter().map(row)
    });
    Table { header: strings(&[first_column, "seed", "why it has no result"]), rows: rows.collect() }
}

/// Runs whose file of metrics is damaged, with the reason.
fn amiss(groups: &[Group], first_column: &str) -> Table {
    let rows = groups.iter().flat_map(|group| {
        let row = |run: &FinishedRun| {
            Some(vec![Some(group.name.clone()), Some(run.seed.to_string()), Some(run.amiss.clone()?)])
        };
        group.runs.iter().filter_map(row)
    });
    Table { header: strings(&[first_column, "seed", "metrics.jsonl"]), rows: rows.collect() }
}

/// Most settings in a name.
const MOST_IN_NAME: usize = 3;

/// Gives groups names for people: model and task, and where that does not tell them apart, the settings in which those of one model and
/// task differ. A group keeps its name if these are many or none.
pub fn name_by_settings(groups: &mut [Group]) {
    let kind = |group: &Group| format!("{} on {}", group.experiment.model.name(), group.experiment.task.name());
    let kinds: Vec<String> = groups.iter().map(kind).collect();
    let mut names: Vec<Option<String>> = vec![None; groups.len()];
    for first in 0..groups.len() {
        let alike: Vec<usize> = (0..groups.len()).filter(|other| kinds[*other] == kinds[first]).collect();
        if alike[0] != first {
            continue;
        }
        let settings = differences_of(&alike.iter().map(|at| &groups[*at]).collect::<Vec<_>>());
        let told: Vec<String> = (0..alike.len())
            .map(|at| {
                let set = settings
                    .iter()
                    .filter_map(|(key, values)| Some(format!("{}={}", key.rsplit('.').next()?, values[at].as_ref()?)));
                std::iter::once(kinds[first].clone()).chain(set).collect::<Vec<_>>().join(", ")
            })
            .collect();
        let is_clear = told.iter().collect::<BTreeSet<_>>().len() == told.len();
        if is_clear && settings.len() <= MOST_IN_NAME {
            alike.into_iter().zip(told).for_each(|(at, name)| names[at] = Some(name));
        }
    }
    for (group, name) in groups.iter_mut().zip(names) {
        group.name = name.unwrap_or_else(|| group.name.clone());
    }
}

/// Keys whose values differ between groups, one column per key.
pub(super) fn differences(groups: &[Group], first_column: &str) -> Table {
    let found = differences_of(&groups.iter().collect::<Vec<_>>());
    let header = std::iter::once(first_column.to_owned()).chain(found.iter().map(|(key, _)| key.clone())).collect();
    let row = |(at, group): (usize, &Group)| {
        std::iter::once(Some(group.name.clone())).chain(found.iter().map(|(_, values)| values[at].clone())).collect()
    };
    let rows = if found.is_empty() { Vec::new() } else { groups.iter().enumerate().map(row).collect() };
    Table { header, rows }
}

/// Longest text of a value that is shown as it is.
const LONGEST_VALUE: usize = 60;

/// A value, of a long list its length.
fn short(value: &toml::Value) -> String {
    match (value, plain(value)) {
        (toml::Value::Array(all), text) if text.chars().count() > LONGEST_VALUE => format!("[{} values]", all.len()),
        (_, text) => text,
    }
}

/// Keys whose values differ between groups, each with its value in every group.
fn differences_of(groups: &[&Group]) -> Vec<(String, Vec<Option<String>>)> {
    let settings: Vec<Vec<(String, toml::Value)>> =
        groups.iter().map(|group| leaves("", &group.experiment.to_table())).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in settings.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let value = |settings: &[(String, toml::Value)], key: &str| {
        settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    let all = keys.into_iter().map(|key| {
        let values: Vec<Option<toml::Value>> = settings.iter().map(|settings| value(settings, key)).collect();
        (key.clone(), values)
    });
    all.filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .map(|(key, values)| (key, values.iter().map(|value| value.as_ref().map(short)).collect()))
        .collect()
}

/// Means and intervals as a series of a figure.
pub(super) fn series(label: &str, style: Style, points: &[(f64, Estimate)]) -> Series {
    let interval = |(x, estimate): &(f64, Estimate)| estimate.interval.map(|[low, high]| (*x, low, high));
    Series {
        label: label.to_owned(),
        points: points.iter().map(|(x, estimate)| (*x, estimate.mean)).collect(),
        style,
        intervals: points.iter().filter_map(interval).collect(),
    }
}

/// Loss against step with bands over the seeds: validation loss if every group has it, else training loss.
pub(super) fn learning(groups: &[Group]) -> Option<Figure> {
    let has_finished = |group: &&Group| group.finished().next().is_some();
    let begun: Vec<&Group> = groups.iter().filter(has_finished).take(MOST_CURVES).collect();
    let name = ["validation/loss", "train/loss"]
        .into_iter()
        .find(|name| !begun.is_empty() && begun.iter().all(|group| group.logs(name)))?;
    let curves: Vec<Series> =
        begun.iter().map(|group| series(&named(groups, group), Style::Line, &group.curve(name))).collect();
    let last = curves.iter().flat_map(|curve| &curve.points).map(|(step, _)| *step).fold(0.0, f64::max);
    let classical = everywhere(groups, "test/loss").into_iter().map(|(label, loss)| Series {
        label,
        points: vec![(0.0, loss), (last, loss)],
        style: Style::Dashed,
        ..Series::default()
    });
    let mut series: Vec<Series> = curves.iter().cloned().chain(classical).collect();
    cut_at_floor(&mut series);
    Some(Figure {
        title: "Learning curves".to_owned(),
        x_label: "step".to_owned(),
        y_label: words::score(name),
        y_log: true,
        series,
        colours: colours(groups),
        ..Figure::default()
    })
}

/// Classical predictors whose mean over seeds is the same in every group, with that mean: those that no setting changes.
fn everywhere(groups: &[Group], metric: &str) -> Vec<(String, f64)> {
    let scored: Vec<&Group> = groups.iter().filter(|group| !group.runs.is_empty()).collect();
    let mean = |group: &Group, name: &str| {
        Estimate::of(&group.values(name, metric).into_values().collect::<Vec<_>>()).map(|estimate| estimate.mean)
    };
    let Some((first, others)) = scored.split_first() else { return Vec::new() };
    let of_all = |name: String| {
        let loss = mean(first, &name)?;
        others
            .iter()
            .all(|group| mean(group, &name).is_some_and(|other| other.total_cmp(&loss).is_eq()))
            .then_some((name, loss))
    };
    first.predictors().into_iter().skip(1).take(MOST_CURVES).filter_map(of_all).collect()
}

/// The network of a group, as figures call it.
fn named(groups: &[Group], group: &Group) -> String {
    if groups.len() == 1 { NETWORK.to_owned() } else { group.label() }
}

/// Networks and classical predictors in the order of their colours, the same in every figure of a page.
fn colours(groups: &[Group]) -> Vec<String> {
    let begun: Vec<&Group> = groups.iter().filter(|group| !group.runs.is_empty()).collect();
    let classical = begun.first().map(|group| group.predictors()).unwrap_or_default();
    let networks = begun.iter().take(MOST_CURVES).map(|group| named(groups, group));
    networks.chain(classical.into_iter().skip(1)).collect()
}

/// Caption of learning curves.
pub(super) const LEARNING_NOTE: &str = "Bands are 95 % intervals over seeds. Dashed are the test losses of the classical predictors that are the same everywhere.";

/// Caption of a figure of slices.
pub(super) fn slice_note(figure: &Figure) -> String {
    let bands = "Bands are 95 % intervals over seeds.";
    if figure.y_log { format!("{bands} {FLOOR_NOTE}") } else { bands.to_owned() }
}

/// Scores along slices, such as the number of examples seen in context: the network of each group, and the classical
/// predictors of the first group.
pub(super) fn by_slice(groups: &[Group]) -> Option<Figure> {
    let first = groups.iter().find(|group| !group.runs.is_empty())?;
    let (score, axis) = first.sliced()?;
    // Groups with another score, or with slices of another kind, do not fit these axes.
    let alike = groups.iter().filter(|group| group.sliced().is_some_and(|of| of == (score.clone(), axis.clone())));
    let networks = alike.take(MOST_CURVES).filter_map(|group| {
        let points = group.by_slice(NETWORK);
        (!points.is_empty()).then(|| series(&named(groups, group), Style::Line, &points))
    });
    let classical = first.predictors().into_iter().skip(1);
    let classical = classical.map(|name| series(&name, Style::Dashed, &first.by_slice(&name)));
    let y_log = score.ends_with("mse");
    let mut series: Vec<Series> = networks.chain(classical).collect();
    if y_log {
        cut_at_floor(&mut series);
    }
    Some(Figure {
        title: "Score by slice".to_owned(),
        x_label: words::slices(&axis),
        y_label: words::score(&score),
        y_log,
        series,
        colours: colours(groups),
        ..Figure::default()
    })
}

/// The sections that every page about groups ends with.
///
/// # Errors
/// [`Error::Trainer`] when a run's picture of its patterns cannot be read.
pub(super) fn closing(
    builder: &mut Builder,
    groups: &[Group],
    show_patterns: Option<bool>,
    first_column: &str,
) -> Result<(), Error> {
    if show_patterns.unwrap_or(groups.len() <= MOST_PATTERNS) {
        for group in groups {
            let Some(run) = group.finished().next() else { continue };
            // Each run draws its own picture when it ends.
            let path = run.root.join("figures").join(patterns::NAME).with_extension("svg");
            if let Some(svg) = bounded_read::read_if_there(&path)? {
                let svg = String::from_utf8_lossy(&svg).into_owned();
                let title = format!("Attention patterns: {}", group.name);
                let note = format!("Seed {}. {}", run.seed, patterns::NOTE);
                let name = format!("patterns-{}", file_name(&group.name));
                builder.figure(name, title, note, svg);
            }
        }
    }
    builder.table(
        "Budgets",
        "By the model's sizes; matrix products only, forward and backward.",
        budgets(groups, first_column),
    );
    builder.table("What differs", "Settings that are not the same everywhere.", differences(groups, first_column));
    builder.table("Unfinished runs", "", unfinished(groups, first_column));
    builder.table(
        "Curves not to be trusted",
        "Their metrics.jsonl is not as it was written.",
        amiss(groups, first_column),
    );
    let records = groups.iter().flat_map(|group| group.runs.iter().map(|run| &run.record));
    builder.table("Machine and versions", "", machines(records));
    Ok(())
}

/// The day of the latest of their runs.
pub(super) fn day(groups: &[Group]) -> String {
    super::day(groups.iter().flat_map(|group| group.runs.iter().map(|run| &run.record)))
}

/// The name reduced to characters that a file name can have.
pub(super) fn file_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Names of the tables that every page about groups comes with.
pub(super) const VALUES: &str = "results";
pub(super) const MEANS: &str = "summary";

/// Every value of every run, and every mean, as named tables.
pub(super) fn tables(groups: &[Group]) -> Vec<(&'static str, Table)> {
    vec![(VALUES, with_settings(values(groups), groups)), (MEANS, with_settings(means(groups), groups))]
}

/// Every value of every run; the cell is empty if the network diverged.
fn values(groups: &[Group]) -> Table {
    let mut rows = Vec::new();
    for group in groups {
        let totals = group.totals();
        for run in &group.runs {
            for row in &run.record.results {
                let known = row.metrics.iter().map(|(metric, value)| (metric, Some(value.to_string())));
                let unknown =
                    totals.iter().filter(|_| row.name == NETWORK && !row.is_scored()).map(|name| (name, None));
                rows.extend(known.chain(unknown).map(|(metric, value)| {
                    let cells = [group.name.clone(), row.name.clone(), run.seed.to_string(), metric.clone()];
                    cells.map(Some).into_iter().chain([value]).collect()
                }));
            }
        }
    }
    Table { header: strings(&["group", "predictor", "seed", "metric", "value"]), rows }
}

/// Every mean with its interval; left out if a network diverged.
fn means(groups: &[Group]) -> Table {
    let mut rows = Vec::new();
    for group in groups {
        for predictor in group.predictors() {
            for metric in group.metrics() {
                let seeds = group.all_values(&predictor, &metric).len();
                let estimate = group.estimate(&predictor, &metric);
                if seeds == 0 && predictor != NETWORK {
                    continue;
                }
                let mean = estimate.as_ref().map(|estimate| estimate.mean.to_string());
                let interval = estimate.and_then(|estimate| estimate.interval);
                let end = |index: usize| interval.map(|ends| ends[index].to_string());
                let cells = [group.name.clone(), predictor.clone(), metric, seeds.to_string()];
                rows.push(cells.map(Some).into_iter().chain([mean, end(0), end(1)]).collect());
            }
        }
    }
    Table { header: strings(&["group", "predictor", "metric", "seeds", "mean", "low", "high"]), rows }
}

/// The table with one more column for each key that distinguishes groups, such as the keys of a sweep.
fn with_settings(Table { mut header, mut rows }: Table, groups: &[Group]) -> Table {
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in groups.iter().flat_map(|group| &group.settings) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    header.extend(keys.iter().map(|key| (*key).clone()));
    let of: BTreeMap<&str, &Group> = groups.iter().map(|group| (group.name.as_str(), group)).collect();
    for row in &mut rows {
        let group = row.first().and_then(|name| of.get(name.as_deref()?));
        row.extend(keys.iter().map(|key| {
            let (_, value) = group?.settings.iter().find(|(name, _)| name == *key)?;
            Some(plain(value))
        }));
    }
    Table { header, rows }
}

/// The groups as JSON, for programs.
pub(super) fn to_json(groups: &[Group]) -> serde_json::Value {
    let group = |group: &Group| {
        let runs = group.runs.iter().map(|run| {
            let record = &run.record;
            json!({ "seed": run.seed, "run_id": record.run_id, "seconds": record.seconds, "results": record.results })
        });
        let means = group.predictors().into_iter().map(|predictor| {
            let of = |metric: String| {
                Some((metric.clone(), serde_json::to_value(group.estimate(&predictor, &metric)?).ok()?))
            };
            let metrics: serde_json::Map<_, _> = group.totals().into_iter().filter_map(of).collect();
            (predictor, metrics.into())
        });
        let means: serde_json::Map<String, serde_json::Value> = means.collect();
        let missing = group.missing.iter().map(|(seed, reason)| json!({ "seed": seed, "reason": reason }));
        json!({
            "name": group.name,
            "settings": group.settings.iter().cloned().collect::<BTreeMap<_, _>>(),
            "parameters": group.experiment.budget().parameters,
            "training_flops": group.experiment.training_flops(),
            "runs": runs.collect::<Vec<_>>(),
            "means": means,
            "missing": missing.collect::<Vec<_>>(),
        })
    };
    groups.iter().map(group).collect()
}

/// Who wins in each group, by the loss.
fn won(groups: &[Group]) -> Vec<String> {
    let sentence = |group: &Group| Some(format!("{}: {}", group.label(), verdict::of_group(group, verdict::LOSS)?));
    groups.iter().filter_map(sentence).collect()
}

/// A page that shows any runs side by side.
///
/// # Errors
/// as [`super::of_study`]
pub fn page(groups: &[Group], command: &str) -> Result<Page, Error> {
    const FIRST: &str = "config";
    let mut builder = Builder::default();
    let table = scores(groups, FIRST, None);
    let findings: Vec<String> = won(groups).into_iter().chain(remarks(groups)).collect();
    builder.prose("What to know", &findings);
    let note = "Means over seeds with 95 % bootstrap intervals (BCa), on test examples that training never saw.";
    builder.table("Results", note, table.clone());
    if let Some(figure) = by_slice(groups) {
        builder.figure("slices", "Score by slice", slice_note(&figure), figure.to_svg());
    }
    if let Some(figure) = learning(groups) {
        builder.figure("learning", "Learning curves", LEARNING_NOTE, figure.to_svg());
    }
    closing(&mut builder, groups, None, FIRST)?;
    let runs: usize = groups.iter().map(|group| group.finished().count()).sum();
    let tables = tables(groups);
    let (sections, figures) = builder.finish(&tables);
    let report = Report {
        title: "Runs side by side".to_owned(),
        summary: format!("{runs} finished runs of {} configs.", groups.len()),
        verdict: findings.first().cloned().unwrap_or_default(),
        date: day(groups),
        command: command.to_owned(),
        sections,
    };
    let json = json!({ "groups": to_json(groups) });
    Ok(Page { report, table, findings, verdict: None, json, figures, tables })
}
