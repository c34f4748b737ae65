//! Number types of tensor files, and their conversion to f32.

use headway_model::weights::Array;

/// A tensor whose numbers were rounded to f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// Its name.
    pub name: String,
    /// Its type in the file.
    pub from: &'static str,
    /// Number of values that changed.
    pub numbers: usize,
}

/// Type of the numbers in a file.
#[derive(Clone, Copy)]
pub(crate) enum Numbers {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Numbers {
    fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U64 => "uint64",
            Self::U32 => "uint32",
            Self::U16 => "uint16",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// Little-endian bytes as f32, and how many numbers changed.
    fn to_f32(self, bytes: &[u8]) -> (Vec<f32>, usize) {
        /// Types with numbers that f32 cannot hold exactly.
        macro_rules! wide {
            ($type:ty) => {{
                let numbers = bytes.as_chunks::<{ size_of::<$type>() }>().0.iter();
                let numbers = numbers.map(|bytes| <$type>::from_le_bytes(*bytes));
                // i128 holds every integer of both types.
                let changed = numbers.clone().filter(|n| (*n as f32) as i128 != i128::from(*n)).count();
                (numbers.map(|n| n as f32).collect(), changed)
            }};
        }
        /// Types whose numbers f32 holds exactly.
        macro_rules! narrow {
            ($type:ty) => {{
                let numbers = bytes.as_chunks::<{ size_of::<$type>() }>().0.iter();
                (numbers.map(|bytes| f32::from(<$type>::from_le_bytes(*bytes))).collect(), 0)
            }};
        }
        match self {
            Self::F64 => {
                let numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
                let changed = numbers.clone().filter(|n| (f64::from(*n as f32) - n).abs() > 0.0).count();
                (numbers.map(|n| n as f32).collect(), changed)
            }
            Self::F32 => (bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), 0),
            Self::F16 => (bytes.as_chunks::<2>().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect(), 0),
            Self::Bf16 => {
                let wide = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                (bytes.as_chunks::<2>().0.iter().map(wide).collect(), 0)
            }
            Self::I64 => wide!(i64),
            Self::I32 => wide!(i32),
            Self::I16 => narrow!(i16),
            Self::I8 => narrow!(i8),
            Self::U64 => wide!(u64),
            Self::U32 => wide!(u32),
            Self::U16 => narrow!(u16),
            Self::U8 => narrow!(u8),
            Self::Bool => (bytes.iter().map(|byte| f32::from(u8::from(*byte != 0))).collect(), 0),
        }
    }

    /// Number of bytes of one number.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The array, and what was rounded; `None` if nothing was.
    pub(crate) fn array(self, name: &str, shape: &[usize], bytes: &[u8]) -> (Array, Option<Rounded>) {
        let (values, numbers) = self.to_f32(bytes);
        let rounded = (numbers > 0).then(|| Rounded { name: name.to_owned(), from: self.name(), numbers });
        (Array { shape: shape.to_vec(), values }, rounded)
    }
}

/// A number in IEEE 754's binary16: sign, five exponent bits with bias 15, ten fraction bits.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_by_hand() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_f32_does_not_hold_is_counted() {
        let bytes: Vec<u8> = [1.0_f64, 0.1, -2.5].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(Numbers::F64.to_f32(&bytes), (vec![1.0, 0.1, -2.5], 1));
        let bytes: Vec<u8> = [16_777_216_i64, 16_777_217, -3, i64::MAX].iter().flat_map(|n| n.to_le_bytes()).collect();
        let (values, changed) = Numbers::I64.to_f32(&bytes);
        assert_eq!((values[2], changed), (-3.0, 2));
        assert_eq!(Numbers::Bool.to_f32(&[0, 1, 7]), (vec![0.0, 1.0, 1.0], 0));
        assert_eq!(Numbers::Bf16.to_f32(&[0x80, 0x3f, 0x00, 0xc0]), (vec![1.0, -2.0], 0));
    }
}
