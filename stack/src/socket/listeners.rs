//! Which socket takes what comes to a port and belongs to no connection: TCP listeners, and UDP sockets that are
//! not connected.
//!
//! ```text
//!   (address, port) ──> groups: │ device │ SO_REUSEPORT or not │ members │
//!
//!   a packet to 10.0.0.1:80 looks under   10.0.0.1:80,  then 0.0.0.0:80 and :::80 (unless IPv6 only)
//! ```
//!
//! As in Linux (`__inet_lookup_listener`, `udp4_lib_lookup2`): an exact address wins over any address; under it a
//! socket bound to the device of arrival over one bound to none; then an IPv4 socket over an IPv6 one that takes
//! both; then the latest. Among the members of a SO_REUSEPORT group the flow's hash chooses, so one flow always
//! meets the same socket. A lookup is at most three probes of a table, whatever the number of listeners.
//!
//! Whether a socket may stand here at all, [`super::bound`] decided before.

use super::bound::Address;
use crate::limits::MAX_SHARERS;
use crate::port::PortId;
use crate::tcp::demux::{KeyV4, KeyV6, Refused, TableV4, TableV6, key_v4, key_v6};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a socket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its local address.
    pub address: Address,
    /// Its local port.
    pub port: u16,
    /// SO_BINDTODEVICE.
    pub device: Option<PortId>,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
}

/// What a packet is for.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its destination address; an IPv6 one is not in mapped form.
    pub destination: IpAddr,
    /// Its destination port.
    pub port: u16,
    /// Where it came in.
    pub device: PortId,
    /// The keyed hash of its flow.
    pub flow: u32,
}

/// The table is full, or one more member would be one too many for its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for one more listening socket here")]
pub struct NoRoom;

/// The listening sockets of one protocol, by numbers that the caller chose.
#[derive(Debug)]
pub struct Listeners {
    v4: TableV4,
    v6: TableV6,
    /// The groups under one address and port; the tables hold places in this list. Empty ones are free.
    chains: Vec<Vec<Group>>,
    free: Vec<u32>,
    capacity: usize,
    len: usize,
}

#[derive(Debug)]
struct Group {
    place: Place,
    /// In the order in which they came.
    members: Vec<u32>,
}

enum Key {
    V4(KeyV4),
    V6(KeyV6),
}

impl Listeners {
    /// A table for so many sockets. `key` is random.
    pub fn new(capacity: usize, key: [u64; 2]) -> Self {
        Listeners {
            v4: TableV4::new(capacity, key),
            v6: TableV6::new(capacity, key),
            chains: Vec::new(),
            free: Vec::new(),
            capacity,
            len: 0,
        }
    }

    /// Sockets in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets a socket hear.
    pub fn insert(&mut self, place: Place, socket: u32) -> Result<(), NoRoom> {
        if self.len == self.capacity {
            return Err(NoRoom);
        }
        let key = key_of(place.address, place.port);
        let chain = match self.chain(&key) {
            Some(chain) => chain,
            None => self.new_chain(&key)?,
        };
        let groups = &mut self.chains[chain as usize];
        match groups.iter_mut().find(|group| group.place == place) {
            Some(group) if group.members.len() == MAX_SHARERS => return Err(NoRoom),
            Some(group) => group.members.push(socket),
            None => groups.push(Group { place, members: vec![socket] }),
        }
        self.len += 1;
        Ok(())
    }

    /// The socket hears no more; false when it did not.
    pub fn remove(&mut self, place: Place, socket: u32) -> bool {
        let key = key_of(place.address, place.port);
        let Some(chain) = self.chain(&key) else {
            return false;
        };
        let groups = &mut self.chains[chain as usize];
        let Some(at) = groups.iter().position(|group| group.place == place) else {
            return false;
        };
        let Some(member) = groups[at].members.iter().position(|&member| member == socket) else {
            return false;
        };
        groups[at].members.remove(member);
        self.len -= 1;
        if groups[at].members.is_empty() {
            groups.remove(at);
        }
        if groups.is_empty() {
            self.free.push(chain);
            let _chain = match &key {
                Key::V4(key) => self.v4.remove(key),
                Key::V6(key) => self.v6.remove(key),
            };
        }
        true
    }

