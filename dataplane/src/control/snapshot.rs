//! Snapshots: what the service tells about itself, as plain data. The service fills them in, JSON carries
//! them, `flumen show` lays them out; with `--json` they are printed as they are, so a field's name here is the
//! name in the documents that scripts read.
//!
//! Units are in the names (`_ns`, `_ms`); counters count from the start of the service and never go back.
//! A list "per core" has one element for each entry of the `cpus` beside it, in that order.

use flumen_stack::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The service itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version, as `flumen version` prints it.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// The configuration that it runs.
    pub config: String,
    /// Processors of its workers.
    pub cpus: Vec<usize>,
    /// Names of its ports.
    pub ports: Vec<String>,
}

/// A number with its name, where the set of names belongs to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted: words with hyphens between them.
    pub name: String,
    /// How many.
    pub value: u64,
}

impl Count {
    /// A number with its name.
    pub fn new(name: impl Into<String>, value: u64) -> Count {
        Count { name: name.into(), value }
    }
}

// ---- show port -------------------------------------------------------------------------------------------------

/// The answer to `show port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The ports, in the order of the configuration.
    pub ports: Vec<Port>,
    /// Packets of all ports whose transport checksum a local kernel left unfinished.
    pub partial_checksums: PartialChecksums,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// `af_xdp`, `pcap`, `memory`.
    pub kind: String,
    /// The kernel's interface, for `af_xdp`.
    pub interface: Option<String>,
    /// The interface's driver, when known.
    pub driver: Option<String>,
    /// The mode that the configuration asks for, for `af_xdp`.
    pub mode: Option<String>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Our link-layer address.
    pub mac: Option<MacAddr>,
    /// Our addresses, with the lengths of their subnets' prefixes.
    pub addresses: Vec<IpNet>,
    /// The state of the link.
    pub link: Link,
    /// Whether packets that come in here may go out elsewhere.
    pub forwarding: bool,
    /// What is done about transport checksums: `verify`, `repair`, `trust`.
    pub checksum: String,
    /// Packets and bytes, of all queues.
    pub traffic: Traffic,
    /// Its queues.
    pub queues: Vec<Queue>,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Packets can come and go.
    Up,
    /// Switched off, or without a carrier.
    Down,
    /// The interface does not exist any more.
    Gone,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Link {
    /// As JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Link::Up => "up",
            Link::Down => "down",
            Link::Gone => "gone",
            Link::Unknown => "unknown",
        }
    }
}

/// Packets and bytes of a port since the start; bytes with the link header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets handed over for transmission.
    pub tx_packets: u64,
    /// Bytes handed over for transmission.
    pub tx_bytes: u64,
    /// Received packets that were dropped by us, for whatever reason.
    pub drops: u64,
    /// Packets handed over for transmission that did not leave after all, for whatever reason.
    pub tx_drops: u64,
}

/// Transport checksums that a local kernel left for its card to finish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialChecksums {
    /// On ports that do not repair them: such packets leave with a wrong checksum.
    pub seen: u64,
    /// Finished by us.
    pub repaired: u64,
}

/// A queue of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its number.
    pub queue: u32,
    /// The processor that polls it.
    pub cpu: usize,
    /// What an AF_XDP socket was granted.
    pub grant: Option<Grant>,
    /// What the kernel counts for its socket (XDP_STATISTICS); `None` when it is not an AF_XDP queue or the
    /// kernel did not answer.
    pub kernel: Option<XdpStatistics>,
    /// What the socket counts itself: kicks, errors of kicks, frames in the rings and the like.
    pub socket: Vec<Count>,
}

/// What the kernel granted to an AF_XDP socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The mode that it runs in: `zero-copy`, `native`, `generic`.
    pub mode: String,
    /// Better modes that were tried before, and why they were refused.
    pub refused: Vec<RefusedMode>,
    /// Packets may be chains of frames.
    pub multi_buffer: bool,
    /// The interface finishes the transport checksums of what we originate.
    pub tx_checksum: bool,
    /// Packets that one kick may send; `None` when the kernel's fixed limit holds.
    pub tx_budget: Option<u32>,
    /// Microseconds of preferred busy polling; `None` when interrupts are used.
    pub busy_poll_us: Option<u32>,
    /// Why the kernel polls nothing all the same, where polling was asked for.
    pub no_busy_poll: Option<String>,
    /// How bursts are transmitted: `ring`, `bulk`.
    pub transmit: String,
    /// Why not in bulk, where that was left open.
    pub no_bulk: Option<String>,
}

