//! A node: a stack with its tables, and the little that a host does by itself: it pings, and it sends datagrams.

use crate::burst::Burst;
use crate::checksum;
use crate::counters::Counter;
use crate::egress::Egress;
use crate::frame::heap::{HeapFrame, HeapPool};
use crate::frame::{Frame, FramePool};
use crate::icmp::{v4, v6};
use crate::interface::{Interface, Interfaces};
use crate::neighbour::{ConfigError, NeighbourConfig};
use crate::port::PortId;
use crate::route::{Rib, RibConfig, Route, RouteError, RouteReader, Target};
use crate::socket::api::Sockets;
use crate::stack::{SocketLimits, Stack, StackConfig};
use crate::tcp::sockets::TcpConfig;
use crate::time::Instant;
use crate::turn::{NoProbe, Turn};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6};
use core::net::IpAddr;
use ipnet::IpNet;

/// Frames of a node's pool.
const FRAMES: usize = 256;
/// Bytes of a frame.
const CHUNK: usize = 2048;
/// Frames that may wait for a port; the wires take them at once.
const TX_QUEUE: usize = 128;

/// Why a node cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The bounds of its neighbour table.
    #[error(transparent)]
    Neighbours(#[from] ConfigError),
    /// Its interfaces are not in the order of their ports.
    #[error("the {0} interfaces are not in the order of their ports")]
    Interfaces(usize),
}

/// A table with what follows from the addresses of `interfaces`, and with `routes` (prefix, port, router). Nodes of
/// many networks may share one, as workers do.
///
/// # Errors
/// A route that the table refuses.
pub fn rib(interfaces: &[Interface], routes: &[(IpNet, PortId, IpAddr)]) -> Result<Rib, RouteError> {
    let mut rib = Rib::new(RibConfig {
        max_routes4: 256,
        max_routes6: 256,
        groups4: 16,
        nodes6: 1 << 10,
        leaves6: 1 << 12,
        next_hops: 256,
        multipath: 1,
        ..RibConfig::default()
    })?;
    let mut add = |prefix: IpNet, target| rib.replace(&Route::new(prefix, target));
    for one in interfaces {
        let port = one.id;
        let v4 = one.ipv4.iter().map(|net| IpNet::from(*net));
        let v6 = one.ipv6.iter().map(|net| IpNet::from(*net));
        for net in v4.chain(v6.filter(|net| !is_link_local(net.addr()))) {
            add(net.trunc(), Target::Connected { port })?;
            add(IpNet::from(net.addr()), Target::Local)?;
            if let IpNet::V4(net) = net {
                add(IpNet::from(IpAddr::V4(net.broadcast())), Target::Broadcast { port })?;
            }
        }
    }
    for &(prefix, port, via) in routes {
        add(prefix, Target::Gateway { port, via })?;
    }
    Ok(rib)
}

/// What a node is made with.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Bounds and times of the neighbour table.
    pub neighbours: NeighbourConfig,
    /// Bounds of sockets.
    pub sockets: SocketLimits,
    /// TCP's bounds and defaults.
    pub tcp: TcpConfig,
    /// Its secrets.
    pub seed: u64,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        NodeSettings {
            neighbours: NeighbourConfig::default(),
            sockets: SocketLimits::default(),
            tcp: TcpConfig {
                connections: 64,
                listeners: 8,
                requests: 64,
                time_waits: 64,
                runs: 4096,
                ranges: 1024,
                metrics: 64,
                ..TcpConfig::default()
            },
            seed: 0,
        }
    }
}

/// A host or a router.
#[derive(Debug)]
pub struct Node {
    /// Its stack.
    pub stack: Stack<HeapFrame>,
    /// Its frames.
    pub pool: HeapPool,
    /// What leaves.
    pub egress: Egress<HeapFrame>,
    ports: usize,
}

impl Node {
    /// A node with these interfaces, which routes by `routes`: see [`rib`].
    ///
    /// # Errors
    /// What is wrong with the interfaces or the bounds.
    pub fn new(
        interfaces: Vec<Interface>,
        routes: RouteReader,
        neighbours: NeighbourConfig,
        seed: u64,
    ) -> Result<Node, NodeError> {
        Node::with(NodeSettings { neighbours, seed, ..NodeSettings::default() }, interfaces, routes)
    }

    /// The same, with bounds of one's own.
    ///
    /// # Errors
    /// What is wrong with the interfaces or the bounds.
    pub fn with(
        settings: NodeSettings,
        interfaces: Vec<Interface>,
        routes: RouteReader,
    ) -> Result<Node, NodeError> {
        let NodeSettings { neighbours, sockets, tcp, seed } = settings;
        let ports = interfaces.len();
        let config = StackConfig {
            interfaces: Interfaces::new(interfaces).ok_or(NodeError::Interfaces(ports))?,
            neighbours,
            route_cache: 64,
            icmp: crate::icmp::limit::IcmpLimits::default(),
            echo: (1000, 100),
            sockets,
            tcp,
            frame_room: (CHUNK - 256) as u16,
            reassembly: crate::ip::reassembly::ReassemblyConfig::default(),
            multicast: Default::default(),
            routing: Default::default(),
            seed: [seed, seed ^ 1, seed ^ 2, seed ^ 3],
        };
        let stack = Stack::new(config, routes)?;
        Ok(Node {
            stack,
            pool: HeapPool::new(FRAMES, CHUNK),
            egress: Egress::new(vec![TX_QUEUE; ports]),
            ports,
        })
    }

    /// A frame arrived. One that the pool has no room for is lost, as at a port.
    pub fn input(&mut self, port: PortId, frame: &[u8], now: Instant) {
        let Some(frame) = self.pool.frame(frame) else { return };
        let mut burst = Burst::new();
        burst.push(frame);
        self.turn(now, |stack, turn| stack.input(turn, port, &mut burst));
    }

