//! A worker of the generator: one thread, its queues, and one turn after another.
//!
//! ```text
//!   turn, for each queue:   receive ─> marked? the books : ARP, ND? answer : count
//!                           make what is due ─> transmit ─> recycle
//!   between two runs:       the same without sending, so that neighbours are answered; a little sleep
//! ```
//! During a run it allocates nothing, takes no lock, and makes no system call but the kick. The control thread is met
//! in numbers that are published and in histograms that are exchanged.

use super::account::Account;
use super::clock;
use super::mark::Mark;
use super::neighbour::{Heard, Identity, Message};
use super::open::{self, Desk, Opened, Roles};
use super::source::Source;
use af_xdp::{Attachment, Grant};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use flumen::mempool::{PoolFrame, WorkerPool};
use flumen::port::{Port, PortQueue};
use flumen_stack::limits::BURST;
use flumen_stack::{Burst, Counters, Egress, Frame, Instant, MacAddr};
use hdrhistogram::Histogram;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

/// Turns between two publications of the numbers: some microseconds each, so a display is never late.
const TURNS_PER_PUBLICATION: u32 = 64;

/// How long a worker without a run sleeps when nothing arrived: a neighbour that asks waits no longer.
const NAP: Duration = Duration::from_micros(200);

/// How long frames that the port did not take yet may take after the last was made.
const DRAIN: u64 = 1_000_000_000;

/// Frames that wait for a port: a burst of traffic, and answers to neighbours on top.
const WAITING: usize = 2 * BURST;

/// What all workers and the control thread share during a run.
#[derive(Debug, Default)]
pub struct Control {
    /// No more frames are made.
    pub stop_sending: AtomicBool,
    /// The run is over.
    pub stop: AtomicBool,
    /// Senders that have not finished.
    pub sending: AtomicUsize,
    /// Receivers whose input has not ended; only files end.
    pub receiving: AtomicUsize,
}

/// The numbers of one worker, published now and then; it alone writes them, so nothing is ordered.
#[derive(Debug, Default)]
pub struct Progress {
    /// Frames made.
    pub tx_frames: AtomicU64,
    /// Their bytes.
    pub tx_bytes: AtomicU64,
    /// Frames that arrived.
    pub rx_frames: AtomicU64,
    /// Their bytes.
    pub rx_bytes: AtomicU64,
    /// Marked ones, each once.
    pub unique: AtomicU64,
}

/// What the control thread asks of a worker.
#[derive(Debug)]
pub enum Command {
    /// A run.
    Run(Box<Job>),
    /// Send this by the port of sender 0, and say who answers.
    Ask(Message),
    /// Who has answered since the last command of this kind?
    Learnt(Sender<Vec<(IpAddr, MacAddr)>>),
}

/// One run, as one worker sees it.
#[derive(Debug)]
pub struct Job {
    /// What each of its queues sends.
    pub sources: Vec<Option<Source>>,
    /// Frames worked on together.
    pub burst: usize,
    /// The books, empty.
    pub account: Account,
    /// Shared with everybody.
    pub control: Arc<Control>,
    /// Where the end is told.
    pub outcome: Sender<Outcome>,
}

/// What one worker saw and did in a run.
#[derive(Debug)]
pub struct Outcome {
    /// The books.
    pub account: Account,
    /// The rest.
    pub tally: Tally,
}

/// Plain numbers of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes, check sequences included.
    pub tx_bytes: u64,
    /// Frames made that no port took: not sent.
    pub tx_unsent: u64,
    /// When the first was made and the last one was taken by the port.
    pub tx_time: Option<(u64, u64)>,
    /// Nanoseconds of sending that the pacer gave up on.
    pub tx_forgotten: u64,
    /// Frames that arrived at receiving ports.
    pub rx_frames: u64,
    /// Their bytes, check sequences included.
    pub rx_bytes: u64,
    /// When the first marked one arrived, and the last.
    pub rx_time: Option<(u64, u64)>,
    /// ARP and neighbour discovery.
    pub rx_neighbour: u64,
    /// Frames that are neither marked nor about neighbours.
    pub rx_other: u64,
    /// Frames that were lost in front of our sockets: the kernel found their rings full or empty.
    pub rx_overrun: u64,
}

/// Rings of histograms between a worker and the control thread.
#[derive(Debug)]
pub struct Exchange {
    /// Empty ones.
    pub empty: rtrb::Consumer<Box<Histogram<u64>>>,
    /// Those of the last interval.
    pub filled: rtrb::Producer<Box<Histogram<u64>>>,
}

