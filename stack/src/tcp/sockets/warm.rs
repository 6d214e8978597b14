//! Many connections: what a burst's segments will touch is asked from memory before the first of them is worked on.
//!
//! ```text
//!   burst ─> names of all ─> seats of all ─> connections of all ─> then one segment after the other
//!            (one miss each, at once)        (a few each, at once)  (all there)
//! ```
//!
//! A segment of a connection that the caches do not hold waits for memory a dozen times, once for its names and then for
//! each part of the connection, and each wait is longer than the work itself. The processor overlaps loads that do not
//! depend on each other, but it does not look far enough ahead to reach the next segment; so the loads of a whole burst
//! are made in a row here. Nothing is decided: what is read is thrown away, and looked up again in its turn.
//!
//! It costs a few dozen instructions a segment, which a few connections, all in the cache, would pay for nothing: so it is
//! done from [`WARM_FROM`] names on.

use super::names::Seat;
use super::{Entry, TcpSockets};
use crate::burst::Burst;
use crate::frame::Frame;
use crate::ip::path::Path;
use crate::limits::{BURST, WARM_FROM};
use crate::route::{Flow4, Flow6};
use crate::tcp::demux::{KeyV4, KeyV6, key_v4, key_v6};
use arrayvec::ArrayVec;
use core::hint::black_box;

/// TCP's number among the IP protocols.
const TCP: u8 = super::build::TCP;

impl TcpSockets {
    /// True when names and connections are more than caches hold.
    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        self.names.len() >= WARM_FROM
    }

    /// Asks memory for the connections of the IPv4 segments of a burst that are for us. `keys` and `paths` are those of the
    /// frames, place by place.
    #[inline(never)]
    pub(crate) fn warm4<F: Frame>(&self, burst: &Burst<F>, keys: &[Flow4], paths: &[Path]) {
        let mut names: ArrayVec<KeyV4, BURST> = ArrayVec::new();
        for ((frame, key), path) in burst.iter().zip(keys).zip(paths) {
            // Nearly all headers are of twenty bytes; others are found without help.
            if let Path::Local = path
                && let Some(packet) = frame.first_chunk::<24>()
                && packet[0] == 0x45
                && packet[9] == TCP
            {
                let [.., a, b, c, d] = *packet;
                let (theirs, ours) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                names.push(key_v4(key.destination, ours, key.source, theirs));
            }
        }
        let mut seats = [None; BURST];
        self.names.get_burst_v4(&names, &mut seats);
        self.warm_places(connections(&seats));
    }

    /// The same for IPv6 segments without extension headers.
    #[inline(never)]
    pub(crate) fn warm6<F: Frame>(&self, burst: &Burst<F>, keys: &[Flow6], paths: &[Path]) {
        let mut names: ArrayVec<KeyV6, BURST> = ArrayVec::new();
        for ((frame, key), path) in burst.iter().zip(keys).zip(paths) {
            if let Path::Local = path
                && let Some(packet) = frame.first_chunk::<44>()
                && packet[6] == TCP
            {
                let [.., a, b, c, d] = *packet;
                let (theirs, ours) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                names.push(key_v6(key.destination, ours, key.source, theirs, 0));
            }
        }
        let mut seats = [None; BURST];
        self.names.get_burst_v6(&names, &mut seats);
        self.warm_places(connections(&seats));
    }

    /// Asks memory for the connections at these places.
    pub(super) fn warm_places(&self, places: impl Iterator<Item = usize>) {
        let mut touched = 0;
        for entry in places.filter_map(|place| self.entries.look(place)) {
            touched ^= entry.touch();
        }
        black_box(touched);
    }
}

/// The places of those seats that are connections'.
fn connections(seats: &[Option<Seat>]) -> impl Iterator<Item = usize> {
    seats.iter().filter_map(|seat| match seat {
        Some(Seat::Connection(place)) => Some(*place as usize),
        _ => None,
    })
}

impl Entry {
    /// Reads a little of everything that a segment needs.
    #[inline]
    fn touch(&self) -> u64 {
        self.connection.touch()
            ^ u64::from(self.way.generation)
            ^ self.filed.nanos()
            ^ u64::from(self.tuple.local_port)
            ^ u64::from(self.is_ready)
    }
}
