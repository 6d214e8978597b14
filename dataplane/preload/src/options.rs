//! Socket options. While a socket is undecided they are the kernel's, and remembered; then they go to the service as they
//! are. Some are this library's own, because they say what calls do: timeouts, how long close waits, the error that is
//! reported once. Some are noted in the cell as well, so that received datagrams get their control messages here.

use crate::attach::Answer;
use crate::control::{
    IPV6_2292HOPLIMIT, IPV6_2292PKTINFO, SO_TIMESTAMP_NEW, SO_TIMESTAMPING_NEW, SO_TIMESTAMPNS_NEW,
};
use crate::errno::{Errno, Result, from_libc};
use crate::limits::{MAX_JOURNAL, MAX_JOURNAL_BYTES};
use crate::real;
use crate::socket::{Part, Remembered, Socket, State, open};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering::*};
use flumen_ipc::Op;
use flumen_ipc::limits::CALL_DATA;
use libc::{SOL_IP, SOL_IPV6, SOL_SOCKET, SOL_TCP, SOL_UDP, socklen_t};

/// SO_RCVTIMEO with 64-bit time, and its kin: the same here.
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;
/// SO_TIMESTAMPING's words (linux/net_tstamp.h).
pub mod stamping {
    use core::ffi::c_int;
    /// SOF_TIMESTAMPING_TX_SOFTWARE.
    pub const TX_SOFTWARE: c_int = 1 << 1;
    /// SOF_TIMESTAMPING_RX_SOFTWARE.
    pub const RX_SOFTWARE: c_int = 1 << 3;
    /// SOF_TIMESTAMPING_SOFTWARE.
    pub const SOFTWARE: c_int = 1 << 4;
    /// SOF_TIMESTAMPING_OPT_ID.
    pub const OPT_ID: c_int = 1 << 7;
    /// SOF_TIMESTAMPING_TX_SCHED.
    pub const TX_SCHED: c_int = 1 << 8;
    /// SOF_TIMESTAMPING_TX_ACK.
    pub const TX_ACK: c_int = 1 << 9;
    /// The stamps of what is sent that come here.
    pub const TX: c_int = TX_SOFTWARE | TX_SCHED | TX_ACK;
    /// All that a control message may ask for: those of hardware and SOF_TIMESTAMPING_TX_COMPLETION never come.
    pub const TX_ASKED: c_int = TX | 1 | 1 << 18;
}

/// Not in libc for this target.
const TCP_INQ: c_int = 36;
const SO_NETNS_COOKIE: c_int = 71;

/// Longest option that is carried.
const LONGEST: usize = CALL_DATA;

/// Sets an option of a socket that is not the kernel's.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set(fd: c_int, socket: &Socket, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    match socket.state() {
        State::Kernel => set_kernel(fd, level, name, value),
        State::Undecided => {
            set_kernel(fd, level, name, value)?;
            remember(socket, level, name, value)
        }
        State::Flumen => set_part(&socket.part().ok_or(Errno(libc::EBADF))?, level, name, value),
        State::Both => {
            let set = set_part(&socket.part().ok_or(Errno(libc::EBADF))?, level, name, value);
            if set.is_ok() && !socket.is_stream() {
                // It may lose Flumen's part, and get one again; who has more groups than are remembered has them until then.
                let _remembered = remember(socket, level, name, value);
            }
            if names_interface(level, name) {
                // By an address, or by what has routes: of the two one may know it.
                return set_kernel(fd, level, name, value).or(set);
            }
            set?;
            set_kernel(fd, level, name, value)
        }
    }
}

fn set_kernel(fd: c_int, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    // SAFETY: the value is live.
    let set = unsafe { real::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as socklen_t) };
    from_libc(set).map(drop)
}

