//! The attach server, with a process at one end and, in place of the workers, the test at the other.

use core::time::Duration;
use flumen::session::aside::Aside;
use flumen::session::attach::{AttachServer, Settings};
use flumen::session::limits::{
    MAX_ASIDE, MAX_ASIDE_OF_USER, MAX_PROGRAMS, MAX_SILENT_OF_USER, MESSAGES_AT_ONCE, ORDERS,
    RECLAIM_INTERVAL, RECLAIMED_AT_ONCE, SILENT_AT_MOST,
};
use flumen::session::order::{self, Done, Found, Order, WorkerEnds};
use flumen::session::program::{Program, Shared};
use flumen::session::socket::Credentials;
use flumen_ipc::attach::{self, ADOPT, ATTACH, Adopted, Hello, INHERIT, Welcome};
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Geometry, ServicePage};
use flumen_stack::socket::Family;
use mio::{Events, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

fn geometry(workers: usize) -> Geometry {
    Geometry { slots: 64, calls: 64, rx_bytes: 131_072, tx_bytes: 131_072, workers: workers as u32 }
}

struct Door {
    server: AttachServer,
    workers: Vec<WorkerEnds>,
    poll: Poll,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn door(programs: usize, programs_per_user: usize) -> Door {
    door_of(1, programs, programs_per_user)
}

fn door_of(workers: usize, programs: usize, programs_per_user: usize) -> Door {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.sock");
    let poll = Poll::new().unwrap();
    let answered = Arc::new(Bell::new().unwrap());
    let (control, ends) = (0..workers).map(|_| order::channel(&answered).unwrap()).unzip();
    let (_, page) = ServicePage::create().unwrap();
    let settings = Settings {
        path: &path,
        mode: 0o600,
        owner: (None, None),
        programs,
        programs_per_user,
        geometry: geometry(workers),
    };
    let server =
        AttachServer::bind(&settings, (control, answered), page, poll.registry(), Token(10)).unwrap();
    Door { server, workers: ends, poll, path, _folder: folder }
}

impl Door {
    /// The control thread takes all events that there are.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        loop {
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                assert!(self.server.owns(event.token()));
                self.server.on_event(event.token());
            }
        }
    }

    /// A process connects, and says nothing.
    fn connect(&mut self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(&self.path).unwrap()).unwrap();
        socket
    }

    /// A process connects and says something.
    fn say(&mut self, hello: Hello) -> OwnedFd {
        let socket = self.connect();
        self.say_more(&socket, hello, &[]);
        socket
    }

    fn say_more(&mut self, socket: &OwnedFd, hello: Hello, beside: &[BorrowedFd<'_>]) {
        attach::send(socket, hello.as_bytes(), beside).unwrap();
        self.turn();
    }

    fn order(&mut self) -> Option<Order> {
        self.order_of(0)
    }

    fn order_of(&mut self, worker: usize) -> Option<Order> {
        self.workers[worker].orders.pop().ok()
    }

    fn done(&mut self, done: Done) {
        self.done_by(0, done);
    }

    fn done_by(&mut self, worker: usize, done: Done) {
        self.workers[worker].answer(done);
        self.turn();
    }

    /// A process attaches, and the worker takes it.
    fn attached(&mut self) -> (OwnedFd, u16, Welcome) {
        let socket = self.say(Hello::new(ATTACH));
        let Some(Order::Attach(program)) = self.order() else { panic!("no order") };
        let place = program.place;
        assert!(receive(&socket).is_none(), "nobody is welcome before the worker has it");
        self.done(Done::Attached(place));
        let (bytes, beside) = receive(&socket).unwrap();
        let welcome = Welcome::read_from_bytes(&bytes).unwrap();
        assert_eq!((welcome.status, welcome.geometry, beside.len()), (0, geometry(1), 4));
        // What came is the memory that the worker has.
        Arena::open(&beside[0], geometry(1)).unwrap().news().mark(7);
        assert!(program.arena.news().is_marked(7));
        (socket, place, welcome)
    }
}

