//! Doc comments as plain text.

use toml::Value;

use crate::{Fallback, written::inline};

/// The first part of a doc comment, up to its first heading or its first example, without links: paragraphs of one line each.
pub(crate) fn plain(doc: &str) -> String {
    let lines = doc.lines().map(str::trim);
    let shown = lines.take_while(|line| !line.starts_with("# ") && !line.starts_with("```"));
    let mut text = String::new();
    for line in shown {
        match line {
            "" if !text.is_empty() && !text.ends_with('\n') => text.push('\n'),
            "" => {}
            line => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    unlinked(text.trim())
}

/// A text without the brackets and the targets of links.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let (before, from) = rest.split_at(start);
        plain.push_str(before);
        // A link is named in backticks, or has a target; other brackets are lists of numbers.
        let end = from.find(']').filter(|end| from[1..*end].starts_with('`') || from[end + 1..].starts_with('('));
        if let Some(end) = end {
            let name = &from[1..end];
            plain.push_str(&name.replace("crate::", "").replace("headway_kernels::", ""));
            let after = &from[end + 1..];
            let target = after.strip_prefix('(').and_then(|target| target.find(')'));
            rest = target.map_or(after, |close| &after[close + 2..]);
        } else {
            plain.push('[');
            rest = &from[1..];
        }
    }
    plain + rest
}

/// A doc comment without its last sentence, if that says no more than the default of which it is told beside it: `Default 50.` A claim of
/// another default stays, so that it is seen.
pub(crate) fn without_default(mut doc: String, fallback: &Fallback) -> String {
    let Some((at, claim)) = claimed(&doc) else { return doc };
    let is_known = match fallback {
        Fallback::Required => false,
        Fallback::Nothing => claim == "none",
        Fallback::Value(value) => names(claim, value),
    };
    if is_known {
        doc.truncate(at);
        doc.truncate(doc.trim_end().len());
    }
    doc
}

/// Where the last sentence of a doc comment names a default in one word, and the word.
pub(crate) fn claimed(doc: &str) -> Option<(usize, &str)> {
    let at = doc.rfind("Default").filter(|at| *at == 0 || doc[..*at].ends_with([' ', '\n']))?;
    let claim = doc[at..].strip_prefix("Default")?.trim_start_matches(':').trim().strip_suffix('.')?.trim_matches('`');
    (!claim.contains(' ')).then_some((at, claim))
}

/// Whether a word names a value.
fn names(claim: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Table(table) => table.is_empty(),
        _ => false,
    };
    let number = |text: &str| text.replace('−', "-").replace('_', "").parse::<f64>().ok();
    match value {
        _ if is_empty => ["none", "nothing", "nobody"].contains(&claim),
        // A variant with its keys.
        Value::Table(table) if table.len() == 1 => table.contains_key(claim),
        Value::String(text) => text == claim,
        value => inline(value) == claim || number(&inline(value)).is_some_and(|value| number(claim) == Some(value)),
    }
}

/// A text in lines of at most `width` characters, broken at spaces.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doc_comment_becomes_text() {
        let doc = " Scale of [`Muon`], see\n [the page](https://a.b/c) and `[0.5]`.\n\n Second.\n\n # References\n Someone.\n";
        assert_eq!(plain(doc), "Scale of `Muon`, see the page and `[0.5]`.\nSecond.");
    }

    #[test]
    fn a_default_that_is_known_is_said_once() {
        let value = |value: f64| Fallback::Value(Value::Float(value));
        for (doc, fallback, left) in [
            ("Base rate. Default 1e-3.", value(1e-3), "Base rate."),
            ("Norm. Default `pre`.", Fallback::Value("pre".into()), "Norm."),
            ("Groups. Default none.", Fallback::Nothing, "Groups."),
            ("Largest norm. Default: no clipping.", Fallback::Nothing, "Largest norm. Default: no clipping."),
            ("Heads. Default 0: no such layer.", value(0.0), "Heads. Default 0: no such layer."),
            ("Heads. Default 2.", value(3.0), "Heads. Default 2."),
            ("Rate.", value(1.0), "Rate."),
        ] {
            assert_eq!(without_default(doc.to_owned(), &fallback), left);
        }
    }

    #[test]
    fn a_claim_is_compared_with_the_value() {
        assert_eq!(claimed("Rate. Default 1e-3."), Some((6, "1e-3")));
        assert!(
            names("1e-3", &Value::Float(0.001)) && names("−3", &Value::Float(-3.0)) && names("0", &Value::Float(0.0))
        );
        assert!(
            names("none", &Value::Array(Vec::new())) && names("nothing", &"".into()) && !names("none", &"a".into())
        );
        assert!(names("pre", &"pre".into()) && !names("post", &"pre".into()) && !names("2", &Value::Integer(1)));
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three\nfour", 7), ["one two", "three", "four"]);
    }
}
