//! A hostile program whose threads write anything anywhere into its memory while turns of the service run: what is looked at changes
//! between two looks. Other programs' streams, accepts and datagrams go on, byte for byte, on one worker and on two.

use crate::client::{Client, House, house};
use crate::hostile::Random;
use crate::pair::{Pair, pair};
use crate::workers::Rig;
use core::time::Duration;
use flumen::session::policy::Claim;
use flumen_ipc::message::{Address, RECEIVED_HEAD, Received, TO_SEND_HEAD, ToSend};
use flumen_ipc::{Arena, Flags, Op};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use zerocopy::{FromBytes, IntoBytes};

/// What both kinds of houses can do.
trait Service {
    fn turn(&mut self);
    fn rigs(&mut self) -> &mut [Rig];
    fn call(&mut self, client: &Client, worker: usize, asked: (Op, u32, [u64; 4]), data: &[u8]) -> i64;
    fn join(&mut self, uid: u32) -> Client;
    fn end(&mut self, client: &Client);
    fn memory(&self, client: &Client) -> (Arena, std::os::fd::OwnedFd);
}

impl Service for House {
    fn turn(&mut self) {
        self.turns(1);
    }
    fn rigs(&mut self) -> &mut [Rig] {
        core::slice::from_mut(&mut self.rig)
    }
    fn call(&mut self, client: &Client, _: usize, (op, slot, args): (Op, u32, [u64; 4]), data: &[u8]) -> i64 {
        self.call_with(client, op, slot, args, data).0
    }
    fn join(&mut self, uid: u32) -> Client {
        self.attach(uid)
    }
    fn end(&mut self, client: &Client) {
        self.kill(client);
    }
    fn memory(&self, client: &Client) -> (Arena, std::os::fd::OwnedFd) {
        (self.map(client.place), self.file(client.place))
    }
}

impl Service for Pair {
    fn turn(&mut self) {
        self.turns(1);
    }
    fn rigs(&mut self) -> &mut [Rig] {
        &mut self.rigs
    }
    fn call(
        &mut self,
        client: &Client,
        worker: usize,
        (op, slot, args): (Op, u32, [u64; 4]),
        data: &[u8],
    ) -> i64 {
        self.call_with(client, worker, op, slot, args, data).0
    }
    fn join(&mut self, uid: u32) -> Client {
        self.attach_as(uid)
    }
    fn end(&mut self, client: &Client) {
        self.kill(client);
    }
    fn memory(&self, client: &Client) -> (Arena, std::os::fd::OwnedFd) {
        self.memory_of(client.place)
    }
}

fn address(at: &str) -> Address {
    Address::from(at.parse::<SocketAddr>().unwrap())
}

/// Writes anything anywhere, as fast as it can.
struct Hostile<'a> {
    arena: &'a Arena,
    random: Random,
    workers: u64,
}

