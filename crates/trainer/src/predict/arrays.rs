//! Examples and answers as NumPy arrays.

use std::io::{self, Read, Write};

use headway_exchange::npz::{self, ArrayReader, Writer};
use headway_tasks::{DataNames, TaskInput};

use super::{Examples, Form, Out, ReadExamples, WriteAnswers};
use crate::bad_inputs::BadInputs;

/// Name of the array of answers in a .npz file.
const OUTPUTS: &str = "outputs";

/// Name of the array of inputs in a .npz file: the one that the network was trained on, else `inputs`, else the only one.
pub(super) fn name(there: &[String], names: Option<DataNames<'_>>) -> String {
    let trained_on = names.filter(|names| !names.are_columns).and_then(|names| names.inputs.first());
    let name = trained_on.map_or("inputs", String::as_str);
    match there {
        [only] if only != name => only.clone(),
        _ => name.to_owned(),
    }
}

/// Examples of an array, read batch by batch.
pub(super) struct ArrayExamples<'a, R> {
    array: ArrayReader<R>,
    form: &'a Form,
    n: usize,
    seq_len: usize,
    done: usize,
}

impl<'a, R: Read> ArrayExamples<'a, R> {
    /// `[n, seq_len, d_in]`, or `[n, seq_len]` for tokens and for inputs of one number.
    pub fn of(array: ArrayReader<R>, form: &'a Form) -> Result<Self, BadInputs> {
        let shape = array.shape().to_vec();
        let sizes = match *shape.as_slice() {
            [n, seq_len] if form.d_in() == 1 => Some((n, seq_len)),
            [n, seq_len, d_in] if form.d_in() == d_in => Some((n, seq_len)),
            _ => None,
        };
        match sizes.filter(|(_, seq_len)| form.takes_length(*seq_len)) {
            Some((0, _)) => Err(BadInputs::Empty),
            Some((n, seq_len)) => Ok(Self { array, form, n, seq_len, done: 0 }),
            None => Err(BadInputs::Shape { found: shape, taken: form.taken("n, ") }),
        }
    }

    /// Shape of the array of answers.
    pub fn answers(&self) -> Vec<usize> {
        [vec![self.n], self.form.shape(self.seq_len)].concat()
    }
}

impl<R: Read> ReadExamples for ArrayExamples<'_, R> {
    fn total(&self) -> Option<usize> {
        Some(self.n)
    }

    fn next(&mut self, most: usize) -> Result<Option<Examples>, BadInputs> {
        let values = self.array.rows(most).map_err(BadInputs::Unreadable)?;
        let width = self.form.d_in();
        let n = values.len() / (self.seq_len * width);
        if n == 0 {
            return Ok(None);
        }
        let wrong = |(at, value): (usize, &f32)| self.form.problem(*value).map(|problem| (at, *value, problem));
        if let Some((at, value, problem)) = values.iter().enumerate().find_map(wrong) {
            let row = at / width;
            let mut place = vec![self.done + row / self.seq_len, row % self.seq_len];
            if matches!(self.form.dims.input, TaskInput::Continuous { .. }) {
                place.push(at % width);
            }
            return Err(BadInputs::Value { place, value: value.to_string(), problem });
        }
        self.done += n;
        Ok(Some(Examples { n, seq_len: self.seq_len, inputs: self.form.inputs(values), names: Vec::new() }))
    }
}

/// A .npy file.
pub(super) struct ArrayAnswers(Out);

impl ArrayAnswers {
    pub fn begin(mut out: Out, shape: &[usize]) -> io::Result<Self> {
        out.write_all(&npz::header(shape).map_err(io::Error::other)?)?;
        Ok(Self(out))
    }
}

impl WriteAnswers for ArrayAnswers {
    fn add(&mut self, _: &Examples, answers: &[f32]) -> io::Result<()> {
        self.0.write_all(&npz::bytes_of(answers))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// A .npz file.
pub(super) struct ArchiveAnswers(Writer<Out>);

impl ArchiveAnswers {
    pub fn begin(out: Out, shape: &[usize]) -> io::Result<Self> {
        let mut out = Writer::new(out);
        out.begin(OUTPUTS, shape).map_err(io::Error::other)?;
        Ok(Self(out))
    }
}

impl WriteAnswers for ArchiveAnswers {
    fn add(&mut self, _: &Examples, answers: &[f32]) -> io::Result<()> {
        self.0.numbers(answers).map_err(io::Error::other)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish().map_err(io::Error::other)?.flush()
    }
}
