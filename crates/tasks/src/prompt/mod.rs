//! Prompts of in-context tasks: their layouts, and the questions in them, each a query after some examples.

pub mod alternating;
pub mod rows;

use nalgebra::{DMatrix, DVector};

use crate::batch::{Batch, Inputs, TaskInput};

use alternating::Prompt;

/// Size of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of dimensions in which x is not zero.
    pub d: usize,
    /// Number of points.
    pub n_points: usize,
}

/// Positions of examples and queries in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// x_1, y_1, x_2, y_2, …: every x is a query after the pairs before it, as in [`alternating`].
    Alternating,
    /// (x_1, y_1), …, (x_N, y_N), (x_q, 0): one query after all examples, as in [`rows`].
    Rows,
}

/// A query after some examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Position of the query, at which its answer is predicted.
    pub position: usize,
    /// The examples, one per column. `[d, seen]`
    pub x: DMatrix<f64>,
    /// Answers of the examples. `[seen]`
    pub y: DVector<f64>,
    /// The query. `[d]`
    pub query: DVector<f64>,
}

impl Question {
    /// Number of examples before the query.
    pub fn seen(&self) -> usize {
        self.y.len()
    }
}

impl Layout {
    /// The scored questions of each prompt, first to last.
    ///
    /// # Panics
    /// If the inputs are tokens, which no prompt has.
    pub fn questions(self, batch: &Batch) -> Vec<Vec<Question>> {
        let TaskInput::Continuous { d_in } = batch.dims.input else { panic!("prompts hold numbers, not tokens") };
        let seq_len = batch.dims.seq_len;
        let prompts = batch.inputs.continuous().chunks_exact(seq_len * d_in).zip(batch.loss_mask.chunks_exact(seq_len));
        let of_prompt = |(tokens, scored): (&[f32], &[bool])| {
            let all = match self {
                Self::Alternating => {
                    let Prompt { x, y } = Prompt::read(tokens, d_in);
                    let question = |seen: usize| Question {
                        position: alternating::x_position(seen),
                        x: x.columns(0, seen).into_owned(),
                        y: y.rows(0, seen).into_owned(),
                        query: x.column(seen).into_owned(),
                    };
                    (0..x.ncols()).map(question).collect()
                }
                Self::Rows => {
                    let (x, y, query) = rows::read(tokens, seq_len);
                    vec![Question { position: y.len(), x, y, query }]
                }
            };
            all.into_iter().filter(|question: &Question| scored[question.position]).collect()
        };
        prompts.map(of_prompt).collect()
    }

    /// The role of each position of a sequence.
    pub fn roles(self, seq_len: usize) -> Vec<&'static str> {
        let role = |position: usize| match self {
            Self::Alternating => ["x", "y"][position % 2],
            Self::Rows if position + 1 == seq_len => "query",
            Self::Rows => "example",
        };
        (0..seq_len).map(role).collect()
    }

    /// What each position of a sequence is called: x1 y1 x2 y2 …, or by the number of its example, the query by `query`.
    pub fn names(self, seq_len: usize) -> Vec<String> {
        let name = |position: usize| match self {
            Self::Alternating => format!("{}{}", ["x", "y"][position % 2], position / 2 + 1),
            Self::Rows if position + 1 == seq_len => "query".to_owned(),
            Self::Rows => format!("{}", position + 1),
        };
        (0..seq_len).map(name).collect()
    }
}

/// Replaces the query at a position.
///
/// # Panics
/// If the prompt or the position does not exist, or if the query is wider than a token.
pub fn set_query(batch: &mut Batch, prompt: usize, position: usize, query: &[f32]) {
    let seq_len = batch.dims.seq_len;
    let Inputs::Continuous(values) = &mut batch.inputs else { panic!("prompts hold numbers, not tokens") };
    let width = values.len() / (batch.size * seq_len);
    // In both layouts a token begins with x.
    values[(prompt * seq_len + position) * width..][..query.len()].copy_from_slice(query);
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};

    use super::{Layout, alternating, rows, set_query};
    use crate::batch::{Batch, TaskDims, TaskInput};

    #[test]
    fn questions_of_both_layouts_are_what_was_written() {
        let x = DMatrix::from_row_slice(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let example =
            alternating::write(&x, &DVector::from_vec(vec![7.0, 8.0, 9.0]), alternating::AnswerKind::Number, &[0, 2]);
        let mut batch =
            Batch::stack(alternating::dims(2, 3, alternating::AnswerKind::Number), [example.clone(), example]);
        let questions = Layout::Alternating.questions(&batch);
        let [first, last] = &questions[1][..] else { panic!("{questions:?}") };
        assert_eq!((first.position, first.seen(), first.query.as_slice()), (0, 0, &[1.0, 4.0][..]));
        assert_eq!((last.position, last.seen(), last.query.as_slice()), (4, 2, &[3.0, 6.0][..]));
        assert_eq!((last.x.as_slice(), last.y.as_slice()), (&[1.0, 4.0, 2.0, 5.0][..], &[7.0, 8.0][..]));
        set_query(&mut batch, 1, 4, &[-1.0, -2.0]);
        let changed = Layout::Alternating.questions(&batch);
        assert_eq!((&changed[0], changed[1][1].query.as_slice()), (&questions[0], &[-1.0, -2.0][..]));
        assert_eq!(Layout::Alternating.roles(5), ["x", "y", "x", "y", "x"]);
        assert_eq!(Layout::Alternating.names(5), ["x1", "y1", "x2", "y2", "x3"]);

        let example = rows::write(&x, &DVector::from_vec(vec![7.0, 8.0]), &[9.0]);
        let dims = TaskDims { seq_len: 3, input: TaskInput::Continuous { d_in: 3 }, d_out: 1 };
        let questions = Layout::Rows.questions(&Batch::stack(dims, [example]));
        let [only] = &questions[0][..] else { panic!("{questions:?}") };
        assert_eq!((only.position, only.y.as_slice(), only.query.as_slice()), (2, &[7.0, 8.0][..], &[3.0, 6.0][..]));
        assert_eq!(Layout::Rows.roles(3), ["example", "example", "query"]);
        assert_eq!(Layout::Rows.names(3), ["1", "2", "query"]);
    }
}
