//! Ports without a card: TAPs, and VLANs of other ports.

use crate::config::problem::At;
use flumen_stack::PortId;

pub use flumen_stack::ethernet::vlan::{Priority as TagPriority, TagProtocol};

/// A TAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// The kernel's name of the interface: 1 to 15 bytes.
    pub interface: String,
    /// Where `mtu` (or else the name) stands.
    pub mtu_at: At,
}

/// A VLAN of another port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// The port with the wire, or another VLAN. Never itself.
    pub parent: PortId,
    /// Its kind of tag.
    pub protocol: TagProtocol,
    /// Its number, 1 to [`flumen_stack::limits::MAX_VLAN`].
    pub id: u16,
    /// What its frames leave with.
    pub priority: TagPriority,
}
