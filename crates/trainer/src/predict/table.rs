//! Examples and answers as tables: a line for each position.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    io::{self, Read, Seek},
};

use csv::Writer;
use headway_tasks::{
    DataNames,
    file::{EXAMPLE, table::Table},
};

use super::{Examples, Form, Out, ReadExamples, WriteAnswers, likeliest};
use crate::bad_inputs::BadInputs;

/// A file or its bytes.
pub(super) trait Rows: Read + Seek {}

impl<T: Read + Seek> Rows for T {}

/// Examples of a table; the lines of an example are next to each other.
pub(super) struct TableExamples<'a> {
    table: Table<Box<dyn Rows>>,
    form: &'a Form,
    columns: Vec<usize>,
    /// Index of the column that says which lines belong to one example; `None` if each line is an example.
    example: Option<usize>,
    /// Whether a line has been read that is not yet part of an example.
    is_ahead: bool,
    /// Digests of the names of the examples so far.
    met: HashSet<u64>,
    /// An example already read that starts the next batch because its length differs; `None` if there is none.
    held: Option<Example>,
}

/// An example: its name and its numbers.
struct Example {
    name: String,
    values: Vec<f32>,
}

impl<'a> TableExamples<'a> {
    /// Reads the columns that the network was trained on; if it was not trained on a table, all except `example`.
    pub fn open(file: Box<dyn Rows>, form: &'a Form, names: Option<DataNames<'_>>) -> Result<Self, BadInputs> {
        let table = Table::open(file).map_err(BadInputs::Unreadable)?;
        let columns = if let Some(DataNames { inputs, are_columns: true, .. }) = names {
            let columns = inputs.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>();
            columns.map_err(BadInputs::Unreadable)?
        } else {
            (0..table.names().len()).filter(|column| table.names()[*column] != EXAMPLE).collect()
        };
        if columns.len() != form.d_in() {
            let found = columns.iter().map(|column| table.names()[*column].clone()).collect();
            return Err(BadInputs::Columns { found, wanted: form.d_in() });
        }
        let (example, seq_len) = (table.column(EXAMPLE).ok(), form.dims.seq_len);
        if example.is_none() && seq_len > 1 {
            return Err(BadInputs::NoExamples { column: EXAMPLE, seq_len });
        }
        Ok(Self { table, form, columns, example, is_ahead: false, met: HashSet::new(), held: None })
    }

    /// Whether a column says which lines belong to one example.
    pub fn has_names(&self) -> bool {
        self.example.is_some()
    }

    fn next_line(&mut self) -> Result<bool, BadInputs> {
        self.is_ahead = self.table.next_line().map_err(BadInputs::Unreadable)?;
        Ok(self.is_ahead)
    }

    fn name(&self) -> &str {
        self.example.map_or("", |column| self.table.cell(column))
    }

    fn next_example(&mut self) -> Result<Option<Example>, BadInputs> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        if !self.is_ahead && !self.next_line()? {
            return Ok(None);
        }
        let name = self.name().to_owned();
        let mut digest = DefaultHasher::new();
        name.hash(&mut digest);
        if self.example.is_some() && !self.met.insert(digest.finish()) {
            return Err(BadInputs::Apart { line: self.table.line(), example: name });
        }
        let mut values = Vec::new();
        loop {
            for &column in &self.columns {
                let value = self.table.number(column).map_err(BadInputs::Unreadable)?;
                if let Some(problem) = self.form.problem(value) {
                    return Err(BadInputs::Unreadable(self.table.wrong(column, &format!("is {problem}"))));
                }
                values.push(value);
            }
            let found = values.len() / self.columns.len();
            let is_over = !self.next_line()? || self.example.is_none() || self.name() != name;
            if is_over && self.form.takes_length(found) {
                return Ok(Some(Example { name, values }));
            } else if is_over {
                return Err(BadInputs::Length { example: name, found, taken: self.form.lengths() });
            } else if found == self.form.dims.seq_len {
                // Refused before more is read than an example can have.
                return Err(BadInputs::TooLong { example: name, longest: found });
            }
        }
    }
}

impl ReadExamples for TableExamples<'_> {
    fn total(&self) -> Option<usize> {
        None
    }

    fn next(&mut self, most: usize) -> Result<Option<Examples>, BadInputs> {
        let (mut names, mut values, mut len) = (Vec::new(), Vec::new(), 0);
        while names.len() < most {
            let Some(example) = self.next_example()? else { break };
            if !names.is_empty() && example.values.len() != len {
                self.held = Some(example);
                break;
            }
            len = example.values.len();
            names.push(example.name);
            values.extend(example.values);
        }
        if names.is_empty() {
            return Ok(None);
        }
        let (n, seq_len) = (names.len(), len / self.columns.len());
        Ok(Some(Examples { n, seq_len, inputs: self.form.inputs(values), names }))
    }
}

/// A table of answers.
pub(super) struct TableAnswers<'a> {
    out: Writer<Out>,
    form: &'a Form,
    has_names: bool,
}

impl<'a> TableAnswers<'a> {
    /// Columns have the names of the targets that the network was trained on, if those were columns.
    pub fn begin(out: Out, form: &'a Form, names: Option<DataNames<'_>>, has_names: bool) -> io::Result<Self> {
        let targets = names.filter(|names| names.are_columns).map(|names| names.targets);
        let columns = match (form.classes, targets) {
            (true, Some([class])) => vec![class.clone(), PROBABILITY.to_owned()],
            (true, _) => vec!["class".to_owned(), PROBABILITY.to_owned()],
            (false, Some(targets)) if targets.len() == form.dims.d_out => targets.to_vec(),
            (false, _) if form.dims.d_out == 1 => vec!["output".to_owned()],
            (false, _) => (1..=form.dims.d_out).map(|channel| format!("output_{channel}")).collect(),
        };
        let mut out = Writer::from_writer(out);
        out.write_record(has_names.then_some(EXAMPLE).into_iter().chain(columns.iter().map(String::as_str)))?;
        Ok(Self { out, form, has_names })
    }
}

const PROBABILITY: &str = "probability";

impl WriteAnswers for TableAnswers<'_> {
    fn add(&mut self, examples: &Examples, answers: &[f32]) -> io::Result<()> {
        let d_out = self.form.dims.d_out;
        let positions = self.form.positions(examples.seq_len);
        for (name, answers) in examples.names.iter().zip(answers.chunks_exact(positions * d_out)) {
            for position in 0..examples.seq_len {
                // A line without an answer has empty cells, as in a table to train on.
                let answer = (position + positions)
                    .checked_sub(examples.seq_len)
                    .map(|answered| &answers[answered * d_out..][..d_out]);
                let cells: Vec<String> = match answer {
                    None => vec![String::new(); if self.form.classes { 2 } else { d_out }],
                    Some(logits) if self.form.classes => {
                        let (class, probability) = likeliest(logits);
                        vec![class.to_string(), probability.to_string()]
                    }
                    Some(numbers) => numbers.iter().map(f32::to_string).collect(),
                };
                let name = self.has_names.then_some(name.as_str());
                self.out.write_record(name.into_iter().chain(cells.iter().map(String::as_str)))?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}
