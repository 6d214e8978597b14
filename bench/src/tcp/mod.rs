//! TCP with no card in the way: two whole stacks back to back in one process, on one core. Frames of one pool go
//! from the transmit queue of one stack to the input of the other as they are; links, addresses, checksums, routes
//! and timers are the product's own, and so is the order of a turn: packets in, owners called, packets out.
//!
//! ```text
//!   client calls ─> stack 0 ─frames─> stack 1 ─> server calls
//!                      └────<─frames─────┘
//! ```
//! [`loads`] are the works that both kinds of stack do, [`smol`] does them with smoltcp, [`idle`] counts what
//! connections cost that do nothing.

pub mod idle;
pub mod loads;
pub mod smol;

use crate::router::Error;
use core::time::Duration;
use flumen::mempool::{PoolFrame, WorkerPool};
use flumen::worker::Clock;
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::limits::BURST;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::Rib;
use flumen_stack::sim::node::rib;
use flumen_stack::socket::api::Sockets;
use flumen_stack::socket::{Ready, SocketId};
use flumen_stack::tcp::sockets::TcpConfig;
use flumen_stack::turn::{NoProbe, Turn};
use flumen_stack::{
    Burst, Egress, Instant, Interface, Interfaces, MacAddr, PortId, SocketLimits, Stack, StackConfig,
};

/// Frames of the pool that both stacks share.
const FRAMES: u32 = 4096;

/// Frames that may wait on the way from one stack to the other.
const WIRE: usize = 256;

/// One of the two.
pub struct Host {
    /// The product's stack.
    pub stack: Stack<PoolFrame>,
    egress: Egress<PoolFrame>,
    _rib: Rib,
}

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub enum Time {
    /// The machine's clock, read once a turn: for measuring time.
    Clock(Clock),
    /// Each turn takes so long: every run does the same, for counting instructions.
    Steps(Duration),
}

impl Time {
    /// The machine's clock.
    pub fn real() -> Time {
        Time::Clock(Clock(std::time::Instant::now()))
    }
}

/// Two stacks on a wire.
pub struct Pair {
    /// Client and server.
    pub hosts: [Host; 2],
    pool: WorkerPool,
    time: Time,
    /// The moment of this turn.
    pub now: Instant,
    /// Frames that went from one to the other, both ways.
    pub segments: u64,
}

/// The address of a host.
pub const fn address(host: usize) -> [u8; 4] {
    [10, 0, 0, host as u8 + 1]
}

impl Pair {
    /// Two stacks within these bounds, with so many blocks each, that know each other's link address.
    pub fn new(config: &TcpConfig, blocks: usize, time: Time) -> Result<Pair, Error> {
        let pool =
            af_xdp::Pool::new(&af_xdp::PoolConfig { chunks: FRAMES, ..af_xdp::PoolConfig::default() })?;
        Ok(Pair {
            hosts: [host(0, config, blocks)?, host(1, config, blocks)?],
            pool: WorkerPool(pool),
            time,
            now: Instant::from_millis(1000),
            segments: 0,
        })
    }

    /// Lets time pass, lets timers that are due do their work, and carries what both have to send to the other.
    /// Returns how many frames that were.
    pub fn turn(&mut self) -> u64 {
        let now = self.pass();
        self.leave(now, 0) + self.leave(now, 1)
    }

    /// Time passes; returns what it is now.
    pub fn pass(&mut self) -> Instant {
        self.now = match self.time {
            Time::Clock(clock) => clock.now() + Duration::from_secs(1),
            Time::Steps(step) => self.now + step,
        };
        self.now
    }

    /// Half a turn: what host `from` has to send goes to the other.
    pub fn leave(&mut self, now: Instant, from: usize) -> u64 {
        let Pair { hosts: [first, second], pool, segments, .. } = self;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        let Host { stack, egress, .. } = from;
        let mut turn = Turn { now, pool, egress, probe: &mut NoProbe };
        if now >= stack.next_deadline() {
            stack.timers(&mut turn);
        }
        stack.output(&mut turn);
        let mut carried = 0;
        let mut burst: Burst<PoolFrame> = Burst::new();
        while let Some(queue) = egress.queue(PortId::FIRST)
            && !queue.is_empty()
        {
            while burst.len() < BURST
                && let Some(frame) = queue.pop()
            {
                burst.push(frame);
            }
            carried += burst.len() as u64;
            let mut turn = Turn { now, pool, egress: &mut to.egress, probe: &mut NoProbe };
            to.stack.input(&mut turn, PortId::FIRST, &mut burst);
            burst.clear();
        }
        *segments += carried;
        carried
    }

    /// The sockets of a host, now.
    #[inline]
    pub fn sockets(&mut self, host: usize) -> Sockets<'_, PoolFrame> {
        Sockets::new(&mut self.hosts[host].stack, self.now)
    }

    /// The next socket of a host with news, and the news.
    #[inline]
    pub fn news(&mut self, host: usize) -> Option<(SocketId, Ready)> {
        self.hosts[host].stack.next_event().map(|(_, socket, news)| (socket, news))
    }

    /// Packets that either stack dropped.
    pub fn dropped(&self) -> u64 {
        self.hosts.iter().map(|host| host.stack.counters.dropped_in_all()).sum()
    }
}

fn host(number: usize, config: &TcpConfig, blocks: usize) -> Result<Host, Error> {
    let mac = |number: usize| MacAddr([2, 0, 0, 0, 0, number as u8 + 1]);
    let mut interface = Interface::new(PortId::FIRST, "wire", mac(number), 1500);
    // A network of many addresses: those of one end are a range, so that connections by the million have names.
    for at in 0..NAMES {
        let own = ipnet::Ipv4Net::new([10, 0, at as u8, number as u8 + 1].into(), 16)?;
        interface.ipv4.push(own);
    }
    let interfaces = vec![interface];
    let rib = rib(&interfaces, &[])?;
    let reader = rib.reader()?;
    let config = StackConfig {
        interfaces: Interfaces::new(interfaces).ok_or("too many ports")?,
        neighbours: NeighbourConfig::default(),
        route_cache: crate::router::ROUTE_CACHE,
        icmp: IcmpLimits::default(),
        echo: (1000, 1000),
        sockets: SocketLimits { blocks, ..SocketLimits::default() },
        tcp: config.clone(),
        reassembly: flumen_stack::ip::reassembly::ReassemblyConfig::default(),
        frame_room: 1664,
        multicast: Default::default(),
        routing: Default::default(),
        seed: [number as u64, 2, 3, 4],
    };
    let mut stack = Stack::new(config, reader)?;
    for at in 0..NAMES {
        let peer = core::net::IpAddr::from([10, 0, at as u8, 2 - number as u8]);
        stack
            .neighbours
            .add_static(PortId::FIRST, peer, mac(1 - number), Instant::ZERO)
            .map_err(|reason| reason.describe())?;
    }
    Ok(Host { stack, egress: Egress::new([WIRE]), _rib: rib })
}

/// Addresses of each host.
pub const NAMES: usize = 4;
