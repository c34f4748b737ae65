#![doc = include_str!("../README.md")]

use proc_macro::{Delimiter, Group, Ident, Literal, TokenStream, TokenTree};

/// Derives `headway_keys::Described`.
#[proc_macro_derive(Described, attributes(described))]
pub fn described(input: TokenStream) -> TokenStream {
    match Item::read(input) {
        Ok(item) => item.described(),
        Err(problem) => filled("::core::compile_error!(P0);", &[TokenTree::from(Literal::string(&problem)).into()]),
    }
}

/// A struct or an enum.
struct Item {
    attributes: Attributes,
    name: Ident,
    body: Body,
}

enum Body {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

/// A field with a name.
struct Field {
    attributes: Attributes,
    name: Ident,
    of: TokenStream,
}

struct Variant {
    attributes: Attributes,
    name: Ident,
    holds: Holds,
}

/// What a variant holds.
enum Holds {
    Nothing,
    One(TokenStream),
    Fields(Vec<Field>),
}

/// What attributes say of an item, a field or a variant.
#[derive(Default)]
struct Attributes {
    /// The lines of its doc comment.
    doc: Vec<TokenTree>,
    /// Words of serde with the text that they are given, in quotes.
    serde: Vec<(String, Option<TokenTree>)>,
    /// Whether Headway writes it.
    is_found: bool,
}

impl Attributes {
    fn has(&self, word: &str) -> bool {
        self.serde.iter().any(|(name, _)| name == word)
    }

    fn given(&self, word: &str) -> Option<&TokenTree> {
        self.serde.iter().find_map(|(name, text)| text.as_ref().filter(|_| name == word))
    }

    /// The doc comment as one text.
    fn text(&self) -> TokenStream {
        let lines = self.doc.iter().flat_map(|line| {
            let end: TokenTree = Literal::string("\n").into();
            filled("P0, P1,", &[line.clone().into(), end.into()])
        });
        filled("::core::concat!(P0)", &[lines.collect()])
    }
}

/// Tokens in order, those of invisible groups among them, which macros put around what they are given.
struct Tokens(std::iter::Peekable<std::vec::IntoIter<TokenTree>>);

impl Tokens {
    fn of(stream: TokenStream) -> Self {
        let mut flat = Vec::new();
        flatten(stream, &mut flat);
        Self(flat.into_iter().peekable())
    }

    fn is_at(&mut self, sign: char) -> bool {
        matches!(self.0.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
    }

    fn is_at_word(&mut self, word: &str) -> bool {
        matches!(self.0.peek(), Some(TokenTree::Ident(ident)) if ident.to_string() == word)
    }

    fn skip(&mut self, sign: char) -> bool {
        let there = self.is_at(sign);
        if there {
            self.0.next();
        }
        there
    }

    fn word(&mut self, what: &str) -> Result<Ident, String> {
        match self.0.next() {
            Some(TokenTree::Ident(ident)) => Ok(ident),
            other => Err(format!("expected {what}, found {other:?}")),
        }
    }

    fn group(&mut self, delimiter: Delimiter) -> Option<TokenStream> {
        match self.0.peek() {
            Some(TokenTree::Group(group)) if group.delimiter() == delimiter => {
                let stream = group.stream();
                self.0.next();
                Some(stream)
            }
            _ => None,
        }
    }

    /// The attributes that come next, and the visibility after them.
    fn attributes(&mut self) -> Attributes {
        let mut found = Attributes::default();
        while self.skip('#') {
            let Some(stream) = self.group(Delimiter::Bracket) else { break };
            let mut inside = Self::of(stream);
            let Ok(name) = inside.word("the name of an attribute") else { continue };
            match name.to_string().as_str() {
                "doc" if inside.skip('=') => found.doc.extend(inside.0.next()),
                "serde" => found.serde.extend(inside.group(Delimiter::Parenthesis).map(words).unwrap_or_default()),
                "described" => {
                    let words = inside.group(Delimiter::Parenthesis).map(words).unwrap_or_default();
                    found.is_found |= words.iter().any(|(word, _)| word == "found");
                }
                _ => {}
            }
        }
        if self.is_at_word("pub") {
            self.0.next();
            self.group(Delimiter::Parenthesis);
        }
        found
    }

    /// The tokens of a type, up to a comma.
    fn until_comma(&mut self) -> TokenStream {
        let (mut depth, mut found) = (0_usize, TokenStream::new());
        while let Some(token) = self.0.peek() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => break,
                TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
                TokenTree::Punct(punct) if punct.as_char() == '>' => depth = depth.saturating_sub(1),
                _ => {}
            }
            found.extend(self.0.next());
        }
        self.skip(',');
        found
    }

