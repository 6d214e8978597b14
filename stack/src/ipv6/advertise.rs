//! Router advertisements (RFC 4861 section 6): a router says which network this is and that it leads out of it; a host asks.
//!
//! ```text
//!   router:  begin ── advertisement ×3, at most 16 s apart ── then every so often (min..max, random)
//!                     └─ a solicitation brings the next one forward: within half a second, never two in 3 s
//!            end   ── one with lifetime 0 (section 6.2.5)
//!   host:    begin ── solicitation ×3, 4 s apart, until a router answers (section 6.3.7)
//! ```
//!
//! What is said: hop limit, lifetimes, prefixes (section 4.6.2), the MTU (4.6.4) and DNS servers (RFC 8106). All workers of a
//! port keep the times, the one that speaks sends ([`crate::Interface::speaks`]); a solicitation is answered by whichever
//! worker heard it. What a host makes of an advertisement is in [`super::autoconf`].

use super::HEADER_LEN;
use super::autoconf::{Heard, Notice};
use crate::counters::Counter;
use crate::ethernet::{self, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::v6::{Fields, ICMPV6, write_header};
use crate::limits::{ADVERTISEMENT_BYTES, MAX_ADVERTISED, NOTICES};
use crate::mac::MacAddr;
use crate::port::PortId;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::address::{IPV6_ALL_NODES, IPV6_ALL_ROUTERS, ipv6_group_mac};
use crate::wire::icmpv6::{fill_checksum, kind, pseudo_header};
use crate::wire::ndp::{self, Options, RouterFields, option};
use core::net::Ipv6Addr;
use core::time::Duration;
use ipnet::Ipv6Net;

/// RFC 4861 section 10: MAX_INITIAL_RTR_ADVERTISEMENTS and their interval, MAX_RA_DELAY_TIME, MIN_DELAY_BETWEEN_RAS.
const INITIAL: u8 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
const LONGEST_DELAY: Duration = Duration::from_millis(500);
const SHORTEST_DISTANCE: Duration = Duration::from_secs(3);

/// MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

/// When there is no link-local address to speak from yet, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What a router says of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Shortest and longest time between two advertisements (MinRtrAdvInterval, MaxRtrAdvInterval).
    pub interval: (Duration, Duration),
    /// How long hosts may use us as their default router, in seconds; 0: not at all.
    pub lifetime: u16,
    /// The hop limit for hosts; 0: not said.
    pub hop_limit: u8,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
    /// The MTU of the link, if it is said.
    pub mtu: Option<u16>,
    /// The prefixes of the link.
    pub prefixes: Vec<Advertised>,
    /// DNS servers, and how long they hold in seconds.
    pub dns: (Vec<Ipv6Addr>, u32),
}

/// A prefix of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// Its addresses are on the link.
    pub on_link: bool,
    /// Hosts may make addresses in it.
    pub autonomous: bool,
    /// Seconds that it is on the link, and that addresses are preferred.
    pub lifetimes: (u32, u32),
}

/// When a port speaks next.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    next: Instant,
    sent: u8,
    last: Option<Instant>,
}

/// The schedules of one worker's ports.
#[derive(Debug)]
pub(crate) struct Advertisers {
    ports: Box<[Schedule]>,
    deadline: Instant,
}

impl Advertisers {
    pub(crate) fn new(ports: usize) -> Advertisers {
        let idle = Schedule { next: Instant::NEVER, sent: 0, last: None };
        Advertisers { ports: vec![idle; ports].into_boxed_slice(), deadline: Instant::NEVER }
    }

    /// When something is to be said.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn set(&mut self, port: PortId, change: impl FnOnce(&mut Schedule)) {
        if let Some(schedule) = self.ports.get_mut(port.index()) {
            change(schedule);
        }
        self.deadline = self.ports.iter().map(|schedule| schedule.next).min().unwrap_or(Instant::NEVER);
    }

    fn due(&self, now: Instant) -> Option<PortId> {
        let place = self.ports.iter().position(|schedule| schedule.next <= now)?;
        PortId::new(place)
    }
}

