//! The bpf(2) system call: maps, programs, links, test runs. No ELF, no compiler, no library.

pub mod asm;

use crate::sys;
use asm::Instruction;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// The values of an array can be mapped into a process.
const MAPPABLE: u32 = 1 << 10;

/// The program can take packets of several buffers (BPF_F_XDP_HAS_FRAGS).
const HAS_FRAGS: u32 = 1 << 5;
/// Attach in the kernel's generic path (XDP_FLAGS_SKB_MODE).
pub(crate) const SKB_MODE: u32 = 1 << 1;
/// Attach in the driver (XDP_FLAGS_DRV_MODE).
pub(crate) const DRIVER_MODE: u32 = 1 << 2;

/// Bytes of the verifier's log that are kept: its last lines say what is wrong, and 64 KiB hold a program of the
/// largest size that we make.
const LOG_BYTES: usize = 64 * 1024;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kern_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// # Safety
/// `T` is the attribute of `command`, and the addresses in it point to memory of the sizes that it states.
unsafe fn bpf<T>(command: i32, attribute: &mut T) -> io::Result<i32> {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: the caller's promise; the pointer and the size describe the attribute.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
    sys::check(result as libc::c_int)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: bpf(2) returned a new descriptor (close-on-exec), which is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes a map from queue number to AF_XDP socket.
pub(crate) fn create_xsk_map(queues: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        name: *b"flumen_xsks\0\0\0\0\0",
        ..Default::default()
    };
    // SAFETY: the attribute of this command, without addresses.
    unsafe { bpf(MAP_CREATE, &mut attribute) }.map(owned)
}

/// Makes an array of one element of `bytes` bytes, which can be mapped.
pub(crate) fn create_shared_memory(bytes: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapCreate {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: bytes,
        max_entries: 1,
        map_flags: MAPPABLE,
        name: *b"flumen_bulk\0\0\0\0\0",
        ..Default::default()
    };
    // SAFETY: the attribute of this command, without addresses.
    unsafe { bpf(MAP_CREATE, &mut attribute) }.map(owned)
}

/// Puts a socket into the slot of a queue.
pub(crate) fn map_insert(map: RawFd, queue: u32, socket: RawFd) -> io::Result<()> {
    let value = socket as u32;
    let mut attribute = MapElement {
        map_fd: map as u32,
        key: std::ptr::from_ref(&queue) as u64,
        value: std::ptr::from_ref(&value) as u64,
        ..Default::default()
    };
    // SAFETY: key and value are 4 bytes each, as the map was made.
    unsafe { bpf(MAP_UPDATE, &mut attribute) }.map(drop)
}

/// Empties the slot of a queue.
pub(crate) fn map_remove(map: RawFd, queue: u32) -> io::Result<()> {
    let mut attribute =
        MapElement { map_fd: map as u32, key: std::ptr::from_ref(&queue) as u64, ..Default::default() };
    // SAFETY: the key is 4 bytes, as the map was made.
    unsafe { bpf(MAP_DELETE, &mut attribute) }.map(drop)
}

/// A program that the kernel refused, and its verifier's last words.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the {kind} program: {source}{}", last_lines(.log))]
pub struct LoadError {
    /// What it was for.
    pub kind: &'static str,
    /// What bpf(2) said.
    pub source: io::Error,
    /// The verifier's log; empty when it did not get that far.
    pub log: String,
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(4).collect();
    lines.into_iter().rev().map(|line| format!("\n  {line}")).collect()
}

/// What a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sees what arrives at an interface, before the kernel does.
    Xdp {
        /// It can take packets of several buffers.
        multi_buffer: bool,
    },
    /// Sends what is in shared memory; attached to nothing.
    Bulk,
}

/// Loads a program. It is loaded silently at first; only a refused one is tried again with the log.
pub(crate) fn load(program: &[Instruction], kind: Kind) -> Result<OwnedFd, LoadError> {
    let encoded: Vec<u64> = program.iter().map(|instruction| instruction.encode()).collect();
    let (prog_type, flags, expected_attach_type, kind) = match kind {
        Kind::Xdp { multi_buffer } => {
            (PROG_TYPE_XDP, if multi_buffer { HAS_FRAGS } else { 0 }, ATTACH_XDP, "XDP")
        }
        Kind::Bulk => (PROG_TYPE_SCHED_CLS, 0, 0, "bulk transmit"),
    };
    let attribute = || ProgLoad {
        prog_type,
        count: encoded.len() as u32,
        instructions: encoded.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        flags,
        name: *b"flumen\0\0\0\0\0\0\0\0\0\0",
        expected_attach_type,
        ..Default::default()
    };
    // SAFETY: the instructions and the licence outlive the call.
    let source = match unsafe { bpf(PROG_LOAD, &mut attribute()) } {
        Ok(fd) => return Ok(owned(fd)),
        Err(source) => source,
    };
    let mut log = vec![0u8; LOG_BYTES];
    let mut again =
        ProgLoad { log_level: 1, log_size: LOG_BYTES as u32, log: log.as_mut_ptr() as u64, ..attribute() };
    // SAFETY: as above; the log has the size that is stated.
    match unsafe { bpf(PROG_LOAD, &mut again) } {
        Ok(fd) => Ok(owned(fd)),
        Err(_) => {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            Err(LoadError { kind, source, log: String::from_utf8_lossy(&log[..end]).into_owned() })
        }
    }
}

/// Runs a program on a packet without any interface; returns its verdict.
///
/// # Errors
/// What bpf(2) says; a packet shorter than an Ethernet header is refused (EINVAL).
pub fn test_run(program: &impl AsRawFd, packet: &[u8]) -> io::Result<u32> {
    let mut attribute = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the packet has the size that is stated; nothing is written back.
    unsafe { bpf(PROG_TEST_RUN, &mut attribute) }?;
    Ok(attribute.retval)
}

/// Attaches a program to an interface. It stays attached as long as the link's descriptor is open.
pub(crate) fn link(program: &OwnedFd, interface: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attribute = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: interface,
        attach_type: ATTACH_XDP,
        flags: mode,
    };
    // SAFETY: the attribute of this command, without addresses.
    unsafe { bpf(LINK_CREATE, &mut attribute) }.map(owned)
}

/// Puts another program in the place of a link's, with no packet in between that sees neither.
pub(crate) fn update_link(link: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut attribute = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: program.as_raw_fd() as u32,
        ..Default::default()
    };
    // SAFETY: the attribute of this command, without addresses.
    unsafe { bpf(LINK_UPDATE, &mut attribute) }.map(drop)
}
