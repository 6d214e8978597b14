//! Programs whose sockets live on two workers. Even ports live on worker 0, which has the lan, odd ones on worker 1, which has
//! the wan.

use crate::client::{Client, process};
use crate::workers::{LAN, Parts, Peer, Rig, WAN, rib, udp, wire};
use core::time::Duration;
use flumen::handoff::{Doorbell, channel};
use flumen::session::order::{self, ControlEnds, Done, Order};
use flumen::session::policy::{Claim, LowPorts, Policy};
use flumen::session::program::Program;
use flumen::session::{Sessions, Settings, links};
use flumen::worker::Way;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::{Address, Received, ToSend};
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Flags, Geometry, Op, ServicePage};
use flumen_stack::Counter;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::socket::homes::{Home, PortHomes};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use zerocopy::{FromBytes, IntoBytes};

const GEOMETRY: Geometry =
    Geometry { slots: 64, calls: 64, rx_bytes: 131_072, tx_bytes: 131_072, workers: 2 };

pub struct Pair {
    pub rigs: [Rig; 2],
    control: [ControlEnds; 2],
    page: ServicePage,
    allocations: u64,
    arenas: Vec<OwnedFd>,
    peers: [Peer; 2],
}

pub fn pair(claim: Claim) -> Pair {
    let ((lan, lan_peer), (wan, wan_peer)) = (wire(LAN, 256), wire(WAN, 256));
    let bells = [Doorbell::new().unwrap(), Doorbell::new().unwrap()];
    let (to_one, from_zero) = channel(1024, bells[1].clone());
    let (to_zero, from_one) = channel(1024, bells[0].clone());
    let rib = rib();
    let parts = |number: usize, queue, ways, to_others, from_others| Parts {
        number,
        queues: vec![queue],
        ways,
        to_others,
        from_others,
        bell: bells[number].clone(),
        by_flow: 0,
        fragments: 0,
        groups: true,
        neighbours: NeighbourConfig::default(),
    };
    let zero =
        parts(0, lan, vec![Way::Own(0), Way::Other(1)], vec![None, Some(to_one)], vec![from_one]).build(&rib);
    let one = parts(1, wan, vec![Way::Other(0), Way::Own(0)], vec![Some(to_zero), None], vec![from_zero])
        .build(&rib);
    let (page, page_fd) = ServicePage::create().unwrap();
    let page = Arc::new(page);
    let answered = Arc::new(Bell::new().unwrap());
    let homes = Arc::new(PortHomes::default());
    let mut rigs = [zero, one];
    let control = core::array::from_fn(|worker| {
        let (control, ends) = order::channel(&answered).unwrap();
        let policy = Policy { claim, low_ports: LowPorts::All, ..Policy::default() };
        let settings = Settings {
            worker,
            cpu: worker,
            programs: 8,
            sockets: 512,
            policy,
            links: links::Links(Vec::new()),
            listen: flumen_stack::tcp::listen::ListenSettings::default(),
        };
        let stack = &mut rigs[worker].worker.stack;
        stack.set_loopback(claim == Claim::All);
        stack.set_home(&Home::new(Arc::clone(&homes), worker, 2).unwrap());
        rigs[worker].worker.sessions = Some(Box::new(Sessions::new(settings, Arc::clone(&page), ends)));
        control
    });
    let page = ServicePage::open(page_fd).unwrap();
    Pair { rigs, control, page, allocations: 0, arenas: Vec::new(), peers: [lan_peer, wan_peer] }
}

