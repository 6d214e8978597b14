//! Bulk transmission: a whole burst in one system call, all of it before anybody at the other end looks at it.
//!
//! ```text
//!   us                                             kernel, in our system call
//!   Frame --gather--> [ slot | slot | ... ]
//!                      send_gathered -------------> our program, softirqs held off:
//!                                                     for each slot: the frame's bytes into the packet at hand,
//!                                                                    bpf_clone_redirect to the interface
//!   pool <--drop--                                  softirqs: the other end of a veth receives them all
//! ```
//!
//! Why there is a second way. In copy mode the kernel makes an skb of each descriptor of the tx ring and lets softirqs run
//! behind each: on a veth pair the other end receives one packet, in a softirq of its own, before the next is
//! even made, and that costs more than all that we do to a packet. A program of the kind `sched_cls`, run by
//! BPF_PROG_TEST_RUN with softirqs held off (Linux 6.11), does the same work for the burst, then lets the other end
//! receive the burst. The call costs more to begin with and less for each packet, so that it pays from [`LEAST`] packets on.
//!
//! What is different for packets that go this way: they pass the interface's queueing discipline and its egress
//! filters (tc, netfilter) as the kernel's own do, which AF_XDP goes around. A veth has neither unless somebody gave it some,
//! and cards have better ways, so that only veth is sent to in bulk unless it is asked for.
//!
//! The program is attached to nothing and its memory is ours: both are gone with the process, however it ends.
//!
//! Invariants
//! 1. Slot `i` of the shared memory names the bytes of `frames[i]`, of [`MIN_PACKET`] to [`Bulk::longest`] of them. The frame is
//!    held for as long as the program may read them.
//! 2. They are sent whole: either the call ran the program over all of them, and they are gone, or it did not
//!    run it, and they are there for the next.