/// What came: the message, and descriptors beside it; `None`: nothing yet.
fn receive(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = [0; 256];
    match attach::receive(socket, &mut buffer) {
        Ok((len, beside)) => Some((buffer[..len].to_vec(), beside)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// The errno of a refusal, after which the connection is closed.
fn refused(socket: &OwnedFd) -> i32 {
    let (bytes, beside) = receive(socket).unwrap();
    assert!(beside.is_empty());
    assert!(receive(socket).unwrap().0.is_empty(), "closed");
    Welcome::read_from_bytes(&bytes).unwrap().status as i32
}

#[test]
fn a_process_is_welcome_when_the_worker_has_it_and_its_end_is_told() {
    let mut door = door(8, 8);
    let (socket, place, _) = door.attached();
    assert_eq!(
        door.server.programs().map(|row| (row.place, row.is_gone)).collect::<Vec<_>>(),
        [(place, false)]
    );
    drop(socket);
    door.turn();
    assert!(matches!(door.order(), Some(Order::Detach(gone)) if gone == place));
    assert!(door.server.programs().all(|row| row.is_gone), "its memory may still be in use");
    // Its place is another's only when nothing is left of it.
    let (_other, next, _) = door.attached();
    assert_ne!(next, place);
}

#[test]
fn one_that_goes_while_it_waits_is_detached_when_the_worker_has_it() {
    let mut door = door(8, 8);
    let socket = door.say(Hello::new(ATTACH));
    let Some(Order::Attach(program)) = door.order() else { panic!("no order") };
    drop(socket);
    door.turn();
    assert!(door.order().is_none(), "the worker does not have it yet");
    door.done(Done::Attached(program.place));
    assert!(matches!(door.order(), Some(Order::Detach(place)) if place == program.place));
    let place = program.place;
    door.done(Done::Gone(program));
    assert_eq!(door.server.programs().count(), 0);
    assert_eq!(door.attached().1, place, "the place is free");
}

#[test]
fn who_speaks_otherwise_or_is_one_too_many_is_refused() {
    let mut door = door(8, 2);
    for wrong in [
        Hello { version: attach::VERSION + 1, ..Hello::new(ATTACH) },
        Hello { magic: 1, ..Hello::new(ATTACH) },
        Hello::new(ADOPT),
        Hello::new(99),
    ] {
        let socket = door.say(wrong);
        assert_eq!(refused(&socket), libc::EPROTO, "{wrong:?}");
    }
    assert!(door.order().is_none());
    let _two = [door.attached(), door.attached()];
    let third = door.say(Hello::new(ATTACH));
    assert_eq!(refused(&third), libc::EMFILE, "two programs of a user");
    assert!(door.order().is_none());
}

#[test]
fn a_child_names_its_parent_by_a_secret() {
    let mut door = door(8, 8);
    let (_parent, place, welcome) = door.attached();
    let stranger = door.say(Hello { token: [1; 16], ..Hello::new(INHERIT) });
    assert_eq!(refused(&stranger), libc::ESRCH);
    let child = door.say(Hello { token: welcome.token, ..Hello::new(INHERIT) });
    let Some(Order::Inherit(program, parent)) = door.order() else { panic!("no order") };
    assert_eq!(parent, place);
    // The worker may know better: the parent is going.
    door.done(Done::Refused(program));
    assert_eq!(refused(&child), libc::ESRCH);
    assert_eq!(door.server.programs().count(), 1);
}

#[test]
fn a_descriptor_leads_to_the_socket_behind_it() {
    let mut door = door(8, 8);
    let (home_socket, home, home_welcome) = door.attached();
    let (socket, place, _) = door.attached();
    let descriptor = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let cookie = sockopt::socket_cookie(&descriptor).unwrap();
    let adopted = |door: &mut Door, found| {
        door.say_more(&socket, Hello { slot: 9, ..Hello::new(ADOPT) }, &[descriptor.as_fd()]);
        let order = door.order();
        let Some(Order::Adopt { program, slot: 9, cookie: asked, maker: 0 }) = order else {
            panic!("{order:?}")
        };
        assert_eq!((program, asked), (place, cookie));
        door.done(Done::Adopted(place, found));
        let (bytes, beside) = receive(&socket).unwrap();
        (Adopted::read_from_bytes(&bytes).unwrap(), beside.len())
    };
    let udp =
        Found { worker: 0, home, slot: 3, family: Family::Ipv6, socket_type: libc::SOCK_DGRAM, protocol: 17 };
    let (answer, beside) = adopted(&mut door, Ok(Some(udp)));
    assert_eq!((answer.status, answer.slot, answer.home, beside), (0, 3, home_welcome.token, 1));
    assert_eq!((answer.domain, answer.kind, answer.protocol), (libc::AF_INET6 as u32, 2, 17));
    assert_eq!(adopted(&mut door, Ok(None)).0.status as i32, libc::ENOENT);
    assert_eq!(adopted(&mut door, Err(())).0.status as i32, libc::EBUSY);
    // The memory of one that is gone is still there for those who share its sockets.
    drop(home_socket);
    door.turn();
    assert!(matches!(door.order(), Some(Order::Detach(gone)) if gone == home));
    assert_eq!(adopted(&mut door, Ok(Some(udp))).1, 1);
    // Without a socket beside it there is nothing to look for.
    door.say_more(&socket, Hello::new(ADOPT), &[]);
    let (bytes, _) = receive(&socket).unwrap();
    assert_eq!(Adopted::read_from_bytes(&bytes).unwrap().status as i32, libc::ENOENT);
}

/// A process attaches at two workers; the tables that both got.
fn attached_at_both(door: &mut Door) -> (OwnedFd, u16, [Box<Program>; 2]) {
    let socket = door.say(Hello::new(ATTACH));
    let tables = [0, 1].map(|worker| {
        let Some(Order::Attach(program)) = door.order_of(worker) else { panic!("no order") };
        program
    });
    let place = tables[0].place;
    for worker in [1, 0] {
        assert!(receive(&socket).is_none(), "nobody is welcome before all workers have it");
        door.done_by(worker, Done::Attached(place));
    }
    let (bytes, beside) = receive(&socket).unwrap();
    let welcome = Welcome::read_from_bytes(&bytes).unwrap();
    assert_eq!((welcome.status, welcome.geometry, beside.len()), (0, geometry(2), 5));
    (socket, place, tables)
}

#[test]
fn all_workers_have_a_process_in_one_memory_and_its_place_is_free_when_none_has_it_any_more() {
    let mut door = door_of(2, 8, 8);
    let (socket, place, tables) = attached_at_both(&mut door);
    tables[0].arena.news().mark(3);
    assert!(tables[1].arena.news().is_marked(3));
    let [mut first, mut second] = tables;
    assert!(first.settle(5) && !second.settle(5) && second.settle(6), "a slot is the home of one socket");
    first.leave(5);
    assert!(second.settle(5));
    drop(socket);
    door.turn();
    for worker in [0, 1] {
        assert!(matches!(door.order_of(worker), Some(Order::Detach(gone)) if gone == place));
    }
    door.done_by(1, Done::Gone(second));
    assert_eq!(door.server.programs().count(), 1, "a worker has sockets in its memory");
    door.done_by(0, Done::Gone(first));
    assert_eq!(door.server.programs().count(), 0);
}

#[test]
fn a_child_that_one_worker_refuses_is_taken_from_the_others_again() {
    let mut door = door_of(2, 8, 8);
    let socket = door.say(Hello::new(ATTACH));
    let mut tables = [0, 1].map(|worker| door.order_of(worker).unwrap());
    let [Order::Attach(first), Order::Attach(second)] = &mut tables else { panic!("{tables:?}") };
    let (place, second) = (first.place, core::mem::replace(second, Box::new(blank(second.place))));
    door.done_by(1, Done::Refused(second));
    assert!(receive(&socket).is_none());
    door.done_by(0, Done::Attached(place));
    assert_eq!(refused(&socket), libc::ESRCH);
    assert!(matches!(door.order_of(0), Some(Order::Detach(gone)) if gone == place));
    assert!(door.order_of(1).is_none(), "it has nothing to let go of");
    let [Order::Attach(first), _] = tables else { panic!("an order") };
    door.done_by(0, Done::Gone(first));
    assert_eq!(door.server.programs().count(), 0);
}

fn blank(place: u16) -> Program {
    let (arena, _) = Arena::create(geometry(2)).unwrap();
    Program::new(place, &Shared::new(arena, Bell::new().unwrap(), Credentials::default()))
}

#[test]
fn the_worker_that_has_a_socket_is_found_by_asking_all() {
    let mut door = door_of(2, 8, 8);
    let (socket, place, _tables) = attached_at_both(&mut door);
    let descriptor = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let ask = |door: &mut Door| {
        door.say_more(&socket, Hello { slot: 9, ..Hello::new(ADOPT) }, &[descriptor.as_fd()]);
        for worker in [0, 1] {
            assert!(matches!(door.order_of(worker), Some(Order::Adopt { slot: 9, .. })));
        }
    };
    ask(&mut door);
    let udp = Found {
        worker: 1,
        home: place,
        slot: 3,
        family: Family::Ipv4,
        socket_type: libc::SOCK_DGRAM,
        protocol: 17,
    };
    door.done_by(1, Done::Adopted(place, Ok(Some(udp))));
    assert!(receive(&socket).is_none(), "the other may know more");
    door.done_by(0, Done::Adopted(place, Ok(None)));
    let answer = Adopted::read_from_bytes(&receive(&socket).unwrap().0).unwrap();
    assert_eq!((answer.status, answer.slot, answer.worker), (0, 3, 1));
    ask(&mut door);
    for worker in [0, 1] {
        door.done_by(worker, Done::Adopted(place, Ok(None)));
    }
    let answer = Adopted::read_from_bytes(&receive(&socket).unwrap().0).unwrap();
    assert_eq!(answer.status as i32, libc::ENOENT);
    // Who asks again before it has its answer does not keep to the protocol.
    ask(&mut door);
    door.say_more(&socket, Hello::new(ADOPT), &[descriptor.as_fd()]);
    assert_eq!(refused(&socket), libc::EPROTO);
    for worker in [0, 1] {
        assert!(door.order_of(worker).is_none(), "the workers still look");
        door.done_by(worker, Done::Adopted(place, Ok(None)));
    }
    assert!(matches!(door.order_of(0), Some(Order::Detach(gone)) if gone == place));
}

#[test]
fn memory_of_closed_sockets_goes_back_to_the_system_and_that_of_open_ones_stays() {
    let mut door = door(8, 8);
    let socket = door.say(Hello::new(ATTACH));
    let Some(Order::Attach(mut program)) = door.order() else { panic!("no order") };
    door.done(Done::Attached(program.place));
    let (_, beside) = receive(&socket).unwrap();
    let bytes = || rustix::fs::fstat(&beside[0]).unwrap().st_blocks * 512;
    let empty = bytes();
    let each = 2 * 131_072;
    for slot in [3, 4] {
        assert!(program.settle(slot));
        program.arena.rx(slot).copy_in(0, &[1; 131_072]);
        program.arena.tx(slot).copy_in(0, &[1; 131_072]);
    }
    let begin = std::time::Instant::now();
    // Looks, and in between what they found is given back.
    let seconds = |door: &mut Door, from: u64, to: u64| {
        for tenth in 10 * from..10 * to {
            door.server.housekeeping(begin + Duration::from_millis(100 * tenth));
        }
    };
    seconds(&mut door, 1, 5);
    assert_eq!(bytes() - empty, 2 * each);
    program.leave(3);
    seconds(&mut door, 5, 6);
    assert_eq!(bytes() - empty, 2 * each, "a socket that comes at once finds it warm");
    seconds(&mut door, 6, 9);
    assert_eq!(bytes() - empty, each);
    let mut out = [0; 131_072];
    program.arena.tx(4).copy_out(0, &mut out);
    assert!(out == [1; 131_072], "what another has is whole");
}

#[test]
fn each_program_rings_each_worker_with_a_bell_of_its_own_until_it_parts() {
    let mut door = door_of(2, 8, 8);
    let mut attached = |place| {
        let socket = door.say(Hello::new(ATTACH));
        for worker in 0..2 {
            assert!(matches!(door.order_of(worker), Some(Order::Attach(program)) if program.place == place));
            door.done_by(worker, Done::Attached(place));
        }
        let (_, mut beside) = receive(&socket).unwrap();
        assert_eq!(beside.len(), 5, "memory, page, bell, two that it rings");
        (socket, beside.split_off(3))
    };
    let (one, ones) = attached(0);
    let (_other, others) = attached(1);
    let ring = |bell: &OwnedFd| rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap();
    let hears = |door: &Door| {
        [0, 1].map(|worker: usize| {
            let rung = &door.workers[worker].rung;
            let mut fds = [rustix::event::PollFd::new(&**rung, rustix::event::PollFlags::IN)];
            let rang = rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() == 1;
            rung.hear();
            rang
        })
    };
    assert_eq!(hears(&door), [false, false]);
    ring(&ones[1]);
    assert_eq!(hears(&door), [false, true]);
    ring(&ones[1]);
    ring(&others[0]);
    assert_eq!(hears(&door), [true, true]);
    // It ends, and somebody has its descriptors still.
    drop(one);
    door.turn();
    ring(&ones[0]);
    ring(&ones[1]);
    assert_eq!(hears(&door), [false, false]);
    ring(&others[1]);
    assert_eq!(hears(&door), [false, true]);
}

#[test]
fn a_program_that_takes_a_worker_too_long_to_wake_is_woken_by_the_server() {
    let mut door = door(8, 8);
    let socket = door.say(Hello::new(ATTACH));
    let Some(Order::Attach(mut program)) = door.order() else { panic!("no order") };
    door.done(Done::Attached(program.place));
    let bell = Bell::from_fd(receive(&socket).unwrap().1.swap_remove(2));
    assert!(!program.waker.ring(None) && bell.silence());
    assert!(program.waker.waking().put_aside());
    assert!(!program.waker.ring(None) && !bell.silence(), "by nobody yet");
    door.done(Done::Aside(program.place));
    let mut fds = [PollFd::new(&bell, PollFlags::IN)];
    let time = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&time)), Ok(1));
}

