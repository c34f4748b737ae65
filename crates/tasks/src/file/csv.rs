//! Examples from a CSV table, with one line per position.

use std::io::{Cursor, Read, Seek};

use super::{
    FileConfig,
    rows::{NO_ID, Rows, id, ids},
    table::Table,
};
use crate::batch::{Inputs, Targets, TaskInput};

/// Name of the column that says which example a line belongs to.
pub const EXAMPLE: &str = "example";

/// Reads a table whose first line names the columns. Lines with the same `example` are the positions of one example, in
/// their order; without that column every line is an example with one position. If only the last line of every example
/// has targets and the other cells are empty, the targets belong to the whole sequence.
///
/// # Errors
/// A sentence about what is wrong, with line and column.
pub(super) fn read(bytes: &[u8], config: &FileConfig) -> Result<Rows, String> {
    let mut table = Table::open(Cursor::new(bytes))?;
    let columns = |names: &[String]| names.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>();
    let (inputs, targets) = (columns(&config.inputs)?, columns(&config.targets)?);
    let (has_tokens, has_classes) = (config.has_tokens(false), config.has_classes(false));
    for (names, is_id, key) in [(&inputs, has_tokens, "tokens"), (&targets, has_classes, "classes")] {
        if is_id && names.len() != 1 {
            return Err(format!("{} columns of {key}; name one", names.len()));
        }
    }
    if config.horizon {
        return Err("horizon is for arrays; in a table, name a column of targets for each step".to_owned());
    }
    let example = table.column(EXAMPLE).ok();
    let group = config.group.as_deref().map(|name| table.column(name)).transpose()?;

    // Row by row, so that the memory needed is proportional to the size of the text.
    let (mut x, mut y, mut is_asked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut examples, mut groups) = (Cells::default(), Cells::default());
    while table.next_line()? {
        numbers(&mut table, &inputs, has_tokens, &mut x)?;
        let asked = !targets.iter().all(|column| table.cell(*column).is_empty());
        if asked {
            numbers(&mut table, &targets, has_classes, &mut y)?;
        }
        is_asked.push(asked);
        for (column, cells) in [(example, &mut examples), (group, &mut groups)] {
            if let Some(column) = column {
                cells.push(table.cell(column))?;
            }
        }
    }
    let lines = is_asked.len();
    if lines == 0 {
        return Err("holds no examples below its first line".to_owned());
    }
    let name = |line: usize| if example.is_some() { examples.get(line).to_owned() } else { (line + 1).to_string() };
    let group_of_line = groups.numbered();
    let mut order: Vec<u32> = Vec::new();
    let mut seq_len = 1;
    if example.is_some() {
        let example_of = examples.numbered();
        order.extend(0..lines as u32);
        order.sort_by_key(|line| example_of[*line as usize]);
        let of_one = |a: &u32, b: &u32| example_of[*a as usize] == example_of[*b as usize];
        seq_len = order.chunk_by(of_one).next().map_or(1, <[u32]>::len);
        if let Some(other) = order.chunk_by(of_one).find(|lines| lines.len() != seq_len) {
            let (name, len) = (name(other[0] as usize), other.len());
            return Err(format!("example {name}: {len} lines, the first has {seq_len}; all must be equally long"));
        }
        if !order.is_sorted() {
            let width = inputs.len();
            x = order.iter().flat_map(|line| &x[*line as usize * width..][..width]).copied().collect();
            let asked_before: Vec<usize> = is_asked
                .iter()
                .scan(0, |count, asked| {
                    *count += usize::from(*asked);
                    Some(*count - usize::from(*asked))
                })
                .collect();
            let asked = order.iter().map(|line| *line as usize).filter(|line| is_asked[*line]);
            let width = targets.len();
            y = asked.flat_map(|line| &y[asked_before[line] * width..][..width]).copied().collect();
        }
    }
    let line_at = |place: usize| order.get(place).map_or(place, |line| *line as usize);
    let last = seq_len > 1 && !is_asked[line_at(0)];
    for place in 0..lines {
        let (line, position) = (line_at(place), place % seq_len);
        if is_asked[line] != (!last || position + 1 == seq_len) {
            let problem = "give targets at every line, or at the last of every example alone";
            return Err(format!("example {}, line {} of it: {problem}", name(line), position + 1));
        }
        let first = line_at(place - position);
        if group.is_some() && group_of_line[line] != group_of_line[first] {
            return Err(format!(
                "example {}: lines of two groups, {} and {}",
                name(line),
                groups.get(first),
                groups.get(line)
            ));
        }
    }
    let n = lines / seq_len;
    let (input, inputs) = if has_tokens {
        let (tokens, vocab) = ids(x, "tokens", config.tokens)?;
        (TaskInput::Tokens { vocab }, Inputs::Tokens(tokens))
    } else {
        (TaskInput::Continuous { d_in: inputs.len() }, Inputs::Continuous(x))
    };
    let (targets, d_out) = if has_classes {
        let (classes, d_out) = ids(y, "classes", config.classes)?;
        (Targets::Classes(classes), d_out)
    } else {
        (Targets::Continuous(y), targets.len())
    };
    let groups = group.is_some().then(|| (0..n).map(|example| group_of_line[line_at(example * seq_len)]).collect());
    Ok(Rows { n, seq_len, input, d_out, inputs, targets, answer: last.then(|| vec![d_out]), groups })
}

