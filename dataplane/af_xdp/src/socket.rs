//! A socket: one queue of one interface, bound to a worker's pool.
//!
//! ```text
//!   receive   pool --refill--> fill ring --> kernel, NIC --> rx ring --receive--> Frame --> ...
//!   transmit  ... --> Frame --push, submit--> tx ring --kick--> kernel, NIC --> completion ring --complete--> pool
//!             ... --> Frame --gather--> slots --send_gathered--> kernel          (`bulk`, where it is faster)
//! ```
//!
//! Every socket registers the pool's region for itself rather than sharing one registration
//! (XDP_SHARED_UMEM): then no socket depends on another one's life or order, each has its own flags, and a port
//! can come and go while others run. Speed is the same; pinned pages are counted once per registration, unless the
//! process has CAP_IPC_LOCK.
//!
//! Who may touch a chunk, and when it comes back after the socket is closed: see [`crate::socket::close`].
//!
//! Invariants
//! 1. Chunks in the rings = (filled - received) + (pushed - completed), from the rings' cursors, which start at 0.
//! 2. Every descriptor that we submit is one that the kernel accepts, because it does not complete the ones that
//!    it refuses: their chunks would be lost.

pub mod bulk;
pub mod close;
pub mod options;
mod setup;

use crate::frame::Frame;
use crate::mode::Grant;
use crate::ring::{CONTINUED, Consumer, Descriptor, HAS_METADATA, Producer};
use crate::sqpoll::SqPoll;
use crate::sys;
use crate::umem::{Handle, MAX_SEGMENTS, NONE, Place, TX_METADATA_BYTES};
use options::{Counters, Kick, LinkState, Refusal, Statistics};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::attach::XskMap;

/// The shortest packet that is transmitted, in bytes: an Ethernet header.
pub const MIN_PACKET: usize = 14;

/// Kicks in one [`Socket::kick`] at most. Without XDP_MAX_TX_SKB_BUDGET the kernel's copy mode sends 32 packets a
/// call, so that this many calls send four bursts of 64; the next turn sends what is left.
const KICKS: usize = 8;

/// Chunks that the fill ring must be able to take before it is topped up: a store to a cache line that the
/// kernel reads is worth it for half a burst, not for one chunk.
const REFILL: u32 = 32;

/// An AF_XDP socket on one queue of an interface. It stays on its pool's thread.
pub struct Socket {
    rx: ManuallyDrop<Consumer<Descriptor>>,
    fill: ManuallyDrop<Producer<u64>>,
    tx: ManuallyDrop<Producer<Descriptor>>,
    completion: ManuallyDrop<Consumer<u64>>,
    core: Handle,
    /// The place of the chunks in our rings.
    rings: Place,
    max_packet: usize,
    assembly: Assembly,
    counters: Counters,
    fd: ManuallyDrop<OwnedFd>,
    need_wakeup: bool,
    sqpoll: Option<SqPoll>,
    grant: Grant,
    interface_index: u32,
    bulk: Option<Box<bulk::Bulk>>,
    /// An ordinary socket in the interface's namespace: AF_XDP ones answer no questions about interfaces.
    control: OwnedFd,
    map: Option<Arc<XskMap>>,
}

/// A chain that is being received.
enum Assembly {
    /// Between packets.
    Idle,
    /// Segments so far, and the last one's chunk.
    Building { head: Frame, tail: u32, segments: usize },
    /// The packet is given up; its remaining segments are dropped.
    Skipping,
}

impl Socket {
    /// Takes up to `max` descriptors off the rx ring and hands `each` packet over; returns how many packets that
    /// were. A packet of several chunks comes as one chain.
    #[inline]
    pub fn receive(&mut self, max: usize, mut each: impl FnMut(Frame)) -> usize {
        let ready = self.rx.ready(u32::try_from(max).unwrap_or(u32::MAX));
        if ready == 0 {
            return 0;
        }
        // The headers of the whole burst are on their way to the cache before the first one is looked at.
        for index in 0..ready {
            if let Some((chunk, offset)) = self.core.locate(self.rx.peek(index).address) {
                // SAFETY: chunk and offset are in range as `locate` returned them; nothing is read.
                prefetch(unsafe { self.core.at(chunk, offset) });
            }
        }
        let core = self.core.as_ptr();
        let chunk_size = self.core.chunk_size();
        let mut packets = 0;
        for _ in 0..ready {
            let descriptor = self.rx.take();
            let len = descriptor.len as usize;
            let Some((chunk, offset)) = self
                .core
                .locate(descriptor.address)
                .filter(|at| at.1 + len <= chunk_size && self.core.is_in(at.0, self.rings))
            else {
                self.counters.rx_bad_descriptors += 1;
                continue;
            };
            self.core.moved(chunk, self.rings, Place::HELD);
            // SAFETY: the kernel gave the chunk, which we had put into the fill ring, back through the rx ring, and
            // `take` stepped over the slot: it is ours and nobody else's. Its place was just checked.
            let frame = unsafe { Frame::own(core, chunk, offset, len) };
            if descriptor.options & CONTINUED == 0 && matches!(self.assembly, Assembly::Idle) {
                packets += 1;
                each(frame);
            } else if let Some(chain) = self.assemble(frame, descriptor.options & CONTINUED != 0) {
                packets += 1;
                each(chain);
            }
        }
        self.rx.release();
        self.core.leave_rings(ready);
        self.counters.rx_packets += packets as u64;
        packets
    }

