//! Sockets of UDP (RFC 768, RFC 1122 section 4.1, RFC 8200 section 8.1, RFC 8085; rows U1 to U6) and of UDP-Lite (RFC 3828),
//! which is UDP but for the header's third field: it says how much of the datagram the checksum covers, not how long it is.
//!
//! ```text
//!   ipv4::local ─┐                      ┌─ one socket ──> its queue ──> owner hears READABLE
//!   ipv6::local ─┴─> input ─> lookup ───┼─ a group: each member's queue
//!                                       └─ nobody ──> closed: port unreachable
//!   calls::udp_send ─> output ─> select (way, source) ─> originate (header, fragments) ─> egress
//! ```
//!
//! A datagram finds its socket as in Linux: one that is connected to exactly its sender first; then one that is
//! bound to its destination address; then one that is bound to any. Among equals one that is bound to the
//! port (SO_BINDTODEVICE) wins, then one of the packet's own family; among sockets with SO_REUSEPORT a keyed hash
//! of the flow chooses.
//!
//! ```text
//!   connected   by (local address, local port, peer address, peer port)
//!   bound       by (local address, local port), and by (any, local port)
//!   ports       by local port alone: delivery to groups
//!   names       who holds which port number, so that two do not get one name by accident
//! ```
//!
//! All four are there twice ([`Space`]): UDP and UDP-Lite have port numbers of their own (RFC 3828 section 2).
//!
//! Invariants
//! 1. A socket with a local port number is in `ports`, and in exactly one of `connected` and `bound`, of its protocol's
//!    space; one without is in none of them.
//! 2. A connected socket has a local address.

mod calls;
mod closed;
mod errors;
mod input;
mod lite;
mod output;

pub(crate) use errors::on_error;
pub(crate) use input::{input4, input6};
pub(crate) use lite::{input4 as lite_input4, input6 as lite_input6};
pub(crate) use output::{fragmentation, ip_options_of, scope_of, wish};

use crate::hash::{hash2, hash4};
use crate::port::PortId;
use crate::socket::bound::{Address, Bind, BindError, BindId, Bound, Rules};
use crate::socket::chains::Chains;
use crate::socket::control::SendControl;
use crate::socket::endpoint::{Endpoint, Envelope, Family};
use crate::socket::messages::Placed;
use crate::socket::ring::ByteRing;
use crate::socket::{Error, Handle, Owner, Slab};
use crate::tcp::ports::PortRange;
use core::net::IpAddr;

/// The protocol number of UDP.
pub(crate) const UDP: u8 = 17;
/// The protocol number of UDP-Lite.
pub(crate) const UDP_LITE: u8 = 136;

/// Which of the two a socket or a datagram is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
}

impl Protocol {
    /// IP's number for it.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Udp => UDP,
            Protocol::UdpLite => UDP_LITE,
        }
    }

    /// The one that IP has this number for.
    pub(crate) const fn of_number(number: u8) -> Option<Protocol> {
        match number {
            UDP => Some(Protocol::Udp),
            UDP_LITE => Some(Protocol::UdpLite),
            _ => None,
        }
    }

    /// Its name in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::UdpLite => "udplite",
        }
    }
}

/// A UDP or UDP-Lite socket.
#[derive(Debug)]
pub struct Socket {
    /// What it shares with other kinds.
    pub end: Endpoint,
    /// Which of the two it is.
    pub protocol: Protocol,
    /// UDPLITE_SEND_CSCOV in bytes from the start of the header; `Some(0)`: all of it, and the field says so. `None`: all of it,
    /// and the field has the length.
    pub send_coverage: Option<u16>,
    /// UDPLITE_RECV_CSCOV in bytes: a datagram whose checksum covers less, and not all of it, is not taken. `Some(0)`: none that is
    /// not covered as a whole. `None`: every one is.
    pub receive_coverage: Option<u16>,
    /// UDP_CORK.
    pub cork: bool,
    /// UDP_SEGMENT in bytes; 0 for none.
    pub segment: u16,
    /// UDP_GRO.
    pub gro: bool,
    /// SO_NO_CHECK.
    pub no_checksum: bool,
    /// UDP_NO_CHECK6_TX.
    pub no_checksum6_tx: bool,
    /// UDP_NO_CHECK6_RX.
    pub no_checksum6_rx: bool,
    /// Data of a datagram that is not complete yet.
    corked: ByteRing,
    /// Where that datagram will go; `None` when there is none.
    uncork: Option<Target>,
    /// Datagrams of one flow that are being joined (UDP_GRO).
    joining: Option<Joining>,
    /// Its hold on its port number.
    hold: Option<BindId>,
}

