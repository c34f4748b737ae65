//! The signal that stops this process.

use std::sync::atomic::{AtomicI32, Ordering};

/// 0 for none.
static STOPPED_BY: AtomicI32 = AtomicI32::new(0);

/// Notes a signal; false where another came before it.
pub fn by(signal: i32) -> bool {
    STOPPED_BY.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// 128 + the signal that was received; 0 when there was none.
pub fn code() -> u8 {
    match STOPPED_BY.load(Ordering::SeqCst) {
        0 => 0,
        signal => u8::try_from(128 + signal).unwrap_or(1),
    }
}
