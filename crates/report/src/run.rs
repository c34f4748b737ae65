//! The page about one run: its results, its training, its settings and the machine it ran on.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use headway_draw::{Figure, Heatmap, Report, Section, Series, Style, number};

use super::{
    FLOOR_NOTE, cut_at_floor, day, patterns, pictures,
    scores::{self, shown},
    verdict, words,
};
use crate::error::Error;
use headway_model::Model;
use headway_study::results::{MOST_PREDICTORS, slice};
use headway_tasks::Source;
use headway_trainer::{
    bounded_read, build,
    confusion::Confusion,
    device::OpenDevice,
    evaluate,
    experiment::{self, Experiment},
    log::{self, Line},
    presence,
    provenance::{self, Record, Row, Status, Summary},
    run_dir::{self, RunDir},
    session::Finished,
};

/// Makes the page of a run whose training has ended, including its attention patterns if the run is complete, and then
/// writes the run's record.
///
/// # Errors
/// as [`write()`] and [`Finished::conclude`]
pub fn conclude(finished: Finished) -> Result<Summary, Error> {
    let Finished { dir, experiment, record, model, source, device, .. } = &finished;
    if let Some(model) = model {
        draw(dir, model, experiment, source, device)?;
    }
    // Written before the record, so that a run recorded as complete always has its page.
    write(dir, experiment, record)?;
    Ok(finished.conclude()?)
}

/// Draws what only the network can show: its patterns, and pictures that it completes.
fn draw(dir: &RunDir, model: &Model, experiment: &Experiment, source: &Source, device: &Device) -> Result<(), Error> {
    if let Some(svg) = pictures::draw(model, source, device)? {
        dir.write(&dir.figure(pictures::NAME), svg.as_bytes())?;
    }
    if let Some(svg) = patterns::draw(model, source, experiment, device)? {
        dir.write(&dir.figure(patterns::NAME), svg.as_bytes())?;
    }
    Ok(())
}

/// Writes `report.html` and its figures.
///
/// # Errors
/// [`Error::Trainer`]; [`Error::Pattern`] when a figure cannot be drawn.
pub fn write(dir: &RunDir, experiment: &Experiment, record: &Record) -> Result<(), Error> {
    let lines = log::read(&dir.metrics())?;
    let mut sections = vec![results(&record.results, experiment)];
    let learning = learning_curve(&lines, &record.results);
    let amiss =
        log::verify(dir.root())?.map(|amiss| format!(" The curve is not to be trusted, metrics.jsonl: {amiss}."));
    let note = format!("Dashed lines are the test losses of classical predictors.{}", amiss.unwrap_or_default());
    sections.push(figure(dir, "learning", "Learning curve", &note, &learning)?);
    if let Some(slices) = slices(&record.results) {
        let note =
            slice_note("One point per slice of the test set, such as the number of examples seen in context", &slices);
        sections.push(figure(dir, "slices", "Score by slice", &note, &slices)?);
    }
    if let Some(confusion) = record.results.first().and_then(|network| network.confusion.as_ref()) {
        let svg = heatmap(confusion).to_svg();
        dir.write(&dir.figure("confusion"), svg.as_bytes())?;
        let note =
            "Numbers of test examples: a row for each right class, a column for each class that the network answered.";
        sections.push(Section::Figure { title: "Confusion matrix".to_owned(), note: note.to_owned(), svg });
    }
    for (name, title, note) in
        [(pictures::NAME, "Pictures", pictures::NOTE), (patterns::NAME, "Attention patterns", patterns::NOTE)]
    {
        if let Some(svg) = bounded_read::read_if_there(&dir.figure(name))? {
            let svg = String::from_utf8_lossy(&svg).into_owned();
            sections.push(Section::Figure { title: title.to_owned(), note: note.to_owned(), svg });
        }
    }
    sections.push(budget(experiment));
    sections.push(Section::Text { title: "Settings".to_owned(), body: experiment.to_toml() });
    sections.push(machine(record));
    let title = format!("{} on {}", experiment.model.name(), experiment.task.name());
    let report = Report {
        title,
        verdict: verdict::of_rows(&record.results).unwrap_or_default(),
        date: day([record]),
        summary: summary(record),
        command: record.command.clone(),
        sections,
    };
    Ok(dir.write(&dir.report(), report.to_html().as_bytes())?)
}

