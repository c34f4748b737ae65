//! Values as JSON files.

use serde::Serialize;

use crate::error::Error;

/// The content of a JSON file for a value: indented, with a final line end.
///
/// # Errors
/// [`Error::Json`] for what JSON cannot hold, such as a map whose keys are no texts.
pub fn file(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_file_ends_its_last_line_and_says_what_it_cannot_hold() {
        assert_eq!(
            file(&BTreeMap::from([("a", [1, 2])])).ok(),
            Some(b"{\n  \"a\": [\n    1,\n    2\n  ]\n}\n".to_vec())
        );
        assert!(file(&BTreeMap::from([([1, 2], "a")])).is_err_and(|error| error.to_string().contains("key")));
    }
}
