//! The prompt x_1, y_1, x_2, y_2, …, x_k: written and read here and nowhere else.
//!
//! Every token is d wide; a y token is (y, 0, …, 0). The last y would never be used, so k points take 2k-1 tokens. The
//! answer y_i is asked for where x_i stands, with i-1 examples seen.
//!
//! # References
//! Garg et al. 2022, arXiv 2208.01066.

use nalgebra::{DMatrix, DVector};

use crate::task::{Example, Inputs, Slice, Targets, TaskDims, TaskInput};

/// Position of the x of point `point`, counted from 0.
pub fn x_position(point: usize) -> usize {
    2 * point
}

/// Position of the y of point `point`, counted from 0.
pub fn y_position(point: usize) -> usize {
    2 * point + 1
}

/// Sizes of prompts of `n_points` points in d dimensions.
pub fn dims(d: usize, n_points: usize) -> TaskDims {
    TaskDims { seq_len: (2 * n_points).saturating_sub(1), input: TaskInput::Continuous { d_in: d }, d_out: 1 }
}

/// One slice per point, named after the number of examples seen before it: `points=0`, `points=1`, …
pub fn slices(n_points: usize) -> Vec<Slice> {
    (0..n_points).map(|i| Slice { name: format!("points={i}"), positions: vec![x_position(i)] }).collect()
}

/// Lays points out as a prompt that asks for every y.
///
/// # Shapes
/// x `[d, n_points]`, a point per column; y `[n_points]`
pub fn write(x: &DMatrix<f32>, y: &DVector<f32>) -> Example {
    let (d, n_points) = x.shape();
    let seq_len = dims(d, n_points).seq_len;
    let mut tokens = DMatrix::zeros(d, seq_len);
    let mut targets = vec![0.0; seq_len];
    let mut scored = vec![false; seq_len];
    for (point, (x, &y)) in x.column_iter().zip(y).enumerate() {
        tokens.set_column(x_position(point), &x);
        targets[x_position(point)] = y;
        scored[x_position(point)] = true;
        if y_position(point) < seq_len {
            tokens[(0, y_position(point))] = y;
        }
    }
    // Columns are tokens, so column-major storage is `[seq_len, d]` row-major.
    Example { inputs: Inputs::Continuous(tokens.as_slice().to_vec()), targets: Targets::Continuous(targets), scored }
}

/// The points of one prompt, in double precision for classical predictors.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// A point per column. `[d, n_points]`
    pub x: DMatrix<f64>,
    /// All answers but the last, which is not part of a prompt. `[n_points - 1]`
    pub y: DVector<f64>,
}

impl Prompt {
    /// Reads the tokens of one prompt, `[seq_len, d]`.
    pub fn read(tokens: &[f32], d: usize) -> Self {
        let n_points = (tokens.len() / d).div_ceil(2);
        let token = |position: usize, row: usize| f64::from(tokens[position * d + row]);
        Self {
            x: DMatrix::from_fn(d, n_points, |row, point| token(x_position(point), row)),
            y: DVector::from_fn(n_points - 1, |point, _| token(y_position(point), 0)),
        }
    }
}
