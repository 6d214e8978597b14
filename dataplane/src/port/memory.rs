//! `memory` ports: a wire inside the process, between two ports of the same or of two workers.
//!
//! ```text
//!   worker A: transmit ── to_peer ─▶ ring ─▶ from_peer ── receive: worker B
//!                 └──────── peer_bell.ring() ────────▶ B, if it sleeps
//! ```
//! Nothing in the kernel knows of such a wire, so a worker that sleeps on its queues would not hear it. The
//! sender rings the [`Doorbell`] of the worker at the other end after each burst; when that one is awake
//! this costs a fence and a load. The handshake is the one of [`crate::handoff`]: the packets are in the
//! ring before the bell looks whether the worker sleeps, and the worker says that it sleeps before it looks
//! into the ring once more ([`crate::port::PortQueue::is_endless`]).

use crate::handoff::Doorbell;
use crate::mempool::{PoolFrame, WorkerPool};
use crate::packet_ring::{PacketReader, PacketWriter};
use flumen_stack::counters::Counters;
use flumen_stack::egress::TxQueue;
use flumen_stack::{Burst, DropReason, PortId};
use std::sync::Arc;

/// One end of the wire.
#[derive(Debug)]
pub struct MemoryPort {
    /// What the peer sends.
    pub from_peer: PacketReader,
    /// What we send.
    pub to_peer: PacketWriter,
    /// Wakes the worker at the other end; `None` when nobody sleeps there: it is our own worker, which looks
    /// into its rings before it sleeps, or none.
    pub peer_bell: Option<Arc<Doorbell>>,
}

impl MemoryPort {
    /// Takes up to `max` packets that the peer sent.
    pub fn receive(
        &mut self,
        pool: &mut WorkerPool,
        burst: &mut Burst<PoolFrame>,
        max: usize,
        counters: &mut Counters,
    ) {
        for _ in 0..max.min(burst.remaining_capacity()) {
            match self.from_peer.read(pool) {
                Some(Ok((_tag, frame))) => burst.push(frame),
                Some(Err(reason)) => counters.drop(reason),
                None => break,
            }
        }
    }

    /// Sends what waits, as much as the wire holds; the rest goes on waiting.
    pub fn transmit(
        &mut self,
        queue: &mut TxQueue<PoolFrame>,
        port: PortId,
        counters: &mut Counters,
    ) -> usize {
        let mut sent = 0;
        while let Some(frame) = queue.pop() {
            match self.to_peer.write(0, &frame) {
                Ok(()) => sent += 1,
                Err(DropReason::HandoffFull) => {
                    queue.unpop(frame);
                    break;
                }
                Err(reason) => counters.drop_unsent(port, reason),
            }
        }
        if sent > 0
            && let Some(bell) = &self.peer_bell
        {
            bell.ring();
        }
        sent
    }
}
