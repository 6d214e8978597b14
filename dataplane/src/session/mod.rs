//! Sockets of programs: what attached processes ask for over shared memory ([`flumen_ipc`]), done on the stack of the worker.
//!
//! ```text
//!   program                 worker, each turn                                          stack
//!   call slot ── Op ──────> calls ──> socket: TCP, UDP, raw ──────────────────────────> bind, listen, connect …
//!   kick ─────────────────> kicks ──> bytes between rings and buffers ────────────────> send, peek, consume
//!   cell, rings, news <──── events ── what changed <─────────────────────────────────── news
//! ```
//!
//! The control thread admits processes and makes all tables ([`attach`], [`order`]); the worker only fills them. The program is
//! not trusted: its memory is read through [`flumen_ipc`] alone, and what it says names nothing but its own sockets.
//!
//! The word that names the owner of a socket in the stack says that it is a session's, and which socket:
//!
//! ```text
//!   63 │ 62 ………… 32 │ 31 ………… 0
//!    1 │     0      │ place in the table of sockets
//! ```

pub mod aside;
pub mod attach;
pub mod calls;
mod cookies;
pub mod datagrams;
pub mod limits;
pub mod links;
pub mod options;
pub mod order;
pub mod policy;
pub mod program;
pub mod reclaim;
pub mod share;
pub mod socket;
pub mod status;
pub mod stream;
pub mod turn;
pub mod wakers;
pub mod waking;
mod watched;

use crate::report::sockets::ProgramReport;
use cookies::Cookies;
use flumen_ipc::ServicePage;
use flumen_ipc::bells::{Bells, Ringer};
use flumen_stack::Instant;
use flumen_stack::socket::{Handle, Owner, Slab};
use flumen_stack::tcp::listen::ListenSettings;
use links::Links;
use order::WorkerEnds;
use policy::Policy;
use program::Program;
use socket::Socket;
use std::collections::VecDeque;
use std::sync::Arc;
use watched::Watched;

/// What a call fails with.
pub use rustix::io::Errno;

/// The number that the stack's error has in Linux.
pub fn errno(error: flumen_stack::socket::Error) -> Errno {
    Errno::from_raw_os_error(error.errno())
}

/// Marks the owners of sockets that are sessions'.
const TAG: u64 = 1 << 63;

/// True when the news of a socket are for a session.
#[inline]
pub fn is_owner(owner: Owner) -> bool {
    owner.0 & TAG != 0
}

/// What the sessions of a worker are made with.
#[derive(Debug)]
pub struct Settings {
    /// The number of the worker among those that programs talk to.
    pub worker: usize,
    /// Its processor.
    pub cpu: usize,
    /// Programs at a time, those included that are gone but whose memory others use.
    pub programs: usize,
    /// Sockets of all programs together, on this worker.
    pub sockets: usize,
    /// Whose addresses are.
    pub policy: Policy,
    /// The ports as programs know them.
    pub links: Links,
    /// What listeners do with SYNs.
    pub listen: ListenSettings,
}

/// The sessions of a worker.
#[derive(Debug)]
pub struct Sessions {
    worker: usize,
    page: Arc<ServicePage>,
    ends: WorkerEnds,
    policy: Policy,
    links: Links,
    listen: ListenSettings,
    /// By place.
    programs: Vec<Option<Box<Program>>>,
    /// Those that are looked at.
    watched: Watched,
    sockets: Slab<Socket>,
    /// By the kernel's sockets that stand for them.
    cookies: Cookies,
    /// Sockets that are to be looked at; each stands in it once.
    queue: VecDeque<Handle>,
    /// Sockets that wait to be adopted, and until when.
    held: VecDeque<(Handle, Instant)>,
    /// Rings bells of programs that are not trusted; `None`: this kernel has no way to.
    ringer: Option<Ringer>,
    /// Programs whose bells may have to be rung at the end of the turn.
    to_ring: Vec<u16>,
    /// The turn that this is, counted from 1.
    turn: u64,
    /// Bytes that were copied between rings and buffers since the beginning; wraps.
    moved: usize,
    /// Sockets whose threads are woken at the end of the turn.
    to_wake: turn::ToWake,
    /// The number of the next news: nanoseconds of the clock, and one more for each that was told in a turn.
    news: u64,
    /// Times that the worker went to sleep, never 0 in a sleep.
    sleeps: u32,
    /// Nanoseconds between 1970 and the origin of the clock.
    wall: u64,
    /// Nanoseconds of CLOCK_MONOTONIC at the origin of the clock.
    monotonic: u64,
    scratch: Box<[u8]>,
}