#[test]
fn memory_that_nobody_needs_is_given_back_so_much_at_once() {
    let mut door = door(RECLAIMED_AT_ONCE + 1, RECLAIMED_AT_ONCE + 1);
    let (mut connections, mut programs) = (Vec::new(), Vec::new());
    for _ in 0..=RECLAIMED_AT_ONCE {
        connections.push(door.say(Hello::new(ATTACH)));
        let Some(Order::Attach(mut program)) = door.order() else { panic!("no order") };
        door.done(Done::Attached(program.place));
        // A socket was at home in each, and filled its rings.
        assert!(program.settle(1));
        program.arena.rx(1).copy_in(0, &[1; 8192]);
        program.leave(1);
        programs.push(program);
    }
    let in_memory = || {
        let hold_bytes = programs.iter().filter(|program| {
            let mut bytes = [0; 8192];
            program.arena.rx(1).copy_out(0, &mut bytes);
            bytes == [1; 8192]
        });
        hold_bytes.count()
    };
    let first = std::time::Instant::now() + Duration::from_secs(1);
    let second = first + RECLAIM_INTERVAL;
    for now in [first, second - Duration::from_nanos(1), second - Duration::from_nanos(1), second] {
        door.server.housekeeping(now);
        assert_eq!(in_memory(), RECLAIMED_AT_ONCE + 1, "it is known at the second look that nobody needs it");
    }
    door.server.housekeeping(second);
    assert_eq!(in_memory(), 1);
    door.server.housekeeping(second);
    assert_eq!(in_memory(), 0);
}

