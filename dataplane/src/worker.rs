//! The worker: one thread pinned to one core, which carries every packet of its queues to its end.
//!
//! ```text
//!   turn:  receive ─> stack ─┐
//!          taken over ───────┴─> timers ─> services ─> transmit ─> hand over ─> recycle
//!          every now and then: housekeeping; with nothing to do: idle
//! ```
//!
//! After start a turn allocates nothing, takes no lock, and makes no system call but the kick of a socket
//! in copy mode: one for each burst (none with `kick = "sqpoll"`), and the waking of programs that sleep. Housekeeping makes none either, but for ports
//! that write files and for requests of the control thread, which watches the links. Everything in here belongs to this thread; other threads are met in
//! bounded rings (handoff, commands) and in numbers that are published ([`crate::metrics`]).

use crate::builtin::host::Host;
use crate::builtin::{self, Plan, Services};
use crate::handoff::{Doorbell, Errand, Receiver, Sender};
use crate::mempool::{PoolFrame, WorkerPool};
use crate::metrics::{Metrics, Runtime, StageClock};
use crate::port::PortQueue;
use crate::report::Report;
use crate::session::Sessions;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering};
use flumen_stack::ip::flow;
use flumen_stack::ip::handover::{Delivery, Stray};
use flumen_stack::ip::martian::Martian;
use flumen_stack::ipv6::autoconf::Notice;
use flumen_stack::limits::BURST;
use flumen_stack::socket::blocks::BLOCK;
use flumen_stack::{Burst, Counter, DropReason, Egress, Frame, Instant, PortId, Probe, Stack, Stage, Turn};
use rustix::event::{PollFd, PollFlags};
use std::sync::Arc;
use std::time::Duration;

/// Turns between two rounds of housekeeping of a busy worker. At a burst a turn and 100 cycles a packet
/// that is about every 3 ms, and costs less than a cycle a packet.
pub const TURNS_PER_HOUSEKEEPING: u64 = 1024;

/// Empty turns after which an adaptive worker sleeps. At about 200 ns a turn it has then spun for some 50 µs:
/// the gaps between packets of a busy port are shorter, so a busy worker never sleeps. One that has programs lets others run
/// between two of these turns.
const EMPTY_TURNS_BEFORE_SLEEP: u32 = 256;

/// How long a worker goes on answering one call of a program after the other before it looks at its queues again, at
/// most: see [`Worker::answer`]. No longer than its latency bound, either. A server takes some 15 us for a connection that it
/// accepts, so that those of some thirty go out together; half as many cost a tenth more each.
const LONGEST_ANSWERING: Duration = Duration::from_micros(500);

/// A worker sleeps no longer than this whatever its latency bound, to take commands and publish numbers.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// A worker that stops waits this long for the others to stop writing to it: each notices the end within
/// [`LONGEST_SLEEP`], so one that takes longer has failed, and its last packets stay uncounted.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

/// Turns between two looks whether it is time for housekeeping.
const TURNS_PER_LOOK_AT_THE_CLOCK: u64 = 32;

/// How often a worker does its housekeeping at least, whether it sleeps and wakes or its turns are long: numbers that are
/// this old are fresh enough for an operator, and cost a thousandth of the core.
const HOUSEKEEPING: Duration = Duration::from_millis(50);

/// File descriptors that a sleeping worker waits for: its queues, its doorbell, and what programs ring.
const MAX_WAIT: usize = flumen_stack::limits::MAX_PORTS * 4 + 2;

/// What a worker does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Look again at once.
    Spin,
    /// Sleep until something arrives, and never longer than this.
    Adaptive(Duration),
}

/// Who may ask what of a worker. Taken in housekeeping.
#[derive(Debug)]
pub enum Command {
    /// The link of a port came up or went down.
    PortUp(PortId, bool),
    /// The interface of a port is gone: nothing is asked of its sockets any more.
    PortGone(PortId),
    /// A port has this address from now on.
    AddAddress(PortId, ipnet::IpNet),
    /// It has it no longer.
    RemoveAddress(PortId, std::net::IpAddr),
    /// An address should, or should not, begin conversations.
    Deprecate(PortId, std::net::Ipv6Addr, bool),
    /// The MTU of a port's link.
    SetMtu(PortId, u16),
    /// Fill this in and send it back.
    Report(Box<Report>),
}

/// Where the packets of a port go that this worker cannot transmit itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It has a queue of the port: the place in its list of queues.
    Own(usize),
    /// Another worker has: its number.
    Other(usize),
    /// Nobody has.
    Nowhere,
}

