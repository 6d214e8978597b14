//! The same works by smoltcp, in the same shape: two interfaces back to back, Ethernet, checksums made and verified,
//! frames that are handed over as they are and used again, buffers of the same size.

use super::address;
use super::loads::{BUFFER, Done, Load, MESSAGE, VISITORS, measure};
use crate::router::Error;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

/// Frames that may wait on the wire, as between Flumen's stacks.
const WIRE: usize = 256;

/// One end of the wire.
#[derive(Default)]
struct End {
    arrived: VecDeque<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Receive<'a> {
    frame: Vec<u8>,
    spare: &'a mut Vec<Vec<u8>>,
}

struct Transmit<'a> {
    frame: Vec<u8>,
    leaving: &'a mut VecDeque<Vec<u8>>,
}

impl phy::RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.frame);
        self.spare.push(self.frame);
        result
    }
}

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Transmit { mut frame, leaving } = self;
        frame.resize(len, 0);
        let result = f(&mut frame);
        leaving.push_back(frame);
        result
    }
}

impl Device for End {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Receive<'_>, Transmit<'_>)> {
        let frame = self.arrived.pop_front()?;
        let to_fill = self.spare.pop().unwrap_or_default();
        Some((
            Receive { frame, spare: &mut self.spare },
            Transmit { frame: to_fill, leaving: &mut self.leaving },
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        if self.leaving.len() >= WIRE {
            return None;
        }
        Some(Transmit { frame: self.spare.pop().unwrap_or_default(), leaving: &mut self.leaving })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    end: End,
}

/// Two interfaces on a wire.
struct Pair {
    hosts: [Host; 2],
    clock: std::time::Instant,
    /// The moment of this turn.
    now: Instant,
}

impl Pair {
    fn new() -> Result<Pair, Error> {
        Ok(Pair { hosts: [host(0)?, host(1)?], clock: std::time::Instant::now(), now: Instant::from_secs(1) })
    }

    /// What `from` has to send goes to the other, which takes it.
    fn leave(&mut self, from: usize) -> u64 {
        let Pair { hosts: [first, second], now, .. } = self;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        from.interface.poll(*now, &mut from.end, &mut from.sockets);
        let carried = from.end.leaving.len() as u64;
        to.end.arrived.append(&mut from.end.leaving);
        // The frames that were read are the next ones to be filled.
        from.end.spare.append(&mut to.end.spare);
        carried
    }

    fn turn(&mut self) -> u64 {
        self.now = Instant::from_micros(self.clock.elapsed().as_micros() as i64 + 1_000_000);
        self.leave(0) + self.leave(1)
    }

    fn socket(&mut self, host: usize, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.hosts[host].sockets.get_mut(handle)
    }

    fn add(&mut self, host: usize, buffer: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        self.hosts[host].sockets.add(socket)
    }

    fn connect(&mut self, handle: SocketHandle, from: u16) -> Result<(), Error> {
        let Host { interface, sockets, .. } = &mut self.hosts[0];
        let to = (IpAddress::from(core::net::Ipv4Addr::from(address(1))), 80);
        let socket = sockets.get_mut::<tcp::Socket>(handle);
        Ok(socket.connect(interface.context(), to, from).map_err(|error| error.to_string())?)
    }

    fn connected(&mut self, count: usize, buffer: usize) -> Result<Vec<(SocketHandle, SocketHandle)>, Error> {
        let mut pairs = Vec::new();
        for number in 0..count {
            let (client, server) = (self.add(0, buffer), self.add(1, buffer));
            self.socket(1, server).listen(80).map_err(|error| error.to_string())?;
            self.connect(client, 40_000 + number as u16)?;
            for _ in 0..50 {
                self.turn();
            }
            if !self.socket(1, server).may_recv() || !self.socket(0, client).may_send() {
                return Err("smoltcp did not connect".into());
            }
            pairs.push((client, server));
        }
        Ok(pairs)
    }
}

fn host(number: usize) -> Result<Host, Error> {
    let mut end = End::default();
    let mac = EthernetAddress([2, 0, 0, 0, 0, number as u8 + 1]);
    let mut interface = Interface::new(Config::new(mac.into()), &mut end, Instant::from_secs(1));
    let own = IpCidr::new(core::net::Ipv4Addr::from(address(number)).into(), 24);
    interface.update_ip_addrs(|addresses| {
        let _first_of_an_empty_list = addresses.push(own);
    });
    Ok(Host { interface, sockets: SocketSet::new(Vec::new()), end })
}

/// One stream.
pub struct Bulk {
    pair: Pair,
    from: SocketHandle,
    to: SocketHandle,
    data: Vec<u8>,
    sink: Vec<u8>,
}

impl Bulk {
    /// A stream from host 0 to host 1.
    pub fn new() -> Result<Bulk, Error> {
        let mut pair = Pair::new()?;
        let (from, to) = pair.connected(1, BUFFER as usize)?[0];
        Ok(Bulk { pair, from, to, data: vec![0xa5; 65_536], sink: vec![0; 65_536] })
    }
}

impl Load for Bulk {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Bulk { pair, from, to, data, sink } = self;
        measure(units, || {
            let socket = pair.socket(0, *from);
            while socket.can_send() && socket.send_slice(data).is_ok() {}
            let segments = pair.turn();
            let mut bytes = 0;
            let socket = pair.socket(1, *to);
            while socket.can_recv()
                && let Ok(count) = socket.recv_slice(sink)
            {
                bytes += count as u64;
            }
            Ok((bytes, segments))
        })
    }
}

/// Questions and answers over connections that stay.
pub struct Questions {
    pair: Pair,
    ends: Vec<(SocketHandle, SocketHandle)>,
}

impl Questions {
    /// Over so many connections at once.
    pub fn new(connections: usize) -> Result<Questions, Error> {
        let mut pair = Pair::new()?;
        let ends = pair.connected(connections, 4096)?;
        for (client, _) in &ends {
            pair.socket(0, *client).send_slice(&[b'?'; MESSAGE]).map_err(|error| error.to_string())?;
        }
        Ok(Questions { pair, ends })
    }
}

impl Load for Questions {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Questions { pair, ends } = self;
        let mut buffer = [0; 4 * MESSAGE];
        let mut echo = |socket: &mut tcp::Socket<'_>| -> Result<bool, Error> {
            if !socket.can_recv() {
                return Ok(false);
            }
            let count = socket.recv_slice(&mut buffer).map_err(|error| error.to_string())?;
            socket.send_slice(&buffer[..count]).map_err(|error| error.to_string())?;
            Ok(true)
        };
        measure(units, || {
            let segments = pair.turn();
            for (_, server) in &*ends {
                echo(pair.socket(1, *server))?;
            }
            let segments = segments + pair.leave(1) + pair.leave(0);
            let mut answered = 0;
            for (client, _) in &*ends {
                answered += u64::from(echo(pair.socket(0, *client))?);
            }
            Ok((answered, segments))
        })
    }
}

