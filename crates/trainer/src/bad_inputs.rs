//! What is wrong with inputs that a network is asked about.

use thiserror::Error;

/// Why inputs are refused, with the place.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BadInputs {
    /// A name that does not tell the format.
    #[error("the name ends in none of .csv, .npy and .npz, which tell the format")]
    Ending,
    /// Another format than that of the inputs.
    #[error("the inputs are a .{inputs} file; answers have the same form, so end the name in .{inputs} too")]
    OtherEnding {
        /// Ending of the inputs.
        inputs: &'static str,
    },
    /// What the reader of the format says.
    #[error("{0}")]
    Unreadable(String),
    /// No examples.
    #[error("holds no examples")]
    Empty,
    /// Axes that the network does not take.
    #[error("inputs {found:?}; this network takes {taken}")]
    Shape {
        /// Size of each axis.
        found: Vec<usize>,
        /// What it takes.
        taken: String,
    },
    /// A number that it does not take.
    #[error("inputs[{}] is {value}, {problem}", .place.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Value {
        /// Index along each axis.
        place: Vec<usize>,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Columns that are not as many as its inputs.
    #[error("columns {}: {}, and a position of this network's inputs has {wanted}", .found.join(", "), .found.len())]
    Columns {
        /// Those that are there.
        found: Vec<String>,
        /// How many it takes.
        wanted: usize,
    },
    /// A table that does not say which lines belong together.
    #[error("has no column `{column}`, which says which lines are the {seq_len} positions of one example")]
    NoExamples {
        /// The column.
        column: &'static str,
        /// Positions of an example.
        seq_len: usize,
    },
    /// An example of another length.
    #[error("example {example} has {found} positions; this network takes {taken}")]
    Length {
        /// Its name.
        example: String,
        /// Its length.
        found: usize,
        /// What the network takes.
        taken: String,
    },
    /// An example that is longer than any.
    #[error("example {example} has more than {longest} positions, which this network takes at most")]
    TooLong {
        /// Its name.
        example: String,
        /// Positions that the network takes at most.
        longest: usize,
    },
    /// Lines of an example apart from its others.
    #[error("line {line}: example {example} comes a second time; put its lines together")]
    Apart {
        /// The line.
        line: u64,
        /// Its name.
        example: String,
    },
}
