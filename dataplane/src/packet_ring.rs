//! A bounded ring of packets between two threads: one writer, one reader, no locks.
//!
//! Packets cross by copy, because each worker's frames belong to its own pool. The ring is one of bytes
//! (`rtrb`), so that a short packet takes little room; each packet is a record:
//!
//! ```text
//!   tag u16 | length u16 (both in native order: both ends are this process) | packet
//! ```
//!
//! Handoff between workers and `memory` ports are made of these.

use crate::mempool::{PoolFrame, WorkerPool};
use flumen_stack::{DropReason, Frame};
use rtrb::{Consumer, Producer, RingBuffer};

/// Bytes of ring for each packet of the capacity asked for: an Ethernet frame of 1500 bytes with its record
/// header fits, so a ring of `n` packets holds at least `n` of those.
const BYTES_PER_PACKET: usize = 2048;

/// Bytes in front of every packet in a ring.
const RECORD_HEADER: usize = 4;

/// The longest packet of a port: the largest MTU, a link header, and two VLAN tags.
pub const MAX_PACKET: usize = flumen_stack::limits::MAX_MTU as usize + 22;

/// The longest packet that fits a record: any of IP, for a datagram that was put together of fragments may be for a socket of
/// another worker.
pub const MAX_RECORD: usize = u16::MAX as usize;

/// The writing end.
#[derive(Debug)]
pub struct PacketWriter(Producer<u8>);

/// The reading end.
#[derive(Debug)]
pub struct PacketReader {
    ring: Consumer<u8>,
    joined: Box<[u8]>,
}

/// A ring with room for at least `packets` packets of 1500 bytes, and for two of the longest that a port has.
pub fn packet_ring(packets: usize) -> (PacketWriter, PacketReader) {
    let size = packets.saturating_mul(BYTES_PER_PACKET).max(2 * (MAX_PACKET + RECORD_HEADER));
    let (writer, reader) = RingBuffer::new(size);
    (PacketWriter(writer), PacketReader { ring: reader, joined: vec![0; MAX_RECORD].into_boxed_slice() })
}

impl PacketWriter {
    /// Copies a packet into the ring under a tag. It fails with [`DropReason::TxRefused`] for a packet that
    /// is longer than [`MAX_RECORD`] and with [`DropReason::HandoffFull`] when there is no room now.
    pub fn write(&mut self, tag: u16, frame: &impl Frame) -> Result<(), DropReason> {
        let len = frame.packet_len();
        if len > MAX_RECORD {
            return Err(DropReason::TxRefused);
        }
        let Ok(mut chunk) = self.0.write_chunk(RECORD_HEADER + len) else {
            return Err(DropReason::HandoffFull);
        };
        let (first, second) = chunk.as_mut_slices();
        let [low, high] = (len as u16).to_ne_bytes();
        let [tag_low, tag_high] = tag.to_ne_bytes();
        let mut out = Scatter { first, second };
        out.put(&[tag_low, tag_high, low, high]);
        let mut index = 0;
        while let Some(segment) = frame.segment(index) {
            out.put(segment);
            index += 1;
        }
        chunk.commit_all();
        Ok(())
    }
}

/// Two slices written one behind the other.
struct Scatter<'a> {
    first: &'a mut [u8],
    second: &'a mut [u8],
}

impl Scatter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (head, tail) = bytes.split_at(bytes.len().min(self.first.len()));
        fill(&mut self.first, head);
        fill(&mut self.second, tail);
    }
}

/// Copies `bytes` to the start of `room` and leaves what is behind them in it.
fn fill(room: &mut &mut [u8], bytes: &[u8]) {
    let (now, later) = core::mem::take(room).split_at_mut(bytes.len());
    now.copy_from_slice(bytes);
    *room = later;
}

impl PacketReader {
    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The next packet and its tag, copied into a frame of this worker's pool; `None` when nothing waits.
    /// When the pool has no frame the packet is lost: [`DropReason::NoFrame`].
    pub fn read(&mut self, pool: &mut WorkerPool) -> Option<Result<(u16, PoolFrame), DropReason>> {
        let (tag, len) = self.record()?;
        // The writer committed header and packet together, so the packet is there.
        let chunk = self.ring.read_chunk(len).ok()?;
        let frame = match chunk.as_slices() {
            (whole, []) => pool.frame(whole),
            pieces => {
                join(pieces, &mut self.joined[..len]);
                pool.frame(&self.joined[..len])
            }
        };
        chunk.commit_all();
        Some(frame.map(|frame| (tag, frame)).ok_or(DropReason::NoFrame))
    }

