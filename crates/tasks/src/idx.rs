//! Arrays of whole numbers in the format of MNIST, IDX.

/// An array, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The numbers, as many as the shape requires.
    pub values: Values,
}

/// Numbers of an array in their own width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Type 8: from 0 to 255.
    U8(Vec<u8>),
    /// Type 11: from -32768 to 32767.
    I16(Vec<i16>),
}

impl Idx {
    /// Reads an array: two zero bytes, the type, the number of axes, the size of each as a big-endian u32, then the
    /// numbers, big-endian and row by row.
    ///
    /// # Errors
    /// A sentence about what is wrong with the bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let cut_off =
            || "ends within its head; an IDX file begins with 0, 0, its type and its number of axes".to_owned();
        let (&[zero, none, kind, axes], rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_off)?;
        if [zero, none] != [0, 0] {
            return Err("is no IDX file: its first two bytes are not 0".to_owned());
        }
        let width = match kind {
            8 => 1,
            11 => 2,
            other => return Err(format!("holds numbers of type {other}; bytes (8) and 16-bit integers (11) are read")),
        };
        let (sizes, rest) = rest.split_at_checked(4 * usize::from(axes)).ok_or_else(cut_off)?;
        let (sizes, _) = sizes.as_chunks::<4>();
        let shape: Vec<usize> = sizes.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let wanted = shape.iter().try_fold(width, |all: usize, size| all.checked_mul(*size));
        if wanted != Some(rest.len()) {
            let wanted = wanted.map_or_else(|| "more than any file".to_owned(), |wanted| format!("{wanted} bytes"));
            return Err(format!("holds {} bytes of numbers, and its shape {shape:?} needs {wanted}", rest.len()));
        }
        let values = match kind {
            8 => Values::U8(rest.to_vec()),
            _ => Values::I16(rest.as_chunks::<2>().0.iter().map(|pair| i16::from_be_bytes(*pair)).collect()),
        };
        Ok(Self { shape, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_both_types_and_any_number_of_axes_are_read() {
        let bytes = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 253, 254, 255];
        let wanted = Idx { shape: vec![2, 1, 3], values: Values::U8(vec![1, 2, 3, 253, 254, 255]) };
        assert_eq!(Idx::read(&bytes), Ok(wanted));
        let bytes = [0, 0, 11, 1, 0, 0, 0, 3, 1, 0, 255, 255, 128, 0];
        assert_eq!(Idx::read(&bytes), Ok(Idx { shape: vec![3], values: Values::I16(vec![256, -1, i16::MIN]) }));
        assert_eq!(Idx::read(&[0, 0, 8, 0, 7]), Ok(Idx { shape: vec![], values: Values::U8(vec![7]) }));
    }

    #[test]
    fn what_is_wrong_with_the_bytes_is_told() {
        let problem = |bytes: &[u8]| Idx::read(bytes).err().unwrap_or_default();
        assert!(problem(&[0, 0, 8]).starts_with("ends within its head"));
        assert!(problem(&[0, 0, 8, 2, 0, 0, 0, 1]).starts_with("ends within its head"));
        assert_eq!(problem(&[80, 75, 3, 4]), "is no IDX file: its first two bytes are not 0");
        assert_eq!(problem(&[0, 0, 13, 0]), "holds numbers of type 13; bytes (8) and 16-bit integers (11) are read");
        let short = [0, 0, 11, 1, 0, 0, 0, 3, 1, 0, 255];
        assert_eq!(problem(&short), "holds 3 bytes of numbers, and its shape [3] needs 6 bytes");
        let huge = [&[0, 0, 8, 3][..], &[255; 12]].concat();
        assert!(problem(&huge).ends_with("needs more than any file"));
    }
}