#[test]
fn there_are_no_more_programs_than_there_is_room_for_what_they_ask() {
    let door = door(MAX_PROGRAMS + 1, 1);
    // Beside these, two tokens of the server's own and those of connections that said nothing yet.
    assert_eq!(door.server.tokens(), MAX_PROGRAMS + 2 + 2 * MAX_SILENT_OF_USER);
    let (mut control, mut worker) = order::channel(&Arc::new(Bell::new().unwrap())).unwrap();
    for _ in 0..MAX_PROGRAMS {
        // The most that is on the way for one: its begin, a socket that it asks for, its end; and that it is woken aside.
        for _ in 0..4 {
            control.orders.push(Order::Detach(0)).unwrap();
            worker.answer(Done::Aside(0));
        }
    }
    assert_eq!((control.orders.slots(), control.done.slots()), (0, ORDERS), "so many, and no more");
    assert!(control.orders.push(Order::Detach(0)).is_err());
}

/// A socket of the kernel that waits for its peer when it is closed, and that peer: far more is in its send buffer than the
/// peer's receive buffer will ever take, whenever the kernel comes round to moving it.
fn lingering() -> (OwnedFd, std::net::TcpStream) {
    const WRITTEN: usize = 131_072;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 2304).unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    assert!(sockopt::socket_recv_buffer_size(&peer).unwrap() < WRITTEN / 4);
    sockopt::set_socket_send_buffer_size(&socket, WRITTEN * 3 / 2).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(std::io::Write::write(&mut &socket, &[0; WRITTEN]).unwrap(), WRITTEN);
    let socket = OwnedFd::from(socket);
    sockopt::set_socket_linger(&socket, Some(Duration::from_secs(3600))).unwrap();
    (socket, peer)
}