    /// The socket that takes a packet.
    #[inline]
    pub fn lookup(&self, arrival: &Arrival) -> Option<u32> {
        let exact = Address::new(arrival.destination, true);
        let best = |address| self.groups(address, arrival).max_by_key(|group| score(group));
        // Of equals `max_by_key` takes the last: the latest.
        let group = best(exact).or_else(|| match arrival.destination {
            IpAddr::V6(_) => best(Address::AnyV6 { only: true }),
            IpAddr::V4(_) => {
                let both = best(Address::AnyV6 { only: false });
                let own = best(Address::AnyV4);
                // An IPv6 socket must be better, not as good.
                both.into_iter().chain(own).max_by_key(|group| 2 * score(group) + family(group))
            }
        })?;
        let members = &group.members;
        let chosen = if group.place.reuse_port {
            ((u64::from(arrival.flow) * members.len() as u64) >> 32) as usize
        } else {
            members.len() - 1
        };
        members.get(chosen).copied()
    }

    /// Every socket that a packet matches, as multicast and broadcast want it.
    pub fn matching(&self, arrival: &Arrival, mut each: impl FnMut(u32)) {
        let any = match arrival.destination {
            IpAddr::V4(_) => [Some(Address::AnyV4), Some(Address::AnyV6 { only: false })],
            IpAddr::V6(_) => [Some(Address::AnyV6 { only: true }), None],
        };
        for address in [Some(Address::new(arrival.destination, true))].into_iter().chain(any).flatten() {
            self.groups(address, arrival).flat_map(|group| &group.members).for_each(|&socket| each(socket));
        }
    }

    /// The groups under an address that take this packet.
    #[inline]
    fn groups(&self, address: Address, arrival: &Arrival) -> impl Iterator<Item = &Group> {
        let chain = self.chain(&key_of(address, arrival.port));
        let groups = chain.and_then(|chain| self.chains.get(chain as usize)).map_or(&[][..], Vec::as_slice);
        let (device, v4) = (arrival.device, arrival.destination.is_ipv4());
        groups.iter().filter(move |group| {
            let here = group.place.device.is_none_or(|bound| bound == device);
            here && !(v4 && group.place.address == Address::AnyV6 { only: true })
        })
    }

    #[inline]
    fn chain(&self, key: &Key) -> Option<u32> {
        match key {
            Key::V4(key) => self.v4.lookup(key),
            Key::V6(key) => self.v6.lookup(key),
        }
    }

    fn new_chain(&mut self, key: &Key) -> Result<u32, NoRoom> {
        let chain = self.free.last().copied().unwrap_or(self.chains.len() as u32);
        let inserted: Result<(), Refused> = match key {
            Key::V4(key) => self.v4.insert(key, chain),
            Key::V6(key) => self.v6.insert(key, chain),
        };
        inserted.map_err(|_| NoRoom)?;
        if self.free.pop().is_none() {
            self.chains.push(Vec::new());
        }
        Ok(chain)
    }
}

/// A socket is in the table as a connection to nobody.
fn key_of(address: Address, port: u16) -> Key {
    let v4 = |address| Key::V4(key_v4(address, port, Ipv4Addr::UNSPECIFIED, 0));
    // A link-local address on two links is one key; sockets that mean one link are bound to its device.
    let v6 = |address| Key::V6(key_v6(address, port, Ipv6Addr::UNSPECIFIED, 0, 0));
    match address {
        Address::AnyV4 => v4(Ipv4Addr::UNSPECIFIED),
        Address::V4(address) => v4(address),
        Address::AnyV6 { .. } => v6(Ipv6Addr::UNSPECIFIED),
        Address::V6(address) => v6(address),
    }
}

/// How well a group fits a packet that it takes, beside its address.
fn score(group: &Group) -> u8 {
    u8::from(group.place.device.is_some())
}

