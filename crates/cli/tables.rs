//! Tables for a terminal.

use std::{collections::BTreeSet, ops::Range};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use headway_report::scores::{remarks, shown};
use headway_trainer::provenance::{self, Row};

/// A table with a header; numbers are aligned to the right. In a terminal that is narrower it is divided between columns, and
/// each part begins with the first of them, or with the first two where one does not tell rows apart.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let widths: Vec<usize> =
        plain(header, rows.iter().cloned()).column_max_content_widths().into_iter().map(usize::from).collect();
    let firsts: BTreeSet<&String> = rows.iter().filter_map(|row| row.first()).collect();
    let names = if firsts.len() < rows.len() && header.len() > 2 { 2 } else { 1 };
    let parts = parts(&widths, names, terminal_width().unwrap_or(usize::MAX));
    let part = |columns: Range<usize>| {
        let of =
            |cells: &[String]| cells.iter().take(names).chain(&cells[columns.clone()]).cloned().collect::<Vec<_>>();
        let header: Vec<&str> = header.iter().take(names).chain(&header[columns.clone()]).copied().collect();
        let mut table = plain(&header, rows.iter().map(|row| of(row)));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join("\n")
}

/// Columns behind the first ones, which name rows, in parts that fit into `width` columns of a terminal beside them; a part has one at least.
fn parts(widths: &[usize], names: usize, width: usize) -> Vec<Range<usize>> {
    // A cell has a space on either side.
    let wide = |column: usize| widths[column] + 2;
    let (mut parts, mut start) = (Vec::new(), names);
    let beside: usize = (0..names).map(wide).sum();
    let mut used = beside;
    for column in names..widths.len() {
        if column > start && used + wide(column) > width {
            parts.push(start..column);
            (start, used) = (column, beside);
        }
        used += wide(column);
    }
    parts.push(start..widths.len());
    parts
}

/// A table of texts, wrapped to the width of the terminal, or to 100 columns if there is none.
pub fn prose_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = plain(header, rows);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width()).unwrap_or(u16::MAX));
    table.to_string()
}

/// Width of the terminal in columns; `None` if there is none, or none that knows its width and says 0.
fn terminal_width() -> Option<usize> {
    Table::new().width().filter(|width| *width > 0).map(usize::from)
}

/// Width of the terminal in columns, or 100.
pub fn width() -> usize {
    terminal_width().unwrap_or(100).max(2)
}

fn plain(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header.iter().copied());
    // Rules above, below and under the header are enough.
    for between in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(between);
    }
    for row in rows {
        table.add_row(row);
    }
    table
}

/// The table of a page, formatted for a terminal.
pub fn cells(header: &[String], rows: &[Vec<Option<String>>]) -> String {
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, rows.iter().map(|row| row.iter().map(|cell| cell.clone().unwrap_or_default()).collect()))
}

/// Result rows as a table, the network first, followed by what is wrong with the scores. Scores of slices are in [`slices`].
pub fn results(rows: &[Row]) -> String {
    let names = provenance::totals(rows);
    let header: Vec<&str> = std::iter::once("").chain(names.iter().map(|name| name.as_str())).collect();
    let totals = table(&header, rows.iter().map(|row| scores(row, names.iter().map(|name| name.as_str()))));
    std::iter::once(totals).chain(rows.iter().flat_map(remarks)).collect::<Vec<_>>().join("\n")
}

fn scores<'a>(row: &Row, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    std::iter::once(row.name.clone()).chain(names.map(|name| shown(row, name).unwrap_or_default())).collect()
}

/// Most slices that a terminal is shown.
const MOST_SLICES: usize = 8;

/// A table of the first score that slices have: of all of them if they are few, else of the first, the last, and some evenly
/// between. `None` if there are no slices. The report has all.
pub fn slices(rows: &[Row]) -> Option<String> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.metrics.keys()).map(String::as_str).collect();
    let score = names.iter().find_map(|name| Some(name.split_once('[')?.0))?;
    let slice = |name: &'_ str| name.strip_prefix(score)?.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let mut slices: Vec<String> = names.iter().filter_map(|name| slice(name)).collect();
    // By their numbers, if they have some.
    let number = |slice: &String| slice.split_once('=').and_then(|(_, number)| number.parse().ok()).unwrap_or(0.0_f64);
    slices.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let shown: Vec<&String> = evenly(slices.len(), MOST_SLICES).map(|index| &slices[index]).collect();
    let header: Vec<&str> = std::iter::once(score).chain(shown.iter().map(|slice| slice.as_str())).collect();
    let keys: Vec<String> = shown.iter().map(|slice| format!("{score}[{slice}]")).collect();
    Some(table(&header, rows.iter().map(|row| scores(row, keys.iter().map(String::as_str)))))
}

/// Up to `most` of the indices below `count`, the first and the last among them.
fn evenly(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let shown = count.min(most);
    (0..shown).map(move |index| if shown < 2 { index } else { index * (count - 1) / (shown - 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_is_divided_between_columns() {
        let ends = |widths: &[usize], width| -> Vec<[usize; 2]> {
            parts(widths, 1, width).into_iter().map(|part| [part.start, part.end]).collect()
        };
        // The first column takes 5 in each part.
        assert_eq!(ends(&[3, 4, 4, 4], 17), [[1, 3], [3, 4]]);
        assert_eq!(ends(&[3, 4, 4, 4], 23), [[1, 4]]);
        assert_eq!(ends(&[3, 40, 4], 10), [[1, 2], [2, 3]]);
        assert_eq!(ends(&[3], 1), [[1, 1]]);
        // The first two take 11.
        assert_eq!(parts(&[3, 4, 4, 4], 2, 17), [2..3, 3..4]);
    }

    #[test]
    fn the_first_and_the_last_slice_are_shown() {
        assert_eq!(evenly(3, 8).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(evenly(41, 5).collect::<Vec<_>>(), [0, 10, 20, 30, 40]);
        assert_eq!(evenly(1, 8).collect::<Vec<_>>(), [0]);
    }
}
