//! LISTEN and the passive half of SYN-RECEIVED (RFC 9293 sections 3.10.7.2 to 3.10.7.4; RFC 4987; Linux's
//! behaviour).
//!
//! ```text
//!                 queue of requests has room              ACK                      accept()
//!   SYN ──┬─────> request, SYN-ACK, timer ───────┬──> connection ──> accept queue ────────> owner
//!         ├─ full: SYN-ACK with a cookie, no state ─ACK─┤                 │ full: the ACK is dropped, the
//!         └─ fast open cookie good: connection now ─────┘                 │ SYN-ACK comes again, the peer
//!                                                                         │ acknowledges again
//! ```
//! [`Passive`] is what all listeners of a worker share: the requests and the keys. A [`Listener`] has the two
//! queues' counts and the settings. Nothing here sends or allocates for a packet: each call gives a
//! [`Verdict`] that the caller carries out, in which a request is named by its place; the caller's 4-tuple
//! table leads to it.
//!
//! | call                         | when                                                               |
//! |------------------------------|--------------------------------------------------------------------|
//! | [`Listener::on_segment`]     | a segment for the listener that belongs to no request               |
//! | [`Listener::on_request`]     | a segment for a request                                             |
//! | [`Listener::on_timer`]       | the deadline of a request passed                                    |
//! | [`Listener::established`]    | the caller made the connection of [`Verdict::Child`]                |
//! | [`Listener::refused`]        | the caller had no room for it                                       |
//! | [`Passive::forget`]          | anything about a request whose listener is gone                     |
//!
//! Bounds as in Linux: the accept queue is full with backlog + 1 connections, the queue of requests with
//! backlog + 1 requests; a SYN is dropped while the accept queue is full, because its connection could not be
//! accepted.
//!
//! Invariants: `requests` of a listener is the number of records that name it, `young` of those whose SYN-ACK
//! never timed out.

mod arrive;
mod complete;
mod request;
mod settings;
mod timer;

pub use request::Request;
pub use settings::{CookiePolicy, ListenSettings};
pub use timer::TimerVerdict;

use super::Seq;
use super::cookie::SynCookies;
use super::fast_open::{FastOpenKeys, FastOpenQueue};
use super::isn::IsnGenerator;
use super::negotiated::Accepted;
use super::options::Emitted;
use super::segment::{Reset, Segment};
use super::signature::{KeyTable, RequestSignature};
use super::time_wait::Reused;
use super::tuple::Tuple;
use crate::Instant;
use crate::route::RouteMetrics;
use crate::socket::slab::{Handle, Slab};
use core::time::Duration;
use std::collections::VecDeque;

/// The first timeout of a SYN-ACK (RFC 6298 section 2.1), and the longest.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the SYN-ACK waits after `timeouts` of them.
pub(super) fn timeout(timeouts: u8) -> Duration {
    FIRST_TIMEOUT.saturating_mul(1 << timeouts.min(7)).min(LONGEST_TIMEOUT)
}

/// A segment that came for a listener or a request, with what the layers below know of it. Its checksum is
/// good, and its signature was judged.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Our end and the peer's.
    pub tuple: Tuple,
    /// The segment.
    pub segment: &'a Segment<'a>,
    /// The largest segment that the way to the peer bears, without options: MTU - IP header - 20.
    pub path_mss: u16,
    /// What the route to the peer says.
    pub route: RouteMetrics,
    /// The packet was ECN-capable.
    pub ect: bool,
    /// Type of service of our packets to this peer.
    pub tos: u8,
    /// How the segment was signed, and the answer is to be.
    pub signature: RequestSignature,
    /// The SYN takes the names of a TIME-WAIT record over, which is gone.
    pub reused: Option<Reused>,
}

/// A segment that a listener sends: a SYN-ACK, or the ACK that answers a segment out of a request's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynAck {
    /// Our end and the peer's.
    pub tuple: Tuple,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Flags.
    pub flags: u16,
    /// The window field.
    pub window: u16,
    /// Options.
    pub options: Emitted,
    /// Where in the options the bytes of a signature begin, when one is wanted.
    pub signature: Option<u8>,
    /// How it is signed, for [`KeyTable::sign_syn_ack`].
    pub how: RequestSignature,
    /// Type of service.
    pub tos: u8,
}

