//! A program without a preload library: it speaks over shared memory with a worker that the test turns by hand.

use crate::workers::{LAN, Parts, Peer, Rig, WAN, rib, wire};
use flumen::session::order::{self, ControlEnds, Done, Order};
use flumen::session::policy::{Claim, LowPorts, Policy};
use flumen::session::program::{Program, Shared};
use flumen::session::socket::Credentials;
use flumen::session::waking::Waking;
use flumen::session::{Sessions, Settings, links};
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::Address;
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Flags, Geometry, Op, ServicePage};
use flumen_stack::tcp::listen::ListenSettings;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use zerocopy::{FromBytes, IntoBytes};

pub const GEOMETRY: Geometry =
    Geometry { slots: 64, calls: 64, rx_bytes: 131_072, tx_bytes: 131_072, workers: 1 };

/// A worker that serves programs, and the control thread's ends.
pub struct House {
    pub rig: Rig,
    pub control: ControlEnds,
    _lan: Peer,
    _wan: Peer,
    /// What the worker allocated in all turns.
    pub allocations: u64,
    arenas: Vec<OwnedFd>,
    page: ServicePage,
}

/// A program.
pub struct Client {
    pub place: u16,
    pub arena: Arena,
    pub bell: Bell,
    /// As the workers have it.
    pub waking: Arc<Waking>,
}

/// A process: the program, what workers have of it, and the file of its memory.
pub fn process(place: u16, geometry: Geometry, uid: u32) -> (Client, Shared, OwnedFd) {
    let (arena, fd) = Arena::create(geometry).unwrap();
    let bell = Bell::new().unwrap();
    let its_bell = Bell::from_fd(bell.as_fd().try_clone_to_owned().unwrap());
    let user = Credentials { uid, gid: uid, pid: i32::from(place) + 1000 };
    let shared = Shared::new(arena, bell, user);
    let its_arena = Arena::open(&fd, geometry).unwrap();
    let client = Client { place, arena: its_arena, bell: its_bell, waking: Arc::clone(&shared.waking) };
    (client, shared, fd)
}

pub fn house(claim: Claim) -> House {
    house_that_listens(claim, ListenSettings::default())
}

/// One with so many sockets.
pub fn house_of(sockets: usize) -> House {
    build(policy(Claim::Owned), ListenSettings::default(), sockets)
}

/// One whose listeners do so.
pub fn house_that_listens(claim: Claim, listen: ListenSettings) -> House {
    build(policy(claim), listen, 512)
}

/// One with rules.
pub fn house_with(policy: Policy) -> House {
    build(policy, ListenSettings::default(), 512)
}

/// Without rules.
pub fn policy(claim: Claim) -> Policy {
    let kernel = vec!["192.0.2.77".parse().unwrap()];
    Policy { claim, low_ports: LowPorts::Users(vec![33]), kernel, ..Policy::default() }
}

fn build(policy: Policy, listen: ListenSettings, sockets: usize) -> House {
    let ((lan, lan_peer), (wan, wan_peer)) = (wire(LAN, 256), wire(WAN, 256));
    let mut rig = Parts::alone(vec![lan, wan]).build(&rib());
    let (control, ends) = order::channel(&Arc::new(Bell::new().unwrap())).unwrap();
    let (page, page_fd) = ServicePage::create().unwrap();
    let seen = ServicePage::open(page_fd).unwrap();
    let link = |index, name: &str| links::Link {
        port: crate::workers::port(index),
        name: name.to_owned(),
        number: 100 + index as u32,
    };
    let has_loopback = policy.claim == Claim::All;
    let settings = Settings {
        worker: 0,
        cpu: 0,
        programs: 8,
        sockets,
        policy,
        links: links::Links(vec![link(LAN, "lan"), link(WAN, "wan")]),
        listen,
    };
    rig.worker.stack.set_loopback(has_loopback);
    rig.worker.sessions = Some(Box::new(Sessions::new(settings, Arc::new(page), ends)));
    House { rig, control, _lan: lan_peer, _wan: wan_peer, allocations: 0, arenas: Vec::new(), page: seen }
}

