//! Stamps of what is sent (SO_TIMESTAMPING; Documentation/networking/timestamping.rst of Linux): when a datagram, or the last
//! byte of a write, was handed to its port, left, and was acknowledged. A stamp is an entry of the socket's error queue.
//!
//! ```text
//!   write ──> scheduled ──> sent ──(the wire, the peer)──> acknowledged (streams alone)
//! ```
//!
//! A *key* tells which write a stamp is of: datagrams for which stamps are asked are counted from 0, bytes of a stream from
//! where they stood when keys were asked for.
//!
//! Here a packet is scheduled and sent in one turn of the worker, whose time both stamps tell.

use super::blocks::BlockPool;
use super::control::{Origin, SendControl};
use super::endpoint::{Endpoint, Report};
use super::error::Error;
use crate::ethernet::HEADER_LEN;
use crate::frame::Frame;
use crate::ip::originate::{Way, link_header_of};
use crate::limits::STAMP_QUOTE;
use crate::port::PortId;
use crate::stack::Stack;
use crate::tcp::figures::Figures;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};

/// What a stamp says happened, by the number that Linux gives it (`SCM_TSTAMP_SND` and its kin).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StampKind {
    /// It left.
    Sent = 0,
    /// It was handed to its port.
    Scheduled = 1,
    /// The peer has it.
    Acknowledged = 2,
}

/// Which stamps are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampKinds {
    /// SOF_TIMESTAMPING_TX_SCHED.
    pub scheduled: bool,
    /// SOF_TIMESTAMPING_TX_SOFTWARE.
    pub sent: bool,
    /// SOF_TIMESTAMPING_TX_ACK, which datagrams never get.
    pub acknowledged: bool,
    /// Each with the connection's figures beside it, which datagrams have none of (SOF_TIMESTAMPING_OPT_STATS).
    pub figures: bool,
}

impl StampKinds {
    /// True when none is.
    pub const fn is_none(self) -> bool {
        !self.scheduled && !self.sent && !self.acknowledged
    }

    /// Those that follow when it leaves, in their order.
    pub fn on_leaving(self) -> impl Iterator<Item = StampKind> {
        let scheduled = self.scheduled.then_some(StampKind::Scheduled);
        scheduled.into_iter().chain(self.sent.then_some(StampKind::Sent))
    }
}

/// What a datagram socket asks for of what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampOptions {
    /// The stamps of each datagram that does not ask for others itself.
    pub kinds: StampKinds,
    /// Stamps tell their key (SOF_TIMESTAMPING_OPT_ID).
    pub keyed: bool,
    /// Stamps come without the packet that they are of (SOF_TIMESTAMPING_OPT_TSONLY).
    pub times_only: bool,
}

/// How the stamps of a datagram socket stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamping {
    options: StampOptions,
    next_key: u32,
}

impl Stamping {
    /// Takes what is asked for. Keys begin at 0 when they are asked for anew.
    pub fn set(&mut self, options: StampOptions) {
        if options.keyed && !self.options.keyed {
            self.next_key = 0;
        }
        self.options = options;
    }

    /// The stamps that a datagram asks for.
    #[inline]
    pub fn wanted(&self, control: &SendControl) -> StampKinds {
        StampKinds { acknowledged: false, figures: false, ..control.stamps.unwrap_or(self.options.kinds) }
    }

    /// The key of a datagram that was sent; 0 where none are asked for.
    pub fn key(&mut self, control: &SendControl) -> u32 {
        match control.stamp_key {
            _ if !self.options.keyed => 0,
            Some(key) => key,
            None => {
                let key = self.next_key;
                self.next_key = key.wrapping_add(1);
                key
            }
        }
    }
}

/// A datagram that left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departure<'a> {
    /// The stamps that it asks for.
    pub(crate) wanted: StampKinds,
    /// What else it asked for.
    pub(crate) control: &'a SendControl,
    /// Where it comes from.
    pub(crate) source: IpAddr,
    /// Where it goes.
    pub(crate) to: SocketAddr,
    /// By which port.
    pub(crate) port: PortId,
    /// When.
    pub(crate) now: Instant,
}