    fn is_over(&mut self) -> bool {
        self.0.peek().is_none()
    }
}

fn flatten(stream: TokenStream, into: &mut Vec<TokenTree>) {
    for token in stream {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => flatten(group.stream(), into),
            token => into.push(token),
        }
    }
}

/// The words between the parentheses of an attribute, each with the text after its `=`.
fn words(stream: TokenStream) -> Vec<(String, Option<TokenTree>)> {
    let (mut tokens, mut found) = (Tokens::of(stream), Vec::new());
    while let Ok(word) = tokens.word("a word") {
        let text = if tokens.skip('=') { tokens.0.next() } else { None };
        tokens.until_comma();
        found.push((word.to_string(), text));
    }
    found
}

fn fields(stream: TokenStream) -> Result<Vec<Field>, String> {
    let (mut tokens, mut found) = (Tokens::of(stream), Vec::new());
    while !tokens.is_over() {
        let attributes = tokens.attributes();
        let name = tokens.word("the name of a field")?;
        if !tokens.skip(':') {
            return Err(format!("expected a type for {name}"));
        }
        found.push(Field { attributes, name, of: tokens.until_comma() });
    }
    Ok(found)
}

fn variants(stream: TokenStream) -> Result<Vec<Variant>, String> {
    let (mut tokens, mut found) = (Tokens::of(stream), Vec::new());
    while !tokens.is_over() {
        let attributes = tokens.attributes();
        let name = tokens.word("the name of a variant")?;
        let holds = if let Some(inside) = tokens.group(Delimiter::Brace) {
            Holds::Fields(fields(inside)?)
        } else if let Some(inside) = tokens.group(Delimiter::Parenthesis) {
            let mut inside = Tokens::of(inside);
            inside.attributes();
            Holds::One(inside.until_comma())
        } else {
            Holds::Nothing
        };
        tokens.until_comma();
        found.push(Variant { attributes, name, holds });
    }
    Ok(found)
}

impl Item {
    fn read(input: TokenStream) -> Result<Self, String> {
        let mut tokens = Tokens::of(input);
        let attributes = tokens.attributes();
        let kind = tokens.word("struct or enum")?.to_string();
        let name = tokens.word("a name")?;
        let body = tokens.group(Delimiter::Brace);
        let body = body.ok_or_else(|| format!("{name} has no fields with names, or it is generic"))?;
        let body = match kind.as_str() {
            "struct" => Body::Struct(fields(body)?),
            "enum" => Body::Enum(variants(body)?),
            other => return Err(format!("{other} is neither a struct nor an enum")),
        };
        Ok(Self { attributes, name, body })
    }

    fn described(&self) -> TokenStream {
        let name: TokenStream = TokenTree::from(self.name.clone()).into();
        let form = match &self.body {
            Body::Struct(fields) => self.table(fields),
            Body::Enum(variants) => self.choice(variants),
        };
        filled("impl ::headway_keys::Described for P0 { fn form() -> ::headway_keys::Form { P1 } }", &[name, form])
    }

    fn table(&self, fields: &[Field]) -> TokenStream {
        // What serde fills in where a key is left out; a type that is read from another has the defaults of its own.
        if self.attributes.has("default") || self.attributes.has("from") {
            let keys = keys(fields, true);
            let form =
                "let defaults = <Self as ::core::default::Default>::default(); ::headway_keys::Form::table(P0, P1)";
            filled(form, &[self.attributes.text(), keys])
        } else {
            filled("::headway_keys::Form::table(P0, P1)", &[self.attributes.text(), keys(fields, false)])
        }
    }

