//! The ioctls of sockets (tcp(7), udp(7), netdevice(7)).
//!
//! Interface queries are answered for the ports, under the names of the kernel's interfaces, with the addresses that the
//! data plane has there: the kernel knows nothing of those. ENODEV says that the interface is the kernel's own.

use super::About;
use super::live::sockaddr;
use crate::builtin::host::Host;
use crate::session::links::Link;
use crate::session::socket::{Kind, Socket};
use crate::session::{Errno, errno};
use flumen_ipc::call::AGE_OF_DATA;
use flumen_ipc::limits::CALL_DATA;
use flumen_stack::{FramePool, Interface, Probe};
use std::net::{IpAddr, SocketAddr};
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
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;

const fn request(number: u32, name: &'static str, note: &'static str) -> Request {
    Request { number, name, note }
}

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
    request(SIOCGIFNAME, "SIOCGIFNAME", "the interface's name, of its number"),
    request(SIOCGIFINDEX, "SIOCGIFINDEX", "its number"),
    request(SIOCGIFCONF, "SIOCGIFCONF", "the ports with their IPv4 addresses; the answer is the list"),
    request(SIOCGIFFLAGS, "SIOCGIFFLAGS", "IFF_UP, IFF_RUNNING, IFF_BROADCAST, IFF_MULTICAST"),
    request(SIOCGIFADDR, "SIOCGIFADDR", "the first IPv4 address"),
    request(
        SIOCGIFDSTADDR,
        "SIOCGIFDSTADDR",
        "the same, as Linux answers for links that are not point to point",
    ),
    request(SIOCGIFBRDADDR, "SIOCGIFBRDADDR", "the broadcast address of its subnet"),
    request(SIOCGIFNETMASK, "SIOCGIFNETMASK", "the mask of its subnet"),
    request(SIOCGIFMETRIC, "SIOCGIFMETRIC", "0"),
    request(SIOCGIFMTU, "SIOCGIFMTU", "the port's MTU"),
    request(SIOCGIFHWADDR, "SIOCGIFHWADDR", "the port's station address"),
    request(SIOCGIFTXQLEN, "SIOCGIFTXQLEN", "0: ports send at once"),
];

/// Bytes of `struct ifreq`, and of the name in it.
const IFREQ: usize = 40;
const IFNAMSIZ: usize = 16;

/// Bytes that the program wrote and the worker did not take yet.
pub fn unsent_in_ring(about: &About<'_>) -> u32 {
    let (end, taken) = (about.cell.program.tx_tail.load(Relaxed), about.cell.worker.tx_head.load(Relaxed));
    // The program may say anything; no more than a ring holds can be meant.
    end.saturating_sub(taken).min(u64::from(flumen_ipc::limits::MAX_RING)) as u32
}

/// Answers.
///
/// # Errors
/// Linux's; ENOTTY for a request that sockets do not have, ENODEV for an interface that is none of ours.
pub fn answer<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &Socket,
    request: u32,
    argument: &[u8],
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
        SIOCGIFCONF => Ok(list(host, about, out)),
        SIOCGIFNAME..=SIOCGIFTXQLEN => interface(host, about, request, argument, out),
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

/// The port that a program's interface stands for.
fn port_of<'a, P: FramePool, M: Probe>(
    host: &'a Host<'_, '_, P, M>,
    link: &Link,
) -> Result<&'a Interface, Errno> {
    host.stack.interfaces.get(link.port).ok_or(Errno::NODEV)
}

fn interface<P: FramePool, M: Probe>(
    host: &Host<'_, '_, P, M>,
    about: &About<'_>,
    request: u32,
    argument: &[u8],
    out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    let asked: [u8; IFREQ] = argument.first_chunk().copied().ok_or(Errno::FAULT)?;
    let (name, rest) = asked.split_at(IFNAMSIZ);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let number = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
    let mut links = about.links.0.iter();
    let link = match request {
        SIOCGIFNAME => links.find(|link| link.number == number),
        _ => links.find(|link| link.name.as_bytes() == name),
    };
    let link = link.ok_or(Errno::NODEV)?;
    let port = port_of(host, link)?;
    let answer = &mut out[..IFREQ];
    answer.copy_from_slice(&asked);
    let value = match request {
        SIOCGIFNAME => {
            put_name(answer, link);
            return Ok(IFREQ);
        }
        SIOCGIFINDEX => link.number,
        SIOCGIFMTU => u32::from(port.mtu),
        SIOCGIFMETRIC | SIOCGIFTXQLEN => 0,
        SIOCGIFFLAGS => flags(port),
        SIOCGIFHWADDR => {
            // ARPHRD_ETHER.
            answer[IFNAMSIZ..IFNAMSIZ + 2].copy_from_slice(&1u16.to_ne_bytes());
            answer[IFNAMSIZ + 2..IFNAMSIZ + 8].copy_from_slice(&port.mac.0);
            return Ok(IFREQ);
        }
        SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK => {
            let net = port.ipv4.first().ok_or(Errno::ADDRNOTAVAIL)?;
            let address = match request {
                SIOCGIFBRDADDR => net.broadcast(),
                SIOCGIFNETMASK => net.netmask(),
                _ => net.addr(),
            };
            put_address(answer, address.into());
            return Ok(IFREQ);
        }
        _ => return Err(Errno::NOTTY),
    };
    answer[IFNAMSIZ..IFNAMSIZ + 4].copy_from_slice(&value.to_ne_bytes());
    Ok(IFREQ)
}

fn flags(port: &Interface) -> u32 {
    const UP: u32 = 1;
    const BROADCAST: u32 = 2;
    const RUNNING: u32 = 0x40;
    const MULTICAST: u32 = 0x1000;
    UP | BROADCAST | MULTICAST | if port.up { RUNNING } else { 0 }
}

fn put_name(answer: &mut [u8], link: &Link) {
    let len = link.name.len().min(IFNAMSIZ - 1);
    answer[..IFNAMSIZ].fill(0);
    answer[..len].copy_from_slice(&link.name.as_bytes()[..len]);
}

fn put_address(answer: &mut [u8], address: IpAddr) {
    let (bytes, len) = sockaddr(SocketAddr::new(address, 0), false);
    answer[IFNAMSIZ..IFNAMSIZ + len].copy_from_slice(&bytes[..len]);
}

/// The list of SIOCGIFCONF: an entry for each IPv4 address, as many as there is room for.
fn list<P: FramePool, M: Probe>(
    host: &Host<'_, '_, P, M>,
    about: &About<'_>,
    out: &mut [u8; CALL_DATA],
) -> usize {
    let mut entries = out.chunks_exact_mut(IFREQ);
    let mut len = 0;
    for link in &about.links.0 {
        let Ok(port) = port_of(host, link) else { continue };
        for net in &port.ipv4 {
            let Some(entry) = entries.next() else { return len };
            entry.fill(0);
            put_name(entry, link);
            put_address(entry, net.addr().into());
            len += IFREQ;
        }
    }
    len
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

    #[test]
    fn a_long_name_is_cut_and_ends() {
        let port = flumen_stack::PortId::FIRST;
        let mut answer = [7; IFREQ];
        put_name(&mut answer, &Link { port, name: "x".repeat(30), number: 3 });
        assert_eq!((answer[14], answer[15]), (b'x', 0));
    }
}
