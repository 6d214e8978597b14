//! What a worker sends next: frames made from a template, or those of a capture.
//!
//! A source knows when the next frame is due and makes it in a frame of the worker's pool; it never sends. What it
//! made counts as sent.

use super::limits::HEADER_ROOM;
use super::mark::Mark;
use super::pacing::Pacer;
use super::plan::Load;
use super::scenario::{Order, Speed};
use super::size::FCS;
use super::template::Template;
use crate::random::Random;
use flumen::mempool::{PoolFrame, WorkerPool};
use flumen::port::pcap::Replay;
use flumen_stack::{Frame, FramePool, MacAddr};
use std::sync::Arc;

/// Zeros for the longest frame.
const ZEROS: [u8; super::limits::MAX_SIZE as usize] = [0; super::limits::MAX_SIZE as usize];

/// One sender's share of a load.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    due: Due,
    /// Nothing is made before: by then all receivers listen.
    start: u64,
    /// Frames left; `None` without a bound.
    left: Option<u64>,
    /// No frame is made from this time on.
    until: Option<u64>,
    /// Frames made.
    pub frames: u64,
    /// Their bytes, check sequences included.
    pub bytes: u64,
}

#[derive(Debug)]
enum Kind {
    Made(Box<Made>),
    Replayed(Replayed),
}

#[derive(Debug)]
struct Made {
    template: Template,
    sizes: super::generator::Generator,
    /// A size that was drawn for a frame that found no room yet.
    size: Option<usize>,
    random: Random,
    /// The first stream of this sender, when frames are marked.
    stream: Option<u16>,
    sequences: Vec<u32>,
}

#[derive(Debug)]
struct Replayed {
    replay: Arc<Replay>,
    next: usize,
    rewrite: Option<MacAddr>,
    /// Rounds that were finished, and how many there are (0: no end).
    rounds: (u64, u64),
}

#[derive(Debug)]
enum Due {
    Always,
    Paced(Pacer),
    /// As recorded: the time of the first frame of this round, and how many times as fast.
    Recorded(u64, f64),
}

impl Source {
    /// The share of `sender` of `senders`, from `start` on.
    ///
    /// # Errors
    /// For a rate that cannot be; [`super::plan`] has found it already, unless the load was changed since.
    pub fn new(load: &Load, sender: usize, senders: usize, start: u64) -> Result<Source, String> {
        let budget = load.budget(senders)?;
        let due = match (&load.replay, budget) {
            (Some((_, Speed::Recorded(factor), _)), _) => Due::Recorded(start, *factor),
            (_, Some(budget)) => Due::Paced(Pacer::new(budget, start)),
            (_, None) => Due::Always,
        };
        let left = load.count.map(|count| share(count, sender, senders));
        let until = load.duration.map(|duration| start + duration.as_nanos() as u64);
        let kind = match &load.replay {
            Some((replay, _, rounds)) => Kind::Replayed(Replayed {
                replay: Arc::clone(replay),
                next: 0,
                rewrite: load.rewrite,
                rounds: (0, *rounds),
            }),
            None => Kind::Made(Box::new(Made::new(load, sender))),
        };
        Ok(Source { kind, due, start, left, until, frames: 0, bytes: 0 })
    }

    /// True when nothing will come any more.
    #[inline]
    pub fn is_done(&self, now: u64) -> bool {
        if self.left == Some(0) || self.until.is_some_and(|until| now >= until) {
            return true;
        }
        match &self.kind {
            Kind::Made(_) => false,
            Kind::Replayed(replayed) => replayed.rounds.1 > 0 && replayed.rounds.0 >= replayed.rounds.1,
        }
    }

    /// It is `now`; once a turn.
    #[inline]
    pub fn tick(&mut self, now: u64) {
        if let Due::Paced(pacer) = &mut self.due {
            pacer.tick(now);
        }
    }

