//! What every datagram, raw and ping socket has: names, options, what it received, and the errors it must hear.
//!
//! Addresses are kept in their own family: an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is an IPv4
//! address from the moment it comes in. A socket of family IPv6 that is not `v6_only` speaks both.

use super::blocks::BlockPool;
use super::control::{ErrorReport, Origin, Received, Waiting};
use super::error::Error;
use super::event::{EventQueue, Owner, Pending, Ready, SocketId};
use super::ip_options::IpOptions;
use super::messages::{self, Messages};
use super::options::{Opt, Options};
use super::stamps::Stamping;
use crate::ethernet::LinkCast;
use crate::limits::ERROR_QUEUE_LIMIT;
use crate::port::PortId;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The family that a socket was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// AF_INET.
    Ipv4,
    /// AF_INET6: IPv4 as well unless `v6_only`.
    Ipv6,
}

/// True for addresses that more than one host hears, as far as the address alone tells.
pub fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// An address as 16 bytes: IPv4 as IPv4-mapped.
fn to_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What [`to_bytes`] made.
fn from_bytes(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// How a received datagram came, as it lies in the queue in front of it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Head {
    timestamp: u64,
    from: [u8; 16],
    to: [u8; 16],
    drops: u32,
    from_port: u16,
    segment: u16,
    port: u16,
    ttl: u8,
    tos: u8,
    group: u8,
    /// Bytes of IP options behind the payload.
    options: u8,
    zero: [u8; 2],
}

impl Head {
    /// The same with so many bytes of IP options behind the payload.
    pub fn with_options(self, len: usize) -> Head {
        Head { options: len as u8, ..self }
    }
}

impl messages::Head for Head {
    fn beside(&self) -> usize {
        usize::from(self.options)
    }
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub source: IpAddr,
    /// The port number that it came from.
    pub source_port: u16,
    /// Where it was sent.
    pub destination: IpAddr,
    /// The port that it came in by.
    pub port: PortId,
    /// How it was addressed on the link.
    pub cast: LinkCast,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// When it came.
    pub now: Instant,
}

impl Envelope {
    /// The head of a datagram in the queue.
    pub fn head(&self, segment: u16, drops: u32) -> Head {
        Head {
            timestamp: self.now.nanos(),
            from: to_bytes(self.source),
            to: to_bytes(self.destination),
            drops,
            from_port: self.source_port,
            segment,
            port: self.port.index() as u16,
            ttl: self.ttl,
            tos: self.tos,
            group: u8::from(self.cast == LinkCast::Group),
            options: 0,
            zero: [0; 2],
        }
    }
}

/// An entry of the error queue, as it lies there.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ReportHead {
    timestamp: u64,
    to: [u8; 16],
    offender: [u8; 16],
    info: u32,
    to_port: u16,
    port: u16,
    error: u8,
    origin: u8,
    kind: u8,
    code: u8,
    data: u32,
}

impl messages::Head for ReportHead {}

/// What a report in the error queue says, before the payload that it quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The error.
    pub error: Error,
    /// Who says so.
    pub origin: Origin,
    /// Type and code of the ICMP message.
    pub icmp: (u8, u8),
    /// The MTU for [`Error::MessageTooLong`], or the kind of a stamp.
    pub info: u32,
    /// The key of a stamp.
    pub data: u32,
    /// Who sent the ICMP message, or the packet that a stamp is of.
    pub offender: Option<IpAddr>,
    /// Where the datagram went.
    pub to: SocketAddr,
    /// The port.
    pub port: PortId,
    /// When.
    pub now: Instant,
}

impl Report {
    fn head(&self) -> ReportHead {
        ReportHead {
            timestamp: self.now.nanos(),
            to: to_bytes(self.to.ip()),
            offender: self.offender.map_or([0; 16], to_bytes),
            info: self.info,
            to_port: self.to.port(),
            port: self.port.index() as u16,
            error: self.error as u8,
            origin: self.origin as u8,
            kind: self.icmp.0,
            code: self.icmp.1,
            data: self.data,
        }
    }
}

