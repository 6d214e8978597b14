//! `memory` ports: a wire inside the process, between two ports of the same or of two workers.

use crate::mempool::{PoolFrame, WorkerPool};
use crate::packet_ring::{PacketReader, PacketWriter};
use flumen_stack::counters::Counters;
use flumen_stack::egress::TxQueue;
use flumen_stack::{Burst, DropReason};

/// One end of the wire.
#[derive(Debug)]
pub struct MemoryPort {
    /// What the peer sends.
    pub from_peer: PacketReader,
    /// What we send.
    pub to_peer: PacketWriter,
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
    pub fn transmit(&mut self, queue: &mut TxQueue<PoolFrame>, counters: &mut Counters) -> usize {
        let mut sent = 0;
        while let Some(frame) = queue.pop() {
            match self.to_peer.write(0, &frame) {
                Ok(()) => sent += 1,
                Err(DropReason::HandoffFull) => {
                    queue.unpop(frame);
                    break;
                }
                Err(reason) => counters.drop(reason),
            }
        }
        sent
    }
}
