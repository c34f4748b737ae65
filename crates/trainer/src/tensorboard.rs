//! Event files for TensorBoard: the lines of `metrics.jsonl` once more, as scalars.
//!
//! Each session of a run writes a file of its own beside `metrics.jsonl`, named after the step at which it begins, so that files in the order of
//! their names are in the order of the steps. Its second event tells TensorBoard to forget what an earlier session logged from that step on.
//!
//! A file is a sequence of records, each an `Event` in the wire format of protocol buffers:
//!
//! ```text
//! u64 length   u32 masked CRC-32C of these 8 bytes   length bytes   u32 masked CRC-32C of them      little endian
//!
//! Event        1: double wall_time   2: int64 step   3: string file_version   5: Summary   7: SessionLog
//! Summary      1: repeated Value          Value   1: string tag   2: float simple_value
//! SessionLog   1: status, of which 1 is the start
//! ```
//!
//! # References
//! tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto, tensorflow/core/lib/io/record_writer.h; CRC-32C: RFC 3720, appendix B.4

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{disk, error::Error, log::Line, presence};

/// What the names of event files begin with.
pub(crate) const FIRST_PART: &str = "events.out.tfevents.";

/// The event file of one session.
pub(crate) struct Events {
    path: PathBuf,
}

impl Events {
    /// Begins the file of a session that goes on from `step`, in place of those that began there or later.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(crate) fn begin(root: &Path, step: u64) -> Result<Self, Error> {
        let name = format!("{FIRST_PART}{step:010}.headway");
        for later in presence::list(root)?.unwrap_or_default() {
            // Padded, numbers are in the order of their digits.
            if presence::name(&later).starts_with(FIRST_PART) && presence::name(&later) > name {
                disk::remove_file(&later)?;
            }
        }
        let path = root.join(name);
        let version = bytes(3, b"brain.Event:2");
        let start = bytes(7, &number(1, 1));
        let now = wall_time();
        disk::replace(&path, &[record(&event(now, 0, &version)), record(&event(now, step, &start))].concat())?;
        Ok(Self { path })
    }

    /// Appends a line of metrics.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(crate) fn append(&self, line: &Line) -> Result<(), Error> {
        disk::append(&self.path, &scalars(wall_time(), line))
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}

/// The record of a line of metrics.
fn scalars(wall_time: f64, line: &Line) -> Vec<u8> {
    let value = |(name, value): (&String, &f64)| {
        bytes(1, &[bytes(1, name.as_bytes()), fixed(2, 5, &(*value as f32).to_le_bytes())].concat())
    };
    let summary: Vec<u8> = line.values.iter().flat_map(value).collect();
    record(&event(wall_time, line.step, &bytes(5, &summary)))
}

fn event(wall_time: f64, step: u64, what: &[u8]) -> Vec<u8> {
    [&fixed(1, 1, &wall_time.to_le_bytes()), &number(2, step), what].concat()
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// A field of fixed length: 8 bytes with the wire type 1, 4 bytes with 5.
fn fixed(field: u8, wire_type: u8, value: &[u8]) -> Vec<u8> {
    [&[(field << 3) | wire_type], value].concat()
}

/// A field of a whole number.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut field = vec![field << 3];
    push_varint(&mut field, value);
    field
}

/// A field of a text or of a message.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![(field << 3) | 2];
    push_varint(&mut field, value.len() as u64);
    [&field, value].concat()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn push_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// The checksum as records have it, rotated and shifted so that the checksum of data with checksums in it is none of them.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C: the polynomial 0x1EDC6F41, bits reflected.
fn crc32c(data: &[u8]) -> u32 {
    const REFLECTED: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ REFLECTED } else { crc >> 1 };
    !data.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn checksums_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        for (data, crc) in [(&[0; 32][..], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (&ascending, 0x46dd_794e)] {
            assert_eq!(crc32c(data), crc);
        }
    }

    #[test]
    fn numbers_of_many_bits() {
        assert_eq!(number(2, 300), [0x10, 0xac, 0x02]);
        assert_eq!(number(1, u64::MAX), [&[8][..], &[0xff; 9], &[1]].concat());
    }

    /// The file of `tests/it/fixtures/event_file.py`, which TensorBoard's own reader has read.
    #[test]
    fn a_session_is_the_file_that_python_writes() {
        let whole = include_bytes!("../tests/it/fixtures/event_file.tfevents");
        let lines =
            [(2, vec![("train/loss", 0.5), ("learning_rate", 1e-3)]), (300, vec![("validation/loss", -1.0 / 3.0)])];
        let lines = lines.map(|(step, values)| Line {
            step,
            values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        });
        let head = [event(1.7e9, 0, &bytes(3, b"brain.Event:2")), event(1.7e9, 1, &bytes(7, &number(1, 1)))];
        let written =
            [head.map(|event| record(&event)).concat(), lines.map(|line| scalars(1.7e9, &line)).concat()].concat();
        assert_eq!(written, whole);
    }

    #[test]
    fn a_session_begins_its_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(Events::begin(folder.path(), 3).unwrap());
        drop(Events::begin(folder.path(), 1000).unwrap());
        let line = Line { step: 8, values: [("train/loss".to_owned(), 0.25)].into() };
        for _ in 0..2 {
            let events = Events::begin(folder.path(), 7).unwrap();
            events.append(&line).unwrap();
        }
        let written = std::fs::read(folder.path().join("events.out.tfevents.0000000007.headway")).unwrap();
        // Around each event 12 and 4 bytes; in the first two time, step and what they are.
        let head = 16 + (9 + 2 + 15) + 16 + (9 + 2 + 4);
        assert_eq!(written.len(), head + scalars(0.0, &line).len());
        let there = presence::list(folder.path()).unwrap().unwrap_or_default();
        assert_eq!(there.len(), 2, "those of steps 3 and 7");
    }
}
