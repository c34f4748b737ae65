//! What a construction is to compute: a function, and what is known of it over boxes.

use std::{fmt, sync::Arc};

use headway_tasks::Jet;

use crate::refusal::Refusal;

/// A function of the whole sequence, row by row: `[seq_len · d_in]` -> `[seq_len · d_out]`.
pub type Function = Arc<dyn Fn(&[f64]) -> Vec<f64> + Send + Sync>;

/// What holds for a function on a whole box of inputs, or on a piece of a path: numbers `[seq_len · d_in]`, each with its derivatives, ->
/// values and derivatives `[seq_len · d_out]`.
pub type Enclosure = Arc<dyn Fn(&[Jet]) -> Vec<Jet> + Send + Sync>;

/// What is to be computed.
#[derive(Clone)]
pub struct Target {
    /// In words or as a formula.
    pub text: String,
    /// The function, in double precision.
    pub function: Function,
    /// The same over boxes, where it is known: what is proved about slopes is read off here.
    pub enclosure: Option<Enclosure>,
}

impl Target {
    /// A function of which nothing is known but its values.
    pub fn opaque(text: impl Into<String>, function: impl Fn(&[f64]) -> Vec<f64> + Send + Sync + 'static) -> Self {
        Self { text: text.into(), function: Arc::new(function), enclosure: None }
    }

    /// A function that is written down.
    pub fn written(text: impl Into<String>, function: headway_tasks::Function) -> Self {
        let same = function.clone();
        Self {
            text: text.into(),
            function: Arc::new(move |x| function.evaluate(x)),
            enclosure: Some(Arc::new(move |x| same.enclose(x))),
        }
    }

    /// A function of sequences `[seq_len, d_in]` of numbers between two ends, by a formula per output number of a position.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for what is no formula, or not finite there.
    pub fn formulas(formulas: &[&str], [seq_len, d_in]: [usize; 2], [low, high]: [f64; 2]) -> Result<Self, Refusal> {
        let outputs: Vec<String> = formulas.iter().map(|formula| (*formula).to_owned()).collect();
        let domain = headway_tasks::Domain::Cube { low, high };
        let config = headway_tasks::FunctionConfig { seq_len, d_in, outputs, table: None, domain };
        match headway_tasks::Function::new(&config) {
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
