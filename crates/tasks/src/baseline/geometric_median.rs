//! The geometric median of the points on which d agents agree.

use nalgebra::{DMatrix, DVector};

use super::agents::{Estimator, agreed, by_coordinate};

/// The x with the least sum of distances |x - p| from the points p that any d agents agree on (the solution of their d
/// equations a_i · p = y_i). In one dimension, with all a_i = 1, it is the median of the reports. It withstands
/// less than half of these points, and with m liars among n agents a share C(n - m, d) / C(n, d) of them is
/// honest.
///
/// Weiszfeld's iteration, x <- sum_p p / |x - p| / sum_p 1 / |x - p|, with Vardi and Zhang's step where x is one of the
/// points.
///
/// # References
/// Dang, Peng, Wang, Zhang 2008, Theil–Sen estimators in a multiple linear regression model. Vardi, Zhang 2000, PNAS
/// 97(4).
pub struct GeometricMedian;

/// Iterations end when a step is shorter than this share of the largest coordinate.
const TOLERANCE: f64 = 1e-12;

/// Number of iterations after which the point is used as it is.
const MOST_ITERATIONS: usize = 2000;

impl Estimator for GeometricMedian {
    fn name(&self) -> &'static str {
        "geometric_median"
    }

    fn estimate(&self, a: &DMatrix<f64>, y: &DVector<f64>) -> DVector<f64> {
        geometric_median(&agreed(a, y))
    }
}

/// The geometric median of some points. In one dimension with an even number of points, the middle of the two in the
/// middle.
///
/// # Shapes
/// points `[d]` each -> `[d]`
pub fn geometric_median(points: &[DVector<f64>]) -> DVector<f64> {
    let middle = |sorted: &[f64]| f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let mut x = by_coordinate(points, middle);
    for _ in 0..MOST_ITERATIONS {
        // Points this near count as x itself.
        let near = TOLERANCE * x.amax();
        let (mut here, mut weights) = (0.0, 0.0);
        let (mut mean, mut pull) = (DVector::zeros(x.len()), DVector::zeros(x.len())); // weighted sum, sum of directions
        for point in points {
            let way = point - &x;
            let distance = way.norm();
            if distance <= near {
                here += 1.0;
            } else {
                weights += 1.0 / distance;
                mean.axpy(1.0 / distance, point, 1.0);
                pull.axpy(1.0 / distance, &way, 1.0);
            }
        }
        // Where the others do not pull more strongly than the points here hold, this is the median.
        if weights == 0.0 || pull.norm() <= here {
            break;
        }
        let step = (mean / weights - &x) * (1.0 - here / pull.norm());
        x += &step;
        if step.amax() <= near {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use nalgebra::DVector;

    use super::geometric_median;

    fn vector(values: &[f64]) -> DVector<f64> {
        DVector::from_column_slice(values)
    }

    fn assert_close(points: &[DVector<f64>], expected: &DVector<f64>) {
        let found = geometric_median(points);
        assert!((&found - expected).amax() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn fermat_points_by_hand() {
        // Of a triangle with an angle of 120 degrees or more it is that corner; of an equilateral one the centre.
        let wide = [vector(&[0.0, 0.0]), vector(&[4.0, 1.0]), vector(&[-4.0, 1.0])];
        assert_close(&wide, &vector(&[0.0, 0.0]));
        let height = 3.0_f64.sqrt();
        assert_close(
            &[vector(&[-1.0, 0.0]), vector(&[1.0, 0.0]), vector(&[0.0, height])],
            &vector(&[0.0, height / 3.0]),
        );
        // Of a convex quadrilateral where its diagonals cross.
        let kite = [vector(&[0.0, 2.0]), vector(&[0.0, -5.0]), vector(&[3.0, 0.0]), vector(&[-1.0, 0.0])];
        assert_close(&kite, &vector(&[0.0, 0.0]));
        assert_close(&[vector(&[1.0]), vector(&[9.0]), vector(&[2.0]), vector(&[4.0])], &vector(&[3.0]));
        // More than half of the points at one place hold it.
        let most =
            [vector(&[7.0, 1.0]), vector(&[7.0, 1.0]), vector(&[7.0, 1.0]), vector(&[0.0, 0.0]), vector(&[50.0, 3.0])];
        assert_close(&most, &vector(&[7.0, 1.0]));
    }
}
