//! What connections cost that are there: memory of each, and what a lookup, a timer and a question cost among a
//! thousand of them and among a million.

use super::loads::MESSAGE;
use super::{NAMES, Pair, Time};
use crate::random::Random;
use crate::router::Error;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use flumen_stack::Instant;
use flumen_stack::limits::{BURST, WARM_FROM};
use flumen_stack::socket::{Handle, Owner};
use flumen_stack::tcp::demux::{KeyV4, TableV4, key_v4};
use flumen_stack::tcp::ports::PortRange;
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions, TcpConfig};
use flumen_stack::timer::TimerWheel;
use std::collections::HashMap;
use std::hint::black_box;

/// Ports that the server listens on, at each of its addresses.
const LISTENERS: usize = 8;

/// Connections that are opened at a time.
const AT_ONCE: usize = 64;

/// Many connections, established, both ends in this process.
pub struct Crowd {
    pair: Pair,
    clients: Vec<Handle>,
    servers: Vec<Handle>,
    random: Random,
}

impl Crowd {
    /// So many connections.
    pub fn new(count: usize) -> Result<Crowd, Error> {
        let config = TcpConfig {
            connections: count,
            ephemeral: PortRange::new(1024, 65_535).ok_or("no ports")?,
            ..TcpConfig::default()
        };
        let mut crowd = Crowd {
            pair: Pair::new(&config, 4096, Time::real())?,
            clients: Vec::with_capacity(count),
            servers: Vec::with_capacity(count),
            random: Random::new(7),
        };
        crowd.fill(count)?;
        Ok(crowd)
    }

    fn fill(&mut self, count: usize) -> Result<(), Error> {
        let Crowd { pair, clients, servers, .. } = self;
        let mut listeners = Vec::new();
        for number in 0..NAMES * LISTENERS {
            let at = SocketAddr::from(([10, 0, (number % NAMES) as u8, 2], 80 + number as u16));
            listeners.push((at, pair.sockets(1).tcp_listen(Owner(1), at, &ListenOptions::default())?));
        }
        let wish = ConnectOptions::default();
        while clients.len() < count {
            for _ in 0..AT_ONCE.min(count - clients.len()) {
                let (to, _) = listeners[clients.len() % listeners.len()];
                clients.push(pair.sockets(0).tcp_connect(Owner(0), to, &wish)?);
            }
            let mut left = 100;
            while servers.len() < clients.len() && left > 0 {
                pair.turn();
                let mut sockets = pair.sockets(1);
                for (_, listener) in &listeners {
                    while let Ok((server, _)) = sockets.tcp_accept(*listener, Owner(1)) {
                        servers.push(server);
                    }
                }
                left -= 1;
            }
            if servers.len() < clients.len() {
                return Err(format!("only {} of {} connected", servers.len(), clients.len()).into());
            }
            for host in &mut pair.hosts {
                while host.stack.events.pop().is_some() {}
            }
        }
        // Until nothing is under way any more.
        for _ in 0..100 {
            pair.turn();
        }
        // The server's ends in the order of the client's.
        let sockets = pair.sockets(1);
        let by_name: HashMap<_, _> = servers
            .iter()
            .map(|server| Ok(((sockets.tcp_local(*server)?, sockets.tcp_peer(*server)?), *server)))
            .collect::<Result<_, Error>>()?;
        let sockets = pair.sockets(0);
        servers.clear();
        for client in &*clients {
            let name = (sockets.tcp_peer(*client)?, sockets.tcp_local(*client)?);
            servers.push(*by_name.get(&name).ok_or("an end is missing")?);
        }
        Ok(())
    }

    /// Cycles of a question and its answer, on 64 connections at a time that are drawn at random.
    pub fn questions(&mut self, rounds: usize) -> Result<f64, Error> {
        let Crowd { pair, clients, servers, random } = self;
        let mut buffer = [0; 4 * MESSAGE];
        let mut cycles = 0;
        let mut answered = 0;
        for _ in 0..rounds {
            let asked: [usize; BURST] = core::array::from_fn(|_| random.below(clients.len()));
            let start = af_xdp::cycles::now();
            let mut sockets = pair.sockets(0);
            for at in asked {
                sockets.tcp_send(clients[at], &[b'?'; MESSAGE])?;
            }
            pair.turn();
            let mut sockets = pair.sockets(1);
            for at in asked {
                if let Ok(count) = sockets.tcp_recv(servers[at], &mut buffer) {
                    sockets.tcp_send(servers[at], &buffer[..count])?;
                }
            }
            let now = pair.now;
            pair.leave(now, 1);
            let mut sockets = pair.sockets(0);
            for at in asked {
                answered += sockets.tcp_recv(clients[at], &mut buffer).unwrap_or(0) / MESSAGE;
            }
            cycles += af_xdp::cycles::now().wrapping_sub(start);
        }
        // With Nagle's rule and random connections one may have waited for the next turn, none for longer.
        if answered + BURST < rounds * BURST {
            return Err(format!("{answered} of {} questions were answered", rounds * BURST).into());
        }
        Ok(cycles as f64 / answered as f64)
    }
}

/// Cycles of one lookup in the table of names, and of moving one deadline in the wheel and letting it come, among
/// `count` connections.
pub fn lookup_and_timer(count: usize) -> (f64, f64) {
    let mut table = TableV4::new(count, [1, 2]);
    let key = |at: usize| -> KeyV4 {
        let remote = Ipv4Addr::from(0x0a01_0000 + (at >> 14) as u32);
        key_v4(Ipv4Addr::new(10, 0, 0, 1), 80, remote, 1024 + (at & 0x3fff) as u16)
    };
    for at in 0..count {
        let _all_fit = table.insert(&key(at), at as u32);
    }
    let mut random = Random::new(5);
    let rounds = 20_000;
    let mut lookup = 0;
    for _ in 0..rounds {
        let keys: [KeyV4; BURST] = core::array::from_fn(|_| key(random.below(count)));
        let start = af_xdp::cycles::now();
        // As the input does it: among many, memory is asked for all of a burst first.
        if count >= WARM_FROM {
            let mut found = [None; BURST];
            table.lookup_burst(&keys, &mut found);
            black_box(&found);
        }
        for key in &keys {
            black_box(table.lookup(key));
        }
        lookup += af_xdp::cycles::now().wrapping_sub(start);
    }
    let mut wheel = TimerWheel::new(count, Instant::ZERO);
    let mut now = Instant::ZERO;
    for at in 0..count {
        wheel.schedule(at as u32, now + Duration::from_millis(200 + (at % 1000) as u64));
    }
    let mut timer = 0;
    for _ in 0..rounds {
        let places: [u32; BURST] = core::array::from_fn(|_| random.below(count) as u32);
        now = now + Duration::from_micros(50);
        let start = af_xdp::cycles::now();
        for place in places {
            wheel.schedule(place, now + Duration::from_millis(1200));
        }
        let mut budget = BURST;
        while let Some(place) = wheel.pop(now, &mut budget) {
            wheel.schedule(place, now + Duration::from_millis(1200));
        }
        timer += af_xdp::cycles::now().wrapping_sub(start);
    }
    let each = (rounds * BURST) as f64;
    (lookup as f64 / each, timer as f64 / each)
}
