//! Which names are taken, and by whom (rows T4, T12): the two demultiplexers as one, over [`Tuple`]s.

use crate::limits::BURST;
use crate::tcp::demux::{KeyV4, KeyV6, Refused, TableV4, TableV6, key_v4, key_v6};
use crate::tcp::tuple::Tuple;
use core::net::Ipv4Addr;

/// What names lead to: a kind in the two high bits, a place in that kind's table below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// A connection: its place in the table.
    Connection(u32),
    /// A half-open connection of a listener.
    Request(u32),
    /// A TIME-WAIT record.
    TimeWait(u32),
}

impl Seat {
    const KIND: u32 = 30;
    const PLACE: u32 = (1 << Seat::KIND) - 1;

    const fn to_word(self) -> u32 {
        match self {
            Seat::Connection(place) => place & Seat::PLACE,
            Seat::Request(place) => 1 << Seat::KIND | place & Seat::PLACE,
            Seat::TimeWait(place) => 2 << Seat::KIND | place & Seat::PLACE,
        }
    }

    const fn from_word(word: u32) -> Seat {
        let place = word & Seat::PLACE;
        match word >> Seat::KIND {
            0 => Seat::Connection(place),
            1 => Seat::Request(place),
            _ => Seat::TimeWait(place),
        }
    }
}

enum Key {
    V4(KeyV4),
    V6(KeyV6),
}

#[inline]
fn key_of(tuple: &Tuple) -> Key {
    match (tuple.local.to_ipv4_mapped(), tuple.remote.to_ipv4_mapped()) {
        (Some(local), Some(remote)) => Key::V4(key_v4(local, tuple.local_port, remote, tuple.remote_port)),
        _ => Key::V6(key_v6(
            tuple.local,
            tuple.local_port,
            tuple.remote,
            tuple.remote_port,
            0, // link-local addresses carry their link: Tuple::scoped
        )),
    }
}

/// The names that are taken.
#[derive(Debug)]
pub(super) struct Names {
    v4: TableV4,
    v6: TableV6,
}

impl Names {
    /// Room for `capacity` names of each family.
    pub(super) fn new(capacity: usize, key: [u64; 2]) -> Names {
        Names { v4: TableV4::new(capacity, key), v6: TableV6::new(capacity, key) }
    }

    /// Who has these names.
    #[inline]
    pub(super) fn get(&self, tuple: &Tuple) -> Option<Seat> {
        match key_of(tuple) {
            Key::V4(key) => self.v4.lookup(&key),
            Key::V6(key) => self.v6.lookup(&key),
        }
        .map(Seat::from_word)
    }

    /// The same for names of IPv4: our address and port, the peer's.
    #[inline]
    pub(super) fn get_v4(&self, local: (Ipv4Addr, u16), remote: (Ipv4Addr, u16)) -> Option<Seat> {
        self.v4.lookup(&key_v4(local.0, local.1, remote.0, remote.1)).map(Seat::from_word)
    }

    /// Who has each of these names of IPv4, asking memory for all of them at once.
    pub(super) fn get_burst_v4(&self, keys: &[KeyV4], seats: &mut [Option<Seat>; BURST]) {
        let mut words = [None; BURST];
        self.v4.lookup_burst(keys, &mut words);
        *seats = words.map(|word| word.map(Seat::from_word));
    }

    /// The same for names of IPv6.
    pub(super) fn get_burst_v6(&self, keys: &[KeyV6], seats: &mut [Option<Seat>; BURST]) {
        let mut words = [None; BURST];
        self.v6.lookup_burst(keys, &mut words);
        *seats = words.map(|word| word.map(Seat::from_word));
    }

    /// Takes names that nobody has. False: somebody has them, or the table is full.
    #[must_use]
    pub(super) fn take(&mut self, tuple: &Tuple, seat: Seat) -> bool {
        let taken: Result<(), Refused> = match key_of(tuple) {
            Key::V4(key) => self.v4.insert(&key, seat.to_word()),
            Key::V6(key) => self.v6.insert(&key, seat.to_word()),
        };
        taken.is_ok()
    }

    /// Takes names, whoever has them. False: the table is full.
    #[must_use]
    pub(super) fn occupy(&mut self, tuple: &Tuple, seat: Seat) -> bool {
        let key = key_of(tuple);
        let taken = match &key {
            Key::V4(key) => self.v4.insert(key, seat.to_word()),
            Key::V6(key) => self.v6.insert(key, seat.to_word()),
        };
        match (taken, &key) {
            (Ok(()), _) => true,
            (Err(Refused::Taken(_)), Key::V4(key)) => self.v4.replace(key, seat.to_word()),
            (Err(Refused::Taken(_)), Key::V6(key)) => self.v6.replace(key, seat.to_word()),
            (Err(Refused::Full), _) => false,
        }
    }

    /// Hands names over to somebody else. False: nobody had them.
    #[must_use]
    pub(super) fn hand_over(&mut self, tuple: &Tuple, seat: Seat) -> bool {
        match key_of(tuple) {
            Key::V4(key) => self.v4.replace(&key, seat.to_word()),
            Key::V6(key) => self.v6.replace(&key, seat.to_word()),
        }
    }

    /// How many are taken.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Frees names.
    pub(super) fn free(&mut self, tuple: &Tuple) {
        match key_of(tuple) {
            Key::V4(key) => self.v4.remove(&key),
            Key::V6(key) => self.v6.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortId;

    #[test]
    fn a_seat_survives_being_a_word() {
        for seat in [Seat::Connection(0), Seat::Request(7), Seat::TimeWait((1 << 30) - 1)] {
            assert_eq!(Seat::from_word(seat.to_word()), seat);
        }
    }

    #[test]
    fn names_are_taken_once_and_links_tell_link_local_ones_apart() {
        let mut names = Names::new(8, [1, 2]);
        let v4 = Tuple::new(("10.0.0.1".parse().unwrap(), 80), ("10.0.0.2".parse().unwrap(), 5000));
        let v6 = Tuple::new(("fe80::1".parse().unwrap(), 80), ("fe80::2".parse().unwrap(), 5000));
        let [first, second] = [0, 1].map(|index| v6.scoped(PortId::new(index).unwrap()));
        assert!(names.take(&v4, Seat::Connection(1)) && !names.take(&v4, Seat::Request(1)));
        assert!(names.take(&first, Seat::Request(2)) && names.take(&second, Seat::Connection(3)));
        assert_eq!(names.get(&v4.scoped(PortId::new(5).unwrap())), Some(Seat::Connection(1)));
        assert_eq!(names.get(&second), Some(Seat::Connection(3)));
        assert!(names.hand_over(&first, Seat::TimeWait(4)));
        assert_eq!(names.get(&first), Some(Seat::TimeWait(4)));
        names.free(&first);
        assert_eq!(names.get(&first), None);
        assert!(!names.hand_over(&first, Seat::Request(0)));
    }
}
