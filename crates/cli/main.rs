//! The `headway` command.

use std::process::ExitCode;

use headway_trainer::memory;

/// Training allocates and frees large buffers at every step; a caching allocator keeps them.
#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

fn main() -> ExitCode {
    headway::main()
}
