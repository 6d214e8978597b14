//! The stack of one worker: the tables that its packets need, and the order of their stations.
//!
//! [`Stack::input`] takes a burst that a port received; [`Stack::timers`] does what time brings; both leave
//! complete frames in the egress queues. Everything in here belongs to one worker; only the forwarding table
//! behind [`RouteReader`] is shared, and it is read without locks.
//!
//! What routes mean for packets is in [`crate::ip::resolve`]; what neighbours ask for in
//! [`crate::ip::resolution`].

use crate::address::Checks;
use crate::burst::Burst;
use crate::counters::Counters;
use crate::ethernet::{self, Found, Kind, LinkCast};
use crate::frame::{Frame, FramePool};
use crate::groups::Groups;
use crate::icmp::limit::{EchoLimiter, IcmpLimiter, IcmpLimits};
use crate::interface::{ChecksumPolicy, Interfaces};
use crate::ip::adjacency::Adjacencies;
use crate::ip::choices::Choices;
use crate::ip::handover::Stray;
use crate::ip::identification::Identifications;
use crate::ip::martian::Martians;
use crate::ip::originate::Looped;
use crate::ip::path::Path;
use crate::ip::policy::Routing;
use crate::ip::reassembly::{self, Reassembly, ReassemblyConfig};
use crate::ipv4::options::Timestamp;
use crate::ipv6::advertise::Advertisers;
use crate::ipv6::autoconf::Notice;
use crate::limits::{
    AUTOCONFIGURED_ADDRESSES, BURST, LOOPBACK, NEIGHBOUR_FACTS, NOTICES, PATH_MTUS, RAW_SOCKETS, REDIRECTS,
    SOCKET_BLOCKS, STRAYS, UDP_SOCKETS,
};
use crate::multicast::{Multicast, MulticastConfig};
use crate::neighbour::{ConfigError, Fact, FactKind, NeighbourConfig, NeighbourTable};
use crate::offload;
use crate::port::PortId;
use crate::route::ecmp::HashKey;
use crate::route::{Flow4, Flow6, PathMtus, Redirects, RouteCache, RouteReader};
use crate::socket::homes::Home;
use crate::socket::stamps::Quote;
use crate::socket::{BlockPool, EventQueue};
use crate::tcp::ports::PortRange;
use crate::tcp::sockets::{TcpConfig, TcpSockets};
use crate::time::Instant;
use crate::turn::{Probe, Stage, Turn};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6, raw, tcp, udp};
use core::net::Ipv4Addr;
use std::collections::VecDeque;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// What a stack is made with.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// The ports.
    pub interfaces: Interfaces,
    /// Bounds and times of the neighbour table.
    pub neighbours: NeighbourConfig,
    /// Entries of the route cache of each family, or 0 for no cache.
    pub route_cache: usize,
    /// Rates of ICMP errors, for each family.
    pub icmp: IcmpLimits,
    /// Echo replies: per second, and at once after a quiet time; for both families together.
    pub echo: (u32, u32),
    /// Bounds of sockets.
    pub sockets: SocketLimits,
    /// TCP's bounds and defaults.
    pub tcp: TcpConfig,
    /// Bytes that one frame of the pool holds: no packet of ours is longer, whatever the MTU.
    pub frame_room: u16,
    /// Bounds and times of reassembly.
    pub reassembly: ReassemblyConfig,
    /// How routes are chosen among several.
    pub routing: Routing,
    /// Multicast routing.
    pub multicast: MulticastConfig,
    /// Random and secret: keys of hashes and the start of the number sequences.
    pub seed: [u64; 4],
}

/// Bounds of the sockets of one worker. Tables are reserved at start; memory is touched when used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// UDP sockets.
    pub udp: usize,
    /// Raw and ping sockets.
    pub raw: usize,
    /// Blocks for received data and data to be sent.
    pub blocks: usize,
    /// Port numbers of UDP sockets that name none (Linux's ip_local_port_range).
    pub ephemeral: PortRange,
}

impl Default for SocketLimits {
    fn default() -> Self {
        SocketLimits {
            udp: UDP_SOCKETS,
            raw: RAW_SOCKETS,
            blocks: SOCKET_BLOCKS,
            ephemeral: PortRange::default(),
        }
    }
}