/// The time since the service started; the same origin for every worker.
#[derive(Debug, Clone, Copy)]
pub struct Clock(pub std::time::Instant);

impl Clock {
    /// Now.
    #[inline]
    pub fn now(self) -> Instant {
        Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }
}

/// How packets that arrive at a port are shared out.
#[derive(Debug, Clone, Copy)]
pub struct Sharing {
    /// Ports whose packets go to the worker that the hash of their flow names; a bit for each port.
    pub by_flow: u64,
    /// Ports of which several workers poll queues: fragments that arrive at them go to the worker that the hash of their
    /// addresses names, so that all of a datagram meet where it is put together. A bit for each port.
    pub fragments: u64,
    /// What is said about groups is for all workers: groups are routed.
    pub groups: bool,
    /// The key of that hash, the same on all workers.
    pub key: [u64; 2],
}

/// A worker and all that belongs to it.
#[derive(Debug)]
pub struct Worker {
    /// Its number among the workers.
    pub number: usize,
    /// The stack.
    pub stack: Stack<PoolFrame>,
    /// The queues that it polls.
    pub queues: Vec<PortQueue>,
    /// Frames on their way out, by port.
    pub egress: Egress<PoolFrame>,
    /// The pool. It stands behind everything that holds frames.
    pub pool: WorkerPool,
    /// How each port is reached.
    pub ways: Vec<Way>,
    /// The rings to the other workers; none to itself.
    pub to_others: Vec<Option<Sender>>,
    /// The rings from the other workers.
    pub from_others: Vec<Receiver>,
    /// What rings when another worker or the control thread left something.
    pub bell: Arc<Doorbell>,
    /// Requests of the control thread.
    pub commands: rtrb::Consumer<Command>,
    /// Answers to it.
    pub reports: rtrb::Producer<Box<Report>>,
    /// What it should know without asking.
    pub notices: rtrb::Producer<Notice>,
    /// Notes of martian packets for its log.
    pub martians: rtrb::Producer<Martian>,
    /// Where its numbers are published.
    pub metrics: Arc<Metrics>,
    /// The end, when set.
    pub stop: Arc<AtomicBool>,
    /// The clock.
    pub clock: Clock,
    /// What to do with nothing to do.
    pub idle: Idle,
    /// Packets worked on together.
    pub burst: usize,
    /// How arriving packets are shared out.
    pub sharing: Sharing,
    /// What answers clients at our own addresses.
    pub services: Services,
    /// Sockets of programs.
    pub sessions: Option<Box<Sessions>>,
    /// How it spends its time.
    pub runtime: Runtime,
    /// The stop-watch.
    pub probe: StageClock,
}

impl Worker {
    /// Runs until told to stop. Then everything is given back: see [`Worker::finish`].
    pub fn run(&mut self) {
        let mut empty_turns = 0u32;
        let mut until_housekeeping = 0;
        let mut next_housekeeping = Instant::ZERO;
        // Acquire: partner of the Release store of whoever stops the service.
        while !self.stop.load(Ordering::Acquire) {
            let busy = self.turn();
            empty_turns = if busy { 0 } else { empty_turns.saturating_add(1) };
            // Turns that have much to do are long; who asks for numbers does not wait for a thousand of those.
            if until_housekeeping == 0
                || until_housekeeping % TURNS_PER_LOOK_AT_THE_CLOCK == 0
                    && self.clock.now() >= next_housekeeping
            {
                self.housekeeping();
                until_housekeeping = TURNS_PER_HOUSEKEEPING;
                next_housekeeping = self.clock.now() + HOUSEKEEPING;
            }
            until_housekeeping -= 1;
            let Idle::Adaptive(longest) = self.idle else { continue };
            if self.sessions.is_some() {
                if !busy {
                    // Whom we woke, or who waits for an answer, may have to run on this very processor.
                    rustix::thread::sched_yield();
                }
                self.answer(longest.min(LONGEST_ANSWERING));
            }
            if empty_turns > EMPTY_TURNS_BEFORE_SLEEP {
                let now = self.clock.now();
                if !self.commands.is_empty() || now >= next_housekeeping {
                    self.housekeeping();
                    next_housekeeping = now + HOUSEKEEPING;
                }
                self.sleep(longest.min(LONGEST_SLEEP));
            }
        }
        self.finish();
    }

