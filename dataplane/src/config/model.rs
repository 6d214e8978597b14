//! What a configuration says, in types: this is what the ports, the workers and the control plane are built
//! from. A value of [`Config`] has passed every check that needs nothing but the file; what needs the
//! machine (does the interface have that queue?) is checked by [`super::layout::plan`], which turns it into
//! a [`super::layout::Layout`].
//!
//! ```text
//!   text ──> tables with spans ──> Config (this file) ──┬──> Layout: who polls what, with how many frames
//!            read.rs, ports.rs …                        │    layout.rs
//!                                    facts of the host ─┘
//! ```
//!
//! Invariants
//! 1. A [`PortId`] in here is an index into [`Config::ports`] that exists.
//! 2. Every number is within the range that `config/flumen.toml` gives for its key.
//! 3. Every [`At`] lies inside the text that it came from.

pub mod manners;
pub mod multicast;
pub mod policy;
pub mod programs;
pub mod service;
pub mod transport;
pub mod virtual_ports;

pub use manners::{Detection, Manners, RouterAdvertisement};
pub use multicast::Multicast;
pub use policy::{Routing, Table};
pub use programs::{Claimed, LowPorts, Programs, Reservation};
pub use service::{HttpService, Service, ServiceKind, SizedResponse};
pub use transport::{Buffer, Congestion, Ecn, MtuProbing, Sockets, SynCookies, Tcp, Udp};
pub use virtual_ports::{TagPriority, TagProtocol, Tap, Vlan};

use super::problem::At;
use flumen_stack::route::{RouteMetrics, Rules, TableId};
use flumen_stack::{MacAddr, PortId};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The ports, in the order of the file; a [`PortId`] is an index into this.
    pub ports: Vec<Port>,
    /// The cores, in the order of the file; one worker runs on each.
    pub cores: Vec<Core>,
    /// Static routes: those of the file first, then those of the `routes_file`s in order. No two have the
    /// same prefix and metric. Routes to the ports' own subnets are not among them: they follow from
    /// [`Port::addresses`].
    pub routes: Vec<Route>,
    /// Tables beside the main one.
    pub tables: Vec<Table>,
    /// Policy rules.
    pub rules: Rules,
    /// What else decides between routes.
    pub routing: Routing,
    /// Multicast routing.
    pub multicast: Multicast,
    /// Static neighbours.
    pub neighbours: Vec<StaticNeighbour>,
    /// Sizes of tables.
    pub limits: Limits,
    /// What the node says about other people's packets, and how often.
    pub icmp: Icmp,
    /// Built-in services, in the order of the file.
    pub services: Vec<Service>,
    /// Bounds of sockets.
    pub sockets: Sockets,
    /// TCP.
    pub tcp: Tcp,
    /// UDP.
    pub udp: Udp,
    /// Sockets for programs; `None`: there are none.
    pub programs: Option<Programs>,
    /// The control socket.
    pub control: Control,
    /// The log.
    pub log: Log,
}

impl Config {
    /// The port with this id. `None` for an id of another configuration.
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    /// The port with this name.
    pub fn port_named(&self, name: &str) -> Option<(PortId, &Port)> {
        let index = self.ports.iter().position(|port| port.name == name)?;
        Some((PortId::new(index)?, &self.ports[index]))
    }

    /// Every port with its id.
    pub fn ports_with_ids(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports.iter().enumerate().filter_map(|(index, port)| Some((PortId::new(index)?, port)))
    }
}

/// One `[[port]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name in this configuration: 1 to 32 letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// What carries its packets.
    pub kind: PortKind,
    /// Largest IP packet in bytes; `None`: what the interface has (1500 where there is none).
    pub mtu: Option<u16>,
    /// Our link-layer address; `None`: the interface's (a made-up local one where there is none). Always a
    /// station's.
    pub mac: Option<MacAddr>,
    /// Our addresses, each with the length of its subnet's prefix: host bits kept.
    pub addresses: Vec<IpNet>,
    /// Whether a packet that comes in here may go out elsewhere.
    pub forwarding: bool,
    /// Whether the way back to a packet's source must lead through this port.
    pub rp_filter: RpFilter,
    /// What it tells its neighbours, and what it believes of them.
    pub manners: Manners,
    /// What to do about transport checksums of packets that come in.
    pub checksum: ChecksumPolicy,
    /// Packets that wait, per worker, for room in the transmit ring before they are dropped.
    pub tx_queue: usize,
    /// Who works on a packet that came in here.
    pub distribute: Distribute,
    /// Where the `[[port]]` stands (its name), for messages.
    pub at: At,
}

