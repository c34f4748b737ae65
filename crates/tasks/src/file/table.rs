//! A CSV table whose first line names the columns, read line by line.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

/// A table and its current line.
pub struct Table<R> {
    reader: Reader<R>,
    names: Vec<String>,
    cells: StringRecord,
}

impl<R: Read + Seek> Table<R> {
    /// Opens a table and reads the names of its columns.
    ///
    /// # Errors
    /// A sentence about what is wrong with the first line.
    pub fn open(file: R) -> Result<Self, String> {
        let mut reader = ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(file);
        let names: Vec<String> =
            reader.headers().map_err(|error| error.to_string())?.iter().map(str::to_owned).collect();
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
        let there = || format!("has no column `{name}`; there are: {}", self.names.join(", "));
        self.names.iter().position(|other| other == name).ok_or_else(there)
    }

    /// Moves to the next line that is not blank; returns false at the end.
    ///
    /// # Errors
    /// A sentence about what is wrong with the line.
    pub fn next_line(&mut self) -> Result<bool, String> {
        loop {
            if !self.reader.read_record(&mut self.cells).map_err(|error| error.to_string())? {
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

    /// A sentence about what is wrong with a cell of the current line, with its position.
    pub fn wrong(&mut self, column: usize, problem: &str) -> String {
        format!("line {}, column `{}`: `{}` {problem}", self.line(), self.names[column], &self.cells[column])
    }

    /// Number of the current line in the text. It is counted from the start of the text, so call this only when reading
    /// has ended.
    pub fn line(&mut self) -> u64 {
        // The reader's position is after the last cell of the previous line, before line ends and blank lines.
        let before = self.cells.position().map_or(0, csv::Position::byte);
        line_behind(self.reader.get_mut(), before).unwrap_or_default()
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
