//! Words for whoever is watching, from code that has nobody else to hand them to: what was found amiss and passed over.

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

static LISTENER: OnceLock<fn(&str)> = OnceLock::new();

/// Names who is told. The first call counts.
pub fn tell(listener: fn(&str)) {
    let _ = LISTENER.set(listener);
}

/// Says something, once however often it is found.
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