impl Port {
    /// True when the port has an IPv6 address, or will make one, and therefore speaks IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.manners.autoconf || self.addresses.iter().any(|net| matches!(net, IpNet::V6(_)))
    }

    /// True when the port has an IPv4 address.
    pub fn has_ipv4(&self) -> bool {
        self.addresses.iter().any(|net| matches!(net, IpNet::V4(_)))
    }
}

/// What carries the packets of a port.
#[derive(Debug, Clone, PartialEq)]
pub enum PortKind {
    /// A network interface, by AF_XDP.
    AfXdp(AfXdp),
    /// Packets from a file, packets to a file.
    Pcap(Pcap),
    /// One end of a wire inside this process.
    Memory(Memory),
    /// The other end of a kernel interface that is made of software.
    Tap(Tap),
    /// One of several networks on another port's wire.
    Vlan(Vlan),
}

impl PortKind {
    /// As `kind` is written in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            PortKind::AfXdp(_) => "af_xdp",
            PortKind::Pcap(_) => "pcap",
            PortKind::Memory(_) => "memory",
            PortKind::Tap(_) => "tap",
            PortKind::Vlan(_) => "vlan",
        }
    }
}

/// An AF_XDP port.
#[derive(Debug, Clone, PartialEq)]
pub struct AfXdp {
    /// The kernel's name of the interface: 1 to 15 bytes.
    pub interface: String,
    /// How packets get from the driver to us.
    pub mode: XdpMode,
    /// Which of the interface's queues are ours.
    pub queues: Queues,
    /// Sizes of the four rings of each queue; powers of two.
    pub rings: Rings,
    /// Whether packets longer than a chunk come and go as chains.
    pub multi_buffer: MultiBuffer,
    /// Ask the kernel to say when a ring needs a kick (XDP_USE_NEED_WAKEUP).
    pub need_wakeup: bool,
    /// Whether checksums of packets that we originate are left to the interface.
    pub tx_checksum: TxChecksum,
    /// Busy polling of the socket, or `None` for interrupts.
    pub busy_poll: Option<BusyPoll>,
    /// NAPI deferral to set on the interface while we run, or `None` to leave it as it is.
    pub napi_defer: Option<NapiDefer>,
    /// Who tells the kernel that there is something to transmit.
    pub kick: Kick,
    /// How bursts are transmitted.
    pub transmit: Transmit,
    /// Which packets are ours; the rest stays with the kernel.
    pub claim: Claim,
    /// Which packets are never ours, whatever `claim` says.
    pub never: Never,
    /// Where `interface` (or else the name) stands.
    pub interface_at: At,
    /// Where `queues` (or else the name) stands.
    pub queues_at: At,
    /// Where `mtu` (or else the name) stands.
    pub mtu_at: At,
}

/// How packets get from the driver to us. What is demanded and not granted is an error at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// The best that the driver grants, and a line on the log that says what that was.
    Auto,
    /// The card writes into our frames.
    ZeroCopy,
    /// The driver runs the XDP program; the kernel copies.
    Native,
    /// The kernel runs the XDP program on its own buffers and copies. Works everywhere.
    Generic,
}

/// Which queues of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    /// Those that the interface has.
    All,
    /// These; sorted, without doubles, at least one. A count `n` in the file is 0 to n - 1.
    These(Vec<u16>),
}

/// Sizes of the rings of one queue, in descriptors; powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// Received packets on their way to us.
    pub rx: u32,
    /// Packets on their way to the driver.
    pub tx: u32,
    /// Empty frames for the driver.
    pub fill: u32,
    /// Transmitted frames on their way back.
    pub completion: u32,
}

/// Whether packets longer than a chunk come and go as chains of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiBuffer {
    /// When the MTU asks for it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Whether checksums of packets that we originate are left to the interface, where it offers that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxChecksum {
    /// Only to hardware: behind veth, virtio_net and tun nobody computes them, and a receiver that is not a
    /// kernel finds packets that look broken.
    Auto,
    /// Where it is offered.
    On,
    /// Never.
    Off,
}

impl TxChecksum {
    /// True when they are left to an interface with this driver.
    pub fn with_driver(self, driver: &str) -> bool {
        match self {
            TxChecksum::Auto => !is_virtual(driver),
            TxChecksum::On => true,
            TxChecksum::Off => false,
        }
    }
}

/// Drivers whose peer may be a local kernel.
fn is_virtual(driver: &str) -> bool {
    matches!(driver, "veth" | "virtio_net" | "tun" | "tap")
}

/// Busy polling (SO_PREFER_BUSY_POLL and companions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// Keep the interrupt masked as long as we poll.
    pub prefer: bool,
    /// Packets a poll, 1 to 64.
    pub budget: u16,
    /// How long one poll may look for packets; whole microseconds.
    pub duration: Duration,
}