/// The stack of one worker.
pub struct Stack<F: Frame> {
    /// The ports.
    pub interfaces: Interfaces,
    /// Counters; the worker publishes them.
    pub counters: Counters,
    /// The neighbours on the links.
    pub neighbours: NeighbourTable<F>,
    /// UDP sockets.
    pub udp: udp::Sockets,
    /// Raw and ping sockets.
    pub raw: raw::Sockets,
    /// Which groups sockets are in.
    pub groups: Groups,
    /// The memory that sockets' data lies in.
    pub blocks: BlockPool,
    /// Sockets with news for their owners.
    pub events: EventQueue,
    /// TCP connections and listeners.
    pub tcp: TcpSockets,
    pub(crate) frame_room: u16,
    /// 127.0.0.0/8 and ::1 are ours, in memory; see [`Stack::set_loopback`].
    pub(crate) loopback: bool,
    pub(crate) looped: VecDeque<Looped<F>>,
    /// Packets of ours that were delivered to ourselves, and how many of them [`Stack::output`] told of.
    pub(crate) heard: u64,
    told: u64,
    /// Packets for sockets of other workers.
    pub(crate) strays: VecDeque<Stray<F>>,
    pub(crate) generation: u64,
    /// The datagrams that wait for the rest of their fragments.
    pub reassembly: Reassembly,
    pub(crate) identifications: Identifications,
    pub(crate) icmp_limit_v4: IcmpLimiter,
    pub(crate) icmp_limit_v6: IcmpLimiter,
    pub(crate) echo_limit: EchoLimiter,
    pub(crate) routes: RouteReader,
    pub(crate) routing: Routing,
    /// Multicast routing: who listens, and what is forwarded where.
    pub multicast: Multicast,
    /// Notes of martian packets.
    pub martians: Martians,
    pub(crate) cache4: Option<RouteCache<Flow4, Path>>,
    pub(crate) cache6: Option<RouteCache<Flow6, Path>>,
    /// Bursts that each cache still sits out.
    pub(crate) cache4_rest: u8,
    pub(crate) cache6_rest: u8,
    pub(crate) adjacencies: Adjacencies,
    /// Added to the generation of routes: changes when cached paths name neighbours that are gone.
    pub(crate) cache_epoch: u64,
    pub(crate) choices: Choices,
    pub(crate) path_mtus: PathMtus,
    pub(crate) redirects: Redirects,
    pub(crate) flow_key: [u64; 2],
    pub(crate) facts: VecDeque<Fact>,
    pub(crate) checks: Checks,
    /// The packet that stamps are wanted of, while it is sent.
    pub(crate) quote: Quote,
    pub(crate) advertisers: Advertisers,
    pub(crate) notices: VecDeque<Notice>,
    /// Milliseconds between midnight UT and the origin of time, when known.
    time_of_day: Option<u32>,
    random: u64,
}

impl<F: Frame> core::fmt::Debug for Stack<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