#[test]
fn nobody_waits_for_a_socket_that_lingers() {
    let mut door = door(8, 8);
    let (program, place, _) = door.attached();
    // One that is asked about, and one behind a message of no bytes, which ends the connection.
    let (asked, asked_peer) = lingering();
    let (behind, behind_peer) = lingering();
    let peers = [asked_peer, behind_peer];
    attach::send(&program, Hello::new(ADOPT).as_bytes(), &[asked.as_fd()]).unwrap();
    drop(asked);
    door.turn();
    assert_eq!(door.server.closing(), 1, "it waits for its peer");
    attach::send(&program, b"", &[]).unwrap();
    attach::send(&program, b"more", &[behind.as_fd()]).unwrap();
    drop(behind);
    door.turn();
    assert_eq!(door.server.closing(), 2, "and the connection with what is in its queue");
    // The others are served meanwhile.
    assert!(matches!(door.order(), Some(Order::Adopt { .. })));
    door.done(Done::Adopted(place, Ok(None)));
    assert!(matches!(door.order(), Some(Order::Detach(gone)) if gone == place));
    door.attached();
    assert_eq!(door.server.closing(), 2, "still");
    drop(peers);
    for _ in 0..1000 {
        if door.server.closing() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} are not closed", door.server.closing());
}

