//! A compiler of programs in C-RASP: circuits, automata and counts become heads of softmax attention, layer after layer.
//!
//! ```text
//! program -> nodes       -> layers   -> errors    -> weights
//!            lowering.rs    layout.rs   errors.rs    weights.rs
//! ```
//!
//! Every number is an integer, and every truth value 0 or 1, so that there are gaps, and two kinds of heads do:
//!
//! - A **count** attends equally to the positions of a window, and to an empty row as if that were as many more as the largest window has.
//!   The mean over these, times their number, is the sum over the window.
//! - A **gate** is softmax over two rows, the position with the score β (u − 1/2) and the empty row with 0: σ(β (u − 1/2)) is 1 for u ≥ 1
//!   and 0 for u ≤ 0, up to e⁻⁶⁰. It takes the place of a feed-forward block, and no error survives it.
//!
//! Linear combinations and negations are the maps between. A third kind of head hands numbers on, since there is no skip connection.
//!
//! # References
//! Yang and Chiang 2024, arXiv 2404.04393: C-RASP, and soft attention that computes it with feed-forward blocks and layer norms. Liu et al.
//! 2022, arXiv 2210.10749: automata by O(log n) layers. Lindner et al. 2023, arXiv 2301.05062 (Tracr): programs as ground truth for
//! interpretation, compiled with feed-forward blocks. Gates by attention, the empty row and the bounds are specific to this crate.

mod errors;
mod layout;
mod lowering;
mod nodes;
mod truth;
mod weights;

use std::path::{Path, PathBuf};

use headway_tasks::{
    TaskConfig,
    program::{Program as Text, ProgramConfig, Shipped, ZOO},
};
use serde::{Deserialize, Serialize};

use super::{
    Construction, Cost, Request, Temperature, choose,
    options::{File, Given, Options, Planned},
};
use crate::{domain::Domain, refusal::Refusal, schedule::Schedule, target::Target, words::Words};

use layout::Layout;
pub use truth::{Combination, Computed, GroundTruth, Held, Named, Role};

/// Options of [`Program`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of a program that ships, or a file with a program.
    pub program: String,
    /// n, number of positions; if `None`, that of a program that ships, else 8.
    pub length: Option<usize>,
}

/// Number of positions for a program that was given.
const LENGTH: usize = 8;
/// Largest number of positions: with the empty row they are 64, whose square root is exact.
const MOST_POSITIONS: usize = 63;

impl Config {
    fn looks_like_a_file(&self) -> bool {
        self.program.contains(['.', '/', '\\']) || Path::new(&self.program).is_file()
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        // A program is computed or it is not: no tolerance need be given.
        vec![("length", true)]
    }

    fn file(&self) -> Option<File<'_>> {
        let is_file = Shipped::find(&self.program).is_none() && self.looks_like_a_file();
        is_file.then(|| File::Text(Path::new(&self.program)))
    }

    fn plan(&self, given: Option<Given>, _: usize) -> Result<Planned, Refusal> {
        let (source, length, name) = match Shipped::find(&self.program) {
            Some(shipped) => {
                (shipped.text.to_owned(), shipped.length, format!("{}: {}", shipped.name, shipped.summary))
            }
            None if given.is_none() => {
                let names: Vec<&str> = ZOO.iter().map(|shipped| shipped.name).collect();
                let problem = format!(
                    "no program that ships has this name; they are {}; a program of your own is the path of a file, such as mine.crasp",
                    names.join(", ")
                );
                return Err(Refusal::file(Path::new(&self.program), problem));
            }
            None => {
                let text = String::from_utf8(Given::text(given)?);
                let text = text.map_err(|_| Refusal::file(Path::new(&self.program), "is not text in UTF-8"))?;
                (text, LENGTH, format!("the program of {}", self.program))
            }
        };
        let seq_len = self.length.unwrap_or(length);
        let problem = |error: &dyn std::fmt::Display| Refusal::file(Path::new(&self.program), error.to_string());
        let text = Text::read(&source).map_err(|error| problem(&error))?;
        let construction = Program { name, text, seq_len };
        let task = TaskConfig::Program(ProgramConfig { source, seq_len, ..ProgramConfig::default() });
        let path = PathBuf::from(&self.program);
        // The program is no option but what the command is about.
        let named = move |refusal| match refusal {
            Refusal::Invalid { key, problem } if key == "program" => Refusal::file(&path, problem),
            other => other,
        };
        Ok(Planned::new(task, 0, move |request| construction.build(request).map_err(named)))
    }
}

/// The construction of a program.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the program computes, in words.
    pub name: String,
    /// The program.
    pub text: Text,
    /// Number of positions.
    pub seq_len: usize,
}

impl Program {
    /// Name on the command line.
    pub const NAME: &str = "program";

    /// Plans the layers, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for too many positions, and for numbers that are too large or too many; and whatever [`choose`] refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        let Self { name, text, seq_len } = self;
        if !(1..=MOST_POSITIONS).contains(seq_len) {
            return Err(Refusal::invalid("length", format!("must be from 1 to {MOST_POSITIONS}, not {seq_len}")));
        }
        let nodes = lowering::lower(text, *seq_len)?;
        let schedule = Schedule::of(&nodes);
        let layouts: Vec<Layout> =
            (0..schedule.stages.len()).map(|at| Layout::of(&nodes, &schedule.stages, at)).collect();
        let [bound, rounding] = errors::bounds(&nodes, &schedule).map_err(|off| {
            let problem = format!("compares numbers that are off by {off:.2e} in float32, and 0.25 is the most; smaller numbers can be had");
            Refusal::invalid("program", problem)
        })?;
        let off = bound.value + rounding.value;
        if off >= 0.5 {
            let problem = format!(
                "answers are off by up to {off:.2e} in float32, and integers are told apart below 0.5; smaller numbers can be had"
            );
            return Err(Refusal::invalid("program", problem));
        }
        let parameters = layouts.iter().map(Layout::parameters).sum();
        choose(request, [()], |()| Cost::of(&bound, &rounding, parameters), "; a smaller --length needs less")?;
        let network = weights::network(&nodes, &layouts);
        let count = |of: fn(&Layout) -> usize| layouts.iter().map(of).sum::<usize>();
        let sizes = [
            ("layers", layouts.len()),
            ("heads", count(Layout::n_heads)),
            ("counts", count(|layout| layout.counts.iter().map(|(_, nodes)| nodes.len()).sum())),
            ("gates", count(|layout| layout.gates.len())),
            ("positions", *seq_len),
            ("symbols", text.alphabet.len()),
        ];
        let words = Words { seq_len: *seq_len, alphabet: text.alphabet.clone() };
        let (program, reading) = (text.clone(), words.clone());
        let function = move |x: &[f64]| program.run(&reading.read(x)).into_iter().map(|value| value as f64).collect();
        Construction {
            name: Self::NAME,
            target: Target::opaque(name.clone(), function),
            domain: Domain::Words(words),
            network,
            scored: None,
            sizes: sizes.into_iter().map(|(name, size)| (name.to_owned(), size as f64)).collect(),
            temperature: Temperature {
                beta: errors::BETA,
                reason: format!(
                    "beta = {} of gates: arguments are integers, and 1/2 from the border between false and true is a score of 60, e^-60 = 9e-27",
                    errors::BETA
                ),
            },
            bound,
            rounding,
            likely: None,
            provable: None,
            proof: None,
            truth: Some(GroundTruth::of(text, &nodes, &layouts)),
            norm: None,
            hard: Vec::new(),
        }
        .in_float32("program", "program")
    }
}
