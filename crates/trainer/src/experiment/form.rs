//! A TOML value as a serde deserializer whose errors are values instead of texts.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, Unexpected, VariantAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::origin::Places;

/// Why a value is not a valid config.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// An unknown key, with the known ones.
    NoSuchKey(String, Names),
    /// An unknown choice, with the known ones.
    NoSuchChoice(String, Names),
    /// A key without a default is missing.
    Missing(&'static str),
    /// The name of a choice that needs values is given without them.
    NameAlone,
    /// The table of a choice names none or several.
    NotOne,
    /// A value of one kind is given where another is expected.
    Kind {
        /// What is given.
        given: Given,
        /// What serde expects.
        expected: String,
    },
    /// A message of the config itself.
    Other(String),
}

/// Known names.
pub(super) type Names = &'static [&'static str];

/// What is given in a config.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Table,
    List,
    /// A value, as it would be written.
    Value(String),
}

impl Given {
    fn of(unexpected: Unexpected<'_>) -> Self {
        match unexpected {
            Unexpected::Map => Self::Table,
            Unexpected::Seq => Self::List,
            value => Self::Value(value.to_string()),
        }
    }
}

/// The names as a list that follows `there`.
fn there_are(names: Names) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "there are none".to_owned(),
        [one] => format!("there is {one}"),
        [one, other] => format!("there is {one} or {other}"),
        all => format!("there are {}", all.join(", ")),
    }
}

/// The refusal in the words of a config file, without the key.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchKey(_, names) => write!(f, "no such key; {}", there_are(names)),
            Self::NoSuchChoice(name, names) => write!(f, "no such choice `{name}`; {}", there_are(names)),
            Self::Missing(key) => write!(f, "{key} is missing"),
            Self::NameAlone => f.write_str("expected a table, found only its name"),
            Self::NotOne => f.write_str("must hold exactly one table, named after the choice"),
            Self::Kind { given, expected } => {
                let expected = match expected.as_str() {
                    "u32" | "u64" | "usize" => "a whole number, 0 or more",
                    "f32" | "f64" => "a number",
                    "a sequence" => "a list",
                    "a map" => "a table",
                    text if text.starts_with("struct ") => "a table",
                    text => text,
                };
                let given = match given {
                    Given::Table => "a table",
                    Given::List => "a list",
                    Given::Value(text) => text,
                };
                write!(f, "expected {expected}, found {given}")
            }
            Self::Other(text) => f.write_str(text.trim()),
        }
    }
}

impl Refusal {
    /// The known name nearest to an unknown key or choice; `None` if none is near.
    pub(super) fn nearest(&self) -> Option<&'static str> {
        let (Self::NoSuchKey(wrong, names) | Self::NoSuchChoice(wrong, names)) = self else { return None };
        if wrong.len() > Places::LONGEST {
            return None;
        }
        let distance = |name: &&&'static str| strsim::damerau_levenshtein(wrong, name);
        let closest = *names.iter().min_by_key(distance)?;
        (strsim::damerau_levenshtein(wrong, closest) <= wrong.chars().count().max(3) / 2).then_some(closest)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    /// A refusal within a config that a caller registered comes as its words alone.
    fn custom<T: fmt::Display>(text: T) -> Self {
        match text.to_string() {
            words if words == Self::NameAlone.to_string() => Self::NameAlone,
            words => Self::Other(words),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Kind { given: Given::of(found), expected: expected.to_string() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::Kind { given: Given::Value(format!("{length} values")), expected: expected.to_string() }
    }

    fn unknown_variant(name: &str, names: Names) -> Self {
        Self::NoSuchChoice(name.to_owned(), names)
    }

    fn unknown_field(name: &str, names: Names) -> Self {
        Self::NoSuchKey(name.to_owned(), names)
    }

    fn missing_field(key: &'static str) -> Self {
        Self::Missing(key)
    }
}

/// Deserializes a value as a config.
///
/// # Errors
/// The first [`Refusal`].
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    T::deserialize(Form(value))
}

/// [`read`], with the path to what is refused in the error.
pub(super) fn read_with_path<T: DeserializeOwned>(value: Value) -> Result<T, serde_path_to_error::Error<Refusal>> {
    serde_path_to_error::deserialize(Form(value))
}

struct Form(Value);

impl IntoDeserializer<'_, Refusal> for Form {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Form {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::String(value) => visitor.visit_string(value),
            Value::Datetime(value) => visitor.visit_string(value.to_string()),
            Value::Array(values) => {
                let mut items = SeqDeserializer::new(values.into_iter().map(Form));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Table(table) => {
                let mut entries = MapDeserializer::new(table.into_iter().map(|(key, value)| (key, Form(value))));
                let read = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| read)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: Names, visitor: V) -> Result<V::Value, Refusal> {
        let choice = match self.0 {
            Value::String(name) => Choice { name, values: None },
            Value::Table(table) => {
                let mut entries = table.into_iter();
                let (Some((name, values)), None) = (entries.next(), entries.next()) else {
                    return Err(Refusal::NotOne);
                };
                Choice { name, values: Some(values) }
            }
            _ => {
                let expected = "a name, or a table under a name".to_owned();
                return Err(Refusal::Kind { given: Given::Value("neither".to_owned()), expected });
            }
        };
        visitor.visit_enum(choice)
    }