impl Endpoint {
    /// Puts the stamps of a datagram that left into the error queue. `packet`: as it is on the link.
    pub(crate) fn stamp(&mut self, pool: &mut BlockPool, packet: &[u8], left: &Departure<'_>) {
        let key = self.stamping.key(left.control);
        let packet = if self.stamping.options.times_only { &[] } else { packet };
        for kind in left.wanted.on_leaving() {
            let report = Report {
                error: Error::NoMessage,
                origin: Origin::Stamp,
                icmp: (0, 0),
                info: kind as u32,
                data: key,
                // What comes without its packet tells nothing of it.
                offender: (!packet.is_empty()).then_some(left.source),
                to: left.to,
                port: left.port,
                now: left.now,
            };
            self.report(pool, &report, packet);
        }
    }
}

/// A stamp of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What happened.
    pub kind: StampKind,
    /// The number of the byte that it is of, as far as keys are asked for; else 0.
    pub key: u32,
    /// When.
    pub at: Instant,
    /// Bytes that the segment carried which it is of.
    pub len: u32,
    /// The connection's figures then, where they are asked for.
    pub figures: Option<Figures>,
}

/// The beginning of the packet that stamps are wanted of, taken while it is sent.
#[derive(Debug)]
pub(crate) struct Quote {
    wanted: bool,
    len: usize,
    bytes: Box<[u8; STAMP_QUOTE]>,
}

impl Quote {
    pub(crate) fn new() -> Quote {
        Quote { wanted: false, len: 0, bytes: Box::new([0; STAMP_QUOTE]) }
    }

    /// The next packet that is sent is quoted.
    pub(crate) fn want(&mut self) {
        (self.wanted, self.len) = (true, 0);
    }

    /// True until the packet is here.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    fn put(&mut self, link: &[u8; HEADER_LEN], packet: &[u8]) {
        self.wanted = false;
        let (head, rest) = self.bytes.split_at_mut(HEADER_LEN);
        head.copy_from_slice(link);
        let len = packet.len().min(rest.len());
        rest[..len].copy_from_slice(&packet[..len]);
        self.len = HEADER_LEN + len;
    }

    /// What was quoted; `None`: nothing was sent.
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        self.wanted = false;
        let len = core::mem::take(&mut self.len);
        (len > 0).then(|| &self.bytes[..len])
    }
}

impl<F: Frame> Stack<F> {
    /// Keeps the beginning of a packet that is about to be sent, as it is on the link; one to ourselves has a header of zeros.
    #[cold]
    pub(crate) fn quote(&mut self, way: Way, packet: &[u8], v4: bool) {
        let link = match way {
            Way::Link(exit) => link_header_of(self, exit, v4),
            Way::Loop(..) => None,
        };
        self.quote.put(&link.unwrap_or_default(), packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_count_what_asks_for_stamps_and_begin_anew_when_they_are_asked_for_anew() {
        let mut stamping = Stamping::default();
        let usual = SendControl::default();
        let keyed = StampOptions { keyed: true, ..StampOptions::default() };
        assert_eq!([stamping.key(&usual), stamping.key(&usual)], [0, 0]);
        stamping.set(keyed);
        assert_eq!([stamping.key(&usual), stamping.key(&usual)], [0, 1]);
        assert_eq!(stamping.key(&SendControl { stamp_key: Some(77), ..usual }), 77);
        stamping.set(keyed);
        assert_eq!(stamping.key(&usual), 2, "they went on");
        stamping.set(StampOptions::default());
        stamping.set(keyed);
        assert_eq!(stamping.key(&usual), 0);
    }

    #[test]
    fn a_datagram_has_the_stamps_that_it_asks_for_or_those_of_its_socket_and_none_of_the_peer() {
        let all = StampKinds { scheduled: true, sent: true, acknowledged: true, figures: true };
        let mut stamping = Stamping::default();
        stamping.set(StampOptions { kinds: all, ..StampOptions::default() });
        let usual = stamping.wanted(&SendControl::default());
        assert_eq!(usual.on_leaving().collect::<Vec<_>>(), [StampKind::Scheduled, StampKind::Sent]);
        assert!(!usual.acknowledged && !usual.figures);
        let none = SendControl { stamps: Some(StampKinds::default()), ..SendControl::default() };
        assert!(stamping.wanted(&none).is_none());
    }
}
