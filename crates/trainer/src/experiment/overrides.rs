//! `-s key=value`: overrides of single values.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{
    choice::{is_choice, is_variant, replace_variant, spell_out_choices, variant_left_out, with_defaults},
    join,
    origin::Places,
};
use crate::error::Error;

/// What is wrong with an integer outside TOML's range.
pub(super) const BEYOND_NUMBERS: &str = "whole numbers end at 9223372036854775807, which is 2^63 - 1";

/// A value to set, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Key. The name of the variant may be left out of it: `model.n_heads` for `model.transformer.n_heads`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// The text as in `-s KEY=VALUE`.
    pub text: String,
}

impl Override {
    /// A value that comes from another file than the experiment's.
    pub fn new(key: &str, value: Value) -> Self {
        Self { key: key.to_owned(), text: format!("{key}={value}"), value }
    }

    /// Parses `key=value`.
    ///
    /// # Errors
    /// [`Error::Argument`]
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Some((key, value)) = text.split_once('=') else {
            let problem = "write it as key=value, for example -s train.steps=100";
            return Err(Error::argument(format!("-s {text}"), problem));
        };
        let (key, value) = (key.trim(), value.trim());
        let alone = format!("value = {value}");
        let read = Places::of(&alone).ok();
        if read.as_ref().is_some_and(|(places, _)| places.too_large().is_some()) {
            return Err(Error::argument(format!("-s {text}"), BEYOND_NUMBERS));
        }
        // A text that is no TOML value is taken as a string whose quotes the shell removed.
        let value = read
            .and_then(|(_, document)| document.table().ok())
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { key: key.to_owned(), value, text: text.to_owned() })
    }

    /// Parses every `key=value` of a command line.
    ///
    /// # Errors
    /// [`Error::Argument`]; [`Error::TwoChoices`] of one part of an experiment, of which the first would go without a word.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, Error> {
        let all = texts.iter().map(|text| Self::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut chosen: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for (choice, variant, text) in all.iter().filter_map(Self::choice) {
            let (before, first) = *chosen.entry(choice).or_insert((variant, text));
            if before != variant {
                return Err(Error::TwoChoices {
                    arguments: Box::new([first, text].map(str::to_owned)),
                    choice: choice.to_owned(),
                    variants: Box::new([before, variant].map(str::to_owned)),
                });
            }
        }
        Ok(all)
    }

    /// The part of an experiment of which it chooses a variant, and that variant; `None` if it chooses none.
    fn choice(&self) -> Option<(&str, &str, &str)> {
        let (choice, rest) = self.key.split_once('.').unwrap_or((&self.key, ""));
        is_choice(choice).then_some(())?;
        let variant = match (rest, &self.value) {
            ("", Value::String(name)) => name.as_str(),
            ("", Value::Table(table)) => table.keys().next().filter(|_| table.len() == 1)?.as_str(),
            ("", _) => return None,
            _ => rest.split('.').next().filter(|name| is_variant(choice, name))?,
        };
        Some((choice, variant, &self.text))
    }

    /// Sets the value and returns its full key.
    ///
    /// # Errors
    /// [`Error::Argument`]
    pub fn apply(&self, table: &mut Table) -> Result<String, Error> {
        if self.key.len() > Places::LONGEST {
            let problem = format!("a key of more than {} characters", Places::LONGEST);
            return Err(Error::argument(format!("-s {:.40}…", self.key), problem));
        }
        let mut parts: Vec<String> = self.key.split('.').map(str::to_owned).collect();
        let is_field = parts.len() == 2 && !self.value.is_table();
        if let [first, second, ..] = parts.as_slice()
            && let Some(variant) = variant_left_out(table, first, second, is_field)
        {
            parts.insert(1, variant);
        }
        let full = parts.join(".");
        if let [choice, variant, _, ..] = parts.as_slice() {
            replace_variant(table, choice, variant);
        }
        let last = parts.pop().unwrap_or_default();
        let (mut current, mut at) = (&mut *table, String::new());
        for (part, next) in parts.iter().zip(parts.iter().skip(1).chain([&last])) {
            at = join(&at, part);
            let entry = current.entry(part.as_str()).or_insert_with(|| Value::Table(Table::new()));
            // A bare name is the table of its variant, of which a setting follows: `ffn` before `ffn.d_ffn`. A setting of another variant
            // takes the place of a name: `ffn.d_ffn` that of `none`.
            if entry.as_str() == Some(next) {
                *entry = with_defaults(next);
            } else if entry.is_str() {
                *entry = Value::Table(Table::new());
            }
            let Value::Table(below) = entry else {
                return Err(Error::argument(format!("-s {}", self.text), format!("{at} is a value, not a table")));
            };
            current = below;
        }
        current.insert(last, self.value.clone());
        spell_out_choices(table);
        Ok(full)
    }
}
