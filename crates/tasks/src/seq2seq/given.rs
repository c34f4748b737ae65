//! Constants given in a config; a matrix is a list of rows.

use nalgebra::{DMatrix, DVector};

use crate::error::TaskError;

/// A size determined by a config, with the key that determines it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// The size.
    pub value: usize,
    /// Its name in messages, such as `seq_len * d`.
    pub name: &'static str,
}

/// An error if the rows are not `[rows, cols]` of finite single-precision numbers.
pub(super) fn bad_matrix(key: &'static str, given: &[Vec<f64>], rows: Size, cols: Size) -> Option<TaskError> {
    let error = |problem| Some(TaskError::Key { key, problem });
    if given.len() != rows.value {
        return error(format!("there are {} rows; give {} = {} of them", given.len(), rows.name, rows.value));
    }
    if let Some((i, row)) = (1..).zip(given).find(|(_, row)| row.len() != cols.value) {
        return error(format!("row {i} holds {} numbers; give {} = {}", row.len(), cols.name, cols.value));
    }
    let mut numbers = (1..).zip(given).flat_map(|(i, row)| row.iter().map(move |&value| (i, value)));
    let (i, value) = numbers.find(|&(_, value)| !is_finite(value))?;
    error(format!("row {i} holds {value:?}; give finite single-precision numbers"))
}

/// An error if the list is not `[len]` of finite single-precision numbers.
pub(super) fn bad_vector(key: &'static str, given: &[f64], len: Size) -> Option<TaskError> {
    let error = |problem| Some(TaskError::Key { key, problem });
    if given.len() != len.value {
        return error(format!("there are {} numbers; give {} = {}", given.len(), len.name, len.value));
    }
    let value = given.iter().find(|&&value| !is_finite(value))?;
    error(format!("the list holds {value:?}; give finite single-precision numbers"))
}

/// Whether a number is still finite once rounded to single precision.
fn is_finite(value: f64) -> bool {
    (value as f32).is_finite()
}

/// The matrix with these rows, rounded to single precision.
pub(super) fn matrix(given: &[Vec<f64>]) -> DMatrix<f32> {
    let cols = given.first().map_or(0, Vec::len);
    DMatrix::from_row_iterator(given.len(), cols, given.iter().flatten().map(|&value| value as f32))
}

/// The vector with these numbers, rounded to single precision.
pub(super) fn vector(given: &[f64]) -> DVector<f32> {
    DVector::from_iterator(given.len(), given.iter().map(|&value| value as f32))
}

/// The rows of a matrix, for a config; the inverse of [`matrix`].
pub(super) fn rows(matrix: &DMatrix<f32>) -> Vec<Vec<f64>> {
    matrix.row_iter().map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
}

/// The numbers of a vector, for a config; the inverse of [`vector`].
pub(super) fn numbers(vector: &DVector<f32>) -> Vec<f64> {
    vector.iter().map(|&value| f64::from(value)).collect()
}