impl<F: Frame> Stack<F> {
    /// A stack that routes by `routes`. It fails when the neighbour table's bounds or times make no sense.
    pub fn new(config: StackConfig, routes: RouteReader) -> Result<Self, ConfigError> {
        let StackConfig {
            interfaces,
            neighbours,
            route_cache,
            icmp,
            echo,
            sockets,
            tcp,
            frame_room,
            reassembly,
            routing,
            multicast,
            seed,
        } = config;
        let [a, b, c, d] = seed;
        // A key for each purpose, with every bit of the seed in every bit of the key.
        let key =
            |purpose: u64| [split_mix(a ^ split_mix(b ^ purpose)), split_mix(b ^ split_mix(a ^ purpose))];
        let mut table = NeighbourTable::new(neighbours, split_mix(c))?;
        for interface in interfaces.iter() {
            table.set_port_mac(interface.id, interface.mac);
        }
        let cached = route_cache > 0;
        let ports = interfaces.len();
        let addresses: usize =
            interfaces.iter().map(|one| one.ipv4.len() + one.ipv6.len() + AUTOCONFIGURED_ADDRESSES).sum();
        Ok(Stack {
            interfaces,
            udp: udp::Sockets::new(sockets.udp, sockets.ephemeral, key(7)),
            raw: raw::Sockets::new(sockets.raw),
            groups: Groups::new(ports, split_mix(d ^ 8)),
            blocks: BlockPool::new(sockets.blocks),
            events: EventQueue::new(sockets.udp + sockets.raw + tcp.connections + tcp.listeners),
            tcp: TcpSockets::new(tcp, Instant::ZERO, key),
            frame_room,
            loopback: false,
            generation: 0,
            looped: VecDeque::with_capacity(LOOPBACK),
            heard: 0,
            told: 0,
            strays: VecDeque::with_capacity(STRAYS),
            counters: Counters::default(),
            neighbours: table,
            reassembly: Reassembly::new(&reassembly, key(9)),
            identifications: Identifications::new([split_mix(c ^ key(10)[0]), split_mix(d ^ key(10)[1])]),
            icmp_limit_v4: IcmpLimiter::new(icmp, key(1)),
            icmp_limit_v6: IcmpLimiter::new(icmp, key(2)),
            echo_limit: EchoLimiter::new(echo.0, echo.1),
            routes,
            martians: Martians::new(routing.log_martians),
            routing,
            multicast: Multicast::new(multicast, ports),
            cache4: cached.then(|| RouteCache::new(route_cache, HashKey::new(key(3)))),
            cache6: cached.then(|| RouteCache::new(route_cache, HashKey::new(key(4)))),
            cache4_rest: 0,
            cache6_rest: 0,
            adjacencies: Adjacencies::new(),
            cache_epoch: 0,
            choices: Choices::new(key(12)),
            path_mtus: PathMtus::new(PATH_MTUS, HashKey::new(key(5))),
            redirects: Redirects::new(REDIRECTS, HashKey::new(key(5))),
            flow_key: key(6),
            facts: VecDeque::with_capacity(NEIGHBOUR_FACTS),
            checks: Checks::new(addresses, key(11)),
            quote: Quote::new(),
            advertisers: Advertisers::new(ports),
            notices: VecDeque::with_capacity(NOTICES),
            time_of_day: None,
            random: d,
        })
    }

