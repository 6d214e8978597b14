//! The engine: workers that stand as long as it does, and runs one after another.
//!
//! ```text
//!   start ──> workers open their queues ──> resolve: who is the next hop? ──> run, run, … ──> drop: all is closed
//!   run:  senders send ──(count, time, Ctrl-C)──> wait for what is on its way ──> books
//! ```
//! Ports stay open between runs, because opening one takes a card's link down for seconds.

use super::account::Account;
use super::clock;
use super::latency::{self, Latency, Summary};
use super::open::{self, Desk};
use super::plan::{Load, Plan};
use super::scenario::PortName;
use super::source::Source;
use super::worker::{Command, Control, Exchange, Job, Outcome, Progress, Tally, Worker};
use super::{generator::Generator, neighbour::Identity, values::mac_number};
use af_xdp::Grant;
use core::sync::atomic::{AtomicBool, Ordering};
use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the control thread looks.
const LOOK: Duration = Duration::from_millis(10);

/// How often an observer is told.
const TELL: Duration = Duration::from_secs(1);

/// How often, and how long, the next hop is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_FOR: Duration = Duration::from_secs(3);

/// From the command to the first frame: by then all workers have heard of it.
const HEAD_START: u64 = 20_000_000;

/// A worker that does not end a run within this has failed.
const LATE: Duration = Duration::from_secs(10);

/// Histograms that go round between a worker and the control thread.
const HISTOGRAMS: usize = 2;

/// The numbers of a running run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Marked ones, each once.
    pub unique: u64,
}

/// What an observer is told once a second.
#[derive(Debug)]
pub struct Live<'a> {
    /// Since the run began.
    pub elapsed: Duration,
    /// So far.
    pub total: Numbers,
    /// Since the last time, and how long that is.
    pub interval: (Numbers, Duration),
    /// Latencies since the last time.
    pub latency: &'a Histogram<u64>,
    /// The sender has finished; what is on its way is waited for.
    pub waiting: bool,
    /// Frames that are missing so far; nothing where none are expected.
    pub missing: Option<u64>,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// Sums over all workers; times from the earliest to the latest.
    pub tally: Tally,
    /// Marked frames received, each once.
    pub unique: u64,
    /// Frames that did not arrive; `None` when nobody can know.
    pub lost: Option<u64>,
    /// Frames that came behind newer ones.
    pub reordered: u64,
    /// The most places that one came late.
    pub farthest: u64,
    /// Further copies.
    pub duplicates: u64,
    /// Too late to tell.
    pub too_old: u64,
    /// Of streams beyond the limit.
    pub strange: u64,
    /// Streams that were received.
    pub streams: usize,
    /// Latencies.
    pub latency: Option<Summary>,
    /// It was interrupted.
    pub interrupted: bool,
}

struct Hand {
    commands: Sender<Command>,
    progress: Arc<Progress>,
    empty: Producer<Box<Histogram<u64>>>,
    filled: Consumer<Box<Histogram<u64>>>,
    thread: Option<JoinHandle<()>>,
    /// The numbers of the senders among its queues.
    senders: Vec<Option<usize>>,
}

/// Workers with open queues.
pub struct Engine {
    hands: Vec<Hand>,
    /// What each socket got.
    pub grants: Vec<Grant>,
    senders: usize,
    files: usize,
    receives: bool,
    asker: Option<Identity>,
}

impl Engine {
    /// Opens everything of a plan.
    ///
    /// # Errors
    /// One line; then nothing is left open.
    pub fn start(plan: &Plan) -> Result<Engine, String> {
        let desks = open::open(plan)?;
        let mut engine = Engine {
            hands: Vec::new(),
            grants: Vec::new(),
            senders: plan.tx.as_ref().map_or(0, |tx| tx.queues.into()),
            files: 0,
            receives: plan.rx.is_some(),
            asker: None,
        };
        if plan.rx.as_ref().is_some_and(|rx| matches!(rx.port, PortName::Pcap(_))) {
            engine.files = 1; // a file is one queue, of one worker
        }
        for desk in desks {
            engine.hire(desk)?;
        }
        Ok(engine)
    }

