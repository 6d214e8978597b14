//! Our own addresses, before and while they are ours: checked for duplicates, announced, defended.
//!
//! ```text
//!             IPv6 (RFC 4862, 7527)  IPv4 (RFC 5227)
//!   probe     1, then 1 s            3, 1 to 2 s apart, then 2 s     nobody answers ──> ours
//!      └── somebody has it, or checks it too ──> duplicate: not used, shown, counted
//!   announce  3, 1 s apart           2, 2 s apart                    a new link address takes over at once
//!   defend    answers                one announcement in 10 s        when another station claims it
//! ```
//!
//! An address that is being checked is *tentative*: not ours for anybody. It stands in [`Interface::tentative`], not
//! among the interface's addresses, so nothing answers for it, speaks from it or delivers to it; nor for one that was
//! found to be a duplicate, which stays there. Only `Detection::Optimistic` (RFC 4429) uses an address meanwhile.
//!
//! Every worker keeps the same list and the same times; one of them, who polls the port first, speaks
//! ([`Interface::speaks`]). What any of them hears the others are told as a [`Fact`]. A nonce tells our own probes that a
//! link sends back from those of others (RFC 7527): it follows from a key that the workers share.
//!
//! This file decides; `act.rs` does it.

mod act;

use crate::hash::hash4;
use crate::interface::{Detection, Interface};
use crate::limits::MAX_PORTS;
use crate::neighbour::{Fact, FactKind};
use crate::port::PortId;
use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;
use ipnet::IpNet;

/// Probes of an IPv6 address (DupAddrDetectTransmits), and the time after each (RetransTimer).
const NS_PROBES: u8 = 1;
const NS_INTERVAL: Duration = Duration::from_secs(1);

/// Announcements of an IPv6 address (MAX_NEIGHBOR_ADVERTISEMENT); they too are RetransTimer apart.
const NA_ANNOUNCEMENTS: u8 = 3;

/// RFC 5227 section 1.1: PROBE_NUM, PROBE_MIN (PROBE_MAX is twice that), ANNOUNCE_WAIT, ANNOUNCE_NUM, ANNOUNCE_INTERVAL,
/// DEFEND_INTERVAL.
const ARP_PROBES: u8 = 3;
const ARP_PROBE_MIN: Duration = Duration::from_secs(1);
const ARP_WAIT: Duration = Duration::from_secs(2);
const ARP_ANNOUNCEMENTS: u8 = 2;
const ARP_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// The longest wait before the first probe behind a link that came up (PROBE_WAIT, MAX_RTR_SOLICITATION_DELAY): hosts that
/// lost their switch together do not all ask at once.
const FIRST_PROBE_WAIT: Duration = Duration::from_secs(1);

/// Where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many probes are still to be sent; with none left it is ours when its time has come.
    Probe { left: u8 },
    /// It is ours; so many announcements are still to be sent.
    Announce { left: u8 },
}

/// An address that something is still to be done about.
#[derive(Debug, Clone, Copy)]
struct Check {
    port: PortId,
    net: IpNet,
    step: Step,
    due: Instant,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Ask whether anybody has it.
    Probe(PortId, IpAddr),
    /// It is ours from now on.
    Adopt(PortId, IpNet),
    /// Tell everybody whose it is.
    Announce(PortId, IpAddr),
}

/// The addresses of one worker's ports that are being checked or announced.
#[derive(Debug)]
pub(crate) struct Checks {
    list: Vec<Check>,
    deadline: Instant,
    /// When an address of each port was defended last.
    defended: [Option<Instant>; MAX_PORTS],
    /// The same on all workers.
    key: [u64; 2],
    /// Ports have addresses that may not be used.
    pub(crate) some_unusable: bool,
}

impl Checks {
    /// Room for `addresses` at a time.
    pub(crate) fn new(addresses: usize, key: [u64; 2]) -> Checks {
        Checks {
            list: Vec::with_capacity(addresses),
            deadline: Instant::NEVER,
            defended: [None; MAX_PORTS],
            key,
            some_unusable: false,
        }
    }

