//! NumPy's files: a .npy file holds one array; a .npz file is a zip of .npy files, stored as by `numpy.savez` or
//! deflated.
//!
//! Implemented here because crates that read .npz enable features of crates beneath burn, which would then have to be
//! rebuilt.
//!
//! # References
//! The format of .npy: numpy.lib.format, version 1.0.

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    mem,
};

use headway_model::weights::Array;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{
    Arrays, Error,
    numbers::{Numbers, Rounded},
};

/// The numbers of an array start at a multiple of this many bytes, for programs that map the file into memory.
const ALIGNMENT: usize = 64;

/// The arrays as the bytes of a file for `numpy.load`, in f4 and C order; equal arrays give equal bytes.
///
/// # Errors
/// [`Error::File`] if the archive cannot be written, which does not happen with valid arrays.
pub fn write(arrays: &Arrays) -> Result<Vec<u8>, Error> {
    let mut file = Writer::new(Cursor::new(Vec::new()));
    for (name, Array { shape, values }) in arrays {
        file.begin(name, shape)?;
        file.numbers(values)?;
    }
    Ok(file.finish()?.into_inner())
}

/// Number of values up to which an array with its header stays below 4 GB.
pub(crate) const MOST_WITHOUT_ZIP64: usize = (1 << 30) - (1 << 20);

/// A .npz file that is being written, one array after the other.
pub struct Writer<W: Write + Seek>(ZipWriter<W>);

impl<W: Write + Seek> Writer<W> {
    /// Starts a file without arrays.
    pub fn new(file: W) -> Self {
        Self(ZipWriter::new(file))
    }

    /// Starts an array; its numbers follow.
    ///
    /// # Errors
    /// [`Error::File`] with the error of the archive or the system.
    pub fn begin(&mut self, name: &str, shape: &[usize]) -> Result<(), Error> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT as u16)
            .large_file(shape.iter().product::<usize>() > MOST_WITHOUT_ZIP64);
        self.0.start_file(format!("{name}.npy"), options).map_err(Error::file)?;
        self.0.write_all(&header(shape)?).map_err(Error::file)
    }

    /// Writes the next numbers of the array, row-major.
    ///
    /// # Errors
    /// [`Error::File`] with the system's error.
    pub fn numbers(&mut self, values: &[f32]) -> Result<(), Error> {
        self.0.write_all(&bytes_of(values)).map_err(Error::file)
    }

    /// Completes the file and returns it.
    ///
    /// # Errors
    /// [`Error::File`] with the error of the archive or the system.
    pub fn finish(self) -> Result<W, Error> {
        self.0.finish().map_err(Error::file)
    }
}

/// Header of a .npy file with f4 numbers in C order.
///
/// # Errors
/// [`Error::File`] if the shape has too many axes for a header.
pub fn header(shape: &[usize]) -> Result<Vec<u8>, Error> {
    // Python writes a tuple with one element with a trailing comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let sizes = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}{comma}), }}");
    let unpadded = 10 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(Error::file)?;
    Ok([b"\x93NUMPY\x01\0".as_slice(), &length.to_le_bytes(), header.as_bytes()].concat())
}

/// Numbers in the format of a .npy file.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Every array of a file, as f32.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub fn read(bytes: &[u8]) -> Result<Arrays, String> {
    Ok(read_rounded(bytes)?.0)
}

/// Every array of a file as f32, and the arrays whose numbers were rounded.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub(crate) fn read_rounded(bytes: &[u8]) -> Result<(Arrays, Vec<Rounded>), String> {
    read_whole(bytes, |archive| Ok(archive.names().into_iter().enumerate().collect()))
}

/// The arrays with these names as f32; others in the file are not read.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub fn read_named(bytes: &[u8], names: &[&str]) -> Result<Arrays, String> {
    let found =
        |archive: &BytesArchive| names.iter().map(|name| Ok((archive.find(name)?, (*name).to_owned()))).collect();
    Ok(read_whole(bytes, found)?.0)
}

type BytesArchive<'a> = Archive<Cursor<&'a [u8]>>;

