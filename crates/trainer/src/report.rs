//! The page about one run: what came out, how it got there, with which settings, on what.

use headway_analysis::{Figure, Report, Section, Series, Style, number};

use crate::{
    error::Error,
    experiment::Experiment,
    log::{self, Line},
    provenance::{Record, Row},
    run_dir::RunDir,
};

/// Writes `report.html` and the figures in it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Training`] when a figure cannot be drawn.
pub fn write(dir: &RunDir, experiment: &Experiment, record: &Record) -> Result<(), Error> {
    let lines = log::read(dir)?;
    let mut sections = vec![results(&record.results)];
    let learning = learning_curve(&lines, &record.results);
    let note = "Dashed lines are the test losses of classical predictors.";
    sections.push(figure(dir, "learning", "Learning curve", note, &learning)?);
    if let Some(slices) = slices(&record.results) {
        let note = "One point per slice of the test set, such as the number of examples seen in context.";
        sections.push(figure(dir, "slices", "Score by slice", note, &slices)?);
    }
    sections.push(Section::Text { title: "Settings".to_owned(), body: experiment.to_toml() });
    sections.push(provenance(record));
    let title = format!("{} on {}", experiment.model.name(), experiment.task.name());
    let report = Report { title, summary: summary(record), command: record.command.clone(), sections };
    dir.write(&dir.report(), report.to_html().as_bytes())
}

fn summary(record: &Record) -> String {
    let scores = record.results.first().and_then(|network| network.metrics.get("test/loss"));
    let score = scores.map(|loss| format!(" Test loss {}.", number(*loss))).unwrap_or_default();
    format!(
        "One run, seed {}: {} steps in {:.1} s on {}.{score} A single seed says little about a method; compare several.",
        record.run_id.rsplit('-').next().unwrap_or_default(),
        record.step,
        record.seconds,
        record.device,
    )
}

fn results(rows: &[Row]) -> Section {
    let names: Vec<String> = rows.first().map(|network| network.metrics.keys().cloned().collect()).unwrap_or_default();
    let (_, totals): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.contains('['));
    let header = std::iter::once("predictor".to_owned()).chain(totals.iter().cloned()).collect();
    let cells = |row: &Row| {
        let values = totals.iter().map(|name| row.metrics.get(name).map(|value| number(*value)));
        std::iter::once(Some(row.name.clone())).chain(values).collect()
    };
    Section::Table {
        title: "Results".to_owned(),
        note: "On test examples that training never saw.".to_owned(),
        header,
        rows: rows.iter().map(cells).collect(),
    }
}

fn learning_curve(lines: &[Line], rows: &[Row]) -> Figure {
    let curve = |name: &str, style: Style| Series {
        label: name.to_owned(),
        points: lines.iter().filter_map(|line| Some((line.step as f64, *line.values.get(name)?))).collect(),
        style,
    };
    let last = lines.last().map_or(1.0, |line| line.step as f64);
    let anchors = rows.iter().skip(1).filter_map(|row| {
        let loss = *row.metrics.get("test/loss")?;
        Some(Series { label: row.name.clone(), points: vec![(0.0, loss), (last, loss)], style: Style::Dashed })
    });
    let mut series = vec![curve("train/loss", Style::Line), curve("validation/loss", Style::Line)];
    series.retain(|series| !series.points.is_empty());
    Figure {
        title: "Learning curve".to_owned(),
        x_label: "step".to_owned(),
        y_label: "loss".to_owned(),
        x_log: false,
        y_log: true,
        series: series.into_iter().chain(anchors).collect(),
    }
}

/// Scores of slices named `…=<number>`, one series per predictor; nothing when there are no such slices.
fn slices(rows: &[Row]) -> Option<Figure> {
    let points = |row: &Row| {
        let mut points: Vec<(f64, f64)> = row
            .metrics
            .iter()
            .filter_map(|(name, value)| {
                let (_, slice) = name.split_once('[')?;
                let (_, number) = slice.trim_end_matches(']').split_once('=')?;
                Some((number.parse().ok()?, *value))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let network = rows.first()?;
    let axis = network.metrics.keys().find_map(|name| Some(name.split_once('[')?.1.split_once('=')?.0.to_owned()))?;
    let score = network.metrics.keys().find_map(|name| Some(name.split_once('[')?.0.to_owned()))?;
    let series = rows.iter().enumerate().map(|(index, row)| Series {
        label: row.name.clone(),
        points: points(row),
        style: if index == 0 { Style::Line } else { Style::Dashed },
    });
    Some(Figure {
        title: "Score by slice".to_owned(),
        x_label: axis,
        y_label: score,
        x_log: false,
        y_log: true,
        series: series.collect(),
    })
}

fn figure(dir: &RunDir, name: &str, title: &str, note: &str, figure: &Figure) -> Result<Section, Error> {
    let svg = figure.to_svg().map_err(|error| Error::Training(error.to_string()))?;
    dir.write(&dir.figure(name), svg.as_bytes())?;
    Ok(Section::Figure { title: title.to_owned(), note: note.to_owned(), svg })
}

fn provenance(record: &Record) -> Section {
    let from = record.lineage.as_ref();
    let facts = [
        ("run", Some(record.run_id.clone())),
        ("version", Some(record.version.clone())),
        ("device", Some(record.device.clone())),
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