impl Sessions {
    /// No programs yet.
    pub fn new(settings: Settings, page: Arc<ServicePage>, ends: WorkerEnds) -> Sessions {
        let Settings { worker, cpu, programs, sockets, policy, links, listen } = settings;
        if let Some(word) = page.words().cpu.get(worker) {
            word.store(cpu as u32 + 1, core::sync::atomic::Ordering::Relaxed);
        }
        Sessions {
            worker,
            page,
            ends,
            policy,
            links,
            listen,
            programs: std::iter::repeat_with(|| None).take(programs).collect(),
            watched: Watched::with_capacity(programs),
            sockets: Slab::new(sockets),
            cookies: Cookies::new(sockets),
            queue: VecDeque::with_capacity(sockets),
            held: VecDeque::with_capacity(limits::MAX_HELD),
            ringer: waking::ringer(),
            to_ring: Vec::with_capacity(programs),
            turn: 1,
            moved: 0,
            to_wake: turn::ToWake(Vec::with_capacity(sockets)),
            news: 0,
            sleeps: 0,
            wall: 0,
            monotonic: 0,
            scratch: vec![0; datagrams::SCRATCH].into_boxed_slice(),
        }
    }

    /// What programs ring when the worker sleeps: readable once one did.
    pub fn rung(&self) -> &Bells {
        &self.ends.rung
    }

    /// True when loopback addresses are ours.
    pub fn has_loopback(&self) -> bool {
        self.policy.claim == policy::Claim::All
    }

    /// Attached programs.
    pub fn programs(&self) -> usize {
        self.watched.len()
    }

    /// Sockets of all programs.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Who has a socket, by the word of its owner.
    pub fn user_of(&self, owner: Owner) -> Option<socket::Credentials> {
        let handle = self.sockets.at(owner.0 as u32 as usize)?;
        self.sockets.get(handle).map(|socket| socket.user)
    }

    /// Every program, for a report.
    pub fn reports(&self) -> impl Iterator<Item = ProgramReport> {
        self.programs.iter().flatten().map(|program| ProgramReport {
            place: program.place,
            pid: program.user.pid,
            uid: program.user.uid,
            sockets: program.names,
            homes: program.homes,
            gone: program.leaving.is_some(),
            woken_aside: program.waker.waking().is_aside(),
        })
    }

    /// Tells programs how many sockets live here: who names no port goes where there are fewest.
    fn count_sockets(&self) {
        if let Some(word) = self.page.words().sockets.get(self.worker) {
            word.store(self.sockets.len() as u32, core::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Whose addresses are may be another answer than before, when this is another number than before: programs remember answers.
    /// It is the first worker that they ask.
    pub fn set_generation(&self, generation: u64) {
        if self.worker != 0 {
            return;
        }
        self.page.words().generation.store(generation as u32, core::sync::atomic::Ordering::Release);
    }

    /// The service stops: programs find all their sockets dead from now on, and those who sleep hear of it.
    pub fn stop(&mut self) {
        self.page.words().stopping.store(1, core::sync::atomic::Ordering::SeqCst);
        // Who is put aside only now hears of it by the end of its connection.
        for program in self.programs.iter_mut().flatten() {
            let _too_long = program.waker.ring(self.ringer.as_ref());
        }
        for (_, socket) in self.sockets.iter() {
            if let Some(Some(home)) = self.programs.get_mut(usize::from(socket.home.program)) {
                let cell = home.arena.cell(socket.home.slot);
                if cell.changed(true) {
                    let _too_long = home.waker.wake(socket.home.slot);
                }
            }
        }
    }

    /// Corrects the time of day: at `now` it is `unix` after 1970.
    pub fn set_wall(&mut self, now: Instant, unix: core::time::Duration) {
        if self.monotonic == 0 {
            // Once: this clock and that one go alike.
            let then = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let then = then.tv_sec as u64 * 1_000_000_000 + then.tv_nsec as u64;
            self.monotonic = then.wrapping_sub(now.nanos());
        }
        self.wall = datagrams::wall(now, unix);
        self.page.words().wall.store(self.wall, core::sync::atomic::Ordering::Relaxed);
    }
}
