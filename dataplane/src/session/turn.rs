//! The part of the sessions in a worker's turn, bounded for each program and in all.
//!
//! ```text
//!   orders of the control thread ─> closes ─> calls ─> kicks ─┐
//!                               news of the stack's sockets ──┴─> queue ─> bytes move, cells say what holds, bells ring
//! ```

use super::order::Done;
use super::program::Place;
use super::socket::{Kind, Socket};
use super::stream::{Lie, Moved};
use super::{Sessions, TAG, datagrams, errno, limits, stream};
use crate::builtin::host::Host;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use core::sync::atomic::fence;
use flumen_ipc::cell::WANTS_ROOM;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::{Cell, Flags, Op, tree};
use flumen_stack::socket::{Error, Handle, Owner, Ready, SocketId};
use flumen_stack::{FramePool, Instant, Probe};

impl Sessions {
    /// First half: what programs and the control thread ask for. True when there was something.
    #[inline]
    pub fn ask<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) -> bool {
        // Told by time, the news of several workers have one order.
        self.news = self.news.max(host.turn.now.nanos());
        let mut busy = false;
        if !self.ends.orders.is_empty() {
            self.carry_out(host);
            busy = true;
        }
        let mut closings = limits::CLOSINGS_A_TURN;
        for index in (0..self.watched.awake()).rev() {
            if let Some(place) = self.watched.look(index) {
                busy |= self.ask_one(host, place, &mut closings);
            }
        }
        for _ in 0..self.watched.quiet_in_a_turn() {
            if let Some(place) = self.watched.look_at_a_quiet_one() {
                busy |= self.ask_one(host, place, &mut closings);
            }
        }
        busy
    }

    /// What one program wants. True when there was something. `closings`: how many sockets of programs that ended may still be
    /// closed in this turn.
    fn ask_one<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        place: u16,
        closings: &mut usize,
    ) -> bool {
        let Some(Some(program)) = self.programs.get(usize::from(place)) else { return false };
        if program.leaving.is_some() {
            return self.go_on_leaving(host, place, closings);
        }
        let mut busy = self.closes(host, place, limits::CLOSE_GROUPS_A_TURN);
        let Some(Some(program)) = self.programs.get(usize::from(place)) else { return busy };
        if !program.arena.call_marks(self.worker).is_empty() {
            self.calls(host, place);
            busy = true;
        }
        busy | self.kicks(place)
    }

    /// A socket of the stack that is a session's has news.
    #[inline]
    pub fn on_event(&mut self, owner: Owner, socket: SocketId, news: Ready) {
        let Some(handle) = self.sockets.at(owner.0 as u32 as usize) else { return };
        let Some(entry) = self.sockets.get_mut(handle) else { return };
        // News of somebody who stood here before, which were on their way: nobody's.
        if entry.kind.id() != Some(socket) {
            return;
        }
        entry.was_connected |= news.contains(Ready::CONNECTED);
        enqueue(entry, handle, &mut self.queue);
    }

    /// Second half: sockets with something to move or to say. True when there was one.
    #[inline]
    pub fn settle<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) -> bool {
        let busy = !self.queue.is_empty();
        if busy {
            let mut bytes = 0;
            // Those that come back to the queue have their turn in the next one.
            for _ in 0..self.queue.len().min(limits::SOCKETS_A_TURN) {
                let Some(handle) = self.queue.pop_front() else { break };
                if let Some(socket) = self.sockets.get_mut(handle) {
                    socket.queued = false;
                }
                bytes += self.serve(host, handle, false).bytes;
                if bytes > limits::BYTES_A_TURN {
                    break;
                }
            }
        }
        if !self.held.is_empty() {
            self.expire_holds(host);
        }
        busy
    }

    /// The end of the turn: wakes those who have news, now that what they said before is on its way. For one that runs on this
    /// processor may run at once.
    #[inline]
    pub fn wake(&mut self) {
        self.turn += 1;
        if let Some(word) = self.page.words().turns.get(self.worker) {
            word.0.store(self.turn as u32, Release);
        }
        self.ring_bells();
        while let Some((handle, home)) = self.to_wake.0.pop() {
            if let Some(socket) = self.sockets.get_mut(handle) {
                socket.to_wake = false;
            }
            if let Some(Some(program)) = self.programs.get_mut(usize::from(home.program))
                && program.waker.wake(home.slot)
            {
                self.ends.answer(Done::Aside(home.program));
            }
        }
    }

    /// Whether a program waits for an answer.
    #[inline]
    pub fn has_calls(&self) -> bool {
        self.watched.have_calls()
    }

    /// When there is something to do though nobody asks.
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        if !self.queue.is_empty() {
            return Instant::ZERO;
        }
        self.held.front().map_or(Instant::NEVER, |(_, until)| *until)
    }

    /// The worker is about to sleep: programs ring from now on. True when something was left meanwhile.
    pub fn going_to_sleep(&mut self) -> bool {
        self.sleeps = self.sleeps.checked_add(1).unwrap_or(1);
        if let Some(word) = self.page.words().asleep.get(self.worker) {
            word.store(self.sleeps, SeqCst);
        }
        !self.queue.is_empty() || !self.ends.orders.is_empty() || self.watched.want_something()
    }

    /// The worker is awake.
    pub fn awake(&self) {
        if let Some(word) = self.page.words().asleep.get(self.worker) {
            word.store(0, SeqCst);
        }
    }

    fn calls<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, place: u16) {
        let mut data = [0; CALL_DATA];
        let mut out = [0; CALL_DATA];
        let mut left = limits::CALLS_A_TURN;
        let before = self.moved;
        while left > 0 {
            let Some(Some(program)) = self.programs.get(usize::from(place)) else { return };
            let Some(group) = program.arena.call_marks(self.worker).take() else { return };
            for number in tree::numbers(group) {
                let Some(Some(program)) = self.programs.get(usize::from(place)) else { return };
                if self.moved.wrapping_sub(before) > limits::BYTES_A_TURN {
                    // In the next turn.
                    program.arena.call_marks(self.worker).mark(number);
                    left = 0;
                    continue;
                }
                left = left.saturating_sub(1);
                let Some(request) = program.arena.call(number).take(&mut data) else { continue };
                // What was let go of before it was asked is closed before it is answered: by the program itself; and by whomever,
                // where names and ports may be in the way.
                match request.op {
                    Op::Open | Op::Bind | Op::Listen | Op::Connect => self.all_closes(host),
                    _ => {
                        self.closes(host, place, usize::MAX);
                    }
                }
                let given = data.get(..request.len).unwrap_or_default();
                let (result, len) = match self.call(host, place, &request, given, &mut out) {
                    Ok(answer) => answer,
                    Err(error) => (-i64::from(error.raw_os_error()), 0),
                };
                if let Some(Some(program)) = self.programs.get(usize::from(place)) {
                    program.arena.call(number).answer(result, out.get(..len).unwrap_or_default());
                }
            }
        }
    }

    /// All slots that programs let go of until now, once over their marks: no more than they have sockets.
    pub(super) fn all_closes<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) {
        for index in (0..self.watched.len()).rev() {
            if let Some(place) = self.watched.with_closes(index) {
                self.closes(host, place, usize::MAX);
            }
        }
    }

    /// Slots that the program let go of, no more groups of them than `most`. True when there were some.
    #[inline]
    fn closes<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        place: u16,
        most: usize,
    ) -> bool {
        let Some(Some(program)) = self.programs.get(usize::from(place)) else { return false };
        if program.arena.closes(self.worker).is_empty() {
            return false;
        }
        let groups = program.seats.len() / 64;
        for _ in 0..most.min(groups) {
            let turn = self.turn;
            let Some(Some(program)) = self.programs.get_mut(usize::from(place)) else { break };
            if program.empty_closes.0 != turn {
                program.empty_closes = (turn, 0);
            }
            if program.empty_closes.1 >= limits::EMPTY_CLOSES_A_TURN {
                break;
            }
            let Some(group) = program.arena.closes(self.worker).take() else { break };
            let mut empty = 0;
            for slot in tree::numbers(group) {
                empty += usize::from(self.unname(host, Place { program: place, slot }).is_err());
            }
            if let Some(Some(program)) = self.programs.get_mut(usize::from(place)) {
                program.empty_closes.1 += empty;
            }
        }
        true
    }

    /// Sockets that the program touched come into the queue. True when there were some.
    #[inline]
    fn kicks(&mut self, place: u16) -> bool {
        let Some(Some(program)) = self.programs.get(usize::from(place)) else { return false };
        let kicks = program.arena.kicks(self.worker);
        if kicks.is_empty() {
            return false;
        }
        for _ in 0..limits::KICK_GROUPS_A_TURN {
            let Some(group) = kicks.take() else { break };
            for slot in tree::numbers(group) {
                let Some(handle) = program.socket(slot) else { continue };
                if let Some(socket) = self.sockets.get_mut(handle) {
                    enqueue(socket, handle, &mut self.queue);
                }
            }
        }
        true
    }

    /// Moves the bytes of one socket, says in its cell what holds now, and tells its owners when that is news.
    pub(super) fn serve<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        more: bool,
    ) -> Moved {
        let Sessions {
            programs, sockets, queue, links, policy, wall, monotonic, scratch, to_wake, turn, ..
        } = self;
        let Some(socket) = sockets.get_mut(handle) else { return Moved::default() };
        let Some(Some(home)) = programs.get(usize::from(socket.home.program)) else {
            return Moved::default();
        };
        if socket.was_connected && !core::mem::replace(&mut socket.knows_peer, true) {
            socket.meet_peer(host);
        }
        let moved = match socket.kind {
            Kind::Tcp(tcp) => stream::pump(host, socket, tcp, &home.arena, more),
            Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => {
                let mut help = datagrams::Help { links, policy, wall: *wall, monotonic: *monotonic, scratch };
                datagrams::pump(host, socket, &home.arena, &mut help)
            }
            Kind::TcpClosed | Kind::Listener(_) => Ok(Moved::default()),
        };
        let Ok(moved) = moved else {
            self.end(host, handle);
            return Moved::default();
        };
        self.moved = self.moved.wrapping_add(moved.bytes);
        if moved.again {
            enqueue(socket, handle, queue);
        }
        if moved.wrote {
            socket.wrote_in = *turn;
        }
        let cell = home.arena.cell(socket.home.slot);
        let mut news = moved.readable;
        // A direction that is closed says so by itself.
        let failed = moved.error.filter(|error| *error != Error::BrokenPipe);
        if let Some(error) = failed.or_else(|| socket.error(host)) {
            cell.error.store(errno(error).raw_os_error() as u32, Release);
            news = true;
        }
        news |= publish(host, socket, cell);
        news |= has_wanted_room(socket, cell, home.arena.tx(socket.home.slot).size());
        if (news || moved.any) && cell.changed(news) {
            to_wake.push(socket, handle, cell);
        }
        if news {
            self.tell(handle);
        }
        let Sessions { sockets, queue, turn, .. } = self;
        let Some(socket) = sockets.get_mut(handle).filter(|socket| socket.closing) else { return moved };
        match socket.kind {
            // What was written before the close was on its way, in Linux, before the reset: it leaves with this turn.
            Kind::Tcp(tcp) if socket.wrote_in == *turn && host.tcp().tcp_resets_on_close(tcp) => {
                enqueue(socket, handle, queue);
            }
            _ => self.go_on_closing(host, handle),
        }
        moved
    }

    /// Marks a socket in the news of everybody who has it.
    pub(super) fn tell(&mut self, handle: Handle) {
        let Some(socket) = self.sockets.get(handle) else { return };
        let mut next = socket.first;
        self.number_news(socket.home, next);
        while let Some(Place { program: place, slot }) = next {
            let Some(Some(program)) = self.programs.get_mut(usize::from(place)) else { return };
            program.arena.news().mark(slot);
            if !core::mem::replace(&mut program.has_news, true) {
                self.to_ring.push(place);
            }
            next = program.seat(slot).and_then(|seat| seat.next);
        }
    }

    /// News that wait keep their place in the order, as in the kernel's ready list.
    fn number_news(&mut self, home: Place, first: Option<Place>) {
        let program = |place: Place| self.programs.get(usize::from(place.program))?.as_ref();
        let waits = first.is_some_and(|first| {
            program(first).is_some_and(|program| program.arena.news().is_marked(first.slot))
        });
        if !waits && let Some(home_program) = program(home) {
            home_program.arena.cell(home.slot).worker.told.store(self.news, Relaxed);
            self.news += 1;
        }
    }

    fn ring_bells(&mut self) {
        while let Some(place) = self.to_ring.pop() {
            let Some(Some(program)) = self.programs.get_mut(usize::from(place)) else { continue };
            program.has_news = false;
            let sleep = program.arena.sleep();
            if sleep.is_some() && sleep != program.rung {
                program.rung = sleep;
                if program.waker.ring(self.ringer.as_ref()) {
                    self.ends.answer(Done::Aside(place));
                }
            }
        }
    }

    /// Ends a socket whose program says what cannot be: its connection is reset, its slot stays with nothing behind it.
    fn end<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(handle) else { return };
        socket.leave_the_stack(host, true);
        (socket.kind, socket.gone) = (Kind::TcpClosed, true);
        if let Some(Some(home)) = self.programs.get(usize::from(socket.home.program)) {
            let cell = home.arena.cell(socket.home.slot);
            cell.error.store(libc::ECONNABORTED as u32, Release);
            publish(host, socket, cell);
            if cell.changed(true) {
                self.to_wake.push(socket, handle, cell);
            }
        }
        self.tell(handle);
        if self.sockets.get(handle).is_some_and(|socket| socket.closing) {
            self.go_on_closing(host, handle);
        }
    }
}

