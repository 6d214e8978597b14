//! Control messages: what comes beside a datagram in recvmsg, and what a program says beside one in sendmsg (cmsg(3)).

use crate::address;
use crate::attach::Answer;
use crate::datagram::{Beside, IpOptions, Outgoing};
use crate::errno::{Errno, Result};
use crate::options::stamping;
use crate::socket::{Part, open};
use core::ffi::c_int;
use core::slice;
use flumen_ipc::Op;
use flumen_ipc::call::AGE_OF_DATA;
use flumen_ipc::limits::{CALL_DATA, MAX_IP_OPTIONS};
use flumen_ipc::message::{Address, ErrorRecord, Received, ToSend};
use libc::{cmsghdr, in_addr, in_pktinfo, in6_addr, in6_pktinfo, msghdr, timespec, timeval};
use std::time::SystemTime;

/// Options, and the control messages that answer them, whose times have 64 bits everywhere (asm-generic/socket.h).
pub const SO_TIMESTAMP_NEW: c_int = 63;
/// As [`SO_TIMESTAMP_NEW`], in nanoseconds.
pub const SO_TIMESTAMPNS_NEW: c_int = 64;
/// As [`SO_TIMESTAMP_NEW`], of SO_TIMESTAMPING.
pub const SO_TIMESTAMPING_NEW: c_int = 65;

/// Options of RFC 2292, and the control messages that answer them (linux/in6.h).
pub const IPV6_2292PKTINFO: c_int = 2;
/// As [`IPV6_2292PKTINFO`].
pub const IPV6_2292HOPLIMIT: c_int = 8;

/// The control message with the key of a datagram's stamps (asm-generic/socket.h).
const SCM_TS_OPT_ID: c_int = 81;

/// The control message with a connection's figures beside a stamp (asm-generic/socket.h).
const SCM_TIMESTAMPING_OPT_STATS: c_int = 54;

/// SO_EE_ORIGIN_TIMESTAMPING.
pub const ORIGIN_STAMP: u8 = 4;

/// Writes control messages into the room that a program has for them.
#[derive(Debug)]
pub struct Writer<'a> {
    room: &'a mut [u8],
    used: usize,
    /// Something did not fit (MSG_CTRUNC).
    pub cut: bool,
}

const ALIGN: usize = size_of::<usize>();

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

const HEAD: usize = aligned(size_of::<cmsghdr>());

impl<'a> Writer<'a> {
    /// The room of a message.
    ///
    /// # Safety
    /// `msg_control` and `msg_controllen` name memory that can be written until the call is over.
    pub unsafe fn new(message: &msghdr) -> Writer<'a> {
        let room: &mut [u8] = if message.msg_control.is_null() {
            &mut []
        } else {
            // SAFETY: by the caller.
            unsafe { slice::from_raw_parts_mut(message.msg_control.cast(), message.msg_controllen) }
        };
        Writer { room, used: 0, cut: false }
    }

    /// Bytes that were written.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Adds a message; one that does not fit is cut, as the kernel does it.
    pub fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let left = self.room.len() - self.used;
        if left < HEAD {
            self.cut = true;
            return;
        }
        let mut len = HEAD + data.len();
        if len > left {
            self.cut = true;
            len = left;
        }
        let place = &mut self.room[self.used..];
        place[..8].copy_from_slice(&len.to_ne_bytes());
        place[8..12].copy_from_slice(&level.to_ne_bytes());
        place[12..16].copy_from_slice(&kind.to_ne_bytes());
        place[HEAD..len].copy_from_slice(&data[..len - HEAD]);
        self.used = (self.used + aligned(len)).min(self.room.len());
    }
}