/// The option that one about groups takes back.
fn undoes(level: c_int, name: c_int) -> Option<c_int> {
    match (level, name) {
        (SOL_IP, libc::IP_DROP_MEMBERSHIP) => Some(libc::IP_ADD_MEMBERSHIP),
        (SOL_IP, libc::IP_DROP_SOURCE_MEMBERSHIP) => Some(libc::IP_ADD_SOURCE_MEMBERSHIP),
        (SOL_IP, libc::IP_UNBLOCK_SOURCE) => Some(libc::IP_BLOCK_SOURCE),
        (SOL_IPV6, libc::IPV6_DROP_MEMBERSHIP) => Some(libc::IPV6_ADD_MEMBERSHIP),
        (SOL_IP | SOL_IPV6, 44) => Some(43), // MCAST_UNBLOCK_SOURCE, MCAST_BLOCK_SOURCE
        (SOL_IP | SOL_IPV6, 45) => Some(42), // MCAST_LEAVE_GROUP, MCAST_JOIN_GROUP
        (SOL_IP | SOL_IPV6, 47) => Some(46), // MCAST_LEAVE_SOURCE_GROUP, MCAST_JOIN_SOURCE_GROUP
        _ => None,
    }
}

/// Options about groups, which say an interface.
fn names_interface(level: c_int, name: c_int) -> bool {
    match level {
        SOL_IP => name == libc::IP_MULTICAST_IF || is_one_of_many(level, name),
        SOL_IPV6 => name == libc::IPV6_MULTICAST_IF || is_one_of_many(level, name),
        _ => false,
    }
}

/// Options that may be set more than once, each time for something else.
fn is_one_of_many(level: c_int, name: c_int) -> bool {
    const MCAST_FIRST: c_int = 42; // MCAST_JOIN_GROUP …
    const MCAST_LAST: c_int = 48; // … MCAST_MSFILTER
    const TCP_MD5SIG: c_int = 14;
    const TCP_MD5SIG_EXT: c_int = 32;
    match level {
        SOL_IP => (35..=41).contains(&name) || (MCAST_FIRST..=MCAST_LAST).contains(&name),
        SOL_IPV6 => matches!(name, 20 | 21 | 27 | 28) || (MCAST_FIRST..=MCAST_LAST).contains(&name),
        SOL_TCP => matches!(name, TCP_MD5SIG | TCP_MD5SIG_EXT | 38..=40),
        _ => false,
    }
}

fn remember(socket: &Socket, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    socket.remembers.store(true, Relaxed);
    let mut slow = socket.slow.lock();
    let journal = &mut slow.journal;
    if !is_one_of_many(level, name) {
        journal.retain(|one| (one.level, one.name) != (level, name));
    } else if let Some(undone) = undoes(level, name) {
        let done = |one: &Remembered| (one.level, one.name) == (level, undone) && one.value == value;
        if let Some(place) = journal.iter().rposition(done) {
            journal.remove(place);
            return Ok(());
        }
    }
    let bytes: usize = journal.iter().map(|one| one.value.len()).sum();
    if journal.len() >= MAX_JOURNAL || bytes + value.len() > MAX_JOURNAL_BYTES {
        return Err(Errno(libc::ENOBUFS));
    }
    journal.push(Remembered { level, name, value: value.to_vec() });
    Ok(())
}

/// Tells Flumen's part the options that were set until now. One that Flumen refuses and the kernel granted stays without effect:
/// the call that could have said so is over.
pub fn replay(part: &Part<'_>) {
    if !part.socket.remembers.load(Relaxed) {
        return;
    }
    let journal = part.socket.slow.lock().journal.clone();
    for one in journal {
        if let Err(error) = set_part(part, one.level, one.name, &one.value) {
            crate::complaints::tell_refused(one.level, one.name, error);
        }
    }
}

fn set_part(part: &Part<'_>, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    match (level, name) {
        (SOL_SOCKET, libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW) => {
            return set_timeout(&part.cell.program.receive_timeout, value);
        }
        (SOL_SOCKET, libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW) => {
            return set_timeout(&part.cell.program.send_timeout, value);
        }
        _ => {}
    }
    if value.len() > LONGEST {
        return Err(Errno(libc::EINVAL));
    }
    part.call(Op::SetOption, [level as u64, name as u64, 0, 0], value)?;
    note(part, level, name, value);
    Ok(())
}

