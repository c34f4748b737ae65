//! Tables as CSV files.

use csv::{Terminator, WriterBuilder};

/// Characters that start a formula in spreadsheets, including their full-width forms.
///
/// # References
/// OWASP, "CSV Injection".
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The table as CSV with a header line, following RFC 4180 except that lines end in `\n`. Cells with commas, quotes or
/// line breaks are quoted; a missing number is an empty cell; short rows are filled with empty cells.
///
/// A text that a spreadsheet would take for a formula is preceded by `'`; a number never is.
pub fn csv(header: &[String], rows: &[Vec<Option<String>>]) -> String {
    let width = rows.iter().map(Vec::len).fold(header.len(), usize::max);
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let filled =
        |cells: Vec<String>| cells.into_iter().map(defused).chain(std::iter::repeat_with(String::new)).take(width);
    let rows = rows.iter().map(|row| row.iter().map(|cell| cell.clone().unwrap_or_default()).collect());
    for row in std::iter::once(header.to_vec()).chain(rows).filter(|_| width > 0) {
        // Writing rows of equal length to memory cannot fail.
        let _ = writer.write_record(filled(row));
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The cell, preceded by `'` if it looks like a formula and is not a number.
fn defused(cell: String) -> String {
    let is_harmless = !cell.starts_with(FORMULA) || cell.parse::<f64>().is_ok();
    if is_harmless { cell } else { format!("'{cell}") }
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
    fn no_text_is_a_formula_and_every_number_stays() {
        let texts = ["=1+1", "-2+3: =cmd|'/C calc'!A0", "+1+1", "@SUM(A1)", "\t=1", "＝1", "- 0 1"];
        for text in texts {
            let found = table(&[text], &[&["1", text]]);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(found.as_bytes());
            let cells: Vec<_> = reader.records().flatten().collect();
            assert_eq!((&cells[0][0], &cells[1][1]), (format!("'{text}").as_str(), format!("'{text}").as_str()));
        }
        assert_eq!(table(&["a"], &[&["-1.5", "+2e3", "-inf", "-0.0"]]), "a,,,\n-1.5,+2e3,-inf,-0.0\n");
        assert_eq!(table(&["a"], &[&["a=b", "1-2", "'=1"]]), "a,,\na=b,1-2,'=1\n");
    }

    #[test]
    fn every_row_is_as_wide_as_the_widest() {
        assert_eq!(table(&["a"], &[&["1", "2", "3"], &[]]), "a,,\n1,2,3\n,,\n");
        assert_eq!(table(&[], &[]), "");
    }
}