    /// Takes the next packet off the ring and forgets it: its tag and its length in bytes.
    pub fn skip(&mut self) -> Option<(u16, usize)> {
        let (tag, len) = self.record()?;
        self.ring.read_chunk(len).ok()?.commit_all();
        Some((tag, len))
    }

    /// True when the writing end is gone: what is in the ring now is all that ever will be.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Takes a record header off the ring: tag and length.
    #[inline]
    fn record(&mut self) -> Option<(u16, usize)> {
        let mut header = [0u8; RECORD_HEADER];
        let chunk = self.ring.read_chunk(RECORD_HEADER).ok()?;
        join(chunk.as_slices(), &mut header);
        chunk.commit_all();
        let [tag_low, tag_high, low, high] = header;
        Some((u16::from_ne_bytes([tag_low, tag_high]), usize::from(u16::from_ne_bytes([low, high]))))
    }
}

fn join((first, second): (&[u8], &[u8]), into: &mut [u8]) {
    let (head, tail) = into.split_at_mut(first.len());
    head.copy_from_slice(first);
    tail.copy_from_slice(second);
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_stack::FramePool;
    use flumen_stack::frame::heap::HeapPool;

    fn pool() -> WorkerPool {
        let config = af_xdp::PoolConfig { chunks: 16, ..af_xdp::PoolConfig::default() };
        WorkerPool(af_xdp::Pool::new(&config).unwrap())
    }

    #[test]
    fn packets_of_all_lengths_cross_in_order_around_the_end_of_the_ring() {
        let (mut writer, mut reader) = packet_ring(1);
        let (mut heap, mut pool) = (HeapPool::new(8, 4096), pool());
        for round in 0..500usize {
            let packet: Vec<u8> = (0..round * 37 % 9000).map(|n| (n ^ round) as u8).collect();
            writer.write(round as u16, &heap.frame(&packet).unwrap()).unwrap();
            let (tag, frame) = reader.read(&mut pool).unwrap().unwrap();
            assert_eq!(usize::from(tag), round);
            let mut got = Vec::new();
            let mut index = 0;
            while let Some(segment) = frame.segment(index) {
                got.extend_from_slice(segment);
                index += 1;
            }
            assert_eq!(got, packet);
        }
        assert!(reader.is_empty() && pool.available() == 16);
    }

    #[test]
    fn a_full_ring_refuses_and_a_packet_beyond_the_limit_is_refused() {
        let (mut writer, mut reader) = packet_ring(1);
        let (mut heap, mut pool) = (HeapPool::new(8, 4096), pool());
        let longest = heap.frame(&vec![1; MAX_PACKET]).unwrap();
        assert_eq!(writer.write(1, &longest), Ok(()));
        assert_eq!(writer.write(2, &longest), Ok(()));
        assert_eq!(writer.write(3, &longest), Err(DropReason::HandoffFull));
        assert_eq!(reader.read(&mut pool).unwrap().unwrap().0, 1);
        assert_eq!(writer.write(3, &longest), Ok(()), "room again");
    }

    #[test]
    fn the_longest_datagram_crosses_a_ring_for_many_packets() {
        let (mut writer, mut reader) = packet_ring(64);
        let mut heap = HeapPool::new(64, 4096);
        let config = af_xdp::PoolConfig { chunks: 64, ..af_xdp::PoolConfig::default() };
        let mut pool = WorkerPool(af_xdp::Pool::new(&config).unwrap());
        let longest = heap.frame(&vec![1; MAX_RECORD]).unwrap();
        assert_eq!(writer.write(1, &longest), Ok(()));
        assert_eq!(reader.read(&mut pool).unwrap().unwrap().1.packet_len(), MAX_RECORD);
        drop(longest);
        let beyond = heap.frame(&vec![1; MAX_RECORD + 1]).unwrap();
        assert_eq!(writer.write(4, &beyond), Err(DropReason::TxRefused));
    }

    #[test]
    fn an_empty_pool_loses_the_packet_with_a_reason_and_the_next_one_arrives() {
        let (mut writer, mut reader) = packet_ring(4);
        let (mut heap, mut pool) = (HeapPool::new(8, 4096), pool());
        writer.write(1, &heap.frame(&[1]).unwrap()).unwrap();
        writer.write(2, &heap.frame(&[2]).unwrap()).unwrap();
        let all: Vec<_> = core::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!(reader.read(&mut pool).unwrap().unwrap_err(), DropReason::NoFrame);
        drop(all);
        assert_eq!(reader.read(&mut pool).unwrap().unwrap().0, 2);
    }
}
