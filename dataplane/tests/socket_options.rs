//! The table of socket options beside the running kernel: the same calls on fresh sockets of each kind, of the kernel and of
//! ours, must come to the same: error, length, value, and what reading gives after setting. And `docs/socket-options.md`
//! says what the table says.
//!
//! What differs is said in the table (`differs`), or depends on the host ([`HOSTS_OWN`]). Kinds of sockets that this user may
//! not open are left out, with a word.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use core::fmt::Write as _;
use flumen::builtin::host::Host;
use flumen::session::links::{Link, Links};
use flumen::session::options::table::{self, Standing};
use flumen::session::options::{About, document::page, get, kind::Facts, set};
use flumen::session::program::Place;
use flumen::session::socket::{Credentials, Kind, Socket};
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::{Arena, Geometry, kernel};
use flumen_stack::interface::Interface;
use flumen_stack::sim::{Node, NodeSettings, rib};
use flumen_stack::socket::{Family, Owner};
use flumen_stack::turn::{NoProbe, Turn};
use flumen_stack::{Instant, MacAddr, PortId};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketType};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Options whose value, unless set, is the host's: that of `net.ipv4.tcp_congestion_control`, and the processor that it saw.
const HOSTS_OWN: &[(i32, i32)] = &[(table::TCP, 13), (table::TCP, 26), (table::SOCKET, 49)];

/// Options whose value is the number of an interface: the host may have more than ours.
const INTERFACES: &[(i32, i32)] = &[(table::IPV6, 17)];

/// Levels that are asked; the last is SCTP's, which nobody here knows.
const LEVELS: [i32; 9] = [
    table::SOCKET,
    table::IP,
    table::TCP,
    table::UDP,
    table::UDP_LITE,
    table::IPV6,
    table::ICMPV6,
    table::RAW,
    132,
];

/// Numbers are asked up to here: routing sockets' (MRT_INIT, 200) lie beyond.
const NUMBERS: i32 = 135;

#[derive(Debug, Clone, Copy)]
struct Sort {
    name: &'static str,
    family: Family,
    kind: i32,
    protocol: i32,
}

const fn sort(name: &'static str, family: Family, kind: i32, protocol: i32) -> Sort {
    Sort { name, family, kind, protocol }
}

const SORTS: [Sort; 14] = [
    sort("tcp4", Family::Ipv4, 1, 6),
    sort("tcp6", Family::Ipv6, 1, 6),
    sort("udp4", Family::Ipv4, 2, 17),
    sort("udp6", Family::Ipv6, 2, 17),
    sort("udplite4", Family::Ipv4, 2, 136),
    sort("udplite6", Family::Ipv6, 2, 136),
    sort("raw4 icmp", Family::Ipv4, 3, 1),
    sort("raw6 icmp", Family::Ipv6, 3, 58),
    sort("raw4 other", Family::Ipv4, 3, 89),
    sort("raw6 other", Family::Ipv6, 3, 89),
    sort("raw4 headers", Family::Ipv4, 3, 255),
    sort("raw6 headers", Family::Ipv6, 3, 255),
    sort("ping4", Family::Ipv4, 2, 1),
    sort("ping6", Family::Ipv6, 2, 58),
];

impl Sort {
    fn of_the_kernel(self) -> Result<OwnedFd, Errno> {
        let family = if self.family == Family::Ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = SocketType::from_raw(self.kind as u32);
        let protocol = Protocol::from_raw(core::num::NonZero::new(self.protocol as u32).unwrap());
        rustix::net::socket(family, kind, Some(protocol))
    }
}

/// Our side: a stack with the kernel's loopback interface as its port.
struct Ours {
    node: Node,
    links: Links,
    arena: Arena,
}

impl Ours {
    fn new() -> Ours {
        let mut port = Interface::new(PortId::FIRST, "lo", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
        port.ipv4.push("127.0.0.1/8".parse().unwrap());
        // As in Linux, every address of 127.0.0.0/8 is its own; that one is asked for below.
        port.ipv4.push("127.0.0.0/32".parse().unwrap());
        port.ipv6.push("::1/128".parse().unwrap());
        let ports = vec![port];
        let routes = rib(&ports, &[]).unwrap().reader();
        let node = Node::with(NodeSettings::default(), ports, routes.unwrap()).unwrap();
        let links = Links(vec![Link { port: PortId::FIRST, name: "lo".to_owned(), number: 1 }]);
        let geometry = Geometry { slots: 64, calls: 64, rx_bytes: 4096, tx_bytes: 4096, workers: 1 };
        let (arena, _memory) = Arena::create(geometry).unwrap();
        Ours { node, links, arena }
    }

    /// One call with a host.
    fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Host<'_, '_, flumen_stack::frame::heap::HeapPool, NoProbe>, &About<'_>) -> T,
    ) -> T {
        let Node { stack, pool, egress, .. } = &mut self.node;
        let mut turn = Turn { now: Instant::ZERO, pool, egress, probe: &mut NoProbe };
        let mut host = Host { stack, turn: &mut turn };
        call(&mut host, &About { links: &self.links, cell: self.arena.cell(0) })
    }

