//! A report: one HTML page that explains a result and says how to get it again.

use crate::{escape::escape, table::table};

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// What was done and what came out; an empty line starts a new paragraph.
    pub summary: String,
    /// Command line that makes this report again.
    pub command: String,
    /// Content, first to last.
    pub sections: Vec<Section>,
}

/// A part of a report under its own heading.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    /// Named columns.
    Table {
        /// Heading.
        title: String,
        /// What the numbers mean, with their units; may be empty.
        note: String,
        /// Column names.
        header: Vec<String>,
        /// Cells; a missing number is `None`, an empty cell.
        rows: Vec<Vec<Option<String>>>,
    },
    /// A drawing.
    Figure {
        /// Heading.
        title: String,
        /// Caption; may be empty.
        note: String,
        /// Markup from [`crate::Figure::to_svg`]; it enters the page as it is.
        svg: String,
    },
    /// Preformatted text, for example TOML.
    Text {
        /// Heading.
        title: String,
        /// The text, line breaks and spaces kept.
        body: String,
    },
}

/// Colours, measures and type of the page.
const STYLE: &str = include_str!("report.css");

impl Report {
    /// The report as one self-contained HTML5 document: no script, no download, light or dark as readers prefer.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let summary: String = self.summary.split("\n\n").map(|text| element("p", text)).collect();
        let sections: String =
            self.sections.iter().enumerate().map(|(index, section)| section.to_html(index + 1)).collect();
        // Elements without content end in `/>`, so that the page is well-formed XML too.
        format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
{summary}{}</header>
{sections}</main>
</body>
</html>
"#,
            command(&self.command)
        )
    }
}

impl Section {
    fn to_html(&self, number: usize) -> String {
        let (title, content) = match self {
            Self::Table { title, note, header, rows } => {
                (title, element(r#"p class="note""#, note) + &table(title, header, rows))
            }
            Self::Figure { title, note, svg } => {
                (title, format!("<figure>\n{svg}{}</figure>\n", element("figcaption", note)))
            }
            Self::Text { title, body } => (title, preformatted(title, body)),
        };
        let id = format!("section-{number}");
        format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n{content}</section>\n", escape(title))
    }
}

/// `<opening>text</name>`, or nothing where there is no text.
fn element(opening: &str, text: &str) -> String {
    let name = opening.split(' ').next().unwrap_or(opening);
    match text.trim() {
        "" => String::new(),
        text => format!("<{opening}>{}</{name}>\n", escape(text)),
    }
}

/// Text as it is typed. It can be reached with the keyboard, since long lines scroll.
fn preformatted(label: &str, body: &str) -> String {
    // HTML drops a line break right after <pre>; this one is there to be dropped.
    format!("<pre role=\"group\" aria-label=\"{}\" tabindex=\"0\">\n{}</pre>\n", escape(label), escape(body))
}

fn command(command: &str) -> String {
    let label = "To make this page again";
    if command.is_empty() { String::new() } else { element(r#"p class="note""#, label) + &preformatted(label, command) }
}
