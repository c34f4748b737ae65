#![doc = include_str!("../README.md")]
#![warn(clippy::disallowed_methods)]

pub mod ablation;
pub mod accuracy;
pub mod attention;
pub mod card;
pub mod certificate;
pub mod comparison;
pub mod convergence;
pub mod embedding;
mod error;
pub mod groups;
pub mod in_context;
pub mod lengths;
pub mod lens;
mod page_dir;
pub mod path_scores;
pub mod paths;
pub mod patterns;
pub mod pictures;
pub mod rank;
pub mod robust;
pub mod run;
pub mod scores;
pub mod shifts;
pub mod sizes;
pub mod supremum;
pub mod swap;
pub mod sweep;
pub mod verdict;
mod words;

use std::collections::BTreeSet;

pub use error::Error;
pub use page_dir::PageDir;

use headway_draw::{File, Report, Section, Series, csv};

use headway_study::{Study, dir::StudyDir};
use headway_trainer::{
    digest::digest,
    json,
    provenance::{Record, command_line},
};

/// A table with named columns; a missing number is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<Option<String>>>,
}

/// The content of a page, before it is written.
pub struct Page {
    /// The page itself.
    pub report: Report,
    /// Its main table.
    pub table: Table,
    /// Findings, one sentence each.
    pub findings: Vec<String>,
    /// Whether every expectation is met; `None` if there is none.
    pub verdict: Option<bool>,
    /// The same results as one JSON document, for programs.
    pub json: serde_json::Value,
    /// Figures by name, as SVG.
    figures: Vec<(String, String)>,
    /// Tables by name, to be written as CSV.
    tables: Vec<(&'static str, Table)>,
}

/// Reads the results of a study's runs and makes its page.
///
/// # Errors
/// [`Error::Trainer`] when a record is damaged; [`Error::Trainer`]; [`Error::Pattern`] when a figure cannot be drawn.
pub fn of_study(study: &Study, dir: &StudyDir, command: &str) -> Result<Page, Error> {
    match study {
        Study::Sweep(study) => sweep::page(study, dir, command),
        Study::Comparison(study) => comparison::page(study, dir, command),
    }
}

impl Page {
    /// Writes the page with its figures and tables into a folder: `report.html`, `figures/*.svg`, `*.csv`, `results.json`.
    ///
    /// # Errors
    /// [`Error::Trainer`]
    pub fn write(&self, dir: &PageDir) -> Result<(), Error> {
        for (name, svg) in &self.figures {
            dir.write(&format!("figures/{name}.svg"), svg.as_bytes())?;
        }
        for (name, table) in &self.tables {
            dir.write(&format!("{name}.csv"), csv(&table.header, &table.rows).as_bytes())?;
        }
        dir.write("results.json", &json::file(&self.json)?)?;
        Ok(dir.write("report.html", self.report.to_html().as_bytes())?)
    }
}

/// Largest number of bytes of a figure's name; file systems allow 255.
const LONGEST_NAME: usize = 100;

/// The sections of a page while it is being made, and their figures.
#[derive(Default)]
struct Builder {
    sections: Vec<Section>,
    figures: Vec<(String, String)>,
}

impl Builder {
    fn table(&mut self, title: impl Into<String>, note: impl Into<String>, table: Table) {
        if !table.rows.is_empty() {
            let Table { header, rows } = table;
            self.sections.push(Section::Table { title: title.into(), note: note.into(), header, rows });
        }
    }

    fn figure(&mut self, name: impl Into<String>, title: impl Into<String>, note: impl Into<String>, svg: String) {
        let name = self.file_name(name.into());
        self.figures.push((name, svg.clone()));
        self.sections.push(Section::Figure { title: title.into(), note: note.into(), svg });
    }

    /// A name of bounded length that no other figure has: labels may be long, and may differ only in characters that
    /// file names lack.
    fn file_name(&self, name: String) -> String {
        let is_new = |name: &String| self.figures.iter().all(|(other, _)| other != name);
        if name.len() <= LONGEST_NAME && is_new(&name) {
            return name;
        }
        let digest = digest(name.as_bytes());
        let start = &name[..name.floor_char_boundary(LONGEST_NAME - 13)];
        let bounded = format!("{start}-{}", &digest[..12]);
        let numbered = (2..).map(|number: u32| format!("{bounded}-{number}"));
        std::iter::once(bounded.clone()).chain(numbered).find(is_new).unwrap_or(bounded)
    }

