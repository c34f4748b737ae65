//! Where each value of an experiment came from.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::{
    Deserializer, Spanned, Table,
    de::{DeInteger, DeTable, DeValue, Error},
};

use crate::problem::ValueSource;

/// Every key of a TOML text with the positions of the key and of its value.
#[derive(Clone)]
pub struct Places {
    keys: BTreeMap<String, (ValueSource, ValueSource)>,
    /// Position of the first key that is too long; keys below it are left out.
    too_long: Option<ValueSource>,
    /// Key and position of the first integer that no config can hold.
    too_large: Option<(String, ValueSource)>,
}

impl Places {
    /// Largest number of characters of a key with the tables above it; valid keys are much shorter.
    pub const LONGEST: usize = 250;

    /// Parses a text once, to the positions of its keys and to its values.
    ///
    /// # Errors
    /// The syntax error of a text that is not TOML.
    pub(super) fn of(text: &str) -> Result<(Self, Document<'_>), Error> {
        let table = DeTable::parse(text)?;
        let mut places = Self { keys: BTreeMap::new(), too_long: None, too_large: None };
        places.walk(&Lines::of(text), "", table.get_ref());
        Ok((places, Document(table)))
    }

    /// Position of a key that is too long.
    pub fn too_long(&self) -> Option<&ValueSource> {
        self.too_long.as_ref()
    }

    /// Key and position of an integer that is too large or too small.
    pub fn too_large(&self) -> Option<&(String, ValueSource)> {
        self.too_large.as_ref()
    }

    fn walk(&mut self, text: &Lines<'_>, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            if prefix.len() + key.get_ref().len() >= Self::LONGEST {
                self.too_long.get_or_insert(text.place(key.span()));
                continue;
            }
            let path = super::join(prefix, key.get_ref());
            let (key_place, value_place) = (text.place(key.span()), text.place(value.span()));
            self.keys.insert(path.clone(), (key_place, value_place));
            match Spanned::get_ref(value) {
                DeValue::Table(below) => self.walk(text, &path, below),
                DeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        match Spanned::get_ref(item) {
                            DeValue::Table(below) => self.walk(text, &format!("{path}.{index}"), below),
                            DeValue::Integer(number) => self.count(text, &path, number, item.span()),
                            _ => {}
                        }
                    }
                }
                DeValue::Integer(number) => self.count(text, &path, number, value.span()),
                _ => {}
            }
        }
    }

    /// Removes a key and all keys below it.
    pub fn forget(&mut self, key: &str) {
        let below = format!("{key}.");
        self.keys.retain(|path, _| path != key && !path.starts_with(&below));
    }

    fn count(&mut self, text: &Lines<'_>, key: &str, number: &DeInteger<'_>, span: Range<usize>) {
        if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
            self.too_large.get_or_insert_with(|| (key.to_owned(), text.place(span)));
        }
    }

    /// Moves the keys below `prefix` to the top level.
    pub fn lift(&mut self, prefix: &str) {
        let below = |(path, place): (&String, &(ValueSource, ValueSource))| {
            let path = path.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((path.to_owned(), place.clone()))
        };
        let lifted: Vec<_> = self.keys.iter().filter_map(below).collect();
        self.keys.extend(lifted);
    }

    /// Position of a key, or of the nearest table above it.
    pub fn key(&self, path: &str) -> Option<&ValueSource> {
        self.nearest(path).map(|(key, _)| key)
    }

    /// Position of a key if the text sets exactly this key.
    pub fn sets(&self, path: &str) -> Option<&ValueSource> {
        self.keys.get(path).map(|(key, _)| key)
    }

    /// Position of a value, or of the key of the nearest table above it.
    pub fn value(&self, path: &str) -> Option<&ValueSource> {
        match self.keys.get(path) {
            Some((_, value)) => Some(value),
            None => self.key(path),
        }
    }

    fn nearest(&self, path: &str) -> Option<&(ValueSource, ValueSource)> {
        let mut path = path;
        loop {
            if let Some(found) = self.keys.get(path) {
                return Some(found);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// A parsed TOML text.
pub(super) struct Document<'a>(Spanned<DeTable<'a>>);

impl Document<'_> {
    /// Its values.
    ///
    /// # Errors
    /// An error for a number that no config can hold.
    pub(super) fn table(self) -> Result<Table, Error> {
        Table::deserialize(Deserializer::from(self.0))
    }
}

/// Line and column of a range of bytes.
pub(super) fn place(text: &str, span: Range<usize>) -> ValueSource {
    Lines::of(text).place(span)
}

/// A text with the starts of its lines, so that a position is found without reading the text before it.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn place(&self, span: Range<usize>) -> ValueSource {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let before = self.text.get(self.starts[line - 1]..span.start).unwrap_or_default();
        // Point at one line only, so that no whole table is underlined.
        let shown = self.text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
        ValueSource::File { line, column: before.chars().count() + 1, offset: span.start, length: shown.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_with_places_is_what_toml_reads() {
        let texts = [
            "",
            "a = 1\nb.c = [1, 2.5, \"x\", { y = true }]\n[t.u]\nv = 1979-05-27T07:32:00Z\n",
            "[[rows]]\nname = 'a'\nset.\"model.d_model\" = 0x1f\n[[rows]]\nname = \"\"\"two\nlines\"\"\"\ninf = -inf\n",
        ];
        for text in texts {
            let (_, document) = Places::of(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(document.table(), toml::from_str(text), "{text}");
        }
        for text in ["a = ", "a = 1\na = 2", "[t]\n[t]", "a = 01"] {
            let refused = |error: Error| (error.message().to_owned(), error.span());
            let there = toml::from_str::<Table>(text).map_err(refused);
            assert_eq!(Places::of(text).map(drop).map_err(refused), there.map(drop), "{text}");
        }
        let (places, document) = Places::of("a = 9223372036854775808").unwrap_or_else(|error| panic!("{error}"));
        assert!(places.too_large().is_some() && document.table().is_err());
    }
}
