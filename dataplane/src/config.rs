//! The configuration: one TOML file says which ports there are, which core polls what, and where packets go.
#![doc = "`config/flumen.toml` explains every key."]

pub mod bounds;
pub mod host;
pub mod layout;
pub mod model;
pub mod problem;

pub use model::Config;
