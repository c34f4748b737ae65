//! Kernel launches, counted where they are issued.
//!
//! On a GPU a small step costs what its launches cost, whatever they compute.

/// What a piece of work returns, and the kernels it launched from this thread, in order, by the names they give themselves.
///
/// A launch counts when it is issued, whether or not it has run by then. Copies between host and device are no launches, nor is
/// anything on a device without kernels, such as the CPU.
///
/// # Panics
/// When the work counts launches itself.
#[cfg(feature = "gpu")]
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    watch::during(work)
}

/// What a piece of work returns; this build has no device with kernels.
#[cfg(not(feature = "gpu"))]
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    (work(), Vec::new())
}

#[cfg(feature = "gpu")]
mod watch {
    use std::{
        cell::RefCell,
        sync::{Arc, OnceLock},
    };

    use cubecl::logging::{LaunchObservation, LaunchObserver};

    thread_local! {
        /// What this thread launched since it began to count.
        static ISSUED: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
    }

    struct ByThread;

    impl LaunchObserver for ByThread {
        fn launched(&self, kernel: &'static str) {
            ISSUED.with_borrow_mut(|issued| issued.as_mut().map(|issued| issued.push(kernel)));
        }
    }

    /// The process has one observer; it stays, so that threads may count at the same time.
    static OBSERVATION: OnceLock<LaunchObservation> = OnceLock::new();

    pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
        OBSERVATION.get_or_init(|| LaunchObservation::new(Arc::new(ByThread)));
        let before = ISSUED.replace(Some(Vec::new()));
        assert!(before.is_none(), "launches are being counted already");
        let result = work();
        (result, ISSUED.take().unwrap_or_default())
    }
}
