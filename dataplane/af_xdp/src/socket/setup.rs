//! Opening a socket: registration, rings, bind, in the order the kernel wants, and the choice of the mode.

use super::options::{Counters, SocketError, SocketOptions, Statistics, Transmit};
use super::{Assembly, Socket};
use crate::attach::{Attachment, Side};
use crate::mode::{Grant, Mode};
use crate::pool::Pool;
use crate::ring::{Consumer, Offsets, Producer};
use crate::sys::{self, Integers};
use crate::umem::{Core, TX_METADATA_BYTES};
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

const SOL_XDP: i32 = 283;
/// Linux 6.17: packets that one copy-mode kick may send.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// What the kernel sends in one copy-mode kick by itself, and the least that the option takes.
const DEFAULT_TX_BUDGET: u32 = 32;

/// Slots of a ring: the kernel takes more, but a burst is 64 and a queue longer than 65,536 only adds latency.
const RING_SLOTS: std::ops::RangeInclusive<u32> = 64..=65_536;

/// A socket that ended a moment ago keeps its queue until the kernel's deferred work is done: how long to wait,
/// a quarter of a second in all.
const BUSY_PAUSES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// `struct xdp_mmap_offsets`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct RingOffsets {
    rx: Offsets,
    tx: Offsets,
    fill: Offsets,
    completion: Offsets,
}

/// `struct xdp_umem_reg`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Registration {
    address: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

// SAFETY: structures of integers.
unsafe impl Integers for RingOffsets {}
// SAFETY: structures of integers.
unsafe impl Integers for Statistics {}

