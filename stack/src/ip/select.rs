//! By which way, and from which address, what a socket sends goes (rows O3, U1; RFC 1122 sections 3.3.1, 3.3.4
//! and 3.3.7, RFC 6724 section 5).
//!
//! A host asks more than a router does: the program may have named the port or the source, the destination may be
//! a group or a broadcast address, which no route need lead to, and it may be our own.

use crate::ethernet::LinkCast;
use crate::frame::Frame;
use crate::ip::choices::Question;
use crate::ip::originate::Exit;
use crate::ip::path::{Hop, Refusal};
use crate::ip::policy::Outgoing;
use crate::mac::MacAddr;
use crate::neighbour::group_mac;
use crate::port::PortId;
use crate::route::{NextHop, RouteMetrics, Traits};
use crate::socket::error::Error;
use crate::stack::Stack;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr};

/// What a socket wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) destination: IpAddr,
    /// From this address of ours.
    pub(crate) source: Option<IpAddr>,
    /// By this port.
    pub(crate) port: Option<PortId>,
    /// Broadcasts are allowed.
    pub(crate) broadcast: bool,
    /// Reports about the path's MTU count.
    pub(crate) path_mtu: bool,
    /// What policy rules may ask about.
    pub(crate) traits: Traits,
}

impl Wish {
    /// The same for a datagram of this protocol between these port numbers.
    pub(crate) fn of_ports(self, protocol: u8, from: u16, to: u16) -> Wish {
        Wish { traits: Traits { protocol, ports: Some((from, to)), ..self.traits }, ..self }
    }

    /// The same for a protocol without port numbers.
    pub(crate) fn of_protocol(self, protocol: u8) -> Wish {
        Wish { traits: Traits { protocol, ..self.traits }, ..self }
    }
}

/// What it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// How it leaves; `None` when the destination is ourselves.
    pub(crate) exit: Option<Exit>,
    /// The port that it leaves by, or would come in by.
    pub(crate) port: PortId,
    /// The address to send from.
    pub(crate) source: IpAddr,
    /// Whether many hear it.
    pub(crate) cast: LinkCast,
    /// What the route says to TCP.
    pub(crate) metrics: RouteMetrics,
}

/// What the sender hears when the route stage refuses.
pub(crate) const fn error_of(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoRoute | Refusal::NotJoined => Error::NetworkUnreachable,
        Refusal::Unreachable => Error::HostUnreachable,
        Refusal::Prohibit | Refusal::DirectedBroadcast => Error::AccessDenied,
        Refusal::Blackhole | Refusal::MartianSource | Refusal::ReversePath => Error::InvalidArgument,
        Refusal::Neighbour(_) => Error::NoBuffers,
    }
}

