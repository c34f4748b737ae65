//! The prompt x_1, y_1, x_2, y_2, …, x_k, written and read only in this file.
//!
//! Every token has d numbers; that of a y is (y, 0, …, 0). The last y would never be used, so k points take 2k-1
//! tokens. The answer y_i is predicted at the position of x_i, where i-1 examples have been seen.
//!
//! # References
//! Garg et al. 2022, arXiv 2208.01066.

use nalgebra::{DMatrix, DVector};

use crate::batch::{Example, Inputs, Targets, TaskDims, TaskInput};

/// What is predicted at each x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// The number y.
    Number,
    /// The sign of y: class 1 above zero, otherwise class 0.
    Sign,
}

impl AnswerKind {
    /// Number of values or logits of an answer.
    pub fn d_out(self) -> usize {
        match self {
            Self::Number => 1,
            Self::Sign => 2,
        }
    }

    fn targets(self, y: Vec<f32>) -> Targets {
        match self {
            Self::Number => Targets::Continuous(y),
            Self::Sign => Targets::Classes(y.into_iter().map(|y| u32::from(y > 0.0)).collect()),
        }
    }
}

/// Position of the x of point `point`, counted from 0.
pub fn x_position(point: usize) -> usize {
    2 * point
}

/// Position of the y of point `point`, counted from 0.
pub fn y_position(point: usize) -> usize {
    2 * point + 1
}

/// Sizes of prompts with `n_points` points in d dimensions.
pub fn dims(d: usize, n_points: usize, asked: AnswerKind) -> TaskDims {
    let seq_len = n_points.saturating_mul(2).saturating_sub(1);
    TaskDims { seq_len, input: TaskInput::Continuous { d_in: d }, d_out: asked.d_out() }
}

/// One slice per point, named by the number of examples before it: `points=0`, `points=1`, …
pub fn slices(n_points: usize) -> Vec<String> {
    (0..n_points).map(|seen| format!("points={seen}")).collect()
}

/// Writes points as a prompt in which the points `asked_at`, counted from 0, are scored.
///
/// # Shapes
/// x `[d, n_points]`, a point per column; y `[n_points]`
pub fn write(x: &DMatrix<f32>, y: &DVector<f32>, asked: AnswerKind, asked_at: &[usize]) -> Example {
    let (d, n_points) = x.shape();
    let seq_len = dims(d, n_points, asked).seq_len;
    let mut tokens = DMatrix::zeros(d, seq_len);
    for (point, (x, &y)) in x.column_iter().zip(y).enumerate() {
        tokens.set_column(x_position(point), &x);
        if y_position(point) < seq_len {
            tokens[(0, y_position(point))] = y;
        }
    }
    let mut targets = vec![0.0; seq_len];
    let (mut loss_mask, mut slices) = (vec![false; seq_len], vec![None; seq_len]);
    for &point in asked_at {
        targets[x_position(point)] = y[point];
        loss_mask[x_position(point)] = true;
        slices[x_position(point)] = Some(point as u32);
    }
    // Columns are tokens, so column-major storage is `[seq_len, d]` in row-major order.
    let inputs = Inputs::Continuous(tokens.as_slice().to_vec());
    Example { inputs, targets: asked.targets(targets), loss_mask, slices }
}

/// The points of one prompt, in double precision for classical predictors.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// A point per column. `[d, n_points]`
    pub x: DMatrix<f64>,
    /// All answers except the last, which is not part of a prompt. `[n_points - 1]`
    pub y: DVector<f64>,
}

impl Prompt {
    /// Reads the tokens `[seq_len, d]` of one prompt.
    pub fn read(tokens: &[f32], d: usize) -> Self {
        let n_points = (tokens.len() / d).div_ceil(2);
        let token = |position: usize, row: usize| f64::from(tokens[position * d + row]);
        Self {
            x: DMatrix::from_fn(d, n_points, |row, point| token(x_position(point), row)),
            y: DVector::from_fn(n_points - 1, |point, _| token(y_position(point), 0)),
        }
    }
}