    /// One turn of the loop: true when a packet moved.
    pub fn turn(&mut self) -> bool {
        let started = self.probe.start();
        let now = self.clock.now();
        let received = self.receive(now) + self.take_over(now);
        if now >= self.stack.next_deadline() {
            let mut turn =
                Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
            self.stack.timers(&mut turn);
        }
        let served = self.serve(now);
        let sent = self.transmit(now);
        self.hand_over_facts();
        for queue in &mut self.queues {
            queue.recycle();
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.wake();
        }
        self.probe.mark(Stage::Transmit);
        self.runtime.turns += 1;
        let busy = received + sent > 0 || served;
        if busy {
            self.runtime.busy_turns += 1;
            self.runtime.busy_cycles += af_xdp::cycles::now().wrapping_sub(started);
        }
        busy
    }

    /// Programs are asked what they want, owners of sockets hear their news, and what they say leaves the stack. True when a
    /// program wanted or heard something.
    #[inline]
    fn serve(&mut self, now: Instant) -> bool {
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        let Some(sessions) = self.sessions.as_deref_mut() else {
            self.services.turn(&mut self.stack, &mut turn, None);
            self.stack.output(&mut turn);
            self.send_strays();
            return false;
        };
        let mut host = Host { stack: &mut self.stack, turn: &mut turn };
        let asked = sessions.ask(&mut host);
        self.services.turn(host.stack, host.turn, Some(sessions));
        let mut settled = sessions.settle(&mut host);
        if host.stack.output(host.turn) {
            // What programs of this node said to each other is heard in the same turn, as on a kernel.
            self.services.turn(host.stack, host.turn, Some(sessions));
            settled |= sessions.settle(&mut host);
        }
        // What timers, services and programs sent to ourselves may belong to other workers, too.
        self.send_strays();
        asked || settled
    }

    /// Answers calls of programs for as long as there are some, and lets their callers run in between: for no longer than this,
    /// and until a burst waits to be sent.
    ///
    /// A server that shares this processor makes a call for each connection that it accepts, and waits. What it sends
    /// meanwhile, and what arrives, gathers: a burst costs the kernel, and the peers that it wakes, little more than a packet.
    fn answer(&mut self, longest: Duration) {
        let begin = self.clock.now();
        let mut now = begin;
        while self.sessions.as_ref().is_some_and(|sessions| sessions.has_calls()) && now < begin + longest {
            let started = self.probe.start();
            self.serve(now);
            self.runtime.busy_cycles += af_xdp::cycles::now().wrapping_sub(started);
            if self.has_burst_to_send() {
                break;
            }
            rustix::thread::sched_yield();
            now = self.clock.now();
        }
    }

    /// Whether as much waits for a port as is sent together.
    fn has_burst_to_send(&mut self) -> bool {
        let ports = (0..self.ways.len()).filter_map(PortId::new);
        ports.into_iter().any(|port| self.egress.queue(port).is_some_and(|queue| queue.len() >= BURST))
    }

    /// Makes the services and opens their sockets: before the first turn. `seed` is for what should look random.
    ///
    /// # Errors
    /// The first socket that cannot be opened.
    pub fn start_services(&mut self, plans: &[Plan], seed: u64) -> Result<(), builtin::StartError> {
        let now = self.clock.now();
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        let mut host = Host { stack: &mut self.stack, turn: &mut turn };
        self.services = Services::start(plans, seed, &mut host)?;
        Ok(())
    }