impl Hostile<'_> {
    /// A number that is wrong, or nearly right.
    fn word(&mut self, near: u64) -> u64 {
        let choices = [0, 1, u64::MAX, u64::MAX - 5, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 63];
        match self.random.below(4) {
            0 => choices[self.random.below(choices.len() as u64) as usize],
            1 => self.random.next(),
            _ => near.wrapping_add(self.random.below(131_074)),
        }
    }

    fn worker(&mut self) -> usize {
        self.random.below(self.workers) as usize
    }

    fn strike(&mut self) {
        let most = [64, 8, 8][self.random.below(3) as usize];
        let slot = self.random.below(most) as u32;
        let (cell, ring, worker) = (self.arena.cell(slot), self.arena.tx(slot), self.worker());
        match self.random.below(9) {
            0 => cell.program.rx_head.store(self.word(cell.program.rx_head.load(Relaxed)), SeqCst),
            1 => cell.program.tx_tail.store(self.word(cell.worker.tx_head.load(Relaxed)), SeqCst),
            2 => {
                let words =
                    [&cell.worker.rx_tail, &cell.worker.tx_head, &cell.worker.tx_limit, &cell.worker.told];
                words.iter().for_each(|word| word.store(self.word(0), SeqCst));
                let halves = [&cell.worker.flags, &cell.worker.seq, &cell.worker.state, &cell.error];
                halves.iter().for_each(|word| word.store(self.random.next() as u32, SeqCst));
            }
            3 => {
                let program = &cell.program;
                let halves = [&program.open_flags, &program.readers, &program.writers, &program.rx_lock];
                halves.iter().for_each(|word| word.store(self.random.next() as u32, SeqCst));
            }
            4 => self.ask(worker, slot),
            5 => {
                let number = self.random.next() as u32;
                self.arena.closes(worker).mark(number);
                self.arena.call_marks(worker).mark(number);
                self.arena.news().mark(number);
            }
            6 => {
                // A record whose length changes while it is looked at.
                let at = cell.worker.tx_head.load(Relaxed);
                let to = if self.random.below(2) == 0 { Address::NONE } else { address("10.0.1.1:9001") };
                for turn in 0..8u32 {
                    let lengths = [16, u32::MAX, 0, 65_536, u32::MAX - 71, 60_000, 17, 65_535];
                    let flags = self.random.next() as u32;
                    let segment = self.random.below(3) as u16;
                    let len = lengths[turn as usize];
                    ring.copy_in(at, ToSend { len, flags, to, segment, ..ToSend::default() }.as_bytes());
                    let tail = at.wrapping_add(TO_SEND_HEAD as u64 + [16, 4096, 65_536][turn as usize % 3]);
                    cell.program.tx_tail.store(tail, SeqCst);
                    self.arena.kicks(worker).mark(slot);
                }
            }
            7 if self.random.below(2) == 0 => self.arena.head().lie_down(),
            7 => self.arena.head().get_up(),
            _ => {
                self.arena.kicks(worker).mark(slot);
            }
        }
    }

    /// A call of any kind, the slot claimed or not. What it names are ports of its own.
    fn ask(&mut self, worker: usize, slot: u32) {
        let number = self.random.below(64) as u32;
        let op = Op::from_number(self.random.below(20) as u32).unwrap_or(Op::Open);
        let kinds = [1, 2, 3, 5, u64::MAX];
        let args = match (op, self.random.below(3)) {
            (Op::Open, 0..2) => [2 + 8 * self.random.below(2), kinds[self.random.below(5) as usize], 0, 7],
            (_, 0) => [(); 4].map(|()| self.random.below(70)),
            _ => [(); 4].map(|()| self.random.next()),
        };
        let port = 9000 + self.random.below(8) as u16;
        let mut at =
            address(["10.0.1.1:1", "0.0.0.0:1", "[::ffff:10.0.1.1]:1"][self.random.below(3) as usize]);
        at.port = port;
        let noise: Vec<u8> = (0..self.random.below(2000)).map(|_| self.random.next() as u8).collect();
        let data = if self.random.below(2) == 0 { at.as_bytes() } else { &noise };
        self.arena.call(number).submit(op, slot, args, data);
        self.arena.call_marks(worker).mark(number);
    }
}

/// Bytes that tell where they stand.
fn pattern(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// One direction of a stream.
#[derive(Default)]
struct Flow {
    sent: u64,
    received: u64,
}

/// A socket of a program, and the worker that it lives on.
#[derive(Clone, Copy)]
struct End<'a> {
    client: &'a Client,
    worker: usize,
    slot: u32,
}

impl End<'_> {
    fn write(self, bytes: &[u8]) -> usize {
        let count = self.client.write(self.slot, bytes);
        self.client.arena.kicks(self.worker).mark(self.slot);
        count
    }

    fn read(self, most: usize) -> Vec<u8> {
        let bytes = self.client.read(self.slot, most);
        self.client.arena.kicks(self.worker).mark(self.slot);
        bytes
    }

    fn datagram(self) -> Option<Vec<u8>> {
        (self.client.arena.cell(self.slot).readable() > 0).then(|| {
            let head = Received::read_from_bytes(&self.read(RECEIVED_HEAD)).unwrap();
            self.read(head.len.into())
        })
    }

    fn close(self) {
        self.client.arena.closes(self.worker).mark(self.slot);
    }
}

