//! What an arriving segment says to the sender, and what came of it.

use crate::tcp::Seq;

/// The acknowledgement in a segment. The connection has already judged it acceptable (RFC 9293 section 3.10.7.4,
/// RFC 5961 section 5): `ack` is not beyond what was sent. It may be old (before what is acknowledged already):
/// its SACK blocks still count.
#[derive(Debug, Clone, Copy)]
pub struct Ack<'a> {
    /// The acknowledgement number.
    pub ack: Seq,
    /// SACK blocks `[start, end)` as they stand in the option, without a D-SACK block. Blocks that make no
    /// sense are ignored.
    pub sacks: &'a [(Seq, Seq)],
    /// The first block, when it reports a duplicate (RFC 2883): it lies below `ack` or within the second block.
    pub dsack: Option<(Seq, Seq)>,
    /// Timestamp clock now minus the echoed timestamp (wrapping), in ticks of [`crate::tcp::rtt::TICK`] (1 ms);
    /// None without the option or when it echoes nothing. The connection's timestamp clock must be
    /// [`crate::tcp::rtt::ticks`]`(now)` plus a constant.
    pub echo_age: Option<u32>,
    /// The ECN-Echo flag is set and ECN was negotiated.
    pub ece: bool,
    /// The segment changes the send window.
    pub window_changed: bool,
    /// The segment carries data (or SYN or FIN), so it is no duplicate ACK (RFC 5681 section 2).
    pub carries_data: bool,
    /// New data waits and the send window has room for it (F-RTO sends it first).
    pub new_data: bool,
}

impl Ack<'_> {
    /// A plain acknowledgement of everything before `ack`.
    pub const fn plain(ack: Seq) -> Ack<'static> {
        Ack {
            ack,
            sacks: &[],
            dsack: None,
            echo_age: None,
            ece: false,
            window_changed: false,
            carries_data: false,
            new_data: false,
        }
    }
}

/// What an ACK did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckOutcome {
    /// Bytes (SYN and FIN count one each) that are newly acknowledged in sequence: free so many.
    pub acked: u32,
    /// Segments that are newly known to be delivered, acknowledged or selectively.
    pub delivered: u32,
    /// It counts as a duplicate acknowledgement.
    pub is_duplicate: bool,
    /// A reduction turned out to be needless and was taken back.
    pub spurious: bool,
    /// Loss recovery began with this ACK.
    pub entered_recovery: bool,
    /// Everything that was in doubt is acknowledged: recovery (of any kind) ended.
    pub recovered: bool,
    /// Something may be sent because of it: look at `next_retransmission` and `may_send`.
    pub send: bool,
    /// A round trip time was measured with it.
    pub measured: bool,
}

/// What the sender's timer demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerOutcome {
    /// It was not due, or nothing is outstanding.
    Nothing,
    /// Segments were found lost by time (RFC 8985 section 6.2): `next_retransmission` has something.
    Retransmit,
    /// A tail loss probe is due (RFC 8985 section 7): send one segment of new data if there is any and the
    /// window allows; otherwise retransmit this range. Report it by `on_sent` or `on_retransmitted` as always.
    Probe {
        /// Where the last segment begins.
        seq: Seq,
        /// How long it is.
        len: u32,
    },
    /// The retransmission timeout: everything old enough is lost, the window is one segment, the timeout is
    /// doubled. `next_retransmission` gives the first segment.
    TimedOut {
        /// Timeouts in a row without an acknowledgement between, this one included. The connection compares it
        /// with its limit (RFC 9293 section 3.8.3, RFC 1122 section 4.2.3.5).
        count: u8,
    },
}