impl Pair {
    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            for rig in &mut self.rigs {
                let counted = allocation_counter::measure(|| {
                    rig.worker.turn();
                });
                self.allocations += counted.count_total;
            }
        }
    }

    fn make(&mut self, uid: u32, order: impl Fn(Box<Program>) -> Order) -> Client {
        let (client, shared, fd) = process(self.arenas.len() as u16, GEOMETRY, uid);
        self.arenas.push(fd);
        for control in &mut self.control {
            control.orders.push(order(Box::new(Program::new(client.place, &shared)))).unwrap();
        }
        self.turns(1);
        for control in &mut self.control {
            assert!(matches!(control.done.pop(), Ok(Done::Attached(place)) if place == client.place));
        }
        client
    }

    fn attach(&mut self) -> Client {
        self.attach_as(0)
    }

    pub fn attach_as(&mut self, uid: u32) -> Client {
        self.make(uid, Order::Attach)
    }

    /// The memory of a program, mapped by another.
    pub fn memory_of(&self, place: u16) -> (Arena, OwnedFd) {
        let fd = self.arenas[usize::from(place)].try_clone().unwrap();
        (Arena::open(&fd, GEOMETRY).unwrap(), fd)
    }

    fn fork(&mut self, parent: &Client) -> Client {
        self.make(0, |program| Order::Inherit(program, parent.place))
    }

    pub fn kill(&mut self, client: &Client) {
        for control in &mut self.control {
            control.orders.push(Order::Detach(client.place)).unwrap();
        }
        self.turns(6);
    }

    /// Which of the workers gave the tables of a program back.
    fn gone(&mut self, client: &Client) -> [bool; 2] {
        core::array::from_fn(|worker| {
            let done = self.control[worker].done.pop();
            matches!(done, Ok(Done::Gone(program)) if program.place == client.place)
        })
    }

    pub fn call_with(
        &mut self,
        client: &Client,
        worker: usize,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
    ) -> (i64, Vec<u8>) {
        let call = client.arena.call(7);
        assert!(call.claim());
        call.submit(op, slot, args, data);
        client.arena.call_marks(worker).mark(7);
        self.turns(2);
        let result = call.wait(false, || false).unwrap();
        let mut out = [0; CALL_DATA];
        let len = call.answer_data(&mut out);
        call.release();
        (result, out[..len].to_vec())
    }

    fn call(&mut self, client: &Client, worker: usize, op: Op, slot: u32, args: [u64; 4]) -> i64 {
        self.call_with(client, worker, op, slot, args, &[]).0
    }

    fn at(&mut self, client: &Client, worker: usize, op: Op, slot: u32, at: &str) -> i64 {
        let at: SocketAddr = at.parse().unwrap();
        self.call_with(client, worker, op, slot, [0; 4], Address::from(at).as_bytes()).0
    }

    fn try_open(&mut self, client: &Client, worker: usize, slot: u32, kind: i32) -> i64 {
        let args = [libc::AF_INET as u64, kind as u64, 0, 1000 + u64::from(slot)];
        self.call(client, worker, Op::Open, slot, args)
    }

    fn open(&mut self, client: &Client, worker: usize, slot: u32, kind: i32) {
        assert_eq!(self.try_open(client, worker, slot, kind), 0);
    }

    fn name(&mut self, client: &Client, worker: usize, slot: u32, peer: bool) -> SocketAddr {
        let (result, data) = self.call_with(client, worker, Op::Name, slot, [u64::from(peer), 0, 0, 0], &[]);
        assert_eq!(result, 0);
        Address::read_from_bytes(&data).unwrap().to_std().unwrap()
    }

    /// A listener of one program in its slot 1, its connection in slot 2, and the connection of another in its slot 1, on another
    /// worker than the listener.
    fn connected(&mut self, server: &Client, client: &Client, at: &str) -> (usize, usize) {
        let port = at.parse::<SocketAddr>().unwrap().port();
        let home = usize::from(port % 2);
        let other = 1 - home;
        self.open(server, home, 1, libc::SOCK_STREAM);
        assert_eq!(self.at(server, home, Op::Bind, 1, at), 0);
        assert_eq!(self.call(server, home, Op::Listen, 1, [16, 0, 0, 0]), 0);
        self.open(client, other, 1, libc::SOCK_STREAM);
        assert_eq!(self.at(client, other, Op::Connect, 1, at), -i64::from(libc::EINPROGRESS));
        self.turns(8);
        assert!(client.flags(1).contains(Flags::CONNECTED), "{:?}", client.flags(1));
        assert_eq!(self.call(server, home, Op::Accept, 1, [2, 77, 0, 0]), 0);
        (home, other)
    }

    fn write(&mut self, client: &Client, worker: usize, slot: u32, bytes: &[u8]) -> usize {
        let count = client.write(slot, bytes);
        client.arena.kicks(worker).mark(slot);
        count
    }

    fn read(&mut self, client: &Client, worker: usize, slot: u32) -> Vec<u8> {
        let bytes = client.read(slot, usize::MAX);
        client.arena.kicks(worker).mark(slot);
        bytes
    }

    fn close(&mut self, client: &Client, worker: usize, slot: u32) {
        client.arena.closes(worker).mark(slot);
        self.turns(1);
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.rigs.iter().map(|rig| rig.worker.stack.counters.get(counter)).sum()
    }
}

