//! The sender's engine: all that lies between "these bytes were sent", "these ACKs came" and "send this now".

mod ack;
mod info;
mod run;
mod settings;

use core::time::Duration;

use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::congestion::Algorithm;

pub use ack::{Ack, AckOutcome, TimerOutcome};
pub use info::{CaState, SenderInfo};
pub use run::{PoolEmpty, RunPool};
pub use settings::{Agreed, PathMetrics, SenderSettings};

/// What holds the connection's output back (for the busy times of TCP_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Nothing to send and nothing outstanding.
    #[default]
    Idle,
    /// Data is outstanding or waits; the network decides.
    Busy,
    /// The receiver's window holds it back.
    Window,
    /// The send buffer is full.
    Buffer,
}

/// The sender's half of a connection's reliability.
#[derive(Debug)]
pub struct Sender {}

#[allow(unused_variables)]
impl Sender {
    /// A sender whose first sequence number is `first`: the initial one for an active open (the SYN is then
    /// reported by `on_sent` with length 1), one beyond it when the handshake is over already.
    pub fn new(first: Seq, settings: &SenderSettings) -> Self { unimplemented!() }
    /// The handshake is complete. Call it after `on_ack` of the SYN's acknowledgement (active open) or after
    /// `measured` (passive open).
    pub fn established(&mut self, now: Instant, mss: u16, agreed: Agreed, remembered: Option<&PathMetrics>) { unimplemented!() }
    /// A round trip time that was measured elsewhere: that of the SYN-ACK in a passive open.
    pub fn measured(&mut self, now: Instant, rtt: Duration) { unimplemented!() }
    /// One new segment is sent: `len` bytes of sequence space (SYN and FIN count one) at `seq`, which is `nxt()`.
    /// `app_limited`: nothing more waits behind it. Call it before the segment leaves; on an error do not send.
    pub fn on_sent(&mut self, pool: &mut RunPool, now: Instant, seq: Seq, len: u32, app_limited: bool) -> Result<(), PoolEmpty> { unimplemented!() }
    /// One segment of what is outstanding is sent again. `len` may be less than asked for.
    pub fn on_retransmitted(&mut self, pool: &mut RunPool, now: Instant, seq: Seq, len: u32) { unimplemented!() }
    /// An acknowledgement came.
    pub fn on_ack(&mut self, pool: &mut RunPool, now: Instant, ack: &Ack<'_>) -> AckOutcome { unimplemented!() }
    /// The next segment to send again, if one is due and the window allows it now. Ask until None, reporting
    /// each by `on_retransmitted`; ask before sending new data.
    pub fn next_retransmission(&self, pool: &RunPool, now: Instant) -> Option<(Seq, u32)> { unimplemented!() }
    /// How many segments of new data may be sent now, as far as congestion and pacing are concerned.
    pub fn may_send(&self, now: Instant) -> u32 { unimplemented!() }
    /// When pacing lets the next segments go; `Instant::ZERO` when it does not hold anything back.
    pub fn pacing_deadline(&self) -> Instant { unimplemented!() }
    /// When `on_timer` wants to be called; `Instant::NEVER` when nothing is outstanding.
    pub fn deadline(&self) -> Instant { unimplemented!() }
    /// Time passed. Harmless when nothing is due.
    pub fn on_timer(&mut self, pool: &mut RunPool, now: Instant) -> TimerOutcome { unimplemented!() }
    /// True once after each reduction: the next new data segment must carry CWR (RFC 3168 section 6.1.2).
    pub fn cwr_due(&mut self) -> bool { unimplemented!() }
    /// Call before new data is queued: a window that was not used for longer than the timeout shrinks (RFC 2861).
    pub fn on_idle_restart(&mut self, now: Instant) { unimplemented!() }
    /// What limits the output from now on, for the times in TCP_INFO.
    pub fn limited_by(&mut self, now: Instant, limit: Limit) { unimplemented!() }
    /// The segment size changed (path MTU).
    pub fn set_mss(&mut self, mss: u16) { unimplemented!() }
    /// Chooses another algorithm; the window stays.
    pub fn set_algorithm(&mut self, now: Instant, algorithm: Algorithm) { unimplemented!() }
    /// Bound of the pacing rate in bytes a second (SO_MAX_PACING_RATE); `u64::MAX` takes it away.
    pub fn set_max_pacing_rate(&mut self, bytes_per_second: u64) { unimplemented!() }
    /// Bound of the window in segments (`tcp_snd_cwnd_clamp`).
    pub fn set_cwnd_clamp(&mut self, segments: u32) { unimplemented!() }
    /// First sequence number that is not acknowledged.
    pub fn una(&self) -> Seq { unimplemented!() }
    /// First sequence number that was not sent.
    pub fn nxt(&self) -> Seq { unimplemented!() }
    /// Segments believed in the network.
    pub fn in_flight(&self) -> u32 { unimplemented!() }
    /// Segments outstanding (sent and not acknowledged in sequence).
    pub fn outstanding(&self) -> u32 { unimplemented!() }
    /// Congestion window in segments.
    pub fn cwnd(&self) -> u32 { unimplemented!() }
    /// The retransmission timeout as it stands, back-off included.
    pub fn rto(&self) -> Duration { unimplemented!() }
    /// Smoothed round trip time; zero before the first measurement.
    pub fn srtt(&self) -> Duration { unimplemented!() }
    /// When the oldest outstanding thing was first sent again without an answer since: what the user timeout
    /// counts from (RFC 5482).
    pub fn stalled_since(&self) -> Option<Instant> { unimplemented!() }
    /// Everything TCP_INFO wants of a sender.
    pub fn info(&self, now: Instant) -> SenderInfo { unimplemented!() }
    /// What is worth remembering of the path when the connection ends.
    pub fn metrics(&self) -> PathMetrics { unimplemented!() }
    /// The connection ends: gives all runs back.
    pub fn release(&mut self, pool: &mut RunPool) { unimplemented!() }
}
