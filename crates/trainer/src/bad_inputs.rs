//! What is wrong with inputs given to a network.

use headway_tasks::file::table::listed;
use thiserror::Error;

/// Why inputs are refused, with the place.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BadInputs {
    /// The file's extension is not one of the known formats.
    #[error("the name ends in none of .csv, .npy, .npz and .fasta, which tell the format, nor in .csv.gz or .fasta.gz")]
    Ending,
    /// The answers' format differs from that of the inputs.
    #[error(
        "the inputs are a .{inputs} file; answers have the same form and are not packed, so end the name in .{inputs}"
    )]
    OtherEnding {
        /// Extension of the inputs' file.
        inputs: &'static str,
    },
    /// The message of the format's reader.
    #[error("{0}")]
    Unreadable(String),
    /// Sequences of letters for a network that fills no gaps.
    #[error("sequences of letters, and this network fills no gaps in any; give a run of [task.proteins] with masking")]
    NoGaps,
    /// The file has no examples.
    #[error("holds no examples")]
    Empty,
    /// An array whose shape the network does not accept.
    #[error("inputs {found:?}; this network takes {taken}")]
    Shape {
        /// Size of each axis.
        found: Vec<usize>,
        /// The shapes that it accepts, in words.
        taken: String,
    },
    /// A number that the network does not accept.
    #[error("inputs[{}] is {value}, {problem}", .place.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Value {
        /// Its index along each axis.
        place: Vec<usize>,
        /// The number, as text.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The number of columns is not the number of inputs of a position.
    #[error("columns {}: {}, and a position of this network's inputs has {wanted}", listed(.found), .found.len())]
    Columns {
        /// Names of the columns of the table.
        found: Vec<String>,
        /// Number of columns that the network accepts.
        wanted: usize,
    },
    /// A table lacks the column that says which lines belong together.
    #[error("has no column `{column}`, which says which lines are the {seq_len} positions of one example")]
    NoExamples {
        /// Name of that column.
        column: &'static str,
        /// Number of positions of an example.
        seq_len: usize,
    },
    /// An example has a length that the network does not accept.
    #[error("example {example} has {found} positions; this network takes {taken}")]
    Length {
        /// Its name.
        example: String,
        /// Its length.
        found: usize,
        /// The lengths that it accepts, in words.
        taken: String,
    },
    /// An example is longer than any that the network accepts.
    #[error("example {example} has more than {longest} positions, which this network takes at most")]
    TooLong {
        /// Its name.
        example: String,
        /// Largest number of positions that the network accepts.
        longest: usize,
    },
    /// An example that is finite, and its answer is not.
    #[error(
        "example {example}: the network's answer is not finite, and its weights are: the numbers are too large for it"
    )]
    Answer {
        /// Its name, or its index in the file.
        example: String,
    },
    /// The lines of an example are not next to each other.
    #[error("line {line}: example {example} comes a second time; put its lines together")]
    Apart {
        /// Number of the line that is separate.
        line: u64,
        /// Its name.
        example: String,
    },
}