impl House {
    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            let counted = allocation_counter::measure(|| {
                self.rig.worker.turn();
            });
            self.allocations += counted.count_total;
        }
    }

    /// The service's page as programs see it.
    pub fn page(&self) -> &ServicePage {
        &self.page
    }

    pub fn sessions(&self) -> &Sessions {
        self.rig.worker.sessions.as_deref().unwrap()
    }

    fn make(&mut self, geometry: Geometry, uid: u32) -> (Box<Program>, Client) {
        let (client, shared, fd) = process(self.arenas.len() as u16, geometry, uid);
        self.arenas.push(fd);
        (Box::new(Program::new(client.place, &shared)), client)
    }

    /// A process attaches.
    pub fn attach(&mut self, uid: u32) -> Client {
        self.attach_with(GEOMETRY, uid)
    }

    /// One whose memory is laid out so.
    pub fn attach_with(&mut self, geometry: Geometry, uid: u32) -> Client {
        let (program, client) = self.make(geometry, uid);
        self.control.orders.push(Order::Attach(program)).unwrap();
        self.turns(1);
        assert!(matches!(self.control.done.pop(), Ok(Done::Attached(place)) if place == client.place));
        client
    }

    /// A process is forked.
    pub fn fork(&mut self, parent: &Client) -> Client {
        let (program, client) = self.make(GEOMETRY, 0);
        self.control.orders.push(Order::Inherit(program, parent.place)).unwrap();
        self.turns(1);
        assert!(matches!(self.control.done.pop(), Ok(Done::Attached(place)) if place == client.place));
        client
    }

    /// A process ends.
    pub fn kill(&mut self, client: &Client) {
        self.control.orders.push(Order::Detach(client.place)).unwrap();
        self.turns(4);
    }

    /// Writes bytes anywhere into a program's memory.
    pub fn scribble(&self, client: &Client, offset: u64, bytes: &[u8]) {
        rustix::io::pwrite(&self.arenas[usize::from(client.place)], bytes, offset).unwrap();
    }

    /// The arena of a program, mapped by another.
    pub fn map(&self, place: u16) -> Arena {
        Arena::open(&self.arenas[usize::from(place)], GEOMETRY).unwrap()
    }

    /// The file of a program's memory.
    pub fn file(&self, place: u16) -> OwnedFd {
        self.arenas[usize::from(place)].try_clone().unwrap()
    }

    /// One call, with data; the result, and the data of the answer.
    pub fn call_with(
        &mut self,
        client: &Client,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
    ) -> (i64, Vec<u8>) {
        let call = client.arena.call(7);
        assert!(call.claim());
        call.submit(op, slot, args, data);
        client.arena.call_marks(0).mark(7);
        self.turns(2);
        assert!(call.is_answered(), "{op:?} of slot {slot} was not answered");
        let result = call.wait(false, || true).unwrap();
        let mut out = [0; CALL_DATA];
        let len = call.answer_data(&mut out);
        call.release();
        (result, out[..len].to_vec())
    }

    pub fn call(&mut self, client: &Client, op: Op, slot: u32, args: [u64; 4]) -> i64 {
        self.call_with(client, op, slot, args, &[]).0
    }

    /// The program lets go of a slot, and the worker hears of it.
    pub fn close(&mut self, client: &Client, slot: u32) {
        client.let_go(slot);
        self.turns(1);
    }

    pub fn open(&mut self, client: &Client, slot: u32, domain: i32, kind: i32, protocol: i32) {
        let args = [domain as u64, kind as u64, protocol as u64, 1000 + u64::from(slot)];
        assert_eq!(self.call(client, Op::Open, slot, args), 0);
    }

    pub fn tcp(&mut self, client: &Client, slot: u32) {
        self.open(client, slot, libc::AF_INET, libc::SOCK_STREAM, 0);
    }

    /// Sets an option that is a number.
    pub fn set(&mut self, client: &Client, slot: u32, (level, option): (i32, i32), value: i32) -> i64 {
        let args = [level as u64, option as u64, 0, 0];
        self.call_with(client, Op::SetOption, slot, args, &value.to_ne_bytes()).0
    }

    pub fn at(&mut self, client: &Client, op: Op, slot: u32, at: &str) -> i64 {
        let at: SocketAddr = at.parse().unwrap();
        self.call_with(client, op, slot, [0; 4], Address::from(at).as_bytes()).0
    }

    pub fn name(&mut self, client: &Client, slot: u32, peer: bool) -> SocketAddr {
        let (result, data) = self.call_with(client, Op::Name, slot, [u64::from(peer), 0, 0, 0], &[]);
        assert_eq!(result, 0);
        Address::read_from_bytes(&data).unwrap().to_std().unwrap()
    }

    /// A listener of one program and a connection of another to it: in slots 1 (listener), 2 (accepted) and 1.
    pub fn connected(&mut self, server: &Client, client: &Client, at: &str) {
        self.tcp(server, 1);
        assert_eq!(self.at(server, Op::Bind, 1, at), 0);
        assert_eq!(self.call(server, Op::Listen, 1, [16, 0, 0, 0]), 0);
        self.tcp(client, 1);
        assert_eq!(self.at(client, Op::Connect, 1, at), -i64::from(libc::EINPROGRESS));
        self.turns(8);
        assert!(client.flags(1).contains(Flags::CONNECTED), "{:?}", client.flags(1));
        assert!(server.flags(1).contains(Flags::ACCEPTABLE));
        assert_eq!(self.call(server, Op::Accept, 1, [2, 77, 0, 0]), 0);
    }
}

