//! What a connection tells of itself beside a stamp of what it sent (SOF_TIMESTAMPING_OPT_STATS; `tcp_get_timestamping_opt_stats`
//! of Linux): those figures of TCP_INFO that say why bytes left, or were acknowledged, when they did.
//!
//! They are taken when the stamp is made. Up to [`crate::limits::MAX_STAMPS`] of them wait to be read, so each is small.

use super::connection::{Connection, Context};
use super::recovery::CaState;
use crate::time::Instant;
use core::time::Duration;

/// Figures of a connection at one moment. Times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Time with data outstanding or waiting; of that, time limited by the receiver's window, and by the send buffer.
    pub busy: [u64; 3],
    /// Pacing rate in bytes a second; `u64::MAX` when unknown.
    pub pacing_rate: u64,
    /// Most recent delivery rate in bytes a second.
    pub delivery_rate: u64,
    /// Bytes of data that were sent, repeated ones too.
    pub bytes_sent: u64,
    /// Bytes of data that were sent again.
    pub bytes_retransmitted: u64,
    /// When the byte left, the last time.
    pub left: Instant,
    /// Segments with data that were sent, repeated ones too.
    pub data_segments: u32,
    /// Segments that were sent again.
    pub retransmissions: u32,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow start threshold in segments; `u32::MAX` is none.
    pub ssthresh: u32,
    /// Reordering that is allowed for, in segments.
    pub reordering: u32,
    /// How often reordering was seen.
    pub reordering_seen: u32,
    /// Smallest round trip time; `u32::MAX` before the first measurement.
    pub min_rtt: u32,
    /// Smoothed round trip time; 0 before the first measurement.
    pub srtt: u32,
    /// Segments delivered; of those, with congestion marks.
    pub delivered: [u32; 2],
    /// Bytes that are written and not acknowledged; of those, that did not leave.
    pub waiting: [u32; 2],
    /// D-SACK reports received.
    pub dsack_duplicates: u32,
    /// Timeouts in a row.
    pub timeouts: u8,
    /// The delivery rate was limited by the application.
    pub is_app_limited: bool,
    /// Where congestion control stands.
    pub ca_state: CaState,
    /// TTL or hop limit of the acknowledgment, when the stamp is of one.
    pub ttl: Option<u8>,
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn long_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Connection {
    /// Figures of now, of a byte that leaves now.
    pub(super) fn figures(&self, cx: &Context<'_>) -> Figures {
        let sender = self.sender.info(cx.runs, cx.now);
        Figures {
            busy: [sender.busy, sender.window_limited, sender.buffer_limited].map(long_micros),
            pacing_rate: sender.pacing_rate,
            delivery_rate: sender.delivery_rate,
            bytes_sent: self.counts.bytes_out,
            bytes_retransmitted: sender.bytes_retrans,
            left: cx.now,
            data_segments: self.counts.data_segs_out,
            retransmissions: sender.total_retrans,
            cwnd: sender.cwnd,
            ssthresh: sender.ssthresh,
            reordering: sender.reordering,
            reordering_seen: sender.reordering_seen,
            min_rtt: micros(sender.min_rtt),
            srtt: micros(sender.srtt),
            delivered: [sender.delivered, sender.delivered_ce],
            waiting: [self.write_end().since(self.sender.una()), self.unsent() as u32],
            dsack_duplicates: sender.dsack_duplicates,
            timeouts: sender.timeouts,
            is_app_limited: sender.delivery_rate_app_limited,
            ca_state: sender.ca_state,
            ttl: None,
        }
    }
}