    /// The sections, the last of which lists the files beside the page, and the figures.
    fn finish(mut self, tables: &[(&'static str, Table)]) -> (Vec<Section>, Vec<(String, String)>) {
        let tables = tables.iter().map(|(name, _)| (format!("{name}.csv"), table_note(name)));
        let json = [("results.json".to_owned(), "everything on this page, for programs")];
        let figures = self.figures.iter().map(|(name, _)| (format!("figures/{name}.svg"), ""));
        let files =
            tables.chain(json).chain(figures).map(|(path, note)| File { path, note: note.to_owned() }).collect();
        self.sections.push(Section::Files { title: "Files".to_owned(), note: String::new(), files });
        (self.sections, self.figures)
    }

    /// The page about an analysed network, for the command that made it.
    fn page(
        self,
        title: &str,
        summary: String,
        table: Table,
        findings: Vec<String>,
        json: serde_json::Value,
        tables: Vec<(&'static str, Table)>,
    ) -> Page {
        let (sections, figures) = self.finish(&tables);
        let verdict = findings.first().cloned().unwrap_or_default();
        let report = Report {
            title: title.to_owned(),
            verdict,
            summary,
            command: command_line(),
            sections,
            ..Report::default()
        };
        Page { report, table, findings, verdict: None, json, figures, tables }
    }

    fn prose(&mut self, title: &str, sentences: &[String]) {
        if !sentences.is_empty() {
            self.sections.push(Section::Prose { title: title.to_owned(), body: sentences.join("\n\n") });
        }
    }
}

/// What the table of this name holds.
fn table_note(name: &str) -> &'static str {
    match name {
        groups::VALUES => "every value of every run",
        groups::MEANS => "means over seeds with their intervals",
        comparison::VERDICTS => "what every difference was judged by",
        comparison::CLAIMS => "what was claimed, and what the runs say",
        comparison::TUNING => "what every row was tried with",
        rank::NAME => "the residual of every sequence after every layer",
        accuracy::NAME => "what every strategy proves, and its cost",
        supremum::NAME => "both bounds at every moment",
        robust::NAME => "every error of the stochastic algorithm",
        paths::LENGTHS => "contributions by the number of heads on a path",
        paths::NAME => "the largest paths",
        attention::SCORES_NAME => "scores of every head",
        attention::ROLES_NAME => "mass from role to role",
        ablation::NAME => "what each head and each layer is worth",
        lens::NAME => "what is read after each layer",
        in_context::NAME => "distances at every number of examples",
        in_context::LINEAR => "sensitivities and implicit weights",
        _ => "",
    }
}

/// Share of the largest value below which values are left off a log axis: least squares without noise is exact up to
/// rounding, and would squeeze everything else into a line.
const FLOOR: f64 = 1e-6;

/// The sentence about this floor in a caption.
const FLOOR_NOTE: &str =
    "Values below a millionth of the largest are left out; a curve a million times above most others is not counted.";

/// Interrupts curves on a log axis where they fall below the floor.
fn cut_at_floor(series: &mut [Series]) {
    let largest = |series: &Series| series.points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let mut largest: Vec<f64> = series.iter().map(largest).collect();
    largest.sort_by(f64::total_cmp);
    // Otherwise a single curve that diverges would push all the others off the figure.
    let middle = largest.get(largest.len() / 2).copied().unwrap_or(0.0);
    let floor = FLOOR * largest.into_iter().filter(|value| value * FLOOR <= middle).fold(0.0, f64::max);
    for Series { points, intervals, .. } in series {
        for (_, y) in points.iter_mut().filter(|(_, y)| *y < floor) {
            *y = f64::NAN;
        }
        intervals.retain(|(_, _, high)| *high >= floor);
        for (_, low, _) in intervals {
            *low = low.max(floor);
        }
    }
}

/// How a table writes a number: [`headway_draw::number`] for people, [`exact`] for programs.
type Write = fn(f64) -> String;

/// The number with all its digits.
fn exact(value: f64) -> String {
    value.to_string()
}

/// The text with a capital first letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The day of the latest of some runs, as people write it, in UTC: `29 November 2026`.
fn day<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    let latest = records.into_iter().map(|record| record.started.saturating_add(record.seconds as u64)).max();
    let time = latest.and_then(|seconds| i64::try_from(seconds).ok());
    let time = time.and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(String::new, |at| format!("{} {} {}", at.day(), at.month(), at.year()))
}

/// Versions, devices, precisions and threads of some runs, each combination once.
fn machines<'a>(records: impl Iterator<Item = &'a Record>) -> Table {
    let machine = |record: &Record| {
        let Record { version, device, platform, threads, .. } = record;
        [version.clone(), device.clone(), platform.clone(), record.precisions(), threads.to_string()]
    };
    let all: BTreeSet<_> = records.map(machine).collect();
    let rows = all.into_iter().map(|machine| machine.map(Some).into());
    Table {
        header: ["version", "device", "platform", "precision of products", "threads of a run"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    }
}
