//! From a family of hidden functions to a task.

use nalgebra::{DMatrix, DVector};

use super::config::{PromptConfig, Prompts};
use crate::{
    baseline::{Baseline, in_context::InContext, unbeatable::Unbeatable, zero::Zero},
    batch::{Example, TaskDims},
    error::TaskError,
    files::Files,
    prompt::{
        Layout, Size,
        alternating::{self, AnswerKind},
    },
    seed::SampleRng,
    shift::Shift,
    task::{Split, Task, TaskSpec},
};

/// A distribution of hidden functions f: R^d -> R. Every prompt has its own hidden function and shows y_i = f(x_i).
pub trait Family: PromptConfig + Clone + Send + Sync + 'static {
    /// One hidden function.
    type Function;

    /// What is predicted at each x.
    const ANSWERS: AnswerKind;

    /// Problems of the family's own keys, each with the key to change.
    fn own_problems(&self) -> Vec<TaskError>;

    /// Draws a hidden function of d coordinates, of which all but the first `active` are always zero.
    fn draw(&self, active: usize, rng: &mut SampleRng) -> Self::Function;

    /// The answers y of each x, noise included.
    ///
    /// # Shapes
    /// x `[d, n_points]` -> `[n_points]`
    fn answers(&self, function: &Self::Function, x: &DMatrix<f32>, rng: &mut SampleRng) -> DVector<f32>;

    /// E[y^2] over hidden functions and x: the squared error of predicting 0, by which errors are divided to compare
    /// families.
    fn mean_square(&self) -> f64;

    /// Classical predictors for these functions, beside [`Zero`].
    fn baselines(&self) -> Vec<Box<dyn Baseline>>;

    /// E[y | examples, x] for evaluation prompts; `None` if no formula is known. Without examples it is 0, since the
    /// distribution of functions does not change when f is replaced by -f.
    fn posterior_mean(&self) -> Option<Box<dyn InContext>> {
        None
    }
}

impl<F: Family> TaskSpec for F {
    fn dims(&self) -> TaskDims {
        let Prompts { d, n_points, .. } = self.prompts();
        alternating::dims(d, n_points, F::ANSWERS)
    }

    fn validate(&self) -> Vec<TaskError> {
        let mut problems: Vec<TaskError> = self.prompts().problems().into_iter().chain(self.own_problems()).collect();
        if problems.is_empty() {
            problems.extend(TaskError::squares_overflow("input", self.mean_square()));
        }
        problems
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(InContextTask { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        // The last y is not part of a prompt.
        (self.prompts().n_points > 1).then_some("every y stands right after the x where it is asked for")
    }

    fn curriculum_end(&self) -> Option<u64> {
        let prompts = self.prompts();
        prompts.curriculum.as_ref().map(|curriculum| curriculum.end(prompts.full_size()))
    }

    fn starts_shorter(&self) -> bool {
        let prompts = self.prompts();
        let full = prompts.full_size();
        prompts.curriculum.as_ref().is_some_and(|curriculum| curriculum.size(0, full).n_points < full.n_points)
    }

    fn shift_mut(&mut self) -> Option<&mut Option<Shift>> {
        Some(self.prompts_shift())
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n_points", self.prompts_points()))
    }
}

/// Prompts laid out as in [`alternating`], of a new hidden function each. Every point is scored, against the y that the
/// prompt would show next; under a [`Shift`] of the query alone, one point is.
///
/// # Shapes
/// inputs `[2 n_points - 1, d]` -> targets `[2 n_points - 1, 1]`, or classes `[2 n_points - 1]`
#[derive(Clone, Debug)]
pub struct InContextTask<F> {
    /// The family with its settings.
    pub config: F,
}

impl<F: Family> InContextTask<F> {
    fn prompt(&self, size: Size, shift: Option<&Shift>, rng: &mut SampleRng) -> Example {
        let Prompts { d, input, .. } = self.config.prompts();
        let function = self.config.draw(size.d, rng);
        let mut x = DMatrix::from_vec(d, size.n_points, input.vector(d * size.n_points, rng)); // [d, n_points]
        x.rows_mut(size.d, d - size.d).fill(0.0);
        let query = shift.and_then(|shift| shift.move_x(&mut x, rng));
        let mut y = self.config.answers(&function, &x, rng);
        if let Some(shift) = shift {
            shift.move_y(&mut y, self.config.mean_square(), rng);
        }
        let asked_at: Vec<usize> = query.map_or((0..size.n_points).collect(), |query| vec![query]);
        alternating::write(&x, &y, F::ANSWERS, &asked_at)
    }
}

impl<F: Family> Task for InContextTask<F> {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let prompts = self.config.prompts();
        self.prompt(prompts.full_size(), prompts.shift.as_ref(), rng)
    }

    fn training_example(&self, batch: u64, _: u64, rng: &mut SampleRng) -> Example {
        self.prompt(self.config.prompts().training_size(batch), None, rng)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let zero: Option<Box<dyn Baseline>> = match F::ANSWERS {
            AnswerKind::Number => Some(Box::new(Zero)),
            AnswerKind::Sign => None,
        };
        self.config.baselines().into_iter().chain(zero).collect()
    }

    fn best_possible(&self) -> Option<Box<dyn Baseline>> {
        Some(Box::new(Unbeatable { posterior_mean: self.config.posterior_mean() }))
    }

    fn slices(&self) -> Vec<String> {
        alternating::slices(self.config.prompts().n_points)
    }

    fn prompt_layout(&self) -> Option<Layout> {
        Some(Layout::Alternating)
    }
}
