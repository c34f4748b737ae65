//! Inputs dropped at random, by a seed that lies where the device reads it.

#[cfg(feature = "gpu")]
mod gpu;

use burn::tensor::{Device, Tensor};
#[cfg(feature = "gpu")]
use burn::tensor::{Int, TensorData};

/// Seed of what is dropped. On a GPU it lies in its memory too, where it stays when it is set anew: launches that read it are then
/// replayed with the new one.
#[derive(Clone, Debug)]
pub struct DropSeed {
    value: u64,
    #[cfg(feature = "gpu")]
    there: Option<Tensor<1, Int>>,
}

impl DropSeed {
    /// A seed for tensors on a device.
    pub fn new(value: u64, device: &Device) -> Self {
        #[cfg(not(feature = "gpu"))]
        let _ = device;
        Self {
            value,
            #[cfg(feature = "gpu")]
            there: crate::is_cube(device).then(|| Tensor::from_data(halves(value), &device.clone().inner())),
        }
    }

    /// The seed.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Another seed in place of this one, for all who hold a copy of it on a GPU.
    pub fn set(&mut self, value: u64) {
        self.value = value;
        #[cfg(feature = "gpu")]
        if let Some(there) = &mut self.there {
            crate::overwrite(there, halves(value));
        }
    }
}

/// Both halves of a seed, the lower first.
#[cfg(feature = "gpu")]
fn halves(seed: u64) -> TensorData {
    TensorData::from([seed as u32, (seed >> 32) as u32].map(u32::cast_signed))
}

/// Each number of x set to zero with a probability p, and the others multiplied by 1/(1 − p); on a GPU that
/// [counts launches](crate::counts_launches), and `None` elsewhere.
///
/// Number i is dropped if the first word of pcg4d(i, `number`, both halves of the seed) is below p 2³², so that masks of different
/// numbers are independent. The backward pass makes the mask again instead of keeping it.
///
/// # References
/// Srivastava et al. 2014, JMLR 15; the hash: Jarzynski, Olano 2020, "Hash functions for GPU rendering", JCGT 9 (3).
pub fn dropped<const D: usize>(x: &Tensor<D>, seed: &DropSeed, number: u32, probability: f64) -> Option<Tensor<D>> {
    #[cfg(feature = "gpu")]
    {
        seed.there.as_ref().map(|there| gpu::dropped(x.clone(), there, number, probability))
    }
    #[cfg(not(feature = "gpu"))]
    {
        let _ = (x, seed, number, probability);
        None
    }
}
