//! Where each value of an experiment came from.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeTable, de::DeValue};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The experiment file; lines and columns count from 1, `offset` and `length` are bytes.
    File {
        /// Line of the key.
        line: usize,
        /// Column of the key.
        column: usize,
        /// First byte of the place to point at.
        offset: usize,
        /// Bytes to point at.
        length: usize,
    },
    /// `-s key=value` on the command line.
    Override(String),
    /// Nobody set it.
    Default,
}

/// Every key of a TOML text with the place of the key and of its value.
#[derive(Clone)]
pub(crate) struct Places {
    keys: BTreeMap<String, (Origin, Origin)>,
}

impl Places {
    /// # Errors
    /// The syntax error of a text that is no TOML.
    pub(crate) fn of(text: &str) -> Result<Self, toml::de::Error> {
        let table = DeTable::parse(text)?;
        let mut places = Self { keys: BTreeMap::new() };
        places.walk(text, "", table.get_ref());
        Ok(places)
    }

    fn walk(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = super::join(prefix, key.get_ref());
            let (key_place, value_place) = (place(text, key.span()), place(text, value.span()));
            self.keys.insert(path.clone(), (key_place, value_place));
            match Spanned::get_ref(value) {
                DeValue::Table(below) => self.walk(text, &path, below),
                DeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        if let DeValue::Table(below) = Spanned::get_ref(item) {
                            self.walk(text, &format!("{path}.{index}"), below);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Lets what stands below `prefix` stand for the keys of the same names at the top.
    pub(crate) fn lift(&mut self, prefix: &str) {
        let below = |(path, place): (&String, &(Origin, Origin))| {
            let path = path.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((path.to_owned(), place.clone()))
        };
        let lifted: Vec<_> = self.keys.iter().filter_map(below).collect();
        self.keys.extend(lifted);
    }

    /// Place of a key, or of the nearest table above it.
    pub(crate) fn key(&self, path: &str) -> Option<&Origin> {
        self.nearest(path).map(|(key, _)| key)
    }

    /// Whether the text sets exactly this key.
    pub(crate) fn sets(&self, path: &str) -> Option<&Origin> {
        self.keys.get(path).map(|(key, _)| key)
    }

    /// Place of a value, or of the key of the nearest table above it.
    pub(crate) fn value(&self, path: &str) -> Option<&Origin> {
        match self.keys.get(path) {
            Some((_, value)) => Some(value),
            None => self.key(path),
        }
    }

    fn nearest(&self, path: &str) -> Option<&(Origin, Origin)> {
        let mut path = path;
        loop {
            if let Some(found) = self.keys.get(path) {
                return Some(found);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// Line and column of a span of bytes.
pub(super) fn place(text: &str, span: std::ops::Range<usize>) -> Origin {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    // Point at one line only, so that a whole table is not underlined.
    let shown = text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
    Origin::File { line, column, offset: span.start, length: shown.len() }
}
