//! A half-open connection: what we must remember between the SYN and the ACK. The record is small, because
//! anybody may make us keep one; how many there are is bounded for each listener and for the worker.

use super::settings::ListenSettings;
use super::{Arrival, SynAck};
use crate::Instant;
use crate::socket::slab::Handle;
use crate::tcp::Seq;
use crate::tcp::fast_open::Cookie;
use crate::tcp::isn::timestamp_clock;
use crate::tcp::negotiated::{Accepted, Arrived, Negotiated, Scales};
use crate::tcp::options::{Emitted, MD5, Parsed, SynOptions, TIMESTAMPS_LEN};
use crate::tcp::receiver::MAX_UNSCALED;
use crate::tcp::signature::RequestSignature;
use crate::tcp::tuple::Tuple;
use crate::wire::tcp::flag;

/// MSS of a peer that says none (RFC 9293 section 3.7.1, MUST-15).
const DEFAULT_MSS: [u16; 2] = [1220, 536];

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) tuple: Tuple,
    pub(super) listener: Handle,
    pub(super) irs: Seq,
    pub(super) iss: Seq,
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    pub(super) mss: u16,
    pub(super) path_mss: u16,
    pub(super) advertised_mss: u16,
    pub(super) offered: u32,
    /// The first SYN-ACK left.
    pub(super) sent: Instant,
    /// The last ACK that answered a segment out of window, or SYN-ACK that answered a repeated SYN.
    pub(super) answered: Instant,
    pub(super) scales: Option<Scales>,
    pub(super) signature: RequestSignature,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) ecn: bool,
    /// The handshake is complete for the peer; we wait for data or for room in the accept queue.
    pub(super) acked: bool,
    /// The SYN-ACK carries a fast open cookie.
    pub(super) gives_cookie: bool,
    /// In the form of before RFC 7413, as it was asked for.
    pub(super) experimental: bool,
    /// Timeouts of the SYN-ACK so far; they decide the next one.
    pub(super) timeouts: u8,
    /// SYN-ACKs that were sent after the first.
    pub(super) retransmissions: u8,
    pub(super) tos: u8,
}

impl Request {
    /// What a SYN asks for, and what we grant of it.
    pub(super) fn new(
        listener: Handle,
        settings: &ListenSettings,
        arrival: &Arrival<'_>,
        options: &Parsed,
        now: Instant,
    ) -> Request {
        let segment = arrival.segment;
        let theirs = options.scale.filter(|_| settings.window_scaling);
        let sack = options.sack_permitted && settings.sack;
        let stamps = options.timestamps.filter(|_| settings.timestamps);
        // Timestamps, SACK and an MD5 signature do not fit into 40 bytes together with the rest: as in Linux,
        // timestamps give way.
        let crowded = matches!(arrival.signature, RequestSignature::Md5) && sack;
        let stamps = stamps.filter(|_| !crowded);
        // RFC 3168 section 6.1.1: an ECN-setup SYN has both flags, and is itself not ECN-capable.
        let asks_ecn = segment.has(flag::ECE | flag::CWR) && !arrival.ect;
        Request {
            tuple: arrival.tuple,
            listener,
            irs: segment.seq,
            iss: Seq(0),
            ts_recent: stamps.map_or(0, |(value, _)| value),
            ts_offset: 0,
            mss: their_mss(settings, options).unwrap_or(default_mss(&arrival.tuple)),
            path_mss: arrival.path_mss,
            advertised_mss: advertised_mss(settings, arrival),
            offered: bounded_by_route(
                whole_segments(settings.receive_buffer, arrival.path_mss, stamps.is_some()),
                arrival,
            ),
            sent: now,
            answered: Instant::ZERO,
            scales: theirs.map(|theirs| Scales { theirs, ours: settings.shift() }),
            signature: arrival.signature,
            sack,
            timestamps: stamps.is_some(),
            ecn: asks_ecn && settings.ecn,
            acked: false,
            gives_cookie: false,
            experimental: options.experimental,
            timeouts: 0,
            retransmissions: 0,
            tos: arrival.tos,
        }
    }

    /// Where its connection is.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// Whose it is.
    pub fn listener(&self) -> Handle {
        self.listener
    }

    /// Our number and the peer's, for signatures.
    pub fn isns(&self) -> (Seq, Seq) {
        (self.iss, self.irs)
    }

