//! Ports: where packets come in and go out. One enum, so that every call on the packet path is direct.
//!
//! A [`PortQueue`] is one receive/transmit pair of a port, polled by one worker. Ports of every kind deal in
//! frames of the worker's one pool ([`crate::mempool`]), so what came in by one leaves by another uncopied.

pub mod memory;
pub mod pcap;
pub mod tap;

use crate::mempool::{PoolFrame, WorkerPool};
use af_xdp::{Kick, Refusal, Socket};
use flumen_stack::counters::Counters;
use flumen_stack::egress::TxQueue;
use flumen_stack::{Burst, DropReason, Instant, PortId};
use memory::MemoryPort;
use pcap::PcapPort;
use std::os::fd::{AsFd, BorrowedFd};
use tap::TapPort;

/// What carries the packets of a queue.
#[derive(Debug)]
pub enum Port {
    /// A queue of a network interface.
    AfXdp(Box<AfXdpQueue>),
    /// Files.
    Pcap(Box<PcapPort>),
    /// A wire inside the process.
    Memory(Box<MemoryPort>),
    /// A kernel interface made of software.
    Tap(Box<TapPort>),
}

/// A socket on a queue of an interface, and how it is driven.
#[derive(Debug)]
pub struct AfXdpQueue {
    /// The socket.
    pub socket: Socket,
    /// Poll the driver on every turn (preferred busy polling) instead of waiting for its interrupt.
    pub busy_poll: bool,
    /// Frames were submitted whose kick the kernel could not take yet.
    pub kick_again: bool,
    /// The interface is gone; nothing is asked of the kernel any more.
    pub gone: bool,
}

/// One receive/transmit pair of a port.
#[derive(Debug)]
pub struct PortQueue {
    /// The port.
    pub port: PortId,
    /// Which of its queues.
    pub queue: u32,
    /// What carries its packets.
    pub carrier: Port,
}

impl PortQueue {
    /// Takes up to `max` packets that arrived.
    #[inline]
    pub fn receive(
        &mut self,
        pool: &mut WorkerPool,
        burst: &mut Burst<PoolFrame>,
        max: usize,
        counters: &mut Counters,
    ) {
        match &mut self.carrier {
            Port::AfXdp(queue) => queue.receive(burst, max),
            Port::Pcap(port) => port.receive(pool, burst, max),
            Port::Memory(port) => port.receive(pool, burst, max, counters),
            Port::Tap(port) => port.receive(pool, burst, max),
        }
    }

    /// Sends what waits in `waiting`, as much as there is room for; the rest goes on waiting. Returns the
    /// number of packets that left.
    #[inline]
    pub fn transmit(
        &mut self,
        waiting: &mut TxQueue<PoolFrame>,
        now: Instant,
        counters: &mut Counters,
    ) -> usize {
        match &mut self.carrier {
            Port::AfXdp(queue) => queue.transmit(waiting, self.port, counters),
            Port::Pcap(port) => port.transmit(waiting, self.port, now, counters),
            Port::Memory(port) => port.transmit(waiting, self.port, counters),
            Port::Tap(port) => port.transmit(waiting, self.port, counters),
        }
    }

    /// True when frames were submitted whose kick must be repeated.
    #[inline]
    pub fn wants_kick(&self) -> bool {
        matches!(&self.carrier, Port::AfXdp(queue) if queue.kick_again)
    }

    /// Takes completed frames back into the pool and gives the driver empty ones.
    #[inline]
    pub fn recycle(&mut self) {
        if let Port::AfXdp(queue) = &mut self.carrier {
            queue.recycle();
        }
    }