macro_rules! listen_drops {
    ($($(#[doc = $doc:literal])+ $variant:ident,)+) => {
        /// Why a listener did nothing with a segment. Each has its counter ([`ListenStats::drops`]).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ListenDrop { $($(#[doc = $doc])+ $variant,)+ }

        impl ListenDrop {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [ListenDrop] = &[$(ListenDrop::$variant,)+];
        }
    };
}

listen_drops! {
    /// It says nothing that a listener cares about: a reset, or neither SYN nor ACK.
    NoMeaning,
    /// SYN and FIN together.
    SynFin,
    /// The queue of requests is full and cookies are off.
    QueueFull,
    /// The accept queue is full.
    AcceptQueueFull,
    /// A repeated SYN, or a segment out of window, sooner than it may be answered again.
    Limited,
    /// No ACK where one is needed.
    NoAck,
    /// The handshake is complete, but the owner wants connections with data only (TCP_DEFER_ACCEPT).
    Deferred,
    /// The request is not there any more.
    NoRequest,
}

/// What listeners of a worker counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenStats {
    /// By [`ListenDrop`].
    pub drops: [u64; ListenDrop::ALL.len()],
    /// SYN cookies sent, received and good, received and refused.
    pub cookies_sent: u64,
    /// Good ones.
    pub cookies_received: u64,
    /// ACKs that were taken for cookies and were none.
    pub cookies_failed: u64,
    /// SYN-ACKs that were sent again.
    pub retransmissions: u64,
    /// Requests that were given up after the last SYN-ACK.
    pub timeouts: u64,
    /// Requests that were reset.
    pub embryonic_resets: u64,
    /// Fast open: cookies asked for.
    pub fast_open_requests: u64,
    /// Connections opened by their SYN.
    pub fast_opens: u64,
    /// Of them with a cookie of the key before.
    pub fast_opens_old_key: u64,
    /// SYNs with a wrong cookie.
    pub fast_open_refused: u64,
    /// SYNs that could have been let in but for the limit.
    pub fast_open_overflows: u64,
    /// Segments for requests that were older than a timestamp seen before.
    pub paws_rejected: u64,
}

/// What a segment calls for. Carry it out at once.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub enum Verdict {
    /// Nothing.
    Drop(ListenDrop),
    /// Send this reset.
    Reset(Reset),
    /// Send this; no state changed (a cookie, an answer to a repeated SYN or to a segment out of window). A
    /// repeated SYN moves the deadline of its request.
    Reply {
        /// The segment.
        reply: SynAck,
        /// The request whose deadline changed, and the deadline.
        deadline: Option<(u32, Instant)>,
    },
    /// Send the SYN-ACK, enter the names with this place, and watch the deadline.
    Request {
        /// The SYN-ACK.
        reply: SynAck,
        /// The new request.
        place: u32,
        /// When its SYN-ACK is due again.
        deadline: Instant,
    },
    /// The handshake is complete: make the connection and call [`Listener::established`], or
    /// [`Listener::refused`]. Then give the segment to the connection.
    Child {
        /// Where the connection begins.
        accepted: Accepted,
        /// The request that it came from; a cookie has none.
        request: Option<u32>,
        /// How it is signed.
        signature: RequestSignature,
    },
    /// Fast open: make the connection, call [`Listener::fast_opened`], give it the data of the SYN, and send
    /// the SYN-ACK with the acknowledgment number that the connection came to. If there is no room, drop the
    /// SYN.
    FastOpen {
        /// Where the connection begins.
        accepted: Accepted,
        /// The SYN-ACK, which acknowledges all of the SYN.
        reply: SynAck,
        /// How it is signed.
        signature: RequestSignature,
    },
    /// The request is gone: take its names out of the table; perhaps send a reset.
    Gone {
        /// Its place, free now.
        place: u32,
        /// The reset.
        reset: Option<Reset>,
    },
}

/// What all listeners of one worker share.
#[derive(Debug)]
pub struct Passive {
    pub(super) requests: Slab<Request>,
    /// Initial sequence numbers.
    pub isns: IsnGenerator,
    /// SYN cookies; workers share the key.
    pub cookies: SynCookies,
    /// Fast open cookies; workers share the keys.
    pub fast_open: FastOpenKeys,
    /// Counters.
    pub stats: ListenStats,
}

impl Passive {
    /// Room for `requests` half-open connections of all listeners together.
    pub fn new(requests: usize, isns: IsnGenerator, cookies: SynCookies, fast_open: FastOpenKeys) -> Passive {
        Passive { requests: Slab::new(requests), isns, cookies, fast_open, stats: ListenStats::default() }
    }

