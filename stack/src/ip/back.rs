//! The way back to who sent a packet, for what answers it (ICMP errors, echo replies): by a neighbour, or, when we sent it
//! ourselves, in memory.

use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::ip::path::{Hop, Refusal};
use crate::ip::policy::Outgoing;
use crate::port::PortId;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};

/// How an answer leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back {
    /// The neighbour; `None`: it was us.
    pub(crate) hop: Option<Hop>,
    /// The port that it leaves by, or would come in by.
    pub(crate) port: PortId,
    /// The longest packet that gets through.
    pub(crate) mtu: u16,
}

impl<F: Frame> Stack<F> {
    /// The way of an answer, to whom something came in from on `port`.
    pub(crate) fn way_back(
        &mut self,
        now: Instant,
        answer: &Outgoing,
        port: PortId,
    ) -> Result<Back, Refusal> {
        if let Some(port) = self.owner_of(answer.destination, Some(port)) {
            return Ok(Back { hop: None, port, mtu: self.frame_room });
        }
        let (hop, _) = self.route_own(now, answer, port)?;
        Ok(Back { hop: Some(hop), port: hop.port, mtu: hop.mtu })
    }

    /// Sends an answer (from its IP header on). To ourselves it is delivered at the end of the turn.
    pub(crate) fn send_back<P, M>(&mut self, turn: &mut Turn<'_, P, M>, frame: F, back: Back)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        match back.hop {
            Some(hop) if frame.first().is_some_and(|first| first >> 4 == 4) => {
                crate::ipv4::output::send(self, turn, frame, hop);
            }
            Some(hop) => crate::ipv6::output::send(self, turn, frame, hop),
            // Its beginning was counted: as an error of ours, or as the packet that it was before it was turned round.
            None => self.loop_back(back.port, LinkCast::Unicast, frame),
        }
    }
}
