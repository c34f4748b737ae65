//! Finding a key by what somebody remembers of its name.

use std::{collections::BTreeSet, fmt};

use crate::{Described, Fallback, Form, Key, doc::claimed};

/// The keys of all kinds of files.
#[derive(Clone, Debug)]
pub struct Book {
    /// The kinds of files.
    pub files: Vec<File>,
}

/// A kind of file.
#[derive(Clone, Debug)]
pub struct File {
    /// What it is, such as `experiment`.
    pub name: &'static str,
    /// What it may hold.
    pub form: Form,
}

/// A key or a variant with its place in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The kind of file.
    pub file: &'static str,
    /// The full key, `model.transformer.n_heads`.
    pub path: String,
    /// The full key without the names of variants, `model.n_heads`.
    pub short: String,
    /// What it means.
    pub doc: String,
    /// What may stand behind it; `None` for a variant that is its name alone.
    pub form: Option<Form>,
    /// What holds where it is left out; `None` for a variant.
    pub fallback: Option<Fallback>,
}

/// No key has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchKey {
    /// The name.
    pub name: String,
    /// Keys with names like it, the likest first.
    pub like: Vec<String>,
}

impl fmt::Display for NoSuchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let like: Vec<String> = self.like.iter().map(|name| format!("`{name}`")).collect();
        match like.as_slice() {
            [] => write!(f, "no key or variant is called `{}`", self.name),
            names => write!(f, "no key or variant is called `{}`; did you mean {}?", self.name, names.join(" or ")),
        }
    }
}

impl std::error::Error for NoSuchKey {}

impl File {
    /// A kind of file that is read as `T`.
    pub fn of<T: Described>(name: &'static str) -> Self {
        Self { name, form: T::form() }
    }

    /// Every key and every variant.
    pub fn entries(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        self.collect(&self.form, "", "", &mut found);
        found
    }

    /// The keys of a form, below a key.
    fn collect(&self, form: &Form, path: &str, short: &str, found: &mut Vec<Entry>) {
        match form {
            Form::Table(table) => {
                for Key { name, doc, form, fallback, .. } in table.keys.iter().filter(|key| !key.is_found) {
                    let entry = Entry {
                        file: self.name,
                        path: joined(path, name),
                        short: joined(short, name),
                        doc: doc.clone(),
                        form: Some(form.clone()),
                        fallback: Some(fallback.clone()),
                    };
                    let (path, short) = (entry.path.clone(), entry.short.clone());
                    found.push(entry);
                    self.collect(form, &path, &short, found);
                }
            }
            Form::List(of, _) => self.collect(of, path, short, found),
            Form::Either(forms) => forms.iter().for_each(|of| self.collect(&of.form, path, short, found)),
            Form::Choice(choice) => {
                for variant in &choice.variants {
                    let below = joined(path, &variant.name);
                    found.push(Entry {
                        file: self.name,
                        path: below.clone(),
                        short: joined(short, &variant.name),
                        doc: variant.doc.clone(),
                        form: variant.form.clone(),
                        fallback: None,
                    });
                    if let Some(form) = &variant.form {
                        self.collect(form, &below, short, found);
                    }
                }
            }
            Form::Flag | Form::Count | Form::Number | Form::Text | Form::Map | Form::Any => {}
        }
    }
}

impl Book {
    /// The entries of a name: those whose full key it is, or else whose key without the names of variants it is, or else those that
    /// end with it, some parts left out.
    ///
    /// # Errors
    /// [`NoSuchKey`] with what may have been meant.
    pub fn find(&self, name: &str) -> Result<Vec<Entry>, NoSuchKey> {
        let entries: Vec<Entry> = self.files.iter().flat_map(File::entries).collect();
        let with = |is_it: &dyn Fn(&Entry) -> bool| -> Vec<Entry> {
            entries.iter().filter(|entry| is_it(entry)).cloned().collect()
        };
        let ways: [&dyn Fn(&Entry) -> bool; 3] =
            [&|entry| entry.path == name, &|entry| entry.short == name, &|entry| ends_with(&entry.path, name)];
        let found = ways.into_iter().map(with).find(|found| !found.is_empty());
        found.ok_or_else(|| NoSuchKey { name: name.to_owned(), like: like(ends(&entries, name), name) })
    }