    /// When [`Checks::next`] has something.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// An address begins at `first`; as its first step says. Without room it is neither checked nor announced.
    fn begin(&mut self, port: PortId, net: IpNet, first: Step, due: Instant) -> bool {
        self.forget(port, net.addr());
        if self.list.len() == self.list.capacity() {
            return false;
        }
        self.list.push(Check { port, net, step: first, due });
        self.deadline = self.deadline.min(due);
        true
    }

    /// Nothing is to be done about an address any more. True: there was something.
    fn forget(&mut self, port: PortId, address: IpAddr) -> bool {
        let before = self.list.len();
        self.list.retain(|check| check.port != port || check.net.addr() != address);
        self.reckon();
        before != self.list.len()
    }

    /// Nothing is to be done on a port any more.
    fn forget_port(&mut self, port: PortId) {
        self.list.retain(|check| check.port != port);
        self.reckon();
    }

    fn reckon(&mut self) {
        self.deadline = self.list.iter().map(|check| check.due).min().unwrap_or(Instant::NEVER);
    }

    /// True while an address is being checked.
    pub(crate) fn is_checked(&self, port: PortId, address: IpAddr) -> bool {
        let probing = |check: &Check| matches!(check.step, Step::Probe { .. });
        self.list.iter().any(|check| check.port == port && check.net.addr() == address && probing(check))
    }

    /// The next deed that is due. `announce` tells whether a port announces its addresses.
    fn next(&mut self, now: Instant, announce: impl Fn(PortId) -> bool) -> Option<Deed> {
        if now < self.deadline {
            return None;
        }
        let place = self.list.iter().position(|check| check.due <= now)?;
        let jitter = hash4([now.nanos(), place as u64, 1, 2], self.key);
        let check = self.list.get_mut(place)?;
        let (port, address, v4) = (check.port, check.net.addr(), check.net.addr().is_ipv4());
        let deed = match check.step {
            Step::Probe { left: 0 } => {
                let left = if v4 { ARP_ANNOUNCEMENTS } else { NA_ANNOUNCEMENTS };
                check.step = Step::Announce { left: if announce(port) { left } else { 0 } };
                check.due = now;
                Deed::Adopt(port, check.net)
            }
            Step::Probe { left } => {
                check.step = Step::Probe { left: left - 1 };
                check.due = now
                    + match (v4, left) {
                        (false, _) => NS_INTERVAL,
                        (true, 1) => ARP_WAIT,
                        (true, _) => ARP_PROBE_MIN + up_to(ARP_PROBE_MIN, jitter),
                    };
                Deed::Probe(port, address)
            }
            Step::Announce { left } => {
                check.step = Step::Announce { left: left.saturating_sub(1) };
                check.due = now + if v4 { ARP_INTERVAL } else { NS_INTERVAL };
                if left <= 1 {
                    self.list.swap_remove(place);
                }
                self.reckon();
                return (left > 0)
                    .then_some(Deed::Announce(port, address))
                    .or_else(|| self.next(now, announce));
            }
        };
        self.reckon();
        Some(deed)
    }