/// When the next advertisement goes after one at `now`, the `sent`th. `random` is any number.
fn next_regular(now: Instant, (min, max): (Duration, Duration), sent: u8, random: u32) -> Instant {
    let spread = max.saturating_sub(min) * (random & 0xffff) / 0x1_0000;
    let wait = min + spread;
    now + if sent < INITIAL { wait.min(INITIAL_INTERVAL) } else { wait }
}

/// When an advertisement goes that a solicitation asks for (RFC 4861 section 6.2.6).
fn next_solicited(now: Instant, last: Option<Instant>, random: u32) -> Instant {
    let soon = now + LONGEST_DELAY * (random & 0xffff) / 0x1_0000;
    last.map_or(soon, |last| soon.max(last + SHORTEST_DISTANCE))
}

impl<F: Frame> Stack<F> {
    /// A port begins to advertise, or to ask for routers.
    pub(crate) fn begin_advertising(&mut self, now: Instant, port: PortId) {
        let speaks =
            self.interfaces.get(port).is_some_and(|one| one.up && (one.advertise.is_some() || one.autoconf));
        let next = if speaks { now } else { Instant::NEVER };
        self.advertisers.set(port, |schedule| *schedule = Schedule { next, sent: 0, last: schedule.last });
    }

    /// A host asks for routers on a port.
    pub(crate) fn solicited_by_host(&mut self, now: Instant, port: PortId) {
        let random = self.next_random_u32();
        if self.interfaces.get(port).is_some_and(|one| one.advertise.is_some()) {
            self.advertisers.set(port, |schedule| {
                schedule.next = schedule.next.min(next_solicited(now, schedule.last, random));
            });
        }
    }

    /// A router spoke on a port: told to the control thread where addresses are made of it, and not asked for any more.
    pub(crate) fn hear_router(
        &mut self,
        port: PortId,
        router: Ipv6Addr,
        fields: RouterFields,
        options: &Options<'_>,
    ) {
        let Some(interface) = self.interfaces.get(port).filter(|one| one.autoconf) else { return };
        if interface.forwarding {
            return; // RFC 4861 section 6.2.7: a router is not configured by others
        }
        if fields.lifetime > 0 {
            self.advertisers.set(port, |schedule| schedule.next = Instant::NEVER);
        }
        if self.notices.len() < NOTICES {
            let heard = Heard::new(port, router, fields, options);
            self.notices.push_back(Notice::Router(heard));
        }
    }