    /// The request at a place.
    pub fn request(&self, place: u32) -> Option<&Request> {
        self.requests.get(self.requests.at(place as usize)?)
    }

    /// Half-open connections.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Removes a request whose listener is gone.
    pub fn forget(&mut self, place: u32) -> bool {
        self.requests.at(place as usize).and_then(|handle| self.requests.remove(handle)).is_some()
    }

    fn drop(&mut self, why: ListenDrop) -> Verdict {
        self.stats.drops[why as usize] += 1;
        Verdict::Drop(why)
    }
}

/// A socket in LISTEN.
#[derive(Debug)]
pub struct Listener {
    handle: Handle,
    settings: ListenSettings,
    requests: usize,
    young: usize,
    accept: VecDeque<Handle>,
    fast_open: FastOpenQueue,
    /// When the last cookie was sent.
    overflow: Option<Instant>,
    /// Keys of peers that sign.
    pub keys: KeyTable,
}

impl Listener {
    /// A listener that its requests know by `handle`.
    pub fn new(handle: Handle, settings: ListenSettings) -> Listener {
        Listener {
            handle,
            settings,
            requests: 0,
            young: 0,
            accept: VecDeque::with_capacity(settings.backlog() + 1),
            fast_open: FastOpenQueue::new(settings.fast_open.min(settings.backlog())),
            overflow: None,
            keys: KeyTable::new(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &ListenSettings {
        &self.settings
    }

    /// Changes the settings, the backlog too (`listen` called again); what stands in the queues stays.
    pub fn set(&mut self, settings: ListenSettings) {
        let room = (settings.backlog() + 1).saturating_sub(self.accept.len());
        self.accept.reserve(room);
        if settings.fast_open != self.settings.fast_open {
            self.fast_open.set_max(settings.fast_open.min(settings.backlog()));
        }
        self.settings = settings;
    }

    /// Half-open connections of this listener.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Connections that wait to be accepted.
    pub fn waiting(&self) -> usize {
        self.accept.len()
    }

    /// The connection that has waited longest.
    pub fn accept(&mut self) -> Option<Handle> {
        self.accept.pop_front()
    }

    /// The listener closes: gives the connections that wait, to be reset. (One that ends while it waits stays
    /// in the queue as in Linux; whoever accepts it learns of its end.)
    pub fn close(self) -> impl Iterator<Item = Handle> {
        self.accept.into_iter()
    }

    /// The caller made the connection of a [`Verdict::Child`]: it waits to be accepted, and its request is
    /// gone. The caller gave the names to the connection.
    pub fn established(&mut self, passive: &mut Passive, request: Option<u32>, connection: Handle) {
        if let Some(place) = request {
            self.remove(passive, place);
        }
        self.accept.push_back(connection);
    }

    /// The caller had no room for the connection: the request stays, and the peer will acknowledge again.
    pub fn refused(&mut self, passive: &mut Passive, request: Option<u32>) {
        if let Some(request) = request.and_then(|place| self.own(passive, place)) {
            request.acked = true;
        }
    }

    /// The caller made the connection of a [`Verdict::FastOpen`]: it waits to be accepted.
    pub fn fast_opened(&mut self, connection: Handle) {
        self.fast_open.opened();
        self.accept.push_back(connection);
    }

    /// A connection that was opened by its SYN left SYN-RECEIVED: by its handshake's end, or `reset` by the
    /// peer.
    pub fn fast_open_ended(&mut self, reset: bool, now: Instant) {
        if reset {
            self.fast_open.was_reset(now);
        } else {
            self.fast_open.finished();
        }
    }

    fn accept_queue_is_full(&self) -> bool {
        self.accept.len() > self.settings.backlog()
    }

    /// The request at `place`, if it is this listener's.
    fn own<'a>(&self, passive: &'a mut Passive, place: u32) -> Option<&'a mut Request> {
        let handle = passive.requests.at(place as usize)?;
        passive.requests.get_mut(handle).filter(|request| request.listener == self.handle)
    }

    fn remove(&mut self, passive: &mut Passive, place: u32) {
        let Some(handle) = passive.requests.at(place as usize) else { return };
        if self.own(passive, place).is_none() {
            return;
        }
        if let Some(request) = passive.requests.remove(handle) {
            self.requests = self.requests.saturating_sub(1);
            self.young = self.young.saturating_sub(usize::from(request.timeouts == 0));
        }
    }
}

#[cfg(test)]
mod tests;
