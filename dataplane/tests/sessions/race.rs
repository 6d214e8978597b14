//! A hostile program whose threads write anything anywhere into its memory while turns of the service run: what is looked at changes
//! between two looks. Other programs' streams, accepts and datagrams go on, byte for byte, on one worker and on two.

use crate::client::{Client, House, house};
use crate::pair::{Pair, pair};
use crate::scribbler::{Random, Scribbler, scribble};
use crate::workers::Rig;
use core::time::Duration;
use flumen::session::policy::Claim;
use flumen_ipc::message::{Address, RECEIVED_HEAD, Received, ToSend};
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
            let mut one = Scribbler { arena, random: Random(seed) };
            while stop.load(Relaxed) == 0 {
                one.strike();
                strikes.fetch_add(1, Relaxed);
            }
        });
        scope.spawn(move || {
            let mut random = Random(!seed);
            while stop.load(Relaxed) == 0 {
                scribble(&mut random, file, size);
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
