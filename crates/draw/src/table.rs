//! Tables of a report.

use crate::escape::escape;

/// A table with more rows than this can be searched and sorted.
const MOST_UNSEARCHED: usize = 12;

/// The table as HTML, in its own frame, which scrolls if the page is too narrow. On a phone each row is a list of its cells, with the names
/// of their columns.
///
/// Columns of numbers only are aligned to the right. The first column, if it is not one of these, holds the row
/// headings.
pub(crate) fn table(label: &str, header: &[String], rows: &[Vec<Option<String>>]) -> String {
    let width = rows.iter().map(Vec::len).fold(header.len(), usize::max);
    let numeric: Vec<bool> = (0..width).map(|column| is_numeric(rows, column)).collect();
    let head = row((0..width).map(|column| match header.get(column).map(String::as_str) {
        None | Some("") => EMPTY.to_owned(),
        Some(name) => cell("th", r#" scope="col""#, numeric[column], name),
    }));
    let named = |column: usize| match header.get(column).map(String::as_str) {
        None | Some("") => String::new(),
        Some(name) => format!(" data-label=\"{}\"", escape(name)),
    };
    let body = rows.iter().map(|cells| {
        row((0..width).map(|column| match cells.get(column).and_then(Option::as_deref) {
            None => EMPTY.to_owned(),
            Some(name) if column == 0 && !numeric[0] => cell("th", r#" scope="row""#, false, name),
            Some(text) => cell("td", &named(column), numeric[column], text),
        }))
    });
    format!(
        r#"<div class="scroll" role="group" aria-label="{}" tabindex="0">
<table{}>
<thead>
{head}</thead>
<tbody>
{}</tbody>
</table>
</div>
"#,
        escape(label),
        if rows.len() > MOST_UNSEARCHED { r#" class="long""# } else { "" },
        body.collect::<String>()
    )
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

const EMPTY: &str = "<td></td>";

fn cell(name: &str, attributes: &str, is_number: bool, text: &str) -> String {
    let class = if is_number { r#" class="number""# } else { "" };
    format!("<{name}{attributes}{class}>{}</{name}>", escape(text))
}

/// Whether all cells of the column that are not empty hold numbers.
fn is_numeric(rows: &[Vec<Option<String>>], column: usize) -> bool {
    let mut cells = rows.iter().filter_map(|row| row.get(column)?.as_deref()).peekable();
    cells.peek().is_some() && cells.all(is_number)
}

/// Whether the text is a number, possibly with a deviation, a range, a short unit or a mark: `1.2e-3`, `0.5 ± 0.1`, `34
/// MiB`, `2 †`.
fn is_number(text: &str) -> bool {
    let text = text.replace('\u{2212}', "-");
    let separators = |c: char| c.is_whitespace() || "±[](),;–…/%×<>≤≥~≈†‡".contains(c);
    let mut words = text.split(separators).filter(|word| !word.is_empty());
    let is_figure = |word: &str| word.parse::<f64>().is_ok();
    let is_unit = |word: &str| word.chars().count() <= 4 && word.chars().all(char::is_alphabetic);
    words.next().is_some_and(is_figure) && words.all(|word| is_figure(word) || is_unit(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_words() {
        for number in [
            "3",
            "-1.5",
            "\u{2212}1.5",
            "1.2e-3",
            "0.51 ± 0.02",
            "[0.1, 0.2]",
            "34 MiB",
            "97 %",
            "1.9×",
            "< 1e-6",
            "NaN",
            "0.5 [0.4, 0.6] †",
        ] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "softmax", "2-layer", "3 heads", "v0.1", "×", "attention only"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