/// Sockets whose threads sleep and are to be woken at the end of the turn; each stands in it once.
#[derive(Debug)]
pub(super) struct ToWake(pub(super) Vec<(Handle, Place)>);

impl ToWake {
    #[inline]
    fn push(&mut self, socket: &mut Socket, handle: Handle, cell: &Cell) {
        if socket.to_wake {
            return;
        }
        // More than there is room for: sockets were closed and opened in their places in one turn.
        if self.0.len() == self.0.capacity() {
            return cell.wake();
        }
        socket.to_wake = true;
        self.0.push((handle, socket.home));
    }
}

/// The owner's word of the socket at a place.
pub(super) fn owner_of(handle: Handle) -> Owner {
    Owner(TAG | handle.index() as u64)
}

/// A socket comes into the queue, once.
pub(super) fn enqueue(socket: &mut Socket, handle: Handle, queue: &mut std::collections::VecDeque<Handle>) {
    if !core::mem::replace(&mut socket.queued, true) {
        queue.push_back(handle);
    }
}

/// Writes what holds into the cell; true when that is not what it said before.
fn publish<P: FramePool, M: Probe>(host: &mut Host<'_, '_, P, M>, socket: &mut Socket, cell: &Cell) -> bool {
    let error = cell.error.load(Relaxed) != 0;
    let (mut flags, state) = socket.conditions(host, error);
    if socket.gone {
        flags = flags | Flags::GONE | Flags::READ_END | Flags::WRITE_END;
    }
    let mut announced = socket.announced;
    if let Kind::Tcp(handle) = socket.kind {
        if let Some(ahead) = host.tcp().tcp_urgent_ahead(handle) {
            cell.worker.urgent.store(socket.cursors.rx_head + ahead as u64, Release);
        }
        announced = host.tcp().tcp_urgent_announced(handle);
        cell.worker.announced.store(announced, Release);
    }
    cell.worker.state.store(state, Relaxed);
    cell.worker.flags.store(flags.0, Release);
    // ERROR alone is no news when it goes: whoever took the error knows. NEAR is for who writes, and never news.
    let quiet = Flags::ERROR | Flags::NEAR;
    let news = flags | quiet != socket.told | quiet
        || flags.contains(Flags::ERROR) && !socket.told.contains(Flags::ERROR);
    socket.told = flags;
    news || core::mem::replace(&mut socket.announced, announced) != announced
}

