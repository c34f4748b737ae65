//! How the operands of a product are rounded, by name.

use burn::{
    backend::DispatchDevice,
    tensor::{Device, FloatDType, Tensor},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

/// How many bits of its operands a product of matrices sees, in an affine map or inside attention.
///
/// Only operands are rounded: the products of their entries are summed in f32, and weights, moments, norms, losses and everything
/// else stay in f32. What a product's gradients are made of is rounded in the same way, since those are products too. There is no
/// loss scaling: in f16, gradients below 6e-8 vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Nothing is rounded: 24 bits of significand. No device may use fewer.
    #[default]
    F32,
    /// 11 bits of significand and the range of f32. Numbers are stored in f32; NVIDIA's matrix units round them as they read.
    Tf32,
    /// 8 bits of significand and the range of f32.
    Bf16,
    /// 11 bits of significand, largest number 65504.
    F16,
}

impl Precision {
    /// Every precision, from most to least bits.
    pub const ALL: [Self; 4] = [Self::F32, Self::Tf32, Self::F16, Self::Bf16];

    /// Name in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The type of tensors that store such numbers.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 | Self::Tf32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// Bits of significand, the leading one included.
    pub fn bits(self) -> u32 {
        match self {
            Self::F32 => 24,
            Self::Tf32 | Self::F16 => 11,
            Self::Bf16 => 8,
        }
    }

    /// Whether products on the device can have this precision. The CPU computes in f32 and rounds operands to the half precisions
    /// before; a GPU can have those that it can store, and tf32 if it has matrix units for it.
    pub fn is_available(self, device: &Device) -> bool {
        if self == Self::F32 {
            return true;
        }
        #[allow(unreachable_patterns, reason = "which devices there are depends on the features of burn")]
        match device.clone().inner().as_dispatch() {
            #[cfg(feature = "gpu")]
            DispatchDevice::Cube(device) => can_round_to(device, self),
            DispatchDevice::Flex(_) => self != Self::Tf32,
            _ => false,
        }
    }

    /// The tensor in the type that stores such numbers, rounded if it has fewer bits.
    pub fn cast<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.cast(self.dtype())
    }
}

/// Whether a device can round the operands of products to a precision: its matrix units to tf32, everyone else by storing them.
#[cfg(feature = "gpu")]
fn can_round_to(device: &burn_cubecl::CubeDevice, precision: Precision) -> bool {
    use cubecl::ir::{ElemType, FloatKind, features::TypeUsage};

    let client = device.client();
    let has = client.properties();
    let kind = match precision {
        Precision::F32 => return true,
        Precision::Tf32 => {
            let tf32 = ElemType::Float(FloatKind::TF32);
            return has.features.matmul.cmma.iter().any(|unit| [unit.a_type, unit.b_type] == [tf32; 2]);
        }
        Precision::Bf16 => FloatKind::BF16,
        Precision::F16 => FloatKind::F16,
    };
    has.type_usage(ElemType::Float(kind)).is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
}