/// NAPI deferral: let packets gather before the kernel works on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NapiDefer {
    /// How many empty polls before the interrupt is enabled again (napi_defer_hard_irqs).
    pub hard_irqs: u32,
    /// The longest time that packets gather (gro_flush_timeout).
    pub gro_flush_timeout: Duration,
}

/// Who tells the kernel that there is something to transmit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kick {
    /// The worker, with one system call per burst.
    Syscall,
    /// A kernel thread of io_uring, which wants a core of its own.
    Sqpoll,
}

/// How an AF_XDP port transmits bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// In bulk where that is known to be faster, by the ring elsewhere.
    Auto,
    /// By the ring.
    Ring,
    /// In one call of a BPF program.
    Bulk,
}

/// Which packets an AF_XDP port takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// All of them.
    Port,
    /// Those that match one of these, and the ARP and neighbour discovery that their addresses need.
    Rules(Vec<PacketRule>),
}

/// Which packets an AF_XDP port leaves to the kernel even though `claim` covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Never {
    /// SSH to the addresses that the kernel has on the interface: [`Never::rules`] turns it into rules.
    KernelSsh,
    /// Those that match one of these.
    Rules(Vec<PacketRule>),
}

impl Never {
    /// The rules, given the addresses that the kernel has on the interface.
    pub fn rules(&self, kernel_addresses: &[IpNet]) -> Vec<PacketRule> {
        match self {
            Never::Rules(rules) => rules.clone(),
            Never::KernelSsh => kernel_addresses
                .iter()
                .map(|net| PacketRule {
                    destination: Some(IpNet::from(net.addr())),
                    protocol: Some(Protocol::TCP),
                    ports: vec![PortRange { first: 22, last: 22 }],
                })
                .collect(),
        }
    }
}

/// A set of packets: those that match all that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketRule {
    /// Where the packet goes (host bits are zero); `None`: anywhere, in both families.
    pub destination: Option<IpNet>,
    /// The upper-layer protocol; `None`: any.
    pub protocol: Option<Protocol>,
    /// Destination ports; empty: any. Only with TCP, UDP, UDP-Lite or SCTP.
    pub ports: Vec<PortRange>,
}

/// An IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP, 1.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP, 6.
    pub const TCP: Protocol = Protocol(6);
    /// UDP, 17.
    pub const UDP: Protocol = Protocol(17);
    /// ICMPv6, 58.
    pub const ICMPV6: Protocol = Protocol(58);
    /// SCTP, 132.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite, 136.
    pub const UDP_LITE: Protocol = Protocol(136);

    /// True when the protocol has ports where TCP has them.
    pub const fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::UDP_LITE)
    }
}

/// Transport ports from `first` to `last`, both included; `first` is not above `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// A port that replays a capture file and writes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcap {
    /// The file whose packets come in; `None`: none do. Relative names are relative to the configuration.
    pub read: Option<PathBuf>,
    /// Start over at the end of the file, for ever.
    pub repeat: bool,
    /// The file where packets that go out are written; `None`: they are discarded.
    pub write: Option<PathBuf>,
    /// Where `read` (or else the name) stands.
    pub read_at: At,
}

/// One end of a wire inside this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The other end, which names us as its peer in turn. Never ourselves.
    pub peer: PortId,
    /// Packets on their way from us to the peer; a power of two.
    pub ring: u32,
}

/// Reverse path filter (RFC 3704): whether the way back to the source leads through the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpFilter {
    /// Not asked.
    Off,
    /// It must lead through this very port.
    Strict,
    /// It must lead somewhere.
    Loose,
}

/// What to do about the transport checksums of packets that come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// `Repair` behind a driver whose peer may be a local kernel (veth, virtio_net, tun), else `Verify`:
    /// [`ChecksumPolicy::for_driver`].
    Auto,
    /// Check those of packets for us.
    Verify,
    /// Finish the ones that a local kernel left half done (pseudo-header only).
    Repair,
    /// Believe them.
    Trust,
}

impl ChecksumPolicy {
    /// The policy with `Auto` decided for the driver of the port's interface, as ethtool names it.
    pub fn for_driver(self, driver: Option<&str>) -> ChecksumPolicy {
        match self {
            ChecksumPolicy::Auto => match driver {
                Some(driver) if is_virtual(driver) => ChecksumPolicy::Repair,
                _ => ChecksumPolicy::Verify,
            },
            decided => decided,
        }
    }
}

