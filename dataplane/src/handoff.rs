//! Handoff: how a packet reaches the worker that owns its flow or its port, when it arrived at another.
//!
//! Between every two workers lies one bounded ring of bytes in each direction, with one writer and one
//! reader, and beside it a ring of neighbour facts. Workers have pools of their own, so a packet that
//! crosses is copied once into the ring and once out of it: the price of the rare stray, not of the common
//! packet. A full ring drops the packet with its reason ([`DropReason::HandoffFull`]); a fact that does not
//! fit is lost and heals at the next retransmission.
//!
//! A reader that sleeps is woken by its [`Doorbell`]. The writer stores the record (Release, in the ring),
//! then a sequentially consistent fence, then reads `sleeping`; the reader stores `sleeping`, fences, then
//! looks at its rings once more before it sleeps. So one of the two always sees the other.

use crate::mempool::{PoolFrame, WorkerPool};
use crate::packet_ring::{PacketReader, PacketWriter, packet_ring};
use core::sync::atomic::{AtomicBool, Ordering, fence};
use flumen_stack::ethernet::LinkCast;
use flumen_stack::ip::handover::Delivery;
use flumen_stack::neighbour::Fact;
use flumen_stack::{DropReason, Frame, PortId};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::EventfdFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Facts that a ring holds; they are rare (one for each ARP or ND packet) and small.
const FACTS: usize = 1024;

/// What the other worker shall do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Take it as received on the port: the flow is the other worker's.
    Receive,
    /// Transmit it on the port: the port is the other worker's.
    Transmit,
    /// Deliver it (from its IP header on), which was received on the port, to sockets of the other worker.
    Deliver(Delivery),
}

/// ```text
///   15 │ 14 │ 13    │ 12       │ … 0
///   errand  │ group │ raw only │ port
/// ```
impl Errand {
    const TRANSMIT: u16 = 1 << 15;
    const DELIVER: u16 = 1 << 14;
    const GROUP: u16 = 1 << 13;
    const RAW_ONLY: u16 = 1 << 12;

    fn tag(self, port: PortId) -> u16 {
        let either = |on: bool, bit: u16| if on { bit } else { 0 };
        let errand = match self {
            Errand::Receive => 0,
            Errand::Transmit => Self::TRANSMIT,
            Errand::Deliver(Delivery { cast, raw_only }) => {
                Self::DELIVER
                    | either(cast == LinkCast::Group, Self::GROUP)
                    | either(raw_only, Self::RAW_ONLY)
            }
        };
        errand | port.index() as u16
    }

    fn from_tag(tag: u16) -> Option<(Errand, PortId)> {
        let port = PortId::new(usize::from(tag & (Self::RAW_ONLY - 1)))?;
        let cast = if tag & Self::GROUP == 0 { LinkCast::Unicast } else { LinkCast::Group };
        let errand = match tag & (Self::TRANSMIT | Self::DELIVER) {
            0 => Errand::Receive,
            Self::TRANSMIT => Errand::Transmit,
            _ => Errand::Deliver(Delivery { cast, raw_only: tag & Self::RAW_ONLY != 0 }),
        };
        Some((errand, port))
    }
}

/// Wakes a worker that sleeps.
#[derive(Debug)]
pub struct Doorbell {
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Doorbell {
    /// A doorbell of a worker that is awake.
    pub fn new() -> std::io::Result<Arc<Doorbell>> {
        let event = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Doorbell { sleeping: AtomicBool::new(false), event }))
    }

    /// Rings when the worker sleeps or is about to; costs a fence and a load when it is awake.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            // A full counter (EAGAIN) means that it rings already.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// The worker is about to sleep: from now on writers ring. It must look at its rings once more.
    pub fn going_to_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake again; what rang until now is forgotten.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// The writing end of the rings to one other worker.
#[derive(Debug)]
pub struct Sender {
    packets: PacketWriter,
    facts: Producer<Fact>,
    bell: Arc<Doorbell>,
    written: bool,
}

/// The reading end of the rings from one other worker.
#[derive(Debug)]
pub struct Receiver {
    packets: PacketReader,
    facts: Consumer<Fact>,
}

/// Rings from one worker to another with room for at least `packets` packets; `bell` is the reader's.
pub fn channel(packets: usize, bell: Arc<Doorbell>) -> (Sender, Receiver) {
    let (packets_in, packets_out) = packet_ring(packets);
    let (facts_in, facts_out) = RingBuffer::new(FACTS);
    let sender = Sender { packets: packets_in, facts: facts_in, bell, written: false };
    (sender, Receiver { packets: packets_out, facts: facts_out })
}

impl Sender {
    /// Copies a packet into the ring, for the other worker to do `errand` with at `port`.
    pub fn send(&mut self, errand: Errand, port: PortId, frame: &impl Frame) -> Result<(), DropReason> {
        self.packets.write(errand.tag(port), frame)?;
        self.written = true;
        Ok(())
    }

    /// Tells the other worker what a neighbour said. False when the ring is full.
    pub fn tell(&mut self, fact: Fact) -> bool {
        self.written = true;
        self.facts.push(fact).is_ok()
    }

    /// Rings the doorbell once if anything was written since the last call.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.written) {
            self.bell.ring();
        }
    }
}

impl Receiver {
    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.facts.is_empty()
    }

    /// The next packet, copied into a frame of this worker's pool. `Some(Err(..))`: one was there, and the
    /// pool had no frame for it.
    pub fn receive(
        &mut self,
        pool: &mut WorkerPool,
    ) -> Option<Result<(Errand, PortId, PoolFrame), DropReason>> {
        match self.packets.read(pool)? {
            Ok((tag, frame)) => Errand::from_tag(tag).map(|(errand, port)| Ok((errand, port, frame))),
            Err(reason) => Some(Err(reason)),
        }
    }

    /// True when the writer is gone: what is in the rings now is all that ever will be.
    pub fn is_abandoned(&self) -> bool {
        self.packets.is_abandoned()
    }

    /// Empties the ring without taking frames: `each` is told what was to be done with each packet, at which
    /// port, and its length in bytes.
    pub fn give_up(&mut self, mut each: impl FnMut(Errand, PortId, usize)) {
        while let Some((tag, bytes)) = self.packets.skip() {
            if let Some((errand, port)) = Errand::from_tag(tag) {
                each(errand, port, bytes);
            }
        }
        while self.facts.pop().is_ok() {}
    }

    /// The next fact.
    pub fn fact(&mut self) -> Option<Fact> {
        self.facts.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_and_its_port_come_out_of_the_tag_that_they_went_into() {
        let delivery = |cast, raw_only| Errand::Deliver(Delivery { cast, raw_only });
        for errand in [
            Errand::Receive,
            Errand::Transmit,
            delivery(LinkCast::Unicast, false),
            delivery(LinkCast::Group, false),
            delivery(LinkCast::Unicast, true),
            delivery(LinkCast::Group, true),
        ] {
            for port in (0..flumen_stack::limits::MAX_PORTS).filter_map(PortId::new) {
                assert_eq!(Errand::from_tag(errand.tag(port)), Some((errand, port)));
            }
        }
    }
}