/// A mode that was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMode {
    /// The mode.
    pub mode: String,
    /// Why.
    pub why: String,
}

/// XDP_STATISTICS of one socket, under the kernel's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpStatistics {
    /// Dropped for other reasons than invalid descriptors.
    pub rx_dropped: u64,
    /// Descriptors of the fill ring that were refused.
    pub rx_invalid_descs: u64,
    /// Descriptors of the transmit ring that were refused.
    pub tx_invalid_descs: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// The fill ring had no frame for a packet.
    pub rx_fill_ring_empty: u64,
    /// The transmit ring had nothing when the driver looked.
    pub tx_ring_empty: u64,
}

// ---- show core -------------------------------------------------------------------------------------------------

/// The answer to `show core`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// Nanoseconds since the workers started.
    pub uptime_ns: u64,
    /// The workers, in the order of the configuration.
    pub cores: Vec<Core>,
}

/// A worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// The processor.
    pub cpu: usize,
    /// What it polls: `lan:0`.
    pub queues: Vec<String>,
    /// What it does when there is nothing to do: `spin`, `adaptive 500us`.
    pub idle: String,
    /// Where its frames are.
    pub frames: Frames,
    /// Times that it slept.
    pub sleeps: u64,
    /// Packets handed to other workers.
    pub handed_over: u64,
    /// Packets taken over from other workers.
    pub taken_over: u64,
    /// Neighbours in its table.
    pub neighbours: u64,
    /// TCP connections that it has, whatever their state but TIME-WAIT.
    pub connections: u64,
    /// Sockets of programs that live on it.
    pub program_sockets: u64,
    /// Bytes of memory that the buffers of its sockets hold.
    pub socket_memory: u64,
    /// Processor time that its thread took, in nanoseconds; `None` when the kernel does not say.
    pub cpu_time_ns: Option<u64>,
}

/// Where the frames of a pool are. `free`, `in_rings`, `held` and `quarantined` add up to `size`, or something
/// is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// All of them.
    pub size: u64,
    /// On the free list.
    pub free: u64,
    /// In rings that the kernel shares.
    pub in_rings: u64,
    /// In the worker's hands: transmit queues, packets that wait for neighbours.
    pub held: u64,
    /// Of sockets that were closed while the kernel might still write to them.
    pub quarantined: u64,
    /// They added up each time that the worker looked.
    pub balanced: bool,
}

// ---- show route ------------------------------------------------------------------------------------------------

/// The answer to `show route`: one page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// The routes of this page, in the order of the table: IPv4 before IPv6, by network, shorter prefixes first.
    pub routes: Vec<Route>,
    /// Where the next page begins: ask for what comes after this prefix. `None`: this page is the last.
    pub next: Option<IpNet>,
    /// How full the tables are; only with the first page.
    pub tables: Vec<Fill>,
}

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The table: `ipv4-routes`.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// How many there can be; `None` when it has no bound of its own.
    pub size: Option<u64>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destinations it is for.
    pub prefix: IpNet,
    /// What becomes of their packets.
    pub kind: RouteKind,
    /// Where they are sent; empty where the kind leads nowhere.
    pub next_hops: Vec<NextHop>,
    /// Who it comes from: `connected`, `static`, `redirect`, `kernel`.
    pub source: String,
    /// Its preference among routes of one source: lower wins.
    pub metric: u32,
    /// Packets follow it: no better route to the prefix is alive, and it is.
    pub active: bool,
    /// What it says about its way.
    #[serde(default, skip_serializing_if = "Metrics::is_none")]
    pub metrics: Metrics,
}

/// What a route says about its way; 0: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// The largest packet in bytes.
    pub mtu: u16,
    /// The largest segment that TCP peers are asked for.
    pub advmss: u16,
    /// The largest window that TCP offers.
    pub window: u32,
    /// Segments that TCP begins with.
    pub initcwnd: u8,
}

impl Metrics {
    /// True when it says nothing.
    pub fn is_none(&self) -> bool {
        *self == Metrics::default()
    }

    /// What it says, as a routes file has it: `mtu 1400`.
    pub fn words(&self) -> Vec<String> {
        let all = [
            ("mtu", u32::from(self.mtu)),
            ("advmss", u32::from(self.advmss)),
            ("window", self.window),
            ("initcwnd", u32::from(self.initcwnd)),
        ];
        all.into_iter()
            .filter(|(_, value)| *value > 0)
            .map(|(name, value)| format!("{name} {value}"))
            .collect()
    }
}

// ---- show multicast --------------------------------------------------------------------------------------------