/// Who works on a packet that came in at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribute {
    /// The worker that polls the queue: the card's RSS decides.
    Rss,
    /// The worker that a hash of the flow names: packets may be handed over.
    Flow,
}

/// One `[[core]]`: a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Core {
    /// The processor that the worker is pinned to, as the kernel counts them.
    pub cpu: usize,
    /// What it polls.
    pub serves: Vec<Serves>,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Frames of its pool; `None`: as many as the named uses add up to.
    pub frames: Option<usize>,
    /// Bytes of a frame, 2048 or 4096; `None`: what suits the longest packets of its ports
    /// ([`super::frames::chunk_for`]).
    pub chunk: Option<usize>,
    /// Back the pool with 2 MiB pages.
    pub hugepages: bool,
    /// Packets that are worked on together, 1 to [`flumen_stack::limits::BURST`].
    pub burst: usize,
    /// Where `cpu` stands.
    pub at: At,
    /// Where `frames` (or else `cpu`) stands.
    pub frames_at: At,
}

/// A port, or queues of it, that a core polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serves {
    /// The port.
    pub port: PortId,
    /// Its queues.
    pub queues: Queues,
    /// Where it is said.
    pub at: At,
}

/// What a worker does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Look again at once: 100 % of the core, no added latency.
    Spin,
    /// Sleep, at most this long, until a queue has something.
    Adaptive {
        /// The longest time between two looks at the queues.
        max_latency: Duration,
    },
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; host bits are zero.
    pub to: IpNet,
    /// Of two routes with the same prefix the one with the lower metric is used.
    pub metric: u32,
    /// What becomes of the packets.
    pub action: RouteAction,
    /// The table that it is in.
    pub table: TableId,
    /// What it says about its way.
    pub metrics: RouteMetrics,
    /// Where it is said.
    pub at: At,
}

/// What becomes of packets that a route covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// They go to one of these, chosen by flow in proportion to the weights. 1 to
    /// [`super::bounds::MAX_NEXT_HOPS`]. Routes of a `routes_file` with the same next hop share one
    /// allocation.
    Unicast(Arc<[NextHop]>),
    /// They vanish.
    Blackhole,
    /// They are refused: host unreachable.
    Unreachable,
    /// They are refused: administratively prohibited.
    Prohibit,
    /// They are for us, whoever else has the address (Linux's `local` and `anycast`).
    Local,
    /// They are for everybody on the link of this port.
    Broadcast(PortId),
}

/// One way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The gateway, which is on-link at the port; `None`: the destination itself is on-link.
    pub via: Option<IpAddr>,
    /// The way out.
    pub port: PortId,
    /// Share of the flows, 1 to 256.
    pub weight: u16,
}

/// A neighbour that is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticNeighbour {
    /// The link it is on.
    pub port: PortId,
    /// Its IP address.
    pub address: IpAddr,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Where it is said.
    pub at: At,
}

/// Sizes of tables. What does not fit is refused or makes room; nothing grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// IPv4 routes of the data plane.
    pub routes_ipv4: usize,
    /// IPv6 routes of the data plane.
    pub routes_ipv6: usize,
    /// Route cache entries per worker; a power of two, or 0 for none.
    pub route_cache: usize,
    /// Neighbours of both families, over all ports.
    pub neighbours: usize,
    /// Packets that wait for one neighbour to answer.
    pub pending_per_neighbour: usize,
    /// Packets of one worker that wait for neighbours to answer.
    pub pending: usize,
    /// Packets on their way from one worker to another; a power of two.
    pub handoff: usize,
    /// Bytes per worker for fragments that wait for the rest of their datagrams; one source gets a quarter.
    pub reassembly_memory: usize,
    /// Seconds that the fragments of an IPv4 datagram wait.
    pub reassembly_seconds_ipv4: u64,
    /// The same for IPv6.
    pub reassembly_seconds_ipv6: u64,
}

/// Rates at which one worker sends ICMP and ICMPv6 (token buckets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp {
    /// Errors, per second.
    pub error_rate: u32,
    /// Errors at once after a quiet time.
    pub error_burst: u32,
    /// Errors of one class, per second.
    pub class_rate: u32,
    /// Errors of one class at once after a quiet time.
    pub class_burst: u32,
    /// Echo replies, per second.
    pub echo_rate: u32,
    /// Echo replies at once after a quiet time.
    pub echo_burst: u32,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its path.
    pub socket: PathBuf,
    /// Its permission bits, at most 0o777: who may write to it controls the data plane.
    pub mode: u32,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least important line that is still written.
    pub level: LogLevel,
    /// Packets with addresses that cannot be are written down, a few each second.
    pub martians: bool,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something needs a look.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// As in the file, and as `tracing` names it.
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}
