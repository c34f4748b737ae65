//! Functions given as options, by name or by formula.

use headway_tasks::{
    TaskError,
    seq2seq::function::{BUILT_INS, BuiltIn, Domain, Function, FunctionConfig},
};

use super::options::sound;
use crate::{refusal::Refusal, target::Target};

/// Requested sizes, and their values if neither options nor a built-in determine them.
pub(super) struct Sizes {
    pub seq_len: (Option<usize>, usize),
    pub d_in: (Option<usize>, usize),
}

/// A function given as an option: the name of a built-in, or one formula per output number.
pub(super) struct WrittenDown {
    pub config: FunctionConfig,
    pub text: String,
    pub function: Function,
    /// Known places where its slope jumps.
    pub kinks: &'static [f64],
}

impl WrittenDown {
    pub fn new(texts: &[String], sizes: &Sizes, domain: Domain) -> Result<Self, Refusal> {
        let built_in = match texts {
            [name] => BuiltIn::find(name),
            _ => None,
        };
        let pick = |option: &'static str, asked: Option<usize>, own: Option<usize>, otherwise: usize| match (asked, own)
        {
            (Some(asked), Some(own)) if asked != own => {
                Err(Refusal::invalid(option, format!("{} has {own} of its own; leave it out", texts.join(", "))))
            }
            (asked, own) => Ok(asked.or(own).unwrap_or(otherwise)),
        };
        let (outputs, text) = match built_in {
            Some(built_in) => {
                let outputs = built_in.config().outputs;
                let text = format!("{}: {}", built_in.name, outputs.join(", "));
                (outputs, text)
            }
            None => (texts.to_vec(), texts.join(", ")),
        };
        let seq_len = pick("seq-len", sizes.seq_len.0, built_in.and_then(|f| f.seq_len), sizes.seq_len.1)?;
        let d_in = pick("d-in", sizes.d_in.0, built_in.map(|f| f.d_in), sizes.d_in.1)?;
        let config = FunctionConfig { seq_len, d_in, outputs, table: None, domain };
        let function = Function::new(&config).map_err(|problems| {
            // A single word that is no formula was probably meant as a name.
            let names: Vec<&str> = BUILT_INS.iter().map(|built_in| built_in.name).collect();
            let of_formula = problems.iter().any(|problem| matches!(problem, TaskError::Key { key: "outputs", .. }));
            let hint = match texts {
                [name] if of_formula && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_') => {
                    format!("; built-in functions are {}", names.join(", "))
                }
                _ => String::new(),
            };
            match sound(&problems) {
                Err(Refusal::Invalid { key, problem }) => Refusal::invalid(key, format!("{problem}{hint}")),
                Err(other) => other,
                Ok(()) => Refusal::invalid("function", format!("makes no sense{hint}")),
            }
        })?;
        Ok(Self { config, text, function, kinks: built_in.map_or(&[], |built_in| built_in.kinks) })
    }

    pub fn target(&self) -> Target {
        Target::written(&self.text, self.function.clone())
    }

    /// The function of one position, for constructions that treat all positions alike.
    pub fn per_position(&self) -> Result<Function, Refusal> {
        if !self.function.is_alike_everywhere() {
            let problem =
                "this construction treats every position alike; use x1, x2, … and not i or x1_1, or construct seq2seq";
            return Err(Refusal::invalid("function", problem));
        }
        let alone = FunctionConfig { seq_len: 1, ..self.config.clone() };
        Function::new(&alone).map_err(|problems| {
            sound(&problems).err().unwrap_or_else(|| Refusal::invalid("function", "makes no sense"))
        })
    }
}