/// The answer to `show multicast`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// The links on which this node is a router of groups.
    pub links: Vec<GroupLink>,
    /// What is wanted on them.
    pub groups: Vec<GroupRecord>,
    /// Static routes, in the order in which they are tried.
    pub routes: Vec<GroupRoute>,
    /// There are more than are shown.
    pub cut_short: bool,
}

/// A link on which this node is a router of groups, in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLink {
    /// The port.
    pub port: String,
    /// `IPv4` (IGMP) or `IPv6` (MLD).
    pub family: String,
    /// Who asks there: `us`, or the address of another router.
    pub querier: String,
}

/// What hosts on a link want of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The link.
    pub port: String,
    /// The group.
    pub group: IpAddr,
    /// `include`: only from the sources; `exclude`: from all but the sources.
    pub mode: String,
    /// Sources.
    pub sources: Vec<IpAddr>,
    /// Until it is forgotten, unless somebody says it again; of `exclude` only.
    pub expires_ms: Option<u64>,
}

/// A static route of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRoute {
    /// The groups.
    pub group: IpNet,
    /// The sources.
    pub source: IpNet,
    /// The port that their packets come in by.
    #[serde(rename = "in")]
    pub in_port: String,
    /// The ports that they leave by, each with its TTL threshold.
    pub out: Vec<(String, u8)>,
    /// Packets that it forwarded.
    pub packets: u64,
}

// ---- show tables, show rules -----------------------------------------------------------------------------------

/// The answer to `show tables`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// The main table, and those of the configuration in its order.
    pub tables: Vec<RouteTable>,
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its name.
    pub name: String,
    /// IPv4 routes in it, and how many it can hold.
    pub ipv4: (u64, u64),
    /// The same for IPv6.
    pub ipv6: (u64, u64),
}

/// The answer to `show rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The rules in the order in which they are tried; the main table is asked after them.
    pub rules: Vec<Rule>,
}

/// A policy rule. What is `None` it does not ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Lower is tried sooner.
    pub priority: u32,
    /// Sources.
    pub from: Option<IpNet>,
    /// Destinations.
    pub to: Option<IpNet>,
    /// The port that packets come in by.
    #[serde(rename = "in")]
    pub in_port: Option<String>,
    /// Type of service.
    pub tos: Option<u8>,
    /// Protocol number.
    pub protocol: Option<u8>,
    /// First and last source port.
    pub source_ports: Option<(u16, u16)>,
    /// First and last destination port.
    pub ports: Option<(u16, u16)>,
    /// `table`, `blackhole`, `unreachable`, `prohibit`.
    pub action: String,
    /// The table that it asks.
    pub table: Option<String>,
}

/// What becomes of packets that a route covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// To a next hop, or to the destination itself on the link.
    Unicast,
    /// To us.
    Local,
    /// A broadcast address of a link.
    Broadcast,
    /// Dropped.
    Blackhole,
    /// Dropped; the sender is told that the host is unreachable.
    Unreachable,
    /// Dropped; the sender is told that it is prohibited.
    Prohibit,
}

impl RouteKind {
    /// As JSON, `ip route` and a routes file have it.
    pub const fn name(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Broadcast => "broadcast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
        }
    }
}

/// One way of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The gateway; `None`: the destination itself is on the link.
    pub via: Option<IpAddr>,
    /// The name of the port that it leaves by.
    pub port: String,
    /// Its share of the flows.
    pub weight: u16,
}

// ---- show neighbour --------------------------------------------------------------------------------------------

/// The answer to `show neighbour`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Those that match, up to the limit.
    pub neighbours: Vec<Neighbour>,
    /// There are more than these.
    pub cut_short: bool,
}

/// An entry of one worker's neighbour table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The name of the port it is behind.
    pub port: String,
    /// The worker whose table it is in.
    pub cpu: usize,
    /// Its IP address.
    pub address: IpAddr,
    /// Its link-layer address, in the states that know it.
    pub mac: Option<MacAddr>,
    /// The state, as `ip neighbour` writes it: `REACHABLE`, `STALE`, …
    pub state: String,
    /// It said that it is a router (IPv6).
    pub router: bool,
    /// Solicitations since the state began.
    pub probes: u32,
    /// Packets that wait for it.
    pub waiting: u64,
    /// Milliseconds since its state or link-layer address changed.
    pub age_ms: u64,
    /// Milliseconds since it was last known to be reachable.
    pub confirmed_ms: Option<u64>,
}

// ---- show reassembly --------------------------------------------------------------------------------------------