/// What the service accepted and this library must know.
fn note(part: &Part<'_>, level: c_int, name: c_int, value: &[u8]) {
    part.socket.set_sent_to(0);
    let number = match *value {
        [a, b, c, d, ..] => c_int::from_ne_bytes([a, b, c, d]),
        [a, ..] => c_int::from(a),
        [] => return,
    };
    let on = number != 0;
    match (level, name) {
        (SOL_SOCKET, libc::SO_LINGER) => {
            let seconds =
                value.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes));
            part.set_linger(seconds.filter(|_| on));
        }
        (SOL_SOCKET, libc::SO_RCVLOWAT) => {
            part.set_low_mark(if number < 0 { i32::MAX as u32 } else { number as u32 });
        }
        (SOL_SOCKET, libc::SO_PEEK_OFF) => part.set_peek_offset(number),
        (SOL_SOCKET, libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW) => {
            part.set_open(open::TIMESTAMP, on);
            part.set_open(open::TIMESTAMP_NS, false);
            part.set_open(open::TIMESTAMP_NEW, on && name == SO_TIMESTAMP_NEW);
        }
        (SOL_SOCKET, libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW) => {
            part.set_open(open::TIMESTAMP_NS, on);
            part.set_open(open::TIMESTAMP, false);
            part.set_open(open::TIMESTAMP_NEW, on && name == SO_TIMESTAMPNS_NEW);
        }
        (SOL_SOCKET, libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW) => {
            use stamping::{OPT_ID, RX_SOFTWARE, SOFTWARE, TX};
            const OURS: c_int = RX_SOFTWARE | SOFTWARE;
            part.set_open(open::TIMESTAMPING, number & OURS == OURS);
            part.set_open(open::STAMPS_SENT, number & TX != 0);
            part.set_open(open::STAMP_TIMES, number & SOFTWARE != 0);
            part.set_open(open::STAMP_KEYS, number & OPT_ID != 0);
            part.set_open(open::TIMESTAMP_NEW, name == SO_TIMESTAMPING_NEW);
        }
        _ => {
            if let Some(bit) = bit(level, name) {
                part.set_open(bit, on);
            }
        }
    }
}

/// The bit of the cell that stands for an option.
fn bit(level: c_int, name: c_int) -> Option<u32> {
    Some(match (level, name) {
        (SOL_SOCKET, libc::SO_OOBINLINE) => open::OOB_INLINE,
        (SOL_SOCKET, libc::SO_RXQ_OVFL) => open::DROPS,
        (SOL_SOCKET, libc::SO_SELECT_ERR_QUEUE) => open::SELECT_ERRORS,
        (SOL_SOCKET, libc::SO_ZEROCOPY) => open::ZERO_COPY,
        (SOL_IP, libc::IP_RECVOPTS) => open::OPTIONS,
        (SOL_IP, libc::IP_RETOPTS) => open::OPTIONS_TO_RETURN,
        (SOL_IP, libc::IP_PKTINFO) => open::PACKET_INFO,
        (SOL_IP, libc::IP_RECVTTL) => open::TTL,
        (SOL_IP, libc::IP_RECVTOS) => open::TOS,
        (SOL_IP, libc::IP_RECVORIGDSTADDR) => open::ORIGINAL,
        (SOL_IP, libc::IP_RECVERR) | (SOL_IPV6, libc::IPV6_RECVERR) => open::ERROR_QUEUE,
        (SOL_IPV6, libc::IPV6_RECVPKTINFO) => open::PACKET_INFO6,
        (SOL_IPV6, libc::IPV6_RECVHOPLIMIT) => open::HOP_LIMIT,
        (SOL_IPV6, libc::IPV6_RECVTCLASS) => open::CLASS,
        (SOL_IPV6, IPV6_2292PKTINFO) => open::OLD_PACKET_INFO6,
        (SOL_IPV6, IPV6_2292HOPLIMIT) => open::OLD_HOP_LIMIT,
        (SOL_IPV6, libc::IPV6_RECVORIGDSTADDR) => open::ORIGINAL6,
        (SOL_UDP | libc::IPPROTO_UDPLITE, libc::UDP_GRO) => open::GRO,
        (SOL_UDP | libc::IPPROTO_UDPLITE, libc::UDP_CORK) => open::CORKED,
        (SOL_TCP, TCP_INQ) => open::INQ,
        _ => return None,
    })
}

