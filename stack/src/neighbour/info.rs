//! A neighbour as `show neighbour` tells it.

use super::NeighbourId;
use crate::{Instant, MacAddr, PortId};
use core::net::IpAddr;

/// The states of RFC 4861 section 7.3.2, UNREACHABLE of RFC 7048, and Linux's NONE (here NEW), FAILED and PERMANENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Bound, and never used: nobody was asked (Linux's NONE).
    New,
    /// Asked; packets wait for the answer.
    Incomplete,
    /// Confirmed not long ago.
    Reachable,
    /// The address is known, its truth is not; the next packet starts to find out.
    Stale,
    /// A packet went to it; perhaps an upper layer will say that it arrived.
    Delay,
    /// Nobody said so: it is being asked.
    Probe,
    /// It did not answer, and packets go to it all the same while everybody is asked for it, ever more seldom (RFC 7048;
    /// IPv6 only).
    Unreachable,
    /// It did not answer.
    Failed,
    /// Set by configuration.
    Permanent,
}

impl State {
    /// True in the states that know an Ethernet address.
    pub const fn has_link_address(self) -> bool {
        match self {
            State::Reachable
            | State::Stale
            | State::Delay
            | State::Probe
            | State::Unreachable
            | State::Permanent => true,
            State::New | State::Incomplete | State::Failed => false,
        }
    }

    /// The name as `ip neighbour` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            State::New => "NONE",
            State::Incomplete => "INCOMPLETE",
            State::Reachable => "REACHABLE",
            State::Stale => "STALE",
            State::Delay => "DELAY",
            State::Probe => "PROBE",
            State::Unreachable => "UNREACHABLE",
            State::Failed => "FAILED",
            State::Permanent => "PERMANENT",
        }
    }
}

/// A copy of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Its name.
    pub id: NeighbourId,
    /// The port it is behind.
    pub port: PortId,
    /// Its IP address.
    pub addr: IpAddr,
    /// Its Ethernet address, in the states that know it.
    pub mac: Option<MacAddr>,
    /// The state.
    pub state: State,
    /// It said that it is a router (IPv6 only).
    pub router: bool,
    /// Solicitations since the state began.
    pub probes: u8,
    /// Packets that wait for it.
    pub waiting: usize,
    /// When its state or Ethernet address changed last.
    pub updated: Instant,
    /// When it was last known to be reachable.
    pub confirmed: Option<Instant>,
}
