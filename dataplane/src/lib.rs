//! The Flumen service: see the binary `flumen`.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
