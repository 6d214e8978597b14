//! A segment for a listener that belongs to no request: a SYN begins a handshake, an ACK may bring a cookie
//! back (RFC 9293 section 3.10.7.2).

use super::request::Request;
use super::settings::CookiePolicy;
use super::{Arrival, ListenDrop, Listener, Passive, Verdict, timeout};
use crate::Instant;
use crate::tcp::cookie::{CookieOptions, VALID_AFTER_OVERFLOW};
use crate::tcp::fast_open::{Cookie, CookieCheck};
use crate::tcp::isn::timestamp_clock;
use crate::tcp::negotiated::{Arrived, Scales};
use crate::tcp::options::{self, Parsed};
use crate::tcp::segment::Reset;
use crate::wire::tcp::flag;

/// What fast open makes of a SYN.
enum FastOpen {
    /// An ordinary handshake.
    No,
    /// An ordinary handshake whose SYN-ACK brings a cookie.
    Give,
    /// A connection at once; with a new cookie, if the client's is of the old key.
    Yes { renew: bool },
}

impl Listener {
    /// A segment came that belongs to no request and no connection.
    pub fn on_segment(&mut self, passive: &mut Passive, arrival: &Arrival<'_>, now: Instant) -> Verdict {
        let segment = arrival.segment;
        // First RST, then ACK, then SYN (RFC 9293 section 3.10.7.2).
        if segment.has(flag::RST) {
            return passive.drop(ListenDrop::NoMeaning);
        }
        if segment.has(flag::ACK) {
            return self.on_ack(passive, arrival, now);
        }
        match (segment.has(flag::SYN), segment.has(flag::FIN)) {
            (true, true) => passive.drop(ListenDrop::SynFin),
            (true, false) => self.on_syn(passive, arrival, now),
            (false, _) => passive.drop(ListenDrop::NoMeaning),
        }
    }

    fn on_syn(&mut self, passive: &mut Passive, arrival: &Arrival<'_>, now: Instant) -> Verdict {
        // A SYN that takes over a TIME-WAIT record begins with the number that was chosen there. Linux sends
        // it no cookie even if the queue is full; here the bound of the queue goes first.
        let is_full = self.requests > self.settings.backlog() || passive.requests.is_full();
        let always = self.settings.cookies == CookiePolicy::Always && arrival.reused.is_none();
        if is_full && self.settings.cookies == CookiePolicy::Never {
            return passive.drop(ListenDrop::QueueFull);
        }
        if self.accept_queue_is_full() {
            return passive.drop(ListenDrop::AcceptQueueFull);
        }
        let options = options::parse(arrival.segment.options, true);
        let mut request = Request::new(self.handle, &self.settings, arrival, &options, now);
        request.ts_offset = match arrival.reused {
            Some(reused) => reused.ts_offset,
            None => passive.isns.timestamp_offset(&arrival.tuple),
        };
        if is_full || always {
            return self.send_cookie(passive, request, now);
        }
        request.iss = match arrival.reused {
            Some(reused) => reused.iss,
            None => passive.isns.isn(&arrival.tuple, now),
        };
        match self.fast_open(passive, arrival, &options, now) {
            FastOpen::No => {}
            FastOpen::Give => request.gives_cookie = true,
            FastOpen::Yes { renew } => {
                let cookie = renew.then(|| passive.fast_open.make(&arrival.tuple));
                let mut reply = request.syn_ack(timestamp_clock(now), cookie.as_ref());
                reply.ack = arrival.segment.seq + arrival.segment.span();
                let accepted = request.accepted(Arrived::FastOpen, arrival.segment.window, now);
                return Verdict::FastOpen { accepted, reply, signature: arrival.signature };
            }
        }
        let cookie = request.gives_cookie.then(|| passive.fast_open.make(&arrival.tuple));
        let reply = request.syn_ack(timestamp_clock(now), cookie.as_ref());
        let Ok(handle) = passive.requests.insert(request) else {
            return passive.drop(ListenDrop::QueueFull); // not reached: it had room above
        };
        self.requests += 1;
        self.young += 1;
        Verdict::Request { reply, place: handle.index() as u32, deadline: now + timeout(0) }
    }