/// What a value looks like in memory.
fn plain<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: only called with C structures without padding, all bytes of which are initialised.
    unsafe { slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// What goes beside a received datagram, as the socket's options ask.
pub fn of_datagram(part: &Part<'_>, head: &Received, beside: &Beside, out: &mut Writer<'_>) {
    let wanted = part.open_flags();
    let has = |bit| wanted & bit != 0;
    of_socket(wanted, head, out);
    if has(open::GRO) && head.segment > 0 {
        out.push(libc::SOL_UDP, libc::UDP_GRO, &c_int::from(head.segment).to_ne_bytes());
    }
    // In Linux's order: what IPv6 has to tell of an IPv4 datagram, too, comes first.
    if part.socket.domain() == libc::AF_INET6 {
        of_datagram6(wanted, head, out);
    }
    let to = head.to;
    if is_v4(&to) {
        if has(open::PACKET_INFO) {
            let info =
                in_pktinfo { ipi_ifindex: head.interface as c_int, ipi_spec_dst: v4(&to), ipi_addr: v4(&to) };
            out.push(libc::SOL_IP, libc::IP_PKTINFO, plain(&info));
        }
        if has(open::TTL) {
            out.push(libc::SOL_IP, libc::IP_TTL, &c_int::from(head.ttl).to_ne_bytes());
        }
        if has(open::TOS) {
            out.push(libc::SOL_IP, libc::IP_TOS, &[head.tos]);
        }
        if let Beside::Options(options) = beside {
            of_options(wanted, head, options, out);
        }
        if has(open::ORIGINAL) {
            let (bytes, len) = address::encode(libc::AF_INET, &as_v4(&to));
            out.push(libc::SOL_IP, libc::IP_ORIGDSTADDR, &bytes[..len]);
        }
    }
}

/// IP options as they came, and those for the answer: what cannot be made is said as what finds no room (as in Linux).
#[cold]
fn of_options(wanted: u32, head: &Received, options: &IpOptions, out: &mut Writer<'_>) {
    if wanted & open::OPTIONS != 0 {
        out.push(libc::SOL_IP, libc::IP_RECVOPTS, options.received());
    }
    if wanted & open::OPTIONS_TO_RETURN != 0 {
        match head.returned {
            Received::NOTHING_TO_RETURN => out.cut = true,
            _ => out.push(libc::SOL_IP, libc::IP_RETOPTS, options.returned()),
        }
    }
}

/// When the bytes of a stream came that were read: the last that came, as the service knows it (tcp_recv_timestamp of Linux).
pub fn of_stream(part: &Part<'_>, out: &mut Writer<'_>) {
    let wanted = part.open_flags() & (open::STAMPS | open::TIMESTAMP_NEW);
    if wanted & open::STAMPS == 0 {
        return;
    }
    let mut answer: Answer = [0; CALL_DATA];
    let age = part.call_for(Op::Ioctl, [AGE_OF_DATA.into(), 0, 0, 0], &[], &mut answer);
    let age = age.ok().and_then(|(_, bytes)| bytes.first_chunk().copied()).map(u64::from_ne_bytes);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    if let (Some(age), Ok(now)) = (age, u64::try_from(now)) {
        of_socket(wanted, &Received { timestamp: now.saturating_sub(age), ..Received::default() }, out);
    }
}

/// What SOL_SOCKET options ask for.
fn of_socket(wanted: u32, head: &Received, out: &mut Writer<'_>) {
    let (seconds, nanos) = (head.timestamp / 1_000_000_000, head.timestamp % 1_000_000_000);
    let time = timespec { tv_sec: seconds as i64, tv_nsec: nanos as i64 };
    // The old and the new ones look alike where times have 64 bits anyway; they differ in their names.
    let kind = |old, new| if wanted & open::TIMESTAMP_NEW != 0 { new } else { old };
    if wanted & open::TIMESTAMP_NS != 0 {
        out.push(libc::SOL_SOCKET, kind(libc::SCM_TIMESTAMPNS, SO_TIMESTAMPNS_NEW), plain(&time));
    } else if wanted & open::TIMESTAMP != 0 {
        let time = timeval { tv_sec: seconds as i64, tv_usec: (nanos / 1000) as i64 };
        out.push(libc::SOL_SOCKET, kind(libc::SCM_TIMESTAMP, SO_TIMESTAMP_NEW), plain(&time));
    }
    if wanted & open::TIMESTAMPING != 0 {
        // struct scm_timestamping: the first is software's, the others are hardware's, which there is none of.
        let none = timespec { tv_sec: 0, tv_nsec: 0 };
        let times = [time, none, none];
        out.push(libc::SOL_SOCKET, kind(libc::SCM_TIMESTAMPING, SO_TIMESTAMPING_NEW), plain(&times));
    }
    if wanted & open::DROPS != 0 && head.drops > 0 {
        out.push(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &head.drops.to_ne_bytes());
    }
}

fn of_datagram6(wanted: u32, head: &Received, out: &mut Writer<'_>) {
    let has = |bit| wanted & bit != 0;
    if has(open::PACKET_INFO6) {
        let mapped = if head.to.family == 4 {
            head.to.to_std().map(|to| Address::from(map(to))).unwrap_or_default()
        } else {
            head.to
        };
        let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: mapped.ip }, ipi6_ifindex: head.interface };
        out.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, plain(&info));
    }
    // What came as IPv4 has no more to tell (udpv6_recvmsg of Linux).
    if is_v4(&head.to) {
        return;
    }
    if has(open::HOP_LIMIT) {
        out.push(libc::SOL_IPV6, libc::IPV6_HOPLIMIT, &c_int::from(head.ttl).to_ne_bytes());
    }
    if has(open::CLASS) {
        out.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &c_int::from(head.tos).to_ne_bytes());
    }
    // The names of RFC 2292, beside those of RFC 3542.
    if has(open::OLD_PACKET_INFO6) {
        let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: head.to.ip }, ipi6_ifindex: head.interface };
        out.push(libc::SOL_IPV6, IPV6_2292PKTINFO, plain(&info));
    }
    if has(open::OLD_HOP_LIMIT) {
        out.push(libc::SOL_IPV6, IPV6_2292HOPLIMIT, &c_int::from(head.ttl).to_ne_bytes());
    }
    if has(open::ORIGINAL6) {
        let (bytes, len) = address::encode(libc::AF_INET6, &head.to);
        out.push(libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR, &bytes[..len]);
    }
}