#[test]
fn who_passes_more_than_may_wait_is_parted_with_and_others_wait_for_nothing_of_his() {
    let mut door = door(8, 8);
    let (program, place, _) = door.attached();
    let (socket, peer) = lingering();
    // The first one makes the others wait: all are the same user's.
    let hello = Hello::new(ADOPT);
    attach::send(&program, hello.as_bytes(), &[socket.as_fd()]).unwrap();
    drop(socket);
    door.turn();
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut passed = 1;
    while passed < MAX_ASIDE_OF_USER {
        // Who is still adopting is parted with for asking again; so each asks as somebody new.
        let asks = door.say(Hello::new(INHERIT));
        drop(asks);
        door.turn();
        passed = door.server.closing();
    }
    assert!(matches!(door.order(), Some(Order::Adopt { .. })));
    door.done(Done::Adopted(place, Ok(None)));
    assert!(receive(&program).is_some(), "it is attached, and answered");
    // Who passes nothing is not parted with, however much of the user's waits.
    drop(door.say(Hello::new(INHERIT)));
    assert!(door.server.closing() > MAX_ASIDE_OF_USER);
    let _beside = door.attached();
    attach::send(&program, hello.as_bytes(), &[one.as_fd()]).unwrap();
    door.turn();
    assert!(receive(&program).unwrap().0.is_empty(), "one too many: it is parted with");
    assert!(matches!(door.order(), Some(Order::Adopt { .. })));
    door.done(Done::Adopted(place, Ok(None)));
    assert!(matches!(door.order(), Some(Order::Detach(gone)) if gone == place));
    // Another user's are closed at once.
    let mut aside = Aside::default();
    let (stuck, stuck_peer) = lingering();
    aside.close(1, vec![stuck]);
    let (free, free_peer) = std::os::unix::net::UnixStream::pair().unwrap();
    aside.close(2, vec![free.into()]);
    assert_eq!(std::io::Read::read(&mut &free_peer, &mut [0; 1]).unwrap(), 0, "the end");
    assert_eq!(aside.waiting_of(1), 1);
    drop((peer, stuck_peer));
}

