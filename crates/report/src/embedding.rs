//! The page about the learned rows of tokens.

use headway_draw::{Figure, Heatmap, Series, Style, number};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use headway_inspect::{Embedding, Known};

/// Name of the table.
pub(super) const NAME: &str = "embedding";

/// Number of the most alike pairs that the table shows.
const SHOWN: usize = 20;

/// The page: a map of cosines, and their comparison with what is known.
pub fn page(embedding: &Embedding) -> Page {
    let table = self::table(embedding, number);
    let findings = findings(embedding);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    if let Some(known) = &embedding.known {
        let title = format!("Learned similarity against {}", known.name);
        let note =
            "One point for each pair of different tokens; the line joins the means over pairs with the same entry.";
        builder.figure("embedding-known", title.clone(), note.to_owned(), figure(embedding, known, title).to_svg());
    }
    let title = "Cosines of the learned rows of tokens";
    let note = "Each row less the mean of all shown. Orange is alike, blue is opposite.".to_owned();
    let map = Heatmap {
        title: title.to_owned(),
        rows: embedding.tokens.clone(),
        columns: embedding.tokens.clone(),
        values: embedding.cosine.iter().map(|row| row.iter().copied().map(Some).collect()).collect(),
        counts: false,
    };
    builder.figure("embedding-cosine", title, note, map.to_svg());
    builder.table("The pairs that are most alike", "", table.clone());
    let tables = vec![(NAME, self::table(embedding, exact))];
    let title = "What the network has learned about its tokens";
    builder.page(title, format!("{}.", embedding.subject.sentence()), table, findings, json!(embedding), tables)
}

fn figure(embedding: &Embedding, known: &Known, title: String) -> Figure {
    let points = known.pairs(&embedding.cosine);
    let mut entries: Vec<f64> = points.iter().map(|(entry, _)| *entry).collect();
    entries.sort_by(f64::total_cmp);
    entries.dedup();
    let mean = |entry: &f64| {
        let of: Vec<f64> =
            points.iter().filter(|(other, _)| other.total_cmp(entry).is_eq()).map(|(_, cosine)| *cosine).collect();
        (*entry, of.iter().sum::<f64>() / of.len() as f64)
    };
    let means = entries.iter().map(mean).collect();
    Figure {
        title,
        x_label: known.name.to_owned(),
        y_label: "cosine of learned rows".to_owned(),
        series: vec![
            Series { label: "a pair".to_owned(), points, style: Style::Points, ..Series::default() },
            Series { label: "mean".to_owned(), points: means, style: Style::Line, ..Series::default() },
        ],
        ..Figure::default()
    }
}

/// Pairs of different tokens, the most alike first.
fn pairs(embedding: &Embedding) -> Vec<[usize; 2]> {
    let all = (0..embedding.tokens.len()).flat_map(|a| (0..a).map(move |b| [b, a]));
    let mut all: Vec<[usize; 2]> = all.collect();
    all.sort_by(|[a, b], [c, d]| embedding.cosine[*c][*d].total_cmp(&embedding.cosine[*a][*b]));
    all
}

fn table(embedding: &Embedding, write: Write) -> Table {
    let known = embedding.known.as_ref();
    let header = ["tokens", "cosine"].into_iter().chain(known.map(|known| known.name)).map(str::to_owned).collect();
    let rows = pairs(embedding).into_iter().take(SHOWN).map(|[a, b]| {
        let names = format!("{} {}", embedding.tokens[a], embedding.tokens[b]);
        let entry = known.map(|known| Some(write(known.entries[a][b])));
        [Some(names), Some(write(embedding.cosine[a][b]))].into_iter().chain(entry).collect()
    });
    Table { header, rows: rows.collect() }
}

fn findings(embedding: &Embedding) -> Vec<String> {
    let alike = pairs(embedding).first().map(|[a, b]| {
        let [a, b] = [a, b].map(|token| &embedding.tokens[*token]);
        format!("The two tokens most alike are {a} and {b}.")
    });
    let known = embedding.known.as_ref().and_then(|known| {
        let pairs = known.pairs(&embedding.cosine).len();
        let correlation = number(known.correlation?);
        Some(format!(
            "Over {pairs} pairs of different tokens, the cosine has a correlation of {correlation} with {}.",
            known.name
        ))
    });
    known.into_iter().chain(alike).collect()
}