const MICROS: u64 = 1_000_000;

/// Linux keeps times in ticks (CONFIG_HZ of 250, as distributions have it), rounded up.
const TICK: u64 = 4_000;

/// A time that is over at once, which no rounded one is; it reads as zero, as on Linux.
const AT_ONCE: u64 = 1;

/// As sock_set_timeout of Linux.
fn set_timeout(word: &AtomicU64, value: &[u8]) -> Result<()> {
    let Some(&[a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7]) = value.first_chunk::<16>()
    else {
        return Err(Errno(libc::EINVAL));
    };
    let seconds = i64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
    let micros = i64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let Some(micros) = u64::try_from(micros).ok().filter(|micros| *micros < MICROS) else {
        return Err(Errno(libc::EDOM));
    };
    let micros = micros.next_multiple_of(TICK);
    let all = match u64::try_from(seconds) {
        Err(_negative) => AT_ONCE,
        // More than can be counted is no timeout at all.
        Ok(seconds) => seconds.checked_mul(MICROS).and_then(|time| time.checked_add(micros)).unwrap_or(0),
    };
    word.store(all, Relaxed);
    Ok(())
}

/// Gets an option of a socket that is not the kernel's; says how many bytes of `out` it filled.
///
/// # Errors
/// Those of getsockopt(2).
pub fn get(fd: c_int, socket: &Socket, level: c_int, name: c_int, out: &mut [u8]) -> Result<usize> {
    let Some(part) = socket.part() else { return get_kernel(fd, level, name, out) };
    let word = match (level, name) {
        // What the kernel's socket is, Flumen's is.
        (
            SOL_SOCKET,
            libc::SO_TYPE | libc::SO_DOMAIN | libc::SO_PROTOCOL | libc::SO_COOKIE | SO_NETNS_COOKIE,
        ) => return get_kernel(fd, level, name, out),
        (SOL_SOCKET, libc::SO_PEEK_OFF) if part.peek_offset() != -1 => {
            return Ok(copy(&part.peek_offset().to_ne_bytes(), out));
        }
        (SOL_SOCKET, libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW) => &part.cell.program.receive_timeout,
        (SOL_SOCKET, libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW) => &part.cell.program.send_timeout,
        (SOL_SOCKET, libc::SO_ERROR) => {
            if !part.has_error() {
                // What arrived and was not looked at yet may be an error: the worker looks before it answers.
                let _name = part.call(Op::Name, [0; 4], &[]);
            }
            let error = match part.cell.take_error() {
                0 if socket.state() == State::Both => return get_kernel(fd, level, name, out),
                0 if part.is_over() => libc::ECONNRESET,
                error => error as c_int,
            };
            return Ok(copy(&error.to_ne_bytes(), out));
        }
        _ => return get_part(&part, level, name, out),
    };
    let micros = word.load(Relaxed);
    let micros = if micros == AT_ONCE { 0 } else { micros };
    let mut time = [0; 16];
    time[..8].copy_from_slice(&(micros / MICROS).to_ne_bytes());
    time[8..].copy_from_slice(&(micros % MICROS).to_ne_bytes());
    Ok(copy(&time, out))
}

