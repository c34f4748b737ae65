//! A greedy regression tree in context.

use nalgebra::{DMatrixView, DVectorView};

use super::in_context::InContext;

/// Mean y of the leaf that the query reaches in a greedily grown tree. Every node splits its examples at the coordinate
/// and threshold that leave the least sum of squares about the two means, until all y of a node are equal, or no
/// coordinate tells its examples apart, or the tree is deep enough. Thresholds lie half-way between two neighbouring
/// values, and what is above goes right; of equally good splits the first coordinate's lowest counts.
///
/// Only the branch that the query follows is grown: the others do not change the answer.
///
/// # References
/// Breiman, Friedman, Olshen, Stone 1984, Classification and Regression Trees, chapter 8.
pub struct RegressionTree {
    /// Splits between the top and a leaf; `None` for no limit.
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

/// A question to ask of an example.
struct Split {
    coordinate: usize,
    threshold: f64,
}

/// The split of a node's examples with the least sum of squares, which is the one with the greatest sum over both sides
/// of (sum of y)^2 / count; `None` if all x are the same. Leaves the node in another order.
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
            // Two values may be too close for a number between them.
            if score > best.0 && low <= threshold && threshold < high {
                best = (score, Some(Split { coordinate, threshold }));
            }
        }
    }
    best.1
}
