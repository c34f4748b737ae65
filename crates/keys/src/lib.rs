#![doc = include_str!("../README.md")]

// The derive macro names this crate from outside.
#[cfg(test)]
extern crate self as headway_keys;

mod book;
mod doc;
mod page;
mod schema;
mod template;
mod written;

use std::{collections::BTreeMap, path::PathBuf};

pub use book::{Book, Entry, File, NoSuchKey, like};
pub use doc::wrapped;
pub use headway_keys_derive::Described;
use serde::Serialize;
pub use template::Template;
use toml::Value;
pub use written::{forms, inline};

/// A type whose values stand in config files.
pub trait Described {
    /// Whether a key of this type may be left out of a table that says nothing of it.
    const MAY_BE_MISSING: bool = false;

    /// What a file may say in its place.
    fn form() -> Form;
}

/// What may stand behind a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// `true` or `false`.
    Flag,
    /// A whole number, 0 or more.
    Count,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list of such values, any number of them or this many.
    List(Box<Form>, Option<usize>),
    /// A table with these keys.
    Table(Table),
    /// One of several variants: its name, or a table under its name.
    Choice(Choice),
    /// One of several forms that have no names.
    Either(Vec<Alternative>),
    /// A table whose keys are anything.
    Map,
    /// Anything.
    Any,
}

/// A table with known keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it is.
    pub doc: String,
    /// Its keys, in the order of a resolved file.
    pub keys: Vec<Key>,
}

/// A key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// What it means; empty where its type says nothing.
    pub doc: String,
    /// What may stand behind it.
    pub form: Form,
    /// What holds where it is left out.
    pub fallback: Fallback,
    /// Whether Headway writes it, and nobody else needs to.
    pub is_found: bool,
}

/// What holds where a key is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// Nothing: it must be there.
    Required,
    /// No value; its doc comment says what that means.
    Nothing,
    /// This value.
    Value(Value),
}

/// A choice between variants.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The type that it is, by which the same choice at several places is known.
    pub name: String,
    /// What is chosen.
    pub doc: String,
    /// The list of `headway list` that has the variants, if one has.
    pub list: Option<String>,
    /// The variants.
    pub variants: Vec<Variant>,
}

/// A variant of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What it is.
    pub doc: String,
    /// What it holds; `None` for a name alone.
    pub form: Option<Form>,
}

/// A form without a name, of those of which one is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// What it means.
    pub doc: String,
    /// What is written.
    pub form: Form,
}

impl Form {
    /// A table.
    pub fn table(doc: &str, keys: Vec<Key>) -> Self {
        Self::Table(Table { doc: doc::plain(doc), keys })
    }

    /// A choice.
    pub fn choice(name: &str, doc: &str, variants: Vec<Variant>) -> Self {
        Self::Choice(Choice { name: name.to_owned(), doc: doc::plain(doc), list: None, variants })
    }

    /// A choice whose variants stand in a list of `headway list`.
    pub fn listed(list: &str, doc: &str, variants: Vec<Variant>) -> Self {
        let list = list.to_lowercase();
        Self::Choice(Choice { name: list.clone(), doc: doc::plain(doc), list: Some(list), variants })
    }

    /// The form of a value, for types that say no more of themselves: its keys with the value as their default, and no meaning.
    /// `None` for a value without keys.
    pub fn of(value: &impl Serialize) -> Option<Self> {
        match Value::try_from(value) {
            Ok(value @ Value::Table(_)) => Some(Self::of_value(&value)),
            _ => None,
        }
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::Boolean(_) => Self::Flag,
            Value::Integer(number) if *number >= 0 => Self::Count,
            Value::Integer(_) | Value::Float(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Table(table) => {
                let key = |(name, value): (&String, &Value)| {
                    Key::new(name, "", Self::of_value(value), Fallback::Value(value.clone()))
                };
                Self::Table(Table { doc: String::new(), keys: table.iter().map(key).collect() })
            }
            Value::Array(_) | Value::Datetime(_) => Self::Any,
        }
    }

    /// Every key of a table, and of the tables below it, with its path from here. Keys of variants are not among them, nor those that
    /// Headway writes.
    pub fn keys(&self) -> Vec<(String, &Key)> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect<'a>(&'a self, path: &str, found: &mut Vec<(String, &'a Key)>) {
        match self {
            Self::Table(table) => {
                for key in table.keys.iter().filter(|key| !key.is_found) {
                    let path = book::joined(path, &key.name);
                    found.push((path.clone(), key));
                    key.form.collect(&path, found);
                }
            }
            Self::List(of, _) => of.collect(path, found),
            Self::Either(forms) => forms.iter().for_each(|alternative| alternative.form.collect(path, found)),
            Self::Choice(_) | Self::Flag | Self::Count | Self::Number | Self::Text | Self::Map | Self::Any => {}
        }
    }

    /// The choices of which one is to be written here, if any.
    pub fn choices(&self) -> Vec<&Choice> {
        match self {
            Self::Choice(choice) => vec![choice],
            Self::List(of, _) => of.choices(),
            Self::Either(forms) => {
                let mut all: Vec<&Choice> = Vec::new();
                for choice in forms.iter().flat_map(|alternative| alternative.form.choices()) {
                    // Of one of them or a list of them, once.
                    if !all.contains(&choice) {
                        all.push(choice);
                    }
                }
                all
            }
            _ => Vec::new(),
        }
    }
}

impl Key {
    /// A key by the doc comment of its field.
    pub fn new(name: &str, doc: &str, form: Form, fallback: Fallback) -> Self {
        let doc = doc::without_default(doc::plain(doc), &fallback);
        Self { name: name.to_owned(), doc, form, fallback, is_found: false }
    }

    /// The key, written by Headway.
    #[must_use]
    pub fn found(mut self) -> Self {
        self.is_found = true;
        self
    }
}

impl Variant {
    /// A variant by its doc comment.
    pub fn new(name: &str, doc: &str, form: Option<Form>) -> Self {
        Self { name: name.to_owned(), doc: doc::plain(doc), form }
    }
}

impl Alternative {
    /// An alternative by its doc comment.
    pub fn new(doc: &str, form: Form) -> Self {
        Self { doc: doc::plain(doc), form }
    }
}

impl Fallback {
    /// The default of a field.
    pub fn of(value: &impl Serialize) -> Self {
        // TOML has no null.
        Value::try_from(value).map_or(Self::Nothing, Self::Value)
    }

    /// What holds for a field without a default.
    pub fn of_missing<T: Described>() -> Self {
        if T::MAY_BE_MISSING { Self::Nothing } else { Self::Required }
    }
}

macro_rules! described {
    ($($form:expr => $($of:ty),+;)+) => {
        $($(impl Described for $of {
            fn form() -> Form {
                $form
            }
        })+)+
    };
}

described! {
    Form::Flag => bool;
    Form::Count => u8, u16, u32, u64, usize;
    Form::Number => i32, i64, f32, f64;
    Form::Text => String, PathBuf;
    Form::Any => Value;
    Form::Map => toml::Table;
}

impl<T: Described> Described for Option<T> {
    const MAY_BE_MISSING: bool = true;

    fn form() -> Form {
        T::form()
    }
}

impl<T: Described> Described for Vec<T> {
    fn form() -> Form {
        Form::List(Box::new(T::form()), None)
    }
}

impl<T: Described, const N: usize> Described for [T; N] {
    fn form() -> Form {
        Form::List(Box::new(T::form()), Some(N))
    }
}

impl<T> Described for BTreeMap<String, T> {
    fn form() -> Form {
        Form::Map
    }
}