/// The options that are two on a socket of family IPv6: one for each version of IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedOptions(Options);

impl Default for MappedOptions {
    fn default() -> Self {
        // IP_MULTICAST_ALL begins set for sockets of family IPv4 alone.
        MappedOptions(Options { multicast_all: false, ..Options::default() })
    }
}

/// A datagram, raw or ping socket in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramRow {
    /// `udp`, `udplite`, `raw` or `ping`.
    pub protocol: &'static str,
    /// Our end.
    pub local: SocketAddr,
    /// The peer that it is connected to.
    pub remote: Option<SocketAddr>,
    /// Bytes that wait to be read, with what they cost beside.
    pub receive_queue: usize,
    /// Its owner.
    pub owner: Owner,
}

/// The part that all these sockets share.
#[derive(Debug)]
pub struct Endpoint {
    /// The owner and its news.
    pub pending: Pending,
    /// The family that it was made for.
    pub family: Family,
    /// The address that it is bound to; `None` for any.
    pub local: Option<IpAddr>,
    /// The port number that it is bound to; 0 for none.
    pub local_port: u16,
    /// Whom it is connected to.
    pub peer: Option<(IpAddr, u16)>,
    /// Its options.
    pub options: Options,
    /// How the options of IPPROTO_IP stand for what a socket of family IPv6 exchanges over IPv4: Linux keeps both apart.
    mapped: MappedOptions,
    /// What it received.
    pub received: Messages<Head>,
    /// Its error queue.
    pub reports: Messages<ReportHead>,
    /// Which stamps of what it sends are asked for.
    pub stamping: Stamping,
    /// The error that the next call returns (SO_ERROR).
    pub error: Option<Error>,
    /// Shut down for reading.
    pub no_reading: bool,
    /// Shut down for writing.
    pub no_writing: bool,
    /// True when bind chose the address, so that it outlives a disconnect.
    pub address_is_bound: bool,
    /// True when bind chose the port number, so that it outlives a disconnect.
    pub port_is_bound: bool,
}

impl Endpoint {
    /// A socket that nobody bound or connected.
    pub fn new(family: Family, owner: Owner) -> Self {
        let mut reports = Messages::new();
        reports.set_limit(ERROR_QUEUE_LIMIT);
        Endpoint {
            pending: Pending::new(owner),
            family,
            local: None,
            local_port: 0,
            peer: None,
            options: Options::default(),
            mapped: MappedOptions::default(),
            received: Messages::new(),
            reports,
            stamping: Stamping::default(),
            error: None,
            no_reading: false,
            no_writing: false,
            address_is_bound: false,
            port_is_bound: false,
        }
    }

    /// True when the socket speaks the family of `address`.
    #[inline]
    pub fn speaks(&self, address: IpAddr) -> bool {
        match (self.family, address) {
            (Family::Ipv4, IpAddr::V4(_)) | (Family::Ipv6, IpAddr::V6(_)) => true,
            (Family::Ipv6, IpAddr::V4(_)) => !self.options.v6_only,
            (Family::Ipv4, IpAddr::V6(_)) => false,
        }
    }

    /// An address that the caller gave, in its own family, if this socket can use it at all.
    ///
    /// # Errors
    /// [`Error::WrongFamily`], or [`Error::NetworkUnreachable`] for IPv4 on a socket that is IPv6 only.
    pub fn accept_address(&self, address: IpAddr) -> Result<IpAddr, Error> {
        let address = address.to_canonical();
        match (self.family, address) {
            (Family::Ipv4, IpAddr::V6(_)) => Err(Error::WrongFamily),
            (Family::Ipv6, IpAddr::V4(_)) if self.options.v6_only => Err(Error::NetworkUnreachable),
            _ => Ok(address),
        }
    }