    /// The next thing that the control thread should know.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Says what is due.
    pub(crate) fn settle_advertising<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        while turn.now >= self.advertisers.deadline() {
            let Some(port) = self.advertisers.due(turn.now) else { return };
            let random = self.next_random_u32();
            let now = turn.now;
            let Some(interface) = self.interfaces.get(port) else { return };
            let (advertise, speaks) = (interface.advertise.clone(), interface.speaks);
            let next = match &advertise {
                Some(_) if interface.link_local().is_none() => Some(now + AGAIN),
                Some(advertise) => {
                    if speaks {
                        self.send_advertisement(turn, port, advertise, advertise.lifetime);
                    }
                    None
                }
                None if interface.autoconf => {
                    if speaks {
                        self.ask_for_routers(turn, port);
                    }
                    None
                }
                None => Some(Instant::NEVER),
            };
            self.advertisers.set(port, |schedule| {
                schedule.next = next.unwrap_or_else(|| {
                    schedule.sent = schedule.sent.saturating_add(1);
                    schedule.last = Some(now);
                    match &advertise {
                        Some(advertise) => next_regular(now, advertise.interval, schedule.sent, random),
                        None if schedule.sent < SOLICITATIONS => now + SOLICITATION_INTERVAL,
                        None => Instant::NEVER,
                    }
                });
            });
        }
    }

    /// The end: hosts need not wait until the lifetime is over (RFC 4861 section 6.2.5). To be called before the last frames
    /// leave.
    pub fn say_goodbye<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        for port in (0..self.interfaces.len()).filter_map(PortId::new) {
            let advertise =
                self.interfaces.get(port).filter(|one| one.up && one.speaks).map(|one| &one.advertise);
            if let Some(Some(advertise)) = advertise.cloned() {
                self.send_advertisement(turn, port, &advertise, 0);
            }
        }
    }

    fn send_advertisement<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        port: PortId,
        advertise: &Advertise,
        lifetime: u16,
    ) where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let Some(interface) = self.interfaces.get(port) else { return };
        let (Some(source), mac) = (interface.link_local(), interface.mac) else { return };
        let built =
            build(turn.pool, source, IPV6_ALL_NODES, |message| emit(message, advertise, lifetime, mac));
        if self.send_group(turn, port, built, IPV6_ALL_NODES) {
            self.counters.count(Counter::NdRouterAdvertisementsOut);
        }
    }

    fn ask_for_routers<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let Some(interface) = self.interfaces.get(port) else { return };
        // RFC 4861 section 4.1: from nobody, as long as we have no address, and then without saying who.
        let source = interface.link_local();
        let mac = source.map(|_| interface.mac);
        let source = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let built = build(turn.pool, source, IPV6_ALL_ROUTERS, |message| {
            ndp::emit_router_solicitation(message, &source, &IPV6_ALL_ROUTERS, mac).ok()
        });
        if self.send_group(turn, port, built, IPV6_ALL_ROUTERS) {
            self.counters.count(Counter::NdRouterSolicitationsOut);
        }
    }

    fn send_group<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        port: PortId,
        frame: Option<F>,
        group: Ipv6Addr,
    ) -> bool
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (Some(mac), Some(interface)) = (ipv6_group_mac(&group), self.interfaces.get(port)) else {
            return false;
        };
        let header = ethernet::header(mac, interface.mac, ethertype::IPV6);
        let Some(mut frame) = frame.filter(|frame| frame.headroom() >= ethernet::HEADER_LEN) else {
            self.counters.drop(DropReason::NoFrame);
            return false;
        };
        let pushed = ethernet::push_header(&mut frame, &header);
        turn.egress.send(port, frame, &mut self.counters);
        pushed
    }
}

