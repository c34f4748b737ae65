//! A text whose first line names columns, read line by line.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

/// A table, and the line of it that is being read.
pub struct Table<R> {
    reader: Reader<R>,
    names: Vec<String>,
    cells: StringRecord,
}

impl<R: Read + Seek> Table<R> {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// What is wrong with the first line.
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

    /// The number of a column.
    ///
    /// # Errors
    /// Where there is none of this name, with those that there are.
    pub fn column(&self, name: &str) -> Result<usize, String> {
        let there = || format!("has no column `{name}`; there are: {}", self.names.join(", "));
        self.names.iter().position(|other| other == name).ok_or_else(there)
    }

    /// Goes on to the next line that is not blank; false behind the last.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// What stands in a column of the line.
    pub fn cell(&self, column: usize) -> &str {
        &self.cells[column]
    }

    /// The number in a column of the line.
    ///
    /// # Errors
    /// Where there is none, or none to compute with.
    pub fn number(&mut self, column: usize) -> Result<f32, String> {
        let number = self.cells[column].parse::<f32>().ok().filter(|value| value.is_finite());
        number.ok_or_else(|| self.wrong(column, "is no number"))
    }

    /// What is wrong with a cell of the line, with its place.
    pub fn wrong(&mut self, column: usize, problem: &str) -> String {
        format!("line {}, column `{}`: `{}` {problem}", self.line(), self.names[column], &self.cells[column])
    }

    /// The number of the line in the text. To be asked where no more is read: it is counted from the beginning.
    pub fn line(&mut self) -> u64 {
        // The reader's place is behind the last cell of the line before, ahead of whatever ends that and of blank lines.
        let before = self.cells.position().map_or(0, csv::Position::byte);
        line_behind(self.reader.get_mut(), before).unwrap_or_default()
    }
}

/// The number of the line that begins behind so many bytes and all ends of lines that follow them.
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