/// Arrays by their numbers in the file and their names, as `pick` has them.
fn read_whole(
    bytes: &[u8],
    pick: impl FnOnce(&BytesArchive) -> Result<Vec<(usize, String)>, String>,
) -> Result<(Arrays, Vec<Rounded>), String> {
    let mut archive = Archive::open(Cursor::new(bytes))?;
    let (mut arrays, mut all_rounded) = (Arrays::new(), Vec::new());
    // Deflated data may be a thousand times its size, so the total is limited.
    let mut left = 8 * bytes.len() + (48 << 20);
    for (at, name) in pick(&archive)? {
        let array = archive.nth(at, &name)?;
        // Turned into rows, columns are there twice.
        let copies = if array.is_column_major { 2 } else { 1 };
        let needed = array.left.saturating_mul(copies * mem::size_of::<f32>());
        left = left.checked_sub(needed).ok_or_else(|| {
            let (megabytes, size) = (needed as f64 / 1e6, bytes.len());
            format!("`{name}` takes {megabytes:.0} MB, too much of a file of {size} bytes; write it with numpy.savez, which does not compress")
        })?;
        let (array, rounded) = array.whole().map_err(|problem| format!("`{name}`: {problem}"))?;
        arrays.insert(name, array);
        all_rounded.extend(rounded);
    }
    Ok((arrays, all_rounded))
}

/// An open .npz file.
pub struct Archive<R>(ZipArchive<R>);

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file.
    pub fn open(mut file: R) -> Result<Self, String> {
        let len = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
        let archive = ZipArchive::new(file).map_err(|error| format!("not a whole .npz file: {error}"))?;
        // Overlapping entries would make a small archive stand for much data.
        let sizes = (0..archive.len()).filter_map(|at| Some(archive.by_index_data(at).ok()?.compressed_size()));
        if sizes.fold(0, u64::saturating_add) > len {
            return Err("its files lie over each other".to_owned());
        }
        Ok(Self(archive))
    }

    /// Names of the arrays.
    pub fn names(&self) -> Vec<String> {
        let name = |raw: &[u8]| {
            let name = String::from_utf8_lossy(raw).into_owned();
            name.strip_suffix(NPY).map(str::to_owned).unwrap_or(name)
        };
        self.0.file_names_raw().map(name).collect()
    }

    /// A reader at the start of an array.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file.
    pub fn array(&mut self, name: &str) -> Result<ArrayReader<impl Read + use<'_, R>>, String> {
        let at = self.find(name)?;
        self.nth(at, name)
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        let number = |name: &str| self.0.index_for_name_raw(name.as_bytes());
        let at = number(&format!("{name}{NPY}")).or_else(|| number(name));
        at.ok_or_else(|| format!("holds no array `{name}`; there are: {}", self.names().join(", ")))
    }

    fn nth(&mut self, at: usize, name: &str) -> Result<ArrayReader<impl Read + use<'_, R>>, String> {
        let file = self.0.by_index(at).map_err(|error| format!("`{name}`: {error}"))?;
        ArrayReader::new(name, file.size(), file).map_err(|problem| format!("`{name}`: {problem}"))
    }
}

/// End of the names of arrays inside a .npz file.
const NPY: &str = ".npy";

/// The array of a .npy file, as written by `numpy.save`, as f32.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub fn read_npy(bytes: &[u8]) -> Result<Array, String> {
    Ok(ArrayReader::new("array", bytes.len() as u64, bytes)?.whole()?.0)
}

/// Reads an array of a .npy file some rows at a time. The file consists of magic bytes, a version, a header that looks
/// like a Python dictionary, and the numbers.
pub struct ArrayReader<R> {
    name: String,
    shape: Vec<usize>,
    numbers: Numbers,
    is_big_endian: bool,
    is_column_major: bool,
    /// Number of values that have not been read.
    left: usize,
    /// Number of values read so far that f32 cannot hold exactly.
    rounded: Option<Rounded>,
    file: R,
}

/// Largest number of bytes of a header; real ones take about a hundred.
const LONGEST_HEADER: usize = 1 << 16;
/// Number of values whose bytes are in memory at a time.
const PIECE: usize = 1 << 16;

