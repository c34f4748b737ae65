//! A table as CSV, for programs.

use csv::{Terminator, WriterBuilder};

/// The table as CSV with a header line, as RFC 4180 has it but for its line ends, which are `\n`: cells with commas, quotes or
/// line breaks are quoted; a missing number is an empty cell. Short rows are filled with empty cells.
pub fn csv(header: &[String], rows: &[Vec<Option<String>>]) -> String {
    let width = rows.iter().map(Vec::len).fold(header.len(), usize::max);
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let filled = |cells: Vec<String>| cells.into_iter().chain(std::iter::repeat_with(String::new)).take(width);
    let rows = rows.iter().map(|row| row.iter().map(|cell| cell.clone().unwrap_or_default()).collect());
    for row in std::iter::once(header.to_vec()).chain(rows).filter(|_| width > 0) {
        // Writing rows of one width to memory does not fail.
        let _ = writer.write_record(filled(row));
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::csv;

    fn table(header: &[&str], rows: &[&[&str]]) -> String {
        let texts = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<String>>();
        let cells = |row: &&[&str]| texts(row).into_iter().map(|cell| (cell != "-").then_some(cell)).collect();
        csv(&texts(header), &rows.iter().map(cells).collect::<Vec<_>>())
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let found = table(&["a,b", "\"c\""], &[&["1e-3", "-"], &["x\ny", " z "], &["-"]]);
        assert_eq!(found, "\"a,b\",\"\"\"c\"\"\"\n1e-3,\n\"x\ny\", z \n,\n");
    }

    #[test]
    fn every_row_is_as_wide_as_the_widest() {
        assert_eq!(table(&["a"], &[&["1", "2", "3"], &[]]), "a,,\n1,2,3\n,,\n");
        assert_eq!(table(&[], &[]), "");
    }
}
