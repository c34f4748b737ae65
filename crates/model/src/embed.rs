//! From data to the hidden state: a linear map for vectors, a table for tokens.

use burn::{
    module::Module,
    nn::Embedding,
    tensor::{Int, Tensor},
};

use headway_kernels::{Precision, counts_launches, linear};

use crate::{attention::position::Position, config::InputDims, init::Initializer, linear::Linear};

/// A batch of inputs on a device.
#[derive(Clone, Debug)]
pub enum Input {
    /// Vectors. `[batch, seq_len, d_in]`
    Continuous(Tensor<3>),
    /// Token ids below the vocabulary size. `[batch, seq_len]`
    Tokens(Tensor<2, Int>),
}

impl Input {
    /// The vectors, for a network that takes only vectors.
    ///
    /// # Panics
    /// If the input is tokens.
    pub fn vectors(self) -> Tensor<3> {
        match self {
            Self::Continuous(x) => x,
            Self::Tokens(_) => panic!("this model takes vectors, not tokens"),
        }
    }
}

/// Input projection or token embedding, depending on the data.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model holds one, never a list of them")]
pub enum Embed {
    /// x W + b.
    Projection(Linear),
    /// Row `id` of a table.
    Table(Embedding),
}

impl Embed {
    pub(crate) fn new(input: &InputDims, d_model: usize, init: &mut Initializer<'_>) -> Self {
        match *input {
            InputDims::Continuous { d_in } => Self::Projection(init.linear(d_in, d_model)),
            InputDims::Tokens { vocab } => Self::Table(init.embedding(vocab, d_model)),
        }
    }

    /// # Shapes
    /// continuous `[batch, seq_len, d_in]` or tokens `[batch, seq_len]` -> `[batch, seq_len, d_model]`
    ///
    /// # Panics
    /// If the input is of the other kind: a model is built for one kind of data.
    pub fn forward(&self, input: Input) -> Tensor<3> {
        match (self, input) {
            (Self::Projection(projection), Input::Continuous(x)) => projection.forward(x),
            (Self::Table(table), Input::Tokens(tokens)) => table.forward(tokens),
            (Self::Projection(_), Input::Tokens(_)) => panic!("this model was built for vectors, not tokens"),
            (Self::Table(_), Input::Continuous(_)) => panic!("this model was built for tokens, not vectors"),
        }
    }

    /// h Eᵀ with E the table: as many numbers as there are tokens.
    ///
    /// # Shapes
    /// `[batch, rows, d_model]` -> `[batch, rows, vocab]`
    ///
    /// # Panics
    /// If there is no table.
    pub(crate) fn transposed(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        match self {
            Self::Table(table) => linear(x, table.weight.val().transpose(), None, precision),
            Self::Projection(_) => panic!("only a table of tokens is a head too"),
        }
    }

    /// [`Self::forward`] and then the rows of a position scheme from `first` on, in as few operations where that is what counts.
    ///
    /// # Shapes
    /// as [`Self::forward`]
    ///
    /// # Panics
    /// as [`Self::forward`], and if the sequence is longer than the scheme's table
    pub(crate) fn forward_at(&self, input: Input, position: &Position, first: usize) -> Tensor<3> {
        match (self, input) {
            (Self::Projection(projection), Input::Continuous(x)) if counts_launches(&x.device()) => {
                match position.rows(first, x.dims()[1], &x.device()) {
                    Some(rows) => projection.forward_onto(rows.unsqueeze(), x),
                    None => projection.forward(x),
                }
            }
            (_, input) => position.forward_from(first, self.forward(input)),
        }
    }
}