impl<R: Read> ArrayReader<R> {
    /// Reads the header of a file of `len` bytes.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file.
    pub fn new(name: &str, len: u64, mut file: R) -> Result<Self, String> {
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            file.read_exact(&mut bytes).map(|()| bytes).map_err(cut_short)
        };
        let magic = read(8)?;
        if !magic.starts_with(b"\x93NUMPY") {
            return Err("is no .npy array".to_owned());
        }
        let width = if magic[6] == 1 { 2 } else { 4 };
        let header_len = read(width)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
        if header_len > LONGEST_HEADER {
            return Err("has a header that is no array's".to_owned());
        }
        let header = String::from_utf8_lossy(&read(header_len)?).into_owned();
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
        let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape: Vec<usize> =
            sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| "has a header without a shape")?;
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)).ok_or("is too large")?;
        let descr = header.split_once("'descr': '").and_then(|(_, rest)| rest.split_once('\'')).map(|(descr, _)| descr);
        let descr = descr.unwrap_or_default();
        let (order, kind) = descr.split_at_checked(1).unwrap_or_default();
        let numbers = match kind {
            "f2" => Numbers::F16,
            "f4" => Numbers::F32,
            "f8" => Numbers::F64,
            "i1" => Numbers::I8,
            "i2" => Numbers::I16,
            "i4" => Numbers::I32,
            "i8" => Numbers::I64,
            "u1" => Numbers::U8,
            "u2" => Numbers::U16,
            "u4" => Numbers::U32,
            "u8" => Numbers::U64,
            "b1" => Numbers::Bool,
            "O" => return Err("holds objects of Python and no numbers; save numpy.asarray of it as float32".to_owned()),
            _ => return Err(format!("holds `{descr}`, which is no type of number that is read; save it as float32")),
        };
        let body = len.saturating_sub((8 + width + header_len) as u64);
        if body != count.saturating_mul(numbers.width()) as u64 {
            let held = body / numbers.width() as u64;
            let shape = format!("{shape:?}");
            // As far as fits a sentence.
            return Err(format!("holds {held} numbers, its shape asks for {count}: {shape:.80}"));
        }
        let is_column_major = header.contains("'fortran_order': True");
        let (name, is_big_endian) = (name.to_owned(), order == ">");
        Ok(Self { name, shape, numbers, is_big_endian, is_column_major, left: count, rounded: None, file })
    }

    /// Size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The next rows along the first axis, as f32: fewer than `count` at the end, and none after it.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file; also for an array in Fortran order, whose rows are not contiguous.
    pub fn rows(&mut self, count: usize) -> Result<Vec<f32>, String> {
        if self.is_column_major {
            return Err("is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
        }
        let row: usize = self.shape.iter().skip(1).product();
        self.numbers(count.saturating_mul(row))
    }

    /// The whole array, and what was rounded.
    fn whole(mut self) -> Result<(Array, Option<Rounded>), String> {
        let mut values = self.numbers(self.left)?;
        if self.is_column_major {
            values = row_major(&self.shape, &values);
        }
        Ok((Array { shape: self.shape, values }, self.rounded))
    }

    /// The next values, in the order of the file.
    fn numbers(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let mut wanted = count.min(self.left);
        let mut values = Vec::with_capacity(wanted);
        while wanted > 0 {
            let mut bytes = vec![0; wanted.min(PIECE) * self.numbers.width()];
            self.file.read_exact(&mut bytes).map_err(cut_short)?;
            if self.is_big_endian {
                bytes.chunks_mut(self.numbers.width()).for_each(<[u8]>::reverse);
            }
            let (array, rounded) = self.numbers.array(&self.name, &[], &bytes);
            match (&mut self.rounded, rounded) {
                (Some(all), Some(more)) => all.numbers += more.numbers,
                (all, Some(first)) => *all = Some(first),
                (_, None) => {}
            }
            wanted -= array.values.len();
            self.left -= array.values.len();
            values.extend(array.values);
        }
        if self.left == 0 {
            // A zip entry's checksum is compared at its end.
            self.file.read(&mut [0]).map_err(|error| format!("is damaged: {error}"))?;
        }
        Ok(values)
    }
}

fn cut_short(error: io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof { "the file is cut short".to_owned() } else { error.to_string() }
}