    /// Takes a burst that `port` received; byte 0 of each frame is the first of its link header.
    pub fn input<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, burst: &mut Burst<F>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let received = self.counters.port_mut(port);
        received.rx_packets += burst.len() as u64;
        received.rx_bytes += burst.iter().map(|frame| frame.packet_len() as u64).sum::<u64>();
        self.begin_burst();
        self.take(turn, port, burst);
        self.settle_neighbours(turn);
    }

    /// Takes a burst that is counted as received: what came by the wire, or what tags said is a VLAN's.
    pub(crate) fn take<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, burst: &mut Burst<F>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (station, policy) = match self.interfaces.get(port) {
            Some(interface) if interface.up => (interface.mac, interface.checksum),
            _ => {
                for _ in burst.drain(..) {
                    self.drop_received(port, DropReason::PortDown);
                }
                return;
            }
        };
        let counters = &mut self.counters;
        let found = ethernet::input(burst, station, |reason| {
            counters.drop(reason);
            counters.port_mut(port).drops += 1;
        });
        turn.probe.mark(Stage::Ethernet);
        match found {
            Found::All(kind) => self.take_kind(turn, port, policy, kind, burst),
            Found::Mixed(kinds) => {
                let mut sorted: [Burst<F>; Kind::ALL.len()] = Default::default();
                for (frame, kind) in burst.drain(..).zip(kinds) {
                    sorted[kind as usize].push(frame);
                }
                for (mut burst, kind) in sorted.into_iter().zip(Kind::ALL) {
                    self.take_kind(turn, port, policy, kind, &mut burst);
                }
            }
        }
    }

    /// Takes frames of one kind.
    #[inline(never)] // at two places, one of them the hot one
    fn take_kind<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        port: PortId,
        policy: ChecksumPolicy,
        kind: Kind,
        burst: &mut Burst<F>,
    ) where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        if burst.is_empty() {
            return;
        }
        match kind {
            Kind::Ipv4 | Kind::Ipv4Group => {
                let cast = if kind == Kind::Ipv4 { LinkCast::Unicast } else { LinkCast::Group };
                offload::ipv4(policy, burst, &mut self.counters);
                ipv4::input::input(self, turn, port, cast, burst);
            }
            Kind::Ipv6 | Kind::Ipv6Group => {
                let cast = if kind == Kind::Ipv6 { LinkCast::Unicast } else { LinkCast::Group };
                offload::ipv6(policy, burst, &mut self.counters);
                ipv6::input::input(self, turn, port, cast, burst);
            }
            Kind::Arp => {
                for frame in burst.drain(..) {
                    ipv4::arp::input(self, turn, port, &frame);
                }
            }
            Kind::Tagged => ethernet::vlan::input(self, turn, port, burst),
        }
    }

    /// Does what is due at `turn.now`. Bounded work; call again when [`Stack::next_deadline`] says so.
    pub fn timers<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.begin_burst();
        self.neighbours.expire(turn.now, BURST);
        self.settle_addresses(turn);
        self.settle_advertising(turn);
        self.multicast_timers(turn);
        self.say_groups(turn);
        tcp::sockets::timers(self, turn);
        reassembly::expire(self, turn);
        self.settle_neighbours(turn);
        turn.probe.mark(Stage::Timers);
    }

    /// Sends what sockets have ready: to be called at the end of each turn, after the owners heard their news. True when
    /// something that was sent to this node was delivered: owners may have news again.
    pub fn output<P, M>(&mut self, turn: &mut Turn<'_, P, M>) -> bool
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.say(turn);
        // What goes to ourselves is there when we are done, and what it causes, too: the three segments that a connection
        // begins with, so that who connected to itself finds the connection to accept, as on a kernel. A stream to
        // ourselves takes its turns beside the ports.
        let mut left = LOOPBACK;
        while !self.looped.is_empty() && left > 0 {
            left = left.saturating_sub(self.looped.len());
            self.begin_burst();
            self.deliver_looped(turn);
            self.settle_neighbours(turn);
            self.say(turn);
        }
        turn.probe.mark(Stage::Output);
        core::mem::replace(&mut self.told, self.heard) != self.heard
    }

    /// Lets the connections send that have something to say.
    fn say<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        if self.tcp.has_output() {
            self.begin_burst();
            tcp::sockets::output(self, turn);
            self.settle_neighbours(turn);
        }
    }

    /// When [`Stack::timers`] or [`Stack::output`] has something to do next.
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        if self.tcp.has_output() || !self.looped.is_empty() {
            return Instant::ZERO;
        }
        let ip = self.neighbours.next_deadline().min(self.reassembly.next_deadline());
        let ip = ip.min(self.checks.deadline()).min(self.advertisers.deadline());
        ip.min(self.groups.deadline()).min(self.multicast.deadline()).min(self.tcp.next_deadline())
    }

    /// There are other workers: what comes for their sockets is handed over ([`Stack::next_stray`]), and port numbers
    /// are those that live here. What is open already (services that every worker has) stays as it is.
    pub fn set_home(&mut self, home: &Home) {
        self.tcp.set_home(home.clone());
        self.udp.set_home(home.clone());
        self.raw.set_home(home.clone());
    }

    /// The worker is about to sleep: the forwarding table need not wait for it.
    pub fn going_to_sleep(&mut self) {
        self.routes.offline();
    }

    /// The worker is awake again; to be called before anything else.
    pub fn awake(&mut self) {
        self.routes.online();
    }

    /// The link of a port came up or went down. Down: packets that wait for neighbours on it end, and what
    /// was learnt about them is forgotten.
    pub fn set_port_up<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, up: bool)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        // Its VLANs come and go with it.
        for one in (0..self.interfaces.len()).filter_map(PortId::new) {
            if one == port || self.interfaces.is_within(one, port) {
                self.change_port(turn.now, one, up);
            }
        }
        self.begin_burst();
        self.settle_neighbours(turn);
    }

    fn change_port(&mut self, now: Instant, port: PortId, up: bool) {
        let Some(interface) = self.interfaces.get_mut(port).filter(|one| one.up != up) else { return };
        interface.up = up;
        let mac = interface.mac;
        if up {
            self.neighbours.set_port_mac(port, mac);
            self.recheck_port(now, port);
        } else {
            self.neighbours.port_down(port);
            self.leave_addresses(port);
        }
    }

    /// The end: packets that wait for neighbours wait no longer ([`DropReason::Stopping`]).
    pub fn stop_waiting<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.begin_burst();
        self.neighbours.stop_waiting();
        self.settle_neighbours(turn);
    }

    /// Packets of ours that were delivered to ourselves.
    pub fn frames_heard(&self) -> u64 {
        self.heard
    }

    /// Packets of ours that wait to be delivered to ourselves.
    pub fn frames_looped(&self) -> usize {
        self.looped.len()
    }

    /// The next thing that other workers should know about neighbours.
    #[inline]
    pub fn next_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// Another worker heard this.
    pub fn learn<P, M>(&mut self, turn: &mut Turn<'_, P, M>, fact: Fact)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.begin_burst();
        match fact.kind {
            FactKind::Duplicate => self.give_up(fact.port, fact.addr),
            _ => {
                let _changed_or_not = self.neighbours.learn(fact, turn.now);
            }
        }
        self.settle_neighbours(turn);
    }

    /// Whether sockets can use 127.0.0.0/8 and ::1, which then lead to ourselves in memory. Off at first: on a host whose
    /// kernel has a loopback interface they are the kernel's. From the wire such packets are martians either way.
    pub fn set_loopback(&mut self, on: bool) {
        self.loopback = on;
        self.cache_epoch += 1;
    }

    /// Says what time it is: at `now`, `millis` milliseconds have passed since midnight UT. Until then, timestamps are
    /// marked as not of that kind.
    pub fn set_time_of_day(&mut self, now: Instant, millis: u32) {
        let since_origin = now.nanos() / 1_000_000 % DAY;
        self.time_of_day = Some(((u64::from(millis) % DAY + DAY - since_origin) % DAY) as u32);
    }

    /// The time as IPv4 and ICMP timestamps have it (RFC 791 section 3.1): milliseconds since midnight UT, or, when
    /// that is not known, others with the high bit set.
    pub(crate) fn timestamp(&self, now: Instant) -> Timestamp {
        let millis = now.nanos() / 1_000_000;
        Timestamp(match self.time_of_day {
            Some(offset) => ((u64::from(offset) + millis) % DAY) as u32,
            None => 1 << 31 | (millis & 0x7fff_ffff) as u32,
        })
    }

    /// The address that an IPv4 packet for `to` records when it leaves by `port`: the port's own, else the first that
    /// we have.
    pub(crate) fn address_to_record(&self, port: PortId, to: Ipv4Addr) -> Ipv4Addr {
        let of_port = self.interfaces.get(port).and_then(|one| one.source_ipv4(to));
        let any = || self.interfaces.iter().find_map(|one| one.ipv4.first()).map(|net| net.addr());
        of_port.or_else(any).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Says that nothing of an earlier burst is held, so that the forwarding table may reuse what it unlinked:
    /// for workers that spin without packets.
    pub fn quiesce(&mut self) {
        self.begin_burst();
    }

    /// Changes whenever another answer may be given to where an address leads, or whether it is ours.
    pub fn ways_generation(&self) -> u64 {
        self.routes.generation() + self.cache_epoch
    }

    /// The quiescent point of the forwarding table, and the end of what caches remember of an older one.
    #[inline]
    pub(crate) fn begin_burst(&mut self) {
        self.routes.begin_burst();
        let generation = self.routes.generation() + self.cache_epoch + u64::from(self.neighbours.epoch());
        self.generation = generation;
        self.adjacencies.begin_burst(generation);
        if let Some(cache) = &mut self.cache4 {
            cache.begin_burst(generation);
        }
        if let Some(cache) = &mut self.cache6 {
            cache.begin_burst(generation);
        }
    }

    /// Counts the end of a packet that came in on `port`.
    #[inline]
    pub(crate) fn drop_received(&mut self, port: PortId, reason: DropReason) {
        self.counters.drop(reason);
        self.counters.port_mut(port).drops += 1;
    }

    /// True when packets that come in on `port` may go on elsewhere.
    #[inline]
    pub(crate) fn forwards(&self, port: PortId) -> bool {
        self.interfaces.get(port).is_some_and(|interface| interface.forwarding)
    }

    /// The identification of an IPv4 packet that we originate and that no link cuts, because it is short: any value
    /// serves (RFC 6864 section 4.1). What may be cut asks [`Identifications`].
    pub(crate) fn next_ipv4_id(&mut self) -> u16 {
        self.next_random() as u16
    }

    /// A random number: identifications of fragments (RFC 7739), port numbers.
    pub(crate) fn next_random_u32(&mut self) -> u32 {
        (self.next_random() >> 32) as u32
    }

    /// The next number of the worker's own sequence (SplitMix64 over a secret start).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        split_mix(self.random)
    }
}

/// The finaliser of SplitMix64: each bit of the input changes half of the bits of the output.
const fn split_mix(value: u64) -> u64 {
    let mixed = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
