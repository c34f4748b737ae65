//! JSON Schema, by which editors complete and check files.

use serde_json::{Map, Value, json};

use crate::{Alternative, Book, Choice, Fallback, File, Form, Key, Table};

impl Book {
    /// A schema (draft 7) that any of the files fulfils; `only` the one with this name.
    pub fn schema(&self, only: Option<&str>) -> Value {
        let files: Vec<&File> = self.files.iter().filter(|file| only.is_none_or(|name| name == file.name)).collect();
        let mut schema = match files.as_slice() {
            [one] => object(file_of(one)),
            several => {
                let definitions: Map<String, Value> =
                    several.iter().map(|file| (file.name.to_owned(), file_of(file))).collect();
                let references: Vec<Value> =
                    several.iter().map(|file| json!({ "$ref": format!("#/definitions/{}", file.name) })).collect();
                object(json!({ "definitions": definitions, "anyOf": references }))
            }
        };
        schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
        schema.insert("title".to_owned(), "Headway".into());
        Value::Object(schema)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A file; one of a study may hold changes to it by profile.
fn file_of(file: &File) -> Value {
    let mut schema = object(of(&file.form));
    if file.name != EXPERIMENT
        && let Some(Value::Object(properties)) = schema.get_mut("properties")
    {
        let doc = "Changes to this file by name, for `--profile NAME`.";
        properties.insert("profiles".to_owned(), json!({ "description": doc, "type": "object" }));
    }
    schema.insert("title".to_owned(), format!("Headway: {}", file.name).into());
    Value::Object(schema)
}

/// The kind of file that is no study.
pub(crate) const EXPERIMENT: &str = "experiment";

fn of(form: &Form) -> Value {
    match form {
        Form::Flag => json!({ "type": "boolean" }),
        Form::Count => json!({ "type": "integer", "minimum": 0 }),
        Form::Number => json!({ "type": "number" }),
        Form::Text => json!({ "type": "string" }),
        Form::List(items, None) => json!({ "type": "array", "items": of(items) }),
        Form::List(items, Some(count)) => {
            json!({ "type": "array", "items": of(items), "minItems": count, "maxItems": count })
        }
        Form::Table(table) => of_table(table),
        Form::Choice(choice) => of_choice(choice),
        Form::Either(forms) => {
            let one = |Alternative { doc, form }: &Alternative| with(of(form), "description", doc);
            json!({ "anyOf": forms.iter().map(one).collect::<Vec<_>>() })
        }
        Form::Map => json!({ "type": "object" }),
        Form::Any => json!({}),
    }
}

fn of_table(table: &Table) -> Value {
    let property = |key: &Key| {
        let mut schema = object(with(of(&key.form), "description", &key.doc));
        if let Fallback::Value(value) = &key.fallback
            && let Ok(default) = serde_json::to_value(value)
        {
            schema.insert("default".to_owned(), default);
        }
        (key.name.clone(), Value::Object(schema))
    };
    let properties: Map<String, Value> = table.keys.iter().map(property).collect();
    let is_required = |key: &&Key| key.fallback == Fallback::Required;
    let required: Vec<&str> = table.keys.iter().filter(is_required).map(|key| key.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The name of a variant, or a table under its name.
fn of_choice(choice: &Choice) -> Value {
    let names: Vec<&str> = choice.variants.iter().map(|variant| variant.name.as_str()).collect();
    let table = |variant: &crate::Variant| {
        let nothing = || json!({ "type": "object", "maxProperties": 0 });
        let below = variant.form.as_ref().map_or_else(nothing, of);
        (variant.name.clone(), with(below, "description", &variant.doc))
    };
    let tables: Map<String, Value> = choice.variants.iter().map(table).collect();
    let named = json!({ "type": "string", "enum": names });
    if choice.variants.iter().all(|variant| variant.form.is_none()) {
        return named;
    }
    let under = json!({
        "type": "object", "properties": tables, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
    });
    json!({ "anyOf": [named, under] })
}

fn with(schema: Value, key: &str, text: &str) -> Value {
    let mut schema = object(schema);
    if !text.is_empty() {
        schema.insert(key.to_owned(), text.into());
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;

    fn book() -> Book {
        let kernel = Form::listed(
            "kernels",
            "",
            vec![
                Variant::new("plain", "Plain.", None),
                Variant::new(
                    "near",
                    "Near keys.",
                    Some(Form::table("", vec![Key::new("size", "How near.", Form::Count, Fallback::of(&3_u64))])),
                ),
            ],
        );
        let keys = || {
            vec![
                Key::new("kernel", "Which.", kernel.clone(), Fallback::of(&"plain")),
                Key::new("ends", "Both ends.", Form::List(Box::new(Form::Number), Some(2)), Fallback::Required),
            ]
        };
        Book {
            files: vec![
                File { name: EXPERIMENT, form: Form::table("", keys()) },
                File { name: "sweep", form: Form::table("", keys()) },
            ],
        }
    }

    #[test]
    fn tables_lists_and_choices_have_their_schema() {
        let schema = book().schema(Some(EXPERIMENT));
        assert_eq!(schema["required"], json!(["ends"]));
        assert_eq!(
            schema["properties"]["ends"],
            json!({
                "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2, "description": "Both ends.",
            })
        );
        let kernel = &schema["properties"]["kernel"];
        assert_eq!((&kernel["default"], &kernel["anyOf"][0]["enum"]), (&json!("plain"), &json!(["plain", "near"])));
        assert_eq!(kernel["anyOf"][1]["properties"]["near"]["properties"]["size"]["default"], json!(3));
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn any_file_is_one_of_all_and_a_study_has_profiles() {
        let schema = book().schema(None);
        assert_eq!(schema["anyOf"], json!([{ "$ref": "#/definitions/experiment" }, { "$ref": "#/definitions/sweep" }]));
        let has_profiles = |file: &str| schema["definitions"][file]["properties"].get("profiles").is_some();
        assert!(has_profiles("sweep") && !has_profiles("experiment"));
    }
}
