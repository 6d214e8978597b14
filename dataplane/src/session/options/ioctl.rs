//! The ioctls of sockets (tcp(7), udp(7), netdevice(7)).
//!
//! Those about interfaces are the kernel's to answer, as everything else that tells a program about interfaces is (netlink,
//! /sys): a list that changed with the socket that is asked would help nobody.

use super::About;
use crate::builtin::host::Host;
use crate::session::socket::{Kind, Socket};
use crate::session::{Errno, errno};
use flumen_ipc::call::AGE_OF_DATA;
use flumen_ipc::limits::CALL_DATA;
use flumen_stack::{FramePool, Probe};
use std::sync::atomic::Ordering::Relaxed;

/// A request: its number, its name, what it answers, and what there is to say about it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// What it does here.
    pub note: &'static str,
}

const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCATMARK: u32 = 0x8905;
const SIOCOUTQNSD: u32 = 0x894b;

const fn request(number: u32, name: &'static str, note: &'static str) -> Request {
    Request { number, name, note }
}

const KERNELS: &str = "the kernel's answer";

/// All of them.
pub const REQUESTS: &[Request] = &[
    request(0x5421, "FIONBIO", "works (library): the descriptor's own flag"),
    request(
        0x5452,
        "FIOASYNC",
        "the library does it, and FIOSETOWN, SIOCSPGRP and their kin: see exceptions.md",
    ),
    request(
        FIONREAD,
        "FIONREAD, SIOCINQ",
        "bytes that can be read; of datagram sockets those of the next datagram. EINVAL for listeners",
    ),
    request(
        SIOCOUTQ,
        "SIOCOUTQ, TIOCOUTQ",
        "TCP: bytes that are not acknowledged. EINVAL for listeners; 0 for datagram sockets, which send at once",
    ),
    request(SIOCOUTQNSD, "SIOCOUTQNSD", "TCP: bytes that are not sent"),
    request(SIOCATMARK, "SIOCATMARK", "TCP: 1 when the next byte is the urgent one"),
    request(
        0x8906,
        "SIOCGSTAMP, SIOCGSTAMPNS",
        "works (library): when the last datagram came that was received. ENOENT before there is one, for streams, and while SO_TIMESTAMP and its kin ask for control messages",
    ),
    request(0x8910, "SIOCGIFNAME", KERNELS),
    request(0x8933, "SIOCGIFINDEX", KERNELS),
    request(0x8912, "SIOCGIFCONF", KERNELS),
    request(0x8913, "SIOCGIFFLAGS", KERNELS),
    request(0x8915, "SIOCGIFADDR", KERNELS),
    request(0x8917, "SIOCGIFDSTADDR", KERNELS),
    request(0x8919, "SIOCGIFBRDADDR", KERNELS),
    request(0x891b, "SIOCGIFNETMASK", KERNELS),
    request(0x891d, "SIOCGIFMETRIC", KERNELS),
    request(0x8921, "SIOCGIFMTU", KERNELS),
    request(0x8927, "SIOCGIFHWADDR", KERNELS),
    request(0x8942, "SIOCGIFTXQLEN", KERNELS),
];

/// Bytes that the program wrote and the worker did not take yet.
pub fn unsent_in_ring(about: &About<'_>) -> u32 {
    let (end, taken) = (about.cell.program.tx_tail.load(Relaxed), about.cell.worker.tx_head.load(Relaxed));
    // The program may say anything; no more than a ring holds can be meant.
    end.saturating_sub(taken).min(u64::from(flumen_ipc::limits::MAX_RING)) as u32
}

/// Answers.
///
/// # Errors
/// Linux's; ENOTTY for a request that is not about what waits.
pub fn answer<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &Socket,
    request: u32,
    out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    match request {
        FIONREAD | SIOCOUTQ | SIOCOUTQNSD | SIOCATMARK => {
            let number = queue(host, about, socket, request)?;
            out[..4].copy_from_slice(&number.to_ne_bytes());
            Ok(4)
        }
        AGE_OF_DATA => {
            let Kind::Tcp(handle) = socket.kind else { return Err(Errno::NOTTY) };
            let age = host.tcp().tcp_info(handle).map_err(errno)?.last_data_recv;
            let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            out[..8].copy_from_slice(&nanos.to_ne_bytes());
            Ok(8)
        }
        _ => Err(Errno::NOTTY),
    }
}

/// How much waits to be read or sent.
fn queue<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &Socket,
    request: u32,
) -> Result<i32, Errno> {
    let number = match (request, socket.kind) {
        (SIOCATMARK, Kind::Tcp(handle)) => usize::from(host.tcp().tcp_at_mark(handle)),
        (SIOCATMARK, Kind::TcpClosed | Kind::Listener(_)) => 0,
        (_, Kind::Listener(_)) => return Err(Errno::INVAL),
        (_, Kind::TcpClosed) => 0,
        (FIONREAD, Kind::Tcp(handle)) => host.tcp().tcp_look(handle).map_err(errno)?.readable(),
        (SIOCOUTQ, Kind::Tcp(handle)) => {
            host.tcp().tcp_look(handle).map_err(errno)?.unacknowledged() + unsent_in_ring(about) as usize
        }
        (SIOCOUTQNSD, Kind::Tcp(handle)) => {
            host.tcp().tcp_look(handle).map_err(errno)?.unsent() + unsent_in_ring(about) as usize
        }
        (FIONREAD, Kind::Udp(handle)) => host.stack.udp_next_len(handle),
        (FIONREAD, Kind::Raw(handle) | Kind::Ping(handle)) => {
            host.stack.raw_waiting(handle).map_or(0, |oldest| oldest.len)
        }
        (SIOCOUTQ, _) => unsent_in_ring(about) as usize,
        _ => return Err(Errno::NOTTY),
    };
    Ok(i32::try_from(number).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_listed_once() {
        for (place, one) in REQUESTS.iter().enumerate() {
            assert!(REQUESTS[..place].iter().all(|other| other.number != one.number), "{}", one.name);
        }
    }
}