fn copy(bytes: &[u8], out: &mut [u8]) -> usize {
    let len = bytes.len().min(out.len());
    out[..len].copy_from_slice(&bytes[..len]);
    len
}

fn get_part(part: &Part<'_>, level: c_int, name: c_int, out: &mut [u8]) -> Result<usize> {
    let mut answer: Answer = [0; CALL_DATA];
    let args = [level as u64, name as u64, out.len() as u64, 0];
    let passed = &out[..out.len().min(LONGEST)];
    let (_, bytes) = part.call_for(Op::GetOption, args, passed, &mut answer)?;
    Ok(copy(bytes, out))
}

fn get_kernel(fd: c_int, level: c_int, name: c_int, out: &mut [u8]) -> Result<usize> {
    let mut len = out.len() as socklen_t;
    // SAFETY: the room is live and as long as it says.
    from_libc(unsafe { real::getsockopt(fd, level, name, out.as_mut_ptr().cast(), &raw mut len) })?;
    Ok((len as usize).min(out.len()))
}

/// The kernel's name for its socket (SO_COOKIE).
///
/// # Errors
/// It is no socket.
pub fn cookie(fd: c_int) -> Result<u64> {
    let mut bytes = [0; 8];
    get_kernel(fd, SOL_SOCKET, libc::SO_COOKIE, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;

    #[test]
    fn timeouts_are_checked_as_linux_does() {
        let word = AtomicU64::new(7);
        let time = |seconds: i64, micros: i64| [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat();
        assert_eq!(set_timeout(&word, &time(1, 0)[..15]), Err(Errno(libc::EINVAL)));
        assert_eq!(set_timeout(&word, &time(1, 1_000_000)), Err(Errno(libc::EDOM)));
        assert_eq!(set_timeout(&word, &time(1, -1)), Err(Errno(libc::EDOM)));
        assert_eq!(word.load(SeqCst), 7);
        set_timeout(&word, &time(2, 5)).unwrap();
        assert_eq!(word.load(SeqCst), 2_004_000, "in ticks");
        set_timeout(&word, &time(-1, 0)).unwrap();
        assert_eq!(word.load(SeqCst), AT_ONCE);
        set_timeout(&word, &time(i64::MAX, 0)).unwrap();
        assert_eq!(word.load(SeqCst), 0, "no timeout");
    }

    #[test]
    fn the_journal_keeps_the_last_value_of_each_option_and_every_membership_and_is_bounded() {
        let socket = pool::take(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP).unwrap();
        for value in [1u8, 2] {
            remember(&socket, SOL_SOCKET, libc::SO_REUSEADDR, &[value]).unwrap();
            remember(&socket, SOL_IP, libc::IP_ADD_MEMBERSHIP, &[value]).unwrap();
        }
        let kept: Vec<_> =
            socket.slow.lock().journal.iter().map(|one| (one.name, one.value.clone())).collect();
        let member = libc::IP_ADD_MEMBERSHIP;
        assert_eq!(kept, [(member, vec![1]), (libc::SO_REUSEADDR, vec![2]), (member, vec![2])]);
        remember(&socket, SOL_IP, libc::IP_DROP_MEMBERSHIP, &[2]).unwrap();
        assert_eq!(socket.slow.lock().journal.len(), 2, "what was left is forgotten");
        while socket.slow.lock().journal.len() < MAX_JOURNAL {
            remember(&socket, SOL_IP, member, &[0]).unwrap();
        }
        assert_eq!(remember(&socket, SOL_IP, member, &[0]), Err(Errno(libc::ENOBUFS)));
        let socket = pool::take(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP).unwrap();
        remember(&socket, SOL_IP, member, &[0; MAX_JOURNAL_BYTES - 10]).unwrap();
        assert_eq!(remember(&socket, SOL_IP, member, &[0; 11]), Err(Errno(libc::ENOBUFS)), "a byte too many");
        assert_eq!(remember(&socket, SOL_IP, member, &[0; 10]), Ok(()));
    }
}