    /// Tops the fill ring up from the pool; returns how many chunks went into it.
    #[inline]
    pub fn refill(&mut self) -> usize {
        let least = REFILL.min(self.fill.size() / 2);
        let room = self.fill.room(least);
        if room < least {
            return 0;
        }
        let mut filled = 0;
        while filled < room {
            let Some(chunk) = self.core.take(self.rings) else {
                self.counters.refill_short += 1;
                break;
            };
            if !self.fill.push(self.core.address(chunk, 0)) {
                self.core.give_back(chunk, self.rings);
                break;
            }
            filled += 1;
        }
        self.core.enter_rings(filled);
        self.fill.submit();
        filled as usize
    }

    /// Tx slots that are free.
    #[inline]
    pub fn room(&mut self) -> usize {
        let all = self.tx.size();
        self.tx.room(all) as usize
    }

    /// Writes a packet into the tx ring; the kernel sees it after the next [`Socket::submit`]. A chain goes in whole
    /// or not at all.
    ///
    /// # Errors
    /// Gives the frame back, with the reason.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), (Frame, Refusal)> {
        if !frame.is_plain() {
            return self.push_special(frame);
        }
        let len = frame.len();
        if len < MIN_PACKET {
            return Err((frame, Refusal::TooShort));
        }
        if len > self.max_packet {
            return Err((frame, Refusal::TooLong));
        }
        if !frame.belongs_to(self.core.as_ptr()) {
            return Err((frame, Refusal::OtherPool));
        }
        let address = self.core.address(frame.chunk(), frame.offset());
        if !self.tx.push(Descriptor { address, len: len as u32, options: 0 }) {
            return Err((frame, Refusal::Full));
        }
        self.core.moved(frame.chunk(), Place::HELD, self.rings);
        self.core.enter_rings(1);
        self.counters.tx_packets += 1;
        frame.into_ring();
        Ok(())
    }

    /// Shows the kernel what was pushed. In copy mode it sends only when it is kicked.
    #[inline]
    pub fn submit(&mut self) {
        self.tx.submit();
    }

    /// Pushes packets as long as there is room, and submits them; returns how many. Nothing is taken from `frames`
    /// once the ring is full. A packet that cannot be transmitted goes to `refused` with the reason.
    pub fn transmit(
        &mut self,
        frames: &mut impl Iterator<Item = Frame>,
        mut refused: impl FnMut(Frame, Refusal),
    ) -> usize {
        let mut pushed = 0;
        while self.tx.room(1) > 0 {
            let Some(frame) = frames.next() else { break };
            match self.push(frame) {
                Ok(()) => pushed += 1,
                Err((frame, why)) => refused(frame, why),
            }
        }
        self.submit();
        pushed
    }

    /// Makes the kernel transmit what is submitted, with a system call only when there is something and the kernel
    /// asks for it. Not being able to now is not an error: the packets stay in the ring.
    #[inline]
    pub fn kick(&mut self) -> Kick {
        if self.tx.pending() == 0 || (self.need_wakeup && !self.tx.needs_wakeup()) {
            return Kick::Idle;
        }
        if let Some(sqpoll) = &mut self.sqpoll {
            return sqpoll.kick(&mut self.counters);
        }
        let mut result = Kick::Sent;
        for _ in 0..KICKS {
            self.counters.kicks += 1;
            result = self.judge(sys::send_nothing(self.fd.as_raw_fd()));
            // Busy with something left is what copy mode says when its budget for one call is used up.
            if result != Kick::Busy || self.tx.pending() == 0 {
                break;
            }
        }
        result
    }

    /// Takes transmitted chunks off the completion ring, back into the pool; returns how many.
    #[inline]
    pub fn complete(&mut self) -> usize {
        let ready = self.completion.ready(u32::MAX);
        if ready == 0 {
            return 0;
        }
        for _ in 0..ready {
            match self.core.locate(self.completion.take()) {
                // The chunk was in the tx ring, and the kernel is done with it.
                Some((chunk, _)) if self.core.is_in(chunk, self.rings) => {
                    self.core.give_back(chunk, self.rings);
                }
                _ => self.counters.tx_bad_completions += 1,
            }
        }
        self.completion.release();
        self.core.leave_rings(ready);
        ready as usize
    }

    /// Makes the kernel look at the fill ring again, when it asks for it (zero-copy drivers that ran out of chunks).
    #[inline]
    pub fn wake_rx(&mut self) -> Kick {
        if !self.need_wakeup || !self.fill.needs_wakeup() { Kick::Idle } else { self.busy_poll() }
    }

    /// One receive call: what drives the queue when preferred busy polling is on.
    #[inline]
    pub fn busy_poll(&mut self) -> Kick {
        self.counters.rx_wakeups += 1;
        let result = sys::receive_nothing(self.fd.as_raw_fd());
        self.judge(result)
    }

    /// Looks whether the interface is there and up. System calls: for a thread that watches, not for one that
    /// forwards.
    pub fn state(&mut self) -> LinkState {
        close::link_state(&self.fd, &self.control, self.interface_index)
    }

    /// The kernel's counters of this socket.
    ///
    /// # Errors
    /// Whatever the kernel says; nothing is expected.
    pub fn statistics(&self) -> io::Result<Statistics> {
        setup::statistics(&self.fd)
    }

    /// Our own counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was asked for and what was granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Longest packet to transmit, in bytes with the link header. At first the interface's MTU and 18 bytes for
    /// Ethernet with a VLAN tag; to be set again when the MTU changes.
    pub fn set_max_packet(&mut self, bytes: usize) {
        self.max_packet = bytes;
    }

    /// Kicks through an io_uring whose kernel thread does the system call for us.
    ///
    /// # Errors
    /// When the ring cannot be made.
    pub fn use_sqpoll(&mut self, options: &crate::sqpoll::SqPollOptions) -> io::Result<()> {
        self.sqpoll = Some(SqPoll::new(&self.fd, options)?);
        Ok(())
    }

    /// Chunks in this socket's rings, or with the kernel between them (invariant 1).
    pub fn chunks_in_rings(&self) -> u32 {
        let receiving = self.fill.cursor().wrapping_sub(self.rx.cursor());
        let transmitting = self.tx.cursor().wrapping_sub(self.completion.cursor());
        receiving.wrapping_add(transmitting)
    }

    /// The segment of a chain, or of one that was given up. Returns the whole packet with its last segment.
    #[cold]
    fn assemble(&mut self, frame: Frame, more: bool) -> Option<Frame> {
        let next = match std::mem::replace(&mut self.assembly, Assembly::Idle) {
            Assembly::Idle => Assembly::Building { tail: frame.chunk(), head: frame, segments: 1 },
            Assembly::Building { mut head, tail, segments } if segments < MAX_SEGMENTS => {
                let (chunk, offset, len) = (frame.chunk(), frame.offset(), frame.len());
                head.push_segment(tail, chunk, offset, len);
                frame.into_ring(); // not into a ring, into the chain: its handle goes, its chunk stays ours
                Assembly::Building { head, tail: chunk, segments: segments + 1 }
            }
            Assembly::Building { .. } => {
                self.counters.rx_broken_chains += 1;
                Assembly::Skipping
            }
            Assembly::Skipping => Assembly::Skipping,
        };
        match next {
            Assembly::Building { head, .. } if !more => Some(head),
            next => {
                if more {
                    self.assembly = next;
                }
                None
            }
        }
    }

    /// A chain, or a packet with a checksum request.
    #[cold]
    fn push_special(&mut self, mut frame: Frame) -> Result<(), (Frame, Refusal)> {
        if let Err(why) = self.judge_special(&frame) {
            return Err((frame, why));
        }
        let mut options = 0;
        if let Some(request) = frame.checksum_request() {
            if self.grant.tx_checksum && !frame.is_chain() {
                let start = request.start - frame.offset() as u16;
                self.write_metadata(&frame, start, request.field - request.start);
                options |= HAS_METADATA;
            } else {
                finish_checksum(&mut frame, request.start, request.field);
                frame.clear_checksum_request();
            }
        }
        let chained = |next: u32| if next == NONE { 0 } else { CONTINUED };
        let address = self.core.address(frame.chunk(), frame.offset());
        let options = options | chained(frame.next_chunk());
        let mut pushed = self.tx.push(Descriptor { address, len: frame.len() as u32, options });
        self.core.moved(frame.chunk(), Place::HELD, self.rings);
        let mut count = 1;
        for (chunk, link) in frame.rest() {
            let address = self.core.address(chunk, link.offset.into());
            let options = chained(link.next);
            pushed &= self.tx.push(Descriptor { address, len: link.len.into(), options });
            self.core.moved(chunk, Place::HELD, self.rings);
            count += 1;
        }
        debug_assert!(pushed, "room was checked");
        self.core.enter_rings(count);
        self.counters.tx_packets += 1;
        frame.into_ring();
        Ok(())
    }

    fn judge_special(&mut self, frame: &Frame) -> Result<(), Refusal> {
        let segments = frame.segments();
        if frame.len() < MIN_PACKET || frame.rest().any(|(_, link)| link.len == 0) {
            return Err(Refusal::TooShort);
        }
        if frame.packet_len() > self.max_packet {
            return Err(Refusal::TooLong);
        }
        if !frame.belongs_to(self.core.as_ptr()) {
            return Err(Refusal::OtherPool);
        }
        if frame.is_chain() && !self.grant.multi_buffer {
            return Err(Refusal::ChainNotOffered);
        }
        if segments > MAX_SEGMENTS {
            return Err(Refusal::TooManySegments);
        }
        if let Some(request) = frame.checksum_request() {
            let (start, end) = (frame.offset(), frame.offset() + frame.len());
            if usize::from(request.start) < start || usize::from(request.field) + 2 > end {
                return Err(Refusal::BadChecksumRequest);
            }
        }
        if (self.tx.room(segments as u32) as usize) < segments {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Writes the request where the kernel looks for it: right in front of the packet.
    fn write_metadata(&self, frame: &Frame, start: u16, offset: u16) {
        const CHECKSUM_FLAG: u64 = 1 << 1; // XDP_TXMD_FLAGS_CHECKSUM
        let mut metadata = [0u8; TX_METADATA_BYTES];
        metadata[..8].copy_from_slice(&CHECKSUM_FLAG.to_ne_bytes());
        metadata[8..10].copy_from_slice(&start.to_ne_bytes());
        metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
        let at = frame.offset() - TX_METADATA_BYTES; // a frame with a request stays behind the pool's reserve
        // SAFETY: those bytes are in the frame's own chunk, in front of the packet.
        unsafe {
            self.core.at(frame.chunk(), at).copy_from_nonoverlapping(metadata.as_ptr(), metadata.len())
        };
    }

    fn judge(&mut self, result: io::Result<()>) -> Kick {
        let Err(error) = result else { return Kick::Sent };
        let kick = Kick::of(&error);
        match kick {
            Kick::LinkDown | Kick::Gone => self.counters.link_down += 1,
            _ => self.counters.busy += 1,
        }
        kick
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl core::fmt::Debug for Socket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Socket")
            .field("grant", &self.grant)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Finishes a checksum in software where the port does not: `start` and `field` are offsets in the first chunk, and
/// the field holds the folded sum of the pseudo-header (RFC 1071: the sum is taken over it, then complemented).
fn finish_checksum(frame: &mut Frame, start: u16, field: u16) {
    let skip = usize::from(start) - frame.offset();
    let field = usize::from(field) - frame.offset();
    let mut sum = 0u64;
    let mut odd = false;
    for index in 0..frame.segments() {
        let Some(bytes) = frame.segment(index) else { break };
        for byte in &bytes[if index == 0 { skip } else { 0 }..] {
            sum += if odd { u64::from(*byte) } else { u64::from(*byte) << 8 };
            odd = !odd;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !(sum as u16);
    // A sum of zero is sent as its other form, as the kernel does: for UDP, zero says "no checksum" (RFC 768).
    let sum = if sum == 0 { 0xffff } else { sum };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Asks the cache for the line at `address`.
#[inline]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing and cannot fault.
    unsafe {
        core::arch::x86_64::_mm_prefetch(address.cast(), core::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};

    /// The sum of the packet from `start` on, as a receiver checks it (RFC 1071): all ones when it is right.
    fn sum(bytes: &[u8]) -> u16 {
        let words =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum + (sum >> 16)) as u16
    }

    #[test]
    fn a_checksum_finished_in_software_is_right_over_one_chunk_and_over_a_chain_of_odd_pieces() {
        let pool = Pool::new(&PoolConfig { chunks: 8, ..PoolConfig::default() }).unwrap();
        for tail in [&[][..], &[1, 2, 3, 4, 5]] {
            let mut frame = pool.frame(&(0..61).collect::<Vec<u8>>()).unwrap();
            frame[20..22].copy_from_slice(&[0x12, 0x34]); // the folded sum of the pseudo-header
            if !tail.is_empty() {
                frame.chain(pool.frame(tail).unwrap()).unwrap();
            }
            let at = frame.offset() as u16;
            finish_checksum(&mut frame, at + 14, at + 20);
            let mut bytes = [0; 100];
            let len = frame.copy_to(&mut bytes);
            // What a receiver adds is the pseudo-header, which the field held before.
            let with_pseudo =
                [&bytes[14..len], if len.is_multiple_of(2) { &[][..] } else { &[0] }, &[0x12, 0x34]].concat();
            assert_eq!(sum(&with_pseudo), 0xffff, "{} bytes behind", tail.len());
        }
    }
}