/// Connections that are opened for one question, and closed by the server behind its answer.
pub struct Visits {
    pair: Pair,
    clients: Vec<(SocketHandle, bool)>,
    servers: Vec<SocketHandle>,
    port: u16,
}

impl Visits {
    /// Nobody has come yet.
    pub fn new() -> Result<Visits, Error> {
        let mut pair = Pair::new()?;
        let clients = (0..VISITORS).map(|_| (pair.add(0, 4096), false)).collect();
        let servers = (0..2 * VISITORS).map(|_| pair.add(1, 4096)).collect();
        Ok(Visits { pair, clients, servers, port: 32_768 })
    }
}

impl Load for Visits {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Visits { pair, clients, servers, port } = self;
        let mut buffer = [0; 4 * MESSAGE];
        measure(units, || {
            for (client, asked) in &mut *clients {
                if !pair.socket(0, *client).is_open() {
                    *port = if *port >= 60_999 { 32_768 } else { *port + 1 };
                    pair.connect(*client, *port)?;
                    *asked = false;
                }
            }
            let mut segments = pair.turn();
            for server in &*servers {
                let socket = pair.socket(1, *server);
                if socket.can_recv() {
                    let count = socket.recv_slice(&mut buffer).map_err(|error| error.to_string())?;
                    socket.send_slice(&buffer[..count]).map_err(|error| error.to_string())?;
                    socket.close();
                } else if socket.state() == tcp::State::TimeWait {
                    // It has no small records for this state: without letting go, its sockets would be used up.
                    socket.abort();
                }
                if !socket.is_open() {
                    socket.listen(80).map_err(|error| error.to_string())?;
                }
            }
            segments += pair.leave(1) + pair.leave(0);
            let mut answered = 0;
            for (client, asked) in &mut *clients {
                let socket = pair.socket(0, *client);
                if !*asked {
                    *asked = socket.can_send() && socket.send_slice(&[b'?'; MESSAGE]).is_ok();
                } else if socket.can_recv() {
                    socket.recv_slice(&mut buffer).map_err(|error| error.to_string())?;
                    answered += 1;
                } else if socket.state() == tcp::State::CloseWait {
                    socket.close();
                }
            }
            Ok((answered, segments))
        })
    }
}