use super::options::{Kick, Refusal, Sent, SocketError, Transmit};
use super::{MIN_PACKET, Socket, close, finish_checksum};
use crate::bpf::asm::{Assembler, Cond, Instruction, Reg, Size, TooLong};
use crate::bpf::{self, LoadError};
use crate::frame::Frame;
use crate::mode::Mode;
use crate::sys;
use Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use memmap2::{MmapMut, MmapOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Packets of a call at most: a burst.
pub const SLOTS: usize = 64;

/// Packets from which on a burst is sent in bulk. On a veth of Linux 6.18 a call costs 4 µs and 0.95 µs for each packet of 60
/// bytes, 1.2 µs for each of 1,514, where the ring's costs 1.5 µs for each: that is even at eight or so. But a
/// receiver on another core begins when the ring's first packet is there, and waits for the whole burst in bulk: answers to
/// a hundred clients became fewer by a tenth with 8 and did not with 16 and 32.
pub const LEAST: usize = 24;

/// The first kernel that holds softirqs off while a program is run for us.
const SINCE: (u32, u32) = (6, 11);

/// The shared memory. Its first line: how many slots are full (from us), how many packets the kernel did not take, and what it
/// said of the last of those (from the program). Then the slots, each with the address of a packet in our memory and its
/// length. Then room for one packet, which the program copies through: it may read our memory, and write a packet of
/// the kernel's, but not from one to the other.
const HELD: usize = 0;
const LOST: usize = 4;
const ERROR: usize = 8;
const SLOT: usize = 64;
const SLOT_BYTES: usize = 16;
const SLOT_LEN: i16 = 8;
const ROOM: usize = SLOT + SLOTS * SLOT_BYTES;

/// Bytes of a packet that every kernel takes for a test run: it wants it on one page, with room at both ends.
const TEST_RUN_BYTES: usize = 2048;

/// Helpers of the kernel (`enum bpf_func_id`).
const SKB_STORE_BYTES: i32 = 9;
const CLONE_REDIRECT: i32 = 13;
const SKB_CHANGE_TAIL: i32 = 38;
const PROBE_READ_USER: i32 = 112;

/// What is said of a packet that a queueing discipline dropped (NET_XMIT_CN); one drops all of them while the
/// interface is down.
const CONGESTED: i32 = 2;

/// The program of one interface, and the memory that it shares with us.
pub(super) struct Bulk {
    program: OwnedFd,
    /// The program reads and writes it only while [`Bulk::run`] waits.
    memory: MmapMut,
    frames: Vec<Frame>,
    longest: usize,
}

impl Bulk {
    /// Loads the program for a queue of the interface with this index in the calling thread's namespace, for packets of up
    /// to `longest` bytes, and runs it once, over nothing.
    fn new(interface: u32, queue: u32, longest: usize) -> Result<Bulk, String> {
        let bytes = ROOM + longest;
        let map = bpf::create_shared_memory(bytes as u32)
            .map_err(|source| format!("no shared memory: {source}"))?;
        let code = assemble(&map, interface, queue, longest).map_err(|error| error.to_string())?;
        let program = bpf::load(&code, bpf::Kind::Bulk).map_err(|error: LoadError| error.to_string())?;
        // SAFETY: the map is ours and its descriptor goes nowhere else. Who writes to the memory besides us is the
        // program, which runs only inside our own calls.
        let memory = unsafe { MmapOptions::new().len(bytes).populate().map_mut(&map) }
            .map_err(|source| format!("the shared memory cannot be mapped: {source}"))?;
        let mut bulk = Bulk { program, memory, frames: Vec::with_capacity(SLOTS), longest };
        bulk.run().map_err(|source| format!("the kernel does not run the program: {source}"))?;
        Ok(bulk)
    }

    /// Puts a packet of [`MIN_PACKET`] to `longest` bytes into the next slot; there is one.
    #[inline]
    fn take(&mut self, frame: Frame) {
        let at = SLOT + self.frames.len() * SLOT_BYTES;
        let slot = &mut self.memory[at..at + SLOT_BYTES];
        slot[..8].copy_from_slice(&(frame.as_ptr() as u64).to_ne_bytes());
        slot[8..12].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        self.frames.push(frame);
    }

    /// Runs the program over the slots; returns how many packets the kernel did not take and what it said of the
    /// last of them.
    fn run(&mut self) -> io::Result<(u32, i32)> {
        self.put(HELD, self.frames.len() as u32);
        self.put(LOST, 0);
        // The kernel makes the packet at hand from these bytes. As long as the first of the burst, it need not grow.
        let first = self.frames.first().map_or(&[0; MIN_PACKET][..], |frame| frame);
        bpf::test_run(&self.program, &first[..first.len().min(TEST_RUN_BYTES)])?;
        Ok((self.get(LOST), self.get(ERROR) as i32))
    }

    fn get(&self, at: usize) -> u32 {
        self.memory[at..at + 4].try_into().map_or(0, u32::from_ne_bytes)
    }

    fn put(&mut self, at: usize, value: u32) {
        self.memory[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
}

impl Socket {
    /// Prepares the other way to transmit, where it is wished for and can be had; notes in the grant what was got.
    pub(super) fn prepare_bulk(&mut self, wish: Transmit, interface: &str) -> Result<(), SocketError> {
        let result = match wish {
            Transmit::Ring => return Ok(()),
            Transmit::Auto => self.why_not_bulk(interface).map_or_else(|| self.make_bulk(), Err),
            Transmit::Bulk => self.make_bulk(),
        };
        match result {
            Ok(bulk) => {
                self.bulk = Some(bulk);
                self.grant.transmit = Transmit::Bulk;
            }
            Err(why) if wish == Transmit::Auto => self.grant.no_bulk = Some(why),
            Err(why) => return Err(SocketError::BulkRefused { interface: interface.to_owned(), why }),
        }
        Ok(())
    }

    /// Why bursts are better sent by the ring; `None` when they are not.
    fn why_not_bulk(&self, interface: &str) -> Option<String> {
        let (driver, mode) = (self.grant.driver.as_str(), self.grant.got);
        if mode == Mode::ZeroCopy {
            return Some("in zero-copy mode the card itself reads the ring".to_owned());
        }
        if driver != "veth" {
            return Some(format!("it is known to be faster for veth, not for {driver}"));
        }
        match sys::kernel_version() {
            Some(version) if version >= SINCE => {}
            _ => return Some(format!("it is faster since Linux {}.{}", SINCE.0, SINCE.1)),
        }
        let index = std::ffi::CString::new(interface).ok().and_then(|name| sys::interface_index(&name).ok());
        (index != Some(self.interface_index) || !close::is_at_home(&self.fd))
            .then(|| "the interface is in another network namespace than the worker".to_owned())
    }

    fn make_bulk(&self) -> Result<Box<Bulk>, String> {
        if !close::is_at_home(&self.fd) {
            return Err("the interface is in another network namespace than the worker".to_owned());
        }
        // A packet that is longer than a chunk is a chain, which goes by the ring.
        let longest = self.max_packet.min(self.core.chunk_size());
        Bulk::new(self.interface_index, self.grant.queue, longest).map(Box::new)
    }

    /// True when `count` packets that wait are better gathered and sent in bulk, or when some are gathered already:
    /// what is in the ring goes first, so that packets stay in order.
    #[inline]
    pub fn prefers_bulk(&mut self, count: usize) -> bool {
        match &self.bulk {
            None => false,
            Some(bulk) => !bulk.frames.is_empty() || (count >= LEAST && self.tx.pending() == 0),
        }
    }

    /// True when packets are gathered that were not sent yet.
    #[inline]
    pub fn has_gathered(&self) -> bool {
        self.bulk.as_ref().is_some_and(|bulk| !bulk.frames.is_empty())
    }

    /// Adds a packet to those that the next [`Socket::send_gathered`] sends.
    ///
    /// # Errors
    /// Gives the frame back, with the reason: [`Refusal::Full`] when as many are gathered as one call sends,
    /// [`Refusal::NotInBulk`] for a packet that must go by the ring.
    #[inline]
    pub fn gather(&mut self, mut frame: Frame) -> Result<(), (Frame, Refusal)> {
        let Some(bulk) = &mut self.bulk else { return Err((frame, Refusal::NotInBulk)) };
        if bulk.frames.len() == SLOTS {
            return Err((frame, Refusal::Full));
        }
        if !frame.is_plain() {
            if frame.is_chain() {
                return Err((frame, Refusal::NotInBulk));
            }
            if let Some(request) = frame.checksum_request() {
                let (start, end) = (frame.offset(), frame.offset() + frame.len());
                if usize::from(request.start) < start || usize::from(request.field) + 2 > end {
                    return Err((frame, Refusal::BadChecksumRequest));
                }
                finish_checksum(&mut frame, request.start, request.field);
                frame.clear_checksum_request();
            }
        }
        let len = frame.len();
        if len < MIN_PACKET {
            return Err((frame, Refusal::TooShort));
        }
        if len > self.max_packet {
            return Err((frame, Refusal::TooLong));
        }
        if len > bulk.longest {
            return Err((frame, Refusal::NotInBulk)); // the MTU has grown since
        }
        bulk.take(frame);
        Ok(())
    }

    /// Sends what was gathered, in one system call.
    pub fn send_gathered(&mut self) -> Sent {
        let Some(bulk) = self.bulk.as_mut().filter(|bulk| !bulk.frames.is_empty()) else {
            return Sent { sent: 0, lost: 0, kick: Kick::Idle };
        };
        self.counters.bulk_sends += 1;
        let held = bulk.frames.len() as u32;
        match bulk.run() {
            Ok((lost, error)) => {
                bulk.frames.clear();
                let lost = lost.min(held);
                self.counters.tx_packets += u64::from(held - lost);
                self.counters.bulk_lost += u64::from(lost);
                const DOWN: i32 = -libc::ENETDOWN;
                const NO_SUCH_INTERFACE: i32 = -libc::EINVAL;
                let kick = match error {
                    _ if lost == 0 => Kick::Sent,
                    DOWN => Kick::LinkDown,
                    CONGESTED if lost == held => Kick::LinkDown,
                    NO_SUCH_INTERFACE => Kick::Gone,
                    _ => Kick::Busy,
                };
                if matches!(kick, Kick::LinkDown | Kick::Gone) {
                    self.counters.link_down += 1;
                }
                Sent { sent: held - lost, lost, kick }
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EINTR | libc::EAGAIN)) => {
                self.counters.busy += 1;
                Sent { sent: 0, lost: 0, kick: Kick::Busy }
            }
            // It ran when the socket was opened and does not run now: the ring does it from here on.
            Err(_) => {
                self.bulk = None;
                self.grant.transmit = Transmit::Ring;
                self.counters.bulk_given_up += 1;
                self.counters.bulk_lost += u64::from(held);
                Sent { sent: 0, lost: held, kick: Kick::Busy }
            }
        }
    }
}

/// The program: the packets of all slots to the interface, one behind the other.
fn assemble(map: &OwnedFd, interface: u32, queue: u32, longest: usize) -> Result<Vec<Instruction>, TooLong> {
    const LEN: i16 = -8; // on the stack
    const QUEUE_MAPPING: i16 = 12; // in struct __sk_buff
    let mut asm = Assembler::default();
    let (context, memory, index, slot) = (R6, R7, R8, R9);
    let (again, fits, judge, sent, end) = (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.copy(context, R1);
    asm.load_map_value(memory, map.as_raw_fd());
    asm.set(index, 0);
    // As if it had come by our queue, plus one: so it leaves by that, as what goes by the ring does, and stays in order
    // with it where the other end has a receiver for each queue.
    asm.set(R1, queue as i32 + 1);
    asm.store(Size::Word, context, QUEUE_MAPPING, R1);

    asm.place(again);
    asm.load(Size::Word, R1, memory, HELD as i16);
    asm.jump_if_reg(Cond::GreaterEqual, index, R1, end);
    asm.jump_if(Cond::GreaterEqual, index, SLOTS as u32, end);
    asm.copy(slot, index);
    asm.multiply(slot, SLOT_BYTES as i32);
    asm.add_reg(slot, memory);
    asm.add(slot, SLOT as i32);
    // The length is read once: the verifier believes only what was checked.
    asm.load(Size::Word, R2, slot, SLOT_LEN);
    // One that cannot be (invariant 1) would be lost, and counted.
    asm.set(R0, 1);
    asm.jump_if(Cond::Less, R2, MIN_PACKET as u32, judge);
    asm.jump_if(Cond::Greater, R2, longest as u32, judge);
    asm.store(Size::Double, R10, LEN, R2);

    // probe_read_user(the room, length, the frame's address)
    asm.copy(R1, memory);
    asm.add(R1, ROOM as i32);
    asm.load(Size::Double, R3, slot, 0);
    asm.call(PROBE_READ_USER);
    asm.jump_if(Cond::NotEqual, R0, 0, judge);

    // skb_change_tail(context, length, 0), unless it has it
    asm.load(Size::Double, R2, R10, LEN);
    asm.load(Size::Word, R1, context, 0);
    asm.jump_if_reg(Cond::Equal, R1, R2, fits);
    asm.copy(R1, context);
    asm.set(R3, 0);
    asm.call(SKB_CHANGE_TAIL);
    asm.place(fits);

    // skb_store_bytes(context, 0, the room, length, 0); it fails when the packet did not grow, for want of memory
    asm.copy(R1, context);
    asm.set(R2, 0);
    asm.copy(R3, memory);
    asm.add(R3, ROOM as i32);
    asm.load(Size::Double, R4, R10, LEN);
    asm.set(R5, 0);
    asm.call(SKB_STORE_BYTES);
    asm.jump_if(Cond::NotEqual, R0, 0, judge);

    // clone_redirect(context, interface, 0): out of it
    asm.copy(R1, context);
    asm.set(R2, interface as i32);
    asm.set(R3, 0);
    asm.call(CLONE_REDIRECT);

    asm.place(judge);
    asm.jump_if(Cond::Equal, R0, 0, sent);
    asm.store(Size::Word, memory, ERROR as i16, R0);
    asm.load(Size::Word, R1, memory, LOST as i16);
    asm.add(R1, 1);
    asm.store(Size::Word, memory, LOST as i16, R1);
    asm.place(sent);
    asm.add(index, 1);
    asm.jump(again);

    asm.place(end);
    asm.set(R0, 0);
    asm.exit();
    asm.finish()
}
