//! Values and forms as text.

use toml::Value;

use crate::{Choice, Form};

/// A value as one line of TOML.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.is_finite() && !(1e-3..1e7).contains(&number.abs()) => {
            format!("{number:e}")
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let entries: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        value => value.to_string(),
    }
}

/// What may stand behind a key, in a few words.
pub fn forms(form: &Form) -> String {
    match form {
        Form::Flag => "true or false".to_owned(),
        Form::Count => "a whole number".to_owned(),
        Form::Number => "a number".to_owned(),
        Form::Text => "a text".to_owned(),
        Form::List(of, None) => format!("a list of {}", several(of)),
        Form::List(of, Some(count)) => format!("a list of {count} {}", several(of)),
        Form::Table(_) | Form::Map => "a table".to_owned(),
        Form::Choice(Choice { list: Some(list), .. }) => format!("one of `headway list {list}`"),
        Form::Choice(choice) => {
            let names: Vec<String> = choice.variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
            match names.as_slice() {
                [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                names => names.concat(),
            }
        }
        Form::Either(all) => {
            let words: Vec<String> = all.iter().map(|alternative| forms(&alternative.form)).collect();
            let new = words.iter().enumerate().filter(|(index, word)| !words[..*index].contains(word));
            new.map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(", or ")
        }
        Form::Any => "any value".to_owned(),
    }
}

/// Several of a form, in a few words.
fn several(form: &Form) -> String {
    match form {
        Form::Flag => "flags".to_owned(),
        Form::Count => "whole numbers".to_owned(),
        Form::Number => "numbers".to_owned(),
        Form::Text => "texts".to_owned(),
        Form::List(of, None) => format!("lists of {}", several(of)),
        Form::List(of, Some(count)) => format!("lists of {count} {}", several(of)),
        Form::Table(_) | Form::Map => "tables".to_owned(),
        Form::Choice(_) | Form::Either(_) => format!("any of {}", forms(form)),
        Form::Any => "values".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alternative, Table};

    #[test]
    fn forms_are_told_in_words() {
        let list = |of| Form::List(Box::new(of), None);
        assert_eq!(forms(&list(list(Form::Number))), "a list of lists of numbers");
        assert_eq!(forms(&Form::List(Box::new(Form::Count), Some(2))), "a list of 2 whole numbers");
        let either = [Form::Text, Form::Map, Form::Table(Table { doc: String::new(), keys: Vec::new() })];
        let either = either.into_iter().map(|form| Alternative { doc: String::new(), form }).collect();
        assert_eq!(forms(&Form::Either(either)), "a text, or a table");
    }

    #[test]
    fn values_are_read_back_as_they_were() {
        let text = "a = [1, 2.5]\nb = { c = \"d\", e = 1e-8 }\nf = false\ng = 0.0\nh = {}\ni = -1e9";
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}"));
        for (key, value) in &table {
            let again: toml::Table =
                format!("{key} = {}", inline(value)).parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again[key], *value);
        }
        assert_eq!(inline(&table["b"]), "{ c = \"d\", e = 1e-8 }");
    }
}
