//! Sequences of letters with names, as biology writes them: FASTA.

/// A sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its first line, without the `>`.
    pub name: String,
    /// Number of that line, from 1.
    pub line: usize,
    /// Its letters, of all its lines, in upper case.
    pub letters: String,
}

/// Reads sequences whose letters are all among `known`, which are in upper case.
///
/// # Errors
/// A sentence about what is wrong, with line and column.
pub fn read(bytes: &[u8], known: &str) -> Result<Vec<Record>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("line {line}: no UTF-8 text")
    })?;
    let mut records: Vec<Record> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_end();
        if let Some(name) = text.strip_prefix('>') {
            ensure_letters(records.last())?;
            records.push(Record { name: name.trim().to_owned(), line, letters: String::new() });
            continue;
        }
        let Some(record) = records.last_mut() else {
            if text.is_empty() {
                continue;
            }
            return Err(format!("line {line}: letters before the first name; a name is a line that begins with >"));
        };
        for (column, letter) in (1..).zip(text.chars()) {
            let upper = letter.to_ascii_uppercase();
            if !known.contains(upper) {
                return Err(format!(
                    "line {line}, column {column}: {letter:?} is no letter of these sequences: {known}"
                ));
            }
            record.letters.push(upper);
        }
    }
    ensure_letters(records.last())?;
    if records.is_empty() { Err("holds no sequences".to_owned()) } else { Ok(records) }
}

fn ensure_letters(record: Option<&Record>) -> Result<(), String> {
    match record.filter(|record| record.letters.is_empty()) {
        Some(record) => Err(format!("line {}: `{}` has no letters", record.line, record.name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_one_line_and_of_several_are_read() {
        let read = read(b"\n>P1 first OS=x\nACD\r\nea\n\n>P2\nA\n", "ACDE");
        let record =
            |name: &str, line, letters: &str| Record { name: name.to_owned(), line, letters: letters.to_owned() };
        assert_eq!(read, Ok(vec![record("P1 first OS=x", 2, "ACDEA"), record("P2", 6, "A")]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let problem = |text: &[u8]| read(text, "ACDE").err().unwrap_or_default();
        assert_eq!(problem(b"ACD\n"), "line 1: letters before the first name; a name is a line that begins with >");
        assert_eq!(problem(b">P1\nACD\nAXD\n"), "line 3, column 2: 'X' is no letter of these sequences: ACDE");
        assert_eq!(problem(b">P1\n>P2\nA"), "line 1: `P1` has no letters");
        assert_eq!(problem(b">P1\nA\n>P2\n"), "line 3: `P2` has no letters");
        assert_eq!(problem(b"\n"), "holds no sequences");
        assert_eq!(problem(b">P1\nA\n\xff"), "line 3: no UTF-8 text");
    }
}
