//! What travels beside the bytes of a datagram: where to and by which way when sending, where from and how it
//! came when receiving (control messages, RFC 3542; ip(7), ipv6(7), udp(7) of Linux).
//!
//! Everything is always filled in on receipt; which of it a program hears (IP_PKTINFO, IP_RECVTTL, SO_TIMESTAMP
//! and their kin) is the business of whoever translates for that program.

use super::error::Error;
use super::ip_options::IpOptions;
use super::stamps::StampKinds;
use crate::ethernet::LinkCast;
use crate::port::PortId;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};

/// How one datagram is to be sent. The default sends it to the peer of a connected socket, as the options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendArgs {
    /// Where to; `None` for the peer that the socket is connected to. Raw sockets ignore the port number.
    pub to: Option<SocketAddr>,
    /// More of the same datagram follows (MSG_MORE).
    pub more: bool,
    /// What overrides the socket's options for this datagram.
    pub control: SendControl,
}

impl SendArgs {
    /// To `to`, with nothing special.
    pub fn to(to: SocketAddr) -> Self {
        SendArgs { to: Some(to), ..SendArgs::default() }
    }
}

/// What a control message can ask for one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendControl {
    /// TTL or hop limit (IP_TTL, IPV6_HOPLIMIT): 1 to 255.
    pub ttl: Option<u8>,
    /// Type of service or traffic class (IP_TOS, IPV6_TCLASS).
    pub tos: Option<u8>,
    /// The port to leave by (the interface of IP_PKTINFO).
    pub port: Option<PortId>,
    /// The address to send from (the source of IP_PKTINFO).
    pub source: Option<IpAddr>,
    /// Bytes of each datagram that the data is cut into (UDP_SEGMENT).
    pub segment: Option<u16>,
    /// The stamps that are asked for (SO_TIMESTAMPING).
    pub stamps: Option<StampKinds>,
    /// The key of those stamps (SCM_TS_OPT_ID).
    pub stamp_key: Option<u32>,
    /// IP options instead of the socket's (IP_RETOPTS): what [`crate::Stack::options_to_send`] made.
    pub options: Option<IpOptions>,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes that were copied to the caller.
    pub len: usize,
    /// Bytes that the datagram had (MSG_TRUNC: more than `len` when the buffer was too small).
    pub full_len: usize,
    /// Who sent it. The port number is 0 for raw and ping sockets.
    pub from: SocketAddr,
    /// The address that it was sent to.
    pub to: IpAddr,
    /// The port that it came in by.
    pub port: PortId,
    /// How it was addressed on the link.
    pub cast: LinkCast,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Its type of service or traffic class.
    pub tos: u8,
    /// When it arrived.
    pub timestamp: Instant,
    /// Bytes of each datagram that was joined to this one (UDP_GRO); 0 when it came alone.
    pub segment: u16,
    /// Datagrams that this socket had lost when this one was taken in, for want of room (SO_RXQ_OVFL).
    pub drops: u32,
}

/// What is known of the oldest datagram before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its bytes.
    pub len: usize,
    /// Bytes of the IP options that it came with: [`crate::Stack::udp_options`] and [`crate::Stack::raw_options`] give them.
    pub options: usize,
}

/// Where an entry of the error queue comes from (`ee_origin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// This node.
    Local = 1,
    /// An ICMP message.
    Icmp = 2,
    /// An ICMPv6 message.
    Icmp6 = 3,
    /// No error: a stamp of what was sent.
    Stamp = 4,
}

/// An entry of the error queue (`sock_extended_err`): what became of a datagram that this socket sent, or a stamp of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReport {
    /// The error.
    pub error: Error,
    /// Who says so.
    pub origin: Origin,
    /// Type of the ICMP message; 0 for our own.
    pub kind: u8,
    /// Code of the ICMP message; 0 for our own.
    pub code: u8,
    /// The MTU in bytes for [`Error::MessageTooLong`], the kind of a stamp, else 0.
    pub info: u32,
    /// The key of a stamp, else 0.
    pub data: u32,
    /// Who sent the ICMP message, or the packet that a stamp is of.
    pub offender: Option<IpAddr>,
    /// Where the datagram went.
    pub to: SocketAddr,
    /// By which port the report came, or the datagram would have left.
    pub port: PortId,
    /// When the report came.
    pub timestamp: Instant,
    /// Bytes of the datagram's payload that were copied to the caller.
    pub len: usize,
    /// Bytes of it that the report quotes.
    pub full_len: usize,
}
