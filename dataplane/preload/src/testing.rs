//! A data plane for tests: a thread that attaches this process and answers its calls. What is sent to it comes back.
//!
//! Addresses in 10.0.0.0/8 are its; 0.0.0.0 is of both. A connection to port 1 is refused, one to port 2 is never
//! answered; port 3 has a window of three bytes, and takes nothing. A datagram to port 4 comes back as one of two bytes: how
//! many bytes behind them are IP options, and how many are for its answer.

use crate::errno::{self, Errno};
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use flumen_ipc::attach::{self, Hello, MAGIC, VERSION, Welcome};
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::{Address, RECEIVED_HEAD, Received, TO_SEND_HEAD, ToSend};
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Flags, Geometry, Op, Request, ServicePage, tree};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Once;
use zerocopy::{FromBytes, IntoBytes};

const GEOMETRY: Geometry = Geometry { slots: 256, calls: 64, rx_bytes: 8192, tx_bytes: 8192, workers: 1 };

/// Starts the data plane, once.
pub(crate) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let path = std::env::temp_dir().join(format!("flumen-preload-test-{}", std::process::id()));
        let _none = std::fs::remove_file(&path);
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        // SAFETY: all tests that read the variable come through here first.
        unsafe { std::env::set_var("FLUMEN_SOCKET", &path) };
        std::thread::spawn(move || serve(&listener));
        crate::attach::ensure().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

