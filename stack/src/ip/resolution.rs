//! What the neighbour table asks for: solicitations to send, packets to release or to end (row O10).

use crate::ethernet::{self, LinkCast};
use crate::frame::{Frame, FramePool};
use crate::icmp;
use crate::ip::output::ethertype_of;
use crate::limits::NEIGHBOUR_FACTS;
use crate::neighbour::{Action, Solicit};
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6};
use core::net::IpAddr;

impl<F: Frame> Stack<F> {
    /// Does what the neighbour table asks for, until it asks for nothing more. It ends: an error about a
    /// packet that could not be delivered may itself wait for a neighbour, but errors cause no errors.
    #[inline]
    pub(crate) fn settle_neighbours<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        while let Some(action) = self.neighbours.next_action() {
            match action {
                Action::Solicit(solicit) => self.solicit(turn, &solicit),
                Action::Release { frame, header, port, .. } => self.release(turn, port, frame, &header),
                Action::Unreachable { frame, port } => self.tell_unreachable(turn, port, &frame),
                Action::Drop { reason, .. } => self.counters.drop(reason),
                Action::Learned(fact) => {
                    // One that finds no room is made up for by what the others hear themselves.
                    if self.facts.len() < NEIGHBOUR_FACTS {
                        self.facts.push_back(fact);
                    }
                }
            }
        }
    }

    fn solicit<P, M>(&mut self, turn: &mut Turn<'_, P, M>, solicit: &Solicit)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        match solicit.target {
            IpAddr::V4(target) => ipv4::arp::solicit(self, turn, solicit, target),
            IpAddr::V6(target) => ipv6::nd::solicit(self, turn, solicit, target),
        }
    }

    fn release<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, mut frame: F, header: &[u8; 14])
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let ethertype = ethertype_of(&frame);
        if ethernet::push_header_for(&mut frame, header, ethertype) {
            turn.egress.send(port, frame, &mut self.counters);
        } else {
            self.counters.drop(DropReason::NoHeadroom);
        }
    }

    /// RFC 1812 section 5.2.7.1, RFC 4861 section 7.2.2: the source of a packet whose neighbour on `port` does not
    /// answer is told. When that is us, the error goes to the socket through memory, as on Linux: who opens a connection to
    /// a host that is not there need not wait for its last SYN.
    fn tell_unreachable<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, frame: &F)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.counters.drop(DropReason::NeighbourUnreachable);
        // Where a packet in transit came in matters for link-local sources alone, and those are never forwarded; ours are
        // of the port that they were to leave by.
        let arrival = (port, LinkCast::Unicast);
        match frame.first().map(|first| first >> 4) {
            Some(4) => {
                icmp::v4::send_error(self, turn, frame, arrival, icmp::v4::Error::HOST_UNREACHABLE);
            }
            Some(6) => {
                icmp::v6::send_error(self, turn, frame, arrival, icmp::v6::Error::ADDRESS_UNREACHABLE);
            }
            _ => {}
        }
    }
}