impl Socket {
    /// Opens a socket on `queue` of the attached interface, fills its fill ring from the pool and, last, puts it into
    /// the program's map: from then on packets arrive.
    ///
    /// # Errors
    /// See [`SocketError`]. With [`Mode::Auto`] a refused mode is reported in [`Grant::refused`]; with a demanded
    /// mode it is an error.
    pub fn open(
        pool: &Pool,
        attachment: &Attachment,
        queue: u32,
        options: &SocketOptions,
    ) -> Result<Socket, SocketError> {
        check_options(options)?;
        let mut refused = attachment.refused().to_vec();
        let candidates: &[Mode] = match (attachment.requested(), attachment.side()) {
            (Mode::Auto, Side::Native) => &[Mode::ZeroCopy, Mode::NativeCopy],
            (Mode::Auto, Side::Generic) => &[Mode::Generic],
            (demanded, _) => demanded.candidates(),
        };
        let mut last = None;
        for (index, mode) in candidates.iter().enumerate() {
            match open_as(pool, attachment, queue, options, *mode) {
                Ok(mut socket) => {
                    socket.grant.refused = refused;
                    socket.refill();
                    let map = attachment.map();
                    map.insert(queue, socket.fd.as_raw_fd()).map_err(|source| {
                        match source.raw_os_error() {
                            Some(libc::E2BIG) => no_queue(attachment, queue),
                            _ => SocketError::System {
                                doing: "put the socket into the XDP program's map",
                                source,
                            },
                        }
                    })?;
                    socket.map = Some(Arc::clone(map));
                    socket.prepare_bulk(options.transmit, &attachment.interface().name)?;
                    return Ok(socket);
                }
                Err(SocketError::ModeRefused { why, .. }) if index + 1 < candidates.len() => {
                    refused.push((*mode, why));
                }
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        Err(last.unwrap_or_else(|| no_queue(attachment, queue)))
    }
}

fn no_queue(attachment: &Attachment, queue: u32) -> SocketError {
    SocketError::NoQueue { interface: attachment.interface().name.clone(), queue }
}

fn check_options(options: &SocketOptions) -> Result<(), SocketError> {
    let sizes = [
        ("rx", options.rx_ring),
        ("tx", options.tx_ring),
        ("fill", options.fill_ring),
        ("completion", options.completion_ring),
    ];
    if let Some((ring, size)) =
        sizes.into_iter().find(|(_, size)| !size.is_power_of_two() || !RING_SLOTS.contains(size))
    {
        return Err(SocketError::RingSize { ring, size });
    }
    let (completion, tx) = (options.completion_ring, options.tx_ring);
    if completion < tx {
        return Err(SocketError::CompletionSmallerThanTx { completion, tx });
    }
    match options.tx_budget {
        Some(budget) if !(DEFAULT_TX_BUDGET..=tx).contains(&budget) => {
            Err(SocketError::TxBudget { budget, tx })
        }
        _ => Ok(()),
    }
}

fn open_as(
    pool: &Pool,
    attachment: &Attachment,
    queue: u32,
    options: &SocketOptions,
    mode: Mode,
) -> Result<Socket, SocketError> {
    let interface = attachment.interface();
    let core = pool.handle().clone();
    let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map_err(|source| match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => SocketError::NoAfXdp,
        Some(libc::EPERM) => SocketError::Permission { doing: "open an AF_XDP socket" },
        _ => SocketError::System { doing: "open an AF_XDP socket", source },
    })?;
    let control = crate::nic::control()
        .map_err(|source| SocketError::System { doing: "open a control socket", source })?;
    let metadata = register(&fd, &core)?;
    let offsets = size_rings(&fd, options)?;
    let rx = Consumer::new(map_ring(&fd, &offsets.rx, options.rx_ring, 16, 0)?, &offsets.rx, options.rx_ring);
    let tx_at = 0x8000_0000;
    let tx =
        Producer::new(map_ring(&fd, &offsets.tx, options.tx_ring, 16, tx_at)?, &offsets.tx, options.tx_ring);
    let fill_map = map_ring(&fd, &offsets.fill, options.fill_ring, 8, 0x1_0000_0000)?;
    let completion_map = map_ring(&fd, &offsets.completion, options.completion_ring, 8, 0x1_8000_0000)?;
    let fill = Producer::new(fill_map, &offsets.fill, options.fill_ring);
    let completion = Consumer::new(completion_map, &offsets.completion, options.completion_ring);
    let (rx, tx, fill, completion) = (whole(rx)?, whole(tx)?, whole(fill)?, whole(completion)?);
    let tx_budget = options.tx_budget.and_then(|budget| set_tx_budget(&fd, budget));
    if let Some(poll) = options.busy_poll {
        set_busy_poll(&fd, poll.microseconds, poll.budget).map_err(|source| SocketError::BusyPoll {
            microseconds: poll.microseconds,
            budget: poll.budget,
            source,
        })?;
    }
    let mut flags = if mode == Mode::ZeroCopy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
    flags |= if options.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 };
    flags |= if attachment.multi_buffer() { libc::XDP_USE_SG } else { 0 };
    bind_patiently(fd.as_raw_fd(), interface.index, queue, flags)
        .map_err(|source| explain_bind(source, attachment, queue, mode))?;
    let no_busy_poll = options.busy_poll.and_then(|_| no_busy_poll(&fd, sys::kernel_version()));
    let Some(rings) = core.open_rings() else {
        return Err(SocketError::System {
            doing: "open more than 128 sockets on one pool",
            source: io::Error::from(io::ErrorKind::QuotaExceeded),
        });
    };
    Ok(Socket {
        rx: ManuallyDrop::new(rx),
        fill: ManuallyDrop::new(fill),
        tx: ManuallyDrop::new(tx),
        completion: ManuallyDrop::new(completion),
        core,
        rings,
        max_packet: interface.mtu as usize + 18,
        assembly: Assembly::Idle,
        counters: Counters::default(),
        fd: ManuallyDrop::new(fd),
        need_wakeup: options.need_wakeup,
        sqpoll: None,
        grant: Grant {
            requested: attachment.requested(),
            got: mode,
            refused: Vec::new(),
            driver: interface.driver.clone(),
            queue,
            multi_buffer: attachment.multi_buffer(),
            // The kernel's copy mode finishes checksums on any interface; a zero-copy driver may ignore the request.
            tx_checksum: metadata && mode != Mode::ZeroCopy,
            tx_budget,
            busy_poll: options.busy_poll.map(|poll| poll.microseconds),
            no_busy_poll,
            transmit: Transmit::Ring,
            no_bulk: None,
        },
        bulk: None,
        interface_index: interface.index,
        control,
        map: None,
    })
}