    /// A SYN-ACK that carries the request itself. Without timestamps the options are lost (RFC 4987 section
    /// 3.6).
    fn send_cookie(&mut self, passive: &mut Passive, mut request: Request, now: Instant) -> Verdict {
        if !request.timestamps {
            (request.scales, request.sack, request.ecn) = (None, false, false);
        }
        let (iss, _) = passive.cookies.make(&request.tuple, request.irs, request.mss, now);
        request.iss = iss;
        let carried = CookieOptions {
            scale: request.scales.map(|scales| scales.theirs),
            sack: request.sack,
            ecn: request.ecn,
        };
        self.overflow = Some(now);
        passive.stats.cookies_sent += 1;
        let reply = request.syn_ack(carried.timestamp(timestamp_clock(now)), None);
        Verdict::Reply { reply, deadline: None }
    }

    /// RFC 7413 section 4.2.2, in the order of Linux.
    fn fast_open(
        &mut self,
        passive: &mut Passive,
        arrival: &Arrival<'_>,
        options: &Parsed,
        now: Instant,
    ) -> FastOpen {
        let free_for_all = self.settings.fast_open_without_cookie && !arrival.segment.is_empty();
        if self.fast_open.max() == 0 || (options.fast_open.is_none() && !free_for_all) {
            return FastOpen::No;
        }
        let wants = options.fast_open.as_ref().is_some_and(|cookie| cookie.is_empty());
        passive.stats.fast_open_requests += u64::from(wants);
        if !self.fast_open.has_room(now) {
            passive.stats.fast_open_overflows += 1;
            return FastOpen::No;
        }
        if free_for_all {
            passive.stats.fast_opens += 1;
            return FastOpen::Yes { renew: false };
        }
        let Some(cookie) = options.fast_open.as_ref().and_then(|cookie| Cookie::new(cookie)) else {
            return FastOpen::Give;
        };
        match passive.fast_open.check(&arrival.tuple, &cookie) {
            CookieCheck::Bad => {
                passive.stats.fast_open_refused += 1;
                FastOpen::Give
            }
            CookieCheck::Good => {
                passive.stats.fast_opens += 1;
                FastOpen::Yes { renew: false }
            }
            CookieCheck::Old => {
                passive.stats.fast_opens += 1;
                passive.stats.fast_opens_old_key += 1;
                FastOpen::Yes { renew: true }
            }
        }
    }

    /// An ACK without a request: if cookies were sent lately it may bring one back; else it is answered with
    /// a reset.
    fn on_ack(&mut self, passive: &mut Passive, arrival: &Arrival<'_>, now: Instant) -> Verdict {
        let segment = arrival.segment;
        let reset = |passive: &mut Passive| match Reset::answer_to(segment) {
            Some(reset) => Verdict::Reset(reset),
            None => passive.drop(ListenDrop::NoMeaning),
        };
        let lately = self.overflow.is_some_and(|overflow| now.since(overflow) < VALID_AFTER_OVERFLOW);
        if segment.has(flag::SYN) || !lately {
            return reset(passive);
        }
        let (irs, iss) = (segment.seq - 1, segment.ack - 1);
        let Some(mss) = passive.cookies.read(&arrival.tuple, irs, iss, now) else {
            passive.stats.cookies_failed += 1;
            return reset(passive);
        };
        passive.stats.cookies_received += 1;
        if self.accept_queue_is_full() {
            return passive.drop(ListenDrop::AcceptQueueFull);
        }
        let options = options::parse(segment.options, false);
        let mut request = Request::new(self.handle, &self.settings, arrival, &options, Instant::NEVER);
        let ts_offset = passive.isns.timestamp_offset(&arrival.tuple);
        let carried = match options.timestamps.filter(|_| request.timestamps) {
            Some((_, echo)) => CookieOptions::from_echo(echo.wrapping_sub(ts_offset)),
            None => CookieOptions { scale: None, sack: false, ecn: false },
        };
        request.irs = irs;
        request.iss = iss;
        request.mss = mss;
        request.ts_offset = ts_offset;
        request.sack = carried.sack && self.settings.sack;
        request.ecn = carried.ecn && self.settings.ecn;
        let theirs = carried.scale.filter(|_| self.settings.window_scaling);
        request.scales = theirs.map(|theirs| Scales { theirs, ours: self.settings.shift() });
        let accepted = request.accepted(Arrived::Established, segment.window, now);
        Verdict::Child { accepted, request: None, signature: arrival.signature }
    }
}
