//! Linear programs.

use clarabel::{
    algebra::CscMatrix,
    solver::{
        DefaultSettings, DefaultSolver, IPSolver,
        SolverStatus::{AlmostSolved, DualInfeasible, PrimalInfeasible, Solved},
        SupportedConeT::{NonnegativeConeT, ZeroConeT},
    },
};
use nalgebra::{DMatrix, DVector};
use thiserror::Error;

/// The least c · x over all x with E x = e and G x <= g.
#[derive(Clone, Debug)]
pub struct LinearProgram {
    /// c. `[n]`
    pub cost: DVector<f64>,
    /// E `[k, n]` and e `[k]`; k may be 0.
    pub equal: (DMatrix<f64>, DVector<f64>),
    /// G `[m, n]` and g `[m]`; m may be 0.
    pub at_most: (DMatrix<f64>, DVector<f64>),
}

/// The solution of a linear program with its proof: with u and v such that c + E^T u + G^T v = 0 and v >= 0, no x that
/// meets the conditions has a cost below -(e · u + g · v), and at this x the two are equal.
#[derive(Clone, Debug)]
pub struct Optimum {
    /// x. `[n]`
    pub x: DVector<f64>,
    /// u. `[k]`
    pub equal: DVector<f64>,
    /// v. `[m]`
    pub at_most: DVector<f64>,
}

/// Why a linear program has no solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsolved {
    /// No x meets all conditions.
    #[error("no point meets all conditions of the linear program")]
    Infeasible,
    /// The cost has no lower bound.
    #[error("the cost of the linear program has no lower bound")]
    Unbounded,
    /// The solver did not converge.
    #[error("the linear program is too badly conditioned to be solved in double precision")]
    Numerical,
}

impl LinearProgram {
    /// The solution, by a primal-dual interior-point method: conditions and proof hold to about 1e-8 of the numbers in
    /// them. The same program gives the same bits.
    ///
    /// # Errors
    /// [`Unsolved`]
    ///
    /// # Panics
    /// If the sizes of costs and conditions differ.
    pub fn solve(&self) -> Result<Optimum, Unsolved> {
        let n = self.cost.len();
        let [(equal, equal_to), (at_most, limits)] = [&self.equal, &self.at_most];
        let [k, m] = [equal, at_most].map(DMatrix::nrows);
        assert!(equal.ncols() == n && at_most.ncols() == n, "a column per unknown");
        let (mut ends, mut rows, mut values) = (vec![0], Vec::new(), Vec::new());
        for j in 0..n {
            let column = (0..k).map(|row| equal[(row, j)]).chain((0..m).map(|row| at_most[(row, j)]));
            for (row, value) in column.enumerate().filter(|(_, value)| *value != 0.0) {
                rows.push(row);
                values.push(value);
            }
            ends.push(values.len());
        }
        let conditions = CscMatrix::new(k + m, n, ends, rows, values);
        let bounds: Vec<f64> = equal_to.iter().chain(limits).copied().collect();
        let no_squares = CscMatrix::zeros((n, n));
        let settings = DefaultSettings { verbose: false, ..DefaultSettings::default() };
        let cones = [ZeroConeT(k), NonnegativeConeT(m)];
        let mut solver = DefaultSolver::new(&no_squares, self.cost.as_slice(), &conditions, &bounds, &cones, settings)
            .map_err(|_| Unsolved::Numerical)?;
        solver.solve();
        let found = solver.solution;
        match found.status {
            Solved | AlmostSolved => Ok(Optimum {
                x: found.x.into(),
                equal: DVector::from_column_slice(&found.z[..k]),
                at_most: DVector::from_column_slice(&found.z[k..]),
            }),
            PrimalInfeasible => Err(Unsolved::Infeasible),
            DualInfeasible => Err(Unsolved::Unbounded),
            _ => Err(Unsolved::Numerical),
        }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};

    use super::{LinearProgram, Unsolved};

    fn vector(values: &[f64]) -> DVector<f64> {
        DVector::from_column_slice(values)
    }

    fn none(n: usize) -> (DMatrix<f64>, DVector<f64>) {
        (DMatrix::zeros(0, n), DVector::zeros(0))
    }

    #[test]
    fn a_corner_by_hand_with_its_proof() {
        // 3x + 2y is largest at the corner (2, 2) of x + y <= 4, x + 3y <= 8, x <= 2: 10 = 2 * 4 + 1 * 2.
        let at_most = (DMatrix::from_row_slice(3, 2, &[1.0, 1.0, 1.0, 3.0, 1.0, 0.0]), vector(&[4.0, 8.0, 2.0]));
        let program = LinearProgram { cost: vector(&[-3.0, -2.0]), equal: none(2), at_most };
        let optimum = program.solve().expect("it has a corner");
        // Two conditions hold with equality and a third too, so that the proof is not unique; the cost that it proves is.
        assert!((&optimum.x - vector(&[2.0, 2.0])).amax() < 1e-6, "{optimum:?}");
        let (left, limits) = &program.at_most;
        assert!((&program.cost + left.tr_mul(&optimum.at_most)).amax() < 1e-6, "{optimum:?}");
        assert!(optimum.at_most.min() > -1e-9 && (limits.dot(&optimum.at_most) - 10.0).abs() < 1e-6, "{optimum:?}");
    }

    #[test]
    fn equalities_have_multipliers_too() {
        // The least 2x + y on x + y = 3 with x >= 0 and y <= 2 is 4, at (1, 2): one more on the right side costs 2 more.
        let equal = (DMatrix::from_row_slice(1, 2, &[1.0, 1.0]), vector(&[3.0]));
        let at_most = (DMatrix::from_row_slice(2, 2, &[-1.0, 0.0, 0.0, 1.0]), vector(&[0.0, 2.0]));
        let optimum = LinearProgram { cost: vector(&[2.0, 1.0]), equal, at_most }.solve().expect("it has a corner");
        assert!((&optimum.x - vector(&[1.0, 2.0])).amax() < 1e-6, "{optimum:?}");
        assert!((optimum.equal[0] + 2.0).abs() < 1e-6 && (optimum.at_most[1] - 1.0).abs() < 1e-6, "{optimum:?}");
    }

    #[test]
    fn without_a_solution_the_reason_is_given() {
        let apart = (DMatrix::from_row_slice(2, 1, &[1.0, -1.0]), vector(&[1.0, -2.0])); // x <= 1 and x >= 2
        let program = |at_most| LinearProgram { cost: vector(&[1.0]), equal: none(1), at_most };
        assert_eq!(program(apart).solve().expect_err("no x"), Unsolved::Infeasible);
        assert_eq!(
            program((DMatrix::from_row_slice(1, 1, &[1.0]), vector(&[1.0]))).solve().expect_err("no bound"),
            Unsolved::Unbounded
        );
    }
}