fn summary(record: &Record) -> String {
    let network = record.results.first();
    let scores = network.and_then(|network| network.metrics.get("test/loss"));
    let score = scores.map(|loss| format!(" Test loss {}.", number(*loss))).unwrap_or_default();
    let end = if record.status == Status::Diverged {
        " It failed: the network diverged, and its answers or weights are not finite. The classical predictors keep their scores."
    } else {
        " A single seed says little about a method; compare several."
    };
    let run = format!(
        "One run, seed {}: {} steps in {:.1} s on {}.{score}{end}",
        record.run_id.rsplit('-').next().unwrap_or_default(),
        record.step,
        record.seconds,
        record.device,
    );
    let remarks = network.map(scores::remarks).unwrap_or_default().into_iter().map(|remark| format!("{remark}."));
    std::iter::once(run).chain(remarks).collect::<Vec<_>>().join("\n\n")
}

fn results(rows: &[Row], experiment: &Experiment) -> Section {
    let totals = provenance::totals(rows);
    let header = std::iter::once("predictor".to_owned()).chain(totals.iter().map(|name| (*name).clone())).collect();
    let cells = |row: &Row| {
        let values = totals.iter().map(|name| shown(row, name));
        std::iter::once(Some(row.name.clone())).chain(values).collect()
    };
    Section::Table {
        title: "Results".to_owned(),
        note: ["On test examples that training never saw.".to_owned()]
            .into_iter()
            .chain(evaluate::padding(experiment, rows))
            .collect::<Vec<_>>()
            .join(" "),
        header,
        rows: rows.iter().map(cells).collect(),
    }
}

fn learning_curve(lines: &[Line], rows: &[Row]) -> Figure {
    let curve = |name: &str, style: Style| Series {
        label: name.to_owned(),
        points: lines.iter().filter_map(|line| Some((line.step as f64, *line.values.get(name)?))).collect(),
        style,
        ..Series::default()
    };
    let last = lines.last().map_or(1.0, |line| line.step as f64);
    let baselines = rows.iter().take(MOST_PREDICTORS).skip(1).filter_map(|row| {
        let loss = *row.metrics.get("test/loss")?;
        let points = vec![(0.0, loss), (last, loss)];
        Some(Series { label: row.name.clone(), points, style: Style::Dashed, ..Series::default() })
    });
    let mut series = vec![curve("train/loss", Style::Line), curve("validation/loss", Style::Line)];
    series.retain(|series| !series.points.is_empty());
    Figure {
        title: "Learning curve".to_owned(),
        x_label: "step".to_owned(),
        y_label: "loss".to_owned(),
        x_log: false,
        y_log: true,
        series: series.into_iter().chain(baselines).collect(),
        colours: std::iter::once("validation/loss".to_owned()).chain(predictors(rows).skip(1)).collect(),
    }
}

/// The network and the classical predictors that are drawn, whose colours are those of this order in every figure of the page. Where
/// training is drawn, the network is its validation.
fn predictors(rows: &[Row]) -> impl Iterator<Item = String> {
    rows.iter().take(MOST_PREDICTORS).map(|row| row.name.clone())
}

fn heatmap(Confusion { classes, counts }: &Confusion) -> Heatmap {
    Heatmap {
        title: "Right classes, and those that the network answered".to_owned(),
        rows: classes.clone(),
        columns: classes.clone(),
        values: counts.iter().map(|row| row.iter().map(|count| Some(*count as f64)).collect()).collect(),
        counts: true,
    }
}

/// Caption of [`slices`] that begins with the given sentence.
pub(super) fn slice_note(first: &str, figure: &Figure) -> String {
    let floor = if figure.y_log { FLOOR_NOTE } else { "" };
    format!("{first}. Bands are two standard errors over test examples. {floor}")
}