impl Flow {
    fn go(&mut self, from: End<'_>, to: End<'_>, most: u64) {
        self.sent += from.write(&pattern(self.sent, most)) as u64;
        let came = to.read(usize::MAX);
        assert!(came == pattern(self.received, came.len() as u64), "bytes from {} on", self.received);
        self.received += came.len() as u64;
    }
}

fn open(service: &mut dyn Service, end: End<'_>, kind: i32) {
    let args = [libc::AF_INET as u64, kind as u64, 0, u64::from(end.slot) + 1000];
    assert_eq!(service.call(end.client, end.worker, (Op::Open, end.slot, args), &[]), 0);
}

fn at(service: &mut dyn Service, end: End<'_>, op: Op, at: &str) -> i64 {
    service.call(end.client, end.worker, (op, end.slot, [0; 4]), address(at).as_bytes())
}

/// A connection to the listener, taken into a slot.
fn connect(service: &mut dyn Service, from: End<'_>, listener: End<'_>, to: End<'_>) {
    open(service, from, libc::SOCK_STREAM);
    assert_eq!(at(service, from, Op::Connect, "10.0.1.1:8080"), -i64::from(libc::EINPROGRESS));
    for _ in 0..1000 {
        service.turn();
        let args = [u64::from(to.slot), 77, 0, 0];
        let taken = service.call(listener.client, listener.worker, (Op::Accept, listener.slot, args), &[]);
        if taken == 0 {
            assert!(from.client.flags(from.slot).contains(Flags::CONNECTED));
            return;
        }
        assert_eq!(taken, -i64::from(libc::EAGAIN));
    }
    panic!("nothing to accept");
}

/// What each worker holds: sockets of programs, programs, connections, TIME-WAITs, blocks of memory.
fn held(service: &mut dyn Service) -> Vec<[usize; 5]> {
    let books = |rig: &mut Rig| {
        rig.assert_all_frames_are_free();
        let sessions = rig.worker.sessions.as_ref().unwrap();
        let stack = &rig.worker.stack;
        let (connections, waits) = (stack.tcp.connections(), stack.tcp.time_waits());
        [sessions.sockets(), sessions.programs(), connections, waits, stack.blocks.in_use()]
    };
    service.rigs().iter_mut().map(books).collect()
}

fn later(service: &mut dyn Service, time: Duration) {
    service.rigs().iter_mut().for_each(|rig| rig.worker.clock.0 -= time);
    (0..20).for_each(|_| service.turn());
}

/// Rounds that the others talk, and writes that the hostile one makes meanwhile, at least.
const ROUNDS: u64 = 500;
const STRIKES: u64 = 200_000;