    /// The end of a turn: sends what sockets have ready.
    pub fn output(&mut self, now: Instant) {
        self.turn(now, |stack, turn| {
            stack.output(turn);
        });
    }

    /// Its sockets, now.
    pub fn sockets(&mut self, now: Instant) -> Sockets<'_, HeapFrame> {
        Sockets::new(&mut self.stack, now)
    }

    /// Does what is due.
    pub fn timers(&mut self, now: Instant) {
        self.turn(now, |stack, turn| stack.timers(turn));
    }

    /// Sends an echo request. False: it did not get out of this node.
    pub fn ping(&mut self, to: IpAddr, id: u16, sequence: u16, now: Instant) -> bool {
        let kind = if to.is_ipv4() { 8 } else { 128 };
        let [id, sequence] = [id, sequence].map(u16::to_be_bytes);
        let message = [kind, 0, 0, 0, id[0], id[1], sequence[0], sequence[1], 0xf1, 0xf1, 0xf1, 0xf1];
        let protocol = if to.is_ipv4() { 1 } else { v6::ICMPV6 };
        self.send(to, protocol, 2, message.to_vec(), now)
    }

    /// Sends a datagram. False: it did not get out of this node.
    pub fn udp(&mut self, to: IpAddr, ports: [u16; 2], data: &[u8], now: Instant) -> bool {
        let mut datagram = Vec::new();
        for half in [ports[0], ports[1], (8 + data.len()) as u16, 0] {
            datagram.extend(half.to_be_bytes());
        }
        datagram.extend(data);
        self.send(to, 17, 6, datagram, now)
    }

    /// Sends `payload`, whose checksum goes to `field`, from the address that fits.
    fn send(&mut self, to: IpAddr, protocol: u8, field: usize, mut payload: Vec<u8>, now: Instant) -> bool {
        let Some(first) = PortId::new(0) else { return false };
        let Ok(hop) = self.stack.route_output(now, to, first) else { return false };
        let Some(interface) = self.stack.interfaces.get(hop.port) else { return false };
        let from = match to {
            IpAddr::V4(to) => interface.source_ipv4(to).map(IpAddr::V4),
            IpAddr::V6(to) => interface.source_ipv6(to).map(IpAddr::V6),
        };
        let (Some(from), Some(mut frame)) = (from, self.pool.alloc()) else { return false };
        let len = payload.len() as u16;
        let (header, pseudo) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) if protocol != 1 => {
                (ipv4::HEADER_LEN, checksum::pseudo_ipv4(from, to, protocol, len))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (ipv6::HEADER_LEN, checksum::pseudo_ipv6(&from, &to, protocol, len.into()))
            }
            _ => (ipv4::HEADER_LEN, checksum::Sum::ZERO),
        };
        let sum = pseudo.plus(checksum::sum(&payload)).checksum_nonzero();
        if let Some(place) = payload.get_mut(field..field + 2) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        if !frame.append(header + payload.len()) {
            return false;
        }
        frame[header..].copy_from_slice(&payload);
        match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (id, total_len) = (self.stack.next_ipv4_id(), header as u16 + len);
                let fields = v4::Fields { tos: 0, id, protocol, source, destination, total_len };
                v4::write_header(&mut frame, &fields);
                self.turn(now, |stack, turn| ipv4::output::send(stack, turn, frame, hop));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (next_header, payload_len) = (protocol, len);
                let hop_limit = v4::DEFAULT_TTL;
                let fields =
                    v6::Fields { class: 0, next_header, hop_limit, source, destination, payload_len };
                v6::write_header(&mut frame, &fields);
                self.turn(now, |stack, turn| ipv6::output::send(stack, turn, frame, hop));
            }
            _ => return false,
        }
        // What the neighbour table asks for is asked at the end of a burst; this one has no packets.
        self.timers(now);
        true
    }

    /// Everything that waits to leave, with its port.
    pub fn sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut sent = Vec::new();
        for port in (0..self.ports).filter_map(PortId::new) {
            while let Some(frame) = self.egress.queue(port).and_then(|queue| queue.pop()) {
                sent.push((port, frame.to_vec()));
            }
        }
        sent
    }

    /// True when nothing waits to leave: neither frames nor what sockets have ready.
    pub fn is_quiet(&self) -> bool {
        self.egress.is_empty() && self.stack.next_deadline() != Instant::ZERO
    }

    /// True when the books of the stack balance (see [`crate::counters`]): everything that began here or came in
    /// ended, left, or is held.
    pub fn books_balance(&self) -> bool {
        let counters = &self.stack.counters;
        let ports = || (0..self.ports).filter_map(PortId::new).map(|port| counters.port(port));
        let received: u64 = ports().map(|port| port.rx_packets).sum();
        let sent: u64 = ports().map(|port| port.tx_packets).sum();
        let begun = received + counters.originated() + counters.dropped(DropReason::NoFrame);
        let cut = counters.get(Counter::Ipv4Fragmented) + counters.get(Counter::Ipv6Fragmented);
        begun == sent + counters.dropped_in_all() + cut + self.stack.neighbours.frames_held() as u64
    }

    /// True when every frame is in the pool, waits for a neighbour, or waits to leave.
    pub fn is_conserved(&self) -> bool {
        self.pool.available() + self.stack.neighbours.frames_held() + self.egress.len() == FRAMES
    }

    fn turn(&mut self, now: Instant, work: impl FnOnce(&mut Stack<HeapFrame>, &mut Turn<'_, HeapPool>)) {
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut NoProbe };
        work(&mut self.stack, &mut turn);
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