fn serve(listener: &OwnedFd) {
    let connection = rustix::net::accept(listener).unwrap();
    let mut hello = [0; size_of::<Hello>()];
    attach::receive(&connection, &mut hello).unwrap();
    let (arena, arena_fd) = Arena::create(GEOMETRY).unwrap();
    let (page, page_fd) = ServicePage::create().unwrap();
    let (bell, worker) = (Bell::new().unwrap(), Bell::new().unwrap());
    let welcome = Welcome { magic: MAGIC, version: VERSION, status: 0, geometry: GEOMETRY, token: [7; 16] };
    let fds = [arena_fd.as_fd(), page_fd.as_fd(), bell.as_fd(), worker.as_fd()];
    attach::send(&connection, welcome.as_bytes(), &fds).unwrap();
    let mut service = Service { arena, bell, sockets: HashMap::new() };
    for sleep in 1.. {
        page.words().asleep[0].store(sleep, SeqCst);
        service.turn();
        rustix::event::poll(
            &mut [rustix::event::PollFd::from_borrowed_fd(worker.as_fd(), rustix::event::PollFlags::IN)],
            None,
        )
        .unwrap();
        worker.silence();
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Mock {
    stream: bool,
    to: Address,
    tx: u64,
    rx: u64,
}

struct Service {
    arena: Arena,
    bell: Bell,
    sockets: HashMap<u32, Mock>,
}

impl Service {
    fn turn(&mut self) {
        while let Some(group) = self.arena.closes(0).take() {
            for slot in tree::numbers(group) {
                self.sockets.remove(&slot);
            }
        }
        while let Some(group) = self.arena.call_marks(0).take() {
            for number in tree::numbers(group) {
                let mut data = [0; CALL_DATA];
                if let Some(request) = self.arena.call(number).take(&mut data) {
                    let (result, answer) = self.call(&request, &data[..request.len]);
                    self.arena.call(number).answer(result, &answer);
                }
            }
        }
        while let Some(group) = self.arena.kicks(0).take() {
            tree::numbers(group).for_each(|slot| self.pump(slot));
        }
    }

    fn call(&mut self, request: &Request, data: &[u8]) -> (i64, Vec<u8>) {
        let slot = request.slot;
        let address = Address::read_from_prefix(data).map(|(address, _)| address).unwrap_or_default();
        let cell = self.arena.cell(slot);
        let set = |flags: Flags| cell.worker.flags.store(flags.0, SeqCst);
        match request.op {
            Op::Whose => match address.ip {
                [10, ..] => return (1, vec![]),
                [0, ..] => return (2, vec![]),
                _ => return (0, vec![]),
            },
            Op::Open => {
                let stream = request.args[1] == libc::SOCK_STREAM as u64;
                cell.clear();
                self.sockets.insert(slot, Mock { stream, ..Mock::default() });
                cell.worker.state.store(7, SeqCst);
                cell.worker.tx_limit.store(8192, SeqCst);
                set(Flags::WRITABLE);
            }
            Op::Connect => {
                self.sockets.entry(slot).or_default().to = address;
                match address.port {
                    1 => {
                        cell.error.store(libc::ECONNREFUSED as u32, SeqCst);
                        set(Flags::HANG_UP);
                    }
                    2 => set(Flags::CONNECTING),
                    port => {
                        cell.worker.state.store(1, SeqCst);
                        cell.worker.tx_limit.store(if port == 3 { 3 } else { 8192 }, SeqCst);
                        set(Flags::CONNECTED | Flags::WRITABLE);
                    }
                }
                self.tell(slot);
                let stream = self.sockets[&slot].stream;
                return (if stream { -i64::from(libc::EINPROGRESS) } else { 0 }, vec![]);
            }
            Op::Shutdown => {
                set(cell.flags() | Flags::READ_END | Flags::WRITE_END);
                self.tell(slot);
            }
            Op::Send => self.pump(slot),
            Op::Name => return (0, self.sockets[&slot].to.as_bytes().to_vec()),
            Op::GetOption => return (0, vec![1, 2, 3, 4]),
            Op::ErrorQueue => return (-i64::from(libc::EAGAIN), vec![]),
            Op::Bind | Op::SetOption | Op::Listen => {}
            _ => return (-i64::from(libc::EOPNOTSUPP), vec![]),
        }
        (0, vec![])
    }

    /// What was sent comes back.
    fn pump(&mut self, slot: u32) {
        let Some(mock) = self.sockets.get_mut(&slot) else { return };
        let (cell, tx, rx) = (self.arena.cell(slot), self.arena.tx(slot), self.arena.rx(slot));
        let tail = cell.program.tx_tail.load(SeqCst);
        if mock.stream && mock.to.port == 3 {
            return;
        }
        while mock.tx < tail {
            let mut bytes = vec![0; (tail - mock.tx) as usize];
            tx.copy_out(mock.tx, &mut bytes);
            if mock.stream {
                rx.copy_in(mock.rx, &bytes);
                mock.rx += bytes.len() as u64;
                mock.tx = tail;
            } else {
                let head = ToSend::read_from_prefix(&bytes).unwrap().0;
                let from = if head.to == Address::NONE { mock.to } else { head.to };
                let mut back =
                    Received { len: head.len as u16, from, to: from, ttl: 33, ..Received::default() };
                if let (4, Some(&[options, returned])) = (from.port, bytes[TO_SEND_HEAD..].first_chunk()) {
                    back = Received { len: 2, options, returned, ..back };
                }
                rx.copy_in(mock.rx, back.as_bytes());
                rx.copy_in(mock.rx + RECEIVED_HEAD as u64, &bytes[TO_SEND_HEAD..][..head.len as usize]);
                mock.rx += (RECEIVED_HEAD + head.len as usize) as u64;
                mock.tx += (TO_SEND_HEAD + head.len as usize) as u64;
            }
        }
        cell.worker.tx_head.store(mock.tx, SeqCst);
        cell.worker.tx_limit.store(mock.tx + 8192, SeqCst);
        cell.worker.rx_tail.store(mock.rx, SeqCst);
        self.tell(slot);
    }

    /// Something happened to a socket: who waits hears of it, wherever it sleeps.
    fn tell(&self, slot: u32) {
        let cell = self.arena.cell(slot);
        self.arena.news().mark(slot);
        if self.arena.sleep().is_some() {
            self.bell.ring();
        }
        if cell.changed(true) {
            cell.wake();
        }
    }
}

/// A result of a libc call: its value or errno.
pub(crate) fn of<T: TryInto<i64> + Copy>(result: T) -> core::result::Result<T, c_int> {
    errno::from_libc(result).map_err(|Errno(number)| number)
}