    /// What a sleeping worker waits for; `None` for ports that nothing can wait for.
    pub fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        match &self.carrier {
            Port::AfXdp(queue) if !queue.gone => Some(queue.socket.as_fd()),
            Port::Tap(port) if !port.gone => Some(port.wait_on()),
            _ => None,
        }
    }

    /// True when the port has packets whenever it is asked: a worker that serves it has no time to sleep.
    pub fn is_endless(&self) -> bool {
        match &self.carrier {
            Port::Pcap(port) => port.replay.as_ref().is_some_and(|replay| !replay.is_finished()),
            Port::Memory(port) => !port.from_peer.is_empty(),
            Port::AfXdp(_) | Port::Tap(_) => false,
        }
    }

    /// What is done now and then: buffered files are written.
    pub fn housekeeping(&mut self) {
        if let Port::Pcap(port) = &mut self.carrier {
            port.flush();
        }
    }

    /// The interface is gone: nothing is asked of the kernel about it any more.
    pub fn give_up(&mut self) {
        match &mut self.carrier {
            Port::AfXdp(queue) => queue.gone = true,
            Port::Tap(port) => port.gone = true,
            Port::Pcap(_) | Port::Memory(_) => {}
        }
    }
}

impl AfXdpQueue {
    #[inline]
    fn receive(&mut self, burst: &mut Burst<PoolFrame>, max: usize) {
        if self.gone {
            return;
        }
        if self.busy_poll && self.socket.busy_poll() == Kick::Gone {
            self.gone = true;
        }
        let room = max.min(burst.remaining_capacity());
        self.socket.receive(room, |frame| burst.push(PoolFrame(frame)));
    }

    #[inline]
    fn transmit(&mut self, waiting: &mut TxQueue<PoolFrame>, port: PortId, counters: &mut Counters) -> usize {
        if self.gone {
            for _ in 0..waiting.clear() {
                counters.drop_unsent(port, DropReason::PortDown);
            }
            return 0;
        }
        let mut sent = 0;
        if self.socket.prefers_bulk(waiting.len()) {
            sent = self.transmit_in_bulk(waiting, port, counters);
            // What is still gathered goes first, next turn.
            if self.gone || self.socket.has_gathered() {
                return sent;
            }
        }
        let mut pushed = 0;
        while let Some(PoolFrame(frame)) = waiting.pop() {
            match self.socket.push(frame) {
                Ok(()) => pushed += 1,
                Err((frame, Refusal::Full)) => {
                    waiting.unpop(PoolFrame(frame));
                    // Nobody else tells the kernel about a ring that filled up while the link was down.
                    self.kick_again = true;
                    break;
                }
                Err((_frame, _refusal)) => counters.drop_unsent(port, DropReason::TxRefused),
            }
        }
        if pushed > 0 {
            self.socket.submit();
        }
        if pushed > 0 || self.kick_again {
            match self.socket.kick() {
                Kick::Idle | Kick::Sent => self.kick_again = false,
                Kick::Busy => self.kick_again = true,
                Kick::LinkDown => self.kick_again = false,
                Kick::Gone => self.gone = true,
            }
        }
        sent + pushed
    }

    /// Sends what waits, a burst in a call, as long as it is worth one; returns how many packets left.
    fn transmit_in_bulk(
        &mut self,
        waiting: &mut TxQueue<PoolFrame>,
        port: PortId,
        counters: &mut Counters,
    ) -> usize {
        let mut sent = 0;
        while self.socket.prefers_bulk(waiting.len()) {
            let mut whole = true;
            while let Some(PoolFrame(frame)) = waiting.pop() {
                match self.socket.gather(frame) {
                    Ok(()) => {}
                    Err((frame, why @ (Refusal::Full | Refusal::NotInBulk))) => {
                        waiting.unpop(PoolFrame(frame));
                        whole = why == Refusal::Full;
                        break;
                    }
                    Err((_frame, _refusal)) => counters.drop_unsent(port, DropReason::TxRefused),
                }
            }
            let burst = self.socket.send_gathered();
            sent += burst.sent as usize;
            let reason = match burst.kick {
                Kick::LinkDown | Kick::Gone => DropReason::PortDown,
                Kick::Idle | Kick::Sent | Kick::Busy => DropReason::TxRefused,
            };
            for _ in 0..burst.lost {
                counters.drop_unsent(port, reason);
            }
            self.gone |= burst.kick == Kick::Gone;
            self.kick_again = self.socket.has_gathered();
            if self.gone || self.kick_again || !whole {
                break;
            }
        }
        sent
    }

    #[inline]
    fn recycle(&mut self) {
        self.socket.complete();
        self.socket.refill();
        if self.socket.wake_rx() == Kick::Gone {
            self.gone = true;
        }
    }
}
