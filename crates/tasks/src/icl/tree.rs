//! Decision trees in context.

use nalgebra::{DMatrix, DVector, DVectorView};
use rand::RngExt;

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, knn::Knn, least_squares::LeastSquares, regression_tree::RegressionTree,
    },
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
};

prompt_config! {
    /// y_i is the value of the leaf that x_i reaches in a full binary tree: each inner node tests one coordinate,
    /// chosen uniformly among all d, and x goes right if that coordinate is above 0. The values of leaves are N(0, 1).
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066.
    TreeConfig {
        /// Number of inner nodes on the way from the root to a leaf; there are 2^depth leaves. Default 4.
        depth: usize = 4,
    }
}

/// Largest depth: deeper trees have more leaves than prompts could ever show.
const DEEPEST: usize = 16;

/// A hidden tree. Node 0 is the root; the children of node n are 2n + 1 (left) and 2n + 2 (right), first the inner
/// nodes, then the leaves.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The coordinate that each inner node tests. `[2^depth - 1]`
    pub coordinates: Vec<usize>,
    /// Value of each leaf, from left to right. `[2^depth]`
    pub leaves: Vec<f32>,
}

impl Tree {
    /// The value of the leaf that x reaches.
    pub fn leaf(&self, x: DVectorView<f32>) -> f32 {
        let mut node = 0;
        while let Some(&coordinate) = self.coordinates.get(node) {
            node = 2 * node + if x[coordinate] > 0.0 { 2 } else { 1 };
        }
        self.leaves[node - self.coordinates.len()]
    }
}

impl Family for TreeConfig {
    type Function = Tree;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        let problems = [TaskError::below("depth", self.depth, 1), TaskError::above("depth", self.depth, DEEPEST)];
        problems.into_iter().flatten().collect()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> Tree {
        let leaves = 1 << self.depth;
        let coordinates = (1..leaves).map(|_| rng.random_range(0..self.d)).collect();
        Tree { coordinates, leaves: Distribution::STANDARD_NORMAL.vector(leaves, rng) }
    }

    fn answers(&self, tree: &Tree, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        DVector::from_iterator(x.ncols(), x.column_iter().map(|x| tree.leaf(x)))
    }

    fn mean_square(&self) -> f64 {
        1.0
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(RegressionTree { max_depth: Some(self.depth) }),
            Box::new(RegressionTree { max_depth: None }),
            Box::new(Knn { neighbours: 3 }),
            Box::new(LeastSquares),
            Box::new(Averaging),
        ]
    }
}
