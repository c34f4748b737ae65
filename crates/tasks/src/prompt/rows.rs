//! The prompt (x_1, y_1), …, (x_N, y_N), (x_q, 0) with an example per row: written and read here and nowhere else.
//!
//! ```text
//! row       1           …     N         N+1
//! input  (x_1, y_1)     …  (x_N, y_N)  (x_q, 0)
//! target     .          …      .       w . x_q
//! ```

use nalgebra::{DMatrix, DVector};

use crate::batch::{Example, Inputs, Targets};

/// Writes examples and a query as rows.
///
/// # Shapes
/// x `[d, n_points + 1]`, a point per column and the query last; y `[n_points]`; answer `[d_out]`
pub fn write(x: &DMatrix<f32>, y: &DVector<f32>, answer: &[f32]) -> Example {
    let n_points = y.len();
    // Columns are rows of the prompt, so column-major storage is `[seq_len, d + 1]` in row-major order.
    let mut rows = x.clone().insert_row(x.nrows(), 0.0);
    rows.row_mut(x.nrows()).columns_mut(0, n_points).copy_from(&y.transpose());
    let mut targets = vec![0.0; n_points * answer.len()];
    targets.extend_from_slice(answer);
    Example {
        inputs: Inputs::Continuous(rows.as_slice().to_vec()),
        targets: Targets::Continuous(targets),
        loss_mask: (0..=n_points).map(|position| position == n_points).collect(),
        slices: vec![None; n_points + 1],
    }
}

/// The examples x and y of one prompt and its query, in double precision for classical predictors.
///
/// # Shapes
/// rows `[seq_len, d + 1]` -> x `[d, n_points]`, a point per column; y `[n_points]`; query `[d]`
pub fn read(rows: &[f32], seq_len: usize) -> (DMatrix<f64>, DVector<f64>, DVector<f64>) {
    let width = rows.len() / seq_len;
    let (d, n_points) = (width - 1, seq_len - 1);
    let at = |row: usize, column: usize| f64::from(rows[row * width + column]);
    (
        DMatrix::from_fn(d, n_points, |column, row| at(row, column)),
        DVector::from_fn(n_points, |row, _| at(row, d)),
        DVector::from_fn(d, |column, _| at(n_points, column)),
    )
}
