//! `headway explain`

use std::process::ExitCode;

use headway_keys::{Choice, Entry, Fallback, Form, forms, inline, wrapped};
use serde_json::json;

use crate::{args::Explain, error::Error, keys, output, tables};

/// What stands above the page of all keys.
const INTRODUCTION: &str = "# Every key

What files may say, from the types that read them; `headway explain --page` writes this page. In a terminal, `headway explain KEY` tells of one key,
`headway list tasks NAME` of the keys of one task, `headway new TASK` writes an experiment with all of them, and `headway schema` tells an editor.

A key without a default may be left out; its meaning says what then holds.
";

pub fn run(args: &Explain) -> Result<ExitCode, Error> {
    let book = keys::book();
    let Some(name) = &args.key else {
        output::text(&book.page(INTRODUCTION));
        return Ok(ExitCode::SUCCESS);
    };
    let found = book.find(name)?;
    if args.json {
        let entry = |entry: &Entry| {
            json!({
                "file": entry.file,
                "key": entry.path,
                "default": entry.fallback.as_ref().map(keys::value),
                "is_required": entry.fallback == Some(Fallback::Required),
                "meaning": entry.doc,
                "takes": entry.form.as_ref().map(forms),
                "keys": entry.form.as_ref().map(keys::json),
            })
        };
        output::json(&found.iter().map(entry).collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    }
    for (index, alike) in alike(&found).into_iter().enumerate() {
        if index > 0 {
            output::line("");
        }
        tell(&alike);
    }
    Ok(ExitCode::SUCCESS)
}

/// Entries in groups that say the same.
fn alike(found: &[Entry]) -> Vec<Vec<&Entry>> {
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    for entry in found {
        let same =
            |other: &&Entry| (&other.doc, &other.form, &other.fallback) == (&entry.doc, &entry.form, &entry.fallback);
        match groups.iter_mut().find(|group| group.first().is_some_and(same)) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
}

/// Prints what entries that say the same say.
fn tell(alike: &[&Entry]) {
    let Some(first) = alike.first() else { return };
    for entry in alike {
        let of = if entry.file == "experiment" { String::new() } else { format!("    (of a {})", entry.file) };
        output::line(format!("{}{of}", entry.path));
    }
    let indented = |text: &str| {
        for line in wrapped(text, tables::width().min(120).saturating_sub(2)) {
            output::line(format!("  {line}"));
        }
    };
    indented(&first.doc);
    match &first.fallback {
        Some(Fallback::Value(value)) => indented(&format!("Default: {}", inline(value))),
        Some(Fallback::Required) => indented("It must be given."),
        Some(Fallback::Nothing) | None => {}
    }
    let Some(form) = &first.form else { return };
    let choices = form.choices();
    if first.fallback.is_some()
        && (choices.is_empty() || !matches!(form, Form::Choice(_)))
        && !matches!(form, Form::Table(_))
    {
        indented(&format!("Takes {}.", forms(form)));
    }
    keys::table(form).into_iter().for_each(output::line);
    choices.into_iter().for_each(variants);
}

/// Prints what can be chosen.
fn variants(choice: &Choice) {
    let rows = choice.variants.iter().map(|variant| {
        let keys = variant.form.as_ref().map(Form::keys).unwrap_or_default();
        let keys: Vec<String> = keys.into_iter().map(|(path, _)| path).collect();
        vec![variant.name.clone(), variant.doc.clone(), keys.join(", ")]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.iter().all(|row| row[2].is_empty()) {
        let rows = rows.into_iter().map(|row| row[..2].to_vec());
        output::line(tables::prose_table(&["choice", "meaning"], rows));
    } else {
        output::line(tables::prose_table(&["choice", "meaning", "keys"], rows));
    }
    if let Some(list) = &choice.list {
        output::line(format!("  headway list {list} NAME tells of one of them"));
    }
}
