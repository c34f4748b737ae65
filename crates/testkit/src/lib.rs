//! What several test suites need: devices to test on, and closeness with a reason when it fails. A development dependency only.