/// What goes beside an entry of the error queue: `sock_extended_err` and the offender's address.
pub fn of_error(part: &Part<'_>, record: &ErrorRecord, beside: &Beside, out: &mut Writer<'_>) {
    let domain = part.socket.domain();
    let mut data = [0; 16 + address::LONGEST];
    data[..4].copy_from_slice(&record.errno.to_ne_bytes());
    data[4..8].copy_from_slice(&[record.origin, record.kind, record.code, 0]);
    data[8..12].copy_from_slice(&record.info.to_ne_bytes());
    data[12..16].copy_from_slice(&record.data.to_ne_bytes());
    let (bytes, len) = address::encode(domain, &record.offender);
    data[16..16 + len].copy_from_slice(&bytes[..len]);
    // Without an offender an address of family AF_UNSPEC stands there.
    let longest = if domain == libc::AF_INET6 { address::LONGEST } else { size_of::<libc::sockaddr_in>() };
    let mut wanted = part.open_flags();
    let is_stamp = record.origin == ORIGIN_STAMP;
    if is_stamp {
        // Of a stamp the time is told to who asks for any, not for those of what is received alone.
        wanted &= !open::TIMESTAMPING;
        wanted |= if wanted & open::STAMP_TIMES != 0 { open::TIMESTAMPING } else { 0 };
    }
    if wanted & open::STAMPS != 0 {
        of_socket(wanted, &Received { timestamp: record.timestamp, ..Received::default() }, out);
    }
    // Linux: to who is told the time.
    if let Beside::Figures(figures) = beside
        && wanted & open::TIMESTAMPING != 0
    {
        out.push(libc::SOL_SOCKET, SCM_TIMESTAMPING_OPT_STATS, figures);
    }
    if is_stamp && record.offender != Address::NONE {
        of_stamped(wanted, record, out);
    }
    let (level, kind) = if domain == libc::AF_INET6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR)
    };
    out.push(level, kind, &data[..16 + longest]);
}

/// By which interface a packet left that a stamp is of, and from where to where (SOF_TIMESTAMPING_OPT_CMSG).
fn of_stamped(wanted: u32, record: &ErrorRecord, out: &mut Writer<'_>) {
    let (from, to) = (&record.offender, &record.to);
    if wanted & open::PACKET_INFO != 0 && is_v4(from) {
        let info =
            in_pktinfo { ipi_ifindex: record.interface as c_int, ipi_spec_dst: v4(from), ipi_addr: v4(to) };
        out.push(libc::SOL_IP, libc::IP_PKTINFO, plain(&info));
    }
    if wanted & open::PACKET_INFO6 != 0 {
        let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: to.ip }, ipi6_ifindex: record.interface };
        out.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, plain(&info));
    }
}

