//! Signatures of segments, for routing sessions: the MD5 option (RFC 2385), and the authentication option,
//! TCP-AO (RFC 5925, RFC 5926), which replaces it.
//!
//! ```text
//!                          KeyTable (of a listener, or of a socket that will connect)
//!                             │ by the peer's address: an MD5 key, or AO keys by their ids
//!   SYN ──verify──> request ──┴──> SYN-ACK signed           for_connection()
//!                                                                 │
//!   segment ──verify──> Connection <── ConnectionKeys { Md5(key) | Ao(keys, traffic keys, extensions) } ──sign──> segment
//! ```
//! A signature covers the pseudo-header, the TCP header and the data. Both options use [`Signed`] to name
//! those bytes. What covers a segment is decided by the peer's address alone, so that a segment without its
//! signature is refused before anything else looks at it:
//!
//! | key for the peer | option in the segment | verdict                     |
//! |------------------|-----------------------|-----------------------------|
//! | none             | none                  | fine                        |
//! | none             | MD5 or AO             | refused, as in Linux        |
//! | MD5              | none, AO, wrong       | refused                     |
//! | AO               | none, MD5, wrong, unknown key id | refused          |
//!
//! MD5 and SHA-1 are old; here they are used as the RFCs demand, keyed, for peers that speak nothing else.

mod ao;
mod connection;
mod md5;
mod segment;
mod table;

pub use ao::{Algorithm, AoKey, BadKey, TrafficKey};
pub use connection::{AoConnection, AoKeys, ConnectionKeys};
pub use md5::Md5Key;
pub use segment::{SignatureOption, Signed};
pub use table::{KeyTable, Prefix, RequestSignature, TableFull};

/// Bytes of an AO or MD5 option that go behind kind and length.
pub const MD5_LEN: u8 = 16;
/// Key ids and a MAC of 12 bytes.
pub const AO_LEN: u8 = 14;

/// Why a segment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It carries no signature, and must.
    Missing,
    /// It carries one of a kind that was not agreed.
    Unexpected,
    /// There is no key of its id.
    UnknownKey,
    /// The signature is wrong.
    Wrong,
    /// It carries two signatures, or one of a wrong length.
    Malformed,
}