    fn hire(&mut self, desk: Desk) -> Result<(), String> {
        let (commands, inbox) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        let progress = Arc::new(Progress::default());
        let (empty, worker_empty) = RingBuffer::new(HISTOGRAMS);
        let (worker_filled, filled) = RingBuffer::new(HISTOGRAMS);
        let senders = desk.seats.iter().map(|seat| seat.roles.sender).collect();
        let asker = desk.seats.iter().find(|seat| seat.roles.sender == Some(0));
        self.asker = self.asker.take().or(asker.map(|seat| seat.identity.clone()));
        let shared = Arc::clone(&progress);
        let exchange = Exchange { empty: worker_empty, filled: worker_filled };
        let name = desk.cpu.map_or("pktgen".to_owned(), |cpu| format!("pktgen-cpu{cpu}"));
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            match Worker::open(desk, shared, exchange) {
                Ok((worker, grants)) => {
                    // The control thread waits for it.
                    let _ = ready.send(Ok(grants));
                    worker.serve(&inbox);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let hand = Hand { commands, progress, empty, filled, thread: Some(thread), senders };
        self.hands.push(hand);
        let grants = opened.recv().map_err(|_| "a worker ended by itself".to_owned())??;
        self.grants.extend(grants);
        Ok(())
    }

    /// Asks for the Ethernet address of the load's next hop, where it needs one, and writes it into the load.
    ///
    /// # Errors
    /// When nobody answers, or `stop` is set meanwhile.
    pub fn resolve(&mut self, load: &mut Load, stop: &AtomicBool) -> Result<(), String> {
        let (Some(hop), Some(asker)) = (load.next_hop, &self.asker) else { return Ok(()) };
        let question = asker.question(hop);
        let deadline = Instant::now() + ASK_FOR;
        let mut next = Instant::now();
        while Instant::now() < deadline {
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted before anything was sent".to_owned());
            }
            if Instant::now() >= next {
                next += ASK_EVERY;
                for hand in &self.hands {
                    hand.tell(Command::Ask(question))?;
                }
            }
            for hand in &self.hands {
                let (to, from) = mpsc::channel();
                hand.tell(Command::Learnt(to))?;
                let learnt = from.recv_timeout(LATE).map_err(|_| "a worker ended by itself".to_owned())?;
                if let Some((_, mac)) = learnt.iter().find(|(address, _)| *address == hop) {
                    load.fields.destination_mac = Generator::Fixed(mac_number(*mac));
                    load.next_hop = None;
                    return Ok(());
                }
            }
            std::thread::sleep(LOOK);
        }
        let word = if hop.is_ipv4() { "ARP" } else { "neighbour discovery" };
        Err(format!(
            "{hop} is silent: no answer to {word} within {} s. Is it there? `destination_mac` does without asking",
            ASK_FOR.as_secs()
        ))
    }

    /// Sends a load, receives what comes, and closes the books. It ends early when `stop` is set.
    ///
    /// # Errors
    /// A load that cannot be, a worker that failed.
    pub fn run(
        &mut self,
        load: &Load,
        stop: &AtomicBool,
        mut observe: impl FnMut(&Live<'_>),
    ) -> Result<Run, String> {
        let control = Arc::new(Control::default());
        control.sending.store(self.senders, Ordering::Relaxed);
        control.receiving.store(self.files, Ordering::Relaxed);
        let (outcome, outcomes) = mpsc::channel();
        let start = clock::now() + HEAD_START;
        for hand in &self.hands {
            let sources = hand.senders.iter().map(|sender| match sender {
                Some(sender) => Source::new(load, *sender, self.senders, start).map(Some),
                None => Ok(None),
            });
            let job = Job {
                sources: sources.collect::<Result<_, _>>()?,
                burst: load.burst,
                account: Account::default(),
                control: Arc::clone(&control),
                outcome: outcome.clone(),
            };
            hand.tell(Command::Run(Box::new(job)))?;
        }
        drop(outcome);
        let interrupted = self.watch(load, &control, stop, &mut observe);
        control.stop_sending.store(true, Ordering::Relaxed);
        control.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for _ in &self.hands {
            all.push(outcomes.recv_timeout(LATE).map_err(|_| "a worker did not end its run".to_owned())?);
        }
        Ok(self.close_books(&all, interrupted))
    }

    /// Until the run is over; true when it was interrupted.
    fn watch(
        &mut self,
        load: &Load,
        control: &Control,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Live<'_>),
    ) -> bool {
        let begin = Instant::now();
        let (mut told, mut last) = (begin, Numbers::default());
        let mut interval = latency::histogram();
        let mut sent_at: Option<Instant> = None;
        let mut interrupted = false;
        loop {
            std::thread::sleep(LOOK);
            let now = Instant::now();
            let total = self.numbers();
            if stop.load(Ordering::Relaxed) && !interrupted {
                interrupted = true;
                control.stop_sending.store(true, Ordering::Relaxed);
            }
            self.collect(&mut interval);
            let finished = self.senders > 0 && control.sending.load(Ordering::Relaxed) == 0;
            if finished && sent_at.is_none() {
                sent_at = Some(now);
            }
            if now - told >= TELL {
                let live = Live {
                    elapsed: now - begin,
                    total,
                    interval: (total.since(&last), now - told),
                    latency: &interval,
                    waiting: sent_at.is_some(),
                    missing: (self.receives && self.senders > 0 && load.mark)
                        .then(|| total.tx_frames.saturating_sub(total.unique)),
                };
                observe(&live);
                (told, last) = (now, total);
                interval.reset();
            }
            let over = match sent_at {
                Some(at) => {
                    let all_here = load.mark && total.unique >= total.tx_frames;
                    !self.receives || all_here || now - at >= load.wait
                }
                None if self.senders == 0 => {
                    let enough = load.count.is_some_and(|count| total.unique >= count);
                    let long_enough = load.duration.is_some_and(|duration| now - begin >= duration);
                    let at_the_end = self.files > 0 && control.receiving.load(Ordering::Relaxed) == 0;
                    enough || long_enough || at_the_end || interrupted
                }
                None => false,
            };
            if over {
                return interrupted;
            }
        }
    }

    fn numbers(&self) -> Numbers {
        let mut sum = Numbers::default();
        for hand in &self.hands {
            let progress = &hand.progress;
            sum.tx_frames += progress.tx_frames.load(Ordering::Relaxed);
            sum.tx_bytes += progress.tx_bytes.load(Ordering::Relaxed);
            sum.rx_frames += progress.rx_frames.load(Ordering::Relaxed);
            sum.rx_bytes += progress.rx_bytes.load(Ordering::Relaxed);
            sum.unique += progress.unique.load(Ordering::Relaxed);
        }
        sum
    }

    /// Takes filled histograms and leaves empty ones.
    fn collect(&mut self, into: &mut Histogram<u64>) {
        for hand in &mut self.hands {
            while let Ok(mut filled) = hand.filled.pop() {
                // Same bounds: it always fits.
                let _ = into.add(&*filled);
                filled.reset();
                let _ = hand.empty.push(filled);
            }
            if hand.empty.slots() == HISTOGRAMS {
                let _ = hand.empty.push(Box::new(latency::histogram()));
            }
        }
    }

    fn close_books(&self, all: &[Outcome], interrupted: bool) -> Run {
        let mut tally = Tally::default();
        let join = |one: Option<(u64, u64)>, two: Option<(u64, u64)>| match (one, two) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, two) => one.or(two),
        };
        for Outcome { tally: one, .. } in all {
            tally.tx_frames += one.tx_frames;
            tally.tx_bytes += one.tx_bytes;
            tally.tx_unsent += one.tx_unsent;
            tally.tx_time = join(tally.tx_time, one.tx_time);
            tally.tx_forgotten += one.tx_forgotten;
            tally.rx_frames += one.rx_frames;
            tally.rx_bytes += one.rx_bytes;
            tally.rx_time = join(tally.rx_time, one.rx_time);
            tally.rx_neighbour += one.rx_neighbour;
            tally.rx_other += one.rx_other;
            tally.rx_overrun += one.rx_overrun;
        }
        let accounts = || all.iter().map(|outcome| &outcome.account);
        let sum = |of: fn(&Account) -> u64| accounts().map(of).sum::<u64>();
        let unique = sum(|account| account.unique);
        let known = if self.senders > 0 { tally.tx_frames } else { Account::join_spans(accounts()) };
        Run {
            unique,
            lost: self.receives.then(|| known.saturating_sub(unique)),
            reordered: sum(|account| account.reordered),
            farthest: accounts().map(|account| account.farthest).max().unwrap_or(0),
            duplicates: sum(|account| account.duplicates),
            too_old: sum(|account| account.too_old),
            strange: sum(|account| account.strange),
            streams: accounts().map(Account::streams).max().unwrap_or(0),
            latency: Latency::summary(accounts().map(|account| &account.latency)),
            interrupted,
            tally,
        }
    }
}

impl Hand {
    fn tell(&self, command: Command) -> Result<(), String> {
        self.commands.send(command).map_err(|_| "a worker ended by itself".to_owned())
    }
}

impl Numbers {
    fn since(&self, before: &Numbers) -> Numbers {
        Numbers {
            tx_frames: self.tx_frames.saturating_sub(before.tx_frames),
            tx_bytes: self.tx_bytes.saturating_sub(before.tx_bytes),
            rx_frames: self.rx_frames.saturating_sub(before.rx_frames),
            rx_bytes: self.rx_bytes.saturating_sub(before.rx_bytes),
            unique: self.unique.saturating_sub(before.unique),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for hand in &mut self.hands {
            // Without a sender of commands the worker ends, and closes what it opened.
            let (nobody, _) = mpsc::channel();
            hand.commands = nobody;
            if let Some(thread) = hand.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