    /// Keys whose doc comment names another default than the one that they have.
    pub fn contradictions(&self) -> Vec<String> {
        let entries = self.files.iter().flat_map(File::entries);
        let wrong = entries.filter(|entry| {
            matches!(entry.fallback, Some(Fallback::Value(_) | Fallback::Required)) && claimed(&entry.doc).is_some()
        });
        wrong.map(|entry| format!("{}: {}", entry.path, entry.doc)).collect()
    }
}

/// Whether the last part of a key is that of a name, and the name's other parts stand before it in order.
fn ends_with(path: &str, name: &str) -> bool {
    let mut parts = path.rsplit('.');
    let mut wanted = name.rsplit('.');
    wanted.next() == parts.next() && wanted.all(|part| parts.any(|other| other == part))
}

/// Most keys that are proposed for another name.
const MOST_LIKE: usize = 3;

/// The longest name that is compared with others.
const LONGEST: usize = 100;

/// The shortest beginning of a name that tells which is meant.
const SHORTEST: usize = 3;

/// The names that are most like one that is not among them, the likest first; none if all are too far.
pub fn like(names: impl IntoIterator<Item = String>, name: &str) -> Vec<String> {
    if name.len() > LONGEST {
        return Vec::new();
    }
    let far = name.chars().count().max(3) / 2;
    // Names that begin alike are meant, however long they are.
    let begins = |other: &String| name.len() >= SHORTEST && other.starts_with(name);
    let distances = names
        .into_iter()
        .map(|other| (if begins(&other) { 1 } else { strsim::damerau_levenshtein(name, &other) }, other));
    let near: BTreeSet<(usize, String)> = distances.filter(|(away, _)| *away <= far).collect();
    let nearest = near.first().map_or(0, |(away, _)| *away);
    near.into_iter().filter(|(away, _)| *away <= nearest + 1).map(|(_, name)| name).take(MOST_LIKE).collect()
}

/// The ends of keys, with as many parts as a name has.
fn ends(entries: &[Entry], name: &str) -> Vec<String> {
    let depth = name.split('.').count();
    let end = |path: &str| {
        let parts: Vec<&str> = path.split('.').collect();
        parts.len().checked_sub(depth).map(|first| parts[first..].join("."))
    };
    entries.iter().flat_map(|entry| [end(&entry.path), end(&entry.short)]).flatten().collect()
}

/// A key below another.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;

    fn book() -> Book {
        let key = |name: &str, form| Key::new(name, name, form, Fallback::Nothing);
        let sizes = |names: &[&str]| Form::table("", names.iter().map(|name| key(name, Form::Count)).collect());
        let model = Form::listed(
            "models",
            "",
            vec![
                Variant::new("small", "", Some(sizes(&["n_heads", "width"]))),
                Variant::new("large", "", Some(sizes(&["n_heads"]))),
            ],
        );
        let train = sizes(&["steps", "loss"]);
        Book {
            files: vec![File {
                name: "experiment",
                form: Form::table("", vec![key("model", model), key("train", train)]),
            }],
        }
    }

    fn paths(name: &str) -> Result<Vec<String>, Vec<String>> {
        let found = book().find(name).map_err(|error| error.like)?;
        Ok(found.into_iter().map(|entry| entry.path).collect())
    }

    #[test]
    fn a_key_is_found_by_any_of_its_names() {
        let both = || vec!["model.small.n_heads".to_owned(), "model.large.n_heads".to_owned()];
        assert_eq!(paths("train.loss"), Ok(vec!["train.loss".to_owned()]));
        assert_eq!(paths("model.n_heads"), Ok(both()));
        assert_eq!(paths("n_heads"), Ok(both()));
        assert_eq!(paths("large"), Ok(vec!["model.large".to_owned()]));
        assert_eq!(paths("large.n_heads"), Ok(vec!["model.large.n_heads".to_owned()]));
    }

    #[test]
    fn a_misspelt_key_is_answered_by_what_is_like_it() {
        assert_eq!(paths("train.los"), Err(vec!["train.loss".to_owned()]));
        assert_eq!(paths("n_haeds"), Err(vec!["n_heads".to_owned()]));
        assert_eq!(paths("model.n_head"), Err(vec!["model.n_heads".to_owned()]));
        assert_eq!(paths("zzzzzzzz"), Err(Vec::new()));
        assert_eq!(paths(&"n".repeat(1_000_000)), Err(Vec::new()));
    }
}
