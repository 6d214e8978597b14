//! The `flumen` command.
#![forbid(unsafe_code)]
fn main() {}
