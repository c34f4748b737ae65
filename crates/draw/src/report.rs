//! A report: one HTML page that explains a result and says how to reproduce it.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{escape::escape, table::table};

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// The answer, in one sentence on top; may be empty.
    pub verdict: String,
    /// What was done and what came out; an empty line starts a new paragraph.
    pub summary: String,
    /// The day of the results, as people write it; may be empty.
    pub date: String,
    /// Command line that makes this report again.
    pub command: String,
    /// Sections in the order of the page.
    pub sections: Vec<Section>,
}

/// A part of a report under its own heading.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    /// A table with named columns.
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
        /// Markup from [`crate::Figure::to_svg`], [`crate::Forest::to_svg`] or [`crate::Patterns::to_svg`]; it enters the page
        /// as it is.
        svg: String,
    },
    /// Plain paragraphs, for example findings.
    Prose {
        /// Heading.
        title: String,
        /// The text; an empty line starts a new paragraph.
        body: String,
    },
    /// A list of files beside the page.
    Files {
        /// Heading.
        title: String,
        /// What they have in common; may be empty.
        note: String,
        /// Files in the order of the list.
        files: Vec<File>,
    },
    /// Preformatted text, for example TOML.
    Text {
        /// Heading.
        title: String,
        /// The text; line breaks and spaces are kept.
        body: String,
    },
}

/// A file beside the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Path relative to the page, parts separated by `/`.
    pub path: String,
    /// What it holds; may be empty.
    pub note: String,
}

/// A page with more sections than this begins with a list of them.
const MOST_UNLISTED: usize = 4;

/// Style sheet of the page.
const STYLE: &str = include_str!("report.css");
/// What long tables can do. The page's policy names its digest, so that no other script runs.
const SCRIPT: &str = include_str!("report.js");

impl Report {
    /// The report as one self-contained HTML5 document: no downloads, light or dark as the reader prefers, complete without its
    /// script, by which long tables are searched and sorted.
    ///
    /// The anchor of a section is its title in lower case with words joined by hyphens; a second section with the same
    /// title gets `-2`.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let anchors = anchors(self.sections.iter().map(Section::title));
        let sections: String =
            self.sections.iter().zip(&anchors).map(|(section, anchor)| section.to_html(anchor)).collect();
        let script = format!("\n{SCRIPT}");
        let digest = STANDARD.encode(Sha256::digest(&script));
        // Elements without content end in `/>`, so that the page is well-formed XML too.
        format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"/>
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
{}{}{}{}{}</header>
{sections}</main>
<script>{script}</script>
</body>
</html>
"#,
            element(r#"p class="verdict""#, &self.verdict),
            element(r#"p class="date""#, &self.date),
            paragraphs(&self.summary),
            command(&self.command),
            self.contents(&anchors)
        )
    }

    /// Links to the sections; empty if there are few.
    fn contents(&self, anchors: &[String]) -> String {
        if self.sections.len() <= MOST_UNLISTED {
            return String::new();
        }
        let link = |(section, anchor): (&Section, &String)| {
            format!("<li><a href=\"#{anchor}\">{}</a></li>\n", escape(section.title()))
        };
        let links: String = self.sections.iter().zip(anchors).map(link).collect();
        format!("<nav aria-label=\"Contents\">\n<ol>\n{links}</ol>\n</nav>\n")
    }
}

impl Section {
    fn title(&self) -> &str {
        match self {
            Self::Table { title, .. }
            | Self::Figure { title, .. }
            | Self::Prose { title, .. }
            | Self::Files { title, .. }
            | Self::Text { title, .. } => title,
        }
    }

    fn to_html(&self, anchor: &str) -> String {
        let content = match self {
            Self::Table { title, note, header, rows } => {
                element(r#"p class="note""#, note) + &table(title, header, rows)
            }
            Self::Figure { note, svg, .. } => format!("<figure>\n{svg}{}</figure>\n", element("figcaption", note)),
            Self::Prose { body, .. } => paragraphs(body),
            Self::Files { note, files, .. } => element(r#"p class="note""#, note) + &list(files),
            Self::Text { title, body } => preformatted(title, body),
        };
        let title = escape(self.title());
        format!("<section aria-labelledby=\"{anchor}\">\n<h2 id=\"{anchor}\">{title}</h2>\n{content}</section>\n")
    }
}

/// One anchor per title, all different.
fn anchors<'a>(titles: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for title in titles {
        let anchor = anchor(title);
        let numbered = (2..).map(|count| format!("{anchor}-{count}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|candidate| !anchors.contains(candidate));
        anchors.extend(free);
    }
    anchors
}

/// Letters and digits in lower case; everything between them becomes one hyphen.
fn anchor(title: &str) -> String {
    let lower = title.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "section".to_owned() } else { words.join("-") }
}

fn list(files: &[File]) -> String {
    let item = |File { path, note }: &File| {
        let note = if note.is_empty() { String::new() } else { format!(" <span>{}</span>", escape(note)) };
        format!("<li><a href=\"{}\">{}</a>{note}</li>\n", escape(&relative(path)), escape(path))
    };
    let items: String = files.iter().map(item).collect();
    if items.is_empty() { String::new() } else { format!("<ul class=\"files\">\n{items}</ul>\n") }
}

/// The path as a relative URL that cannot lead to another host or scheme: `./`, then the path with special characters
/// percent-encoded.
fn relative(path: &str) -> String {
    let mut address = ".".to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        address.push('/');
        for byte in part.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => address.push(char::from(byte)),
                // Writing to a string does not fail.
                _ => _ = write!(address, "%{byte:02X}"),
            }
        }
    }
    address
}

/// One paragraph per block of text between empty lines.
fn paragraphs(text: &str) -> String {
    text.split("\n\n").map(|text| element("p", text)).collect()
}

/// `<opening>text</name>`, or an empty string if there is no text.
fn element(opening: &str, text: &str) -> String {
    let name = opening.split(' ').next().unwrap_or(opening);
    match text.trim() {
        "" => String::new(),
        text => format!("<{opening}>{}</{name}>\n", escape(text)),
    }
}

/// Preformatted text. It can be focused with the keyboard, because long lines scroll.
fn preformatted(label: &str, body: &str) -> String {
    // HTML drops a line break right after <pre>, so one is added to be dropped.
    format!("<pre role=\"group\" aria-label=\"{}\" tabindex=\"0\">\n{}</pre>\n", escape(label), escape(body))
}

fn command(command: &str) -> String {
    let label = "To make this page again";
    if command.is_empty() { String::new() } else { element(r#"p class="note""#, label) + &preformatted(label, command) }
}
