//! Packets that belong to another worker of this node, because what they are for lives there ([`crate::socket::homes`]).
//!
//! ```text
//!   this worker                                         the other one
//!   local delivery ── no socket here ──> Stray ─┐
//!   a group, and no socket here ───────> Stray ─┼─ ring ─> Stack::take_over ─> TCP, UDP, ICMP
//!   raw sockets are there ── a copy ───> Stray ─┘                          └─> raw sockets alone, for a copy
//! ```
//! Who hands over has looked at the IP header and decided that the packet is for this node: the other worker does neither
//! again. So what is true of packets to ourselves only (loopback addresses, our own as source) needs no exception there,
//! a packet to a group is not forwarded twice, and raw sockets hear each packet once.

use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::igmp::IGMP;
use crate::ip::flow;
use crate::limits::STRAYS;
use crate::multicast::forward::copy_of;
use crate::port::PortId;
use crate::raw::{ICMP, ICMPV6};
use crate::socket::homes::RAW_HOME;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::udp;
use crate::verdict::DropReason;
use crate::{ipv4, ipv6};

/// The protocol number of TCP.
const TCP: u8 = 6;

/// How a packet that is handed over is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How it was addressed on the link.
    pub cast: LinkCast,
    /// It is a copy, for raw sockets alone.
    pub raw_only: bool,
}

/// A packet for another worker of this node.
#[derive(Debug)]
pub struct Stray<F> {
    /// The worker.
    pub worker: usize,
    /// The port that it came in by.
    pub port: PortId,
    /// What is to be done with it.
    pub delivery: Delivery,
    /// The packet; byte 0 is the first of the IP header.
    pub frame: F,
}

impl<F: Frame> Stack<F> {
    /// The next packet that belongs to another worker; to be asked for after each [`Stack::input`], [`Stack::timers`] and
    /// [`Stack::output`]. The caller counts where it went.
    #[inline]
    pub fn next_stray(&mut self) -> Option<Stray<F>> {
        self.strays.pop_front()
    }

    /// A packet (from its IP header on) goes to another worker, whose socket it is for.
    #[cold]
    pub(crate) fn hand_over(&mut self, worker: usize, port: PortId, cast: LinkCast, frame: F) {
        let delivery = Delivery { cast, raw_only: false };
        self.stray(Stray { worker, port, delivery, frame });
    }

    fn stray(&mut self, stray: Stray<F>) {
        if self.strays.len() < STRAYS {
            self.strays.push_back(stray);
        } else {
            self.drop_received(stray.port, DropReason::HandoffFull);
        }
    }

    /// A copy of a packet for raw sockets of another worker. (That of a packet for which there is no frame is not made, and
    /// counted.)
    #[cold]
    pub(crate) fn hand_over_raw_copy<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        port: PortId,
        cast: LinkCast,
        packet: &F,
    ) where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.counters.count(Counter::RawCopies);
        match copy_of(turn.pool, packet) {
            Some(frame) => {
                let delivery = Delivery { cast, raw_only: true };
                self.stray(Stray { worker: RAW_HOME, port, delivery, frame });
            }
            None => self.counters.drop(DropReason::NoFrame),
        }
    }

    /// True when a packet to a group, whose upper layer begins at `offset`, may be for sockets of another worker: those of its
    /// port live there, or raw sockets of its protocol. Whether they joined the group is known there.
    #[cold]
    pub(crate) fn is_group_elsewhere(&self, protocol: u8, offset: usize, packet: &[u8]) -> bool {
        let number = || packet.get(offset..)?.get(2..4)?.first_chunk().copied();
        match protocol {
            // We would answer for a group that nobody joined.
            TCP | ICMP | ICMPV6 | IGMP => false,
            other => match udp::Protocol::of_number(other) {
                Some(protocol) => number()
                    .is_some_and(|number| self.udp.elsewhere(protocol, u16::from_be_bytes(number)).is_some()),
                None => self.raw.is_raw_elsewhere(other),
            },
        }
    }

    /// Delivers what other workers handed to this one.
    pub fn take_over<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        packets: impl Iterator<Item = (PortId, Delivery, F)>,
    ) where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.begin_burst();
        for (port, Delivery { cast, raw_only }, frame) in packets {
            self.counters.count(Counter::TakenOver);
            match frame.first().map(|first| first >> 4) {
                Some(4) if frame.len() >= ipv4::HEADER_LEN => {
                    let (source, destination) = (flow::source4(&frame), flow::destination4(&frame));
                    let arrival = ipv4::input::Arrival { frame, source, destination, port, cast };
                    ipv4::local::take_over(self, turn, arrival, raw_only);
                }
                Some(6) if frame.len() >= ipv6::HEADER_LEN => {
                    let (source, destination) = (flow::source6(&frame), flow::destination6(&frame));
                    let arrival = ipv6::input::Arrival { frame, source, destination, port, cast };
                    ipv6::local::take_over(self, turn, arrival, raw_only);
                }
                _ => self.drop_received(port, DropReason::Ipv4Truncated),
            }
        }
        self.settle_neighbours(turn);
    }
}