    /// The next frame, if one is due and the pool has memory for it.
    #[inline]
    pub fn next(&mut self, pool: &mut WorkerPool, now: u64) -> Option<PoolFrame> {
        if now < self.start || self.is_done(now) {
            return None;
        }
        match &mut self.due {
            Due::Always => {}
            Due::Paced(pacer) => {
                if !pacer.is_due() {
                    return None;
                }
            }
            Due::Recorded(start, factor) => {
                let Kind::Replayed(replayed) = &self.kind else { return None };
                let (time, _) = replayed.replay.packet(replayed.next)?;
                if now < *start + (time.as_nanos() as f64 / *factor) as u64 {
                    return None;
                }
            }
        }
        let frame = match &mut self.kind {
            Kind::Made(made) => made.next(self.frames, pool, now)?,
            Kind::Replayed(replayed) => {
                let frame = replayed.next(pool)?;
                if replayed.next == 0
                    && let Due::Recorded(start, _) = &mut self.due
                {
                    *start = now; // the next round begins with the end of this one
                }
                frame
            }
        };
        let size = (frame.packet_len() + FCS) as u64;
        if let Due::Paced(pacer) = &mut self.due {
            pacer.sent(size);
        }
        self.frames += 1;
        self.bytes += size;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Some(frame)
    }

    /// Nanoseconds that the pacer gave up on.
    pub fn forgotten(&self) -> u64 {
        match &self.due {
            Due::Paced(pacer) => pacer.forgotten(),
            Due::Always | Due::Recorded(..) => 0,
        }
    }
}

/// What `sender` of `senders` sends of `count`: the sum over all is `count`.
fn share(count: u64, sender: usize, senders: usize) -> u64 {
    let senders = senders.max(1) as u64;
    count / senders + u64::from((sender as u64) < count % senders)
}

impl Made {
    fn new(load: &Load, sender: usize) -> Made {
        let mut fields = load.fields.clone();
        Template::spread(&mut fields, sender);
        let seed = load.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(sender as u64);
        let template = Template::new(&fields, load.flows, load.flow_length, seed);
        let streams = match load.order {
            Order::Worker => 1,
            Order::Flow => load.flows.max(1),
        };
        let mut sizes = load.sizes.clone();
        sizes.skip(sender);
        Made {
            template,
            sizes,
            size: None,
            random: Random::new(seed ^ 0x5151),
            stream: load.mark.then_some((sender * streams) as u16),
            sequences: vec![0; streams],
        }
    }

    #[inline]
    fn next(&mut self, number: u64, pool: &mut WorkerPool, now: u64) -> Option<PoolFrame> {
        if pool.available() == 0 {
            return None; // before anything is drawn: no value of a field is skipped
        }
        let size = match self.size.take() {
            Some(size) => size,
            None => self.sizes.draw(&mut self.random) as usize,
        };
        let len = size - FCS;
        let flow = self.template.select(number);
        let headers = self.template.headers(flow);
        let filled = if len <= HEADER_ROOM {
            pool.short_frame(&headers[..len])
        } else {
            pool.frame(&ZEROS[..len]).map(|mut frame| {
                frame[..HEADER_ROOM].copy_from_slice(headers);
                frame
            })
        };
        let Some(mut frame) = filled else {
            self.size = Some(size);
            return None;
        };
        let mark = self.stream.map(|first| {
            let stream = if self.sequences.len() > 1 { flow } else { 0 };
            let sequence = self.sequences[stream];
            self.sequences[stream] = sequence.wrapping_add(1);
            Mark { stream: first + stream as u16, sequence, nanos: now }
        });
        self.template.finish(flow, &mut frame, len, mark);
        Some(frame)
    }
}

impl Replayed {
    fn next(&mut self, pool: &mut WorkerPool) -> Option<PoolFrame> {
        let (_, packet) = self.replay.packet(self.next)?;
        let mut frame = pool.frame(packet)?;
        if let Some(mac) = self.rewrite
            && let Some(to) = frame.get_mut(..6)
        {
            to.copy_from_slice(&mac.0);
        }
        self.next += 1;
        if self.next == self.replay.len() {
            self.next = 0;
            self.rounds.0 += 1;
        }
        Some(frame)
    }
}