fn is_v4(address: &Address) -> bool {
    address.to_std().is_some_and(|address| address.ip().to_canonical().is_ipv4())
}

fn as_v4(address: &Address) -> Address {
    address
        .to_std()
        .map(|std| Address::from(core::net::SocketAddr::new(std.ip().to_canonical(), std.port())))
        .unwrap_or_default()
}

fn v4(address: &Address) -> in_addr {
    let [a, b, c, d, ..] = as_v4(address).ip;
    in_addr { s_addr: u32::from_ne_bytes([a, b, c, d]) }
}

fn map(address: core::net::SocketAddr) -> core::net::SocketAddr {
    match address.ip() {
        core::net::IpAddr::V4(ip) => core::net::SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        core::net::IpAddr::V6(_) => address,
    }
}

/// The control messages of a message that is sent: level, type, data.
///
/// # Errors
/// EINVAL for lengths that make no sense.
///
/// # Safety
/// `msg_control` and `msg_controllen` name memory that can be read until the call is over.
pub unsafe fn passed<'a>(message: &msghdr) -> Result<Vec<(c_int, c_int, &'a [u8])>> {
    let mut list = Vec::new();
    if message.msg_control.is_null() || message.msg_controllen < HEAD {
        return Ok(list);
    }
    // SAFETY: by the caller.
    let mut left = unsafe { slice::from_raw_parts(message.msg_control.cast::<u8>(), message.msg_controllen) };
    while let Some((&head, _)) = left.split_first_chunk::<16>() {
        let [l0, l1, l2, l3, l4, l5, l6, l7, a0, a1, a2, a3, b0, b1, b2, b3] = head;
        let len = usize::from_ne_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        if len < HEAD || len > left.len() {
            return Err(Errno(libc::EINVAL));
        }
        let (level, kind) = (c_int::from_ne_bytes([a0, a1, a2, a3]), c_int::from_ne_bytes([b0, b1, b2, b3]));
        list.push((level, kind, &left[HEAD..len]));
        left = left.get(aligned(len)..).unwrap_or_default();
    }
    Ok(list)
}

/// The stamps that a control message asks for (SO_TIMESTAMPING).
fn stamps(data: &[u8]) -> Result<c_int> {
    let asked = <[u8; 4]>::try_from(data).map(c_int::from_ne_bytes).map_err(|_size| Errno(libc::EINVAL))?;
    if asked & !stamping::TX_ASKED != 0 {
        return Err(Errno(libc::EINVAL));
    }
    Ok(asked)
}

/// What control messages say about bytes of a stream to be sent: which stamps are asked for; `None`: nothing is said.
///
/// # Errors
/// EINVAL for one of SOL_SOCKET that a stream does not know, or whose value makes no sense.
pub fn of_bytes_to_send(list: &[(c_int, c_int, &[u8])]) -> Result<Option<c_int>> {
    let mut asked = None;
    for (level, name, data) in list.iter().copied() {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW) => asked = Some(stamps(data)?),
            // As sock_cmsg_send of Linux: those of Unix sockets are passed over, and those of other levels.
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
            (libc::SOL_SOCKET, _) => return Err(Errno(libc::EINVAL)),
            _ => {}
        }
    }
    Ok(asked)
}

