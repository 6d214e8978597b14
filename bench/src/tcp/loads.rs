//! The works of Flumen's stacks: one stream of bytes, questions and answers, and connections for one question each.

use super::{Pair, Time, address};
use crate::router::Error;
use core::net::SocketAddr;
use flumen_stack::socket::{Handle, Owner, Ready, SocketId};
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions, TcpConfig};
use flumen_stack::tcp::user::SocketOption;

/// Bytes of a question and of an answer.
pub const MESSAGE: usize = 64;

/// Send and receive buffer of a stream, the same for each kind of stack: larger than what one turn carries, small
/// enough for the cache.
pub const BUFFER: u32 = 256 << 10;

/// What some work came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Bytes, or questions that were answered.
    pub units: u64,
    /// Segments of both ends.
    pub segments: u64,
    /// Cycles of the time stamp counter.
    pub cycles: u64,
}

/// A work that goes on for as long as it is asked to.
pub trait Load {
    /// Goes on until at least `units` more are done.
    fn work(&mut self, units: u64) -> Result<Done, Error>;
}

/// Counts what `turn` does until it is enough: `turn` gives units and segments. It fails when nothing comes of many
/// turns.
pub fn measure(units: u64, mut turn: impl FnMut() -> Result<(u64, u64), Error>) -> Result<Done, Error> {
    let start = af_xdp::cycles::now();
    let mut done = Done::default();
    let mut idle = 0u32;
    while done.units < units {
        let (more, segments) = turn()?;
        done.units += more;
        done.segments += segments;
        idle = if more == 0 { idle + 1 } else { 0 };
        if idle > 10_000_000 {
            return Err("nothing moves any more".into());
        }
    }
    done.cycles = af_xdp::cycles::now().wrapping_sub(start);
    Ok(done)
}

fn listen(pair: &mut Pair, port: u16, options: Vec<SocketOption>) -> Result<Handle, Error> {
    let at = SocketAddr::from((address(1), port));
    let options = ListenOptions { options, ..ListenOptions::default() };
    Ok(pair.sockets(1).tcp_listen(Owner(1), at, &options)?)
}

/// Connections between the two, established: client ends and server ends, in the same order.
fn connected(
    pair: &mut Pair,
    count: usize,
    options: &[SocketOption],
) -> Result<(Vec<Handle>, Vec<Handle>), Error> {
    let listener = listen(pair, 80, options.to_vec())?;
    let to = SocketAddr::from((address(1), 80));
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let wish = ConnectOptions { options: options.to_vec(), ..ConnectOptions::default() };
        clients.push(pair.sockets(0).tcp_connect(Owner(0), to, &wish)?);
        for _ in 0..3 {
            pair.turn();
        }
        servers.push(pair.sockets(1).tcp_accept(listener, Owner(1))?.0);
    }
    Ok((clients, servers))
}

/// One stream.
pub struct Bulk {
    pair: Pair,
    from: Handle,
    to: Handle,
    data: Vec<u8>,
    sink: Vec<u8>,
}

impl Bulk {
    /// A stream from host 0 to host 1.
    pub fn new(time: Time) -> Result<Bulk, Error> {
        let mut pair = Pair::new(&TcpConfig::default(), 4096, time)?;
        let options = [SocketOption::SendBuffer(BUFFER / 2), SocketOption::ReceiveBuffer(BUFFER / 2)];
        let (clients, servers) = connected(&mut pair, 1, &options)?;
        Ok(Bulk { pair, from: clients[0], to: servers[0], data: vec![0xa5; 65_536], sink: vec![0; 65_536] })
    }
}

impl Load for Bulk {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Bulk { pair, from, to, data, sink } = self;
        measure(units, || {
            let mut sockets = pair.sockets(0);
            while sockets.tcp_send(*from, data).is_ok() {}
            let segments = pair.turn();
            let mut bytes = 0;
            let mut sockets = pair.sockets(1);
            while let Ok(count) = sockets.tcp_recv(*to, sink)
                && count > 0
            {
                bytes += count as u64;
            }
            Ok((bytes, segments))
        })
    }
}

/// Questions and answers over connections that stay. Both owners do what news tell them to do, as a service does.
pub struct Questions {
    pair: Pair,
}

impl Questions {
    /// Over so many connections at once.
    pub fn new(connections: usize, time: Time) -> Result<Questions, Error> {
        let mut pair = Pair::new(&TcpConfig::default(), 4096, time)?;
        let (clients, _servers) = connected(&mut pair, connections, &[SocketOption::NoDelay(true)])?;
        for client in &clients {
            pair.sockets(0).tcp_send(*client, &[b'?'; MESSAGE])?;
        }
        Ok(Questions { pair })
    }