    fn open(&mut self, sort: Sort) -> Socket {
        let kind = self.with(|host, _| match (sort.kind, sort.protocol) {
            (1, _) => Kind::TcpClosed,
            (2, 17) => Kind::Udp(host.stack.udp_open(sort.family, Owner(1)).unwrap()),
            (2, 136) => Kind::Udp(host.stack.udplite_open(sort.family, Owner(1)).unwrap()),
            (2, _) => Kind::Ping(host.stack.ping_open(sort.family, Owner(1)).unwrap()),
            (_, protocol) => Kind::Raw(host.stack.raw_open(sort.family, protocol as u8, Owner(1)).unwrap()),
        });
        let user = Credentials { uid: rustix::process::getuid().as_raw(), gid: 0, pid: 0 };
        let home = Place { program: 0, slot: 0 };
        Socket { protocol: sort.protocol, ..Socket::new(kind, sort.family, user, home, 0) }
    }

    fn close(&mut self, socket: &Socket) {
        self.with(|host, _| match socket.kind {
            Kind::Udp(handle) => host.stack.udp_close(host.turn, handle),
            Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_close(host.turn, handle),
            Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => {}
        });
    }
}

/// What reading gives: an error, or a length and bytes.
type Read = Result<(usize, Vec<u8>), Errno>;

fn read_kernel(socket: &OwnedFd, level: i32, name: i32, longest: usize) -> Read {
    let mut value = vec![0xee; longest];
    let len = kernel::get_option(socket, level, name, &mut value)?;
    value.truncate(len);
    Ok((len, value))
}

fn read_ours(ours: &mut Ours, socket: &mut Socket, level: i32, name: i32, longest: usize) -> Read {
    let mut out = [0; CALL_DATA];
    let given = vec![0xee; longest];
    let len = ours.with(|host, about| get(host, about, socket, (level, name), longest, &given, &mut out))?;
    Ok((len, out[..len].to_vec()))
}

/// Numbers at the edges of bounds.
const EDGES: [i32; 40] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    16,
    31,
    63,
    64,
    87,
    88,
    100,
    120,
    127,
    128,
    254,
    255,
    256,
    257,
    300,
    536,
    1279,
    1280,
    2303,
    4096,
    32_767,
    32_768,
    65_535,
    65_536,
    200_000,
    4 << 20,
    (4 << 20) + 1,
    i32::MAX,
    -1,
    -2,
    i32::MIN,
];

/// Values to be set: numbers, and lengths that are wrong for numbers.
fn values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = EDGES.iter().map(|edge| edge.to_ne_bytes().to_vec()).collect();
    for len in [0, 1, 2, 3, 5, 7, 8, 12, 15, 16, 20, 32, 64] {
        values.push(vec![0; len]);
        values.push(vec![1; len]);
    }
    // Times: seconds and microseconds.
    for (seconds, micros) in
        [(1i64, 1i64), (0, 4001), (3, 999_999), (0, 1_000_000), (0, -1), (-1, 0), (i64::MAX, 0)]
    {
        values.push([seconds.to_ne_bytes(), micros.to_ne_bytes()].concat());
    }
    // On and off with a number behind (struct linger), and names.
    for (on, number) in [(1, 5), (0, 9), (1, 0), (1, -1), (7, 70_000)] {
        values.push([i32::to_ne_bytes(on), i32::to_ne_bytes(number)].concat());
    }
    for name in [
        &b"lo"[..],
        b"lo\0",
        b"lo\0junk",
        b"nosuch0",
        b"reno",
        b"cubic\0",
        b"bbr",
        b"a name that is longer than any",
    ] {
        values.push(name.to_vec());
    }
    values
}

/// True for an option that is not compared: it differs and the table says why, or the library asks the kernel.
fn is_apart(level: i32, name: i32, facts: &Facts) -> bool {
    let the_library = |row: &table::Row| row.standing == Standing::Library && row.name.ends_with("COOKIE");
    let zero_copy = (level, name) == (table::TCP, 35);
    let row = table::find(level, name, facts.kinds);
    zero_copy || row.is_some_and(|row| !row.differs.is_empty() || the_library(row))
}