    /// True when a claim on an address of `port` is to be answered now; then not again for ten seconds (RFC 5227
    /// section 2.4 (c): a router keeps its address, and does not shout at somebody who keeps it as well).
    fn may_defend(&mut self, port: PortId, now: Instant) -> bool {
        let Some(last) = self.defended.get_mut(port.index()) else { return false };
        let may = last.is_none_or(|last| now.since(last) >= DEFEND_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    /// The nonce of our probes for an address.
    pub(crate) fn nonce(&self, port: PortId, address: IpAddr) -> [u8; 6] {
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let [a, b, c, d, e, f, ..] =
            hash4([bits as u64, (bits >> 64) as u64, port.index() as u64, 7], self.key).to_be_bytes();
        [a, b, c, d, e, f]
    }
}

/// A part of `most`, by 16 random bits.
fn up_to(most: Duration, random: u64) -> Duration {
    most * (random as u32 & 0xffff) / 0x1_0000
}

/// How the checks of an address begin, and whether it may be used meanwhile; `None`: nothing is to be done.
fn first_step(interface: &Interface, address: IpAddr) -> Option<(Step, bool)> {
    match address {
        IpAddr::V4(_) if interface.arp_probe => Some((Step::Probe { left: ARP_PROBES }, false)),
        IpAddr::V4(_) => interface.announce.then_some((Step::Announce { left: ARP_ANNOUNCEMENTS }, true)),
        IpAddr::V6(_) => match interface.detection {
            Detection::Strict => Some((Step::Probe { left: NS_PROBES }, false)),
            Detection::Optimistic => Some((Step::Probe { left: NS_PROBES }, true)),
            Detection::Off => interface.announce.then_some((Step::Announce { left: NA_ANNOUNCEMENTS }, true)),
        },
    }
}

/// The news that an address of ours is somebody else's as well.
fn duplicate(port: PortId, address: IpAddr) -> Fact {
    Fact { port, addr: address, mac: None, kind: FactKind::Duplicate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(10_000 + millis)
    }

    fn deeds(checks: &mut Checks, now: Instant) -> Vec<Deed> {
        core::iter::from_fn(|| checks.next(now, |_| true)).collect()
    }

    #[test]
    fn an_ipv6_address_is_asked_for_once_and_announced_when_nobody_answers() {
        let mut checks = Checks::new(4, [1, 2]);
        let net: IpNet = "fd00::1/64".parse().unwrap();
        let (port, address) = (PortId::FIRST, net.addr());
        assert!(checks.begin(port, net, Step::Probe { left: NS_PROBES }, at(0)));
        assert_eq!(deeds(&mut checks, at(0)), [Deed::Probe(port, address)]);
        assert!(checks.is_checked(port, address));
        assert_eq!(deeds(&mut checks, at(999)), []);
        assert_eq!(deeds(&mut checks, at(1000)), [Deed::Adopt(port, net), Deed::Announce(port, address)]);
        assert_eq!(deeds(&mut checks, at(2000)), [Deed::Announce(port, address)]);
        assert_eq!(deeds(&mut checks, at(3000)), [Deed::Announce(port, address)]);
        assert_eq!((checks.deadline(), checks.list.len()), (Instant::NEVER, 0));
    }

    #[test]
    fn an_ipv4_address_is_probed_three_times_one_to_two_seconds_apart() {
        let mut checks = Checks::new(4, [1, 2]);
        let net: IpNet = "10.0.1.1/24".parse().unwrap();
        checks.begin(PortId::FIRST, net, Step::Probe { left: ARP_PROBES }, at(0));
        let mut probes = Vec::new();
        let adopted = (0..10_000).find(|&millis| {
            deeds(&mut checks, at(millis)).into_iter().any(|deed| {
                probes.extend(matches!(deed, Deed::Probe(..)).then_some(millis));
                matches!(deed, Deed::Adopt(..))
            })
        });
        assert_eq!(probes.len(), 3);
        assert!(probes.windows(2).all(|pair| (1000..=2000).contains(&(pair[1] - pair[0]))), "{probes:?}");
        assert_eq!(adopted, Some(probes[2] + 2000));
    }

    #[test]
    fn an_address_is_defended_once_in_ten_seconds() {
        let mut checks = Checks::new(4, [1, 2]);
        let times = [0, 1, 9_999, 10_000, 10_001];
        assert_eq!(
            times.map(|time| checks.may_defend(PortId::FIRST, at(time))),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn without_room_nothing_is_begun() {
        let mut checks = Checks::new(1, [1, 2]);
        let [one, other]: [IpNet; 2] = ["10.0.1.1/24", "10.0.1.2/24"].map(|net| net.parse().unwrap());
        let step = Step::Announce { left: 1 };
        assert!(checks.begin(PortId::FIRST, one, step, at(0)));
        assert!(checks.begin(PortId::FIRST, one, step, at(0)), "the same again takes its own place");
        assert!(!checks.begin(PortId::FIRST, other, step, at(0)));
    }
}