    /// Sends back what came to a host; says on how many connections.
    fn echo(pair: &mut Pair, host: usize) -> Result<u64, Error> {
        let mut buffer = [0; 4 * MESSAGE];
        let mut count = 0;
        while let Some((socket, news)) = pair.news(host) {
            if let SocketId::Tcp(connection) = socket
                && news.contains(Ready::READABLE)
            {
                let mut sockets = pair.sockets(host);
                let len = sockets.tcp_recv(connection, &mut buffer)?;
                sockets.tcp_send(connection, &buffer[..len])?;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl Load for Questions {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Questions { pair } = self;
        measure(units, || {
            let now = pair.pass();
            let mut segments = pair.leave(now, 0);
            Questions::echo(pair, 1)?;
            segments += pair.leave(now, 1);
            Ok((Questions::echo(pair, 0)?, segments))
        })
    }
}

/// Connections that are opened for one question, and closed by the server behind its answer. Both owners do what news
/// tell them to do.
pub struct Visits {
    pair: Pair,
    /// Connections that a client has open.
    open: usize,
}

/// Connections that are open at a time.
pub const VISITORS: usize = 64;

impl Visits {
    /// Nobody has come yet.
    pub fn new(time: Time) -> Result<Visits, Error> {
        let config = TcpConfig { time_waits: 32_768, ..TcpConfig::default() };
        let mut pair = Pair::new(&config, 4096, time)?;
        listen(&mut pair, 80, Vec::new())?;
        Ok(Visits { pair, open: 0 })
    }

    /// The server takes who comes, answers the question, and closes.
    fn serve(pair: &mut Pair) {
        let mut buffer = [0; 4 * MESSAGE];
        while let Some((socket, news)) = pair.news(1) {
            let mut sockets = pair.sockets(1);
            match socket {
                SocketId::Listener(listener) => while sockets.tcp_accept(listener, Owner(1)).is_ok() {},
                SocketId::Tcp(server) if news.contains(Ready::READABLE) => {
                    match sockets.tcp_recv(server, &mut buffer) {
                        Ok(len) => {
                            let _closed_below = sockets.tcp_send(server, &buffer[..len]);
                            sockets.tcp_close(server);
                        }
                        Err(flumen_stack::socket::Error::WouldBlock) => {}
                        Err(_) => sockets.tcp_close(server),
                    }
                }
                _ => {}
            }
        }
    }

    /// The client asks when it is connected, reads to the end, and closes. Says how many were answered; how many
    /// connections ended, well and not, goes to `closed` and `failed`.
    fn visit(pair: &mut Pair, closed: &mut usize, failed: &mut u64) -> Result<u64, Error> {
        let mut buffer = [0; 4 * MESSAGE];
        let mut answered = 0;
        while let Some((socket, news)) = pair.news(0) {
            let SocketId::Tcp(client) = socket else { continue };
            let mut sockets = pair.sockets(0);
            if news.contains(Ready::CONNECTED) {
                sockets.tcp_send(client, &[b'?'; MESSAGE])?;
            }
            if !news.contains(Ready::READABLE) {
                continue;
            }
            loop {
                match sockets.tcp_recv(client, &mut buffer) {
                    Ok(0) => {}
                    Ok(_) => {
                        answered += 1;
                        continue;
                    }
                    Err(flumen_stack::socket::Error::WouldBlock) => break,
                    Err(_) => *failed += 1,
                }
                sockets.tcp_close(client);
                *closed += 1;
                break;
            }
        }
        Ok(answered)
    }
}

impl Load for Visits {
    fn work(&mut self, units: u64) -> Result<Done, Error> {
        let Visits { pair, open } = self;
        let to = SocketAddr::from((address(1), 80));
        let wish = ConnectOptions::default();
        let mut failed = 0u64;
        let done = measure(units, || {
            let mut sockets = pair.sockets(0);
            while *open < VISITORS {
                sockets.tcp_connect(Owner(0), to, &wish)?;
                *open += 1;
            }
            let now = pair.pass();
            let mut segments = pair.leave(now, 0);
            Visits::serve(pair);
            segments += pair.leave(now, 1);
            let mut closed = 0;
            let answered = Visits::visit(pair, &mut closed, &mut failed)?;
            *open -= closed;
            Ok((answered, segments))
        })?;
        if failed > 0 {
            return Err(format!("{failed} of {units} visits failed").into());
        }
        Ok(done)
    }
}