    /// "Any address" of the socket's family.
    pub fn any(&self) -> IpAddr {
        match self.family {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The options that count for a datagram from or to `address`: TTL, type of service, what groups need, what errors
    /// and the path's MTU do. All others are in `options`.
    #[inline]
    pub fn options_for(&self, address: IpAddr) -> &Options {
        if self.family == Family::Ipv6 && address.is_ipv4() { &self.mapped.0 } else { &self.options }
    }

    /// Sets an option of a socket of family IPv6 for what it exchanges over IPv4 ([`Endpoint::options_for`]).
    ///
    /// # Errors
    /// As [`Options::set`]; [`Error::NoSuchOption`] on a socket of family IPv4.
    pub fn set_mapped(&mut self, option: Opt, port_exists: impl Fn(PortId) -> bool) -> Result<(), Error> {
        match option {
            _ if self.family == Family::Ipv4 => return Err(Error::NoSuchOption),
            Opt::Ttl(Some(0)) => return Err(Error::InvalidArgument),
            _ => {}
        }
        self.mapped.0.set(option, port_exists)
    }

    /// The local name (getsockname).
    pub fn local_name(&self) -> SocketAddr {
        SocketAddr::new(self.local.unwrap_or(self.any()), self.local_port)
    }

    /// The local name, and the peer's.
    pub fn names(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.local_name(), self.peer.map(|(address, port)| SocketAddr::new(address, port)))
    }

    /// A line of a list of sockets.
    pub fn row(&self, protocol: &'static str) -> DatagramRow {
        let (local, remote) = self.names();
        let (receive_queue, owner) = (self.received.charged(), self.pending.owner);
        DatagramRow { protocol, local, remote, receive_queue, owner }
    }

    /// Shuts one side down, or both (shutdown(2)).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn shut_down(
        &mut self,
        events: &mut EventQueue,
        socket: SocketId,
        reading: bool,
        writing: bool,
    ) -> Result<(), Error> {
        if self.peer.is_none() {
            return Err(Error::NotConnected);
        }
        self.no_reading |= reading;
        self.no_writing |= writing;
        let news = if reading { Ready::READABLE | Ready::READ_CLOSED } else { Ready::NONE };
        self.pending.add(events, socket, news);
        Ok(())
    }

    /// What is known of the oldest datagram before it is taken; `None`: none waits.
    pub fn waiting(&self, pool: &BlockPool) -> Option<Waiting> {
        let (head, _, len) = self.received.peek(pool, &mut [])?;
        Some(Waiting { len, options: usize::from(head.options) })
    }

    /// The IP options of the oldest datagram: none over IPv6, or when none waits.
    pub fn waiting_options(&self, pool: &BlockPool) -> IpOptions {
        let Some(Waiting { len, options }) = self.waiting(pool) else { return IpOptions::NONE };
        IpOptions::written(|room| {
            let room = room.get_mut(..options).unwrap_or_default();
            self.received.peek_beside(pool, len, room)
        })
    }

    /// Sets an option that all these sockets share.
    ///
    /// # Errors
    /// As [`Options::set`].
    pub fn set(&mut self, option: Opt, port_exists: impl Fn(PortId) -> bool) -> Result<(), Error> {
        match option {
            // IPv6 has a hop limit of 0: as far as this node (ipv6(7)).
            Opt::Ttl(Some(0)) if self.family == Family::Ipv4 => return Err(Error::InvalidArgument),
            // Linux doubles what is asked for, to have room for its bookkeeping.
            Opt::ReceiveBuffer(bytes) => self.received.set_limit(bytes.saturating_mul(2)),
            Opt::V6Only(_) if self.family == Family::Ipv4 => return Err(Error::NoSuchOption),
            Opt::V6Only(_) if self.local_port != 0 || self.local.is_some() => {
                return Err(Error::InvalidArgument);
            }
            Opt::V6Only(on) => self.options.v6_only = on,
            Opt::Stamps(options) => self.stamping.set(options),
            Opt::Device(_) => {
                self.mapped.0.set(option, &port_exists)?;
                self.options.set(option, port_exists)?;
            }
            option => self.options.set(option, port_exists)?,
        }
        Ok(())
    }

