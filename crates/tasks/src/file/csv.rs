//! Examples from a table in a text: one line per position.

use std::collections::BTreeMap;

use super::rows::Rows;
use crate::task::{Inputs, Targets, TaskInput};

/// The column that says which example a line belongs to.
const EXAMPLE: &str = "example";

/// Inputs and targets of one line; no targets where their cells are empty.
type Line = (Vec<f32>, Option<Vec<f32>>);

/// Reads a table whose first line names the columns. Lines with the same `example` are the positions of one, in their order; without
/// that column every line is an example of one position. Where only the last line of every example has targets, the others being empty,
/// they belong to the whole sequence.
///
/// # Errors
/// What is wrong, with line and column.
pub(super) fn read(text: &str, inputs: &[String], targets: &[String]) -> Result<Rows, String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    if header.is_empty() {
        return Err("is empty; its first line names the columns".to_owned());
    }
    let names: Vec<&str> = header.iter().collect();
    let column = |name: &String| {
        let there = || format!("has no column `{name}`; there are: {}", names.join(", "));
        names.iter().position(|other| other == name).ok_or_else(there)
    };
    let columns = |names: &[String]| names.iter().map(column).collect::<Result<Vec<_>, _>>();
    let (inputs, targets) = (columns(inputs)?, columns(targets)?);
    let example = names.iter().position(|name| *name == EXAMPLE);
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut examples: Vec<Vec<Line>> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        // The reader's place is behind the last cell of the record before, ahead of whatever ends that line and of blank ones.
        let line = || {
            let before = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or_default());
            let ends = text[before..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            1 + text[..before + ends].matches('\n').count()
        };
        if record.len() != names.len() {
            let count = record.len();
            return Err(format!("line {}: {count} cells, the first line names {} columns", line(), names.len()));
        }
        let number = |column: &usize| {
            let (cell, name) = (&record[*column], names[*column]);
            let wrong = || format!("line {}, column `{name}`: `{cell}` is no number", line());
            cell.parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(wrong)
        };
        let numbers = |columns: &[usize]| columns.iter().map(number).collect::<Result<Vec<f32>, String>>();
        let is_asked = !targets.iter().all(|column| record[*column].is_empty());
        let row = (numbers(&inputs)?, if is_asked { Some(numbers(&targets)?) } else { None });
        let place = match example {
            Some(column) => *places.entry(record[column].to_owned()).or_insert(examples.len()),
            None => examples.len(),
        };
        if place == examples.len() {
            examples.push(Vec::new());
        }
        examples[place].push(row);
    }
    let seq_len = examples.first().map_or(0, Vec::len);
    if seq_len == 0 {
        return Err("holds no examples below its first line".to_owned());
    }
    let last = seq_len > 1 && examples[0][0].1.is_none();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (number, rows) in examples.iter().enumerate() {
        let name = || {
            places
                .iter()
                .find(|(_, place)| **place == number)
                .map_or((number + 1).to_string(), |(name, _)| name.clone())
        };
        if rows.len() != seq_len {
            return Err(format!(
                "example {}: {} lines, the first has {seq_len}; all must be equally long",
                name(),
                rows.len()
            ));
        }
        for (position, (inputs, targets)) in rows.iter().enumerate() {
            x.extend(inputs);
            match targets {
                Some(targets) if !last || position + 1 == seq_len => y.extend(targets),
                None if last && position + 1 < seq_len => {}
                _ => {
                    let problem = "give targets at every line, or at the last of every example alone";
                    return Err(format!("example {}, line {} of it: {problem}", name(), position + 1));
                }
            }
        }
    }
    let input = TaskInput::Continuous { d_in: inputs.len() };
    let (inputs, d_out) = (Inputs::Continuous(x), targets.len());
    Ok(Rows { n: examples.len(), seq_len, input, d_out, inputs, targets: Targets::Continuous(y), last })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// The error of a table with inputs `a` and targets `b, c`.
    fn problem(text: &str) -> String {
        read(text, &["a".to_owned()], &["b, c".to_owned()]).err().unwrap_or_default()
    }

    #[test]
    fn quotes_and_ends_of_lines_of_every_kind_are_read_and_lines_counted() {
        let sound = "\u{feff}a,note,\"b, c\"\r\n1,\"x, \"\"y\"\"\",2\r\n 3 ,,4\r\n\r\n";
        let rows = read(sound, &["a".to_owned()], &["b, c".to_owned()]).unwrap();
        assert_eq!((rows.n, rows.seq_len), (2, 1));
        assert!(matches!(rows.inputs, Inputs::Continuous(x) if x == [1.0, 3.0]));
        assert!(matches!(rows.targets, Targets::Continuous(y) if y == [2.0, 4.0]));
        for ending in ["\n", "\r\n"] {
            let wrong = ["a,\"b, c\"", "1,2", "", "x,4"].join(ending);
            assert_eq!(problem(&wrong), "line 4, column `a`: `x` is no number");
            let short = ["a,\"b, c\"", "1,2", "3"].join(ending);
            assert_eq!(problem(&short), "line 3: 1 cells, the first line names 2 columns");
        }
        assert_eq!(problem(" \n"), "is empty; its first line names the columns");
    }
}
