//! A greedy regression tree in context.

use nalgebra::{DMatrixView, DVectorView};

use super::in_context::InContext;

/// Mean y of the leaf that the query reaches in a greedily grown tree. Every node splits its examples at the coordinate
/// and threshold with the least sum of squares about the two means, until all y of a node are equal, no coordinate
/// distinguishes its examples, or the maximal depth is reached. Thresholds lie half-way between two neighbouring
/// values, and larger values go right; of equally good splits, the lowest threshold of the first coordinate counts.
///
/// Only the branch that the query follows is grown, since the others do not change the answer.
///
/// # References
/// Breiman, Friedman, Olshen, Stone 1984, Classification and Regression Trees, chapter 8.
pub struct RegressionTree {
    /// Largest number of splits between the root and a leaf; `None` for no limit.
    pub max_depth: Option<usize>,
}

impl InContext for RegressionTree {
    fn name(&self) -> &'static str {
        match self.max_depth {
            Some(_) => "shallow_regression_tree",
            None => "regression_tree",
        }
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let mut node: Vec<usize> = (0..y.len()).collect(); // the examples of the query's node
        for _ in 0..self.max_depth.unwrap_or(usize::MAX) {
            let pure = node.iter().all(|&j| y[j].total_cmp(&y[node[0]]).is_eq());
            let Some(split) = (!pure).then(|| best_split(&x, &y, &mut node)).flatten() else { break };
            let is_right = |value: f64| value > split.threshold;
            let side = is_right(query[split.coordinate]);
            node.retain(|&j| is_right(x[(split.coordinate, j)]) == side);
        }
        node.iter().map(|&j| y[j]).sum::<f64>() / node.len() as f64
    }
}

/// The test of an inner node.
struct Split {
    coordinate: usize,
    threshold: f64,
}

/// The split of a node's examples with the least sum of squares, which maximises (sum of y)^2 / count summed over both
/// sides; `None` if all x are the same. Reorders the node's examples.
fn best_split(x: &DMatrixView<f64>, y: &DVectorView<f64>, node: &mut [usize]) -> Option<Split> {
    let total: f64 = node.iter().map(|&j| y[j]).sum();
    let mut best = (f64::NEG_INFINITY, None);
    for coordinate in 0..x.nrows() {
        node.sort_unstable_by(|&a, &b| x[(coordinate, a)].total_cmp(&x[(coordinate, b)]));
        let mut left = 0.0;
        for (before, pair) in node.windows(2).enumerate() {
            left += y[pair[0]];
            let (low, high) = (x[(coordinate, pair[0])], x[(coordinate, pair[1])]);
            let (n_left, n_right) = ((before + 1) as f64, (node.len() - before - 1) as f64);
            let score = left * left / n_left + (total - left).powi(2) / n_right;
            let threshold = f64::midpoint(low, high);
            // There may be no number between two close values.
            if score > best.0 && low <= threshold && threshold < high {
                best = (score, Some(Split { coordinate, threshold }));
            }
        }
    }
    best.1
}