/// Where a datagram goes, and what overrides the options on its way.
#[derive(Debug, Clone, Copy)]
struct Target {
    address: IpAddr,
    port_number: u16,
    scope: Option<PortId>,
    control: SendControl,
}

/// A datagram in the making, of several that arrived.
#[derive(Debug)]
struct Joining {
    envelope: Envelope,
    placed: Placed,
    segment: u16,
}

impl Socket {
    fn new(protocol: Protocol, family: Family, owner: Owner) -> Self {
        Socket {
            end: Endpoint::new(family, owner),
            protocol,
            send_coverage: None,
            receive_coverage: None,
            cork: false,
            segment: 0,
            gro: false,
            no_checksum: false,
            no_checksum6_tx: false,
            no_checksum6_rx: false,
            corked: ByteRing::new(),
            uncork: None,
            joining: None,
            hold: None,
        }
    }
}

/// Who sent a datagram to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) protocol: Protocol,
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) destination_port: u16,
    /// Where it came in.
    pub(crate) port: PortId,
}

/// The UDP and UDP-Lite sockets of a worker.
#[derive(Debug)]
pub struct Sockets {
    slab: Slab<Socket>,
    /// By [`Protocol`].
    spaces: [Space; 2],
    /// Port numbers for sockets that name none.
    ephemeral: PortRange,
    key: [u64; 2],
}

/// The sockets of one protocol by their names.
#[derive(Debug)]
struct Space {
    connected: Chains,
    bound: Chains,
    ports: Chains,
    names: Bound,
}

impl Space {
    fn new(rules: Rules, sockets: usize) -> Self {
        let [connected, bound, ports] = [(); 3].map(|()| Chains::new(sockets));
        Space { connected, bound, ports, names: Bound::new(rules, sockets) }
    }
}

/// An address as two words.
fn words(address: IpAddr) -> (u64, u64) {
    match address {
        IpAddr::V4(address) => (4, u64::from(address.to_bits())),
        IpAddr::V6(address) => ((address.to_bits() >> 64) as u64, address.to_bits() as u64),
    }
}

