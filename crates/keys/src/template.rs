//! A file with every key written out, each with what it means.

use toml::{Table as Values, Value};

use crate::{
    Choice, Fallback, Form, Key, Table,
    book::joined,
    doc::wrapped,
    written::{forms, inline},
};

/// How a file is written out.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Values other than the defaults.
    pub values: &'a Values,
    /// Full keys that are left to Headway, and so stand in comments.
    pub left_out: &'a [&'a str],
    /// Longest line of a comment.
    pub width: usize,
}

impl Template<'_> {
    /// The text of a file with all keys of a table. Keys without a value stand in comments with what they take.
    pub fn text(&self, table: &Table) -> String {
        let mut text = String::new();
        self.keys(table, self.values, "", &mut text);
        text
    }

    /// The keys below `path`: first those of one line, then those that are tables.
    fn keys(&self, table: &Table, values: &Values, path: &str, text: &mut String) {
        let shown = || table.keys.iter().filter(|key| !key.is_found);
        let value = |key: &Key| -> Option<Value> {
            let default = match &key.fallback {
                Fallback::Value(value) => Some(value.clone()),
                Fallback::Required | Fallback::Nothing => None,
            };
            values.get(&key.name).cloned().or(default)
        };
        let section = |key: &Key| match (&key.form, value(key)) {
            // Tables within the settings of a variant are short.
            (Form::Choice(_) | Form::Table(_), Some(Value::Table(below))) if path.is_empty() => Some(below),
            _ => None,
        };
        for key in shown().filter(|key| section(key).is_none()) {
            self.line(key, value(key), path, text);
        }
        for key in shown() {
            let Some(values) = section(key) else { continue };
            let path = joined(path, &key.name);
            if self.left_out.contains(&path.as_str()) {
                text.push('\n');
                self.comment(&key.doc, text);
                continue;
            }
            match &key.form {
                Form::Table(table) => self.section(&key.doc, table, &values, &path, text),
                Form::Choice(choice) => self.variant(choice, &values, &path, text),
                _ => {}
            }
        }
    }

    fn section(&self, doc: &str, table: &Table, values: &Values, path: &str, text: &mut String) {
        text.push('\n');
        self.comment(doc, text);
        text.extend(["[", path, "]\n"]);
        self.keys(table, values, path, text);
    }

    /// The variant that was chosen, and its keys.
    fn variant(&self, choice: &Choice, values: &Values, path: &str, text: &mut String) {
        for (name, below) in values {
            let Some(variant) = choice.variants.iter().find(|variant| variant.name == *name) else { continue };
            let empty = Table { doc: String::new(), keys: Vec::new() };
            let table = match &variant.form {
                Some(Form::Table(table)) => table,
                _ => &empty,
            };
            let below = below.as_table().cloned().unwrap_or_default();
            self.section(&variant.doc, table, &below, &joined(path, name), text);
        }
    }

    /// One key with its meaning.
    fn line(&self, key: &Key, value: Option<Value>, path: &str, text: &mut String) {
        let is_first = text.lines().next_back().is_none_or(|line| line.starts_with('['));
        if !is_first {
            text.push('\n');
        }
        self.comment(&key.doc, text);
        let name = &key.name;
        let is_left_out = self.left_out.contains(&joined(path, name).as_str());
        let (mark, shown) = match value {
            Some(value) if !is_left_out => ("", inline(&value)),
            Some(value) => ("# ", inline(&value)),
            None => ("# ", shape(&key.form)),
        };
        text.extend([mark, name.as_str(), " = ", shown.as_str(), "\n"]);
    }

    fn comment(&self, doc: &str, text: &mut String) {
        for line in wrapped(doc, self.width - 2) {
            text.extend(["# ", line.as_str(), "\n"]);
        }
    }
}

/// What stands in the place of a value: what it may be; of a table, its keys.
fn shape(form: &Form) -> String {
    let Form::Table(table) = form else { return format!("<{}>", forms(form)) };
    let key = |key: &Key| match &key.fallback {
        Fallback::Value(value) => format!("{} = {}", key.name, inline(value)),
        Fallback::Required | Fallback::Nothing => format!("{} = <{}>", key.name, forms(&key.form)),
    };
    format!("{{ {} }}", table.keys.iter().map(key).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use crate::{Described, Form};

    use super::*;

    /// How to stop.
    #[derive(Default, serde::Serialize, serde::Deserialize, crate::Described)]
    #[serde(default)]
    struct Stop {
        /// Number of evaluations.
        patience: u32,
        /// Where to look. Default none.
        at: Vec<u32>,
        /// Least improvement. Default 0.
        least: f64,
    }

    /// A task.
    #[derive(serde::Serialize, serde::Deserialize, crate::Described)]
    #[serde(rename_all = "snake_case")]
    enum Task {
        /// Lines.
        Linear {
            /// Their number.
            #[serde(default)]
            lines: usize,
            /// Their end.
            end: Option<f64>,
        },
        /// Nothing.
        EmptyTask,
    }

    /// All of it.
    #[derive(serde::Serialize, serde::Deserialize, crate::Described)]
    struct Whole {
        /// What to learn.
        task: Task,
        /// When to stop.
        #[serde(default)]
        stop: Stop,
        /// A number
        /// of seeds.
        #[serde(default)]
        seed: u64,
        /// Where it was found.
        #[described(found)]
        found: Option<String>,
    }

    #[test]
    fn every_key_is_written_with_its_meaning() {
        let Form::Table(table) = Whole::form() else { panic!("a struct is a table") };
        let values: Values = "task.linear.lines = 3".parse().unwrap_or_else(|error| panic!("{error}"));
        let text = Template { values: &values, left_out: &["stop.least"], width: 60 }.text(&table);
        let wanted = "# A number of seeds.\nseed = 0\n\n# Lines.\n[task.linear]\n# Their number.\nlines = 3\n\n# Their end.\n\
            # end = <a number>\n\n# When to stop.\n[stop]\n# Number of evaluations.\npatience = 0\n\n# Where to look.\nat = []\n\n# Least improvement.\n# least = 0.0\n";
        assert_eq!(text, wanted);
        let read: Whole = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(read.task, Task::Linear { lines: 3, end: None }));
    }

    #[test]
    fn variants_and_what_they_hold_are_known() {
        let Form::Choice(choice) = Task::form() else { panic!("an enum is a choice") };
        let names: Vec<(&str, bool)> =
            choice.variants.iter().map(|variant| (variant.name.as_str(), variant.form.is_some())).collect();
        assert_eq!(names, [("linear", true), ("empty_task", false)]);
        assert_eq!((choice.name.as_str(), choice.doc.as_str()), ("Task", "A task."));
    }
}
