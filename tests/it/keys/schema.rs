//! As much of JSON Schema as the program's own uses; another keyword fails.

use serde_json::{Map, Value};

/// Checks that a document fulfils a schema.
///
/// # Errors
/// The place where it does not, and why.
pub fn fulfils(schema: &Value, document: &Value) -> Result<(), String> {
    check(schema, schema, document, "")
}

fn check(whole: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{at}: no schema"));
    for (keyword, wanted) in schema {
        rule(whole, schema, (keyword, wanted), value, at)?;
    }
    Ok(())
}

fn rule(
    whole: &Value,
    schema: &Map<String, Value>,
    (keyword, wanted): (&str, &Value),
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let ensure = |is_so: bool| if is_so { Ok(()) } else { Err(format!("{at}: {value} against {keyword} {wanted}")) };
    let count = |length: Option<usize>| length.map(|length| length as u64).zip(wanted.as_u64());
    let entries = value.as_object().map(Map::len);
    let items = value.as_array().map(Vec::len);
    match keyword {
        "$schema" | "title" | "description" | "default" | "definitions" => Ok(()),
        "type" => ensure(match wanted.as_str().unwrap() {
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("no such type: {other}"),
        }),
        "enum" => ensure(wanted.as_array().unwrap().contains(value)),
        "minimum" => ensure(value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap())),
        "minItems" => ensure(count(items).is_none_or(|(length, least)| length >= least)),
        "maxItems" => ensure(count(items).is_none_or(|(length, most)| length <= most)),
        "minProperties" => ensure(count(entries).is_none_or(|(length, least)| length >= least)),
        "maxProperties" => ensure(count(entries).is_none_or(|(length, most)| length <= most)),
        "required" => {
            let is_there = |name: &Value| value.get(name.as_str().unwrap()).is_some();
            ensure(!value.is_object() || wanted.as_array().unwrap().iter().all(is_there))
        }
        "items" => {
            let all = value.as_array().into_iter().flatten().enumerate();
            all.into_iter().try_for_each(|(index, item)| check(whole, wanted, item, &format!("{at}.{index}")))
        }
        "properties" => {
            let known = wanted.as_object().unwrap();
            let there = value.as_object().into_iter().flatten();
            let mut there = there.filter_map(|(name, value)| Some((name, known.get(name)?, value)));
            there.try_for_each(|(name, schema, value)| check(whole, schema, value, &format!("{at}.{name}")))
        }
        "additionalProperties" => {
            assert_eq!(wanted, &Value::Bool(false));
            let known = schema["properties"].as_object().unwrap();
            ensure(value.as_object().into_iter().flatten().all(|(name, _)| known.contains_key(name)))
        }
        "anyOf" => {
            let tried = wanted.as_array().unwrap().iter().map(|one| check(whole, one, value, at));
            let mut problems = Vec::new();
            for result in tried {
                match result {
                    Ok(()) => return Ok(()),
                    Err(problem) => problems.push(problem),
                }
            }
            Err(format!("{at}: none of: {}", problems.join("; ")))
        }
        "$ref" => {
            let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            check(whole, whole.pointer(pointer).unwrap(), value, at)
        }
        other => panic!("the test does not know the keyword {other}"),
    }
}
