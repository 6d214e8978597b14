//! Ports, as the stack names them: a small number, the same on every worker.

/// An interface of the data plane: its place in the configuration's list of ports, from 0, below
/// [`crate::limits::MAX_PORTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u16);

impl PortId {
    /// The first port, which every data plane has.
    pub const FIRST: PortId = PortId(0);

    /// The port at `index`; `None` when that is beyond [`crate::limits::MAX_PORTS`].
    pub const fn new(index: usize) -> Option<PortId> {
        if index < crate::limits::MAX_PORTS { Some(PortId(index as u16)) } else { None }
    }

    /// The place in the list of ports.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl core::fmt::Display for PortId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "port {}", self.0)
    }
}