    /// The error that waits, which waits no longer (SO_ERROR).
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// What the socket is ready for now.
    pub fn readiness(&self) -> Ready {
        let mut ready = Ready::NONE;
        if !self.received.is_empty() || self.no_reading {
            ready |= Ready::READABLE;
        }
        if !self.no_writing {
            ready |= Ready::WRITABLE;
        }
        if self.error.is_some() || !self.reports.is_empty() {
            ready |= Ready::ERROR;
        }
        if self.no_reading {
            ready |= Ready::READ_CLOSED;
        }
        if self.no_reading && self.no_writing {
            ready |= Ready::CLOSED;
        }
        ready
    }

    /// Takes (or, with `peek`, looks at) the oldest datagram.
    ///
    /// # Errors
    /// The error that waits; [`Error::WouldBlock`] when there is nothing.
    pub fn receive(&mut self, pool: &mut BlockPool, out: &mut [u8], peek: bool) -> Result<Received, Error> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let found = if peek { self.received.peek(pool, out) } else { self.received.pop(pool, out) };
        let Some((head, len, full_len)) = found else {
            return if self.no_reading { Ok(self.nothing()) } else { Err(Error::WouldBlock) };
        };
        Ok(Received {
            len,
            full_len,
            from: SocketAddr::new(from_bytes(head.from), head.from_port),
            to: from_bytes(head.to),
            port: PortId::new(usize::from(head.port)).unwrap_or(PortId::FIRST),
            cast: if head.group == 0 { LinkCast::Unicast } else { LinkCast::Group },
            ttl: head.ttl,
            tos: head.tos,
            timestamp: Instant::from_nanos(head.timestamp),
            segment: head.segment,
            drops: head.drops,
        })
    }

    /// What reading gives after the socket was shut down.
    fn nothing(&self) -> Received {
        Received {
            len: 0,
            full_len: 0,
            from: SocketAddr::new(self.any(), 0),
            to: self.any(),
            port: PortId::FIRST,
            cast: LinkCast::Unicast,
            ttl: 0,
            tos: 0,
            timestamp: Instant::ZERO,
            segment: 0,
            drops: self.received.drops(),
        }
    }

    /// Puts a report, and the payload that it quotes, into the error queue.
    pub fn report(&mut self, pool: &mut BlockPool, report: &Report, quoted: &[u8]) {
        // One that finds no room is counted there and lost; the error itself is heard by the next call.
        let _in_or_counted = self.reports.push(pool, &report.head(), core::iter::once(quoted));
    }

    /// Takes the oldest entry of the error queue (MSG_ERRQUEUE).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is none.
    pub fn receive_report(&mut self, pool: &mut BlockPool, out: &mut [u8]) -> Result<ErrorReport, Error> {
        let (head, len, full_len) = self.reports.pop(pool, out).ok_or(Error::WouldBlock)?;
        let origin = match head.origin {
            1 => Origin::Local,
            2 => Origin::Icmp,
            4 => Origin::Stamp,
            _ => Origin::Icmp6,
        };
        // Who read the report knows of the error (as Linux: sk_err follows the queue).
        if origin != Origin::Stamp {
            self.error = None;
        }
        Ok(ErrorReport {
            error: Error::from_errno(head.error).unwrap_or(Error::ProtocolError),
            origin,
            kind: head.kind,
            code: head.code,
            info: head.info,
            data: head.data,
            offender: (head.offender != [0; 16]).then(|| from_bytes(head.offender)),
            to: SocketAddr::new(from_bytes(head.to), head.to_port),
            port: PortId::new(usize::from(head.port)).unwrap_or(PortId::FIRST),
            timestamp: Instant::from_nanos(head.timestamp),
            len,
            full_len,
        })
    }

    /// Gives every block back.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        self.received.clear(pool);
        self.reports.clear(pool);
    }
}