/// True when there is room that the program asked for.
fn has_wanted_room(socket: &Socket, cell: &Cell, size: usize) -> bool {
    // What holds now was written before we look whether anybody waits for it; who waits does so the other way round.
    fence(SeqCst);
    let open_flags = &cell.program.open_flags;
    let wanted = open_flags.load(SeqCst) & WANTS_ROOM != 0;
    if !wanted || !socket.told.contains(Flags::WRITABLE) || cell.room(size) == 0 {
        return false;
    }
    open_flags.fetch_and(!WANTS_ROOM, SeqCst);
    true
}

impl Socket {
    /// The connection stands: is the peer this node?
    fn meet_peer<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) {
        let Kind::Tcp(tcp) = self.kind else { return };
        self.near = host.tcp().tcp_peer(tcp).is_ok_and(|peer| host.stack.owns(peer.ip().to_canonical()));
        if self.near {
            // One that is gone has nothing to write.
            let _gone = host.tcp().tcp_set_near(tcp);
        }
    }

    /// The error that waits in the stack, which waits there no longer.
    fn error<P: FramePool, M: Probe>(&self, host: &mut Host<'_, '_, P, M>) -> Option<Error> {
        match self.kind {
            Kind::TcpClosed | Kind::Listener(_) => None,
            // Soft errors, which end nothing, are not for SO_ERROR.
            Kind::Tcp(handle) if host.tcp().tcp_ready(handle).contains(Ready::ERROR) => {
                host.tcp().tcp_take_error(handle)
            }
            Kind::Tcp(_) => None,
            Kind::Udp(handle) => host.stack.udp_take_error(handle),
            Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_take_error(handle),
        }
    }
}

/// What a lie ends with.
impl From<Lie> for super::Errno {
    fn from(_: Lie) -> super::Errno {
        super::Errno::CONNABORTED
    }
}