    /// The SYN-ACK, with this time stamp (our offset not yet added).
    pub(super) fn syn_ack(&self, clock: u32, cookie: Option<&Cookie>) -> SynAck {
        let mut options = Emitted::NONE;
        let signature = self.signature.option().map(|(kind, len)| options.push_signature(kind, len));
        debug_assert!(
            self.signature.option().is_none_or(|(kind, _)| kind != MD5 || !self.timestamps || !self.sack)
        );
        SynOptions {
            mss: self.advertised_mss,
            sack: self.sack,
            timestamps: self.timestamps.then_some((clock.wrapping_add(self.ts_offset), self.ts_recent)),
            scale: self.scales.map(|scales| scales.ours),
            fast_open: cookie.map(Cookie::as_bytes),
            experimental: self.experimental,
        }
        .emit(&mut options);
        SynAck {
            tuple: self.tuple,
            seq: self.iss,
            ack: self.irs + 1,
            flags: flag::SYN | flag::ACK | if self.ecn { flag::ECE } else { 0 },
            window: self.offered.min(MAX_UNSCALED) as u16,
            options,
            signature,
            how: self.signature,
            tos: self.tos,
        }
    }

    /// The connection that comes of it. `window`: the peer's field.
    pub(super) fn accepted(&self, arrived: Arrived, window: u16, now: Instant) -> Accepted {
        let shift = match arrived {
            Arrived::Established => self.scales.map_or(0, |scales| scales.theirs),
            Arrived::FastOpen => 0, // the window of a SYN is never scaled
        };
        let measured =
            arrived == Arrived::Established && self.retransmissions == 0 && self.sent != Instant::NEVER;
        Accepted {
            arrived,
            irs: self.irs,
            iss: self.iss,
            negotiated: Negotiated {
                mss: self.mss,
                scales: self.scales,
                sack: self.sack,
                timestamps: self.timestamps,
                ecn: self.ecn,
            },
            path_mss: self.path_mss,
            advertised_mss: self.advertised_mss,
            window: u32::from(window) << shift,
            offered: self.offered,
            rtt: measured.then(|| now.since(self.sent)),
            retransmissions: self.retransmissions,
            ts_recent: self.ts_recent,
            ts_offset: self.ts_offset,
        }
    }

    /// An ACK of what we have, for segments that we cannot use.
    pub(super) fn ack(&self, now: Instant) -> SynAck {
        let mut options = Emitted::NONE;
        let signature = self.signature.option().map(|(kind, len)| options.push_signature(kind, len));
        if self.timestamps {
            options.push_timestamps((timestamp_clock(now).wrapping_add(self.ts_offset), self.ts_recent));
        }
        SynAck {
            tuple: self.tuple,
            seq: self.iss + 1,
            ack: self.irs + 1,
            flags: flag::ACK,
            window: (self.offered.min(MAX_UNSCALED) >> self.scales.map_or(0, |scales| scales.ours)) as u16,
            options,
            signature,
            how: self.signature,
            tos: self.tos,
        }
    }
}

/// The whole segments that fit into a buffer (as Linux; the timestamps of each are not data).
fn whole_segments(buffer: u32, path_mss: u16, timestamps: bool) -> u32 {
    let stamps = if timestamps { TIMESTAMPS_LEN as u32 } else { 0 };
    let mss = u32::from(path_mss).saturating_sub(stamps).max(1);
    if buffer > mss { buffer / mss * mss } else { buffer }
}

/// The peer's MSS, bounded by TCP_MAXSEG of the listener (as Linux: it bounds both directions).
fn their_mss(settings: &ListenSettings, options: &Parsed) -> Option<u16> {
    let said = options.mss.filter(|&mss| mss != 0)?;
    Some(settings.max_segment.map_or(said, |max| max.min(said)))
}

pub(super) fn default_mss(tuple: &Tuple) -> u16 {
    DEFAULT_MSS[usize::from(tuple.is_ipv4())]
}

const _: () = assert!(size_of::<Request>() <= 128);

/// The segments that the peer is asked for: what the path, the host and the route allow.
fn advertised_mss(settings: &ListenSettings, arrival: &Arrival<'_>) -> u16 {
    let host = settings.max_segment.map_or(arrival.path_mss, |max| max.min(arrival.path_mss));
    if arrival.route.advmss > 0 { host.min(arrival.route.advmss) } else { host }
}

/// The window of the SYN-ACK: the host's, or a smaller one that the route asks for.
const fn bounded_by_route(window: u32, arrival: &Arrival<'_>) -> u32 {
    let bound = arrival.route.window;
    if bound > 0 && bound < window { bound } else { window }
}