/// What of an answer is compared: all, but for times that the kernel takes from its clock.
fn comparable(level: i32, name: i32, read: Read) -> Read {
    read.map(|(len, mut bytes)| {
        if (level, name) == (table::TCP, 11) {
            bytes.iter_mut().skip(44).take(16).for_each(|byte| *byte = 0);
        }
        (len, bytes)
    })
}

/// One option of one kind of socket: reading in all lengths, setting all values, reading them back.
fn compare(ours: &mut Ours, sort: Sort, level: i32, name: i32, thorough: bool, report: &mut String) {
    let kernels = sort.of_the_kernel().unwrap();
    let mut socket = ours.open(sort);
    if !HOSTS_OWN.contains(&(level, name)) {
        for longest in [0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 32, 36, 100, 300] {
            let linux = comparable(level, name, read_kernel(&kernels, level, name, longest));
            let flumen = comparable(level, name, read_ours(ours, &mut socket, level, name, longest));
            if linux != flumen {
                let _infallible = writeln!(
                    report,
                    "{}: get ({level}, {name}) of {longest} bytes: Linux {linux:?}, Flumen {flumen:?}",
                    sort.name
                );
                break;
            }
        }
    }
    ours.close(&socket);
    let all = values();
    let few = [vec![], vec![1], 1i32.to_ne_bytes().to_vec(), vec![0; 64]];
    let values = if thorough { all.as_slice() } else { few.as_slice() };
    for value in values {
        let index = value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if INTERFACES.contains(&(level, name)) && (2..256).contains(&index) {
            continue;
        }
        // Whether a group is left that was not joined, or one that no route leads to.
        if (level, name) == (table::IP, 36) && value.len() >= 8 {
            continue;
        }
        let kernels = sort.of_the_kernel().unwrap();
        let mut socket = ours.open(sort);
        let linux = kernel::set_option(&kernels, level, name, value);
        let flumen = ours.with(|host, about| set(host, about, &mut socket, level, name, value));
        // The host may keep algorithms from users (`net.ipv4.tcp_allowed_congestion_control`).
        if HOSTS_OWN.contains(&(level, name)) && linux == Err(Errno::PERM) {
            continue;
        }
        let mut differs = linux != flumen;
        let _infallible = if differs {
            writeln!(
                report,
                "{}: set ({level}, {name}) {value:?}: Linux {linux:?}, Flumen {flumen:?}",
                sort.name
            )
        } else {
            Ok(())
        };
        // What was set, and what else may have changed with it.
        for (level, name) in [(level, name), (table::SOCKET, 12), (table::SOCKET, 72)] {
            if differs
                || ((linux.is_err() || name == 26) && HOSTS_OWN.contains(&(level, name)))
                || is_apart(level, name, &Facts::of(&socket))
            {
                continue;
            }
            let linux = comparable(level, name, read_kernel(&kernels, level, name, 300));
            let flumen = comparable(level, name, read_ours(ours, &mut socket, level, name, 300));
            if linux != flumen {
                differs = true;
                let _infallible = writeln!(
                    report,
                    "{}: get ({level}, {name}) after {value:?}: Linux {linux:?}, Flumen {flumen:?}",
                    sort.name
                );
            }
        }
        ours.close(&socket);
        if differs && report.len() > 400_000 {
            return;
        }
    }
}

/// A stack, unoptimised, is more than a test's thread has room for.
#[test]
fn every_option_is_set_read_and_refused_as_by_the_kernel() {
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    thread.spawn(compare_all).unwrap().join().unwrap();
}

fn compare_all() {
    let mut ours = Ours::new();
    let mut report = String::new();
    let mut compared = 0;
    for sort in SORTS {
        if let Err(error) = sort.of_the_kernel() {
            eprintln!("{} sockets are left out: {error}", sort.name);
            continue;
        }
        for level in LEVELS {
            for name in 0..NUMBERS {
                let socket = ours.open(sort);
                let facts = Facts::of(&socket);
                ours.close(&socket);
                if is_apart(level, name, &facts) {
                    continue;
                }
                compared += 1;
                let known = table::find(level, name, facts.kinds).is_some();
                compare(&mut ours, sort, level, name, known, &mut report);
            }
        }
    }
    assert!(compared > 3000, "only {compared} options were compared");
    assert!(report.is_empty(), "Linux and Flumen differ:\n{report}");
}

#[test]
fn the_page_about_socket_options_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/socket-options.md");
    if std::env::var_os("FLUMEN_REWRITE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "run it with FLUMEN_REWRITE=1: {} is old", path.display());
}
