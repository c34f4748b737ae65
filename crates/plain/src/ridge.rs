//! Ridge regression on many rows, with the penalty chosen on held-out rows.

use nalgebra::{DVector, RowDVector};

use crate::network::{Matrix, Row};

/// y = b + ((x − m) / s) W, with m and s the mean and the standard deviation of each column of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    mean: Row,
    /// 1/s, and 0 for a column that is constant.
    scale: Row,
    /// `[d_in, d_out]`
    weight: Matrix,
    bias: Row,
    /// Penalty λ on |W|², beside the squared error averaged over rows.
    pub penalty: f64,
}

/// Penalties λ to choose from; columns have variance 1.
const PENALTIES: [f64; 7] = [1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1, 1.0];
/// The last 1/`HELD_OUT` of the rows is held out while the penalty is chosen.
const HELD_OUT: usize = 4;

impl Ridge {
    /// The W and b that minimise |Y − b − X W|²/n + λ |W|² with standardised columns of X. λ is the value of a fixed
    /// list that predicts the last quarter of the rows best when fitted to the others; rows of one example must
    /// therefore be neighbours. `None` if there are fewer than two rows, or if a number is not finite.
    ///
    /// # Shapes
    /// x `[rows, d_in]`, y `[rows, d_out]`
    ///
    /// # References
    /// Hoerl and Kennard 1970.
    pub fn fit(x: &Matrix, y: &Matrix) -> Option<Self> {
        let held_out = x.nrows() / HELD_OUT;
        let kept = x.nrows() - held_out;
        let penalty = if held_out == 0 {
            PENALTIES[PENALTIES.len() / 2]
        } else {
            let part = Normal::of(&x.rows(0, kept).into_owned(), &y.rows(0, kept).into_owned())?;
            let (x, y) = (x.rows(kept, held_out).into_owned(), y.rows(kept, held_out).into_owned());
            let error = |penalty: f64| {
                let ridge = part.solve(penalty)?;
                Some((penalty, (ridge.apply(&x) - &y).norm_squared())).filter(|(_, error)| error.is_finite())
            };
            PENALTIES.into_iter().filter_map(error).min_by(|a, b| a.1.total_cmp(&b.1))?.0
        };
        Normal::of(x, y)?.solve(penalty)
    }

    /// Predictions for the rows of x. `[rows, d_in]` -> `[rows, d_out]`
    pub fn apply(&self, x: &Matrix) -> Matrix {
        let mut x = x.clone();
        for mut row in x.row_iter_mut() {
            row -= &self.mean;
            row.component_mul_assign(&self.scale);
        }
        let mut y = x * &self.weight;
        y.row_iter_mut().for_each(|mut row| row += &self.bias);
        y
    }
}

/// The normal equations in standardised columns, averaged over rows.
struct Normal {
    mean: Row,
    scale: Row,
    bias: Row,
    /// XᵀX / n
    gram: Matrix,
    /// Xᵀ(Y − b) / n
    products: Matrix,
}

impl Normal {
    fn of(x: &Matrix, y: &Matrix) -> Option<Self> {
        let n = x.nrows() as f64;
        if x.nrows() < 2 || !x.iter().chain(y).all(|value| value.is_finite()) {
            return None;
        }
        let (mean, bias) = (x.row_mean(), y.row_mean());
        let mut centred = x.clone();
        centred.row_iter_mut().for_each(|mut row| row -= &mean);
        let deviations =
            DVector::from_iterator(x.ncols(), centred.column_iter().map(|column| column.norm() / n.sqrt()));
        // A column that varies by rounding errors only counts as constant.
        let inverse = |(deviation, mean): (&f64, &f64)| {
            if *deviation > f64::EPSILON * 8.0 * mean.abs() { 1.0 / deviation } else { 0.0 }
        };
        let scale = RowDVector::from_iterator(x.ncols(), deviations.iter().zip(mean.iter()).map(inverse));
        centred.row_iter_mut().for_each(|mut row| row.component_mul_assign(&scale));
        let mut rest = y.clone();
        rest.row_iter_mut().for_each(|mut row| row -= &bias);
        // The product of two matrices is computed in blocks, which nalgebra's `tr_mul` does not do.
        let transposed = centred.transpose();
        let (gram, products) = (&transposed * &centred / n, &transposed * &rest / n);
        Some(Self { mean, scale, bias, gram, products })
    }

    fn solve(&self, penalty: f64) -> Option<Ridge> {
        let mut gram = self.gram.clone();
        (0..gram.nrows()).for_each(|i| gram[(i, i)] += penalty);
        let weight = gram.cholesky()?.solve(&self.products);
        let Self { mean, scale, bias, .. } = self;
        Some(Ridge { mean: mean.clone(), scale: scale.clone(), weight, bias: bias.clone(), penalty })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    /// Deterministic rows that look random.
    fn rows(n: usize, d: usize) -> Matrix {
        Matrix::from_fn(n, d, |row, column| ((row * 7 + column * 13) as f64 * 1.234).sin() * [1.0, 10.0, 100.0][column])
    }

    #[test]
    fn an_affine_map_is_found_whatever_the_scale_of_its_columns() {
        let x = rows(40, 3);
        let truth = Matrix::from_row_slice(3, 2, &[1.0, -2.0, 0.5, 0.0, -0.03, 4.0]);
        let mut y = &x * &truth;
        y.row_iter_mut().for_each(|mut row| row += &Row::from_row_slice(&[3.0, -1.0]));
        let ridge = Ridge::fit(&x, &y).unwrap();
        let other = rows(50, 3).rows(40, 10).into_owned();
        let mut wanted = &other * &truth;
        wanted.row_iter_mut().for_each(|mut row| row += &Row::from_row_slice(&[3.0, -1.0]));
        // The smallest penalty, 1e-9 of each variance, is what shrinks.
        assert!((ridge.apply(&other) - wanted).abs().max() < 1e-5, "{ridge:?}");
    }

    /// As many unknowns as rows to fit to: without a penalty noise would be followed everywhere.
    #[test]
    fn what_has_nothing_to_do_with_x_is_shrunk_to_its_mean() {
        let mut state = 1_u64;
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
        };
        let x = Matrix::from_fn(40, 30, |_, _| number());
        let y = Matrix::from_fn(40, 1, |_, _| number());
        let ridge = Ridge::fit(&x, &y).unwrap();
        assert!(ridge.penalty >= 0.1, "{}", ridge.penalty);
        let (other, wanted) = (Matrix::from_fn(40, 30, |_, _| number()), y.mean());
        let spread = (ridge.apply(&other).add_scalar(-wanted)).norm();
        assert!(spread < y.add_scalar(-wanted).norm(), "{spread}");
    }

    #[test]
    fn constant_columns_count_for_nothing_and_other_numbers_are_refused() {
        let mut x = rows(12, 2);
        x.column_mut(1).fill(5.0);
        let y = Matrix::from_fn(12, 1, |row, _| 2.0 * x[(row, 0)]);
        let ridge = Ridge::fit(&x, &y).unwrap();
        let probe = Matrix::from_row_slice(1, 2, &[0.25, -100.0]);
        assert!((ridge.apply(&probe)[0] - 0.5).abs() < 1e-6, "{ridge:?}");
        assert_eq!(Ridge::fit(&x.rows(0, 1).into_owned(), &y.rows(0, 1).into_owned()), None);
        x[(3, 0)] = f64::NAN;
        assert_eq!(Ridge::fit(&x, &y), None);
    }
}