/// Registers the pool's region; returns whether with room for transmit metadata (Linux 6.8).
fn register(fd: &OwnedFd, core: &Core) -> Result<bool, SocketError> {
    let (base, len) = core.region();
    let with_metadata = core.reserve > 0;
    let mut registration = Registration {
        address: base as u64,
        len: len as u64,
        chunk_size: core.chunk_size() as u32,
        headroom: core.headroom.into(),
        flags: if with_metadata { libc::XDP_UMEM_TX_METADATA_LEN } else { 0 },
        tx_metadata_len: if with_metadata { TX_METADATA_BYTES as u32 } else { 0 },
    };
    let mut result = sys::set_option(fd, SOL_XDP, libc::XDP_UMEM_REG, &registration);
    let mut granted = with_metadata;
    if with_metadata && result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
        (registration.flags, registration.tx_metadata_len, granted) = (0, 0, false);
        result = sys::set_option(fd, SOL_XDP, libc::XDP_UMEM_REG, &registration);
    }
    result.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => SocketError::LockedMemory { bytes: len },
        Some(libc::EPERM) => SocketError::Permission { doing: "register packet memory" },
        _ => SocketError::System { doing: "register packet memory", source },
    })?;
    Ok(granted)
}

fn size_rings(fd: &OwnedFd, options: &SocketOptions) -> Result<RingOffsets, SocketError> {
    let rings = [
        (libc::XDP_UMEM_FILL_RING, options.fill_ring),
        (libc::XDP_UMEM_COMPLETION_RING, options.completion_ring),
        (libc::XDP_RX_RING, options.rx_ring),
        (libc::XDP_TX_RING, options.tx_ring),
    ];
    for (name, size) in rings {
        sys::set_option(fd, SOL_XDP, name, &size)
            .map_err(|source| SocketError::System { doing: "make a ring", source })?;
    }
    let (offsets, filled) = sys::get_option::<RingOffsets>(fd, SOL_XDP, libc::XDP_MMAP_OFFSETS)
        .map_err(|source| SocketError::System { doing: "ask where the rings are", source })?;
    if filled != size_of::<RingOffsets>() {
        // Linux before 5.4 has no flags word in its rings.
        return Err(SocketError::NoAfXdp);
    }
    Ok(offsets)
}

fn map_ring(
    fd: &OwnedFd,
    offsets: &Offsets,
    slots: u32,
    slot_bytes: u64,
    at: u64,
) -> Result<MmapRaw, SocketError> {
    let len = offsets.slots + u64::from(slots) * slot_bytes;
    MmapOptions::new()
        .offset(at)
        .len(len as usize)
        .populate()
        .map_raw(fd.as_raw_fd())
        .map_err(|source| SocketError::System { doing: "map a ring", source })
}

fn whole<R>(ring: Option<R>) -> Result<R, SocketError> {
    ring.ok_or(SocketError::System {
        doing: "use a ring whose parts lie outside its mapping",
        source: io::Error::from(io::ErrorKind::InvalidData),
    })
}

/// The budget, when the kernel takes it.
fn set_tx_budget(fd: &OwnedFd, budget: u32) -> Option<u32> {
    sys::set_option(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget).ok().map(|()| budget)
}

