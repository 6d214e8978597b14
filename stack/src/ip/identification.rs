//! Identifications of datagrams that we send and that may travel in fragments (RFC 6864, RFC 7739).
//!
//! Two datagrams of one source, destination and protocol must not have the same number while fragments of both may be
//! on their way, and nobody off the path may guess the next one: with it fragments can be slipped in, or our other
//! traffic counted. RFC 7739 section 5.3: a counter, so that numbers come round as late as possible, plus a keyed
//! hash of the pair, so that one pair's numbers say nothing about another's. Counters are shared by a second keyed hash and
//! start at random, so their number is fixed and nothing is remembered about anybody.

use crate::hash::hash4;
use crate::limits::IDENTIFICATIONS;
use core::net::{Ipv4Addr, Ipv6Addr};

/// The numbers of one worker.
#[derive(Debug)]
pub(crate) struct Identifications {
    counters: Box<[u32; IDENTIFICATIONS]>,
    key: [u64; 2],
}

impl Identifications {
    /// `key` is random and secret.
    pub(crate) fn new(key: [u64; 2]) -> Identifications {
        let mut counters = Box::new([0; IDENTIFICATIONS]);
        for (number, counter) in counters.iter_mut().enumerate() {
            *counter = hash4([number as u64, 1, 2, 3], key) as u32;
        }
        Identifications { counters, key }
    }

    /// The next number of an IPv4 datagram.
    pub(crate) fn next4(&mut self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> u16 {
        let pair = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
        self.next([pair, u64::from(protocol), 4, 0]) as u16
    }

    /// The next number of an IPv6 packet that is cut into fragments. Never 0, which some take for none.
    pub(crate) fn next6(&mut self, source: Ipv6Addr, destination: Ipv6Addr) -> u32 {
        let (source, destination) = (source.to_bits(), destination.to_bits());
        let pair = [(source >> 64) as u64, source as u64, (destination >> 64) as u64, destination as u64];
        match self.next(pair) {
            0 => self.next(pair),
            number => number,
        }
    }

    fn next(&mut self, pair: [u64; 4]) -> u32 {
        let hash = hash4(pair, self.key);
        // Independent bits of one hash: which counter, and how far from it.
        let counter = &mut self.counters[(hash >> 32) as usize % IDENTIFICATIONS];
        *counter = counter.wrapping_add(1);
        counter.wrapping_add(hash as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_pair_come_round_only_when_all_were_used() {
        let mut numbers = Identifications::new([3, 4]);
        let (us, peer) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let seen: std::collections::HashSet<u16> = (0..65_536).map(|_| numbers.next4(us, peer, 17)).collect();
        assert_eq!(seen.len(), 65_536);
    }

    #[test]
    fn the_numbers_of_one_pair_say_nothing_about_those_of_another() {
        let mut numbers = Identifications::new([3, 4]);
        let mut other = Identifications::new([3, 5]);
        let us = Ipv6Addr::LOCALHOST;
        let apart: std::collections::HashSet<u32> = (0..1000u128)
            .map(|peer| numbers.next6(us, peer.into()).wrapping_sub(other.next6(us, peer.into())))
            .collect();
        assert!(
            apart.len() > 990,
            "neither between pairs nor between keys is there one step: {}",
            apart.len()
        );
    }
}
