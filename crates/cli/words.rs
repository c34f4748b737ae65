//! The words of this process: what is meant by them, and what to write instead.

use std::{borrow::Cow, ffi::OsString};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use headway_trainer::{experiment, quote};

use crate::{args::Args, output};

/// Parses the command line of this process. Exits with an error if it is wrong, naming the config key that
/// corresponds to an unknown option.
pub fn read() -> Args {
    let words = with_numbers(std::env::args_os());
    Args::try_parse_from(&words).unwrap_or_else(|mut error| {
        if let Some(tip) = key_instead(&error, &words) {
            let tip = ContextValue::StyledStrs(vec![tip.into()]);
            // Instead of an option that is only spelt similarly.
            error.remove(ContextKind::SuggestedArg);
            error.insert(ContextKind::Suggested, tip);
        }
        if words.iter().all(|word| matches!(quote::printable(&word.to_string_lossy()), Cow::Borrowed(_))) {
            error.exit();
        }
        output::note(error.to_string().trim_end());
        std::process::exit(error.exit_code());
    })
}

/// Options of other programs and the config keys that correspond to them. Options with the name of their key need no
/// row.
const OPTIONS_ELSEWHERE: [(&str, &str); 6] = [
    ("epochs", "train.steps"),
    ("lr", "optimizer.learning_rate"),
    ("max-steps", "train.steps"),
    ("num-steps", "train.steps"),
    ("optim", "optimizer"),
    ("batch", "train.batch_size"),
];

/// What to write instead of an unknown option; `None` if no config key corresponds to it.
fn key_instead(error: &clap::Error, words: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = wrong.strip_prefix("--")?.split('=').next()?;
    if name == "resume" {
        return Some("to continue a run, write 'headway resume RUN'".to_owned());
    }
    let elsewhere = OPTIONS_ELSEWHERE.iter().find(|(option, _)| *option == name).map(|(_, key)| (*key).to_owned());
    let key = elsewhere.or_else(|| experiment::key_called(&name.replace('-', "_")))?;
    let mut words = words.iter().filter_map(|word| word.to_str()).skip_while(|word| !word.starts_with(wrong.as_str()));
    let given = words.next()?.strip_prefix(wrong.as_str())?.strip_prefix('=').or_else(|| words.next());
    // The number of epochs is not the number of steps.
    let number = given.filter(|word| name != "epochs" && word.parse::<f64>().is_ok());
    Some(format!("to set a value of the experiment, write '-s {key}={}'", number.unwrap_or("VALUE")))
}

/// The words of a command line, in which every negative number after an option is made its value: `--low -1e-3` becomes
/// `--low=-1e-3`, which has no other meaning.
pub fn with_numbers(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut options = true;
    for word in words {
        let number = word.to_str().is_some_and(|text| text.starts_with('-') && text.parse::<f64>().is_ok());
        match joined.last_mut().filter(|_| number && options) {
            Some(option)
                if option
                    .to_str()
                    .is_some_and(|text| text.len() > 2 && text.starts_with("--") && !text.contains('=')) =>
            {
                option.push("=");
                option.push(word);
            }
            _ => {
                options &= word != "--";
                joined.push(word);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For every option with a value of every verb, negative numbers in any notation.
    #[test]
    fn negative_numbers_are_values() {
        use clap::CommandFactory;
        let mut verbs: Vec<clap::Command> = Args::command().get_subcommands().cloned().collect();
        let mut tried = 0;
        while let Some(verb) = verbs.pop() {
            verbs.extend(verb.get_subcommands().cloned());
            for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
                for number in ["-1e-3", "-2", "-.5", "-1E+4"] {
                    let words = ["headway", verb.get_name(), &format!("--{option}"), number, "--out", "x"];
                    let joined = with_numbers(words.into_iter().map(OsString::from));
                    assert_eq!(joined[2], OsString::from(format!("--{option}={number}")));
                    assert_eq!(joined.len(), 5);
                    tried += 1;
                }
            }
        }
        assert!(tried > 100);
        let same = ["headway", "train", "-s", "optimizer.adam.beta_1=-1", "--", "--low", "-1", "-x", "a-1"]
            .map(OsString::from);
        assert_eq!(with_numbers(same.clone().into_iter()), same);
    }
}