fn set_busy_poll(fd: &OwnedFd, microseconds: u32, budget: u32) -> io::Result<()> {
    const SO_PREFER_BUSY_POLL: i32 = 69;
    const SO_BUSY_POLL_BUDGET: i32 = 70;
    sys::set_option(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &microseconds)?;
    sys::set_option(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
}

/// Linux of this version and later knows when a socket is bound which NAPI instance its queue has, or never. Earlier
/// ones learn it from the first packet.
const NAPI_KNOWN_SINCE: (u32, u32) = (6, 13);

/// Why the kernel will poll nothing for a bound socket: its driver did not say which NAPI instance the queue has (veth does
/// not), and the kernel takes that for granted without an error.
fn no_busy_poll(fd: &OwnedFd, kernel: Option<(u32, u32)>) -> Option<String> {
    const SO_INCOMING_NAPI_ID: i32 = 56;
    let is_known = kernel.is_some_and(|version| version >= NAPI_KNOWN_SINCE);
    match sys::get_option::<i32>(fd, libc::SOL_SOCKET, SO_INCOMING_NAPI_ID) {
        Ok((0, _)) if is_known => Some(
            "the driver does not say which NAPI instance the queue has, so the kernel polls nothing: packets come by \
             interrupts"
                .to_owned(),
        ),
        _ => None,
    }
}

fn bind(fd: RawFd, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`.
    sys::check(unsafe { libc::bind(fd, std::ptr::from_ref(&address).cast(), len) })?;
    Ok(())
}

/// Binds, waiting a little for a queue whose last socket is still being taken down.
fn bind_patiently(fd: RawFd, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
    for pause in BUSY_PAUSES {
        match bind(fd, interface, queue, flags) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            result => return result,
        }
    }
    bind(fd, interface, queue, flags)
}

fn explain_bind(source: io::Error, attachment: &Attachment, queue: u32, mode: Mode) -> SocketError {
    let nic = attachment.interface();
    let interface = nic.name.clone();
    let refused = |why: String| SocketError::ModeRefused {
        interface: nic.name.clone(),
        driver: nic.driver.clone(),
        mode,
        why,
    };
    match source.raw_os_error() {
        Some(libc::EBUSY) => SocketError::QueueTaken { interface, queue },
        Some(libc::ENODEV | libc::ENXIO) => SocketError::Gone { interface },
        Some(libc::EPERM) => SocketError::Permission { doing: "bind an AF_XDP socket" },
        Some(libc::ENOBUFS | libc::ENOMEM) if mode != Mode::ZeroCopy => {
            SocketError::LockedMemory { bytes: 0 }
        }
        Some(libc::EOPNOTSUPP) if mode == Mode::ZeroCopy && attachment.multi_buffer() => {
            refused("the driver has no zero-copy, or none for packets of several frames".into())
        }
        Some(libc::EOPNOTSUPP) => refused("the driver does not support it".into()),
        Some(libc::EINVAL) if nic.queues().is_ok_and(|queues| queue >= queues) => {
            SocketError::NoQueue { interface, queue }
        }
        _ if mode == Mode::ZeroCopy => refused(source.to_string()),
        _ => SocketError::System { doing: "bind the socket to its queue", source },
    }
}

/// The kernel's counters of a socket.
pub(super) fn statistics(fd: &OwnedFd) -> io::Result<Statistics> {
    sys::get_option(fd, SOL_XDP, libc::XDP_STATISTICS).map(|(statistics, _)| statistics)
}

/// A throw-away socket with memory of its own, by which [`super::close`] finds out whether a queue is free.
pub(super) struct Probe {
    fd: OwnedFd,
    // Behind the descriptor, so that it is closed first; nothing reads or writes the page either way.
    _page: MmapMut,
}

impl Probe {
    pub(super) fn new() -> io::Result<Probe> {
        const BYTES: usize = 4096;
        let page = MmapOptions::new().len(BYTES).map_anon()?;
        let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0)?;
        let registration = Registration {
            address: page.as_ptr() as u64,
            len: BYTES as u64,
            chunk_size: BYTES as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        sys::set_option(&fd, SOL_XDP, libc::XDP_UMEM_REG, &registration)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
            sys::set_option(&fd, SOL_XDP, ring, &2u32)?;
        }
        Ok(Probe { fd, _page: page })
    }

    pub(super) fn bind(&self, interface: u32, queue: u32) -> io::Result<()> {
        bind(self.fd.as_raw_fd(), interface, queue, libc::XDP_COPY)
    }
}

impl AsRawFd for Probe {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
