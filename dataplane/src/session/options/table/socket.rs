//! SOL_SOCKET (socket(7)).

use super::{Get, Kinds, Live, Row, SOCKET, Set, Standing, row};
use crate::session::Errno;
use crate::session::options::asked::{Answer, Asked, int};
use crate::session::options::effect::Effect;
use crate::session::options::kind::Stage;
use crate::session::options::limits::{
    BUFFER_MAX, LINGER_FOREVER, LINUX_TICK_MICROS, MIN_RECEIVE_BUFFER, MIN_SEND_BUFFER, TCP_RECEIVE_MAX,
    TIMESTAMPING_BOUNDS, stamping,
};
use crate::session::options::state::Field;
use flumen_stack::tcp::tx_stamps::StampKeys;
use flumen_stack::tcp::user::SocketOption;

const ALL: Kinds = Kinds::ALL;

const fn so(number: i32, name: &'static str, kinds: Kinds) -> Row {
    row(SOCKET, number, name, kinds)
}

pub(super) const ROWS: &[Row] = &[
    so(1, "SO_DEBUG", ALL)
        .flag(Field::Debug)
        .set(Set::Int(set_debug))
        .stands(Standing::Kept)
        .note("needs CAP_NET_ADMIN to switch on; nothing more happens, as in Linux"),
    so(2, "SO_REUSEADDR", ALL).flag(Field::ReuseAddress).note("raw and ping sockets begin with it"),
    so(3, "SO_TYPE", ALL).get(Get::Value(|asked| Ok(asked.facts.socket_type))),
    so(4, "SO_ERROR", ALL).live(Live::Error).note("reading takes it"),
    so(5, "SO_DONTROUTE", ALL)
        .flag(Field::Debug)
        .set(Set::Int(|_, on| if on == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("cannot be switched on: the routes of the data plane decide. Bind to a device instead"),
    so(6, "SO_BROADCAST", ALL).flag(Field::Broadcast).note("TCP has no broadcasts and keeps it, as in Linux"),
    so(7, "SO_SNDBUF", ALL).live(Live::SendBuffer).set(Set::Int(|asked, bytes| Ok(send_buffer(asked, bytes, BUFFER_MAX)))).note(
        "doubled, at least 4,608; at most twice wmem_max (4 MiB). TCP's default is 16,384 and grows; others' is 212,992",
    ),
    so(8, "SO_RCVBUF", ALL)
        .live(Live::ReceiveBuffer)
        .set(Set::Int(|asked, bytes| Ok(receive_buffer(asked, bytes, BUFFER_MAX))))
        .note("doubled, at least 2,304; at most twice rmem_max (4 MiB). TCP's default is 131,072 and grows; others' is 212,992"),
    so(9, "SO_KEEPALIVE", ALL).flag(Field::KeepAlive).note("of effect for TCP"),
    so(10, "SO_OOBINLINE", ALL).flag(Field::OobInline).note("of effect for TCP"),
    so(11, "SO_NO_CHECK", ALL).flag(Field::NoCheck).note("of effect for UDP over IPv4"),
    so(12, "SO_PRIORITY", ALL)
        .int(Field::Priority, set_priority)
        .stands(Standing::Kept)
        .note("0 to 6 for everybody, others need CAP_NET_ADMIN. Ports send in order, as Linux devices without a queueing discipline"),
    so(13, "SO_LINGER", ALL).value("struct linger").set(Set::Bytes(set_linger)).get(Get::Bytes(get_linger)),
    so(14, "SO_BSDCOMPAT", ALL)
        .set(Set::Int(|_, _| Ok(Effect::None)))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Kept)
        .note("Linux takes it and answers 0, since 2.2"),
    so(15, "SO_REUSEPORT", ALL).flag(Field::ReusePort),
    so(16, "SO_PASSCRED", ALL).refused(Errno::OPNOTSUPP, Errno::OPNOTSUPP).note("unix sockets'"),
    so(17, "SO_PEERCRED", ALL).value("struct ucred").get(Get::Bytes(|_, answer| {
        // Nobody: pid 0, uid and gid -1.
        answer.bytes(&[0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        Ok(())
    })),
    so(18, "SO_RCVLOWAT", ALL).int(Field::ReceiveLow, set_receive_low).note("TCP: at most half of what the buffer may become"),
    so(19, "SO_SNDLOWAT", ALL).get(Get::Value(|_| Ok(1))),
    so(20, "SO_RCVTIMEO", ALL).value("struct timeval").set(Set::Bytes(|asked, value| set_timeout(asked, value, 0))).get(
        Get::Bytes(|asked, answer| get_timeout(asked, answer, 0)),
    ).stands(Standing::Library).note("rounded up to 4 ms"),
    so(21, "SO_SNDTIMEO", ALL).value("struct timeval").set(Set::Bytes(|asked, value| set_timeout(asked, value, 1))).get(
        Get::Bytes(|asked, answer| get_timeout(asked, answer, 1)),
    ).stands(Standing::Library).note("rounded up to 4 ms"),
    so(25, "SO_BINDTODEVICE", ALL)
        .value("string")
        .least(0)
        .set(Set::Bytes(set_device))
        .get(Get::Bytes(get_device))
        .note("the names are those of the kernel's interfaces under the ports"),
    so(26, "SO_ATTACH_FILTER", ALL)
        .value("struct sock_fprog")
        .set(Set::Int(|_, _| Err(Errno::INVAL)))
        .get(Get::Bytes(|_, answer| {
            answer.bytes(&[]);
            Ok(())
        }))
        .stands(Standing::Refused)
        .differs("every program is refused with EINVAL: it points into the memory of the process"),
    so(27, "SO_DETACH_FILTER", ALL)
        .set(Set::Int(|asked, _| Err(if asked.value(Field::LockFilter) == 0 { Errno::NOENT } else { Errno::PERM })))
        .note("there is never one"),
    so(28, "SO_PEERNAME", ALL).value("struct sockaddr").live(Live::PeerName),
    so(29, "SO_TIMESTAMP", ALL)
        .value("bool")
        .set(Set::Int(|asked, on| Ok(set_timestamp(asked, on, 1))))
        .get(Get::Value(|asked| Ok(i32::from(asked.value(Field::Timestamp) == 1))))
        .stands(Standing::Library),
    so(30, "SO_ACCEPTCONN", ALL).value("bool").live(Live::Listens),
    so(31, "SO_PEERSEC", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).note("no security module"),
    so(32, "SO_SNDBUFFORCE", ALL).set(Set::Int(|asked, bytes| {
        privileged(asked)?;
        Ok(send_buffer(asked, bytes.max(0), i32::MAX))
    })).note("needs CAP_NET_ADMIN"),
    so(33, "SO_RCVBUFFORCE", ALL).set(Set::Int(|asked, bytes| {
        privileged(asked)?;
        Ok(receive_buffer(asked, bytes.max(0), i32::MAX))
    })).note("needs CAP_NET_ADMIN"),
    so(34, "SO_PASSSEC", ALL).refused(Errno::OPNOTSUPP, Errno::OPNOTSUPP).note("unix sockets'"),
    so(35, "SO_TIMESTAMPNS", ALL)
        .value("bool")
        .set(Set::Int(|asked, on| Ok(set_timestamp(asked, on, 2))))
        .get(Get::Value(|asked| Ok(i32::from(asked.value(Field::Timestamp) == 2))))
        .stands(Standing::Library),
    so(36, "SO_MARK", ALL)
        .int(Field::Mark, |asked, mark| {
            privileged(asked)?;
            Ok(asked.store(Field::Mark, mark))
        })
        .stands(Standing::Kept)
        .note("needs CAP_NET_ADMIN; no rule of the data plane looks at it, as in a Linux without such rules"),
    so(37, "SO_TIMESTAMPING", ALL)
        .value("struct so_timestamping")
        .set(Set::Bytes(|asked, value| set_timestamping(asked, value, false)))
        .get(Get::Bytes(|asked, answer| get_timestamping(asked, answer, false)))
        .stands(Standing::Library)
        .differs("stamps of streams come without their packets (MSG_TRUNC says so)"),
    so(38, "SO_PROTOCOL", ALL).get(Get::Value(|asked| Ok(asked.facts.protocol))),
    so(39, "SO_DOMAIN", ALL).get(Get::Value(|asked| Ok(if asked.facts.is_v6() { 10 } else { 2 }))),
    so(40, "SO_RXQ_OVFL", ALL).flag(Field::ReceiveOverflow).stands(Standing::Library),
    so(41, "SO_WIFI_STATUS", ALL).flag(Field::WifiStatus).stands(Standing::Kept).note("of effect for packets of Wi-Fi devices alone"),
    so(42, "SO_PEEK_OFF", Kinds::PORTS)
        .int(Field::PeekOffset, |asked, at| Ok(asked.store(Field::PeekOffset, at)))
        .stands(Standing::Library)
        .note("on 0.0.0.0 and ::, a peek that waits looks every 5 ms"),
    so(42, "SO_PEEK_OFF", Kinds::RAW_AND_PING)
        .set(Set::Refused(Errno::OPNOTSUPP))
        .get(Get::Refused(Errno::OPNOTSUPP)),
    so(43, "SO_NOFCS", ALL).flag(Field::NoFrameCheck).stands(Standing::Kept).note("packet sockets'; others keep it, as in Linux"),
    so(44, "SO_LOCK_FILTER", ALL).flag(Field::LockFilter).set(Set::Int(|asked, on| {
        if on == 0 && asked.value(Field::LockFilter) != 0 { Err(Errno::PERM) } else { Ok(asked.store(Field::LockFilter, i32::from(on != 0))) }
    })),
    so(45, "SO_SELECT_ERR_QUEUE", ALL)
        .flag(Field::SelectErrorQueue)
        .stands(Standing::Library)
        .note("of effect for datagrams: EPOLLPRI beside EPOLLERR"),
    so(46, "SO_BUSY_POLL", ALL)
.range(Field::BusyPoll, 0, i32::MAX)
        .stands(Standing::Kept)
        .note("the data plane polls always"),
    so(47, "SO_MAX_PACING_RATE", ALL)
        .value("u32 or u64")
        .set(Set::Bytes(set_pacing))
        .get(Get::Bytes(get_pacing))
        .note("of effect for TCP; others keep it, as Linux without the queueing discipline fq"),
    so(48, "SO_BPF_EXTENSIONS", ALL).get(Get::Value(|_| Ok(64))),
    so(49, "SO_INCOMING_CPU", ALL)
        .int(Field::IncomingCpu, |asked, cpu| Ok(asked.store(Field::IncomingCpu, cpu)))
        .stands(Standing::Kept)
        .note("there is one worker to come in by"),
    so(50, "SO_ATTACH_BPF", ALL).set(Set::Refused(Errno::INVAL)).stands(Standing::Refused).differs("EINVAL also for a program's descriptor: the data plane runs no programs of sockets"),
    so(51, "SO_ATTACH_REUSEPORT_CBPF", ALL).set(Set::Refused(Errno::INVAL)).stands(Standing::Refused).differs("EINVAL also for a program: flows are shared out by their hash"),
    so(52, "SO_ATTACH_REUSEPORT_EBPF", ALL).set(Set::Refused(Errno::INVAL)).stands(Standing::Refused).differs("EINVAL also for a program's descriptor: flows are shared out by their hash"),
    so(53, "SO_CNX_ADVICE", ALL).set(Set::Int(|_, _| Ok(Effect::None))).stands(Standing::Kept).note("an advice; routes are looked up again by themselves"),
    so(55, "SO_MEMINFO", ALL).value("u32[9]").live(Live::Memory),
    so(56, "SO_INCOMING_NAPI_ID", ALL).get(Get::Value(|_| Ok(0))).note("0: nothing came in by the kernel"),
    so(57, "SO_COOKIE", ALL)
        .value("u64")
        .refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT)
        .stands(Standing::Library)
        .note("asked of the kernel's socket behind the descriptor")
        .differs("of a socket that accept made it may be that of one that was closed before"),
    so(59, "SO_PEERGROUPS", ALL).get(Get::Refused(Errno::NODATA)).note("unix sockets'"),
    so(60, "SO_ZEROCOPY", Kinds::PORTS)
        .set(Set::Int(|asked, on| match on {
            _ if asked.facts.is_udp_lite() => Err(Errno::OPNOTSUPP),
            0 | 1 => Ok(asked.store(Field::ZeroCopy, on)),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Int(Field::ZeroCopy))
        .stands(Standing::Library)
        .note("bytes are copied before send returns, and notices say so (SO_EE_CODE_ZEROCOPY_COPIED), as Linux does over its loopback"),
    so(60, "SO_ZEROCOPY", Kinds::RAW_AND_PING).set(Set::Refused(Errno::OPNOTSUPP)).get(Get::Value(|_| Ok(0))),
    so(61, "SO_TXTIME", ALL)
        .value("struct sock_txtime")
        .set(Set::Bytes(|_, value| Err(if value.len() == 8 { Errno::OPNOTSUPP } else { Errno::INVAL })))
        .get(Get::Bytes(|_, answer| {
            answer.bytes(&[0; 8]);
            Ok(())
        }))
        .stands(Standing::Refused)
        .differs("EOPNOTSUPP: ports send at once"),
    so(62, "SO_BINDTOIFINDEX", ALL).int(Field::Device, |asked, index| match index {
        ..0 => Err(Errno::INVAL),
        _ => bind_to(asked, index),
    }).differs("ENODEV for a number that no port's interface has; Linux binds to what may come"),
    so(63, "SO_TIMESTAMP_NEW", ALL)
        .value("bool")
        .set(Set::Int(|asked, on| Ok(set_timestamp(asked, on, 3))))
        .get(Get::Value(|asked| Ok(i32::from(asked.value(Field::Timestamp) == 3))))
        .stands(Standing::Library),
    so(64, "SO_TIMESTAMPNS_NEW", ALL)
        .value("bool")
        .set(Set::Int(|asked, on| Ok(set_timestamp(asked, on, 4))))
        .get(Get::Value(|asked| Ok(i32::from(asked.value(Field::Timestamp) == 4))))
        .stands(Standing::Library),
    so(65, "SO_TIMESTAMPING_NEW", ALL)
        .value("struct so_timestamping")
        .set(Set::Bytes(|asked, value| set_timestamping(asked, value, true)))
        .get(Get::Bytes(|asked, answer| get_timestamping(asked, answer, true)))
        .stands(Standing::Library)
        .differs("as SO_TIMESTAMPING"),
    so(66, "SO_RCVTIMEO_NEW", ALL).value("struct __kernel_sock_timeval").set(Set::Bytes(|asked, value| set_timeout(asked, value, 0))).get(
        Get::Bytes(|asked, answer| get_timeout(asked, answer, 0)),
    ).stands(Standing::Library).note("rounded up to 4 ms"),
    so(67, "SO_SNDTIMEO_NEW", ALL).value("struct __kernel_sock_timeval").set(Set::Bytes(|asked, value| set_timeout(asked, value, 1))).get(
        Get::Bytes(|asked, answer| get_timeout(asked, answer, 1)),
    ).stands(Standing::Library).note("rounded up to 4 ms"),
    so(68, "SO_DETACH_REUSEPORT_BPF", ALL).set(Set::Refused(Errno::INVAL)).note("there is never one: EINVAL (Linux says so outside of a group, and ENOENT in one without a program)"),
    so(69, "SO_PREFER_BUSY_POLL", ALL)
        .flag(Field::PreferBusyPoll)
        .set(Set::Int(|asked, on| {
            if on != 0 {
                privileged(asked)?;
            }
            Ok(asked.store(Field::PreferBusyPoll, i32::from(on != 0)))
        }))
        .stands(Standing::Kept)
        .note("the data plane polls always"),
    so(70, "SO_BUSY_POLL_BUDGET", ALL)
        .set(Set::Int(|asked, budget| match budget {
            _ if budget > asked.value(Field::BusyPollBudget) && !asked.facts.privileged => Err(Errno::PERM),
            0..=65_535 => Ok(asked.store(Field::BusyPollBudget, budget)),
            _ => Err(Errno::INVAL),
        }))
        .stands(Standing::Kept)
        .note("the data plane polls always; it cannot be read, as in Linux"),
    so(71, "SO_NETNS_COOKIE", ALL)
        .value("u64")
        .get(Get::Bytes(|_, answer| Err(if answer.longest == 8 { Errno::NOPROTOOPT } else { Errno::INVAL })))
        .stands(Standing::Library)
        .note("asked of the kernel's socket behind the descriptor"),
    so(72, "SO_BUF_LOCK", ALL).range(Field::BufferLock, 0, 3),
    so(73, "SO_RESERVE_MEM", ALL)
        .set(Set::Int(|_, bytes| Err(if bytes < 0 { Errno::INVAL } else { Errno::OPNOTSUPP })))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .note("as in Linux outside of a memory control group"),
    so(74, "SO_TXREHASH", Kinds::TCP)
        .set(Set::Int(|asked, mode| match mode {
            // -1: what the host has.
            -1 => Ok(asked.store(Field::TransmitRehash, 1)),
            0 | 1 => Ok(asked.store(Field::TransmitRehash, mode)),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Int(Field::TransmitRehash))
        .stands(Standing::Kept)
        .note("of effect for hashes that belong to sockets; here a flow's way follows from its addresses and ports"),
    so(74, "SO_TXREHASH", Kinds::DATAGRAM)
        .set(Set::Refused(Errno::OPNOTSUPP))
        .get(Get::Refused(Errno::OPNOTSUPP)),
    so(75, "SO_RCVMARK", ALL)
        .value("bool")
        .set(Set::Int(|_, on| if on == 0 { Ok(Effect::None) } else { Err(Errno::PERM) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("EPERM to switch on: packets have no marks"),
    so(76, "SO_PASSPIDFD", ALL).refused(Errno::OPNOTSUPP, Errno::OPNOTSUPP).note("unix sockets'"),
    so(77, "SO_PEERPIDFD", ALL).get(Get::Refused(Errno::NODATA)).note("unix sockets'"),
    so(80, "SO_DEVMEM_DONTNEED", Kinds::TCP)
        .value("struct dmabuf_token[]")
        .set(Set::Refused(Errno::INVAL))
        .stands(Standing::Refused)
        .differs("EINVAL for every list: nothing is received into memory of devices"),
    so(80, "SO_DEVMEM_DONTNEED", Kinds::DATAGRAM).set(Set::Refused(Errno::BADF)).note("TCP's"),
    so(82, "SO_RCVPRIORITY", ALL)
        .value("bool")
        .set(Set::Int(|_, on| if on == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on, as before Linux 6.14: packets have no priorities"),
    so(83, "SO_PASSRIGHTS", ALL).refused(Errno::OPNOTSUPP, Errno::OPNOTSUPP).note("unix sockets'"),
];

/// What Linux asks CAP_NET_ADMIN or CAP_NET_RAW for.
pub(super) fn privileged(asked: &Asked<'_>) -> Result<(), Errno> {
    if asked.facts.privileged { Ok(()) } else { Err(Errno::PERM) }
}

fn set_debug(asked: &mut Asked<'_>, on: i32) -> Result<Effect, Errno> {
    if on != 0 && !asked.facts.privileged {
        return Err(Errno::ACCESS);
    }
    Ok(asked.store(Field::Debug, i32::from(on != 0)))
}

/// A size as Linux makes it of what was asked for: unsigned, no more than the host allows, doubled.
fn doubled(bytes: i32, most: i32, least: i32) -> i32 {
    let bytes = (bytes as u32).min(most as u32).min(i32::MAX as u32 / 2) as i32;
    (bytes * 2).max(least)
}

fn send_buffer(asked: &mut Asked<'_>, bytes: i32, most: i32) -> Effect {
    let lock = asked.value(Field::BufferLock);
    asked.state.set(Field::BufferLock, lock | 1);
    asked.store(Field::SendBuffer, doubled(bytes, most, MIN_SEND_BUFFER))
}

fn receive_buffer(asked: &mut Asked<'_>, bytes: i32, most: i32) -> Effect {
    let lock = asked.value(Field::BufferLock);
    asked.state.set(Field::BufferLock, lock | 2);
    asked.store(Field::ReceiveBuffer, doubled(bytes, most, MIN_RECEIVE_BUFFER))
}

fn set_priority(asked: &mut Asked<'_>, priority: i32) -> Result<Effect, Errno> {
    if !(0..=6).contains(&priority) {
        privileged(asked)?;
    }
    Ok(asked.store(Field::Priority, priority))
}

fn set_linger(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    let (Some(on), Some(seconds)) = (int(value), value.get(4..).and_then(int)) else {
        return Err(Errno::INVAL);
    };
    if on != 0 {
        // Linux: less than nothing is for ever, and reads as what remains of that in ticks.
        let seconds = if seconds < 0 { LINGER_FOREVER } else { seconds };
        asked.state.set(Field::LingerTime, seconds);
    }
    Ok(asked.store(Field::LingerOn, i32::from(on != 0)))
}

fn get_linger(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    let words = [asked.value(Field::LingerOn), asked.value(Field::LingerTime)].map(i32::to_ne_bytes);
    answer.bytes(words.as_flattened());
    Ok(())
}

fn set_receive_low(asked: &mut Asked<'_>, bytes: i32) -> Result<Effect, Errno> {
    let bytes = if bytes < 0 { i32::MAX } else { bytes };
    let most = match asked.value(Field::BufferLock) & 2 {
        _ if !asked.facts.is_tcp() => i32::MAX,
        0 => TCP_RECEIVE_MAX / 2,
        _ => asked.value(Field::ReceiveBuffer) / 2,
    };
    Ok(asked.store(Field::ReceiveLow, bytes.min(most).max(1)))
}

fn set_timeout(asked: &mut Asked<'_>, value: &[u8], which: usize) -> Result<Effect, Errno> {
    let word = |at: usize| {
        value.get(at..at + 8).and_then(|bytes| bytes.first_chunk()).map(|bytes| i64::from_ne_bytes(*bytes))
    };
    let (Some(seconds), Some(micros)) = (word(0), word(8)) else { return Err(Errno::INVAL) };
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::DOM);
    }
    // Linux keeps ticks. Zero is no timeout at all, and so is more than fits; less than zero ends at once.
    let ticks = (micros as u64).div_ceil(LINUX_TICK_MICROS) * LINUX_TICK_MICROS;
    let timeout = match u64::try_from(seconds) {
        Err(_) => super::super::limits::TIMEOUT_AT_ONCE,
        Ok(seconds) => seconds.checked_mul(1_000_000).and_then(|time| time.checked_add(ticks)).unwrap_or(0),
    };
    asked.state.more_mut().timeouts[which] = timeout;
    Ok(Effect::None)
}

fn get_timeout(asked: &Asked<'_>, answer: &mut Answer<'_>, which: usize) -> Result<(), Errno> {
    let timeout = asked.state.timeout(which == 1);
    let timeout = if timeout == super::super::limits::TIMEOUT_AT_ONCE { 0 } else { timeout };
    let words = [timeout / 1_000_000, timeout % 1_000_000].map(u64::to_ne_bytes);
    answer.bytes(words.as_flattened());
    Ok(())
}

fn set_device(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    // IFNAMSIZ with its end.
    let name = &value[..value.len().min(15)];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if asked.value(Field::Device) != 0 {
        privileged(asked)?;
    }
    if name.is_empty() {
        return Ok(asked.store(Field::Device, 0));
    }
    let port = asked.links.by_name(name).ok_or(Errno::NODEV)?;
    Ok(asked.store(Field::Device, asked.links.number(port) as i32))
}

fn bind_to(asked: &mut Asked<'_>, index: i32) -> Result<Effect, Errno> {
    if asked.value(Field::Device) != 0 {
        privileged(asked)?;
    }
    if index != 0 && asked.links.by_number(index as u32).is_none() {
        return Err(Errno::NODEV);
    }
    Ok(asked.store(Field::Device, index))
}

fn get_device(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    let index = asked.value(Field::Device) as u32;
    let link = asked.links.0.iter().find(|link| link.number == index && index != 0);
    let Some(link) = link else {
        answer.bytes(&[]);
        return Ok(());
    };
    if answer.longest < 16 {
        return Err(Errno::INVAL);
    }
    let mut name = link.name.as_bytes().to_vec();
    name.truncate(15);
    name.push(0);
    answer.bytes(&name);
    Ok(())
}

/// `way`: as [`Field::Timestamp`] counts them. Switching any of them off switches all of them off.
fn set_timestamp(asked: &mut Asked<'_>, on: i32, way: i32) -> Effect {
    asked.store(Field::Timestamp, if on == 0 { 0 } else { way })
}

fn set_timestamping(asked: &mut Asked<'_>, value: &[u8], new: bool) -> Result<Effect, Errno> {
    let (Some(flags), clock) = (int(value), if value.len() == 8 { int(&value[4..]) } else { None }) else {
        return Err(Errno::INVAL);
    };
    let has = |bit| flags & bit != 0;
    if flags & !TIMESTAMPING_BOUNDS != 0
        || has(stamping::OPT_ID_TCP) && !has(stamping::OPT_ID)
        || has(stamping::OPT_STATS) && !has(stamping::OPT_TSONLY)
    {
        return Err(Errno::INVAL);
    }
    let counted = asked.value(Field::Timestamping) & stamping::OPT_ID != 0;
    let is_tcp = asked.facts.is_tcp();
    // Linux: what a stream is not yet, or will never be, has no bytes to count.
    if has(stamping::OPT_ID)
        && !counted
        && is_tcp
        && !matches!(asked.facts.stage, Stage::Connecting | Stage::Connected)
    {
        return Err(Errno::INVAL);
    }
    asked.state.set(Field::TimestampingClock, clock.unwrap_or(0));
    asked.state.set(Field::TimestampNew, i32::from(new));
    let effect = asked.store(Field::Timestamping, flags);
    Ok(match (has(stamping::OPT_ID), counted) {
        _ if !is_tcp => effect,
        (true, true) => Effect::None,
        (true, false) if has(stamping::OPT_ID_TCP) => {
            Effect::Tcp(SocketOption::StampKeys(StampKeys::Written))
        }
        (true, false) => Effect::Tcp(SocketOption::StampKeys(StampKeys::Unacknowledged)),
        (false, _) => Effect::Tcp(SocketOption::StampKeys(StampKeys::None)),
    })
}

fn get_timestamping(asked: &Asked<'_>, answer: &mut Answer<'_>, new: bool) -> Result<(), Errno> {
    let is = new == (asked.value(Field::TimestampNew) != 0);
    let words =
        if is { [asked.value(Field::Timestamping), asked.value(Field::TimestampingClock)] } else { [0, 0] };
    answer.bytes(words.map(i32::to_ne_bytes).as_flattened());
    Ok(())
}

fn set_pacing(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    let rate = match (value.first_chunk::<8>(), int(value)) {
        (Some(rate), _) => u64::from_ne_bytes(*rate),
        (_, Some(-1)) => u64::MAX,
        (_, Some(rate)) => u64::from(rate as u32),
        _ => return Err(Errno::INVAL),
    };
    asked.state.more_mut().pacing = (rate != u64::MAX).then_some(rate);
    Ok(Effect::pacing(rate))
}

fn get_pacing(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    let rate = asked.state.more().and_then(|more| more.pacing).unwrap_or(u64::MAX);
    if answer.longest >= 8 {
        answer.bytes(&rate.to_ne_bytes());
    } else {
        answer.bytes(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    }
    Ok(())
}