#[test]
fn programs_on_different_workers_talk_at_their_own_addresses_and_over_loopback() {
    for at in ["10.0.1.1:8080", "10.0.1.1:8081", "10.0.2.1:8080", "127.0.0.1:8080", "127.0.0.1:8081"] {
        let mut pair = pair(Claim::All);
        let (server, client) = (pair.attach(), pair.attach());
        let (home, other) = pair.connected(&server, &client, at);
        pair.allocations = 0;
        assert_eq!(
            usize::from(pair.name(&client, other, 1, false).port()) % 2,
            other,
            "a port of its own worker"
        );
        assert_eq!(pair.name(&server, home, 2, true), pair.name(&client, other, 1, false));
        let long: Vec<u8> = (0..400_000u32).map(|number| (number % 251) as u8).collect();
        let (mut sent, mut received) = (0, Vec::new());
        for _ in 0..2000 {
            sent += pair.write(&client, other, 1, &long[sent..]);
            pair.turns(1);
            received.extend(pair.read(&server, home, 2));
            if received.len() == long.len() {
                break;
            }
        }
        assert!(received == long, "{} of {} bytes", received.len(), long.len());
        pair.write(&server, home, 2, b"an answer");
        pair.turns(4);
        assert_eq!(pair.read(&client, other, 1), b"an answer");
        pair.close(&client, other, 1);
        pair.turns(4);
        assert!(server.flags(2).contains(Flags::READ_END) && server.error(2) == 0);
        assert!(pair.counted(Counter::TakenOver) > 100);
        assert_eq!(pair.allocations, 0);
    }
}

#[test]
fn who_may_bind_is_decided_where_the_port_lives() {
    let mut pair = pair(Claim::Owned);
    let (one, two) = (pair.attach(), pair.attach());
    let in_use = -i64::from(libc::EADDRINUSE);
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        let base = if kind == libc::SOCK_STREAM { 0 } else { 10 };
        pair.open(&one, 0, base, kind);
        assert_eq!(pair.at(&one, 0, Op::Bind, base, "10.0.1.1:8080"), 0);
        pair.open(&two, 0, base, kind);
        assert_eq!(pair.at(&two, 0, Op::Bind, base, "0.0.0.0:8080"), in_use);
        pair.open(&two, 1, base + 1, kind);
        let elsewhere = -i64::from(libc::EADDRNOTAVAIL);
        assert_eq!(pair.at(&two, 1, Op::Bind, base + 1, "0.0.0.0:8080"), elsewhere, "it is not asked there");
        // Whose port it is not finds another of its own.
        assert_eq!(pair.at(&two, 1, Op::Bind, base + 1, "0.0.0.0:0"), 0);
        assert_eq!(pair.name(&two, 1, base + 1, false).port() % 2, 1);
        for (program, slot) in [(&one, base + 2), (&two, base + 2)] {
            pair.open(program, 1, slot, kind);
            let reuse = [libc::SOL_SOCKET as u64, libc::SO_REUSEPORT as u64, 0, 0];
            assert_eq!(pair.call_with(program, 1, Op::SetOption, slot, reuse, &1i32.to_ne_bytes()).0, 0);
            assert_eq!(pair.at(program, 1, Op::Bind, slot, "10.0.1.1:8081"), 0, "both share it");
        }
        pair.close(&one, 0, base);
        assert_eq!(pair.at(&two, 0, Op::Bind, base, "0.0.0.0:8080"), 0, "nobody has it any more");
    }
}

#[test]
fn datagrams_of_the_wire_reach_a_socket_of_the_worker_that_they_did_not_come_in_at() {
    let mut pair = pair(Claim::Owned);
    let client = pair.attach();
    pair.open(&client, 1, 1, libc::SOCK_DGRAM);
    assert_eq!(pair.at(&client, 1, Op::Bind, 1, "0.0.0.0:5353"), 0);
    for rig in &mut pair.rigs {
        rig.introduce(LAN, "10.0.1.2", 2);
    }
    assert!(pair.peers[LAN].send(&udp("10.0.1.2", "10.0.1.1", [4000, 5353], 64, b"a question")));
    pair.turns(3);
    let bytes = pair.read(&client, 1, 1);
    let (head, payload) = Received::read_from_prefix(&bytes).unwrap();
    assert_eq!(
        (head.from.to_std(), &payload[..10]),
        (Some("10.0.1.2:4000".parse().unwrap()), &b"a question"[..])
    );
    let to = Address::from("10.0.1.2:4000".parse::<SocketAddr>().unwrap());
    let record = ToSend { len: 9, to, ..ToSend::default() };
    pair.write(&client, 1, 1, &[record.as_bytes(), b"an answer"].concat());
    pair.turns(3);
    let sent = pair.peers[LAN].receive();
    assert!(sent.iter().any(|frame| frame.ends_with(b"an answer")), "by the port of the other worker");
}

