//! Numbers on their way from a device to the host, while both go on.

#[cfg(feature = "gpu")]
use std::thread::JoinHandle;

use burn::tensor::Tensor;

/// The numbers of a few small tensors, as they are at the moment of [`Reading::begin`]. On a GPU, whoever begins does not wait for the
/// work that is still queued: the copies stand in the queue behind it, and a thread of their own waits for them.
#[derive(Debug)]
pub struct Reading(Numbers);

#[derive(Debug)]
enum Numbers {
    Here(Vec<f32>),
    #[cfg(feature = "gpu")]
    Coming(JoinHandle<Vec<f32>>),
}

impl Reading {
    /// Begins to read tensors of one number each.
    ///
    /// # Panics
    /// When the device fails, or the system starts no thread; when autodiff follows a tensor.
    pub fn begin(tensors: Vec<Tensor<1>>) -> Self {
        #[cfg(feature = "gpu")]
        if tensors.first().is_some_and(|tensor| crate::is_cube(&tensor.device())) {
            return Self(gpu::begin(tensors));
        }
        Self(Numbers::Here(tensors.into_iter().map(|tensor| host(tensor.try_into_scalar())).collect()))
    }

    /// Whether [`Reading::end`] would not wait.
    pub fn is_here(&self) -> bool {
        match &self.0 {
            Numbers::Here(_) => true,
            #[cfg(feature = "gpu")]
            Numbers::Coming(thread) => thread.is_finished(),
        }
    }

    /// The numbers.
    ///
    /// # Panics
    /// When the device fails.
    pub fn end(self) -> Vec<f32> {
        match self.0 {
            Numbers::Here(numbers) => numbers,
            #[cfg(feature = "gpu")]
            Numbers::Coming(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}

/// What was read.
fn host<T, E: std::fmt::Display>(read: Result<T, E>) -> T {
    read.unwrap_or_else(|error| panic!("the device failed while its memory was read: {error}"))
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::{sync::mpsc::channel, thread};

    use burn::{
        backend::{BackendTensor, DispatchTensorKind},
        tensor::{DType, StreamId, Tensor},
    };
    use burn_cubecl::tensor::CubeTensor;

    use super::{Numbers, host};

    /// The tensor beneath one that no gradient follows.
    fn beneath(tensor: Tensor<1>) -> CubeTensor {
        assert!(tensor.dtype() == DType::F32 && tensor.dims() == [1], "one number, in f32");
        match tensor.into_dispatch().kind {
            DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
            other => panic!("all are on one GPU, not {other:?}"),
        }
    }

    pub(super) fn begin(tensors: Vec<Tensor<1>>) -> Numbers {
        let tensors: Vec<CubeTensor> = tensors.into_iter().map(beneath).collect();
        let client = tensors[0].client.clone();
        let handles = tensors.into_iter().map(|tensor| tensor.handle).collect();
        let (queue, (queued, is_queued)) = (StreamId::current(), channel());
        let thread = thread::spawn(move || {
            // A thread has a queue of its own, but the copies belong behind the work that was queued so far, and before any further.
            let coming = queue.executes(|| client.read_async(handles));
            let _ = queued.send(());
            let read = host(cubecl::future::block_on(coming));
            read.iter().map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        });
        // Without an answer the thread panicked, which whoever ends the reading is told.
        let _ = is_queued.recv();
        Numbers::Coming(thread)
    }
}