    fn choice(&self, variants: &[Variant]) -> TokenStream {
        let is_untagged = self.attributes.has("untagged");
        let case = self.attributes.given("rename_all").map(ToString::to_string);
        let one = |variant: &Variant| {
            let holds = match &variant.holds {
                Holds::Nothing => None,
                Holds::One(of) => Some(filled("<P0 as ::headway_keys::Described>::form()", std::slice::from_ref(of))),
                Holds::Fields(fields) => {
                    let text = variant.attributes.text();
                    Some(filled("::headway_keys::Form::table(P0, P1)", &[text, keys(fields, false)]))
                }
            };
            let doc = variant.attributes.text();
            if is_untagged {
                return holds.map(|form| filled("::headway_keys::Alternative::new(P0, P1),", &[doc, form]));
            }
            let holds = match holds {
                Some(form) => filled("::core::option::Option::Some(P0)", &[form]),
                None => filled("::core::option::Option::None", &[]),
            };
            let name = match variant.attributes.given("rename") {
                Some(name) => name.clone(),
                None => Literal::string(&cased(&variant.name.to_string(), case.as_deref())).into(),
            };
            Some(filled("::headway_keys::Variant::new(P0, P1, P2),", &[name.into(), doc, holds]))
        };
        let all: TokenStream =
            variants.iter().filter(|variant| !variant.attributes.has("skip")).filter_map(one).collect();
        if is_untagged {
            return filled("::headway_keys::Form::Either(::std::vec![P0])", &[all]);
        }
        let name: TokenTree = Literal::string(&self.name.to_string()).into();
        filled("::headway_keys::Form::choice(P0, P1, ::std::vec![P2])", &[name.into(), self.attributes.text(), all])
    }
}

/// The keys of a table; with `defaults`, the value of that name has what holds where they are left out.
fn keys(fields: &[Field], has_defaults: bool) -> TokenStream {
    let one = |field: &Field| {
        let attributes = &field.attributes;
        let ident: TokenStream = TokenTree::from(field.name.clone()).into();
        let name = match attributes.given("rename") {
            Some(name) => name.clone().into(),
            None => filled("::core::stringify!(P0)", std::slice::from_ref(&ident)),
        };
        let of = field.of.clone();
        let fallback = if has_defaults {
            filled("::headway_keys::Fallback::of(&defaults.P0)", &[ident])
        } else if let Some(function) = attributes.given("default") {
            let path: TokenStream = function.to_string().trim_matches('"').parse().unwrap_or_default();
            filled("::headway_keys::Fallback::of(&P0())", &[path])
        } else if attributes.has("default") {
            filled(
                "::headway_keys::Fallback::of(&<P0 as ::core::default::Default>::default())",
                std::slice::from_ref(&of),
            )
        } else {
            filled("::headway_keys::Fallback::of_missing::<P0>()", std::slice::from_ref(&of))
        };
        let key = filled(
            "::headway_keys::Key::new(P0, P1, <P2 as ::headway_keys::Described>::form(), P3)",
            &[name, attributes.text(), of, fallback],
        );
        filled(if attributes.is_found { "P0.found()," } else { "P0," }, &[key])
    };
    let shown = fields.iter().filter(|field| !field.attributes.has("skip"));
    filled("::std::vec![P0]", &[shown.flat_map(one).collect()])
}

/// The name of a variant in a file.
fn cased(name: &str, case: Option<&str>) -> String {
    let separator = match case {
        Some("\"snake_case\"") => '_',
        Some("\"kebab-case\"") => '-',
        _ => return name.to_owned(),
    };
    let mut written = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            written.push(separator);
        }
        written.extend(letter.to_lowercase());
    }
    written
}

/// A piece of code with the tokens `P0`, `P1`, … replaced.
fn filled(code: &str, parts: &[TokenStream]) -> TokenStream {
    let stream = code.parse().unwrap_or_else(|_| unreachable!("the pieces above are code"));
    replaced(stream, parts)
}

fn replaced(stream: TokenStream, parts: &[TokenStream]) -> TokenStream {
    let one = |token: TokenTree| -> TokenStream {
        match token {
            TokenTree::Group(group) => {
                let inside = TokenTree::from(Group::new(group.delimiter(), replaced(group.stream(), parts)));
                inside.into()
            }
            TokenTree::Ident(ident) => {
                let index = ident.to_string().strip_prefix('P').and_then(|index| index.parse::<usize>().ok());
                index.and_then(|index| parts.get(index).cloned()).unwrap_or_else(|| TokenTree::from(ident).into())
            }
            token => token.into(),
        }
    };
    stream.into_iter().flat_map(one).collect()
}