impl Sockets {
    /// Room for `sockets` sockets; `key` is random.
    pub fn new(sockets: usize, ephemeral: PortRange, key: [u64; 2]) -> Self {
        Sockets {
            ephemeral,
            slab: Slab::new(sockets),
            spaces: [Space::new(Rules::Udp, sockets), Space::new(Rules::UdpLite, sockets)],
            key,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// A socket.
    pub fn get(&self, handle: Handle) -> Option<&Socket> {
        self.slab.get(handle)
    }

    /// A socket, to change what is not a name of it.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut Socket> {
        self.slab.get_mut(handle)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Socket)> {
        self.slab.iter()
    }

    fn socket(&self, place: usize) -> Option<&Socket> {
        self.slab.at(place).and_then(|handle| self.slab.get(handle))
    }

    fn hash_connected(&self, local: (IpAddr, u16), peer: (IpAddr, u16)) -> u64 {
        let (a, b) = words(local.0);
        let (c, d) = words(peer.0);
        let numbers = u64::from(local.1) << 16 | u64::from(peer.1);
        hash4([a ^ numbers.rotate_left(24), b, c, d], self.key)
    }

    fn hash_bound(&self, local: Option<IpAddr>, number: u16) -> u64 {
        let (a, b) = local.map_or((0, 0), words);
        hash4([a, b, u64::from(number), 1], self.key)
    }

    fn hash_port(&self, number: u16) -> u64 {
        hash2(u64::from(number), 2, self.key)
    }

    /// Puts a socket in the tables by its names, or takes it out of them when it has no port number.
    fn rehash(&mut self, handle: Handle) {
        let place = handle.index();
        let Some(&Socket { ref end, protocol, .. }) = self.slab.get(handle) else { return };
        let (local, number, peer) = (end.local, end.local_port, end.peer);
        let port_hash = self.hash_port(number);
        let connected_hash = local.zip(peer).map(|(local, peer)| self.hash_connected((local, number), peer));
        let bound_hash = self.hash_bound(local, number);
        let Space { connected, bound, ports, .. } = &mut self.spaces[protocol as usize];
        connected.remove(place);
        bound.remove(place);
        ports.remove(place);
        if number == 0 {
            return;
        }
        ports.insert(port_hash, place);
        match connected_hash {
            Some(hash) => connected.insert(hash, place),
            None => bound.insert(bound_hash, place),
        }
    }

    /// The socket that a datagram to one host is for.
    pub(crate) fn lookup(&self, flow: &Flow) -> Option<Handle> {
        let Space { connected, bound, .. } = &self.spaces[flow.protocol as usize];
        let local = (flow.destination, flow.destination_port);
        let peer = (flow.source, flow.source_port);
        let hash = self.hash_connected(local, peer);
        let connected =
            self.best(connected.walk(hash), flow, |end| end.local == Some(local.0) && end.peer == Some(peer));
        if connected.is_some() {
            return connected;
        }
        let exact = bound.walk(self.hash_bound(Some(local.0), local.1));
        let exact = self.best(exact, flow, |end| end.local == Some(local.0) && end.peer.is_none());
        if exact.is_some() {
            return exact;
        }
        self.best(bound.walk(self.hash_bound(None, local.1)), flow, |end| end.local.is_none())
    }

    /// The best of a chain, among those that `names_match`.
    #[inline]
    fn best(
        &self,
        chain: impl Iterator<Item = usize> + Clone,
        flow: &Flow,
        names_match: impl Fn(&Endpoint) -> bool,
    ) -> Option<Handle> {
        let score = |place: usize| -> Option<(u8, bool)> {
            let end = &self.socket(place)?.end;
            let fits = end.local_port == flow.destination_port && names_match(end);
            let score = if fits { score(end, flow) } else { None };
            score.map(|score| (score, end.options.reuse_port && end.peer.is_none()))
        };
        let (mut best, mut members) = (None, 0u32);
        for place in chain.clone() {
            let Some((score, group)) = score(place) else { continue };
            match best {
                Some((_, highest, _)) if score < highest => {}
                // Of two that are alike in all, the one that came first stays, unless they share their port.
                Some((_, highest, true)) if score == highest && group => members += 1,
                Some((_, highest, _)) if score == highest => {}
                _ => (best, members) = (Some((place, score, group)), 1),
            }
        }
        let (place, highest, group) = best?;
        if !group || members == 1 {
            return self.slab.at(place);
        }
        let (a, b) = words(flow.source);
        let numbers = u64::from(flow.source_port) << 16 | u64::from(flow.destination_port);
        let hash = hash4([a, b, words(flow.destination).1, numbers], self.key) >> 32;
        let chosen = ((hash * u64::from(members)) >> 32) as usize;
        let place = chain.filter(|&place| score(place) == Some((highest, true))).nth(chosen)?;
        self.slab.at(place)
    }

    /// What a socket asks for when it wants this name.
    fn wanted(end: &Endpoint, local: Option<IpAddr>, port: u16) -> Bind {
        let options = &end.options;
        Bind {
            address: Address::new(local.unwrap_or(end.any()), options.v6_only),
            port,
            device: options.device,
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
            user: 0,
            automatic: false,
        }
    }

    /// See [`crate::Stack::set_home`].
    pub(crate) fn set_home(&mut self, home: crate::socket::homes::Home) {
        let [udp, lite] = &mut self.spaces;
        udp.names.set_home(home.clone());
        lite.names.set_home(home);
    }

    /// The other worker that datagrams for this port belong to.
    pub(crate) fn elsewhere(&self, protocol: Protocol, port: u16) -> Option<usize> {
        self.spaces[protocol as usize].names.elsewhere(port)
    }

    /// Gives a socket a name, if nobody has it who does not share; port number 0 takes a free one, from a random
    /// one on (RFC 6056 section 3.3.1).
    fn claim(
        &mut self,
        handle: Handle,
        local: Option<IpAddr>,
        number: u16,
        random: u32,
    ) -> Result<(), Error> {
        let &Socket { ref end, protocol, .. } = self.slab.get(handle).ok_or(Error::BadHandle)?;
        let mut wanted = Sockets::wanted(end, local, number);
        let names = &mut self.spaces[protocol as usize].names;
        if number == 0 {
            let count = self.ephemeral.len();
            let start = ((u64::from(random) * u64::from(count)) >> 32) as u32;
            let numbers = (0..count).map(|step| self.ephemeral.low() + ((start + step) % count) as u16);
            let free = numbers.map(|port| Bind { port, ..wanted }).find(|bind| names.is_free(bind));
            wanted = free.ok_or(Error::AddressInUse)?;
        }
        let hold = names.bind(&wanted).map_err(|error| match error {
            BindError::InUse => Error::AddressInUse,
            BindError::Elsewhere => Error::AddressNotAvailable,
            BindError::Full => Error::NoBuffers,
        })?;
        match self.slab.get_mut(handle) {
            Some(socket) => {
                (socket.end.local, socket.end.local_port) = (local, wanted.port);
                socket.hold = Some(hold);
            }
            None => names.release(hold),
        }
        self.rehash(handle);
        Ok(())
    }

    /// Takes a socket's port number away.
    fn unname(&mut self, handle: Handle) {
        if let Some(socket) = self.slab.get_mut(handle) {
            socket.end.local_port = 0;
            if let Some(hold) = socket.hold.take() {
                self.spaces[socket.protocol as usize].names.release(hold);
            }
        }
        self.rehash(handle);
    }
}

/// How well a socket whose names match fits, `None` for not at all.
#[inline]
fn score(end: &Endpoint, flow: &Flow) -> Option<u8> {
    if !end.speaks(flow.destination) {
        return None;
    }
    let device = match end.options.device {
        None => 0,
        Some(device) if device == flow.port => 2,
        Some(_) => return None,
    };
    let own_family = (end.family == Family::Ipv4) == flow.destination.is_ipv4();
    Some(device + u8::from(own_family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sockets() -> Sockets {
        Sockets::new(32, PortRange::default(), [7, 11])
    }

    fn add(sockets: &mut Sockets, change: impl FnOnce(&mut Endpoint)) -> Handle {
        add_of(Protocol::Udp, sockets, change)
    }

    fn add_of(protocol: Protocol, sockets: &mut Sockets, change: impl FnOnce(&mut Endpoint)) -> Handle {
        let mut socket = Socket::new(protocol, Family::Ipv4, Owner(0));
        socket.end.local_port = 53;
        change(&mut socket.end);
        let handle = sockets.slab.insert(socket).unwrap();
        sockets.rehash(handle);
        handle
    }

    fn flow(source_port: u16) -> Flow {
        Flow {
            protocol: Protocol::Udp,
            source: "10.0.0.9".parse().unwrap(),
            source_port,
            destination: "10.0.0.1".parse().unwrap(),
            destination_port: 53,
            port: PortId::FIRST,
        }
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_more_a_socket_says_of_a_datagram_the_rather_it_gets_it() {
        let mut sockets = sockets();
        let dual = add(&mut sockets, |end| end.family = Family::Ipv6);
        assert_eq!(sockets.lookup(&flow(9)), Some(dual));
        let any = add(&mut sockets, |_| {});
        assert_eq!(sockets.lookup(&flow(9)), Some(any));
        let device = add(&mut sockets, |end| end.options.device = Some(PortId::FIRST));
        assert_eq!(sockets.lookup(&flow(9)), Some(device));
        add(&mut sockets, |end| end.options.device = PortId::new(1));
        assert_eq!(sockets.lookup(&flow(9)), Some(device), "another port's");
        let exact = add(&mut sockets, |end| end.local = ip("10.0.0.1"));
        assert_eq!(sockets.lookup(&flow(9)), Some(exact));
        let connected = add(&mut sockets, |end| {
            end.local = ip("10.0.0.1");
            end.peer = Some((ip("10.0.0.9").unwrap(), 9));
        });
        assert_eq!(sockets.lookup(&flow(9)), Some(connected));
        assert_eq!(sockets.lookup(&flow(8)), Some(exact), "another peer's");
        add(&mut sockets, |end| end.local = ip("10.0.0.2"));
        assert_eq!(sockets.lookup(&Flow { destination_port: 54, ..flow(9) }), None);
    }

    #[test]
    fn udp_and_udp_lite_have_port_numbers_of_their_own() {
        let mut sockets = sockets();
        let udp = add(&mut sockets, |end| end.local_port = 0);
        let lite = add_of(Protocol::UdpLite, &mut sockets, |end| end.local_port = 0);
        let second = add_of(Protocol::UdpLite, &mut sockets, |end| end.local_port = 0);
        assert_eq!(sockets.claim(udp, ip("10.0.0.1"), 53, 0), Ok(()));
        assert_eq!(sockets.claim(lite, ip("10.0.0.1"), 53, 0), Ok(()));
        assert_eq!(sockets.claim(second, ip("10.0.0.1"), 53, 0), Err(Error::AddressInUse));
        let to_lite = Flow { protocol: Protocol::UdpLite, ..flow(9) };
        assert_eq!((sockets.lookup(&flow(9)), sockets.lookup(&to_lite)), (Some(udp), Some(lite)));
        sockets.unname(lite);
        assert_eq!((sockets.lookup(&flow(9)), sockets.lookup(&to_lite)), (Some(udp), None));
        assert_eq!(sockets.claim(second, ip("10.0.0.1"), 53, 0), Ok(()));
    }

    #[test]
    fn sockets_that_share_a_port_share_its_flows_and_each_flow_stays() {
        let mut sockets = sockets();
        let group: Vec<Handle> =
            (0..4).map(|_| add(&mut sockets, |end| end.options.reuse_port = true)).collect();
        let mut counts = [0; 4];
        for port in 0..1000 {
            let chosen = sockets.lookup(&flow(port)).unwrap();
            assert_eq!(sockets.lookup(&flow(port)), Some(chosen));
            counts[group.iter().position(|one| *one == chosen).unwrap()] += 1;
        }
        assert!(counts.iter().all(|&count| (170..330).contains(&count)), "{counts:?}");
    }

    #[test]
    fn a_name_is_given_to_two_only_when_both_share_or_hear_different_datagrams() {
        let mut sockets = sockets();
        let mut open = |family, change: fn(&mut Endpoint)| {
            let mut socket = Socket::new(Protocol::Udp, family, Owner(0));
            change(&mut socket.end);
            sockets.slab.insert(socket).unwrap()
        };
        let first = open(Family::Ipv4, |end| end.options.reuse_port = true);
        let second = open(Family::Ipv4, |_| {});
        let sharing = open(Family::Ipv4, |end| end.options.reuse_port = true);
        let dual = open(Family::Ipv6, |_| {});
        let six = open(Family::Ipv6, |end| end.options.v6_only = true);
        assert_eq!(sockets.claim(first, ip("10.0.0.1"), 53, 0), Ok(()));
        assert_eq!(sockets.claim(second, ip("10.0.0.1"), 53, 0), Err(Error::AddressInUse));
        assert_eq!(sockets.claim(second, None, 53, 0), Err(Error::AddressInUse), "any overlaps with one");
        assert_eq!(sockets.claim(second, ip("10.0.0.2"), 53, 0), Ok(()));
        assert_eq!(sockets.claim(sharing, ip("10.0.0.1"), 53, 0), Ok(()));
        assert_eq!(sockets.claim(dual, None, 53, 0), Err(Error::AddressInUse), "it hears IPv4 too");
        assert_eq!(sockets.claim(six, None, 53, 0), Ok(()));
        for handle in [first, second, sharing] {
            sockets.unname(handle);
        }
        assert_eq!(sockets.claim(second, None, 53, 0), Ok(()));
        assert_eq!(sockets.lookup(&flow(9)), Some(second));
    }

    proptest! {
        /// Against Linux's `compute_score`, written down as a search over all sockets.
        #[test]
        fn lookup_finds_what_a_search_over_all_finds(
            names in proptest::collection::vec((0usize..4, 0usize..4, 0usize..3, any::<bool>()), 1..12),
            (source_port, to) in (0u16..3, 1usize..4),
        ) {
            let addresses = [None, ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")];
            let mut sockets = sockets();
            for (local, peer, device, six) in names {
                add(&mut sockets, |end| {
                    end.local = addresses[local];
                    end.options.device = device.checked_sub(1).and_then(PortId::new);
                    if six {
                        end.family = Family::Ipv6;
                    }
                    if peer > 0 && local > 0 {
                        end.peer = Some((ip("10.0.0.9").unwrap(), peer as u16 - 1));
                    }
                });
            }
            let flow = Flow { destination: addresses[to].unwrap(), ..flow(source_port) };
            let model = |end: &Endpoint| -> Option<u32> {
                let mut total = 1;
                match end.local {
                    Some(local) if local != flow.destination => return None,
                    Some(_) => total += 8,
                    None => {}
                }
                match end.peer {
                    Some(peer) if peer != (flow.source, flow.source_port) => return None,
                    Some(_) => total += 16,
                    None => {}
                }
                match end.options.device {
                    Some(device) if device != flow.port => return None,
                    Some(_) => total += 4,
                    None => {}
                }
                Some(total + u32::from(end.family == Family::Ipv4))
            };
            let best = sockets.iter().filter_map(|(_, socket)| model(&socket.end)).max();
            let found = sockets.lookup(&flow).map(|handle| model(&sockets.get(handle).unwrap().end).unwrap());
            prop_assert_eq!(found, best);
        }
    }
}