    /// A burst from each queue, through the stack.
    #[inline]
    fn receive(&mut self, now: Instant) -> usize {
        let mut received = 0;
        let mut burst: Burst<PoolFrame> = Burst::new();
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            queue.receive(&mut self.pool, &mut burst, self.burst, &mut self.stack.counters);
            let port = queue.port;
            self.probe.mark(Stage::Receive);
            if burst.is_empty() {
                continue;
            }
            received += burst.len();
            self.runtime.bursts += 1;
            if self.sharing.groups {
                self.tell_of_groups(port, &burst);
            }
            if self.sharing.by_flow & 1 << port.index() != 0 {
                self.share_out(port, &mut burst, |_| true);
            } else if self.sharing.fragments & 1 << port.index() != 0 {
                self.share_out(port, &mut burst, flow::may_be_fragment);
            }
            let mut turn =
                Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
            self.stack.input(&mut turn, port, &mut burst);
            self.send_strays();
        }
        self.runtime.packets += received as u64;
        received
    }

    /// Copies what is said about groups to the other workers: each of them knows who listens.
    fn tell_of_groups(&mut self, port: PortId, burst: &Burst<PoolFrame>) {
        for frame in burst.iter().filter(|frame| flow::is_about_groups(frame)) {
            for other in self.to_others.iter_mut().flatten() {
                match other.send(Errand::Receive, port, frame) {
                    Ok(()) => self.runtime.handed_over += 1,
                    // The packet itself goes on here; of the copy the other worker will hear with the next report.
                    Err(_) => self.stack.counters.count(Counter::GroupMessagesUntold),
                }
            }
        }
    }

    /// Hands the packets of other workers' flows over to them, as far as they `are_shared`; what is left in the burst is
    /// ours.
    fn share_out(&mut self, port: PortId, burst: &mut Burst<PoolFrame>, are_shared: impl Fn(&[u8]) -> bool) {
        let workers = self.to_others.len() as u64;
        let mut ours: Burst<PoolFrame> = Burst::new();
        for frame in burst.drain(..) {
            // What is about groups was copied to all others already.
            let stays = !are_shared(&frame) || self.sharing.groups && flow::is_about_groups(&frame);
            let owner = match flow::symmetric_hash_of_frame(&frame, self.sharing.key) {
                Some(hash) if !stays => (hash % workers) as usize,
                _ => self.number,
            };
            match self.to_others[owner].as_mut() {
                None => ours.push(frame),
                Some(other) => match other.send(Errand::Receive, port, &frame) {
                    Ok(()) => self.runtime.handed_over += 1,
                    Err(reason) => self.stack.counters.drop_arrived(port, frame.packet_len(), reason),
                },
            }
        }
        *burst = ours;
        self.probe.mark(Stage::Handoff);
    }

    /// Takes over what other workers handed to this one: a burst from each.
    fn take_over(&mut self, now: Instant) -> usize {
        let mut taken = 0;
        for index in 0..self.from_others.len() {
            if self.from_others[index].is_empty() {
                continue;
            }
            while let Some(fact) = self.from_others[index].fact() {
                let mut turn =
                    Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
                self.stack.learn(&mut turn, fact);
                taken += 1;
            }
            taken += self.take_packets(now, index);
            self.probe.mark(Stage::Handoff);
        }
        taken
    }

    /// Up to a burst of packets from one other worker, in runs of the same errand and port.
    fn take_packets(&mut self, now: Instant, index: usize) -> usize {
        let mut burst: Burst<PoolFrame> = Burst::new();
        let mut strays: ArrayVec<(PortId, Delivery, PoolFrame), BURST> = ArrayVec::new();
        let mut run: Option<PortId> = None;
        let mut taken = 0;
        while taken < BURST {
            let Some(next) = self.from_others[index].receive(&mut self.pool) else { break };
            taken += 1;
            match next {
                Err(reason) => self.stack.counters.drop(reason),
                Ok((Errand::Transmit, port, frame)) => {
                    self.egress.forward(port, frame, &mut self.stack.counters);
                }
                Ok((Errand::Receive, port, frame)) => {
                    if let Some(last) = run.replace(port)
                        && last != port
                    {
                        self.input(now, last, &mut burst);
                    }
                    burst.push(frame);
                }
                Ok((Errand::Deliver(delivery), port, frame)) => strays.push((port, delivery, frame)),
            }
        }
        if let Some(port) = run {
            self.input(now, port, &mut burst);
        }
        if !strays.is_empty() {
            let mut turn =
                Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
            self.stack.take_over(&mut turn, strays.drain(..));
            self.send_strays();
        }
        self.runtime.taken_over += taken as u64;
        taken
    }

    fn input(&mut self, now: Instant, port: PortId, burst: &mut Burst<PoolFrame>) {
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        self.stack.input(&mut turn, port, burst);
        self.send_strays();
    }

    /// Hands over what came here and is for a socket of another worker.
    #[inline]
    fn send_strays(&mut self) {
        while let Some(Stray { worker, port, delivery, frame }) = self.stack.next_stray() {
            let sent = match self.to_others.get_mut(worker).and_then(Option::as_mut) {
                Some(other) => other.send(Errand::Deliver(delivery), port, &frame),
                None => Err(DropReason::PortUnreachable),
            };
            self.runtime.handed_over += u64::from(sent.is_ok());
            self.stack.counters.drop(sent.err().unwrap_or(DropReason::HandedOver));
        }
    }

    /// Sends what waits for each port: by a queue of our own, or by the worker that has one.
    #[inline]
    fn transmit(&mut self, now: Instant) -> usize {
        let mut sent = 0;
        for (index, way) in self.ways.iter().enumerate() {
            let Some(waiting) = PortId::new(index).and_then(|port| self.egress.queue(port)) else { continue };
            match *way {
                Way::Own(queue) => {
                    let queue = &mut self.queues[queue];
                    if !waiting.is_empty() || queue.wants_kick() {
                        sent += queue.transmit(waiting, now, &mut self.stack.counters);
                    }
                }
                Way::Other(worker) => {
                    let (Some(other), Some(port)) = (self.to_others[worker].as_mut(), PortId::new(index))
                    else {
                        continue;
                    };
                    while let Some(frame) = waiting.pop() {
                        match other.send(Errand::Transmit, port, &frame) {
                            Ok(()) => {
                                self.runtime.handed_over += 1;
                                sent += 1;
                            }
                            Err(reason) => self.stack.counters.drop_unsent(port, reason),
                        }
                    }
                }
                Way::Nowhere => {
                    for _ in 0..waiting.clear() {
                        let Some(port) = PortId::new(index) else { continue };
                        self.stack.counters.drop_unsent(port, DropReason::PortDown);
                    }
                }
            }
        }
        self.runtime.transmitted += sent as u64;
        sent
    }

    /// Tells the other workers what neighbours said, and rings whom something was left for.
    fn hand_over_facts(&mut self) {
        while let Some(fact) = self.stack.next_fact() {
            for other in self.to_others.iter_mut().flatten() {
                other.tell(fact);
            }
        }
        for other in self.to_others.iter_mut().flatten() {
            other.flush();
        }
    }

    /// What is done now and then: commands, numbers, buffered files.
    pub fn housekeeping(&mut self) {
        self.stack.quiesce();
        if let Ok(unix) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            let now = self.clock.now();
            self.services.set_wall(now, unix);
            if let Some(sessions) = &mut self.sessions {
                sessions.set_wall(now, unix);
                sessions.set_generation(self.stack.ways_generation());
            }
        }
        while let Ok(command) = self.commands.pop() {
            match command {
                Command::PortUp(port, up) => self.set_port_up(port, up),
                Command::PortGone(port) => {
                    for queue in self.queues.iter_mut().filter(|queue| queue.port == port) {
                        queue.give_up();
                    }
                }
                Command::AddAddress(port, net) => {
                    let _as_many_as_can_be = self.stack.add_address(self.clock.now(), port, net);
                }
                Command::RemoveAddress(port, address) => self.stack.remove_address(port, address),
                Command::Deprecate(port, address, deprecated) => {
                    self.stack.deprecate_address(port, address, deprecated);
                }
                Command::SetMtu(port, mtu) => self.stack.set_mtu(port, mtu),
                Command::Report(mut report) => {
                    report.fill(self);
                    // The ring holds as many reports as there can be requests; a full one means that nobody
                    // waits for this one any more.
                    let _ = self.reports.push(report);
                }
            }
        }
        // What finds no room is said again by the routers.
        while !self.notices.is_full()
            && let Some(notice) = self.stack.next_notice()
        {
            let _there_is_room = self.notices.push(notice);
        }
        while !self.martians.is_full() {
            let Some(martian) = self.stack.martians.take() else { break };
            let _ = self.martians.push(martian);
        }
        for queue in &mut self.queues {
            queue.housekeeping();
        }
        let account = self.pool.0.account();
        self.runtime.frames = u64::from(account.size);
        self.runtime.frames_free = u64::from(account.free);
        self.runtime.frames_in_rings = u64::from(account.in_rings);
        self.runtime.frames_held = u64::from(account.held);
        self.runtime.frames_quarantined = u64::from(account.quarantined);
        self.runtime.frames_unbalanced |= u64::from(!self.frames_are_conserved());
        self.runtime.neighbours = self.stack.neighbours.len() as u64;
        self.runtime.connections = self.stack.tcp.connections() as u64;
        self.runtime.program_sockets = self.sessions.as_ref().map_or(0, |sessions| sessions.sockets() as u64);
        self.runtime.socket_memory = (self.stack.blocks.in_use() * BLOCK) as u64;
        self.metrics.publish(&self.stack.counters, self.ways.len(), &self.runtime, &self.probe);
        self.probe.mark(Stage::Housekeeping);
    }

    /// Frames free, in rings and held by what we know of must add up to the pool.
    fn frames_are_conserved(&self) -> bool {
        let sockets = self.queues.iter().filter_map(|queue| match &queue.carrier {
            crate::port::Port::AfXdp(queue) => Some(&queue.socket),
            crate::port::Port::Pcap(_) | crate::port::Port::Memory(_) | crate::port::Port::Tap(_) => None,
        });
        self.pool.0.conservation(sockets).is_ok()
    }

    fn set_port_up(&mut self, port: PortId, up: bool) {
        let now = self.clock.now();
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        self.stack.set_port_up(&mut turn, port, up);
        if !up {
            self.egress.give_up(port, DropReason::PortDown, &mut self.stack.counters);
        }
    }

    /// When something is to be done though no packet comes.
    fn next_deadline(&self) -> Instant {
        if !self.stack.events.is_empty() {
            return Instant::ZERO;
        }
        let sessions = self.sessions.as_ref().map_or(Instant::NEVER, |sessions| sessions.next_deadline());
        self.stack.next_deadline().min(self.services.next_deadline()).min(sessions)
    }

    /// Sleeps until a packet arrives, the doorbell rings, or a timer is due; at most `longest`.
    fn sleep(&mut self, longest: Duration) {
        self.bell.going_to_sleep();
        let endless = self.queues.iter().any(PortQueue::is_endless);
        let asked = self.sessions.as_mut().is_some_and(|sessions| sessions.going_to_sleep());
        let left_for_us = self.from_others.iter().any(|ring| !ring.is_empty()) || !self.commands.is_empty();
        if !(endless || asked || left_for_us || self.stop.load(Ordering::Acquire)) {
            let until_timer = self.next_deadline().since(self.clock.now());
            let limit = longest.min(until_timer);
            self.stack.going_to_sleep();
            let mut waits = ArrayVec::<PollFd<'_>, MAX_WAIT>::new();
            waits.push(PollFd::new(&self.bell, PollFlags::IN));
            let rung = self.sessions.as_ref().map(|sessions| sessions.rung());
            waits.extend(rung.map(|rung| PollFd::new(rung, PollFlags::IN)));
            for descriptor in self.queues.iter().filter_map(PortQueue::wait_on) {
                if waits.try_push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).is_err() {
                    break;
                }
            }
            let timeout = rustix::time::Timespec {
                tv_sec: limit.as_secs() as i64,
                tv_nsec: i64::from(limit.subsec_nanos()),
            };
            // A signal ends the sleep early, which does no harm.
            let _ = rustix::event::poll(&mut waits, Some(&timeout));
            if let (Some(rung), Some(wait)) = (rung, waits.get(1))
                && !wait.revents().is_empty()
            {
                rung.hear();
            }
            self.stack.awake();
            self.runtime.sleeps += 1;
        }
        if let Some(sessions) = &self.sessions {
            sessions.awake();
        }
        self.bell.awake();
    }

    /// The end, first half: what waits is sent as far as it goes, the rest is dropped and counted
    /// ([`DropReason::Stopping`]), and the other workers hear no more from this one.
    pub fn leave(&mut self) {
        let now = self.clock.now();
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        self.stack.say_goodbye(&mut turn);
        self.transmit(now);
        let mut turn = Turn { now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut self.probe };
        self.stack.stop_waiting(&mut turn);
        for port in (0..self.ways.len()).filter_map(PortId::new) {
            self.egress.give_up(port, DropReason::Stopping, &mut self.stack.counters);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.stop();
        }
        self.send_strays();
        self.hand_over_facts();
        // Dropped, they tell the readers that nothing more will come.
        self.to_others.fill_with(|| None);
    }

    /// The end, second half: what the others left for this worker before they left themselves is counted, and
    /// the last numbers are published.
    pub fn finish(&mut self) {
        self.leave();
        // The forwarding table need not wait for a worker that will not look at it again.
        self.stack.going_to_sleep();
        let deadline = self.clock.now() + LONGEST_GOODBYE;
        for ring in &mut self.from_others {
            loop {
                // Asked before the ring is emptied: what was written before the writer went is then in it.
                let last_look = ring.is_abandoned() || self.clock.now() >= deadline;
                ring.give_up(|errand, port, bytes| match errand {
                    Errand::Receive => self.stack.counters.drop_arrived(port, bytes, DropReason::Stopping),
                    Errand::Transmit => self.stack.counters.drop_unsent(port, DropReason::Stopping),
                    Errand::Deliver(_) => {
                        self.stack.counters.count(Counter::TakenOver);
                        self.stack.counters.drop(DropReason::Stopping);
                    }
                });
                if last_look {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.housekeeping();
        self.stack.going_to_sleep();
    }
}
