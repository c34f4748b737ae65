//! Position schemes: what tells a token where it stands. One file each, and one row in the list below.

mod learned;
mod none;
mod sinusoidal;

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use crate::init::Initializer;

/// A position scheme that adds a table to the embedded tokens.
pub trait Scheme {
    /// The table to add, built once with the model. `[seq_len, d_model]`
    fn table(&self, seq_len: usize, d_model: usize) -> Table;
}

/// What a scheme adds to the hidden state before the first layer.
pub enum Table {
    /// Nothing.
    Nothing,
    /// Trainable rows, one per position.
    Learned,
    /// Fixed values, row-major `[seq_len, d_model]`.
    Fixed(Vec<f32>),
}

/// Declares the list of schemes once: config names, dispatch and `headway list positions` all come from it.
macro_rules! positions {
    ($($(#[$attribute:meta])* $variant:ident = $implementation:expr, $summary:literal;)+) => {
        /// A position scheme by its name in a config file (`position = "learned"`).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum PositionKind {
            $(#[doc = $summary] $(#[$attribute])* $variant,)+
        }

        /// Every position scheme with one line about it.
        pub const POSITIONS: &[(PositionKind, &str)] = &[$((PositionKind::$variant, $summary),)+];

        impl PositionKind {
            /// The implementation behind the name.
            pub fn scheme(self) -> &'static dyn Scheme {
                match self { $(Self::$variant => &$implementation,)+ }
            }
        }
    };
}

positions! {
    None = none::None, "no positions: bidirectional attention then treats the sequence as a set";
    #[default] Learned = learned::Learned, "one trainable row per position, added to the embedded tokens";
    Sinusoidal = sinusoidal::Sinusoidal, "fixed sines and cosines of geometrically spaced wavelengths, added to the embedded tokens";
}

/// The position table of a built model.
#[derive(Module, Debug)]
pub struct Position {
    /// Trainable rows of a learned scheme. `[seq_len, d_model]`
    pub weight: Option<Param<Tensor<2>>>,
    #[module(skip)]
    fixed: Option<Tensor<2>>,
}

impl Position {
    pub(crate) fn new(kind: PositionKind, seq_len: usize, d_model: usize, init: &mut Initializer<'_>) -> Self {
        let shape = [seq_len, d_model];
        match kind.scheme().table(seq_len, d_model) {
            Table::Nothing => Self { weight: None, fixed: None },
            Table::Learned => Self { weight: Some(init.embedding_table(shape)), fixed: None },
            Table::Fixed(values) => {
                let table = burn::tensor::TensorData::new(values, shape);
                Self { weight: None, fixed: Some(Tensor::from_data(table, init.device())) }
            }
        }
    }

    /// Adds the table's first `seq_len` rows.
    ///
    /// # Shapes
    /// hidden `[batch, seq_len, d_model]` -> the same
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let table = self.weight.as_ref().map(Param::val).or_else(|| self.fixed.clone());
        match table {
            Some(table) => {
                let seq_len = hidden.dims()[1];
                hidden + table.narrow(0, 0, seq_len).unsqueeze()
            }
            None => hidden,
        }
    }
}
