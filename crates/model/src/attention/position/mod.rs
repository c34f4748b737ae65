//! Position schemes: what tells a token where it stands. One file each, and one row in the list below.

mod learned;
mod none;
mod sinusoidal;

use std::sync::OnceLock;

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::init::Initializer;

/// A position scheme that adds a table to the embedded tokens.
pub trait Scheme {
    /// The table to add. `[seq_len, d_model]`
    fn table(&self) -> Table;
}

/// What a scheme adds to the hidden state before the first layer.
pub enum Table {
    /// Nothing.
    Nothing,
    /// Trainable rows, one per position.
    Learned,
    /// Fixed values, row-major `[seq_len, d_model]`; worked out when they are first used.
    Fixed(fn(usize, usize) -> Vec<f32>),
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
    fixed: Option<Fixed>,
}

/// A table of a fixed scheme, kept from its first use on.
#[derive(Clone, Debug)]
struct Fixed {
    shape: [usize; 2],
    values: fn(usize, usize) -> Vec<f32>,
    table: OnceLock<Tensor<2>>,
}

impl Fixed {
    fn table(&self, device: &Device) -> Tensor<2> {
        let [seq_len, d_model] = self.shape;
        let values = || TensorData::new((self.values)(seq_len, d_model), self.shape);
        self.table.get_or_init(|| Tensor::from_data(values(), device)).clone()
    }
}

impl Position {
    pub(crate) fn new(kind: PositionKind, seq_len: usize, d_model: usize, init: &mut Initializer<'_>) -> Self {
        let shape = [seq_len, d_model];
        match kind.scheme().table() {
            Table::Nothing => Self { weight: None, fixed: None },
            Table::Learned => Self { weight: Some(init.embedding_table(shape)), fixed: None },
            Table::Fixed(values) => Self { weight: None, fixed: Some(Fixed { shape, values, table: OnceLock::new() }) },
        }
    }

    /// Adds the table's first `seq_len` rows.
    ///
    /// # Shapes
    /// hidden `[batch, seq_len, d_model]` -> the same
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let fixed = || self.fixed.as_ref().map(|fixed| fixed.table(&hidden.device()));
        let table = self.weight.as_ref().map(Param::val).or_else(fixed);
        match table {
            Some(table) => {
                let seq_len = hidden.dims()[1];
                hidden + table.narrow(0, 0, seq_len).unsqueeze()
            }
            None => hidden,
        }
    }
}
