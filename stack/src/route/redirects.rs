//! Redirects that were believed (row I4): destinations which a router told us to reach by another neighbour.
//!
//! RFC 1122 section 3.3.1.2 and RFC 4861 section 8.3: only what we send ourselves follows them; packets in transit
//! follow the routes. Each holds for one destination, as long as the route still leads to the router that sent it, and
//! for ten minutes at most: a router that still means it says it again. The table is bounded and keyed like that of the
//! path MTUs: a flood of them displaces redirects, which then are learnt again, and nothing else.
//!
//! Who may redirect us is judged by [`crate::icmp::redirect`].

use crate::port::PortId;
use crate::route::ecmp::HashKey;
use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// How long a redirect is followed.
pub const LIFETIME: Duration = Duration::from_secs(600);

const WAYS: usize = 4;

/// A better way to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The link that both routers are on.
    pub port: PortId,
    /// The router that the route leads to: the redirect holds as long as it does.
    pub route: IpAddr,
    /// The neighbour to send to: a router, or (IPv6) the destination itself.
    pub gateway: IpAddr,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    destination: u128,
    redirect: Redirect,
    /// [`Instant::ZERO`] for none.
    expires: Instant,
}

/// The redirects of one worker.
#[derive(Debug)]
pub struct Redirects {
    sets: Box<[[Entry; WAYS]]>,
    key: HashKey,
    held: usize,
}

impl Redirects {
    /// Room for `entries`, rounded up to four times a power of two. `key` is random.
    pub fn new(entries: usize, key: HashKey) -> Self {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        let nobody = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
        let redirect = Redirect { port: PortId::FIRST, route: nobody, gateway: nobody };
        let none = Entry { destination: 0, redirect, expires: Instant::ZERO };
        Redirects { sets: vec![[none; WAYS]; sets].into_boxed_slice(), key, held: 0 }
    }

    /// Follow this one from now on.
    pub fn learn(&mut self, destination: IpAddr, redirect: Redirect, now: Instant) {
        let (destination, set) = self.locate(destination);
        let Some(set) = self.sets.get_mut(set) else { return };
        let known = set.iter().position(|way| way.destination == destination && way.expires > now);
        let oldest = || (0..WAYS).min_by_key(|&way| set[way].expires).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        self.held += usize::from(set[way].expires == Instant::ZERO);
        set[way] = Entry { destination, redirect, expires: now + LIFETIME };
    }

    /// The redirect for `destination`, if there is one.
    #[inline]
    pub fn get(&self, destination: IpAddr, now: Instant) -> Option<Redirect> {
        if self.held == 0 {
            return None; // the usual case costs one compare
        }
        let (destination, set) = self.locate(destination);
        let found =
            self.sets.get(set)?.iter().find(|way| way.destination == destination && way.expires > now)?;
        Some(found.redirect)
    }

    /// Follow it no longer: the neighbour does not answer.
    pub fn forget(&mut self, destination: IpAddr) {
        let (destination, set) = self.locate(destination);
        let Some(set) = self.sets.get_mut(set) else { return };
        for way in set.iter_mut().filter(|way| way.destination == destination) {
            self.held -= usize::from(way.expires != Instant::ZERO);
            way.expires = Instant::ZERO;
        }
    }

    /// Places that are taken, expired ones among them: never more than there are.
    pub fn len(&self) -> usize {
        self.held
    }

    /// True when none was ever taken.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn locate(&self, destination: IpAddr) -> (u128, usize) {
        let bits = match destination {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let hash = self.key.mix(bits as u64, (bits >> 64) as u64, 2);
        (bits, hash as usize & (self.sets.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1000 + seconds * 1000)
    }

    fn to(gateway: &str) -> Redirect {
        let route = "10.0.1.1".parse().unwrap();
        Redirect { port: PortId::FIRST, route, gateway: gateway.parse().unwrap() }
    }

    #[test]
    fn a_redirect_is_followed_for_ten_minutes_or_until_it_is_forgotten() {
        let mut redirects = Redirects::new(8, HashKey::new([1, 2]));
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(redirects.get(one, at(0)), None);
        redirects.learn(one, to("10.0.1.9"), at(0));
        redirects.learn(other, to("10.0.1.8"), at(0));
        redirects.learn(one, to("10.0.1.7"), at(1));
        assert_eq!(redirects.get(one, at(600)), Some(to("10.0.1.7")));
        assert_eq!(redirects.get(one, at(601)), None);
        redirects.forget(other);
        assert_eq!((redirects.get(other, at(1)), redirects.len()), (None, 1));
    }

    #[test]
    fn a_flood_stays_within_the_table_and_the_latest_is_known() {
        let mut redirects = Redirects::new(64, HashKey::new([1, 2]));
        for number in 0..10_000 {
            let host = IpAddr::V4(Ipv4Addr::from_bits(number));
            redirects.learn(host, to("10.0.1.9"), at(u64::from(number)));
            assert!(redirects.get(host, at(u64::from(number))).is_some() && redirects.len() <= 64);
        }
    }
}