/// A packet around a message that `emit` writes, whose length it returns; the checksum is filled here. `None` when there
/// is no frame.
fn build<P: FramePool>(
    pool: &mut P,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    emit: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<P::Frame> {
    let mut frame = pool.alloc()?;
    if !frame.append(HEADER_LEN + ADVERTISEMENT_BYTES) {
        return None;
    }
    let length = emit(frame.get_mut(HEADER_LEN..)?)?;
    frame.truncate(HEADER_LEN + length);
    let message = frame.get_mut(HEADER_LEN..)?;
    message[2..4].fill(0);
    fill_checksum(message, pseudo_header(&source, &destination, length));
    let payload_len = length as u16;
    let fields =
        Fields { class: 0, next_header: ICMPV6, hop_limit: ndp::HOP_LIMIT, source, destination, payload_len };
    write_header(&mut frame, &fields);
    Some(frame)
}

/// Writes an advertisement without its checksum at the front of `bytes`; its length. `None` when it does not fit.
fn emit(bytes: &mut [u8], advertise: &Advertise, lifetime: u16, mac: MacAddr) -> Option<usize> {
    let Advertise { hop_limit, managed, other, mtu, prefixes, dns: (servers, dns_lifetime), .. } = advertise;
    let mut at = 0;
    let mut put = |part: &[u8]| {
        bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
        Some(at)
    };
    let [l0, l1] = lifetime.to_be_bytes();
    put(&[
        kind::ROUTER_ADVERTISEMENT,
        0,
        0,
        0,
        *hop_limit,
        u8::from(*managed) << 7 | u8::from(*other) << 6,
        l0,
        l1,
    ])?;
    // Reachable time and retransmission timer: not said.
    put(&[0; 8])?;
    let mut length = put(&[&[option::SOURCE_LINK_ADDRESS, 1][..], &mac.0].concat::<u8>())?;
    if let Some(mtu) = mtu {
        let [m0, m1] = mtu.to_be_bytes();
        length = put(&[option::MTU, 1, 0, 0, 0, 0, m0, m1])?;
    }
    for Advertised { prefix, on_link, autonomous, lifetimes: (valid, preferred) } in
        prefixes.iter().take(MAX_ADVERTISED)
    {
        // Goodbye takes the router away, not the network.
        let flags = u8::from(*on_link) << 7 | u8::from(*autonomous) << 6;
        put(&[option::PREFIX_INFORMATION, 4, prefix.prefix_len(), flags])?;
        put(&valid.to_be_bytes())?;
        put(&preferred.to_be_bytes())?;
        put(&[0; 4])?;
        length = put(&prefix.network().octets())?;
    }
    if !servers.is_empty() {
        let count = servers.len().min(MAX_ADVERTISED);
        put(&[option::RDNSS, 1 + 2 * count as u8, 0, 0])?;
        put(&dns_lifetime.to_be_bytes())?;
        for server in &servers[..count] {
            length = put(&server.octets())?;
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000_000 + seconds * 1000)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_advertisements_come_soon_and_then_within_their_interval() {
        let interval = (200 * SECOND, 600 * SECOND);
        assert_eq!(next_regular(at(0), interval, 1, 0xffff), at(16));
        assert_eq!(next_regular(at(0), interval, 3, 0), at(200));
        assert!(next_regular(at(0), interval, 9, 0xffff) <= at(600));
        assert_eq!(next_regular(at(0), (3 * SECOND, 4 * SECOND), 1, 0), at(3));
    }

    #[test]
    fn a_solicitation_is_answered_within_half_a_second_but_never_twice_in_three() {
        assert!(next_solicited(at(0), None, 0xffff) < at(0) + LONGEST_DELAY);
        assert_eq!(next_solicited(at(10), Some(at(9)), 0), at(12));
        assert_eq!(next_solicited(at(10), Some(at(1)), 0), at(10));
    }

    #[test]
    fn an_advertisement_says_prefix_mtu_and_name_servers_as_the_rfcs_lay_them_out() {
        let advertise = Advertise {
            interval: (SECOND, SECOND),
            lifetime: 1800,
            hop_limit: 64,
            managed: false,
            other: true,
            mtu: Some(1400),
            prefixes: vec![Advertised {
                prefix: "2001:db8:1::/64".parse().unwrap(),
                on_link: true,
                autonomous: true,
                lifetimes: (86_400, 14_400),
            }],
            dns: (vec!["2001:db8::53".parse().unwrap()], 1200),
        };
        let mut bytes = [0; ADVERTISEMENT_BYTES];
        let len = emit(&mut bytes, &advertise, 1800, MacAddr([2, 0, 0, 0, 0, 1])).unwrap();
        assert_eq!(bytes[..16], [134, 0, 0, 0, 64, 0x40, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..32], [1, 1, 2, 0, 0, 0, 0, 1, 5, 1, 0, 0, 0, 0, 5, 120]);
        assert_eq!(bytes[32..36], [3, 4, 64, 0xc0]);
        assert_eq!(bytes[36..44], [0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40]);
        assert_eq!(bytes[64..72], [25, 3, 0, 0, 0, 0, 4, 176]);
        assert_eq!(len, 88);
        let full = Advertise {
            prefixes: vec![advertise.prefixes[0]; MAX_ADVERTISED],
            dns: (vec![Ipv6Addr::LOCALHOST; MAX_ADVERTISED], 1),
            ..advertise
        };
        assert_eq!(
            emit(&mut bytes, &full, 0, MacAddr::ZERO),
            Some(ADVERTISEMENT_BYTES),
            "the most there can be fits"
        );
    }
}
