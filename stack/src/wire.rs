//! Bytes ↔ fields, for every protocol that the stack speaks; no policy and no state.
//!
//! Every file has the same skeleton, so that one that is known makes all known:
//!
//! ```text
//!   constants        lengths in bytes, numbers from the IANA registries
//!   Header           the fixed header as it lies on the wire: zero-copy, unaligned, big-endian fields
//!   Header::parse    bytes -> (&Header, the bytes behind it), or whose fault it is as a small Error
//!   Header::check…   the checks that the RFC demands before any field may be trusted
//!   Header::emit     writes the header at the front of a buffer -> the bytes behind it
//!   options, bodies  iterators and views over what follows; they always end, whatever the bytes
//!   tests            a real packet field by field, every truncation, emit ↔ parse
//! ```
//!
//! Fields that are whole bytes are public under their standard names (multi-byte ones are read with `.get()`);
//! fields of a few bits have methods. Lengths and offsets are in bytes, whatever unit the wire uses.
//! Nothing here panics, whatever the bytes: `tests/fuzz_wire.rs` tries.

pub mod address;
pub mod arp;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip_protocol;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extension;
pub mod ndp;
pub mod tcp;
pub mod udp;
pub mod udplite;

pub use ip_protocol::IpProtocol;

/// The buffer is too small for what was to be written: the caller's fault, and a larger one helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the buffer is too small for the packet")]
pub struct BufferTooSmall;