    forward_to_deserialize_any! {
        bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string unit seq
        bytes byte_buf map unit_struct tuple_struct struct
        tuple ignored_any identifier
    }
}

/// One of several variants: its name, and its values unless it is a bare name.
struct Choice {
    name: String,
    values: Option<Value>,
}

impl<'de> EnumAccess<'de> for Choice {
    type Error = Refusal;
    type Variant = Values;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Values), Refusal> {
        let name = seed.deserialize(IntoDeserializer::<Refusal>::into_deserializer(self.name))?;
        Ok((name, Values(self.values)))
    }
}

struct Values(Option<Value>);

impl Values {
    fn form(self) -> Result<Form, Refusal> {
        self.0.map(Form).ok_or(Refusal::NameAlone)
    }
}

impl<'de> VariantAccess<'de> for Values {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        match self.0 {
            None => Ok(()),
            Some(Value::Table(values)) if values.is_empty() => Ok(()),
            Some(Value::Array(values)) if values.is_empty() => Ok(()),
            Some(_) => Err(Refusal::Other("has no values: write its name alone".to_owned())),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        seed.deserialize(self.form()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.form()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: Names, visitor: V) -> Result<V::Value, Refusal> {
        self.form()?.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        width: usize,
        kind: Option<Kind>,
        pair: Option<[f32; 2]>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        Named(Vec<String>),
        Sized { size: u32 },
    }

    fn of(text: &str) -> Result<Config, (String, Refusal)> {
        let table = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        read_with_path(Value::Table(table)).map_err(|error| (error.path().to_string(), error.into_inner()))
    }

    #[test]
    fn a_refusal_is_a_value() {
        let whole = of("width = 3\nkind.sized.size = 2\npair = [1.0, 2.0]");
        assert_eq!(whole, Ok(Config { width: 3, kind: Some(Kind::Sized { size: 2 }), pair: Some([1.0, 2.0]) }));
        assert_eq!(of("kind = 'plain'").map(|config| config.kind), Ok(Some(Kind::Plain)));
        assert_eq!(of("kind.named = ['a']").map(|config| config.kind), Ok(Some(Kind::Named(vec!["a".to_owned()]))));
        let kind = |given, expected: &str| Refusal::Kind { given, expected: expected.to_owned() };
        let value = |text: &str| Given::Value(text.to_owned());
        for (text, path, refusal, words) in [
            (
                "widht = 3",
                "widht",
                Refusal::NoSuchKey("widht".to_owned(), &["width", "kind", "pair"]),
                "no such key; there are `width`, `kind`, `pair`",
            ),
            (
                "kind = 'plane'",
                "kind",
                Refusal::NoSuchChoice("plane".to_owned(), &["plain", "named", "sized"]),
                "no such choice `plane`; there are `plain`, `named`, `sized`",
            ),
            ("kind.sized = {}", "kind.sized", Refusal::Missing("size"), "size is missing"),
            ("kind = 'named'", "kind.named", Refusal::NameAlone, "expected a table, found only its name"),
            ("kind = {}", "kind", Refusal::NotOne, "must hold exactly one table, named after the choice"),
            ("kind = 3", "kind", kind(value("neither"), "a name, or a table under a name"), "found neither"),
            ("width = -1", "width", kind(value("integer `-1`"), "usize"), "expected a whole number, 0 or more, found"),
            ("width = []", "width", kind(Given::List, "usize"), "expected a whole number, 0 or more, found a list"),
            ("kind.named = {}", "kind.named", kind(Given::Table, "a sequence"), "expected a list, found a table"),
        ] {
            let (at, found) = of(text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert_eq!((at.as_str(), &found), (path, &refusal), "{text}");
            assert!(found.to_string().contains(words), "{text}: {found}");
        }
        let nearest = |text: &str| of(text).err().and_then(|(_, refusal)| refusal.nearest());
        assert_eq!([nearest("widht = 3"), nearest("kind = 'plane'")], [Some("width"), Some("plain")]);
        assert_eq!([nearest("depth = 3"), nearest("width = -1")], [None, None]);
        assert!(of("pair = [1.0, 2.0, 3.0]").is_err() && of("pair = [1.0]").is_err());
    }
}