fn family(group: &Group) -> u8 {
    u8::from(group.place.address == Address::AnyV4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DUAL: Address = Address::AnyV6 { only: false };
    const ONLY: Address = Address::AnyV6 { only: true };

    fn listeners() -> Listeners {
        Listeners::new(64, [1, 2])
    }

    fn at(address: Address) -> Place {
        Place { address, port: 80, device: None, reuse_port: false }
    }

    fn to(destination: impl Into<IpAddr>) -> Arrival {
        let device = PortId::new(0).unwrap();
        Arrival { destination: destination.into(), port: 80, device, flow: 0 }
    }

    #[test]
    fn an_exact_address_wins_over_any_and_ipv4_over_both() {
        let mut table = listeners();
        table.insert(at(DUAL), 1).unwrap();
        assert_eq!(table.lookup(&to(A)), Some(1));
        table.insert(at(Address::AnyV4), 2).unwrap();
        assert_eq!(table.lookup(&to(A)), Some(2));
        assert_eq!(table.lookup(&to(Ipv6Addr::LOCALHOST)), Some(1));
        table.insert(at(Address::V4(A)), 3).unwrap();
        assert_eq!(table.lookup(&to(A)), Some(3));
        assert_eq!(table.lookup(&to(Ipv4Addr::LOCALHOST)), Some(2));
        assert_eq!(table.lookup(&Arrival { port: 81, ..to(A) }), None);
        assert!(table.remove(at(Address::V4(A)), 3) && !table.remove(at(Address::V4(A)), 3));
        assert_eq!(table.lookup(&to(A)), Some(2));
    }

    #[test]
    fn an_ipv6_only_socket_takes_no_ipv4() {
        let mut table = listeners();
        table.insert(at(ONLY), 1).unwrap();
        assert_eq!((table.lookup(&to(A)), table.lookup(&to(Ipv6Addr::LOCALHOST))), (None, Some(1)));
    }

    #[test]
    fn a_socket_bound_to_the_device_of_arrival_wins_and_one_bound_elsewhere_does_not_hear() {
        let mut table = listeners();
        table.insert(Place { device: PortId::new(0), ..at(DUAL) }, 1).unwrap();
        table.insert(at(Address::AnyV4), 2).unwrap();
        table.insert(Place { device: PortId::new(1), ..at(Address::AnyV4) }, 3).unwrap();
        assert_eq!(table.lookup(&to(A)), Some(1));
        assert_eq!(table.lookup(&Arrival { device: PortId::new(1).unwrap(), ..to(A) }), Some(3));
        assert_eq!(table.lookup(&Arrival { device: PortId::new(2).unwrap(), ..to(A) }), Some(2));
    }

    #[test]
    fn flows_spread_over_a_group_and_each_keeps_its_socket() {
        let mut table = listeners();
        let shared = Place { reuse_port: true, ..at(Address::AnyV4) };
        (0..4).for_each(|socket| table.insert(shared, socket).unwrap());
        let mut counts = [0; 4];
        for flow in (0..1000u32).map(|n| n.wrapping_mul(0x9e37_79b9)) {
            let socket = table.lookup(&Arrival { flow, ..to(A) }).unwrap();
            assert_eq!(table.lookup(&Arrival { flow, ..to(A) }), Some(socket));
            counts[socket as usize] += 1;
        }
        assert!(counts.iter().all(|count| (200..300).contains(count)), "{counts:?}");
        assert_eq!(table.lookup(&Arrival { flow: u32::MAX, ..to(A) }), Some(3));
    }

    #[test]
    fn of_udp_sockets_that_share_by_reuseaddr_the_latest_hears_and_multicast_reaches_all() {
        let mut table = listeners();
        (1..4).for_each(|socket| table.insert(at(Address::AnyV4), socket).unwrap());
        table.insert(at(DUAL), 4).unwrap();
        table.insert(at(ONLY), 5).unwrap();
        assert_eq!(table.lookup(&to(A)), Some(3));
        let mut heard = Vec::new();
        table.matching(&to(A), |socket| heard.push(socket));
        assert_eq!(heard, [1, 2, 3, 4]);
    }

    #[test]
    fn one_socket_too_many_for_the_table_and_for_a_group() {
        let mut table = Listeners::new(MAX_SHARERS + 2, [1, 2]);
        let shared = Place { reuse_port: true, ..at(Address::AnyV4) };
        (0..MAX_SHARERS as u32).for_each(|socket| table.insert(shared, socket).unwrap());
        assert_eq!(table.insert(shared, 0), Err(NoRoom));
        table.insert(at(DUAL), 1).unwrap();
        table.insert(at(Address::V4(A)), 1).unwrap();
        assert_eq!(table.insert(at(Address::V6(Ipv6Addr::LOCALHOST)), 1), Err(NoRoom));
        assert_eq!(table.len(), MAX_SHARERS + 2);
    }

    proptest! {
        /// The model is a list of all sockets, of which each is scored.
        #[test]
        fn it_does_what_scoring_every_socket_does(
            steps in proptest::collection::vec((0u8..4, 0usize..6, 0usize..3, any::<usize>()), 1..60),
        ) {
            let loopback = Ipv6Addr::LOCALHOST;
            let addresses = [Address::AnyV4, Address::V4(A), DUAL, ONLY, Address::V6(loopback), Address::V4(Ipv4Addr::LOCALHOST)];
            let mut table = Listeners::new(1000, [3, 4]);
            let mut model: Vec<(Place, u32)> = Vec::new();
            for (socket, (kind, address, device, pick)) in steps.into_iter().enumerate() {
                // Devices 0 and 1, or none.
                let place = Place { device: PortId::new(device).filter(|_| device < 2), ..at(addresses[address]) };
                // Two sockets on one place share by SO_REUSEADDR; what else the rules of binding forbid is kept out.
                let other = model.iter().any(|(old, _)| matches!((old.address, place.address), (Address::AnyV6 { only: a }, Address::AnyV6 { only: b }) if a != b));
                if kind == 0 && !model.is_empty() {
                    let (place, socket) = model.remove(pick % model.len());
                    prop_assert!(table.remove(place, socket));
                } else if !other {
                    table.insert(place, socket as u32).unwrap();
                    model.push((place, socket as u32));
                }
                prop_assert_eq!(table.len(), model.len());
                for destination in [IpAddr::V4(A), IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), IpAddr::V6(loopback), "2001:db8::1".parse().unwrap()] {
                    for device in 0..3 {
                        let arrival = Arrival { device: PortId::new(device).unwrap(), ..to(destination) };
                        let rank = |place: &Place| {
                            let address = match (place.address, destination) {
                                (Address::V4(own), IpAddr::V4(to)) if own == to => 4,
                                (Address::V6(own), IpAddr::V6(to)) if own == to => 4,
                                (Address::AnyV4, IpAddr::V4(_)) | (Address::AnyV6 { .. }, IpAddr::V6(_)) => 1,
                                (Address::AnyV6 { only: false }, IpAddr::V4(_)) => 0,
                                _ => return None,
                            };
                            match place.device {
                                None => Some(address),
                                Some(own) if own == arrival.device => Some(address + 2),
                                Some(_) => None,
                            }
                        };
                        let best = model.iter().filter_map(|(place, _)| rank(place)).max();
                        let found = table.lookup(&arrival);
                        let found_rank = found.map(|found| {
                            let (place, _) = model.iter().find(|(_, socket)| *socket == found).unwrap();
                            rank(place).unwrap()
                        });
                        prop_assert_eq!(found_rank, best);
                        // The latest of the best place.
                        let latest = model.iter().rev().find(|(place, _)| rank(place).is_some() && rank(place) == best);
                        prop_assert_eq!(found, latest.map(|(_, socket)| *socket));
                        let mut all = Vec::new();
                        table.matching(&arrival, |socket| all.push(socket));
                        all.sort_unstable();
                        let mut expected: Vec<u32> = model.iter().filter(|(place, _)| rank(place).is_some()).map(|(_, socket)| *socket).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(all, expected);
                    }
                }
            }
        }
    }
}
