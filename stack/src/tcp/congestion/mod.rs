//! Congestion control (RFC 5681): how much may be in flight.
//!
//! The recovery engine asks an algorithm four things: the threshold after a loss, the window after a needless
//! one, the growth at an ACK, and, of an algorithm that rules itself (BBR), everything at each ACK. One enum,
//! static dispatch. The state lies inside the sender, but for BBR's: it is twice as long as any other, and every
//! connection would have to hold room for it. It is made when a connection chooses BBR.

mod bbr;
mod cubic;
pub(crate) mod filter;
mod hystart;
mod newreno;
pub(crate) mod window;

use crate::Instant;
use crate::tcp::Seq;
use bbr::Bbr;
pub(crate) use bbr::Model;
use cubic::Cubic;
pub(crate) use window::Window;

/// The algorithms that a socket may choose (TCP_CONGESTION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582; `reno` on Linux.
    NewReno,
    /// RFC 9438 with RFC 9406.
    #[default]
    Cubic,
    /// Bottleneck bandwidth and round trip time, version 1.
    Bbr,
}

impl Algorithm {
    /// The name by which Linux knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::NewReno => "reno",
            Algorithm::Cubic => "cubic",
            Algorithm::Bbr => "bbr",
        }
    }

    /// The algorithm of a name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr].into_iter().find(|a| a.name() == name)
    }
}

/// What an ACK says to an algorithm that grows by ACKs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    pub(crate) now: Instant,
    /// Segments newly delivered.
    pub(crate) acked: u32,
    /// The round trip that it measured, in microseconds.
    pub(crate) rtt: Option<u32>,
    /// The smallest round trip of the path, in microseconds.
    pub(crate) min_rtt: Option<u32>,
    pub(crate) una: Seq,
    pub(crate) nxt: Seq,
    /// The window, not the application, limited what was sent.
    pub(crate) cwnd_limited: bool,
}

/// An algorithm and its state.
#[derive(Debug, Clone)]
pub(crate) struct Congestion(State);

#[derive(Debug, Clone)]
enum State {
    NewReno,
    Cubic(Cubic),
    Bbr(Box<Bbr>),
}

impl Congestion {
    pub(crate) fn new(algorithm: Algorithm) -> Congestion {
        Congestion(match algorithm {
            Algorithm::NewReno => State::NewReno,
            Algorithm::Cubic => State::Cubic(Cubic::new()),
            Algorithm::Bbr => State::Bbr(Box::new(Bbr::new())),
        })
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::NewReno => Algorithm::NewReno,
            State::Cubic(_) => Algorithm::Cubic,
            State::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// BBR's model: bandwidth in bytes a second for segments of `mss` bytes, and the gains of rate and window in 1/256.
    pub(crate) fn model(&self, mss: impl Into<u64>) -> Option<(u64, u32, u32)> {
        match &self.0 {
            State::Bbr(bbr) => Some(bbr.model(mss.into())),
            State::NewReno | State::Cubic(_) => None,
        }
    }

    /// True when window and pacing rate are its own business at each ACK.
    #[inline]
    pub(crate) const fn rules_itself(&self) -> bool {
        matches!(self.0, State::Bbr(_))
    }

    /// The threshold after a loss or a congestion mark.
    pub(crate) fn ssthresh(&mut self, window: &Window, recovering: bool) -> u32 {
        match &mut self.0 {
            State::NewReno => newreno::ssthresh(window),
            State::Cubic(cubic) => cubic.ssthresh(window),
            State::Bbr(bbr) => {
                bbr.save(window, recovering);
                window.ssthresh // BBR does not shrink for a loss as such
            }
        }
    }

    /// The window after a reduction that was needless; `before` is what it was.
    pub(crate) fn undone(&mut self, window: &Window, before: u32) -> u32 {
        match &mut self.0 {
            State::NewReno | State::Cubic(_) => window.cwnd.max(before),
            State::Bbr(bbr) => {
                bbr.undone();
                window.cwnd
            }
        }
    }

    /// The retransmission timer went off.
    pub(crate) fn timed_out(&mut self, delivered: u32) {
        match &mut self.0 {
            State::NewReno => {}
            State::Cubic(cubic) => cubic.forget(),
            State::Bbr(bbr) => bbr.timed_out(delivered),
        }
    }

    /// Sending begins again with nothing in flight, `idle` after the last sending.
    pub(crate) fn resume(&mut self, now: Instant, idle: core::time::Duration, app_limited: bool) {
        match &mut self.0 {
            State::NewReno => {}
            State::Cubic(cubic) => cubic.resume(now, idle),
            State::Bbr(bbr) => bbr.resume(app_limited),
        }
    }

    /// An ACK in a state in which the window may grow.
    #[inline]
    pub(crate) fn grow(&mut self, window: &mut Window, growth: &Growth) {
        match &mut self.0 {
            State::NewReno => newreno::grow(window, growth),
            State::Cubic(cubic) => cubic.grow(window, growth),
            State::Bbr(_) => {}
        }
    }

    /// An ACK, for an algorithm that rules itself; gives its pacing rate in bytes a second (0: not known yet).
    #[inline]
    pub(crate) fn rule(&mut self, window: &mut Window, model: &Model) -> Option<u64> {
        match &mut self.0 {
            State::Bbr(bbr) => Some(bbr.on_ack(window, model)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_linuxs_and_go_both_ways() {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(Congestion::new(algorithm).algorithm(), algorithm);
        }
        assert_eq!(Algorithm::from_name("vegas"), None);
    }
}
