//! The examples of a file, before they are split and scaled.

use std::collections::BTreeMap;

use super::{FileConfig, Ids};
use crate::{
    batch::{Inputs, Targets, TaskInput},
    files::Numbers,
};

/// All examples of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// Number of examples.
    pub n: usize,
    /// Number of positions of an example.
    pub seq_len: usize,
    /// Kind of data at one input position.
    pub input: TaskInput,
    /// Number of values or classes predicted.
    pub d_out: usize,
    /// `[n, seq_len, d_in]` or `[n, seq_len]`
    pub inputs: Inputs,
    /// `[n, asked, d_out]` or `[n, asked]`
    pub targets: Targets,
    /// Shape of the prediction for a whole sequence, `[d_out]` or `[horizon, width]`; `None` if each position has its
    /// own target.
    pub answer: Option<Vec<usize>>,
    /// Group of each example, numbered from 0; `None` if there are no groups. `[n]`
    pub groups: Option<Vec<u32>>,
}

impl Rows {
    /// Number of positions with a target.
    pub fn asked(&self) -> usize {
        if self.answer.is_some() { 1 } else { self.seq_len }
    }

    /// That numbers of a whole sequence are as many as it has positions, so that they may be meant one by one.
    pub fn doubt(&self) -> Option<String> {
        let (n, seq_len) = (self.n, self.seq_len);
        let is_numbers = matches!(self.targets, Targets::Continuous(_));
        (is_numbers && seq_len > 1 && self.answer == Some(vec![seq_len])).then(|| {
            format!(
                "targets [{n}, {seq_len}] are read as {seq_len} numbers of each whole sequence, given at its last position; give \
                 [{n}, {seq_len}, 1] if each of the {seq_len} positions has one of its own, or classes = true if they are classes"
            )
        })
    }
}

/// The examples in arrays: inputs with three axes are numbers, with two they are tokens unless the config says
/// otherwise. The errors state which targets go with them.
pub(super) fn of_arrays(x: Numbers, y: Numbers, group: Option<Numbers>, config: &FileConfig) -> Result<Rows, String> {
    let (shape_x, shape_y) = (x.shape.clone(), y.shape.clone());
    let unfit = || {
        format!(
            "inputs {shape_x:?} and targets {shape_y:?} do not go together; give inputs [n, seq_len, d_in] with targets [n, seq_len, d_out], \
             [n, horizon, d_out] or [n, d_out], or tokens [n, seq_len] with those, or with classes [n, seq_len] or [n] as whole numbers"
        )
    };
    let has_tokens = config.has_tokens(shape_x.len() == 2);
    let (n, seq_len, d_in) = match *shape_x.as_slice() {
        [n, seq_len, d_in] if !has_tokens || d_in == 1 => (n, seq_len, d_in),
        [n, seq_len] => (n, seq_len, 1),
        _ => return Err(unfit()),
    };
    if config.horizon && shape_y.len() < 3 {
        let problem = "have no axis of steps; give [n, horizon, d_out], or leave horizon out";
        return Err(format!("horizon = true, and targets {shape_y:?} {problem}"));
    }
    let has_classes = config.has_classes(matches!(*shape_y.as_slice(), [_]) || has_tokens && shape_y == [n, seq_len]);
    // Width of a target, and its shape if it belongs to the whole sequence.
    let (width, answer) = match *shape_y.as_slice() {
        [m, ..] if m != n => return Err(unfit()),
        [_, len] if has_classes && len == seq_len && !config.horizon => (1, None),
        [_] => (1, Some(vec![1])),
        [_, 1] if has_classes => (1, Some(vec![1])),
        [_, width] if !has_classes => (width, Some(vec![width])),
        [_, len, width] if !has_classes && len == seq_len && !config.horizon => (width, None),
        [_, horizon, width] if !has_classes => (horizon * width, Some(vec![horizon, width])),
        _ => return Err(unfit()),
    };
    if [n, seq_len, d_in, width].contains(&0) {
        return Err(unfit());
    }
    ensure_numbers("inputs", &x, has_tokens)?;
    ensure_numbers("targets", &y, has_classes).map_err(|problem| {
        let guessed = has_classes && config.classes.is_none();
        if guessed { format!("{problem}; targets of this shape are classes unless classes = false") } else { problem }
    })?;
    let (input, inputs) = if has_tokens {
        let (tokens, vocab) = ids(x.values, "tokens", config.tokens)?;
        (TaskInput::Tokens { vocab }, Inputs::Tokens(tokens))
    } else {
        (TaskInput::Continuous { d_in }, Inputs::Continuous(x.values))
    };
    let (targets, d_out, answer) = if has_classes {
        let (classes, d_out) = ids(y.values, "classes", config.classes)?;
        (Targets::Classes(classes), d_out, answer.map(|_| vec![d_out]))
    } else {
        (Targets::Continuous(y.values), width, answer)
    };
    let groups = group.map(|group| groups_of(&group, n)).transpose()?;
    Ok(Rows { n, seq_len, input, d_out, inputs, targets, answer, groups })
}

