//! One example and its answer as JSON.

use std::path::{Path, PathBuf};

use headway_tasks::TaskInput;
use serde::Serialize;
use serde_json::Value;

use super::{Examples, Form, Predictor, likeliest};
use crate::{bad_inputs::BadInputs, bounded_read, error::Error};

/// Largest length of the text of one example in bytes.
pub const LONGEST_TEXT: u64 = 1 << 26;

/// A network's answer to one example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// `[seq_len, d_out]`, logits for classes; `[d_out]` or `[horizon, width]` if the data has one target per sequence.
    pub outputs: Nested<f32>,
    /// The likeliest class for each vector of logits; `None` unless answers are classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Nested<usize>>,
    /// Probability of that class; `None` unless answers are classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<Nested<f32>>,
}

/// An array as nested lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Nested<T> {
    /// A number: an array without axes.
    One(T),
    /// The entries along the first axis.
    List(Vec<Self>),
}

impl<T: Copy> Nested<T> {
    fn of(values: &[T], shape: &[usize]) -> Self {
        let Some((_, inner)) = shape.split_first() else { return Self::One(values[0]) };
        Self::List(values.chunks_exact(inner.iter().product()).map(|row| Self::of(row, inner)).collect())
    }
}

impl Predictor {
    /// Answers one example, a JSON array `[seq_len, d_in]`, or `[seq_len]` for tokens and for inputs of one number; `from` says where it
    /// comes from.
    ///
    /// # Errors
    /// [`Error::Inputs`] with the place, also where the answer is not finite; [`Error::NotFinite`]
    pub fn json(&self, text: &[u8], from: &str) -> Result<Answer, Error> {
        let refused = |problem| Error::Inputs { path: PathBuf::from(from), problem };
        let parsed = if text.len() as u64 > LONGEST_TEXT {
            Err("is longer than any example; give one alone".to_owned())
        } else {
            bounded_read::from_json::<Value>(text)
        };
        let example = parsed.map_err(|problem| refused(BadInputs::Unreadable(problem)))?;
        let examples = example_of(&example, &self.form).map_err(refused)?;
        let answers = self.answers(&examples, 0, Path::new(from))?;
        let shape = self.form.shape(examples.seq_len);
        let likeliest: Option<Vec<_>> =
            self.form.classes.then(|| answers.chunks_exact(self.form.dims.d_out).map(likeliest).collect());
        let outer = &shape[..shape.len() - 1];
        Ok(Answer {
            outputs: Nested::of(&answers, &shape),
            classes: likeliest.as_ref().map(|all| Nested::of(&all.iter().map(|one| one.0).collect::<Vec<_>>(), outer)),
            probabilities: likeliest.map(|all| Nested::of(&all.iter().map(|one| one.1).collect::<Vec<_>>(), outer)),
        })
    }
}

fn example_of(example: &Value, form: &Form) -> Result<Examples, BadInputs> {
    let unfit = |found: Vec<usize>| BadInputs::Shape { found, taken: format!("one example of {}", form.taken("")) };
    let no_list = || {
        let form = match form.dims.input {
            TaskInput::Continuous { .. } => "an array with an array of numbers for each position",
            TaskInput::Tokens { .. } => "an array of tokens",
        };
        BadInputs::Unreadable(format!("give one example, {form}"))
    };
    let positions = example.as_array().ok_or_else(no_list)?;
    if !form.takes_length(positions.len()) {
        return Err(unfit(vec![positions.len()]));
    }
    let mut values = Vec::new();
    for (position, numbers) in positions.iter().enumerate() {
        let numbers = match numbers {
            Value::Array(numbers) => numbers.as_slice(),
            number if form.d_in() == 1 => std::slice::from_ref(number),
            _ => return Err(no_list()),
        };
        if numbers.len() != form.d_in() {
            return Err(unfit(vec![positions.len(), numbers.len()]));
        }
        for (channel, number) in numbers.iter().enumerate() {
            let value = number.as_f64().map(|number| number as f32);
            let problem = value.map_or_else(|| Some("no number".to_owned()), |value| form.problem(value));
            if let Some(problem) = problem {
                let place = if form.d_in() == 1 { vec![position] } else { vec![position, channel] };
                return Err(BadInputs::Value { place, value: number.to_string(), problem });
            }
            values.extend(value);
        }
    }
    Ok(Examples { n: 1, seq_len: positions.len(), inputs: form.inputs(values), names: Vec::new() })
}