/// Scores of slices named `…=<number>`, one series per predictor; `None` if there are no such slices.
pub(super) fn slices(rows: &[Row]) -> Option<Figure> {
    let points = |row: &Row| {
        let place = |name: &String| slice(name).map(|(_, number)| number);
        let mut points: Vec<(f64, f64, Option<f64>)> = row
            .metrics
            .iter()
            .filter_map(|(name, value)| Some((place(name)?, *value, row.errors.get(name).copied())))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let mut names = rows.iter().flat_map(|row| row.metrics.keys());
    let (score, axis) = names.find_map(|name| Some((name.split('[').next()?, slice(name)?.0)))?;
    let y_log = score.ends_with("mse");
    let series = rows.iter().take(MOST_PREDICTORS).enumerate().map(|(index, row)| {
        let points = points(row);
        Series {
            label: row.name.clone(),
            points: points.iter().map(|(x, y, _)| (*x, *y)).collect(),
            intervals: points
                .iter()
                .filter_map(|(x, y, error)| Some((*x, y - 2.0 * (*error)?, y + 2.0 * (*error)?)))
                .collect(),
            style: if index == 0 { Style::Line } else { Style::Dashed },
        }
    });
    let mut series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    if y_log {
        cut_at_floor(&mut series);
    }
    Some(Figure {
        title: "Score by slice".to_owned(),
        x_label: words::slices(axis),
        y_label: words::score(score),
        x_log: false,
        y_log,
        series,
        colours: predictors(rows).collect(),
    })
}

fn budget(experiment: &Experiment) -> Section {
    let budget = experiment.budget();
    let facts = [
        ("parameters", budget.parameters.to_string()),
        ("GFLOP of a training step", number(experiment.step_flops() / 1e9)),
        ("GFLOP of all training steps", number(experiment.training_flops() / 1e9)),
        ("MB of activations of a step", number(budget.step_activation_bytes(experiment.micro_batch()) as f64 / 1e6)),
    ];
    Section::Table {
        title: "Budget".to_owned(),
        note: "By the model's sizes; matrix products only, forward and backward.".to_owned(),
        header: vec!["what".to_owned(), "value".to_owned()],
        rows: facts.into_iter().map(|(name, value)| vec![Some(name.to_owned()), Some(value)]).collect(),
    }
}

/// Makes the page of a run again and returns the page's path and the run's status. Draws the attention patterns of the
/// best checkpoint if the run has no picture of them. A run in progress is shown as far as it has come, and draws that
/// picture itself later.
///
/// # Errors
/// [`Error::Trainer`] when the folder holds no run, its checkpoint is bad, or the system refuses
pub fn again(root: &Path, device: &OpenDevice) -> Result<(PathBuf, Status), Error> {
    if RunDir::is_run(root)? && RunDir::is_held(root)? {
        let dir = RunDir::beside(root);
        let experiment = experiment::load(&dir.experiment(), &[])?.experiment;
        let record = run_dir::read_record(root)?;
        write(&dir, &experiment, &record)?;
        // If the run has ended meanwhile, this page has replaced its final one.
        if RunDir::is_held(root)? {
            return Ok((dir.report(), record.status));
        }
    }
    let dir = RunDir::open(root)?;
    let record = run_dir::read_record(root)?;
    let experiment = experiment::load(&dir.experiment(), &[])?.experiment;
    let has_patterns = record.status == Status::Diverged || presence::is_file(&dir.figure(patterns::NAME))?;
    if !has_patterns && !dir.checkpoints()?.is_empty() {
        let (model, _, _) = evaluate::load(root, &[], device)?;
        let source = build::build_source(&experiment)?;
        draw(&dir, &model, &experiment, &source, &device.device)?;
    }
    write(&dir, &experiment, &record)?;
    Ok((dir.report(), record.status))
}

fn figure(dir: &RunDir, name: &str, title: &str, note: &str, figure: &Figure) -> Result<Section, Error> {
    let svg = figure.to_svg();
    dir.write(&dir.figure(name), svg.as_bytes())?;
    Ok(Section::Figure { title: title.to_owned(), note: note.to_owned(), svg })
}

fn machine(record: &Record) -> Section {
    let from = record.lineage.as_ref();
    let facts = [
        ("run", Some(record.run_id.clone())),
        ("version", Some(record.version.clone())),
        ("device", Some(record.device.clone())),
        ("precision of products", Some(record.precisions())),
        ("steps captured", record.captured.as_ref().map(ToString::to_string)),
        ("threads", Some(record.threads.to_string())),
        ("platform", Some(record.platform.clone())),
        ("parameters", Some(record.parameters.to_string())),
        ("of which frozen", Some(record.frozen_parameters.to_string())),
        ("weights from", from.map(|lineage| lineage.from.clone())),
        ("sha256 of those weights", from.map(|lineage| lineage.weights_sha256.clone())),
    ];
    Section::Table {
        title: "Machine and versions".to_owned(),
        note: String::new(),
        header: vec!["what".to_owned(), "value".to_owned()],
        rows: facts.into_iter().map(|(name, value)| vec![Some(name.to_owned()), value]).collect(),
    }
}
