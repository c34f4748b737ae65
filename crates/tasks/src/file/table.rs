//! A CSV table whose first line names the columns, read line by line.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

/// Largest number of bytes of a line, line ends within quotes included.
const LONGEST_LINE: usize = 1 << 20;

/// Largest number of columns.
const MOST_COLUMNS: usize = 10_000;

/// A table and its current line.
pub struct Table<R> {
    reader: Reader<Metered<R>>,
    names: Vec<String>,
    cells: StringRecord,
}

impl<R: Read + Seek> Table<R> {
    /// Opens a table and reads the names of its columns.
    ///
    /// # Errors
    /// A sentence about what is wrong with the first line.
    pub fn open(file: R) -> Result<Self, String> {
        let mut reader =
            ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(Metered { file, left: LONGEST_LINE });
        let names = reader.headers().map_err(|error| error.to_string())?;
        if names.len() > MOST_COLUMNS {
            return Err(format!("has {} columns; give {MOST_COLUMNS} or fewer", names.len()));
        }
        let names: Vec<String> = names.iter().map(str::to_owned).collect();
        if names.iter().all(String::is_empty) {
            return Err("is empty; its first line names the columns".to_owned());
        }
        Ok(Self { reader, names, cells: StringRecord::new() })
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Index of a column.
    ///
    /// # Errors
    /// A sentence with the existing columns, if there is none with this name.
    pub fn column(&self, name: &str) -> Result<usize, String> {
        let there = || format!("has no column `{name}`; there are: {}", listed(&self.names));
        self.names.iter().position(|other| other == name).ok_or_else(there)
    }

    /// Moves to the next line that is not blank; returns false at the end.
    ///
    /// # Errors
    /// A sentence about what is wrong with the line.
    pub fn next_line(&mut self) -> Result<bool, String> {
        loop {
            self.reader.get_mut().left = LONGEST_LINE;
            let read = self.reader.read_record(&mut self.cells);
            if !read.map_err(|error| format!("line {}: {error}", self.line()))? {
                return Ok(false);
            }
            if self.cells.len() == self.names.len() && self.cells.len() > 1 {
                return Ok(true);
            }
            let is_blank = self.cells.len() == 1 && self.cells[0].is_empty();
            if !is_blank {
                return if self.cells.len() == self.names.len() { Ok(true) } else { Err(self.unequal()) };
            }
        }
    }

    fn unequal(&mut self) -> String {
        let (count, columns) = (self.cells.len(), self.names.len());
        format!("line {}: {count} cells, the first line names {columns} columns", self.line())
    }

    /// Content of a column in the current line.
    pub fn cell(&self, column: usize) -> &str {
        &self.cells[column]
    }

    /// The number in a column of the current line.
    ///
    /// # Errors
    /// A sentence, if the cell is not a finite number.
    pub fn number(&mut self, column: usize) -> Result<f32, String> {
        let number = self.cells[column].parse::<f32>().ok().filter(|value| value.is_finite());
        number.ok_or_else(|| self.wrong(column, "is no number"))
    }

    /// The number in a column of the current line; `None` if the cell is empty or one of the words for a missing number.
    ///
    /// # Errors
    /// A sentence, if the cell is something else than a finite number.
    pub fn number_or_missing(&mut self, column: usize, missing: &[&str]) -> Result<Option<f32>, String> {
        let cell = &self.cells[column];
        if cell.is_empty() || missing.contains(&cell) { Ok(None) } else { self.number(column).map(Some) }
    }

    /// A sentence about what is wrong with a cell of the current line, with its position.
    pub fn wrong(&mut self, column: usize, problem: &str) -> String {
        format!("line {}, column `{}`: `{}` {problem}", self.line(), self.names[column], &self.cells[column])
    }

    /// Number of the current line in the text. It is counted from the start of the text, so call this only when reading
    /// has ended.
    pub fn line(&mut self) -> u64 {
        // The reader's position is after the last cell of the previous line, before line ends and blank lines.
        let before = self.cells.position().map_or(0, csv::Position::byte);
        line_behind(&mut self.reader.get_mut().file, before).unwrap_or_default()
    }
}

/// The first names of a list, and how many more there are.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len() {
        ..=SHOWN => names.join(", "),
        all => format!("{} and {} more", names[..SHOWN].join(", "), all - SHOWN),
    }
}

/// A file of which only so many bytes are read for one line, so that memory does not grow with a line without end.
struct Metered<R> {
    file: R,
    left: usize,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        let read = self.file.read(&mut buffer[..most])?;
        self.left -= read;
        if self.left == 0 && read == 0 && !buffer.is_empty() {
            let problem = format!("has more than {LONGEST_LINE} bytes; shorten it, or close its quote");
            return Err(io::Error::other(problem));
        }
        Ok(read)
    }
}

/// Number of the line that begins after `before` bytes and any line ends that follow them.
fn line_behind<R: Read + Seek>(file: &mut R, before: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = 1;
    for (at, byte) in (0..).zip(BufReader::new(file).bytes()) {
        match byte? {
            b'\n' => line += 1,
            b'\r' => {}
            _ if at >= before => break,
            _ => {}
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn problem(text: String) -> String {
        let read = |mut table: Table<_>| {
            while table.next_line()? {}
            table.column("missing")
        };
        Table::open(Cursor::new(text)).and_then(read).err().unwrap_or_default()
    }

    #[test]
    fn a_missing_number_is_none_and_other_words_are_refused() {
        let read = |text: &str| {
            let mut table = Table::open(Cursor::new(text.to_owned()))?;
            let mut all = Vec::new();
            while table.next_line()? {
                all.push(table.number_or_missing(1, &["N/A"])?);
            }
            Ok::<_, String>(all)
        };
        assert_eq!(read("t,x\n1,2.5\n2,N/A\n3,\n"), Ok(vec![Some(2.5), None, None]));
        assert_eq!(read("t,x\n1,2.5\n2,n/a\n"), Err("line 3, column `x`: `n/a` is no number".to_owned()));
    }

    #[test]
    fn tables_of_any_width_are_bounded_and_named_briefly() {
        let names = |count: usize| (1..=count).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
        assert_eq!(problem(names(10_001)), "has 10001 columns; give 10000 or fewer");
        let brief = "has no column `missing`; there are: c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 and 9990 more";
        assert_eq!(problem(names(10_000)), brief);
        let too_long = format!("has more than {LONGEST_LINE} bytes; shorten it, or close its quote");
        assert_eq!(problem(",".repeat(LONGEST_LINE + 1)), too_long);
        assert_eq!(problem("a,b\n1,2\n\"".to_owned() + &"1,2\n".repeat(LONGEST_LINE)), format!("line 3: {too_long}"));
        // As many lines as there are.
        assert!(problem("a,b\n".to_owned() + &"1,2\n".repeat(LONGEST_LINE)).starts_with("has no column"));
    }
}
