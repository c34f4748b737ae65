//! The keys of config files, for the verbs that tell of them.

use headway_keys::{Book, Choice, Fallback, File, Form, Key, forms, inline};
use headway_study::{compare::CompareConfig, sweep::SweepConfig};
use headway_trainer::experiment::Experiment;
use serde_json::{Value, json};

use crate::tables;

/// Every kind of file with its keys.
pub fn book() -> Book {
    Book {
        files: vec![
            File::of::<Experiment>("experiment"),
            File::of::<SweepConfig>("sweep"),
            File::of::<CompareConfig>("comparison"),
        ],
    }
}

/// A table of the keys of a form; `None` if it has none.
pub fn table(form: &Form) -> Option<String> {
    let keys = form.keys();
    let row = |(path, key): (String, &Key)| vec![path, default(&key.fallback), meaning(key)];
    let rows: Vec<Vec<String>> = keys.into_iter().map(row).collect();
    (!rows.is_empty()).then(|| tables::prose_table(&["key", "default", "meaning"], rows))
}

/// The keys of a form as JSON.
pub fn json(form: &Form) -> Vec<Value> {
    let key = |(path, key): (String, &Key)| json!({ "key": path, "default": value(&key.fallback), "meaning": key.doc, "takes": forms(&key.form) });
    form.keys().into_iter().map(key).collect()
}

/// A default as it would be written; a word where there is none.
pub fn default(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Value(value) => inline(value),
        Fallback::Required => "required".to_owned(),
        Fallback::Nothing => String::new(),
    }
}

/// A default as JSON; null where there is none.
pub fn value(fallback: &Fallback) -> Value {
    match fallback {
        Fallback::Value(value) => serde_json::to_value(value).unwrap_or_default(),
        Fallback::Required | Fallback::Nothing => Value::Null,
    }
}

/// What a key means, and what it takes where that does not say.
fn meaning(key: &Key) -> String {
    let names_none =
        |choice: &&Choice| !choice.variants.iter().any(|variant| key.doc.contains(&format!("`{}`", variant.name)));
    let untold = key.form.choices().into_iter().any(|choice| choice.list.is_none() && names_none(&choice));
    if untold { format!("{} Takes {}.", key.doc, forms(&key.form)) } else { key.doc.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_variant_says_what_it_means() {
        let entries: Vec<_> = book().files.iter().flat_map(File::entries).collect();
        assert!(entries.len() > 500, "{}", entries.len());
        let silent: Vec<_> = entries.iter().filter(|entry| entry.doc.is_empty()).map(|entry| &entry.path).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn no_doc_comment_names_another_default_than_the_type_has() {
        let wrong = book().contradictions();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
