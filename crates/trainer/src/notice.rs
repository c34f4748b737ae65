//! Notices to the user from code that has no other way to report something it found wrong and skipped.

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

static LISTENER: OnceLock<fn(&str)> = OnceLock::new();

/// Sets the listener; only the first call has an effect.
pub fn tell(listener: fn(&str)) {
    let _ = LISTENER.set(listener);
}

/// Sends a notice; equal texts are sent only once.
pub fn say(text: impl Into<String>) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let text = text.into();
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(listener) = LISTENER.get()
        && said.insert(text.clone())
    {
        listener(&text);
    }
}