impl Client {
    pub fn flags(&self, slot: u32) -> Flags {
        self.arena.cell(slot).flags()
    }

    pub fn error(&self, slot: u32) -> i32 {
        self.arena.cell(slot).take_error() as i32
    }

    /// Writes what there is room for, and kicks.
    pub fn write(&self, slot: u32, bytes: &[u8]) -> usize {
        let count = self.write_without_kick(slot, bytes);
        self.kick(slot);
        count
    }

    /// Writes what there is room for.
    pub fn write_without_kick(&self, slot: u32, bytes: &[u8]) -> usize {
        let (cell, ring) = (self.arena.cell(slot), self.arena.tx(slot));
        let count = bytes.len().min(cell.room(ring.size()) as usize);
        let tail = cell.program.tx_tail.load(Relaxed);
        ring.copy_in(tail, &bytes[..count]);
        cell.program.tx_tail.store(tail + count as u64, Release);
        count
    }

    /// Reads what is there, at most `most`, and kicks.
    pub fn read(&self, slot: u32, most: usize) -> Vec<u8> {
        let (cell, ring) = (self.arena.cell(slot), self.arena.rx(slot));
        let mut out = vec![0; most.min(cell.readable() as usize)];
        let head = cell.program.rx_head.load(Relaxed);
        ring.copy_out(head, &mut out);
        cell.program.rx_head.store(head + out.len() as u64, Release);
        self.kick(slot);
        out
    }

    /// Asks to be told when there is room.
    pub fn want_room(&self, slot: u32) {
        self.arena.cell(slot).program.open_flags.fetch_or(flumen_ipc::cell::WANTS_ROOM, SeqCst);
    }

    pub fn kick(&self, slot: u32) {
        self.arena.kicks(0).mark(slot);
    }

    /// As close(2): it waits for nobody.
    pub fn let_go(&self, slot: u32) {
        self.arena.closes(0).mark(slot);
    }

    /// The sockets with news.
    pub fn news(&self) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some(group) = self.arena.news().take() {
            all.extend(flumen_ipc::tree::numbers(group));
        }
        all
    }

    /// True when the bell was rung since it was silenced.
    pub fn rang(&self) -> bool {
        rustix::io::read(&self.bell, &mut [0u8; 8]).is_ok()
    }

    pub fn sleep(&self, sleeps: bool) {
        if sleeps { self.arena.head().lie_down() } else { self.arena.head().get_up() }
    }
}
