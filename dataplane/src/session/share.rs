//! Who has a socket: names in slots of programs, their chain, and what happens when the last one goes.

use super::order::{Done, Found, Order};
use super::program::{Place, Program, Seat};
use super::socket::{Kind, Socket};
use super::turn::enqueue;
use super::{Errno, Sessions, limits};
use crate::builtin::host::Host;
use core::sync::atomic::Ordering::Acquire;
use flumen_ipc::{Geometry, Watch};
use flumen_stack::socket::Handle;
use flumen_stack::{FramePool, Probe};

/// The user who makes sockets as any other.
const ROOT: u32 = 0;

impl Sessions {
    /// Does what the control thread asks.
    pub(super) fn carry_out<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) {
        while let Ok(order) = self.ends.orders.pop() {
            // A child has nothing of what its parent let go of before.
            self.all_closes(host);
            match order {
                Order::Attach(program) => self.attach(program),
                Order::Inherit(program, parent) => self.inherit(program, parent),
                Order::Adopt { program, slot, cookie, maker } => {
                    let found = self.adopt(host, program, slot, (cookie, maker));
                    self.ends.answer(Done::Adopted(program, found));
                }
                Order::Detach(place) => {
                    if let Some(Some(program)) = self.programs.get_mut(usize::from(place)) {
                        program.leaving = Some(0);
                        self.watched.leaves(place);
                    }
                }
            }
        }
    }

    fn attach(&mut self, program: Box<Program>) {
        let place = program.place;
        match self.programs.get_mut(usize::from(place)) {
            Some(free @ None) => {
                self.watched.insert(place, Watch::new(&program.arena, self.worker));
                *free = Some(program);
                self.ends.answer(Done::Attached(place));
            }
            _ => self.ends.answer(Done::Refused(program)),
        }
    }

    /// Every name of the parent is a name of the child, in the same slot.
    fn inherit(&mut self, mut program: Box<Program>, parent: u16) {
        let (child, geometry) = (program.place, *program.arena.geometry());
        let fits =
            |parent: &Program| same_slots(parent.arena.geometry(), &geometry) && parent.leaving.is_none();
        let Some(Some(parent)) = self.programs.get_mut(usize::from(parent)).map(Option::as_mut) else {
            return self.ends.answer(Done::Refused(program));
        };
        if !fits(parent) {
            return self.ends.answer(Done::Refused(program));
        }
        let mut left = parent.names;
        for (slot, (seat, mine)) in parent.seats.iter_mut().zip(&mut program.seats).enumerate() {
            if left == 0 {
                break;
            }
            let Some(handle) = seat.socket else { continue };
            left -= 1;
            // Behind the parent's name in the chain.
            let place = Place { program: child, slot: slot as u32 };
            *mine = Seat { socket: Some(handle), next: seat.next.replace(place), is_home: false };
            program.names += 1;
            if let Some(socket) = self.sockets.get_mut(handle) {
                socket.owners += 1;
            }
        }
        self.attach(program);
    }

    /// A program says itself which socket of the kernel's its own stands for: the number alone, which others can guess, does not
    /// make it the one. It is that of the user who made the kernel's socket, or root's, who makes sockets as any user.
    fn adopt<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        place: u16,
        slot: u32,
        (cookie, maker): (u64, u32),
    ) -> Result<Option<Found>, ()> {
        let is_named = |socket: &Socket| {
            socket.cookie == cookie && (socket.user.uid == maker || socket.user.is_privileged())
        };
        // One that waits for it, or one that somebody still has: once for each descriptor that a process took over.
        let held = self.held.iter().map(|(handle, _)| *handle);
        let is_it = |handle: &Handle| self.sockets.get(*handle).is_some_and(is_named);
        let find = |uid| self.cookies.find(&self.sockets, cookie, uid);
        let handle = held.into_iter().find(is_it).or_else(|| find(maker)).or_else(|| find(ROOT));
        let Some(handle) = handle else { return Ok(None) };
        let is_free = |program: &Program| program.seat(slot).is_some_and(|seat| seat.socket.is_none());
        let Some(Some(program)) = self.programs.get(usize::from(place)) else { return Err(()) };
        if !is_free(program) || program.leaving.is_some() {
            return Err(());
        }
        self.name(handle, Place { program: place, slot });
        if let Some(index) = self.held.iter().position(|(held, _)| *held == handle) {
            self.held.remove(index);
            self.let_go(host, handle);
        }
        let worker = self.worker;
        Ok(self.sockets.get(handle).map(|socket| Found {
            worker: worker as u32,
            home: socket.home.program,
            slot: socket.home.slot,
            family: socket.family,
            socket_type: socket.socket_type,
            protocol: socket.protocol,
        }))
    }

    /// One more name for a socket; the slot is free.
    pub(super) fn name(&mut self, handle: Handle, place: Place) {
        let Some(Some(program)) = self.programs.get_mut(usize::from(place.program)) else { return };
        let (Some(socket), Some(seat)) =
            (self.sockets.get_mut(handle), program.seats.get_mut(place.slot as usize))
        else {
            return;
        };
        seat.socket = Some(handle);
        seat.next = socket.first.replace(place);
        program.names += 1;
        socket.owners += 1;
    }

    /// A new socket, at home in a slot of the program, which names it. The cell is made new for it.
    pub(super) fn house(&mut self, socket: Socket) -> Result<Handle, Errno> {
        let home = socket.home;
        let Some(Some(program)) = self.programs.get_mut(usize::from(home.program)) else {
            return Err(Errno::BADF);
        };
        if !program.settle(home.slot) {
            return Err(Errno::BUSY);
        }
        let Ok(handle) = self.sockets.insert(socket) else {
            program.leave(home.slot);
            return Err(Errno::NOBUFS);
        };
        program.arena.cell(home.slot).clear();
        self.cookies.insert(&mut self.sockets, handle);
        self.name(handle, home);
        self.count_sockets();
        Ok(handle)
    }

    /// A program lets go of a slot. True when others still have the socket.
    pub(super) fn unname<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        place: Place,
    ) -> Result<bool, Errno> {
        let Some(Some(program)) = self.programs.get_mut(usize::from(place.program)) else {
            return Err(Errno::BADF);
        };
        let seat = program.seats.get_mut(place.slot as usize).ok_or(Errno::BADF)?;
        let handle = seat.socket.take().ok_or(Errno::BADF)?;
        let next = seat.next.take();
        program.names -= 1;
        self.unlink(handle, place, next);
        self.let_go(host, handle);
        Ok(self.sockets.get(handle).is_some_and(|socket| !socket.closing))
    }

    /// Takes a slot out of the chain of a socket's names.
    fn unlink(&mut self, handle: Handle, place: Place, next: Option<Place>) {
        let Some(socket) = self.sockets.get_mut(handle) else { return };
        if socket.first == Some(place) {
            socket.first = next;
            return;
        }
        let mut at = socket.first;
        while let Some(before) = at {
            let program = self.programs.get_mut(usize::from(before.program)).and_then(Option::as_mut);
            let Some(seat) = program.and_then(|program| program.seats.get_mut(before.slot as usize)) else {
                return;
            };
            if seat.next == Some(place) {
                seat.next = next;
                return;
            }
            at = seat.next;
        }
    }

    /// One owner less; the last one's going closes the socket, as soon as what was written found room in the send buffer.
    fn let_go<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(handle) else { return };
        socket.owners = socket.owners.saturating_sub(1);
        if socket.owners == 0 {
            socket.closing = true;
            self.serve(host, handle, false);
        } else {
            // What it wrote last it told of by its own name in the tables, or was about to: looked for once more, for the others.
            enqueue(socket, handle, &mut self.queue);
        }
    }

    /// Closes a socket that nobody names, unless bytes in its send ring still wait for room.
    pub(super) fn go_on_closing<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
    ) {
        let Some(socket) = self.sockets.get(handle) else { return };
        let Some(Some(home)) = self.programs.get(usize::from(socket.home.program)) else { return };
        let written = home.arena.cell(socket.home.slot).program.tx_tail.load(Acquire);
        let waits = match socket.kind {
            Kind::Tcp(tcp) => written != socket.cursors.tx_head && !host.tcp().tcp_is_write_closed(tcp),
            _ => false,
        };
        if !waits {
            self.close(host, handle, false);
        }
    }

    /// The end of a socket.
    pub(super) fn close<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        abort: bool,
    ) {
        let Some(mut socket) = self.sockets.remove(handle) else { return };
        self.cookies.remove(&mut self.sockets, &socket);
        socket.leave_the_stack(host, abort);
        let home = socket.home;
        let Some(Some(program)) = self.programs.get_mut(usize::from(home.program)) else { return };
        program.leave(home.slot);
        self.count_sockets();
        self.bury(home.program);
    }

    /// A program that is gone, and whose memory nobody uses, goes back to who made it.
    fn bury(&mut self, place: u16) {
        let Some(slot) = self.programs.get_mut(usize::from(place)) else { return };
        let over = |program: &mut Box<Program>| {
            program.leaving.is_some() && program.names == 0 && program.homes == 0
        };
        if let Some(program) = slot.take_if(over) {
            self.watched.remove(place);
            self.ends.answer(Done::Gone(program));
        }
    }

    /// Some slots of a program that is gone, as far as `closings` allows. True while there are more.
    pub(super) fn go_on_leaving<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        place: u16,
        closings: &mut usize,
    ) -> bool {
        while let Some(left) = closings.checked_sub(1) {
            *closings = left;
            let Some(Some(program)) = self.programs.get_mut(usize::from(place)) else { return false };
            if program.names == 0 {
                self.watched.is_gone(place);
                self.bury(place);
                return false;
            }
            let Some(from) = program.leaving else { return false };
            let named = |seat: &Seat| seat.socket.is_some();
            let rest = program.seats.get(from as usize..).unwrap_or_default();
            let Some(ahead) = rest.iter().position(named) else {
                self.watched.is_gone(place);
                return false;
            };
            let slot = from + ahead as u32;
            program.leaving = Some(slot + 1);
            let _let_go = self.unname(host, Place { program: place, slot });
        }
        true
    }

    /// Keeps a socket for a process that will adopt it.
    pub(super) fn hold<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, handle: Handle) {
        let until = host.turn.now + limits::HOLD;
        if let Some(index) = self.held.iter().position(|(held, _)| *held == handle) {
            self.held.remove(index);
        } else {
            if self.held.len() == limits::MAX_HELD
                && let Some((oldest, _)) = self.held.pop_front()
            {
                self.let_go(host, oldest);
            }
            if let Some(socket) = self.sockets.get_mut(handle) {
                socket.owners += 1;
            }
        }
        self.held.push_back((handle, until));
    }

    /// Nobody came for them.
    pub(super) fn expire_holds<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>) {
        while let Some((handle, until)) = self.held.front().copied()
            && until <= host.turn.now
        {
            self.held.pop_front();
            self.let_go(host, handle);
        }
    }
}

fn same_slots(one: &Geometry, other: &Geometry) -> bool {
    one.slots == other.slots
}

impl Socket {
    /// Gives everything back that it has in the stack.
    pub(super) fn leave_the_stack<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        abort: bool,
    ) {
        match self.kind {
            Kind::TcpClosed => {}
            Kind::Listener(handle) => host.tcp().tcp_unlisten(handle),
            Kind::Tcp(handle) if abort => host.tcp().tcp_abort(handle),
            Kind::Tcp(handle) => host.tcp().tcp_close(handle),
            Kind::Udp(handle) => host.stack.udp_close(host.turn, handle),
            Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_close(host.turn, handle),
        }
        if let Some(bind) = self.bind.take() {
            host.tcp().tcp_unbind(bind);
        }
    }
}