/// One queue in use.
struct Place {
    queue: PortQueue,
    roles: Roles,
    identity: Identity,
    source: Option<Source>,
    finished: bool,
    /// Keeps the XDP program on the interface.
    _attachment: Option<Arc<Attachment>>,
}

/// A worker and all that belongs to it. The pool stands behind everything that holds frames.
pub struct Worker {
    places: Vec<Place>,
    egress: Egress<PoolFrame>,
    pool: WorkerPool,
    counters: Counters,
    learnt: Vec<(IpAddr, MacAddr)>,
    progress: Arc<Progress>,
    exchange: Exchange,
    started: std::time::Instant,
}

/// Answers that are remembered until somebody asks for them: the next hop's is among the first.
const MAX_LEARNT: usize = 64;

impl Worker {
    /// Opens the queues of a desk, on the thread that will run them.
    ///
    /// # Errors
    /// One line.
    pub fn open(
        desk: Desk,
        progress: Arc<Progress>,
        exchange: Exchange,
    ) -> Result<(Worker, Vec<Grant>), String> {
        if let Some(id) = desk.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id })
        {
            return Err(format!("cannot run on cpu {id}: is it online, and allowed?"));
        }
        let pool = open::pool(&desk.seats)?;
        let (mut places, mut grants) = (Vec::new(), Vec::new());
        for (index, seat) in desk.seats.into_iter().enumerate() {
            let (roles, identity) = (seat.roles, seat.identity.clone());
            let Opened { queue, grant, attachment } = open::sit(seat, index, &pool)?;
            grants.extend(grant);
            places.push(Place {
                queue,
                roles,
                identity,
                source: None,
                finished: true,
                _attachment: attachment,
            });
        }
        let worker = Worker {
            egress: Egress::new(places.iter().map(|_| WAITING)),
            places,
            pool,
            counters: Counters::default(),
            learnt: Vec::with_capacity(MAX_LEARNT),
            progress,
            exchange,
            started: std::time::Instant::now(),
        };
        Ok((worker, grants))
    }

    /// Serves until the control thread is gone.
    pub fn serve(mut self, commands: &Receiver<Command>) {
        let mut account = Account::default();
        loop {
            match commands.try_recv() {
                Ok(Command::Run(job)) => self.run(*job),
                Ok(Command::Ask(message)) => self.ask(&message),
                Ok(Command::Learnt(to)) => {
                    // Nobody waits any more: then nobody needs to know.
                    let _ = to.send(std::mem::take(&mut self.learnt));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            // Frames of a run that is over may still come; they belong to no books.
            if !self.turn(&mut account, &mut Tally::default(), BURST, false) {
                std::thread::sleep(NAP);
            }
        }
    }

    fn run(&mut self, job: Job) {
        let Job { sources, burst, mut account, control, outcome } = job;
        let mut tally = Tally::default();
        for (place, source) in self.places.iter_mut().zip(sources) {
            place.finished = source.is_none();
            place.source = source;
        }
        let before = self.overruns();
        let mut files_end = self.has_files();
        let mut until_publication = 0;
        while !control.stop.load(Ordering::Relaxed) {
            let made = !control.stop_sending.load(Ordering::Relaxed);
            self.turn(&mut account, &mut tally, burst, true);
            let finished = self.finish_senders(made, &mut tally);
            if finished > 0 {
                control.sending.fetch_sub(finished, Ordering::Relaxed);
            }
            if files_end && !self.has_files() {
                files_end = false;
                control.receiving.fetch_sub(1, Ordering::Relaxed);
            }
            if until_publication == 0 || finished > 0 {
                self.publish(&tally, &mut account);
                until_publication = TURNS_PER_PUBLICATION;
            }
            until_publication -= 1;
        }
        self.finish_senders(false, &mut tally);
        for place in &mut self.places {
            place.queue.housekeeping();
        }
        tally.rx_overrun = self.overruns().saturating_sub(before);
        self.publish(&tally, &mut account);
        // The control thread waits for it, or has given up.
        let _ = outcome.send(Outcome { account, tally });
    }

    /// One turn over all queues; true when anything arrived or left.
    #[inline]
    fn turn(&mut self, account: &mut Account, tally: &mut Tally, burst: usize, runs: bool) -> bool {
        let mut busy = false;
        for index in 0..self.places.len() {
            busy |= self.receive(index, account, tally, runs);
            if runs {
                self.make(index, burst, tally);
            }
            busy |= self.transmit(index, tally);
            self.places[index].queue.recycle();
        }
        busy
    }

    #[inline]
    fn receive(&mut self, index: usize, account: &mut Account, tally: &mut Tally, runs: bool) -> bool {
        let mut burst: Burst<PoolFrame> = Burst::new();
        let place = &mut self.places[index];
        // A file is read when somebody counts what is in it, and not before.
        if !runs && matches!(place.queue.carrier, Port::Pcap(_)) {
            return false;
        }
        place.queue.receive(&mut self.pool, &mut burst, BURST, &mut self.counters);
        if burst.is_empty() {
            return false;
        }
        let now = clock::now();
        let (counts, marked_before) = (place.roles.receives, account.unique);
        for frame in burst.drain(..) {
            if counts {
                tally.rx_frames += 1;
                tally.rx_bytes += (frame.packet_len() + super::size::FCS) as u64;
                if let Some(mark) = Mark::find(&frame) {
                    account.enter(mark, now);
                    continue;
                }
            }
            match place.identity.hear(&frame) {
                Heard::Nothing => tally.rx_other += 1,
                Heard::Talk => tally.rx_neighbour += 1,
                Heard::Learnt(address, mac) => {
                    tally.rx_neighbour += 1;
                    if self.learnt.len() < MAX_LEARNT {
                        self.learnt.push((address, mac));
                    }
                }
                Heard::Answer(message) => {
                    tally.rx_neighbour += 1;
                    // One that finds no memory or room is asked for again.
                    if let Some(frame) = self.pool.frame(message.bytes()) {
                        self.egress.forward(place.queue.port, frame, &mut self.counters);
                    }
                }
            }
        }
        if account.unique > marked_before {
            tally.rx_time = Some((tally.rx_time.map_or(now, |(first, _)| first), now));
        }
        true
    }

    /// Makes what is due, as much as may wait for the port.
    #[inline]
    fn make(&mut self, index: usize, burst: usize, tally: &mut Tally) {
        let place = &mut self.places[index];
        let Some(source) = &mut place.source else { return };
        let port = place.queue.port;
        let waiting = self.egress.queue(port).map_or(0, |queue| queue.len());
        if waiting >= burst {
            return;
        }
        let now = clock::now();
        source.tick(now);
        let before = source.frames;
        for _ in waiting..burst {
            let Some(frame) = source.next(&mut self.pool, now) else { break };
            self.egress.forward(port, frame, &mut self.counters);
        }
        if source.frames > before {
            tally.tx_time.get_or_insert((now, now));
        }
    }

    #[inline]
    fn transmit(&mut self, index: usize, tally: &mut Tally) -> bool {
        let queue = &mut self.places[index].queue;
        let Some(waiting) = self.egress.queue(queue.port) else { return false };
        if waiting.is_empty() && !queue.wants_kick() {
            return false;
        }
        let now = Instant::from_nanos(self.started.elapsed().as_nanos() as u64);
        let sent = queue.transmit(waiting, now, &mut self.counters);
        if sent > 0
            && let Some(time) = &mut tally.tx_time
        {
            time.1 = clock::now();
        }
        sent > 0
    }

    /// Ends senders that have nothing to send any more, or whom nobody lets; returns how many that were. What they
    /// made and no port took was not sent.
    fn finish_senders(&mut self, go_on: bool, tally: &mut Tally) -> usize {
        let now = clock::now();
        let mut finished = 0;
        for index in 0..self.places.len() {
            let place = &self.places[index];
            if place.finished || (go_on && place.source.as_ref().is_some_and(|source| !source.is_done(now))) {
                continue;
            }
            self.drain(index, tally);
            let place = &mut self.places[index];
            let Some(source) = place.source.take() else { continue };
            let mut unsent = 0;
            if let Some(waiting) = self.egress.queue(place.queue.port) {
                unsent = waiting.clear() as u64;
            }
            // What the port refused it counted with its reason.
            let refused = self.counters.port(place.queue.port).tx_drops;
            self.counters.port_mut(place.queue.port).tx_drops = 0;
            let lost = unsent + refused;
            tally.tx_unsent += lost;
            tally.tx_frames += source.frames - lost.min(source.frames);
            let mean = source.bytes as f64 / source.frames.max(1) as f64;
            tally.tx_bytes += source.bytes - ((lost as f64 * mean) as u64).min(source.bytes);
            tally.tx_forgotten += source.forgotten();
            place.finished = true;
            finished += 1;
        }
        finished
    }

    /// Lets the port take what waits.
    fn drain(&mut self, index: usize, tally: &mut Tally) {
        let port = self.places[index].queue.port;
        let deadline = clock::now() + DRAIN;
        while self.egress.queue(port).is_some_and(|queue| !queue.is_empty()) && clock::now() < deadline {
            self.transmit(index, tally);
            self.places[index].queue.recycle();
        }
    }

    fn publish(&mut self, tally: &Tally, account: &mut Account) {
        let sources = || self.places.iter().filter_map(|place| place.source.as_ref());
        let progress = &self.progress;
        let running: (u64, u64) = sources().fold((0, 0), |sum, one| (sum.0 + one.frames, sum.1 + one.bytes));
        progress.tx_frames.store(tally.tx_frames + running.0, Ordering::Relaxed);
        progress.tx_bytes.store(tally.tx_bytes + running.1, Ordering::Relaxed);
        progress.rx_frames.store(tally.rx_frames, Ordering::Relaxed);
        progress.rx_bytes.store(tally.rx_bytes, Ordering::Relaxed);
        progress.unique.store(account.unique, Ordering::Relaxed);
        if let Ok(empty) = self.exchange.empty.pop() {
            // There are as many places as there are histograms.
            let _ = self.exchange.filled.push(account.latency.exchange(empty));
        }
    }

    fn ask(&mut self, message: &Message) {
        let asking = self.places.iter().find(|place| place.roles.sender == Some(0));
        if let (Some(place), Some(frame)) = (asking, self.pool.frame(message.bytes())) {
            self.egress.forward(place.queue.port, frame, &mut self.counters);
        }
    }

    fn has_files(&self) -> bool {
        self.places.iter().any(|place| {
            place.roles.receives && matches!(place.queue.carrier, Port::Pcap(_)) && place.queue.is_endless()
        })
    }

    /// Frames that the kernel lost in front of our sockets, so far.
    fn overruns(&self) -> u64 {
        let sockets = self.places.iter().filter_map(|place| match &place.queue.carrier {
            Port::AfXdp(queue) if place.roles.receives => queue.socket.statistics().ok(),
            _ => None,
        });
        sockets.map(|one| one.rx_ring_full + one.rx_dropped).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    /// A worker at both ends of a wire in memory, about to send from `start` on.
    fn worker(traffic: &str, start: u64) -> Worker {
        let scenario = format!(
            "[tx]\nport = \"memory\"\naddresses = [\"10.0.0.1/32\"]\n[rx]\nport = \"memory\"\n[traffic]\n{traffic}"
        );
        let plan = plan(&toml::from_str(&scenario).unwrap()).unwrap();
        let mut desks = open::open(&plan).unwrap();
        assert_eq!(desks.len(), 1, "one worker has both ends");
        let desk = desks.remove(0);
        let sources = desk
            .seats
            .iter()
            .map(|seat| seat.roles.sender.map(|sender| Source::new(&plan.load, sender, 1, start).unwrap()));
        let sources: Vec<_> = sources.collect();
        let (_, empty) = rtrb::RingBuffer::new(1);
        let (filled, _) = rtrb::RingBuffer::new(1);
        let exchange = Exchange { empty, filled };
        let (mut worker, _) = Worker::open(desk, Arc::default(), exchange).unwrap();
        for (place, source) in worker.places.iter_mut().zip(sources) {
            place.finished = source.is_none();
            place.source = source;
        }
        worker
    }

    const TO_NOBODY: &str = "destination = \"10.9.0.1\"\ndestination_mac = \"02:00:00:00:00:09\"";

    #[test]
    fn nothing_leaves_before_the_start_that_all_workers_know() {
        for rate in ["full", "1 Mpps"] {
            let mut worker =
                worker(&format!("{TO_NOBODY}\nrate = \"{rate}\""), clock::now() + 3_600_000_000_000);
            let (mut account, mut tally) = (Account::default(), Tally::default());
            (0..100).for_each(|_| {
                worker.turn(&mut account, &mut tally, BURST, true);
            });
            assert_eq!((account.unique, tally.rx_frames), (0, 0), "{rate}");
        }
    }

    #[test]
    fn a_run_allocates_nothing() {
        for fields in [
            "size = \"imix\"\nflows = 100\nsequence = \"flow\"",
            "protocol = \"tcp-syn\"\nvlan = 7\nsize = 100",
        ] {
            let traffic = format!(
                "{fields}\nsource_port = \"1024..2047\"\ndestination = \"random 10.9.0.0/16\"\nrate = \"full\"\n\
                 destination_mac = \"02:00:00:00:00:09\""
            );
            let mut worker = worker(&traffic, clock::now());
            let (mut account, mut tally) = (Account::default(), Tally::default());
            let mut turns = |count: u32| {
                for _ in 0..count {
                    worker.turn(&mut account, &mut tally, BURST, true);
                }
                worker.publish(&tally, &mut account);
            };
            // What is made once is made in the first rounds: a stream's record when it is first seen.
            turns(500);
            let counted = allocation_counter::measure(|| turns(500));
            assert_eq!(counted.count_total, 0, "{fields}");
            assert!(account.unique > 20_000, "{} frames came", account.unique);
        }
    }
}
