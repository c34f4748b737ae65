//! Files packed by gzip.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// The contents may be at most this many times as long as the packed file …
const MOST_TIMES: usize = 20;
/// … and this many bytes longer. Deflated data may unpack to a thousand times its size, and zeros packed twice to a
/// million times.
const SPARE: usize = 16 << 20;

/// The contents of a `.gz` file, of one part or several.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] with what is wrong with the file, also if its contents are too long.
pub(crate) fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let refused = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let most = packed.len().saturating_mul(MOST_TIMES).saturating_add(SPARE);
    let mut contents = Vec::new();
    MultiGzDecoder::new(packed).take(most as u64 + 1).read_to_end(&mut contents).map_err(|error| {
        refused(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the .gz file ends in the middle; copy it again".to_owned(),
            _ => format!("no sound .gz file ({error}); copy it again, or give the file unpacked"),
        })
    })?;
    if contents.len() > most {
        return Err(refused(format!(
            "unpacks to more than {MOST_TIMES} times its size and {} MB; if that is right, give the file unpacked",
            SPARE >> 20
        )));
    }
    Ok(contents)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(contents: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(contents).unwrap();
        encoder.finish().unwrap()
    }

    fn problem(bytes: &[u8]) -> String {
        unpack(bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_was_packed_is_unpacked_and_a_file_may_have_several_parts() {
        assert_eq!(unpack(&packed(b"")).unwrap(), b"");
        assert_eq!(unpack(&[packed(b"one\n"), packed(b"two\n")].concat()).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_file_that_is_cut_off_damaged_or_a_bomb_is_refused() {
        let whole = packed(b"It is a truth universally acknowledged");
        for end in 1..whole.len() {
            assert_eq!(problem(&whole[..end]), "the .gz file ends in the middle; copy it again", "{end}");
        }
        assert!(problem(b"plain text").starts_with("no sound .gz file ("));
        // The checksum of the contents is behind them.
        let mut damaged = whole.clone();
        *damaged.iter_mut().rev().nth(7).unwrap() ^= 1;
        assert!(problem(&damaged).starts_with("no sound .gz file ("), "{}", problem(&damaged));
        let bomb = packed(&vec![0; SPARE + (1 << 22)]);
        assert!(bomb.len() < 100_000);
        assert_eq!(
            problem(&bomb),
            "unpacks to more than 20 times its size and 16 MB; if that is right, give the file unpacked"
        );
    }
}