#[test]
fn a_program_that_ends_leaves_nothing_on_any_worker() {
    let mut pair = pair(Claim::Owned);
    let (server, client) = (pair.attach(), pair.attach());
    let (home, other) = pair.connected(&server, &client, "10.0.1.1:8080");
    pair.write(&client, other, 1, b"never read");
    // More of it on both workers.
    for worker in [0, 1] {
        pair.open(&server, worker, 20 + worker as u32, libc::SOCK_DGRAM);
    }
    let count = |pair: &Pair| pair.rigs.each_ref().map(|rig| rig.worker.sessions.as_ref().unwrap().sockets());
    assert_eq!(count(&pair), [3, 2]);
    assert_eq!([0, 1].map(|worker| pair.page.words().sockets[worker].load(Relaxed)), [3, 2]);
    assert_eq!(pair.page.least_busy(2), 1);
    pair.turns(4);
    pair.kill(&server);
    assert_eq!(pair.gone(&server), [true, true]);
    assert_eq!(count(&pair), [0, 1], "the client's, on worker {other}");
    assert_eq!((home, client.error(1)), (0, libc::ECONNRESET));
    pair.kill(&client);
    assert_eq!((pair.gone(&client), count(&pair)), ([true, true], [0, 0]));
}

#[test]
fn a_child_has_its_parents_sockets_on_all_workers_and_no_two_sockets_have_one_home() {
    let mut pair = pair(Claim::Owned);
    let parent = pair.attach();
    for (slot, at) in [(0, "10.0.1.1:5000"), (1, "10.0.1.1:5001")] {
        pair.open(&parent, slot as usize, slot, libc::SOCK_DGRAM);
        assert_eq!(pair.at(&parent, slot as usize, Op::Bind, slot, at), 0);
    }
    let child = pair.fork(&parent);
    assert_eq!(pair.name(&child, 0, 0, false).port(), 5000);
    assert_eq!(pair.name(&child, 1, 1, false).port(), 5001);
    pair.close(&parent, 0, 0);
    let busy = -i64::from(libc::EBUSY);
    assert_eq!(pair.try_open(&parent, 1, 0, libc::SOCK_DGRAM), busy, "the child's socket is at home in it");
    pair.close(&child, 0, 0);
    assert_eq!(pair.try_open(&parent, 1, 0, libc::SOCK_DGRAM), 0, "and is closed");
    pair.kill(&parent);
    assert_eq!(pair.gone(&parent), [true, false], "worker 1 has a socket of the child's in its memory");
    pair.kill(&child);
    let mut left: Vec<u16> = Vec::new();
    for control in &mut pair.control {
        while let Ok(Done::Gone(program)) = control.done.pop() {
            left.push(program.place);
        }
    }
    left.sort_unstable();
    assert_eq!(left, [parent.place, child.place, child.place]);
}

#[test]
fn the_worker_that_has_a_socket_gives_it_to_who_adopts_it() {
    let mut pair = pair(Claim::Owned);
    let (old, new) = (pair.attach(), pair.attach());
    pair.open(&old, 1, 3, libc::SOCK_DGRAM);
    assert_eq!(pair.at(&old, 1, Op::Bind, 3, "10.0.1.1:5001"), 0);
    assert_eq!(pair.call(&old, 1, Op::Hold, 3, [0; 4]), 0);
    pair.kill(&old);
    assert_eq!(pair.gone(&old), [true, false]);
    for control in &mut pair.control {
        control.orders.push(Order::Adopt { program: new.place, slot: 9, cookie: 1003, maker: 0 }).unwrap();
    }
    pair.turns(1);
    assert!(matches!(pair.control[0].done.pop(), Ok(Done::Adopted(_, Ok(None)))));
    let found = pair.control[1].done.pop();
    let Ok(Done::Adopted(place, Ok(Some(found)))) = found else { panic!("{found:?}") };
    assert_eq!((place, found.worker, found.home, found.slot), (new.place, 1, old.place, 3));
    assert_eq!(pair.name(&new, 1, 9, false).port(), 5001);
    pair.rigs[1].worker.clock.0 -= Duration::from_secs(60);
    pair.turns(2);
    assert_eq!(pair.name(&new, 1, 9, false).port(), 5001, "nobody waits for it any more");
}