/// The answer to `show reassembly`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassembly {
    /// Every worker.
    pub cores: Vec<ReassemblyCore>,
    /// Datagrams of which something is missing, the oldest of each worker and family first.
    pub datagrams: Vec<WaitingDatagram>,
    /// There are more than are shown.
    pub cut_short: bool,
}

/// What waits at one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassemblyCore {
    /// Its processor.
    pub cpu: usize,
    /// Datagrams that wait, those that were given up among them.
    pub datagrams: u64,
    /// Bytes of memory that they hold.
    pub memory: u64,
    /// Bytes of memory that there are for them.
    pub memory_limit: u64,
}

/// A datagram of which something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingDatagram {
    /// The worker that has it.
    pub cpu: usize,
    /// Who sent it.
    pub source: IpAddr,
    /// To which of our addresses.
    pub destination: IpAddr,
    /// The port, where addresses are link-local.
    pub port: Option<String>,
    /// Its protocol; of IPv4 only.
    pub protocol: Option<u8>,
    /// Its identification.
    pub id: u32,
    /// Fragments that are here.
    pub fragments: u32,
    /// Bytes of the payload that are here.
    pub bytes: u32,
    /// Bytes of the whole payload, once the last fragment is here.
    pub total: Option<u32>,
    /// It was given up, and what is left of it ends too.
    pub given_up: bool,
    /// Milliseconds until it is forgotten.
    pub expires_ms: u64,
}

// ---- show sockets, show programs -------------------------------------------------------------------------------

/// The answer to `show sockets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// Those that match, up to the limit.
    pub sockets: Vec<Socket>,
    /// There are more than these.
    pub cut_short: bool,
}

/// A socket of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp`, `udp`, `udplite`, `raw` or `ping`.
    pub protocol: String,
    /// The state of a TCP socket, as RFC 9293 names it, in lower case.
    pub state: String,
    /// Our end.
    pub local: SocketAddr,
    /// The peer.
    pub remote: Option<SocketAddr>,
    /// Bytes that wait to be read; of a listener connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that are not acknowledged; of a listener the most that may wait.
    pub send_queue: u32,
    /// The process that has it; `None`: a built-in service.
    pub pid: Option<i32>,
    /// The process's user.
    pub uid: Option<u32>,
    /// The worker.
    pub cpu: usize,
}

/// The answer to `show programs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// All of them.
    pub programs: Vec<Program>,
}

/// A program with sockets here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The process that attached.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its sockets, those included that it shares.
    pub sockets: u32,
    /// Sockets whose memory is this program's.
    pub homes: u32,
    /// The process is gone, and others use its memory.
    pub gone: bool,
    /// It took a worker too long to wake it: a thread of its user's does.
    pub woken_aside: bool,
    /// The workers with sockets of it.
    pub cpus: Vec<usize>,
}

// ---- show drops, show counters ---------------------------------------------------------------------------------

/// The answer to `show drops` and `show counters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies {
    /// Processors of the workers that count.
    pub cpus: Vec<usize>,
    /// What is counted; zeros included.
    pub tallies: Vec<Tally>,
}

/// What every worker counts on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What: a drop's reason, an event.
    pub name: String,
    /// One sentence that explains it; may be empty.
    pub description: String,
    /// How many, per core.
    pub per_core: Vec<u64>,
}

impl Tally {
    /// How many, over all cores.
    pub fn total(&self) -> u64 {
        self.per_core.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

// ---- show runtime ----------------------------------------------------------------------------------------------

/// The answer to `show runtime`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Nanoseconds since the workers started: what rates are made with.
    pub uptime_ns: u64,
    /// Cycles that the processors' time stamp counters make in a second; `None` when nobody measured.
    pub cycles_per_second: Option<u64>,
    /// The workers, in the order of the configuration.
    pub cores: Vec<CoreRuntime>,
}

/// How a worker spends its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreRuntime {
    /// The processor.
    pub cpu: usize,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns in which something arrived or left.
    pub busy_turns: u64,
    /// Bursts received.
    pub bursts: u64,
    /// Packets received.
    pub packets: u64,
    /// Packets that left by the worker's own ports.
    pub transmitted: u64,
    /// Packets handed to other workers.
    pub handed_over: u64,
    /// Packets taken over from other workers.
    pub taken_over: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Cycles of busy turns.
    pub busy_cycles: u64,
    /// Processor time that its thread took, in nanoseconds; `None` when the kernel does not say.
    pub cpu_time_ns: Option<u64>,
    /// Cycles spent in each stage, in the order of a packet's way.
    pub stages: Vec<Count>,
}
