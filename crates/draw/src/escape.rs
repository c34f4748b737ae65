//! Plain text inside markup.

/// The text escaped for XML and HTML, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if is_allowed(character) => escaped.push(character),
            _ => escaped.push(char::REPLACEMENT_CHARACTER),
        }
    }
    escaped
}

/// The text on one line: line breaks, and characters that markup cannot hold, become spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || !is_allowed(c) { ' ' } else { c }).collect()
}

/// Whether markup may contain the character at all, escaped or not.
fn is_allowed(character: char) -> bool {
    matches!(character, '\n' | '\t') || !(character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
}
