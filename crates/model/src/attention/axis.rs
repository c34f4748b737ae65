//! Attention along one axis of a table of rows, each line of which is a sequence of its own.

use burn::tensor::Tensor;

use super::trace::Recorder;

/// An axis of `[batch, first, second, d_model]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Rows that differ in their first index attend to each other.
    First,
    /// Rows that differ in their second index attend to each other.
    Second,
}

impl Axis {
    /// Applies `run` to all lines along this axis at once. For the recorder, the lines of an example are groups of heads.
    ///
    /// # Shapes
    /// x `[batch, first, second, d_model]` -> the same; of `run` `[lines, rows, d_model]` -> the same
    pub fn apply<'a>(
        self,
        x: Tensor<4>,
        recorder: &mut Recorder<'a>,
        run: impl FnOnce(Tensor<3>, &mut Recorder<'a>) -> Tensor<3>,
    ) -> Tensor<4> {
        let x = self.in_front(x);
        let [batch, lines, rows, d_model] = x.dims();
        let x = x.reshape([batch * lines, rows, d_model]);
        let x = recorder.grouped(lines, |recorder| run(x, recorder));
        self.in_front(x.reshape([batch, lines, rows, d_model]))
    }

    /// The table as a state with one row for each index along this axis.
    ///
    /// # Shapes
    /// x `[batch, first, second, d_model]` -> `[batch, rows, lines · d_model]`
    pub fn rows(self, x: Tensor<4>) -> Tensor<3> {
        let x = match self {
            Self::First => x,
            Self::Second => x.swap_dims(1, 2),
        };
        let [batch, rows, lines, d_model] = x.dims();
        x.reshape([batch, rows, lines * d_model])
    }

    /// The table with this axis second, or back again.
    fn in_front(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::First => x.swap_dims(1, 2),
            Self::Second => x,
        }
    }
}
