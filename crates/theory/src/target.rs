//! The target of a construction: a function, and what is known about it over boxes.

use std::{fmt, sync::Arc};

use headway_tasks::Jet;

use crate::refusal::Refusal;

/// A function of the whole sequence, row by row: `[seq_len · d_in]` -> `[seq_len · d_out]`.
pub type Function = Arc<dyn Fn(&[f64]) -> Vec<f64> + Send + Sync>;

/// Enclosure of a function over a box of inputs or a piece of a path: from numbers `[seq_len · d_in]` with their
/// derivatives to values `[seq_len · d_out]` with theirs.
pub type Enclosure = Arc<dyn Fn(&[Jet]) -> Vec<Jet> + Send + Sync>;

/// The function to be computed.
#[derive(Clone)]
pub struct Target {
    /// Description in words, or the formula.
    pub text: String,
    /// The function in double precision.
    pub function: Function,
    /// The same function over boxes; `None` if no formula is known. Bounds on slopes are proved from it.
    pub enclosure: Option<Enclosure>,
}

impl Target {
    /// A function about which nothing is known except its values.
    pub fn opaque(text: impl Into<String>, function: impl Fn(&[f64]) -> Vec<f64> + Send + Sync + 'static) -> Self {
        Self { text: text.into(), function: Arc::new(function), enclosure: None }
    }

    /// A function given by a formula or a built-in.
    pub fn written(text: impl Into<String>, function: headway_tasks::seq2seq::function::Function) -> Self {
        let same = function.clone();
        Self {
            text: text.into(),
            function: Arc::new(move |x| function.evaluate(x)),
            enclosure: Some(Arc::new(move |x| same.enclose(x))),
        }
    }

    /// A function of sequences `[seq_len, d_in]` whose numbers lie between two ends, given by one formula per output
    /// number of a position.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a text is no formula, or not finite between the ends.
    pub fn formulas(formulas: &[&str], [seq_len, d_in]: [usize; 2], [low, high]: [f64; 2]) -> Result<Self, Refusal> {
        let outputs: Vec<String> = formulas.iter().map(|formula| (*formula).to_owned()).collect();
        let domain = headway_tasks::seq2seq::function::Domain::Cube { low, high };
        let config = headway_tasks::seq2seq::function::FunctionConfig { seq_len, d_in, outputs, table: None, domain };
        match headway_tasks::seq2seq::function::Function::new(&config) {
            Ok(function) => Ok(Self::written(formulas.join(", "), function)),
            Err(problems) => {
                let problems: Vec<String> = problems.into_iter().map(|problem| problem.into_parts().1).collect();
                Err(Refusal::invalid("function", problems.join("; ")))
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("text", &self.text).finish_non_exhaustive()
    }
}
