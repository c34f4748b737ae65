//! A table of series, and the steps that follow it.

use std::io;

use csv::Writer;
use headway_tasks::DataNames;

use super::{Examples, Form, Out, ReadExamples, WriteAnswers};
use crate::bad_inputs::BadInputs;

/// One example: the newest window of a table.
pub(super) struct NewestWindow(Option<Examples>);

impl NewestWindow {
    pub fn of(values: Vec<f32>, form: &Form) -> Self {
        let (seq_len, inputs) = (form.dims.seq_len, form.inputs(values));
        Self(Some(Examples { n: 1, seq_len, inputs, names: Vec::new() }))
    }
}

impl ReadExamples for NewestWindow {
    fn total(&self) -> Option<usize> {
        Some(1)
    }

    fn next(&mut self, _: usize) -> Result<Option<Examples>, BadInputs> {
        Ok(self.0.take())
    }
}

/// A table with a line for each step, counted from 1, and a column for each series.
pub(super) struct SeriesAnswers {
    out: Writer<Out>,
    width: usize,
}

impl SeriesAnswers {
    pub fn begin(out: Out, names: Option<DataNames<'_>>) -> io::Result<Self> {
        let mut out = Writer::from_writer(out);
        let names = names.map_or(&[][..], |names| names.targets);
        out.write_record(["step"].into_iter().chain(names.iter().map(String::as_str)))?;
        Ok(Self { out, width: names.len().max(1) })
    }
}

impl WriteAnswers for SeriesAnswers {
    fn add(&mut self, _: &Examples, answers: &[f32]) -> io::Result<()> {
        for (step, values) in answers.chunks_exact(self.width).enumerate() {
            let cells = values.iter().map(f32::to_string);
            self.out.write_record(std::iter::once((step + 1).to_string()).chain(cells))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}