/// Converts column-major numbers, in which the first axis varies fastest, to row-major order.
fn row_major(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let place = |at: usize| {
        let (mut rest, mut from) = (at, 0);
        let mut step: usize = shape.iter().product();
        for size in shape.iter().rev() {
            step /= size;
            from += rest % size * step;
            rest /= size;
        }
        from
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip with one file, as numpy.savez or savez_compressed writes it.
    fn zipped(name: &str, content: &[u8], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let begun = zip.start_file(name, SimpleFileOptions::default().compression_method(method));
        assert!(begun.is_ok() && zip.write_all(content).is_ok());
        zip.finish().map(Cursor::into_inner).unwrap_or_default()
    }

    const STORED: CompressionMethod = CompressionMethod::Stored;
    const DEFLATED: CompressionMethod = CompressionMethod::Deflated;

    fn array(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn reads_what_numpy_writes() {
        let values: Vec<u8> = [1.0_f64, -2.0, 0.5].iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 1), }\n";
        for method in [STORED, DEFLATED] {
            let arrays = read(&zipped("inputs.npy", &array(header, &values), method)).unwrap_or_default();
            assert_eq!(arrays["inputs"], Array { shape: vec![3, 1], values: vec![1.0, -2.0, 0.5] });
        }
    }

    /// Types and orders as numpy.savez writes them, written out by hand.
    #[test]
    fn reads_every_type_and_order() {
        let read_one = |descr: &str, order: &str, shape: &str, bytes: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            let arrays = read(&zipped("x.npy", &array(&header, bytes), STORED));
            arrays.map(|arrays| arrays["x"].values.clone())
        };
        assert_eq!(read_one("<f2", "False", "(2,)", &[0x00, 0x3c, 0x00, 0xc0]), Ok(vec![1.0, -2.0]));
        assert_eq!(read_one("|b1", "False", "(3,)", &[1, 0, 1]), Ok(vec![1.0, 0.0, 1.0]));
        assert_eq!(read_one(">i2", "False", "(2,)", &[1, 0, 0xff, 0xfe]), Ok(vec![256.0, -2.0]));
        assert_eq!(read_one("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6]), Ok(vec![1., 2., 3., 4., 5., 6.]));
        assert_eq!(read_one("|u1", "True", "(2, 1, 2)", &[1, 3, 2, 4]), Ok(vec![1., 2., 3., 4.]));
        assert_eq!(read_one("|u1", "True", "()", &[7]), Ok(vec![7.0]));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let array = |shape: &[usize], values: &[f32]| Array { shape: shape.to_vec(), values: values.to_vec() };
        let arrays = Arrays::from([
            ("blocks.0.bias".to_owned(), array(&[3], &[1.0, -2.0, 0.5])),
            ("one".to_owned(), array(&[], &[7.0])),
            ("pair".to_owned(), array(&[2, 1], &[f32::MIN, f32::MAX])),
        ]);
        let bytes = write(&arrays).unwrap_or_default();
        assert_eq!(read_named(&bytes, &["one"]).map(|one| one["one"].values.clone()), Ok(vec![7.0]));
        assert_eq!(read(&bytes).as_ref(), Ok(&arrays));
        for (at, _) in bytes.windows(6).enumerate().filter(|(_, window)| *window == b"\x93NUMPY") {
            assert_eq!(at % ALIGNMENT, 0, "an array at {at}");
        }
    }

    #[test]
    fn rows_are_read_some_at_a_time() {
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (5, 1, 2), }\n";
        let values: Vec<u8> = (0..10_i16).flat_map(i16::to_le_bytes).collect();
        let zip = zipped("x.npy", &array(header, &values), DEFLATED);
        let mut archive = Archive::open(Cursor::new(zip)).unwrap_or_else(|problem| panic!("{problem}"));
        let mut rows = archive.array("x").unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(rows.shape(), [5, 1, 2]);
        assert_eq!(rows.rows(2), Ok(vec![0.0, 1.0, 2.0, 3.0]));
        assert_eq!(rows.rows(7).map(|rest| rest.len()), Ok(6));
        assert_eq!(rows.rows(1), Ok(Vec::new()));
    }

    #[test]
    fn says_what_is_wrong_and_never_panics() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
        let problem = |bytes: &[u8]| read(bytes).err().unwrap_or_default();
        assert!(problem(b"nothing").contains("not a whole .npz file"));
        for method in [STORED, DEFLATED] {
            let of = |content: &[u8]| problem(&zipped("x.npy", content, method));
            assert!(of(b"junk, no more").contains("no .npy array"));
            assert!(of(&array(&header.replace("<f4", "<c8"), &[0; 8])).contains("float32"));
            assert!(of(&array(&header.replace("<f4", "|O"), &[0; 8])).contains("objects"));
            assert!(of(&array(header, &[0; 8])).contains("2 numbers"));
            // Every prefix and every changed byte gives either an array or a message.
            let good = zipped("x.npy", &array(header, &1.0_f32.to_le_bytes()), method);
            assert!(read(&good).is_ok());
            for at in 0..good.len() {
                let _ = read(&good[..at]);
                let mut changed = good.clone();
                changed[at] ^= 0xff;
                let _ = read(&changed);
            }
        }
        // A small file that claims to be large.
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (40000000,), }\n";
        let bomb = zipped("x.npy", &array(header, &vec![0; 40_000_000]), DEFLATED);
        assert!(bomb.len() < 100_000 && problem(&bomb).contains("takes 160 MB"));
    }
}