/// What control messages say about a datagram to be sent.
///
/// # Errors
/// EINVAL for one that the socket does not know, or whose value makes no sense.
pub fn apply(
    domain: c_int,
    kind: c_int,
    has_stamp_keys: bool,
    list: &[(c_int, c_int, &[u8])],
    outgoing: &mut Outgoing,
) -> Result<()> {
    let Outgoing { head, options } = outgoing;
    let number =
        |data: &[u8]| data.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes)).ok_or(Errno(libc::EINVAL));
    let byte = |value: c_int, low: c_int| {
        u8::try_from(value).ok().filter(|value| c_int::from(*value) >= low).ok_or(Errno(libc::EINVAL))
    };
    for (level, name, data) in list.iter().copied() {
        match (level, name) {
            (libc::SOL_IP, libc::IP_TTL) => {
                head.ttl = byte(number(data)?, 1)?;
                head.flags |= ToSend::HAS_TTL;
            }
            (libc::SOL_IP, libc::IP_TOS) => {
                head.tos = match data {
                    [one] => *one,
                    _ => byte(number(data)?, 0)?,
                };
                head.flags |= ToSend::HAS_TOS;
            }
            // Linux: what is longer is cut.
            (libc::SOL_IP, libc::IP_RETOPTS) => {
                let data = &data[..data.len().min(MAX_IP_OPTIONS)];
                options[..data.len()].copy_from_slice(data);
                head.options = data.len() as u32;
                head.flags |= ToSend::HAS_OPTIONS;
            }
            (libc::SOL_IP, libc::IP_PKTINFO) if data.len() == size_of::<in_pktinfo>() => {
                head.interface = number(data)? as u32;
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&data[4..8]);
                head.source = Address { family: 4, ip, ..Address::NONE };
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO)
                if domain == libc::AF_INET6 && data.len() >= size_of::<in6_pktinfo>() =>
            {
                let mut ip = [0; 16];
                ip.copy_from_slice(&data[..16]);
                head.interface = number(&data[16..])? as u32;
                head.source = Address { family: 6, ip, ..Address::NONE };
            }
            (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) if domain == libc::AF_INET6 => match number(data)? {
                -1 => {}
                value => {
                    head.ttl = byte(value, 0)?;
                    head.flags |= ToSend::HAS_TTL;
                }
            },
            (libc::SOL_IPV6, libc::IPV6_TCLASS) if domain == libc::AF_INET6 => match number(data)? {
                -1 => {}
                value => {
                    head.tos = byte(value, 0)?;
                    head.flags |= ToSend::HAS_TOS;
                }
            },
            (libc::SOL_UDP, libc::UDP_SEGMENT) if kind == libc::SOCK_DGRAM && data.len() == 2 => {
                head.segment = u16::from_ne_bytes([data[0], data[1]]);
                head.flags |= ToSend::HAS_SEGMENT;
            }
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW) => {
                let asked = stamps(data)?;
                let said = |bit, flag| if asked & bit != 0 { flag } else { 0 };
                head.flags &= !(ToSend::STAMP_SCHEDULED | ToSend::STAMP_SENT);
                head.flags |= ToSend::HAS_STAMPS
                    | said(stamping::TX_SCHED, ToSend::STAMP_SCHEDULED)
                    | said(stamping::TX_SOFTWARE, ToSend::STAMP_SENT);
            }
            (libc::SOL_SOCKET, SCM_TS_OPT_ID) if has_stamp_keys && data.len() == 4 => {
                head.stamp_key = number(data)? as u32;
                head.flags |= ToSend::HAS_STAMP_KEY;
            }
            // Unix sockets' own.
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
            // Linux passes over those of levels that it does not ask.
            (level, _)
                if !matches!(level, libc::SOL_IP | libc::SOL_IPV6 | libc::SOL_UDP | libc::SOL_SOCKET) => {}
            _ => return Err(Errno(libc::EINVAL)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(room: &mut [u8]) -> msghdr {
        // SAFETY: a C structure for which zeros are valid.
        let mut message: msghdr = unsafe { core::mem::zeroed() };
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = room.len();
        message
    }

    #[test]
    fn what_is_written_is_read_and_what_does_not_fit_is_cut() {
        let mut room = [0u8; 64];
        let header = message(&mut room);
        // SAFETY: the room is live.
        let mut writer = unsafe { Writer::new(&header) };
        writer.push(libc::SOL_IP, libc::IP_TTL, &64u32.to_ne_bytes());
        writer.push(libc::SOL_IP, libc::IP_TOS, &[4]);
        assert!(!writer.cut && writer.used() == 48);
        writer.push(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[0; 4]);
        assert!(writer.cut && writer.used() == 64);
        let header = message(&mut room[..48]);
        // SAFETY: as above.
        let list = unsafe { passed(&header) }.unwrap();
        let mut outgoing = Outgoing::to(Address::NONE);
        apply(libc::AF_INET, libc::SOCK_DGRAM, false, &list, &mut outgoing).unwrap();
        let head = outgoing.head;
        assert_eq!((head.ttl, head.tos, head.flags), (64, 4, ToSend::HAS_TTL | ToSend::HAS_TOS));
    }

    #[test]
    fn one_call_asks_for_stamps_of_its_own() {
        let word = |word: u32| word.to_ne_bytes();
        let said = |has_keys, list: &[(c_int, &[u8])]| {
            let list: Vec<_> = list.iter().map(|(name, data)| (libc::SOL_SOCKET, *name, *data)).collect();
            let mut outgoing = Outgoing::to(Address::NONE);
            let applied = apply(libc::AF_INET, libc::SOCK_DGRAM, has_keys, &list, &mut outgoing);
            let head = outgoing.head;
            (applied.map(|()| (head.flags, head.stamp_key)), of_bytes_to_send(&list))
        };
        let (sent, none) = (word(stamping::TX_SOFTWARE as u32 | 1), word(0));
        let asked = (libc::SO_TIMESTAMPING, &sent[..]);
        let flags = ToSend::HAS_STAMPS | ToSend::STAMP_SENT;
        assert_eq!(said(false, &[asked]), (Ok((flags, 0)), Ok(Some(stamping::TX_SOFTWARE | 1))));
        // The last one counts.
        let taken_back = said(false, &[asked, (SO_TIMESTAMPING_NEW, &none)]);
        assert_eq!(taken_back, (Ok((ToSend::HAS_STAMPS, 0)), Ok(Some(0))));
        // Keys where the socket has keys, and never on streams.
        let keyed = said(true, &[asked, (SCM_TS_OPT_ID, &word(7))]);
        assert_eq!(keyed, (Ok((flags | ToSend::HAS_STAMP_KEY, 7)), Err(Errno(libc::EINVAL))));
        let refused = (Err(Errno(libc::EINVAL)), Err(Errno(libc::EINVAL)));
        assert_eq!(said(false, &[(SCM_TS_OPT_ID, &word(7))]), refused);
        assert_eq!(said(true, &[(libc::SO_TIMESTAMPING, &word(stamping::SOFTWARE as u32))]), refused);
        assert_eq!(said(true, &[(libc::SO_TIMESTAMPING, &sent[..2])]), refused);
        assert_eq!(said(true, &[]), (Ok((0, 0)), Ok(None)));
    }

    #[test]
    fn ip_options_of_one_datagram_are_carried_and_those_that_no_header_has_room_for_are_cut() {
        for (given, carried) in [(0, 0), (3, 3), (40, 40), (41, 40)] {
            let mut outgoing = Outgoing::to(Address::NONE);
            let data: Vec<u8> = (0..given).collect();
            let list = [(libc::SOL_IP, libc::IP_RETOPTS, &data[..])];
            apply(libc::AF_INET, libc::SOCK_DGRAM, false, &list, &mut outgoing).unwrap();
            assert_eq!((outgoing.options(), outgoing.head.flags), (&data[..carried], ToSend::HAS_OPTIONS));
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let mut outgoing = Outgoing::to(Address::NONE);
        let zero = 0u32.to_ne_bytes();
        let mut apply = |level, name, data: &[u8]| {
            apply(libc::AF_INET, libc::SOCK_DGRAM, false, &[(level, name, data)], &mut outgoing)
        };
        assert!(apply(libc::SOL_IP, libc::IP_TTL, &zero).is_err());
        assert!(apply(libc::SOL_IP, libc::IP_TTL, &[1]).is_err());
        assert!(apply(libc::SOL_IP, libc::IP_OPTIONS, &zero).is_err());
        assert!(apply(libc::SOL_IPV6, libc::IPV6_TCLASS, &zero).is_err());
        assert!(apply(12345, 1, &zero).is_ok());
        let mut room = [0xffu8; 32];
        // SAFETY: the room is live.
        assert!(unsafe { passed(&message(&mut room)) }.is_err());
    }
}
