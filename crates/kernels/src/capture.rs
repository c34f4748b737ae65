//! Launches captured once and replayed: by CUDA as one graph of the driver's, by wgpu as prepared dispatches that are encoded again.
//!
//! While a capture is open, launches are noted down and not run. They may make memory only where what ran before left some, and
//! neither read nor write from the host; what cannot be captured makes the capture fail. Numbers that change from replay to replay are
//! put where the launches read them: [`overwrite`](crate::overwrite).

use std::cell::Cell;

use burn::{
    backend::{Backend, BackendGraph, Dispatch, ExecutionError},
    tensor::{Device, Tensor},
};

thread_local! {
    /// Whether this thread captures.
    static OPEN: Cell<bool> = const { Cell::new(false) };
}

/// Whether launches of this thread are noted down and not run.
#[cfg(all(feature = "gpu", feature = "autotune"))]
pub(crate) fn is_open() -> bool {
    OPEN.get()
}

/// Launches that a device repeats.
#[derive(Debug)]
pub struct Captured {
    device: Device,
    graph: BackendGraph<Dispatch>,
}

/// Says that launches like those of the work that follows are going to be captured from this thread: what they need is then kept.
///
/// # Errors
/// A device that captures nothing, or is at it already, in its words.
pub fn prepare(device: &Device) -> Result<(), String> {
    Dispatch::graph_prepare(device.clone().inner().as_dispatch()).map_err(|error| said(&error))
}

/// Takes back [`prepare`].
pub fn forget(device: &Device) {
    // That nothing was captured is what it reports, and what is wanted.
    drop(Dispatch::graph_stop_capture(device.clone().inner().as_dispatch()));
}

impl Captured {
    /// Captures what `work` launches from this thread, with what it returns. Nothing of it is run. The device must be
    /// [prepared](prepare), and must have done the same work before.
    ///
    /// # Errors
    /// Why the device did not capture it, in its words. Whatever the work was to write is then lost.
    pub fn new<T>(device: &Device, work: impl FnOnce() -> T) -> Result<(Self, T), String> {
        let device = device.clone().inner();
        Dispatch::graph_start_capture(device.as_dispatch()).map_err(|error| said(&error))?;
        OPEN.set(true);
        let result = work();
        OPEN.set(false);
        let graph = Dispatch::graph_stop_capture(device.as_dispatch()).map_err(|error| said(&error))?;
        Ok((Self { device, graph }, result))
    }

    /// Runs the launches again, on the memory that they were captured with: what they read is what lies there now. To be called
    /// from the thread that captured them.
    ///
    /// # Errors
    /// That the device failed, in its words. What the launches were to write is then lost.
    pub fn replay(&self) -> Result<(), String> {
        // SAFETY: while the graph lives, the device keeps all memory that its launches were given, and gives none of what was free at
        // the capture to others; it may hold the wrong numbers, but it is there. Work of other threads does not touch it meanwhile, as
        // burn's own streams order it.
        unsafe { Dispatch::graph_replay(self.device.as_dispatch(), &self.graph) }.map_err(|error| said(&error))
    }
}

/// What an error says of its innermost cause; what follows it is where in the library it arose.
fn said(error: &ExecutionError) -> String {
    let text = error.to_string();
    let cause = text.rsplit("Caused by:").next().unwrap_or_default().trim();
    cause.lines().next().unwrap_or_default().to_owned()
}

/// Where a tensor's numbers lie in the memory of a GPU, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place([u64; 3]);

impl Place {
    /// That of a tensor; `None` for one that is not on a GPU.
    #[cfg(feature = "gpu")]
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        use burn::backend::{BackendTensor, DispatchTensorKind};
        let DispatchTensorKind::Cube(BackendTensor::Float(tensor)) = tensor.clone().inner().into_dispatch().kind else {
            return None;
        };
        let (id, start, end) = tensor.handle.clone().binding().claim_key();
        Some(Self([id.value as u64, start, end]))
    }

    /// That of a tensor: this build has no GPU.
    #[cfg(not(feature = "gpu"))]
    pub fn of<const D: usize>(_tensor: &Tensor<D>) -> Option<Self> {
        None
    }
}