#[test]
fn nobody_new_is_heard_while_too_much_waits_to_be_closed() {
    let mut door = door(8, 8);
    let (program, _, _) = door.attached();
    let (socket, peer) = lingering();
    attach::send(&program, Hello::new(ADOPT).as_bytes(), &[socket.as_fd()]).unwrap();
    drop(socket);
    door.turn();
    while door.server.closing() < MAX_ASIDE {
        let waiting = door.server.closing();
        assert_eq!(refused(&door.say(Hello::new(INHERIT))), libc::ESRCH);
        assert_eq!(door.server.closing(), waiting + 1);
    }
    let late = door.say(Hello::new(INHERIT));
    assert!(receive(&late).is_none(), "it waits to be accepted");
    drop(peer);
    for _ in 0..1000 {
        door.server.housekeeping(std::time::Instant::now());
        door.turn();
        if receive(&late).is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it waits for ever, {} are not closed", door.server.closing());
}

#[test]
fn who_never_stops_asking_is_heard_again_behind_the_others() {
    let mut door = door(8, 8);
    let (program, _, _) = door.attached();
    // What asks for nothing is answered at once.
    for _ in 0..MESSAGES_AT_ONCE + 3 {
        attach::send(&program, Hello::new(ADOPT).as_bytes(), &[]).unwrap();
    }
    let mut events = Events::with_capacity(16);
    let mut answers = Vec::new();
    loop {
        door.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        let Some(event) = events.iter().next() else { break };
        door.server.on_event(event.token());
        answers.push(core::iter::from_fn(|| receive(&program)).count());
    }
    assert_eq!(answers[..2], [MESSAGES_AT_ONCE, 3]);
}

#[test]
fn who_says_nothing_takes_no_place_from_others_and_not_for_long() {
    let mut door = door(2, 2);
    let silent: Vec<_> = (0..MAX_SILENT_OF_USER)
        .map(|_| {
            let socket = door.connect();
            door.turn();
            socket
        })
        .collect();
    assert!(silent.iter().all(|socket| receive(socket).is_none()), "they are waited for");
    let more = door.connect();
    door.turn();
    assert_eq!(refused(&more), libc::EMFILE, "one too many");
    // One of them speaks: it is heard, and there is room for one.
    door.say_more(&silent[0], Hello::new(INHERIT), &[]);
    assert_eq!(refused(&silent[0]), libc::ESRCH);
    let late = door.connect();
    door.turn();
    assert!(receive(&late).is_none());
    // Many that spoke before anybody listened are no attack.
    for socket in silent[1..].iter().chain([&late]) {
        attach::send(socket, Hello::new(INHERIT).as_bytes(), &[]).unwrap();
    }
    let another = door.connect();
    door.turn();
    assert!(receive(&another).is_none(), "it is waited for");
    for socket in silent[1..].iter().chain([&late]) {
        assert_eq!(refused(socket), libc::ESRCH);
    }
    let (attached, ..) = door.attached();
    let now = std::time::Instant::now();
    door.server.housekeeping(now + SILENT_AT_MOST / 2);
    assert!(receive(&another).is_none(), "it still is");
    door.server.housekeeping(now + SILENT_AT_MOST);
    assert_eq!(refused(&another), libc::ETIMEDOUT);
    door.turn();
    assert!(receive(&attached).is_none(), "who is attached may be silent");
    assert!(
        rustix::net::send(&attached, b"", rustix::net::SendFlags::empty()).is_ok(),
        "and is not parted with"
    );
}
