//! What a connection tells about itself: every field of Linux's `tcp_info` (TCP_INFO), by its name there.

use super::connection::{Connection, Context};
use super::recovery::SenderInfo;
use crate::time::Instant;
use core::time::Duration;

/// `tcpi_options`: timestamps.
pub const OPTION_TIMESTAMPS: u8 = 1;
/// `tcpi_options`: SACK.
pub const OPTION_SACK: u8 = 2;
/// `tcpi_options`: window scale.
pub const OPTION_WINDOW_SCALE: u8 = 4;
/// `tcpi_options`: ECN was agreed.
pub const OPTION_ECN: u8 = 8;
/// `tcpi_options`: the data of our SYN were acknowledged by the SYN-ACK.
pub const OPTION_SYN_DATA: u8 = 32;

/// What is counted over the life of a connection (RFC 4898 has most of it). Aligned as its smaller counters are.
#[repr(Rust, packed(4))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Segments, and those with data, that came and went; they wrap, as in Linux.
    pub(super) segs_in: u32,
    pub(super) data_segs_in: u32,
    pub(super) segs_out: u32,
    pub(super) data_segs_out: u32,
    /// Bytes of data that arrived in order; those that were sent, repeated ones too; and sequence numbers of ours that
    /// were acknowledged.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) acknowledged: u64,
    /// Segments that came out of order.
    pub(super) out_of_order: u32,
    /// How often urgent data were announced.
    pub(super) urgent: u32,
    /// When data were last sent, in milliseconds of the clock; 0: never.
    pub(super) data_sent: u32,
}

/// The clock in milliseconds; wraps after 49 days, and so does what Linux says of such times.
fn millis(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}

impl Counts {
    /// Since data were last sent; zero before any were.
    fn since_data_sent(&self, now: Instant) -> Duration {
        match self.data_sent {
            0 => Duration::ZERO,
            then => Duration::from_millis(millis(now).wrapping_sub(then).into()),
        }
    }

    /// A train of segments leaves.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, segments: u32, bytes: u32) {
        self.segs_out = self.segs_out.wrapping_add(segments);
        if bytes > 0 {
            self.data_segs_out = self.data_segs_out.wrapping_add(segments);
            self.bytes_out += u64::from(bytes);
            self.data_sent = millis(now).max(1);
        }
    }
}

/// A picture of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// `tcpi_state`, by Linux's number.
    pub state: u8,
    /// `tcpi_probes`: zero-window or keepalive probes without an answer.
    pub probes: u8,
    /// `tcpi_options`.
    pub options: u8,
    /// `tcpi_snd_wscale`: shift of the windows that the peer sends.
    pub snd_wscale: u8,
    /// `tcpi_rcv_wscale`: shift of ours.
    pub rcv_wscale: u8,
    /// `tcpi_ato`: delay of acknowledgments.
    pub ato: Duration,
    /// `tcpi_snd_mss`: data of one segment of ours.
    pub snd_mss: u32,
    /// `tcpi_rcv_mss`: data of one segment of the peer's, estimated.
    pub rcv_mss: u32,
    /// `tcpi_advmss`.
    pub advmss: u32,
    /// `tcpi_pmtu`, less the IP header: the path's largest segment with its TCP header.
    pub path_mss: u32,
    /// `tcpi_last_data_sent`: since data last left; zero before any did.
    pub last_data_sent: Duration,
    /// `tcpi_last_data_recv`: since data last came.
    pub last_data_recv: Duration,
    /// `tcpi_last_ack_recv`: since anything acceptable last came.
    pub last_ack_recv: Duration,
    /// `tcpi_rcv_rtt` in microseconds.
    pub rcv_rtt: u32,
    /// `tcpi_rcv_space`.
    pub rcv_space: u32,
    /// `tcpi_rcv_ssthresh`.
    pub rcv_ssthresh: u32,
    /// `tcpi_rcv_wnd`: what is offered now.
    pub rcv_wnd: u32,
    /// `tcpi_snd_wnd`.
    pub snd_wnd: u32,
    /// `tcpi_notsent_bytes`.
    pub notsent_bytes: u32,
    /// `tcpi_bytes_acked`: sequence numbers of ours that were acknowledged.
    pub bytes_acked: u64,
    /// `tcpi_bytes_received`: bytes that arrived in order.
    pub bytes_received: u64,
    /// `tcpi_bytes_sent`: bytes of data, repeated ones too.
    pub bytes_sent: u64,
    /// `tcpi_segs_out`.
    pub segs_out: u32,
    /// `tcpi_segs_in`.
    pub segs_in: u32,
    /// `tcpi_data_segs_in`.
    pub data_segs_in: u32,
    /// `tcpi_data_segs_out`.
    pub data_segs_out: u32,
    /// `tcpi_rcv_ooopack`: segments that came out of order.
    pub rcv_ooopack: u32,
    /// The sender's part: `tcpi_ca_state`, `retransmits`, `backoff`, `rto`, `rtt` and what follows.
    pub sender: SenderInfo,
}

impl Connection {
    /// A picture of this connection now.
    pub fn info(&self, cx: &Context<'_>) -> TcpInfo {
        let mut options = 0;
        if self.stamps.on {
            options |= OPTION_TIMESTAMPS;
        }
        if self.sack {
            options |= OPTION_SACK;
        }
        if self.rx.scale > 0 {
            options |= OPTION_WINDOW_SCALE;
        }
        if self.ecn.on {
            options |= OPTION_ECN;
        }
        if self.syn_data_acked {
            options |= OPTION_SYN_DATA;
        }
        TcpInfo {
            state: self.state.number(),
            probes: self.tx.probes,
            options,
            snd_wscale: self.tx.scale,
            rcv_wscale: self.rx.scale,
            ato: self.acks.delay(),
            snd_mss: u32::from(self.tx.mss),
            rcv_mss: u32::from(self.rx.mss),
            advmss: u32::from(self.rx.advertised_mss),
            path_mss: u32::from(self.tx.path_mss),
            last_data_recv: cx.now.since(self.acks.last_data()),
            last_ack_recv: cx.now.since(self.heard),
            rcv_rtt: self.rx.rtt_micros(),
            rcv_space: self.rx.space(),
            rcv_ssthresh: self.rx.threshold,
            rcv_wnd: self.rx.offered(),
            snd_wnd: self.tx.wnd,
            notsent_bytes: self.unsent() as u32,
            last_data_sent: self.counts.since_data_sent(cx.now),
            bytes_acked: self.counts.acknowledged,
            bytes_received: self.counts.bytes_in,
            bytes_sent: self.counts.bytes_out,
            segs_out: self.counts.segs_out,
            segs_in: self.counts.segs_in,
            data_segs_in: self.counts.data_segs_in,
            data_segs_out: self.counts.data_segs_out,
            rcv_ooopack: self.counts.out_of_order,
            sender: self.sender.info(cx.runs, cx.now),
        }
    }
}