/// Appends the numbers in some columns of the current line.
fn numbers<R: Read + Seek>(
    table: &mut Table<R>,
    columns: &[usize],
    are_ids: bool,
    all: &mut Vec<f32>,
) -> Result<(), String> {
    for &column in columns {
        let number = table.number(column)?;
        if are_ids && id(number).is_none() {
            return Err(table.wrong(column, NO_ID));
        }
        all.push(number);
    }
    Ok(())
}

/// The cells of a column, stored one after the other.
#[derive(Default)]
struct Cells {
    text: String,
    ends: Vec<u32>,
}

impl Cells {
    fn push(&mut self, cell: &str) -> Result<(), String> {
        self.text.push_str(cell);
        self.ends.push(u32::try_from(self.text.len()).map_err(|_| "has a column of more than 4 GB")?);
        Ok(())
    }

    fn get(&self, line: usize) -> &str {
        let begin = line.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[begin..self.ends[line] as usize]
    }

    /// A number for each cell, equal for equal cells, counted in the order of first occurrence.
    fn numbered(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        let get = |line: &u32| self.get(*line as usize);
        order.sort_unstable_by(|a, b| get(a).cmp(get(b)).then(a.cmp(b)));
        // First store the index of the first line with the same content, which is never later.
        let mut numbers = vec![0; order.len()];
        for same in order.chunk_by(|a, b| get(a) == get(b)) {
            for line in same {
                numbers[*line as usize] = same[0];
            }
        }
        let mut count = 0;
        for line in 0..numbers.len() {
            numbers[line] = if numbers[line] as usize == line {
                count += 1;
                count - 1
            } else {
                numbers[numbers[line] as usize]
            };
        }
        numbers
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::file::Ids;

    fn config() -> FileConfig {
        FileConfig { inputs: vec!["a".to_owned()], targets: vec!["b, c".to_owned()], ..FileConfig::default() }
    }

    /// The error message for a table with inputs `a` and targets `b, c`.
    fn problem(text: &str) -> String {
        read(text.as_bytes(), &config()).err().unwrap_or_default()
    }

    #[test]
    fn quotes_and_ends_of_lines_of_every_kind_are_read_and_lines_counted() {
        let sound = "\u{feff}a,note,\"b, c\"\r\n1,\"x, \"\"y\"\"\",2\r\n 3 ,,4\r\n\r\n  \n";
        let rows = read(sound.as_bytes(), &config()).unwrap();
        assert_eq!((rows.n, rows.seq_len), (2, 1));
        assert!(matches!(rows.inputs, Inputs::Continuous(x) if x == [1.0, 3.0]));
        assert!(matches!(rows.targets, Targets::Continuous(y) if y == [2.0, 4.0]));
        for ending in ["\n", "\r\n"] {
            for mark in ["", "\u{feff}"] {
                let wrong = mark.to_owned() + &["a,\"b, c\"", "1,2", "", "x,4"].join(ending);
                assert_eq!(problem(&wrong), "line 4, column `a`: `x` is no number");
                let short = mark.to_owned() + &["a,\"b, c\"", "1,2", "3"].join(ending);
                assert_eq!(problem(&short), "line 3: 1 cells, the first line names 2 columns");
            }
        }
        assert_eq!(problem(" \n"), "is empty; its first line names the columns");
    }

    #[test]
    fn lines_of_an_example_need_not_stand_together_and_whole_numbers_are_ids_where_asked_for() {
        let text = "example,a,\"b, c\",g\nn,1,,x\nm,5,,y\nn,2,7,x\nm,6,8,y\n";
        let config = FileConfig { group: Some("g".to_owned()), ..config() };
        let rows = read(text.as_bytes(), &config).unwrap();
        assert_eq!((rows.n, rows.seq_len, rows.answer), (2, 2, Some(vec![1])));
        assert_eq!(rows.inputs, Inputs::Continuous(vec![1.0, 2.0, 5.0, 6.0]));
        assert_eq!(rows.targets, Targets::Continuous(vec![7.0, 8.0]));
        assert_eq!(rows.groups, Some(vec![0, 1]));
        let ids = FileConfig { tokens: Some(Ids::Below(9)), classes: Some(Ids::Are(true)), ..config.clone() };
        let rows = read(text.as_bytes(), &ids).unwrap();
        assert_eq!((rows.input, rows.d_out), (TaskInput::Tokens { vocab: 9 }, 9));
        assert_eq!(rows.targets, Targets::Classes(vec![7, 8]));
        let problem = |text: &str, config: &FileConfig| read(text.as_bytes(), config).err().unwrap_or_default();
        let few = FileConfig { tokens: Some(Ids::Below(6)), ..config.clone() };
        assert_eq!(problem(text, &few), "tokens = 6, and there is 6 among them: give 7 or more");
        let half = problem(&text.replace("m,6", "m,6.5"), &ids);
        assert_eq!(half, "line 5, column `a`: `6.5` is no id: give whole numbers from 0 up");
        assert_eq!(problem(&text.replace("6,8,y", "6,8,x"), &config), "example m: lines of two groups, y and x");
    }
}
