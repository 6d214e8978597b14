//! A segment for a request: SYN-RECEIVED of a passive open (RFC 9293 section 3.10.7.4), in the order of
//! Linux.
//!
//! ```text
//!   the same SYN ──> SYN-ACK again        wrong ACK number ──> reset, the request stays
//!   out of window, old timestamp ──> ACK  RST or SYN in window ──> the request ends
//!   ACK ──> connection, unless deferred or the accept queue is full
//! ```

use super::{Arrival, ListenDrop, Listener, Passive, Request, Verdict, timeout};
use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::challenge::connection_may_answer;
use crate::tcp::isn::timestamp_clock;
use crate::tcp::negotiated::Arrived;
use crate::tcp::options;
use crate::tcp::receiver::MAX_UNSCALED;
use crate::tcp::segment::{Reset, Segment};
use crate::wire::tcp::flag;

impl Listener {
    /// A segment came for the request at `place`, which is this listener's.
    pub fn on_request(
        &mut self,
        passive: &mut Passive,
        place: u32,
        arrival: &Arrival<'_>,
        now: Instant,
    ) -> Verdict {
        let segment = arrival.segment;
        let cookies = passive.fast_open;
        let interval = self.settings.invalid_ratelimit;
        let Some(request) = self.own(passive, place) else { return passive.drop(ListenDrop::NoRequest) };
        let stamp = match options::timestamps_only(segment.options) {
            Some(stamps) => Some(stamps.0),
            None => options::parse(segment.options, segment.has(flag::SYN)).timestamps.map(|stamps| stamps.0),
        };
        let stamp = stamp.filter(|_| request.timestamps);
        let is_old = stamp.is_some_and(|stamp| (request.ts_recent.wrapping_sub(stamp) as i32) > 0);
        let kind = segment.flags & (flag::RST | flag::SYN | flag::ACK);

        // The peer did not get our SYN-ACK. At most twice a second, so that nobody can use us as an
        // amplifier.
        if segment.seq == request.irs && kind == flag::SYN && !is_old {
            if !connection_may_answer(&mut request.answered, now, interval) {
                return passive.drop(ListenDrop::Limited);
            }
            request.retransmissions = request.retransmissions.saturating_add(1);
            let cookie = request.gives_cookie.then(|| cookies.make(&request.tuple));
            let reply = request.syn_ack(timestamp_clock(now), cookie.as_ref());
            let deadline = Some((place, now + timeout(request.timeouts)));
            passive.stats.retransmissions += 1;
            return Verdict::Reply { reply, deadline };
        }

        // RFC 9293 section 3.10.7.4, fifth check, moved to the front as in Linux: a wrong number is answered
        // with a reset whatever else is wrong, and kills nothing. A reset is judged by its own number alone.
        if kind & (flag::ACK | flag::RST) == flag::ACK && segment.ack != request.iss + 1 {
            return match Reset::answer_to(segment) {
                Some(reset) => Verdict::Reset(reset),
                None => passive.drop(ListenDrop::NoMeaning),
            };
        }
        if is_old || !is_in_window(request, segment) {
            let may_answer =
                kind & flag::RST == 0 && connection_may_answer(&mut request.answered, now, interval);
            let reply = request.ack(now);
            passive.stats.paws_rejected += u64::from(is_old);
            return match may_answer {
                true => Verdict::Reply { reply, deadline: None },
                false => passive.drop(ListenDrop::Limited),
            };
        }
        // A SYN at its own place is cut off by the window's edge.
        let syn = kind & flag::SYN != 0 && segment.seq != request.irs;
        if kind & flag::RST != 0 || syn {
            if kind & flag::RST != 0 && segment.seq != request.irs + 1 {
                // RFC 9293 section 3.10.7.4 (RFC 5961): a reset counts at the exact number; nearby it is
                // asked about.
                if !connection_may_answer(&mut request.answered, now, interval) {
                    return passive.drop(ListenDrop::Limited);
                }
                return Verdict::Reply { reply: request.ack(now), deadline: None };
            }
            self.remove(passive, place);
            passive.stats.embryonic_resets += 1;
            return Verdict::Gone { place, reset: Reset::answer_to(segment) };
        }
        if kind & flag::ACK == 0 {
            return passive.drop(ListenDrop::NoAck);
        }
        if let Some(stamp) = stamp
            && segment.seq.at_or_before(request.irs + 1)
        {
            request.ts_recent = stamp;
        }
        let is_bare = segment.seq + segment.span() == request.irs + 1;
        if request.timeouts < self.settings.defer_timeouts() && is_bare {
            request.acked = true;
            return passive.drop(ListenDrop::Deferred);
        }
        if self.accept_queue_is_full() {
            request.acked = true;
            if self.settings.abort_on_overflow {
                self.remove(passive, place);
                return Verdict::Gone { place, reset: Reset::answer_to(segment) };
            }
            return passive.drop(ListenDrop::AcceptQueueFull);
        }
        let accepted = request.accepted(Arrived::Established, segment.window, now);
        Verdict::Child { accepted, request: Some(place), signature: request.signature }
    }
}

/// The four cases of RFC 9293 section 3.10.7.4, first check.
fn is_in_window(request: &Request, segment: &Segment<'_>) -> bool {
    let (start, end) = (request.irs + 1, request.irs + 1 + request.offered.min(MAX_UNSCALED));
    let (first, behind): (Seq, Seq) = (segment.seq, segment.seq + segment.span());
    first == start || (behind.after(start) && first.before(end)) || (first == end && behind == end)
}
