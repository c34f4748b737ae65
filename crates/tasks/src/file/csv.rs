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
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or("is empty; its first line names the columns")?;
    let names: Vec<&str> = cells(header).collect();
    let column = |name: &String| {
        let there = || format!("has no column `{name}`; there are: {}", names.join(", "));
        names.iter().position(|other| other == name).ok_or_else(there)
    };
    let columns = |names: &[String]| names.iter().map(column).collect::<Result<Vec<_>, _>>();
    let (inputs, targets) = (columns(inputs)?, columns(targets)?);
    let example = names.iter().position(|name| *name == EXAMPLE);
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut examples: Vec<Vec<Line>> = Vec::new();
    for (at, line) in lines {
        let cells: Vec<&str> = cells(line).collect();
        if cells.len() != names.len() {
            return Err(format!(
                "line {}: {} cells, the first line names {} columns",
                at + 1,
                cells.len(),
                names.len()
            ));
        }
        let number = |column: &usize| {
            let (cell, name) = (cells[*column], names[*column]);
            let wrong = || format!("line {}, column `{name}`: `{cell}` is no number", at + 1);
            cell.parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(wrong)
        };
        let numbers = |columns: &[usize]| columns.iter().map(number).collect::<Result<Vec<f32>, String>>();
        let is_asked = !targets.iter().all(|column| cells[*column].is_empty());
        let row = (numbers(&inputs)?, if is_asked { Some(numbers(&targets)?) } else { None });
        let place = match example {
            Some(column) => *places.entry(cells[column].to_owned()).or_insert(examples.len()),
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

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"'))
}
