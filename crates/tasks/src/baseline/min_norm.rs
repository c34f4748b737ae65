//! Least squares of any shape and rank.

use nalgebra::DMatrix;

/// The W of least norm among those that minimise |X W - Y|^2.
///
/// X = Q R first, then R = U S V^T: tall problems then cost no more than their QR, and directions about which the data
/// says nothing get the coefficient 0. Singular values below max(rows, cols) * machine epsilon * the largest one count
/// as zero, as in numpy.
///
/// # Shapes
/// x `[rows, cols]`, y `[rows, d_out]` -> `[cols, d_out]`
pub fn min_norm(x: DMatrix<f64>, mut y: DMatrix<f64>) -> DMatrix<f64> {
    let largest_side = x.nrows().max(x.ncols()) as f64;
    let rank_at_most = x.nrows().min(x.ncols());
    let qr = x.qr();
    qr.q_tr_mul(&mut y);
    let svd = qr.r().svd(true, true);
    let cutoff = largest_side * f64::EPSILON * svd.singular_values.max();
    svd.solve(&y.rows(0, rank_at_most), cutoff).expect("both factors were asked for")
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::min_norm;

    fn assert_close(found: &DMatrix<f64>, expected: &DMatrix<f64>) {
        assert_eq!(found.shape(), expected.shape());
        let gap = (found - expected).abs().max();
        assert!(gap < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn more_rows_than_unknowns_give_the_regression_line() {
        // The line through (0, 1), (1, 2), (2, 6) with least squared error is 0.5 + 2.5 t.
        let x = DMatrix::from_row_slice(3, 2, &[1.0, 0.0, 1.0, 1.0, 1.0, 2.0]);
        assert_close(
            &min_norm(x, DMatrix::from_row_slice(3, 1, &[1.0, 2.0, 6.0])),
            &DMatrix::from_row_slice(2, 1, &[0.5, 2.5]),
        );
    }

    #[test]
    fn fewer_rows_than_unknowns_give_the_shortest_exact_answer() {
        // w = x y / |x|^2 for a single row x.
        let x = DMatrix::from_row_slice(1, 3, &[1.0, 2.0, -2.0]);
        assert_close(
            &min_norm(x, DMatrix::from_row_slice(1, 2, &[9.0, -18.0])),
            &DMatrix::from_row_slice(3, 2, &[1.0, -2.0, 2.0, -4.0, -2.0, 4.0]),
        );
    }

    #[test]
    fn columns_that_the_rows_cannot_tell_apart_share_and_empty_ones_get_nothing() {
        let x = DMatrix::from_row_slice(4, 3, &[1.0, 1.0, 0.0, 2.0, 2.0, 0.0, 3.0, 3.0, 0.0, 5.0, 5.0, 0.0]);
        let y = DMatrix::from_row_slice(4, 1, &[4.0, 8.0, 12.0, 20.0]);
        assert_close(&min_norm(x, y), &DMatrix::from_row_slice(3, 1, &[2.0, 2.0, 0.0]));
        assert_close(
            &min_norm(DMatrix::zeros(3, 2), DMatrix::from_row_slice(3, 1, &[1.0, 2.0, 3.0])),
            &DMatrix::from_row_slice(2, 1, &[0.0, 0.0]),
        );
    }
}