/// The group of each example, numbered by first occurrence.
fn groups_of(group: &Numbers, n: usize) -> Result<Vec<u32>, String> {
    if group.shape != [n] {
        return Err(format!("groups {:?} of {n} examples; give one number for each, [n]", group.shape));
    }
    let mut known = BTreeMap::new();
    let number = |(at, value): (usize, &f32)| {
        if id(value.abs()).is_none() {
            let problem =
                "may be rounded, which joins groups: give whole numbers below 16777216, as by numbering the groups";
            return Err(format!("group of example {at}: {value} {problem}"));
        }
        let count = known.len() as u32;
        // As an integer, 0 and -0 are one group.
        Ok(*known.entry(*value as i32).or_insert(count))
    };
    group.values.iter().enumerate().map(number).collect()
}

/// What is wrong with a cell that is neither a token nor a class.
pub(super) const NO_ID: &str = "is no id: give whole numbers from 0 up";

/// The number as a token or class; `None` if it is not a valid id.
pub(super) fn id(value: f32) -> Option<u32> {
    // Single precision represents all integers up to here.
    let most = (1 << 24) as f32;
    (value >= 0.0 && value < most && value.fract() == 0.0).then_some(value as u32)
}

/// Numbers as ids, and the number of ids: as the config says, or else one more than the largest.
pub(super) fn ids(values: Vec<f32>, key: &str, given: Option<Ids>) -> Result<(Vec<u32>, usize), String> {
    let ids: Vec<u32> = values.into_iter().map(|value| value as u32).collect();
    let least = ids.iter().max().map_or(1, |most| *most as usize + 1);
    match given {
        Some(Ids::Below(count)) if count < least => {
            Err(format!("{key} = {count}, and there is {} among them: give {least} or more", least - 1))
        }
        Some(Ids::Below(count)) => Ok((ids, count)),
        // There are at least two classes.
        _ => Ok((ids, if key == "classes" { least.max(2) } else { least })),
    }
}

fn ensure_numbers(name: &str, array: &Numbers, are_ids: bool) -> Result<(), String> {
    let is_good = |value: &f32| if are_ids { id(*value).is_some() } else { value.is_finite() };
    let Some(at) = array.values.iter().position(|value| !is_good(value)) else { return Ok(()) };
    let problem = if are_ids { NO_ID } else { "is no number to compute with" };
    Err(format!("{name}[{}]: {} {problem}", place(&array.shape, at), array.values[at]))
}

/// The indices of an entry of a row-major array, as text.
pub(super) fn place(shape: &[usize], at: usize) -> String {
    let mut rest = at;
    let mut indices: Vec<String> = Vec::new();
    for size in shape.iter().rev() {
        indices.push((rest % (*size).max(1)).to_string());
        rest /= (*size).max(1);
    }
    indices.reverse();
    indices.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_told_apart_exactly_or_refused() {
        let groups = |values: &[f32]| groups_of(&Numbers { shape: vec![3], values: values.to_vec() }, 3);
        assert_eq!(groups(&[5.0, -3.0, 5.0]), Ok(vec![0, 1, 0]));
        assert_eq!(groups(&[0.0, -0.0, 16_777_215.0]), Ok(vec![0, 0, 1]));
        for wrong in [16_777_216.0, -16_777_216.0, 0.5, f32::NAN, f32::INFINITY] {
            let said = groups(&[0.0, 1.0, wrong]).err().unwrap_or_default();
            assert!(
                said.starts_with("group of example 2: ") && said.contains("whole numbers below"),
                "{wrong}: {said}"
            );
        }
    }

    #[test]
    fn a_horizon_has_an_axis() {
        let of = |shape: &[usize]| Numbers { shape: shape.to_vec(), values: vec![1.0; shape.iter().product()] };
        let config = FileConfig { horizon: true, ..FileConfig::default() };
        let said = of_arrays(of(&[4, 3, 2]), of(&[4, 3]), None, &config).err().unwrap_or_default();
        assert!(said.starts_with("horizon = true, and targets [4, 3] have no axis of steps"), "{said}");
        assert!(of_arrays(of(&[4, 3, 2]), of(&[4, 3, 1]), None, &config).is_ok());
    }
}
