//! Examples as they stand in a file.

use crate::{
    files::Numbers,
    task::{Inputs, Targets, TaskInput},
};

/// Every example of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// Number of examples.
    pub n: usize,
    /// Positions of one.
    pub seq_len: usize,
    /// What a position holds.
    pub input: TaskInput,
    /// Numbers or classes predicted.
    pub d_out: usize,
    /// `[n, seq_len, d_in]` or `[n, seq_len]`
    pub inputs: Inputs,
    /// `[n, scored, d_out]` or `[n, scored]`
    pub targets: Targets,
    /// Whether the target belongs to the whole sequence.
    pub last: bool,
}

impl Rows {
    /// Positions that have a target.
    pub fn scored(&self) -> usize {
        if self.last { 1 } else { self.seq_len }
    }
}

/// Three axes of inputs are numbers, two are tokens; see the errors for what goes with them.
pub(super) fn of_arrays(x: Numbers, y: Numbers) -> Result<Rows, String> {
    let (shape_x, shape_y) = (x.shape.clone(), y.shape.clone());
    let unfit = || {
        format!(
            "inputs {shape_x:?} and targets {shape_y:?} do not go together; give inputs [n, seq_len, d_in] with targets [n, seq_len, d_out] or \
             [n, d_out], or tokens [n, seq_len] with those, or with classes [n, seq_len] or [n] as whole numbers"
        )
    };
    let &[n, seq_len, ..] = shape_x.as_slice() else { return Err(unfit()) };
    let (input, inputs) = match *shape_x.as_slice() {
        [_, _, d_in] => {
            ensure_finite("inputs", &x)?;
            (TaskInput::Continuous { d_in }, Inputs::Continuous(x.values))
        }
        [_, _] => {
            let ids = ids("inputs", &x)?;
            let vocab = ids.iter().max().map_or(0, |most| *most as usize + 1);
            (TaskInput::Tokens { vocab }, Inputs::Tokens(ids))
        }
        _ => return Err(unfit()),
    };
    let tokens = shape_x.len() == 2;
    let (last, d_out, targets) = match *shape_y.as_slice() {
        [m, len, d_out] if m == n && len == seq_len => (false, d_out, Targets::Continuous(y.values.clone())),
        [m, len] if tokens && m == n && len == seq_len => (false, 0, Targets::Classes(ids("targets", &y)?)),
        [m] if m == n => (true, 0, Targets::Classes(ids("targets", &y)?)),
        [m, d_out] if m == n => (true, d_out, Targets::Continuous(y.values.clone())),
        _ => return Err(unfit()),
    };
    let d_out = match &targets {
        Targets::Continuous(_) => {
            ensure_finite("targets", &y)?;
            d_out
        }
        Targets::Classes(classes) => classes.iter().max().map_or(0, |most| *most as usize + 1).max(2),
    };
    let is_empty = matches!(input, TaskInput::Continuous { d_in: 0 }) || d_out == 0;
    if n == 0 || seq_len == 0 || is_empty {
        return Err(unfit());
    }
    Ok(Rows { n, seq_len, input, d_out, inputs, targets, last })
}

fn ensure_finite(name: &str, array: &Numbers) -> Result<(), String> {
    let Some(at) = array.values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    Err(format!("{name}[{}] is {}, no number to compute with", place(&array.shape, at), array.values[at]))
}

fn ids(name: &str, array: &Numbers) -> Result<Vec<u32>, String> {
    // Single precision holds every whole number up to here.
    let most = (1 << 24) as f32;
    let wrong = array.values.iter().position(|value| !(*value >= 0.0 && *value < most && value.fract() == 0.0));
    if let Some(at) = wrong {
        let value = array.values[at];
        return Err(format!("{name}[{}] is {value}, no token: give whole numbers from 0 up", place(&array.shape, at)));
    }
    Ok(array.values.iter().map(|value| *value as u32).collect())
}

/// The indices of a number in a row-major array.
fn place(shape: &[usize], at: usize) -> String {
    let mut rest = at;
    let mut indices: Vec<String> = Vec::new();
    for size in shape.iter().rev() {
        indices.push((rest % (*size).max(1)).to_string());
        rest /= (*size).max(1);
    }
    indices.reverse();
    indices.join(", ")
}