impl<F: Frame> Stack<F> {
    /// True when an address is one of ours.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.owner_of(address.to_canonical(), None).is_some()
    }

    /// True when what is sent to an address would leave, or come back to ourselves: somebody asks before there is a socket.
    pub fn reaches(&mut self, now: Instant, destination: IpAddr) -> bool {
        let destination = destination.to_canonical();
        if destination.is_multicast() {
            return self.route_port(destination).is_some();
        }
        let wish = Wish {
            destination,
            source: None,
            port: None,
            broadcast: true,
            path_mtu: true,
            traits: Traits::default(),
        };
        // A link-local destination is on some link: which one, the sender says later.
        self.select(now, &wish).is_ok() || is_link_local(destination)
    }

    /// The way of what a socket sends.
    pub(crate) fn select(&mut self, now: Instant, wish: &Wish) -> Result<Choice, Error> {
        if wish.port.is_some_and(|port| self.interfaces.get(port).is_none()) {
            return Err(Error::NoDevice);
        }
        let destination = wish.destination;
        if destination.is_unspecified() {
            return Err(Error::NetworkUnreachable);
        }
        if destination.is_multicast() {
            return self.select_for_group(wish);
        }
        if !self.routing.rules.is_empty() {
            return self.select_anew(now, wish); // rules may ask for more than is remembered with an answer
        }
        let Wish { source, port, broadcast, path_mtu, .. } = *wish;
        let question = Question { destination, source, port, broadcast, path_mtu };
        let epoch = self.choice_epoch();
        if let Some(choice) = self.choices.get(&question, epoch, now) {
            return Ok(choice);
        }
        let choice = self.select_anew(now, wish)?;
        self.choices.keep(&question, self.choice_epoch(), now, choice);
        Ok(choice)
    }

    /// Changes whenever another answer may be given to what sockets wish. Each part only ever grows.
    #[inline]
    fn choice_epoch(&self) -> u64 {
        self.ways_generation() + u64::from(self.neighbours.epoch()) + self.path_mtus.changes()
    }

    /// The way of what a socket sends to one host, or to all on a link.
    fn select_anew(&mut self, now: Instant, wish: &Wish) -> Result<Choice, Error> {
        let destination = wish.destination;
        if let Some(port) = self.broadcast_port(wish)? {
            return self.choose_source(
                wish,
                self.exit_to_many(port, MacAddr::BROADCAST),
                port,
                LinkCast::Group,
            );
        }
        if let Some(port) = self.owner_of(destination, wish.port) {
            let source = wish.source.unwrap_or(match destination {
                // Linux: the whole net is ours, and speaks from its first address.
                IpAddr::V4(to) if to.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                own => own,
            });
            let (cast, metrics) = (LinkCast::Unicast, RouteMetrics::NONE);
            return Ok(Choice { exit: None, port, source, cast, metrics });
        }
        let packet = Outgoing { source: wish.source, destination, traits: wish.traits };
        let (hop, metrics) = match self.route_own(now, &packet, wish.port.unwrap_or(PortId::FIRST)) {
            // A link-local destination means nothing without its link (RFC 4007 section 6).
            Ok(_) if is_link_local(destination) && wish.port.is_none() => return Err(Error::InvalidArgument),
            Ok((hop, metrics)) if wish.port.is_none_or(|port| port == hop.port) => (hop, metrics),
            // The table leads elsewhere, but the program insists: then the destination is on that link (as Linux
            // takes it).
            Ok(_) | Err(Refusal::NoRoute) if wish.port.is_some() => {
                let port = wish.port.unwrap_or(PortId::FIRST);
                (self.on_link_hop(now, port, destination).map_err(error_of)?, RouteMetrics::NONE)
            }
            Ok(_) => return Err(Error::NetworkUnreachable),
            Err(refusal) => return Err(error_of(refusal)),
        };
        let hop = if wish.path_mtu { hop } else { self.with_link_mtu(hop) };
        let choice = self.choose_source(wish, Some(Exit::Neighbour(hop)), hop.port, LinkCast::Unicast)?;
        Ok(Choice { metrics, ..choice })
    }

    /// The longest packet that gets to where `wish` leads; to ourselves any packet does.
    pub(crate) fn path_mtu_of(&mut self, now: Instant, wish: &Wish) -> Result<u16, Error> {
        Ok(self.select(now, wish)?.exit.map_or(u16::MAX, |exit| exit.mtu()))
    }

    /// A group is on the link of the port that was named, that has the named source, or that the table leads to.
    fn select_for_group(&self, wish: &Wish) -> Result<Choice, Error> {
        let by_source = || wish.source.and_then(|source| self.owner_of(source, None));
        let port = match wish.port.or_else(by_source) {
            Some(port) => port,
            None => self.route_port(wish.destination).ok_or(Error::NetworkUnreachable)?,
        };
        self.choose_source(wish, self.exit_to_group(port, wish.destination), port, LinkCast::Group)
    }

    /// The port on whose link the destination is a broadcast address; `None` when it is none.
    fn broadcast_port(&self, wish: &Wish) -> Result<Option<PortId>, Error> {
        let IpAddr::V4(to) = wish.destination else { return Ok(None) };
        let port = if to.is_broadcast() {
            let by_source = || wish.source.and_then(|source| self.owner_of(source, None));
            let port = wish.port.or_else(by_source).or_else(|| self.route_port(wish.destination));
            Some(port.ok_or(Error::NetworkUnreachable)?)
        } else {
            match self.routes.next_hop(self.routes.lookup4(to)) {
                Some(NextHop::Broadcast { port }) => Some(wish.port.unwrap_or(port)),
                _ => None,
            }
        };
        if port.is_some() && !wish.broadcast {
            return Err(Error::AccessDenied);
        }
        Ok(port)
    }

    /// The port that the table leads to for a group or the limited broadcast.
    pub(crate) fn route_port(&self, destination: IpAddr) -> Option<PortId> {
        let id = match destination {
            IpAddr::V4(to) => self.routes.lookup4(to),
            IpAddr::V6(to) => self.routes.lookup6(to),
        };
        match self.routes.next_hop(id)? {
            NextHop::Connected { port } | NextHop::Gateway { port, .. } => Some(port),
            NextHop::Multipath(_) => self.routes.resolve(id, 0).and_then(NextHop::port),
            _ => None,
        }
    }

    /// The port that has this address, if it is ours; `port` tells link-local ones apart.
    pub(crate) fn owner_of(&self, address: IpAddr, port: Option<PortId>) -> Option<PortId> {
        if self.loopback && address.is_loopback() {
            return Some(port.unwrap_or(PortId::FIRST));
        }
        let mut owners = self.interfaces.iter().filter(|one| one.owns(address)).map(|one| one.id);
        if is_link_local(address) && port.is_some() {
            return owners.find(|owner| Some(*owner) == port);
        }
        owners.next()
    }

    /// The way to a group on the link of a port.
    pub(crate) fn exit_to_group(&self, port: PortId, group: IpAddr) -> Option<Exit> {
        self.exit_to_many(port, group_mac(group)?)
    }

    fn exit_to_many(&self, port: PortId, mac: MacAddr) -> Option<Exit> {
        let mtu = self.interfaces.get(port)?.mtu;
        Some(Exit::Many { port, mtu, mac })
    }

    fn with_link_mtu(&self, hop: Hop) -> Hop {
        let mtu = self.interfaces.get(hop.port).map_or(hop.mtu, |port| port.mtu);
        Hop { mtu, ..hop }
    }

    /// Completes a choice with the source address.
    fn choose_source(
        &self,
        wish: &Wish,
        exit: Option<Exit>,
        port: PortId,
        cast: LinkCast,
    ) -> Result<Choice, Error> {
        let source = match (wish.source, wish.destination) {
            (Some(source), _) => Some(source),
            (None, IpAddr::V4(to)) => self.source4(port, to).map(IpAddr::V4),
            (None, IpAddr::V6(to)) => self.source6(port, to).map(IpAddr::V6),
        };
        let source = source.ok_or(Error::AddressNotAvailable)?;
        Ok(Choice { exit, port, source, cast, metrics: RouteMetrics::NONE })
    }
}

/// True for unicast addresses that mean something on one link only.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
