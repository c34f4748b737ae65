//! The signal that stops this process.

use std::sync::atomic::{AtomicI32, Ordering};

/// Number of the signal; 0 if there was none.
static STOPPED_BY: AtomicI32 = AtomicI32::new(0);

/// Records a signal; returns false if another one was recorded before.
pub fn by(signal: i32) -> bool {
    STOPPED_BY.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// 128 + the number of the recorded signal; 0 if there was none.
pub fn code() -> u8 {
    match STOPPED_BY.load(Ordering::SeqCst) {
        0 => 0,
        signal => u8::try_from(128 + signal).unwrap_or(1),
    }
}