fn others_go_on(service: &mut dyn Service, uid: u32, seed: u64) {
    let workers = service.rigs().len();
    let (server, client) = (service.join(0), service.join(0));
    let end = |client, worker: usize, slot| End { client, worker: worker % workers, slot };
    let listener = end(&server, 0, 1);
    open(service, listener, libc::SOCK_STREAM);
    assert_eq!(at(service, listener, Op::Bind, "10.0.1.1:8080"), 0);
    assert_eq!(service.call(&server, 0, (Op::Listen, 1, [64, 0, 0, 0]), &[]), 0);
    let (near, far) = (end(&client, 1, 1), end(&server, 0, 2));
    connect(service, near, listener, far);
    let datagrams = [end(&server, 5000, 10), end(&client, 5001, 10)];
    for (end, names) in
        datagrams.iter().zip([["10.0.1.1:5000", "10.0.1.1:5001"], ["10.0.1.1:5001", "10.0.1.1:5000"]])
    {
        open(service, *end, libc::SOCK_DGRAM);
        assert_eq!(at(service, *end, Op::Bind, names[0]), 0);
        assert_eq!(at(service, *end, Op::Connect, names[1]), 0);
    }
    later(service, Duration::ZERO);
    let before = held(service);

    let hostile = service.join(uid);
    let (arena, file) = service.memory(&hostile);
    let size = arena.geometry().bytes() as u64;
    let (stop, strikes) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (arena, file, stop, strikes) = (&arena, file.as_fd(), &stop, &strikes);
        // However this ends, the threads end.
        let _stop = Stop(stop);
        scope.spawn(move || {
            let mut one = Hostile { arena, random: Random(seed), workers: workers as u64 };
            while stop.load(Relaxed) == 0 {
                one.strike();
                strikes.fetch_add(1, Relaxed);
            }
        });
        scope.spawn(move || {
            // Most of what matters stands in front of the rings.
            let mut random = Random(!seed);
            while stop.load(Relaxed) == 0 {
                let within = if random.below(4) == 0 { size } else { 400_000 };
                let noise: [u8; 64] = core::array::from_fn(|_| random.next() as u8);
                let bytes = [&noise[..], &[0xff; 64], &[0; 64]][random.below(3) as usize];
                let len = 1 + random.below(64);
                rustix::io::pwrite(file, &bytes[..len as usize], random.below(within - len)).unwrap();
                strikes.fetch_add(1, Relaxed);
            }
        });
        let [mut there, mut back] = [Flow::default(), Flow::default()];
        let mut sent = [0u64; 2];
        let mut received = [0u64; 2];
        let mut round = 0;
        while round < ROUNDS || strikes.load(Relaxed) < STRIKES {
            there.go(near, far, 3000 + round % 997);
            back.go(far, near, 100 + round % 1999);
            for (side, to) in [(0, 1), (1, 0)] {
                // The next one when the last has come: so none is lost for want of room.
                if sent[side] == received[to] {
                    sent[side] += 1;
                    let payload = pattern(sent[side] * 1000, 1 + round * 7 % 9000);
                    let record = ToSend { len: payload.len() as u32 + 8, ..ToSend::default() };
                    datagrams[side].write(&[record.as_bytes(), &sent[side].to_ne_bytes(), &payload].concat());
                }
            }
            service.turn();
            for (side, end) in datagrams.iter().enumerate() {
                while let Some(came) = end.datagram() {
                    received[side] += 1;
                    assert_eq!(came[..8], received[side].to_ne_bytes());
                    assert!(came[8..] == pattern(received[side] * 1000, came.len() as u64 - 8));
                }
            }
            if round % 10 == 0 {
                let ends = [end(&client, round as usize / 10, 5), end(&server, 0, 5)];
                connect(service, ends[0], listener, ends[1]);
                let mut flow = Flow::default();
                flow.go(ends[0], ends[1], 5000);
                while flow.received < flow.sent {
                    service.turn();
                    flow.go(ends[0], ends[1], 0);
                }
                ends.into_iter().for_each(End::close);
            }
            round += 1;
        }
        assert!(
            there.received > 1_000_000 && back.received > 100_000,
            "{} {}",
            there.received,
            back.received
        );
        assert!(received.iter().all(|count| *count > 100), "{received:?}");
        while there.received < there.sent || back.received < back.sent {
            there.go(near, far, 0);
            back.go(far, near, 0);
            service.turn();
        }
        // The process ends; another has its memory still, and writes on while its sockets are closed.
        service.end(&hostile);
        later(service, Duration::from_secs(20));
    });
    later(service, Duration::from_secs(150));
    while datagrams.iter().any(|end| end.datagram().is_some()) {}
    later(service, Duration::ZERO);
    assert_eq!(held(service), before);
}

/// Tells threads to end.
struct Stop<'a>(&'a AtomicU64);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(1, SeqCst);
    }
}

#[test]
fn others_go_on_while_threads_write_anything_anywhere_in_the_middle_of_turns() {
    for seed in 0..4 {
        others_go_on(&mut house(Claim::Owned), 1000 * (seed as u32 % 2), seed);
    }
}

#[test]
fn others_go_on_while_threads_write_anything_anywhere_in_the_middle_of_turns_of_two_workers() {
    for seed in 10..14 {
        others_go_on(&mut pair(Claim::Owned), 1000 * (seed as u32 % 2), seed);
    }
}
