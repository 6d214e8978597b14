//! ICMP errors about a connection (RFC 5927, RFC 1122 section 4.2.3.9, RFC 1191, RFC 8201).
//!
//! Anybody can send an ICMP error. It is heard only when the sequence number that it quotes is one that is
//! outstanding now (RFC 5927 section 4.1), and an established connection is never ended by one (section 5.2):
//! the error is remembered, and is what the owner hears if the connection times out.

use crate::tcp::Seq;
use crate::tcp::connection::{Connection, Context};
use crate::tcp::error::SocketError;
use crate::tcp::segment::Disposition;
use crate::tcp::segment::Output;
use crate::tcp::state::State;
use core::num::NonZeroU32;

/// What an ICMP or ICMPv6 error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The network or host cannot be reached, for now: a soft error.
    Soft(SocketError),
    /// The protocol or port does not exist there, or it is forbidden: a hard error, believed in the handshake only.
    Hard(SocketError),
    /// The packet was too big. The largest segment that fits: MTU - IP header - 20.
    TooBig(u16),
}

impl Connection {
    /// An ICMP error quotes a segment of ours that began at `quoted`.
    pub fn on_icmp(&mut self, cx: &mut Context<'_>, quoted: Seq, what: Unreachable) -> Disposition {
        let outstanding = quoted.at_or_after(self.sender.una()) && quoted.before(self.sender.nxt());
        if !outstanding || self.state == State::Closed {
            return Disposition::Keep(Output::None);
        }
        match what {
            Unreachable::TooBig(path_mss) => self.on_mtu(cx, path_mss),
            Unreachable::Hard(error) | Unreachable::Soft(error)
                if matches!(self.state, State::SynSent | State::SynReceived(_)) =>
            {
                // Linux ends a handshake by soft errors as well: nothing is lost by trying again.
                self.end(cx, Some(error), None)
            }
            Unreachable::Hard(error) | Unreachable::Soft(error) => {
                self.soft_error = Some(error);
                Disposition::Keep(Output::None)
            }
        }
    }

    /// The path's largest segment (MTU - IP header - 20) is now known to be `path_mss`. Segments that are larger
    /// and outstanding are sent again, cut to size.
    pub fn on_mtu(&mut self, cx: &mut Context<'_>, path_mss: u16) -> Disposition {
        let path_mss = path_mss.max(cx.settings.min_snd_mss);
        if !self.knobs.pmtud || path_mss == self.tx.path_mss {
            return Disposition::Keep(Output::None);
        }
        let smaller = path_mss < self.tx.path_mss;
        self.tx.path_mss = path_mss;
        self.bound_search();
        self.sync_mss();
        if !smaller {
            return Disposition::Keep(Output::None);
        }
        cx.stats.mtu_reduced += 1;
        if self.state.sends() && self.sender.outstanding() > 0 {
            let una = self.sender.una();
            let len = self.sender.nxt().since(una).min(u32::from(self.tx.mss));
            self.tx.repeat = NonZeroU32::new(len).map(|len| (una, len));
            return Disposition::Keep(Output::Later);
        }
        Disposition::Keep(Output::None)
    }
}
