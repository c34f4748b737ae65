//! All keys as one page of Markdown.

use std::fmt::Write as _;

use crate::{
    Book, Choice, Fallback, Form, Key, Table, Variant,
    written::{forms, inline},
};

/// A page under way: its text, and the choices that it names and has not told yet.
#[derive(Default)]
struct Page {
    text: String,
    choices: Vec<Choice>,
}

impl Book {
    /// Every key of every kind of file, as a page of Markdown under this introduction.
    pub fn page(&self, introduction: &str) -> String {
        let mut page = Page { text: introduction.to_owned(), choices: Vec::new() };
        for file in &self.files {
            let name = file.name;
            page.heading(2, &format!("Keys of {} {name}", article(name)));
            if let Form::Table(table) = &file.form {
                page.paragraph(&table.doc);
                page.file(table);
            }
        }
        page.heading(2, "Choices");
        page.paragraph("What the keys above choose from. A variant with keys is written as a table under its name, or as its name alone for their defaults.");
        let mut told = 0;
        // Choices may name further ones.
        while let Some(choice) = page.choices.get(told).cloned() {
            page.heading(3, &choice.name);
            page.paragraph(&choice.doc);
            page.variants(&choice, 4);
            told += 1;
        }
        page.text
    }
}

impl Page {
    fn heading(&mut self, level: usize, text: &str) {
        let _ = write!(self.text, "\n{} {text}\n", "#".repeat(level));
    }

    fn paragraph(&mut self, text: &str) {
        for line in text.lines() {
            let _ = write!(self.text, "\n{}\n", escaped(line));
        }
    }

    /// A file: its keys of one line, then a section for each table.
    fn file(&mut self, table: &Table) {
        let is_section = |key: &&Key| matches!(key.form, Form::Table(_)) || has_tables(&key.form);
        let (sections, lines): (Vec<&Key>, Vec<&Key>) =
            table.keys.iter().filter(|key| !key.is_found).partition(is_section);
        self.rows(&lines.into_iter().map(|key| (key.name.clone(), key)).collect::<Vec<_>>());
        for key in sections {
            self.heading(3, &format!("`[{}]`", key.name));
            self.paragraph(&meaning(key));
            match &key.form {
                Form::Choice(choice) => self.variants(choice, 4),
                form => self.rows(&form.keys()),
            }
        }
    }

    /// A choice: a table of names, and what those hold that hold something.
    fn variants(&mut self, choice: &Choice, level: usize) {
        let (holding, bare): (Vec<&Variant>, Vec<&Variant>) =
            choice.variants.iter().partition(|variant| variant.form.as_ref().is_some_and(has_keys));
        if !bare.is_empty() {
            let _ = write!(self.text, "\n| name | what it is |\n|---|---|\n");
            for Variant { name, doc, form } in bare {
                let takes = match form {
                    Some(Form::Table(_)) | None => String::new(),
                    Some(form) => format!(" Takes {}.", forms(form)),
                };
                let _ = writeln!(self.text, "| `{name}` | {}{takes} |", cell(doc));
            }
        }
        for variant in holding {
            self.heading(level, &format!("`{}`", variant.name));
            self.paragraph(&variant.doc);
            if let Some(form) = &variant.form {
                self.rows(&form.keys());
            }
        }
    }

    fn rows(&mut self, rows: &[(String, &Key)]) {
        if rows.is_empty() {
            return;
        }
        let _ = write!(self.text, "\n| key | default | meaning |\n|---|---|---|\n");
        for (name, key) in rows {
            let default = match &key.fallback {
                Fallback::Value(value) => format!("`{}`", inline(value).replace('|', "\\|")),
                Fallback::Required => "required".to_owned(),
                Fallback::Nothing => String::new(),
            };
            let takes = self.takes(key);
            let _ = writeln!(self.text, "| `{name}` | {default} | {}{takes} |", cell(&meaning(key)));
        }
    }

    /// What may be written, with a link to the choice that it is.
    fn takes(&mut self, key: &Key) -> String {
        let form = &key.form;
        let mut links = Vec::new();
        for choice in form.choices() {
            if !self.choices.contains(choice) {
                self.choices.push(choice.clone());
            }
            links.push(format!("[{0}](#{1})", choice.name, choice.name.to_lowercase()));
        }
        // A default shows what a value looks like.
        let is_shown = |value: &toml::Value| value.as_array().is_none_or(|values| !values.is_empty());
        match (&key.fallback, form) {
            _ if !links.is_empty() => format!(" See {}.", links.join(", ")),
            (_, Form::Table(_) | Form::Any) => String::new(),
            (Fallback::Value(value), Form::Flag | Form::Count | Form::Number | Form::Text | Form::List(..))
                if is_shown(value) =>
            {
                String::new()
            }
            (_, form) => format!(" Takes {}.", forms(form)),
        }
    }
}

/// Whether a form has keys.
fn has_keys(form: &Form) -> bool {
    !form.keys().is_empty()
}

/// Whether a form is a choice between tables.
fn has_tables(form: &Form) -> bool {
    let Form::Choice(choice) = form else { return false };
    choice.variants.iter().any(|variant| variant.form.as_ref().is_some_and(has_keys))
}

fn meaning(key: &Key) -> String {
    match &key.form {
        // What a table is, if its key does not say.
        Form::Table(table) if key.doc.is_empty() => table.doc.clone(),
        _ => key.doc.clone(),
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn cell(text: &str) -> String {
    escaped(&text.replace('\n', " ")).replace('|', "\\|")
}

/// A text in which nothing outside backticks is taken for HTML or emphasis.
fn escaped(text: &str) -> String {
    let mut is_code = false;
    let mut escaped = String::new();
    for letter in text.chars() {
        is_code ^= letter == '`';
        if !is_code && matches!(letter, '<' | '*' | '_') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    #[test]
    fn a_page_has_a_row_for_each_key_and_a_section_for_each_choice_once() {
        let kernel = || {
            let near = Form::table("", vec![Key::new("size", "How near | far.", Form::Count, Fallback::of(&3_u64))]);
            Form::choice(
                "Kernel",
                "How to mix.",
                vec![Variant::new("plain", "Plain.", None), Variant::new("near", "Near.", Some(near))],
            )
        };
        let sizes = Form::table("", vec![Key::new("width", "Its width.", Form::Count, Fallback::Required)]);
        let key = |name: &str, form| Key::new(name, "It is <1.", form, Fallback::Nothing);
        let model = Form::choice(
            "Model",
            "",
            vec![Variant::new(
                "one",
                "One layer.",
                Some(Form::table(
                    "",
                    vec![
                        key("kernel", kernel()),
                        key("other", kernel()),
                        key("layers", Form::List(Box::new(sizes), None)),
                    ],
                )),
            )],
        );
        let form = Form::table("", vec![key("seed", Form::Count), key("model", model)]);
        let page = Book { files: vec![File { name: "experiment", form }] }.page("# Every key\n");
        for line in [
            "# Every key",
            "## Keys of an experiment",
            "| `seed` |  | It is \\<1. Takes a whole number. |",
            "### `[model]`",
            "#### `one`",
            "| `kernel` |  | It is \\<1. See [Kernel](#kernel). |",
            "| `layers.width` | required | Its width. Takes a whole number. |",
            "### Kernel",
            "| `plain` | Plain. |",
            "| `size` | `3` | How near \\| far. |",
        ] {
            assert_eq!(page.lines().filter(|found| *found == line).count(), 1, "{line}\n{page}");
        }
    }
}
